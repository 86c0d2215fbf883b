"""Forked workers after kernels have run with threads: an error that says what to do, instead of a pool that hangs."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

from gaugeflow import random
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette

PROGRAM = """
import multiprocessing, sys
sys.path.insert(0, {folder!r})
from test_forks import measure

here = [measure(seed) for seed in (1, 2)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    try:
        print(pool.map_async(measure, [1, 2]).get(timeout=60) == here)
    except Exception as error:
        print(type(error).__name__, error)
"""
LATTICE = Lattice((4, 4, 2, 2))


def measure(seed):
    return float(plaquette(LATTICE, random.haar_links(random.Rng(seed), LATTICE, 3, batch=8))[0])


def measure_by_reference(seed):
    with use_backend("reference"):
        return measure(seed)


def run(**environment):
    program = PROGRAM.format(folder=os.path.dirname(__file__))
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, timeout=100
    ).stdout


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_workers_of_a_process_with_threads():
    omppool = pytest.importorskip("numba.np.ufunc.omppool")
    if getattr(omppool, "openmp_vendor", "GNU") != "GNU":
        pytest.skip("this OpenMP survives a fork")
    said = run(NUMBA_THREADING_LAYER="omp")
    assert said.startswith("BackendError this process was forked from one in which kernels had started OpenMP threads")
    assert "get_context('spawn')" in said


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_threads_that_survive_a_fork():
    assert run(NUMBA_THREADING_LAYER="workqueue") == "True\n"


def test_spawned_workers_give_the_same_numbers():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (there,) = pool.map_async(measure_by_reference, [1]).get(timeout=60)
    np.testing.assert_allclose(there, measure_by_reference(1), rtol=1e-14)
