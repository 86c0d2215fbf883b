"""Every kernel on every back end, precision, N and fold equals the reference; the reference equals itself elsewhere.

By default each kernel is compiled for two of the sixteen combinations: N = 3 on a plain lattice in double precision, which
other tests need too, and N = 1 on a folded lattice in single precision, which compiles fastest.  Other tests sample, flow and
invert with N = 2 and on folded lattices; an action of N = 4 has a contract, and Jacobians of N = 4 are tested on one link.
On strict arrays, where nothing is compiled, the default is a Latin square: every N, and every pair of a precision and a layout,
once for each kernel.  ``-m "slow or not slow"`` runs all combinations.
"""

import inspect
import itertools
import pkgutil
import zlib
from importlib import import_module

import array_api_strict
import numpy as np
import pytest

import gaugeflow.kernels
from cases.kernels import KERNELS, LARGEST, Case
from gaugeflow.backend import _load, available_backends, backend_of, kernels, use_backend
from gaugeflow.errors import BackendError
from gaugeflow.lattice import Lattice
from gaugeflow_numba.fields import rows

for module in pkgutil.iter_modules(gaugeflow.kernels.__path__):
    import_module(f"gaugeflow.kernels.{module.name}")

SHAPE, FOLD = (4, 4, 2, 2), (2, 2, 1, 1)
# 19 and 20 lanes are no multiple of a register of 8 or 16 numbers.  Sub-lattices of 4 configurations fill registers
# evenly, so that a processor that can will shuffle them; those of 5 straddle registers and are gathered.
PLAIN, SHUFFLED, GATHERED = (None, 19), (FOLD, 4), (FOLD, 5)
SIZES = (1, 2, 3, 4)
JACOBIANS = (
    {f"residual_{k}" for k in ("score", "solve", "update", "update_vjp")}
    | {f"smeared_{k}" for k in ("score", "solve", "update", "update_vjp")}
    | {"flow_stage_vjp", "loop_gradient", "loop_gradient_vjp", "loop_traces_along"}
)
LAYOUTS = tuple(itertools.product((np.complex128, np.complex64), ("plain", "folded")))


def _combinations(chosen):
    """All combinations; those that are not ``chosen(name, turn)``, layouts by N, are slow."""
    for name, n, k in itertools.product(sorted(KERNELS), SIZES, range(len(LAYOUTS))):
        if n > LARGEST.get(name, n):
            continue
        dtype, layout = LAYOUTS[k]
        turn = zlib.crc32(name.encode())
        fold, batch = PLAIN if layout == "plain" else (SHUFFLED, GATHERED)[(n + turn // 4) % 2]
        label = f"{name}-{n}-{np.dtype(dtype).name}-{layout}"
        marks = [] if chosen(name, turn).get(n) == k else [pytest.mark.slow]
        yield pytest.param(name, n, dtype, fold, batch, id=label, marks=marks)


def _compiled(name, turn):
    return {3: LAYOUTS.index((np.complex128, "plain")), 1: LAYOUTS.index((np.complex64, "folded"))}


def _square(name, turn):
    return {n: (n + turn) % len(LAYOUTS) for n in SIZES if n < 4 or name not in JACOBIANS}


def _combination(chosen):
    return pytest.mark.parametrize(("name", "n", "dtype", "fold", "batch"), list(_combinations(chosen)))


def _call(name, case):
    """Results as a tuple; kernels are pure, except that they may consume arguments named ``total``."""
    arguments = KERNELS[name](case)
    result = kernels[name](case.lattice, *arguments)
    labels = list(inspect.signature(kernels[name].reference).parameters)[1:]
    for label, before, after in zip(labels, KERNELS[name](case), arguments, strict=True):
        if isinstance(after, tuple):
            assert after == before
        elif label != "total":
            np.testing.assert_array_equal(np.asarray(after), np.asarray(before), err_msg=f"{name} changes {label}")
    return result if isinstance(result, tuple) else (result,)


def _compare(found, expected, dtype):
    tolerance = 1e-4 if dtype == np.complex64 else 1e-12
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, abs(b).max()))


def test_every_kernel_has_a_row():
    assert sorted(KERNELS) == sorted(kernels), "give each kernel a row in tests/cases/kernels.py, and only kernels"


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_numba_has_every_kernel_with_the_same_signature(name):
    function = _load("numba").lookup(name)
    assert function is not None
    assert list(inspect.signature(function).parameters) == list(inspect.signature(kernels[name].reference).parameters)


@_combination(_compiled)
def test_numba_equals_reference(name, n, dtype, fold, batch):
    case = Case(Lattice(SHAPE, fold), n, batch, dtype)
    with use_backend("numba"):
        found = _call(name, case)
    with use_backend("reference"):
        expected = _call(name, case)
    _compare(found, expected, dtype)
    assert all(type(a) is np.ndarray for a in found)


@_combination(_square)
def test_reference_on_strict_arrays(name, n, dtype, fold, batch):
    """Nothing beyond the array API standard is used, and folds do not change results."""
    strict = _call(name, Case(Lattice(SHAPE, fold), n, batch, dtype, array_api_strict.asarray))
    with use_backend("reference"):
        expected = _call(name, Case(Lattice(SHAPE, fold), n, batch, dtype))
    assert all(isinstance(a, array_api_strict.asarray(0.0).__class__) for a in strict)
    _compare([np.asarray(a) for a in strict], expected, dtype)


@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["evolve", "plaquette_traces"])
def test_narrow_registers(name, lanes):
    """Widths 1, 2 and 4, full or overlapping; nearly all other tests fill registers, so that they share compiled kernels."""
    case = Case(Lattice(SHAPE), 2, lanes)
    found = _call(name, case)
    with use_backend("reference"):
        _compare(found, _call(name, case), case.dtype)


def test_coefficients_of_every_shape_are_of_one_type():
    """Writable and contiguous, or kernels would be compiled once more for coefficients of every configuration."""
    links = Case(Lattice(SHAPE), 2, 8).links
    for values in (0.5, np.ones(6), np.ones((6, 1)), np.ones((6, 8)), np.ones((8, 6)).T):
        found = rows(Lattice(SHAPE), values, 6, links, "coupling")
        assert found.shape == (6, 8)
        assert found.flags.c_contiguous
        assert found.flags.writeable
        assert not np.shares_memory(found, np.asarray(values))


def test_strided_views_are_accepted():
    case = Case(Lattice(SHAPE), 2, 8)
    wide = np.concatenate([case.links, case.links], axis=-1)
    view = wide[..., ::2]
    np.testing.assert_array_equal(
        kernels["plaquette_traces"](case.lattice, view),
        kernels["plaquette_traces"](case.lattice, np.ascontiguousarray(view)),
    )


def test_dispatch():
    case = Case(Lattice(SHAPE), 1, 2)
    assert backend_of(case.links) == "numba"
    assert backend_of(array_api_strict.asarray(case.links)) == "reference"
    with use_backend("reference"):
        assert backend_of(case.links) == "reference"
    assert backend_of(case.links) == "numba"
    assert available_backends()["numba"] == available_backends()["reference"] == "ready"


def test_dispatch_errors():
    lattice = Lattice(SHAPE)
    case = Case(lattice, 2, 2)
    with (
        pytest.raises(BackendError, match=r"unknown back end 'gpu'; installed: \['cupy', 'numba', 'reference'\]"),
        use_backend("gpu"),
    ):
        pass
    with use_backend("numba"), pytest.raises(BackendError, match="does not compute on array_api_strict"):
        kernels["plaquette_traces"](lattice, array_api_strict.asarray(case.links))
    with pytest.raises(ValueError, match=r"momentum has \(colours, lanes\) \(2, 3\), links has \(2, 2\)"):
        kernels["evolve"](lattice, case.links, Case(lattice, 2, 3).algebra, 0.1)
    with pytest.raises(TypeError, match="momentum is a"):
        kernels["evolve"](lattice, case.links, array_api_strict.asarray(case.algebra), 0.1)
    with pytest.raises(ValueError, match=r"coupling: expected a scalar, \(6,\) or \(6, 2\), got shape \(5,\)"):
        kernels["wilson_force"](lattice, case.links, np.ones(5))
    by_name = kernels["wilson_force"](lattice, links=case.links, coupling=1.0)
    np.testing.assert_array_equal(by_name, kernels["wilson_force"](lattice, case.links, 1.0))
