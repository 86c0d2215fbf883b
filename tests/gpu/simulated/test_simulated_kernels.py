"""Every kernel in the CUDA simulator, on tiny lattices, against the reference; and what crosses to and from the device."""

import inspect
import math

import cupy
import numpy as np
import pytest

from cases.kernels import GPU, KERNELS, REFERENCE_ON_GPU, Case
from gaugeflow.backend import _load, kernels, use_backend
from gaugeflow.errors import BackendError
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Lattice
from gaugeflow_cupy import device

LAYOUTS = {
    "SU(2) plain": (Lattice((2, 2)), 2, 2, np.complex128),
    "SU(3) folded": (Lattice((4, 2), (2, 1)), 3, 1, np.complex128),
    "SU(3) folded, single": (Lattice((4, 2), (2, 1)), 3, 2, np.complex64),
    "U(1) single": (Lattice((2, 2)), 1, 1, np.complex64),
    "SU(2) 4D": (Lattice((2, 2, 2, 2)), 2, 1, np.complex128),
    "U(1) 4D folded": (Lattice((4, 4, 2, 2), (2, 2, 1, 1)), 1, 1, np.complex128),
}
TO_HOST = {"heatbath": 1}
"""Copies to the host that a kernel makes: a sweep of the heat bath asks once whether a rejection loop failed."""


def _tuple(result):
    return result if isinstance(result, tuple) else (result,)


def test_drivers():
    assert {name for name in KERNELS if _load("cupy").lookup(name) is None} == REFERENCE_ON_GPU


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", GPU)
def test_kernel_equals_reference(name, layout):
    lattice, n, batch, dtype = LAYOUTS[layout]
    arguments = KERNELS[name](Case(lattice, n, batch, dtype, cupy.asarray))
    found = _tuple(kernels[name](lattice, *arguments))
    host = Case(lattice, n, batch, dtype)
    with use_backend("reference"):
        expected = _tuple(kernels[name](lattice, *KERNELS[name](host)))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert type(a) is cupy.ndarray
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        tolerance = 1e-4 if dtype == np.complex64 else 1e-12
        np.testing.assert_allclose(a.get(), b, rtol=0, atol=tolerance * max(1.0, abs(b).max()))
    labels = list(inspect.signature(kernels[name].reference).parameters)[1:]
    for label, after, before in zip(labels, arguments, KERNELS[name](host), strict=True):
        if isinstance(after, cupy.ndarray) and label != "total":
            np.testing.assert_array_equal(after.get(), before, err_msg=f"{name} changes {label}")


@pytest.mark.parametrize("name", GPU)
def test_nothing_crosses_unseen(name, crossings):
    """The first call copies tables to the device; later ones copy nothing, but for what `TO_HOST` names."""
    lattice, n, batch, dtype = LAYOUTS["SU(2) plain"]
    for _ in range(2):
        arguments = KERNELS[name](Case(lattice, n, batch, dtype, cupy.asarray))
        crossings.clear()
        kernels[name](lattice, *arguments)
    assert dict(crossings) == ({"to_host": TO_HOST[name]} if name in TO_HOST else {})


@pytest.mark.parametrize("name", GPU)
def test_every_kernel_is_served_with_the_same_signature(name):
    function = _load("cupy").lookup(name)
    assert function is not None
    assert list(inspect.signature(function).parameters) == list(inspect.signature(kernels[name].reference).parameters)


@pytest.mark.parametrize("name", ["uniform_field", "normal_field", "haar_field", "momentum_field"])
def test_random_numbers_are_those_of_the_reference_bit_for_bit(name):
    lattice, n, batch, dtype = LAYOUTS["SU(3) folded"]
    found = kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype, cupy.asarray)))
    with use_backend("reference"):
        expected = kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype)))
    np.testing.assert_array_equal(found.get(), expected)


@pytest.mark.parametrize(("sites", "lanes"), [(0, 2), (3, 2), (500, 6), (3000, 2)])
def test_sums_are_those_of_the_reference_bit_for_bit(sites, lanes):
    """One to three stages; numbers of all magnitudes, so that threads begin with different digits."""
    lattice = Lattice((4, 2), (2, 1))
    rng = np.random.default_rng(5)
    numbers = rng.normal(size=(2, sites, lanes)) * 2.0 ** rng.integers(-300, 300, size=(2, sites, lanes))
    numbers[0] = rng.normal(size=(sites, lanes))
    found = sum_sites(lattice, cupy.asarray(numbers)).get()
    with use_backend("reference"):
        np.testing.assert_array_equal(found, sum_sites(lattice, numbers))
    exact = [math.fsum(numbers[0, :, b :: lanes // 2].ravel()) for b in range(lanes // 2)]
    np.testing.assert_allclose(found[0], exact, rtol=1e-14, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_sums_keep_what_is_not_finite(bad):
    lattice = Lattice((2, 2))
    numbers = np.ones((3000, 2))
    numbers[77, 1] = bad
    found = sum_sites(lattice, cupy.asarray(numbers)).get()
    assert found[0] == 3000.0
    assert not math.isfinite(found[1])


def test_arrays_of_host_and_device_do_not_meet():
    lattice, n, batch, dtype = LAYOUTS["SU(2) plain"]
    case, host = Case(lattice, n, batch, dtype, cupy.asarray), Case(lattice, n, batch, dtype)
    with pytest.raises(TypeError, match=r"momentum is a <class 'numpy\.ndarray'>"):
        kernels["evolve"](lattice, case.links, host.algebra, 0.1)
    with pytest.raises(TypeError, match="paths: expected a CuPy array like the other fields"):
        kernels["residual_update"](lattice, case.links, 1, case.sites, host.active)
    with pytest.raises(TypeError, match="coupling: a NumPy array with links on the GPU"):
        kernels["wilson_force"](lattice, case.links, np.ones((1, batch)))
    with use_backend("cupy"), pytest.raises(BackendError, match=r"'cupy' does not compute on numpy\.ndarray"):
        kernels["plaquette_traces"](lattice, host.links)


def test_arrays_of_two_devices_do_not_meet(monkeypatch):
    lattice, n, batch, dtype = LAYOUTS["SU(2) plain"]
    links = Case(lattice, n, batch, dtype, cupy.asarray).links
    other = cupy.cuda.Device()
    other.id = 1
    monkeypatch.setattr(cupy.ndarray, "device", other)
    with pytest.raises(BackendError, match="links is on device 1, the current device is 0"):
        kernels["plaquette_traces"](lattice, links)


def test_strided_and_misaligned_views_are_accepted():
    lattice, n, batch, dtype = LAYOUTS["SU(2) plain"]
    links = Case(lattice, n, batch, dtype, cupy.asarray).links
    expected = kernels["plaquette_traces"](lattice, links).get()
    wide = cupy.stack([links, links], axis=-1).reshape(*links.shape[:-1], 2 * links.shape[-1])
    np.testing.assert_array_equal(kernels["plaquette_traces"](lattice, wide[..., ::2]).get(), expected)
    memory = np.zeros(links.nbytes + 32, np.uint8)
    start = 8 - memory.ctypes.data % 16
    view = memory[start : start + links.nbytes].view(dtype).reshape(links.shape)
    view[...] = links.get()
    shifted = cupy.ndarray(view)
    assert shifted.data.ptr % 16 == 8
    assert device.contiguous(shifted, "links").data.ptr % 16 == 0
    np.testing.assert_array_equal(kernels["plaquette_traces"](lattice, shifted).get(), expected)


def test_constants_are_copied_once(crossings):
    lattice, n, batch, dtype = LAYOUTS["SU(2) plain"]
    links = Case(lattice, n, batch, dtype, cupy.asarray).links
    for coupling in (6.125, (6.25,), [[6.5] * batch]):
        crossings.clear()
        kernels["wilson_force"](lattice, links, coupling)
        kernels["wilson_force"](lattice, links, coupling)
        assert dict(crossings) == {"to_device": 1}
