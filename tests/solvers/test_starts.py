"""First guesses from earlier solutions and from low modes; SciPy's solvers on our operators, and the other way."""

import numpy as np
import pytest
import scipy.sparse.linalg as linalg

from cases.fields import links
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Staggered, Wilson, even_odd
from gaugeflow.operators.dense import matrix
from gaugeflow.operators.hopping import dot
from gaugeflow.solvers import (
    Chronology,
    FromScipy,
    LowModes,
    cg,
    low_modes,
    refined_cg,
    solve,
    spectral_range,
    to_scipy,
)


@pytest.fixture
def light():
    """Two configurations of light quarks on random links."""
    lattice = Lattice((8, 8))
    return Wilson(lattice=lattice, kappa=0.3, links=links(lattice, 1, 2))


def _along(operator, vectors, r):
    return np.array([abs(dot(operator.lattice, v, r)) for v in vectors])


def _residual(operator, b, x, shift=0.0):
    return b - operator.adjoint(operator.apply(x)) - shift * x


# ---- chronological guesses -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("fields", [0, 2])
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_guess_is_the_best_combination(light, source, shift, fields):
    """Its residual is orthogonal to all solutions in memory, of which two may be the same."""
    operator = even_odd(light)
    memory = Chronology(4)
    b = source(operator, fields)
    assert memory.guess(operator, b, shift) is None
    basis = [source(operator, fields, seed) for seed in (11, 12, 13)]
    for v in (*basis, basis[2]):
        memory.add(v)
    x = memory.guess(operator, b, shift)
    assert x.shape == b.shape
    assert _along(operator, basis, _residual(operator, b, x, shift)).max() < 1e-10
    assert _along(operator, basis, b).min() > 1e-3


def test_more_solutions_than_dimensions(source):
    """Odd sites of staggered quarks on 2 x 2 have two components: a third solution is a combination, the guess exact."""
    lattice = Lattice((2, 2))
    operator = even_odd(Staggered(lattice=lattice, mass=0.3, links=links(lattice, 1, 64)))
    b = source(operator, 0)
    for depth in (3, 4):
        memory = Chronology(depth)
        for seed in range(depth):
            memory.add(source(operator, 0, 20 + seed))
        rest = _residual(operator, b, memory.guess(operator, b))
        assert np.linalg.norm(rest) < 1e-11 * np.linalg.norm(b)


def test_guesses_along_a_trajectory(light, source):
    """Systems that change smoothly start the closer to their solution, the more of them are remembered."""
    b = source(even_odd(light))
    found = {}
    for depth in (0, 1, 4):
        memory = Chronology(depth)
        for step in range(7):
            operator = even_odd(Wilson(lattice=light.lattice, kappa=0.28 + 0.001 * step, links=light.links))
            solution = cg(operator, b, start=memory.guess(operator, b), tolerance=1e-9)
            memory.add(solution.x)
        assert len(memory.solutions) == min(depth, 7)
        found[depth] = solution.iterations.max()
    assert found[4] < 0.7 * found[1] < 0.7 * found[0]
    with pytest.raises(ValueError, match="depth must be at least 0, got -1"):
        Chronology(-1)


# ---- low modes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fold", [None, (2, 2)])
def test_low_modes(light, fold):
    lattice = Lattice((8, 8), fold)
    operator = even_odd(Wilson(lattice=lattice, kappa=0.3, links=links(lattice, 1, 2)))
    modes = low_modes(operator, 5)
    assert modes.vectors.shape == (5, *operator.zeros().shape)
    singular = np.linalg.svd(matrix(operator), compute_uv=False)[:, ::-1].T
    np.testing.assert_allclose(modes.values, singular[:5] ** 2, rtol=1e-8)
    for k, v in enumerate(modes.vectors):
        overlaps = np.array([dot(lattice, w, v) for w in modes.vectors])
        np.testing.assert_allclose(overlaps, np.eye(5)[k][:, None] * np.ones(2), atol=1e-10)
        image = operator.adjoint(operator.apply(v))
        values = lattice.spread_folds(modes.values[k])
        np.testing.assert_allclose(image, values * v, atol=1e-6)
    low, high = spectral_range(operator, tolerance=1e-8)
    np.testing.assert_allclose([low, high], singular[[0, -1]] ** 2, rtol=1e-7)


@pytest.mark.parametrize("fields", [0, 2])
def test_deflation(light, source, fields):
    """The guess leaves no residual along the modes; iterations are those of a better condition number."""
    operator = even_odd(light)
    b = source(operator, fields)
    modes = low_modes(operator, 10)
    stack = modes.vectors
    for start in (None, source(operator, fields, 8)):
        residual = _residual(operator, b, modes.improve(operator, b, start, 0.1), 0.1)
        parts = residual if fields else residual[None]
        assert max(_along(operator, stack, r).max() for r in parts) < 1e-7
    for solver in (cg, refined_cg):
        plain, deflated = solver(operator, b), solver(operator, b, deflation=modes)
        assert deflated.iterations.max() < 0.8 * plain.iterations.min()
        assert deflated.residual.max() <= 1e-10
        np.testing.assert_allclose(deflated.x, plain.x, atol=1e-7)
    full = source(light, fields)
    for method in ("cg", "refined", "bicgstab"):
        plain, deflated = solve(light, full, method=method), solve(light, full, method=method, deflation=modes)
        assert deflated.residual.max() <= 1e-10
        if method != "bicgstab":
            assert deflated.iterations.max() < 0.8 * plain.iterations.min()


def test_modes_that_are_not_found(light, monkeypatch):
    operator = even_odd(light)
    with pytest.raises(ValueError, match=r"expected 1 \.\.\. 62 modes of a matrix of 64 rows, got 64"):
        low_modes(operator, 64)

    def lost(*_, **__):
        raise linalg.ArpackNoConvergence("no convergence after 3 iterations", np.zeros(0), np.zeros((64, 0)))

    monkeypatch.setattr(linalg, "eigsh", lost)
    with pytest.raises(ConvergenceError, match=r"kappa 0\.3\), configuration 0: .*no convergence"):
        low_modes(operator, 3)


# ---- adapters ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "fold"), [("clover u1 2d", None), ("clover u1 2d", (2, 2)), ("staggered u1 2d", None)]
)
def test_to_scipy(make, name, fold, rng):
    operator = make(name, 3, fold)
    for one in (operator, even_odd(operator)) if fold is None else (operator,):
        dense = matrix(one)[1]
        adapter = to_scipy(one, 1)
        assert adapter.shape == dense.shape
        v = rng.normal(size=(2, len(dense), 3))
        v = v[0] + 1j * v[1]
        np.testing.assert_allclose(adapter @ v[:, 0], dense @ v[:, 0], atol=1e-13)
        np.testing.assert_allclose(adapter.rmatvec(v[:, 0]), dense.conj().T @ v[:, 0], atol=1e-13)
        np.testing.assert_allclose(adapter @ v, dense @ v, atol=1e-13)
        normal = to_scipy(one, 1, normal=True)
        np.testing.assert_allclose(normal @ v, dense.conj().T @ dense @ v, atol=1e-13)
        np.testing.assert_allclose(normal.rmatvec(v[:, 1]), dense.conj().T @ dense @ v[:, 1], atol=1e-13)


def test_solvers_of_scipy(light, source):
    """GMRES and CG of SciPy agree with ours."""
    operator = even_odd(light)
    b = source(operator)
    column = b[..., 1].reshape(-1)
    x, status = linalg.gmres(to_scipy(operator, 1), column, rtol=1e-11, restart=64)
    assert status == 0
    right = cg(operator, operator.adjoint(b), tolerance=1e-12).x
    np.testing.assert_allclose(x, right[..., 1].reshape(-1), atol=1e-8)
    x, status = linalg.cg(to_scipy(operator, 1, normal=True), operator.adjoint(b)[..., 1].reshape(-1), rtol=1e-12)
    assert status == 0
    np.testing.assert_allclose(x, right[..., 1].reshape(-1), atol=1e-8)


@pytest.mark.parametrize("fields", [0, 2])
@pytest.mark.parametrize("fold", [None, (2, 2)])
def test_from_scipy(source, fields, fold):
    """There and back: matrices of SciPy in solvers of the library."""
    lattice = Lattice((8, 8), fold)
    operator = Wilson(lattice=lattice, kappa=0.2, links=links(lattice, 1, 3))
    b = source(operator, fields)
    there = FromScipy(lattice, tuple(linalg.aslinearoperator(m) for m in matrix(operator)), "matrices")
    np.testing.assert_allclose(there.apply(b), operator.apply(b), atol=1e-13)
    np.testing.assert_allclose(there.adjoint(b), operator.adjoint(b), atol=1e-13)
    np.testing.assert_allclose(cg(there, b).x, cg(operator, b).x, atol=1e-9)
    back = FromScipy(lattice, tuple(to_scipy(operator, c) for c in range(3)))
    np.testing.assert_allclose(back.apply(b), operator.apply(b), atol=1e-13)
    with pytest.raises(ConvergenceError, match="matrices: "):
        cg(there, b, max_iterations=2)
    with pytest.raises(ValueError, match="matrices: expected 3 configurations, got 1"):
        there.apply(lattice.pack(np.ones((1, 8, 8, 2, 1), dtype=complex)))
    assert isinstance(low_modes(operator, 1), LowModes)
