"""Fixtures of the file format tests."""

from collections.abc import Callable

import numpy as np
import pytest

from gaugeflow.io import Config


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
