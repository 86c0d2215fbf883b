"""On a GPU: layouts of other programs, and tensors of PyTorch that live there.  Run with ``-m gpu``."""

import numpy as np
import pytest

from gaugeflow import devices, kernels, random
from gaugeflow.backend import available_backends, use_backend
from gaugeflow.interop import LAYOUTS, fermions_from, fermions_to, links_from, links_to
from gaugeflow.lattice import Lattice

pytestmark = pytest.mark.gpu

LATTICE = Lattice((4, 4, 4, 8), (2, 2, 2, 4))


@pytest.fixture(scope="module")
def cupy():
    state = available_backends()["cupy"]
    if state != "ready":
        pytest.skip(state)
    import cupy

    return cupy


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(cupy, rng, name):
    """Numbers of the host, on arrays that stay on the device."""
    links = random.haar_links(random.Rng(1), LATTICE, 3, 2)
    psi = rng.normal(size=(LATTICE.n_blocks, 4, 3, 2 * LATTICE.n_folds)) + 0j
    for field, to, back in ((links, links_to, links_from), (psi, fermions_to, fermions_from)):
        there = to(LATTICE, cupy.asarray(field), name)
        assert isinstance(there, cupy.ndarray)
        assert (devices.to_host(there) == to(LATTICE, field, name)).all()
        assert (devices.to_host(back(LATTICE, there, name)) == field).all()
        out = cupy.zeros_like(there)
        assert to(LATTICE, cupy.asarray(field), name, out=out) is out
        assert (out == there).all()


def test_tensors_on_the_device(cupy):
    """A CUDA tensor is lent to the kernels of CuPy's arrays and comes back as a CUDA tensor."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no device")
    links = random.haar_links(random.Rng(1), LATTICE, 3, 2)
    tensor = torch.from_numpy(links).cuda()
    force = kernels.wilson_force(LATTICE, tensor, 6.0)
    assert force.is_cuda
    with use_backend("numba"):
        expected = kernels.wilson_force(LATTICE, links, 6.0)
    np.testing.assert_allclose(force.cpu().numpy(), expected, atol=1e-13)
