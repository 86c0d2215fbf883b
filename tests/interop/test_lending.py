"""Arrays of PyTorch and JAX go through the public functions, at the speed of the kernels, and come back as what they were."""

import dataclasses

import array_api_strict
import numpy as np
import pytest

from gaugeflow import kernels, observables
from gaugeflow.actions import PulledBack, WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.determinants import d_kappa, log_det, log_det_gradient, log_det_laplacian
from gaugeflow.flows import SmearedSweep
from gaugeflow.interop import links_from, links_to
from gaugeflow.lattice import Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, haar_links
from gaugeflow.solvers import solve

LATTICE = Lattice((4, 4, 4, 4), (2, 1, 1, 1))


@dataclasses.dataclass
class _Tensor:
    """What the dispatcher sees of a tensor: DLPack and a foreign module; counts how often it is exported."""

    array: np.ndarray
    requires_grad: bool = False
    exported: int = 0

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        self.exported += 1
        return self.array.__dlpack__(**options)

    def __array_namespace__(self, api_version=None):
        return _Library


class _Library:
    """The namespace of those tensors."""

    @staticmethod
    def from_dlpack(array):
        return _Tensor(np.from_dlpack(array))


_Tensor.__module__ = "torch.testing"


@pytest.fixture(scope="module")
def links():
    return haar_links(Rng(5), LATTICE, 3, 4)


def test_memory_is_lent_not_copied(links):
    """The kernel of NumPy's back end computes on the tensor's memory, and its result is not copied either."""
    tensor = _Tensor(links)
    force = kernels.wilson_force(LATTICE, tensor, 6.0)
    assert type(force) is _Tensor
    assert tensor.exported == 1
    assert (force.array == kernels.wilson_force(LATTICE, links, 6.0)).all()
    stage = kernels.flow_stage(LATTICE, tensor, force, force, 0.1, 0.2)
    assert [type(x) for x in stage] == [_Tensor, _Tensor]
    read_only = links.copy()
    read_only.flags.writeable = False
    assert (kernels.wilson_force(LATTICE, _Tensor(read_only), 6.0).array == force.array).all()


def test_what_cannot_be_lent(links):
    with pytest.raises(TypeError, match=r"requires_grad; pass tensor\.detach\(\)"):
        kernels.plaquette(LATTICE, _Tensor(links, requires_grad=True))
    with pytest.raises(TypeError, match=r"b is a .*ndarray.*, expected .*_Tensor"):
        kernels.inner(LATTICE, _Tensor(links), links)
    strict = array_api_strict.asarray(links)
    assert type(kernels.plaquette(LATTICE, strict)) is type(
        strict
    )  # the reference computes on it, as on any other array


def _torch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return torch.from_numpy, lambda x: x.numpy(), torch.Tensor


def _jax():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray, np.asarray, jax.Array


@pytest.mark.parametrize("library", [_torch, _jax])
def test_public_functions(links, library):
    """Actions, flows, observables, gradient flow, solvers, layouts: the numbers of NumPy arrays, in tensors."""
    there, back, kind = library()
    field = there(links)
    flow = SmearedSweep(LATTICE, 3)
    params = {name: value + 0.002 for name, value in flow.init(Rng(1)).items()}
    action = PulledBack(WilsonAction(LATTICE, 6.0), flow, params)

    def run(x):
        yield action.value(x)
        yield action.grad(x)
        y, log_det = flow.forward(params, x)
        yield from (y, log_det, *flow.inverse(params, y))
        history = observables.flow_history(LATTICE, x, (0.0, 0.1), step=0.05)
        yield from (history.t2_e, history.q)
        yield observables.polyakov_loop(LATTICE, x)
        yield from (LATTICE.unpack(x, components=1), links_from(LATTICE, links_to(LATTICE, x, "milc"), "milc"))
        operator = Wilson(lattice=LATTICE, links=x, kappa=0.1)
        column = array_namespace(x).permute_dims(x[0, :, :, :1, :], (0, 2, 1, 3))
        yield solve(operator, array_namespace(x).concat([column] * 4, axis=1)).x

    for ours, theirs in zip(run(links), run(field), strict=True):
        assert isinstance(theirs, kind)
        np.testing.assert_allclose(back(theirs), ours, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("library", [_torch, _jax])
def test_exact_determinants(library):
    """They fill matrices piece by piece, which arrays of JAX do not allow: the copy that is lent does."""
    there, back, kind = library()
    lattice = Lattice((4, 4))
    links = haar_links(Rng(5), lattice, 1, 2)
    with use_backend("reference"):
        ours, theirs = (Wilson(lattice=lattice, links=x, kappa=0.1) for x in (links, there(links)))
        for function in (log_det, log_det_gradient, d_kappa, log_det_laplacian):
            for expected, found in zip(function(ours), function(theirs), strict=True):
                assert isinstance(found, kind)
                np.testing.assert_allclose(back(found), expected, rtol=1e-11, atol=1e-12)


def test_reference_computes_on_tensors(links):
    """Asked for, the reference computes on the tensors themselves."""
    there, back, kind = _torch()
    small = np.ascontiguousarray(links[..., :2])
    with use_backend("reference"):
        found = kernels.plaquette(LATTICE, there(small))
    assert isinstance(found, kind)
    np.testing.assert_allclose(back(found), kernels.plaquette(LATTICE, small), atol=1e-14)


def test_conjugates_are_resolved(links):
    there, back, _ = _torch()
    lazy = there(links).conj()
    assert lazy.is_conj()
    expected = kernels.wilson_force(LATTICE, links.conj(), 6.0)
    np.testing.assert_array_equal(back(kernels.wilson_force(LATTICE, lazy, 6.0)), expected)
