"""Dirac operators and solvers on device arrays in the simulator: the numbers of the host, and nothing crosses unseen."""

from contextlib import nullcontext

import cupy
import numpy as np
import pytest

from cases.kernels import Case
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Staggered, Wilson, even_odd, gaussian
from gaugeflow.random import Rng
from gaugeflow.solvers import cg, solve

FOLDED = Lattice((4, 2), (2, 1))
OPERATORS = {
    "wilson": lambda u: Wilson(lattice=FOLDED, links=u, kappa=0.1, twisted_mass=0.2),
    "clover": lambda u: Clover(lattice=FOLDED, links=u, mass=0.3, csw=1.2, boundary=(np.exp(0.4j), 1.0)),
    "staggered": lambda u: Staggered(lattice=FOLDED, links=u, mass=0.4),
}
PLACES = {"device": (cupy.asarray, nullcontext), "host": (np.asarray, lambda: use_backend("reference"))}


def _each_place(name, call, n=2):
    """Results of ``call(operator, case)`` as arrays of the host."""
    found = {}
    for place, (asarray, backend) in PLACES.items():
        case = Case(FOLDED, n, 2, np.complex128, asarray)
        with backend():
            results = call(OPERATORS[name](case.links), case)
        assert all(type(r) is type(case.links) for r in results)
        found[place] = [r.get() if place == "device" else r for r in results]
    return zip(found["device"], found["host"], strict=True)


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_equals_that_of_the_host(name):
    def call(operator, case):
        schur, spin = even_odd(operator), operator.spin
        left, right = (case.fermions(None, spin, 2, seed) for seed in (0, 1))
        odd = case.fermions(case.odd, spin)
        extra = [schur.log_det_rest_force()] if name == "clover" else []
        return [
            operator.apply(left),
            operator.adjoint(left),
            operator.force(left, right),
            schur.apply(odd),
            schur.adjoint(odd),
            schur.force(odd, 2.0 * odd),
            schur.complete(odd, left[0, ...]),
            schur.log_det_rest(),
            gaussian(Rng(3), schur, 2),
            *extra,
        ]

    for found, expected in _each_place(name, call):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1.0, abs(expected).max()))


@pytest.mark.parametrize("name", OPERATORS)
def test_solution_equals_that_of_the_host(name):
    def call(operator, case):
        solution = solve(operator, case.fermions(None, operator.spin, 2), tolerance=1e-9)
        return solution.x, solution.iterations

    (x, y), (steps, expected) = _each_place(name, call, n=1)
    np.testing.assert_allclose(x, y, atol=1e-8 * abs(y).max())
    np.testing.assert_array_equal(steps, expected)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_copy_their_tables_once(name, crossings):
    case = Case(FOLDED, 1, 1, np.complex128, cupy.asarray)
    first = OPERATORS[name](case.links)
    for operator in (first, first.with_links(case.links)):
        left, odd = case.fermions(None, operator.spin), case.fermions(case.odd, operator.spin)
        crossings.clear()
        schur = even_odd(operator)
        operator.force(left, operator.apply(operator.adjoint(left)))
        schur.force(odd, schur.adjoint(schur.apply(odd)))
        schur.complete(odd, left)
        schur.log_det_rest_force()
    allowed = {"to_host": 1} if name == "clover" else {}  # whether every block has an inverse
    assert dict(crossings) == allowed


def test_conjugate_gradients_ask_once_an_iteration(crossings):
    case = Case(FOLDED, 1, 1, np.complex128, cupy.asarray)
    schur = even_odd(OPERATORS["wilson"](case.links))
    odd = case.fermions(case.odd, 2)
    cg(schur, odd)
    crossings.clear()
    found = cg(schur, odd)
    assert crossings["to_device"] == 0
    asked = crossings["to_host"]
    assert int(found.iterations[0]) < asked < int(found.iterations[0]) + 15
