"""Every kernel as numba-cuda compiles it: registers and spills as recorded, and the same results as the reference."""

import json
from importlib.metadata import version
from types import SimpleNamespace

import cupy
import numpy as np
import pytest
import toolchain
from numba.cuda.typing.typeof import typeof

from cases.kernels import GPU, KERNELS, Case
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow_cupy import gauge, launches

PLAIN, FOLDED = Lattice((4, 2, 2, 2)), Lattice((4, 4, 2, 2), (2, 2, 1, 1))
QUICK = {
    "digit_sums",
    "evolve",
    "fermion_combine",
    "heatbath",
    "momentum_field",
    "neighbour_sum",
    "normal_field",
    "path_sum_vjp",
    "plaquette_traces",
    "wilson_force",
    "wilson_hop",
}
"""Kernels that are compiled by default; the rest with ``-m slow``."""
SLOW_LAYOUTS = {
    "SU(3)": (3, PLAIN, 2, np.complex128),
    "SU(2) folded": (2, FOLDED, 2, np.complex128),
    "U(1) folded, single": (1, FOLDED, 3, np.complex64),
    "SU(3) single": (3, PLAIN, 2, np.complex64),
}
QUICK_LAYOUTS = {"SU(2) folded, single": (2, FOLDED, 1, np.complex64), "U(1)": (1, PLAIN, 2, np.complex128)}


def _cases():
    for name in GPU:
        if name in QUICK or name in {"residual_update", "smeared_update_vjp", "haar_field"}:
            for label, layout in QUICK_LAYOUTS.items():
                if name in QUICK or label == "U(1)":
                    yield pytest.param(name, *layout, id=f"{name}-{label}")
        for label, layout in SLOW_LAYOUTS.items():
            yield pytest.param(name, *layout, id=f"{name}-{label}", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def on_the_host():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield toolchain.HostKernels(monkeypatch)


@pytest.mark.parametrize(("name", "n", "lattice", "batch", "dtype"), list(_cases()))
def test_compiled_code_equals_reference(name, n, lattice, batch, dtype, on_the_host):
    """The code that numba-cuda hands to NVVM, run thread by thread on this machine's processor."""
    found = toolchain.kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype, cupy.asarray)))
    with use_backend("reference"):
        expected = toolchain.kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype)))
    pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected)), strict=True)
    tolerance = 1e-4 if dtype == np.complex64 else 1e-12
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if name.endswith("_field"):
            np.testing.assert_array_equal(a.get(), b)
        np.testing.assert_allclose(a.get(), b, rtol=0, atol=tolerance * max(1.0, abs(b).max()))


def _rows():
    table = json.loads(toolchain.TABLE.read_text())["SU(3)"]
    for name, variants in table.items():
        for variant, architectures in variants.items():
            for architecture in architectures:
                quick = (variant, architecture) == ("double", "sm_90") and name.split("._")[1] in QUICK - {"heatbath"}
                marks = [] if quick else [pytest.mark.slow]
                yield pytest.param(name, variant, architecture, id=f"{name}-{variant}-{architecture}", marks=marks)


@pytest.mark.parametrize(("name", "variant", "architecture"), list(_rows()))
def test_cubin_needs_no_more_than_recorded(name, variant, architecture):
    """Other versions of the compilers may need a little more; the recorded ones nothing more."""
    table = json.loads(toolchain.TABLE.read_text())
    recorded = table["SU(3)"][name][variant][architecture]
    found = toolchain.resources(*toolchain.drivers(3, *toolchain.VARIANTS[variant])[name], architecture)
    same = all(version(package) == number for package, number in table["toolchain"].items())
    slack = {"registers": 8, "spill_bytes": 64, "local_bytes": 64}
    for what, value in recorded.items():
        limit = value if same else 1.1 * value + slack[what]
        assert found[what] <= limit, f"{name} {variant} {architecture}: {what} {found[what]}, recorded {value}"


def test_table_has_every_driver():
    table = json.loads(toolchain.TABLE.read_text())["SU(3)"]
    for variant, arguments in toolchain.VARIANTS.items():
        assert sorted(toolchain.drivers(3, *arguments)) == sorted(table)
        assert all(sorted(row[variant]) == sorted(toolchain.ARCHITECTURES) for row in table.values())


def test_arguments_have_the_types_that_numba_sees():
    array = cupy.asarray(np.zeros((2, 3), np.complex64))

    interface = {"shape": (6,), "typestr": "<c8", "data": (array.data.ptr, False), "version": 3}
    Seen = type("Seen", (), {"__cuda_array_interface__": interface})
    given = (array, 4, 0.5, (array, array, 7), (1, 2))
    seen = (Seen(), 4, 0.5, (Seen(), Seen(), 7), (1, 2))
    assert launches.signature(given) == tuple(typeof(a) for a in seen)
    kinds, words = launches.flatten(given)
    assert kinds == ("<c8", "q", "d", ("<c8", "<c8", "q"), ("q", "q"))
    row = (0, 0, 6, 8, array.data.ptr, 6, 8)
    assert tuple(words) == (*row, 4, 0.5, *row, *row, 7, 1, 2)
    assert launches.layout(kinds) == "7qqd7q7qqqq"


def test_kernels_run_on_the_current_stream(monkeypatch):
    seen = []
    driver = SimpleNamespace(launchKernel=lambda *arguments: seen.append(arguments[:-1]))
    monkeypatch.setattr(cupy.cuda, "driver", driver, raising=False)
    monkeypatch.setattr(launches, "_compiled", lambda kernel, arguments: 42)
    launches.launch("kernel", 300, 1)
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=4711))
    launches.launch("kernel", 300, 1)
    launches.launch("kernel", 0, 1)
    assert seen == [(42, 3, 1, 1, 128, 1, 1, 0, stream, 0) for stream in (0, 4711)]


def test_kernels_are_kept_on_disk(monkeypatch, tmp_path):
    """What one process compiled, the next one reads; other sources have another folder."""
    from gaugeflow_cupy import _jit

    monkeypatch.setattr(_jit, "cache_directory", lambda: str(tmp_path / "sources"))
    monkeypatch.setattr(toolchain.dispatcher._Kernel, "bind", lambda self: None)
    argument_types = toolchain.drivers(2, PLAIN, np.complex128)["gauge._project"][1]
    first, second = (_jit.kernel(gauge._project.py_func) for _ in range(2))
    first.compile(argument_types)
    second.compile(argument_types)
    counts = [(sum(k.stats.cache_misses.values()), sum(k.stats.cache_hits.values())) for k in (first, second)]
    assert counts == [(1, 0), (0, 1)]


def test_both_back_ends_live_in_one_process():
    """Numba's registries for the CPU and numba-cuda's know different functions of the same names."""
    lattice = Lattice((2, 2))
    case = Case(lattice, 2, 2)
    with use_backend("numba"):
        found = toolchain.kernels["evolve"](lattice, *KERNELS["evolve"](case))
    with use_backend("reference"):
        expected = toolchain.kernels["evolve"](lattice, *KERNELS["evolve"](case))
    np.testing.assert_allclose(found, expected, atol=1e-13)
    function, argument_types = toolchain.drivers(2, lattice, np.complex128)["gauge._evolve"]
    assert toolchain.resources(function, argument_types, "sm_90")["registers"] > 0
