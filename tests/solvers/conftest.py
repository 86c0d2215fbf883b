"""Operators that count what they cost, and fields."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from cases.operators import OPERATORS
from gaugeflow.backend import use_backend


@pytest.fixture(autouse=True)
def reference_backend():
    """Small lattices need no compiled kernels; tests of these choose another back end themselves."""
    with use_backend("reference"):
        yield


@dataclass
class Counting:
    """An operator that counts how often it is applied to one field of one configuration, apart by precision."""

    operator: Any
    counts: dict = field(default_factory=lambda: {"complex128": 0, "complex64": 0})

    @property
    def lattice(self):
        return self.operator.lattice

    @property
    def links(self):
        return self.operator.links

    @property
    def label(self):
        return self.operator.label

    def zeros(self, fields=0):
        return self.operator.zeros(fields)

    def select(self, configurations):
        return Counting(self.operator.select(configurations), self.counts)

    def with_links(self, links):
        return Counting(self.operator.with_links(links), self.counts)

    def _count(self, psi):
        fields = psi.shape[0] if psi.ndim == 5 else 1
        self.counts[str(psi.dtype)] += fields * self.lattice.batch(psi.shape[-1])
        return psi

    def apply(self, psi):
        return self.operator.apply(self._count(psi))

    def adjoint(self, psi):
        return self.operator.adjoint(self._count(psi))


@pytest.fixture
def counting():
    return Counting


@pytest.fixture
def make():
    """Function (row, batch, fold): the operator of a row, on ``batch`` configurations."""

    def operator(name, batch=3, fold=None):
        return replace(OPERATORS[name], batch=batch).operator(fold)

    return operator


@pytest.fixture
def source():
    """Function (operator, fields): normal numbers, the same for every fold."""

    def field_of(operator, fields=0, seed=3):
        zero = operator.zeros(fields)
        lattice = operator.lattice
        rows, spin, n, lanes = zero.shape[-4:]
        lead = (fields,) if fields else ()
        if rows != lattice.n_blocks:
            numbers = np.random.default_rng(seed).normal(size=(2, *zero.shape))
            return (numbers[0] + 1j * numbers[1]).astype(zero.dtype)
        numbers = np.random.default_rng(seed).normal(size=(2, lattice.batch(lanes), *lead, *lattice.shape, spin, n))
        return lattice.pack(numbers[0] + 1j * numbers[1], components=len(lead)).astype(zero.dtype)

    return field_of
