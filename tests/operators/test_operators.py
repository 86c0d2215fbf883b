"""Every row of the table of operators is put through its contract; and the contract notices the smallest mistakes."""

import numpy as np
import pytest

from cases.operators import OPERATORS
from gaugeflow import check
from gaugeflow.backend import use_backend
from gaugeflow.operators import Clover


def _fields(operator, fields=0, seed=5):
    """Normal numbers that do not depend on the fold: conventional arrays of the whole batch, packed."""
    _, spin, n, lanes = operator.field_shape()
    lattice = operator.lattice
    lead = (fields,) if fields else ()
    numbers = np.random.default_rng(seed).normal(size=(2, lattice.batch(lanes), *lead, *lattice.shape, spin, n))
    psi = lattice.pack(numbers[0] + 1j * numbers[1], components=len(lead))
    return psi.astype(operator.bound.dtype)


def _plain(row, operator, psi):
    """D psi from the plain formulas, configuration by configuration, as a field."""
    lattice = operator.lattice
    u, array = lattice.unpack(operator.bound, components=1), lattice.unpack(psi)
    return lattice.pack(np.stack([row.plain(operator, one, two) for one, two in zip(u, array, strict=True)]))


@pytest.mark.parametrize("name", OPERATORS)
def test_contract(name, rng):
    row = OPERATORS[name]
    with use_backend("reference"):
        operator = row.operator()
        partner = None if row.partner is None else row.partner(operator)
        errors = check.check_operator(operator, rng, partner=partner)
    assert {"adjoint", "covariance", "force", "gamma_5", "split", "select", "stack"} <= errors.keys()
    assert ("schur" in errors) == all(extent % 2 == 0 for extent in row.shape)
    assert ("log_det force" in errors) == isinstance(getattr(operator, "operator", operator), Clover)


@pytest.mark.parametrize("name", OPERATORS)
def test_plain_formulas(name):
    """The operator, and any fold of it, is what the formulas of its docstring say."""
    row = OPERATORS[name]
    with use_backend("reference"):
        operator = row.operator()
        psi = _fields(operator)
        found = operator.apply(psi)
        np.testing.assert_allclose(found, _plain(row, operator, psi), atol=1e-13)
        if row.folded is None:
            return
        folded = row.operator(row.folded)
        left, right = _fields(folded, 0, 6), _fields(folded)
        moved = folded.lattice.unpack(folded.apply(right))
        np.testing.assert_allclose(moved, operator.lattice.unpack(found), atol=1e-13)
        force = operator.lattice.unpack(operator.force(_fields(operator, 0, 6), psi), components=1)
        np.testing.assert_allclose(folded.lattice.unpack(folded.force(left, right), components=1), force, atol=1e-13)
