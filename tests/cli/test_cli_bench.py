"""``gaugeflow bench``: operations are counted right, rates are consistent."""

import numpy as np
import pytest

from gaugeflow import bench, kernels
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice

KEYS = [
    "kernel",
    "shape",
    "batch",
    "fold",
    "backend",
    "threads",
    "seconds",
    "gflops",
    "gbytes_per_second",
    "share_of_peak",
]


def test_operations_of_u1_plaquette():
    """Two complex products and the real part of a third: 6 + 6 + 3 operations.  The exact sum over sites does not count."""
    assert bench.operations_per_site("plaquette_traces", 2, 1) == 15


def test_operations_of_su3():
    """Products of 198 operations dominate: two in a plaquette, two in a staple, one with the link."""
    plaquette = bench.operations_per_site("plaquette_traces", 4, 3)
    assert 6 * 2 * 198 < plaquette < 6 * 2.4 * 198
    force = bench.operations_per_site("wilson_force", 4, 3)
    assert 4 * (6 * 2 + 1) * 198 < force < 4 * (6 * 2 + 1) * 1.15 * 198
    assert bench.operations_per_site("inner", 4, 3) == 4 * 35  # 18 products and 17 sums
    assert bench.operations_per_site("heatbath", 4, 3) is None


def test_operations_of_hops():
    """The numbers that are quoted everywhere: 1320 for Wilson fermions, 570 for staggered ones, 504 for clover blocks."""
    assert bench.operations_per_site("wilson_hop", 4, 3) == 1320
    assert bench.operations_per_site("staggered_hop", 4, 3) == 570
    assert bench.operations_per_site("clover_hop", 4, 3) == 1320 + 504 + 72
    assert bench.operations_per_site("wilson_hop 12 right-hand sides single", 4, 3) == 12 * 1320


@pytest.mark.parametrize("kernel", bench.CASES)
def test_cases_run_on_the_reference(kernel):
    peaks = {"threads": None, "fma_gflops": None, "triad_gbytes_per_second": None}
    shape = (2, 2, 2) if kernel in bench.names(3) else (2, 2)
    row = bench.time_kernel(kernel, shape, 2, 2, "reference", peaks, budget=0.0)
    assert list(row) == KEYS
    assert row["share_of_peak"] is None
    assert row["seconds"] > 0


def test_fields_are_invertible_for_layers():
    lattice = Lattice((4, 4))
    with use_backend("reference"):
        links, _ = bench.fields(lattice, 3, 2)
        paths = kernels.path_sum(lattice, links, 0, lattice.active_sites(0, 0), 0.01)
        _, log_det, norm = kernels.residual_update(lattice, links, 0, lattice.active_sites(0, 0), paths)
    assert np.isfinite(log_det).all()
    assert (norm < 1).all()


def test_bench_command(gaugeflow, monkeypatch):
    monkeypatch.setattr(bench, "CASES", {name: bench.CASES[name] for name in ("plaquette_traces", "inner")})
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    result = gaugeflow("bench", "--volumes", "4x4x4x4", "4x4", "--batch", 4, "--json")
    assert result["machine"]["fma_gflops"] > 0
    assert result["machine"]["triad_gbytes_per_second"] > 0
    assert [row["shape"] for row in result["kernels"]] == [[4, 4, 4, 4]] * 2 + [[4, 4]] * 2
    for row in result["kernels"]:
        assert list(row) == KEYS
        assert row["share_of_peak"] > 0
    assert "GB/s triad" in gaugeflow("bench", "--volumes", "4x4")
