"""Fixtures of the whole test-suite."""

import os
from pathlib import Path

# Before NumPy and Numba start: a few threads, and none that spin while they wait for work on a shared machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest

from cases import threads

threads.share()


@pytest.fixture
def rng():
    """Random directions: the same ones in every test."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def reference_folder():
    """Folder of files written by other lattice programs; see its README for their origin."""
    default = Path(__file__).resolve().parents[2] / "shared" / "reference"
    folder = Path(os.environ.get("GAUGEFLOW_REFERENCE", default))
    if not folder.is_dir():
        pytest.skip(f"no reference files in {folder}: set GAUGEFLOW_REFERENCE")
    return folder
