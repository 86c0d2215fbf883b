"""Fixtures of the file format tests."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gaugeflow.io import Config


@pytest.fixture
def reference() -> Path:
    """Folder of files written by other programs; see its README for their origin."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "reference"
    folder = Path(os.environ.get("GAUGEFLOW_REFERENCE", default))
    if not folder.is_dir():
        pytest.skip("no reference files: set GAUGEFLOW_REFERENCE")
    return folder


@pytest.fixture(scope="session")
def random_config() -> Callable[..., Config]:
    """Factory of configurations of random SU(N) matrices; all extents differ so that no axes can be confused."""

    def make(n: int = 3, shape: tuple[int, ...] = (4, 1, 3, 2), seed: int = 7) -> Config:
        rng = np.random.default_rng(seed)
        size = (len(shape), *shape, n, n)
        unitary, upper = np.linalg.qr(rng.normal(size=size) + 1j * rng.normal(size=size))
        diagonal = np.diagonal(upper, axis1=-2, axis2=-1)
        unitary = unitary * (diagonal / abs(diagonal))[..., None, :]
        return Config(unitary / (np.linalg.det(unitary) ** (1 / n))[..., None, None])

    return make
