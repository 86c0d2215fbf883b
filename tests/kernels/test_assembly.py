"""Loops of the hot kernels work on whole vector registers; what that is worth is in docs/performance.md."""

import platform

import llvmlite.binding
import pytest

from gaugeflow import bench, kernels
from gaugeflow.lattice import Lattice
from gaugeflow_numba.assembly import count, instructions

vectors = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not llvmlite.binding.get_host_cpu_features().get("fma"),
    reason="the listing is read for x86 processors with fused multiply-adds",
)


@vectors
@pytest.mark.parametrize("kernel", ["plaquette_traces", "wilson_force", "evolve"])
def test_whole_registers(kernel):
    lattice = Lattice((2,) * 4)
    links, momenta = bench.fields(lattice, 3, 8)
    getattr(kernels, kernel)(lattice, *bench.CASES[kernel].arguments(lattice, links, momenta))
    counts = instructions(f"gauge._{kernel}", 3)
    assert counts
    for found in counts:
        assert found["fused"] > 150  # a product of two complex 3x3 matrices has 108
        assert found["fused"] > found["plain"]
        assert found["narrow"] <= 0.02 * found["fused"]


def test_counts():
    listing = """
    \tvfmadd231pd\t%zmm1, %zmm2, %zmm3
    \tvfmadd231pd\t%ymm1, %ymm2, %ymm3
    \tvmulsd\t%xmm0, %xmm1, %xmm2
    \tvsubpd\t(%rax), %zmm1, %zmm2
    \tvpermt2pd\t%zmm1, %zmm2, %zmm3
    \tvmovupd\t%zmm4, 64(%rsp)
    \tvmovupd\t64(%rsp), %zmm4
    \tvmovupd\t%zmm4, (%rdi)
    """
    assert count(listing, "zmm") == {"fused": 1, "plain": 1, "shuffles": 1, "spills": 1, "narrow": 2}
