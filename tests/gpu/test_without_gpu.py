"""What can be said of the GPU back end without a GPU: sessions of their own in the simulator and with the compiler."""

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from cases.kernels import GPU
from cases.ranks import on_ranks

HERE = Path(__file__).parent
WITHOUT_CUPY = """
import sys
from importlib.abc import MetaPathFinder
class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'")
sys.meta_path.insert(0, Blocked())
"""
WITHOUT_DEVICE = """
import cupy
def fails():
    raise cupy.cuda.runtime.CUDARuntimeError("driver version is insufficient")
cupy.cuda.runtime.getDeviceCount = {}
"""
TRY = """
import numpy as np
from gaugeflow.backend import available_backends, use_backend
from gaugeflow.errors import BackendError
print(available_backends()["cupy"])
try:
    with use_backend("cupy"):
        pass
except BackendError:
    print("BackendError")
from gaugeflow import random
from gaugeflow.lattice import Lattice
print(random.uniform(random.Rng(1), Lattice((2, 2))).shape)
"""


def _environment(**options):
    path = [str(HERE / "standin"), os.environ.get("PYTHONPATH", ""), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **options}


def _session(folder, *options, **environment):
    """Run the tests of a folder with the stand-in for CuPy; what they print is shown if they fail."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(HERE / folder),
        *options,
    ]
    found = subprocess.run(
        command,
        env=_environment(GAUGEFLOW_STANDIN="1", **environment),
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
    )
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    assert " passed" in found.stdout


def _missing():
    wanted = ("numba-cuda", "nvidia-cuda-nvcc-cu12", "nvidia-cuda-nvrtc-cu12")
    return [name for name in wanted if not list(distributions(name=name))]


needs_compiler = pytest.mark.skipif(bool(_missing()), reason=f"not installed: {_missing()}")


def test_in_the_simulator():
    _session("simulated", NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.slow
def test_whole_systems_in_the_simulator():
    _session("simulated", "-m", "slow", NUMBA_ENABLE_CUDASIM="1")


def _on_ranks(program, *arguments, **environment):
    """Run a program of this folder on two processes."""
    variables = _environment(GAUGEFLOW_STANDIN="1", OMP_NUM_THREADS="1", **environment)
    on_ranks(2, HERE / program, *arguments, **variables)


EVERY = sorted(set(GPU) - {"digit_sums"})
COMPILED = (
    "clover_gradient",
    "clover_hop",
    "extend",
    "fermion_dot",
    "gauge_transform",
    "heatbath",
    "hop_force",
    "neighbour_sum",
    "overrelax",
    "path_sum_vjp",
    "plaquette_traces",
    "residual_update",
    "smear_vjp",
    "staggered_hop",
    "straighten",
    "wilson_force",
    "wilson_hop",
)
"""Kernels of every kind that hops, and of every sum."""


@pytest.mark.parametrize(
    "layout",
    [("direct", "4x4", "2x1", "1x1", "2"), ("direct", "8x4", "2x1", "2x1", "1"), ("staged", "4x4", "2x1", "1x1", "3")],
    ids=["plain", "folded", "through the host"],
)
def test_every_kernel_on_a_cut_lattice_in_the_simulator(layout):
    names = EVERY if layout[0] == "direct" else ["wilson_force", "residual_update", "wilson_hop"]
    _on_ranks("gpu_on_ranks.py", *layout, *names, NUMBA_ENABLE_CUDASIM="1")


def test_samplers_solvers_and_flows_on_a_cut_lattice_in_the_simulator():
    _on_ranks("gpu_systems_on_ranks.py", "staged", NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.slow
@needs_compiler
def test_compiled_kernels_on_a_cut_lattice():
    """The whole lattice and the cut and folded one run different code: multiply-adds are those of the formulas."""
    _on_ranks("gpu_on_ranks.py", "staged", "8x4", "2x1", "2x1", "2", *COMPILED)


@needs_compiler
def test_compiled():
    _session("compiled")


@pytest.mark.slow
@needs_compiler
def test_everything_compiled():
    _session("compiled", "-m", "slow")


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (WITHOUT_CUPY, "CuPy is not installed (No module named 'cupy'): pip install 'gaugeflow[gpu]'"),
        (WITHOUT_DEVICE.format("fails"), "no CUDA device can be used: driver version is insufficient"),
        (WITHOUT_DEVICE.format("lambda: 0"), "no CUDA device can be used: none is visible"),
    ],
    ids=["no cupy", "no driver", "no device"],
)
def test_what_is_missing_is_said_and_the_rest_works(before, reason):
    found = subprocess.run(
        [sys.executable, "-c", before + TRY], env=_environment(), capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == [reason, "BackendError", "(1, 4, 1)"]
