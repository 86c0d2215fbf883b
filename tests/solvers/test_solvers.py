"""Linear systems: true residuals, systems that converge on their own, and errors instead of wrong vectors."""

from itertools import pairwise

import array_api_strict
import numpy as np
import pytest

from cases.fields import links
from gaugeflow import random
from gaugeflow.backend import use_backend
from gaugeflow.errors import ConvergenceError
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Staggered, Wilson, even_odd, gaussian, reduced
from gaugeflow.operators.dense import matrix
from gaugeflow.solvers import bicgstab, cg, multi_shift_cg, refined_cg, solve

METHODS = ("cg", "refined", "bicgstab")
LIGHT = "twisted mass u1 2d"


def _norms(lattice, x):
    """Norms of every field and configuration, in plain NumPy."""
    lanes = (abs(x) ** 2).sum(axis=(-4, -3, -2))
    return np.sqrt(lanes.reshape(*lanes.shape[:-1], lattice.n_folds, -1).sum(axis=-2))


def _relative(operator, b, image):
    return _norms(operator.lattice, b - image) / _norms(operator.lattice, b)


def _normal(operator, x, shift=0.0):
    return operator.adjoint(operator.apply(x)) + shift * x


# ---- solutions -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fields", [0, 3])
@pytest.mark.parametrize("shift", [0.0, 0.3])
@pytest.mark.parametrize("solver", [cg, refined_cg])
def test_normal_equations(make, source, solver, shift, fields):
    operator = even_odd(make("clover su2 2d smallest, mass" if shift else "clover u1 2d"))
    b = source(operator, fields)
    found = solver(operator, b, shift=shift, tolerance=1e-11)
    assert found.x.shape == b.shape
    assert found.iterations.shape == found.residual.shape == found.converged.shape == ((fields, 3) if fields else (3,))
    assert found.converged.all()
    residual = _relative(operator, b, _normal(operator, found.x, shift))
    assert residual.max() <= 1e-11
    np.testing.assert_allclose(found.residual, residual, rtol=1e-3)
    dense = matrix(operator)
    square = np.conj(np.swapaxes(dense, 1, 2)) @ dense + shift * np.eye(dense.shape[1])
    column = b[0] if fields else b
    expected = np.linalg.solve(square, column.reshape(-1, 3).T[..., None])[..., 0].T
    np.testing.assert_allclose((found.x[0] if fields else found.x).reshape(-1, 3), expected, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name",
    [
        "clover su2 4d planes, anisotropic, phases",
        "staggered su2 3d, anisotropic",
        "clover u1 2d, stout",
        "wilson u1 2d odd extents",
        "twisted mass u1 2d",
    ],
)
def test_solve(make, source, name, method):
    """On all sites, whether the lattice has parities or not."""
    operator = make(name)
    for b in (source(operator), source(operator, 2)):
        found = solve(operator, b, method=method, tolerance=1e-11)
        residual = _relative(operator, b, operator.apply(found.x))
        assert residual.max() <= 1e-11
        np.testing.assert_allclose(found.residual, residual, rtol=1e-2)
        assert found.x.shape == b.shape
    column = np.linalg.solve(matrix(operator), b[0].reshape(-1, 3).T[..., None])[..., 0].T
    np.testing.assert_allclose(found.x[0].reshape(-1, 3), column, atol=1e-9 * abs(column).max())


def test_fold(make, source):
    name = "staggered u1 2d"
    operator, folded = make(name), make(name, fold=(2, 1))
    found, moved = (solve(o, source(o), tolerance=1e-12) for o in (operator, folded))
    np.testing.assert_allclose(folded.lattice.unpack(moved.x), operator.lattice.unpack(found.x), atol=1e-10)
    np.testing.assert_array_equal(found.iterations, moved.iterations)


def test_strict_arrays(make, source):
    """Nothing beyond the array API standard."""
    operator = make(LIGHT)
    b = source(operator)
    strict, strict_b = operator.with_links(array_api_strict.asarray(operator.links)), array_api_strict.asarray(b)
    for method in METHODS:
        found = np.asarray(solve(strict, strict_b, method=method).x)
        np.testing.assert_allclose(found, solve(operator, b, method=method).x, atol=1e-9)
    schur, strict_schur = even_odd(operator), even_odd(strict)
    odd = source(schur)
    for one, two in zip(
        multi_shift_cg(strict_schur, array_api_strict.asarray(odd), [0.1, 0.4]),
        multi_shift_cg(schur, odd, [0.1, 0.4]),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(one.x), two.x, atol=1e-9)


def test_compiled(make, source):
    """The kernels that tests of operators compile, on eight configurations."""
    operator = make("clover and twisted mass su3 4d", 8)
    b = source(operator, 2)
    expected = solve(operator, b, tolerance=1e-12)
    with use_backend("numba"):
        found = solve(operator, b, tolerance=1e-12)
    assert abs(found.iterations - expected.iterations).max() <= 1
    np.testing.assert_allclose(found.x, expected.x, atol=1e-10)


@pytest.mark.parametrize("size", [1e-30, 1e30])
@pytest.mark.parametrize("method", METHODS)
def test_sources_of_any_size(make, source, method, size):
    """Also in single precision, whose smallest numbers are 1e-38."""
    operator = make(LIGHT)
    b = source(operator)
    found, scaled = solve(operator, b, method=method), solve(operator, size * b, method=method)
    np.testing.assert_allclose(scaled.x / size, found.x, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_sources_of_zero(make, source, method):
    """Their solution is zero after no iteration, and the others do not mind; a first guess does not matter."""
    operator = make(LIGHT)
    b = source(operator, 2)
    b[0, ..., 1] = 0.0
    found = solve(operator, b, method=method)
    assert (found.x[0, ..., 1] == 0.0).all()
    assert found.iterations[0, 1] == found.residual[0, 1] == 0
    assert (found.iterations > 0).sum() == 5
    assert found.converged.all()
    again = cg(operator, b, start=np.ones_like(b))
    assert (again.x[0, ..., 1] == 0.0).all()


# ---- systems converge on their own ---------------------------------------------------------------------------------
def _uneven(batch, light):
    """Free massive quarks, and ones on rough links in a few configurations."""
    lattice = Lattice((8, 8))
    u = np.ones((2, 64, 1, 1, batch), dtype=complex)
    u[..., light] = links(lattice, 1, len(light))
    return Wilson(lattice=lattice, kappa=0.2, links=u)


def _rough(kappa, extent=12):
    """A batch of three on random links; at kappa 0.3 the condition number of the normal equations is about 130."""
    lattice = Lattice((extent, extent))
    return Wilson(lattice=lattice, kappa=kappa, links=links(lattice, 1, 3))


@pytest.mark.parametrize("solver", [cg, refined_cg, bicgstab])
def test_configurations_stop_on_their_own(counting, source, solver):
    """Iterations are those of every configuration alone, and what has converged costs nothing once a register is empty."""
    light = [5, 40]
    operator = _uneven(48, light)
    b = source(operator)
    counted = counting(operator)
    found = solver(counted, b)
    longest = found.iterations.max()
    easy = np.delete(found.iterations, light)
    assert longest > 1.2 * found.iterations.min()
    assert easy.max() < longest or solver is bicgstab  # to which quarks on rough links are no harder
    for c in (0, 5, 17, 40):
        alone = solver(operator.select([c]), b[..., [c]])
        assert abs(alone.iterations[0] - found.iterations[c]) <= (2 if solver is refined_cg else 0)
        np.testing.assert_allclose(found.x[..., c], alone.x[..., 0], atol=1e-8)
    applied = sum(counted.counts.values())
    assert applied < 2 * (found.iterations.sum() + 16 * longest) + 8 * 48
    if solver is cg:
        assert applied < 0.7 * 2 * 48 * longest


@pytest.mark.parametrize("solver", [cg, refined_cg, bicgstab])
def test_fields_stop_on_their_own(counting, source, solver):
    """A stack of which some fields are solved, or nearly, at the start."""
    operator = even_odd(_rough(0.27))
    b = source(operator, 4)
    options = {} if solver is bicgstab else {"tolerance": 1e-10}
    solution = solver(operator, b, **options).x
    start = np.zeros_like(b)
    start[1] = solution[1]
    start[2] = solution[2] * (1 + 1e-8)
    counted = counting(operator)
    found = solver(counted, b, start=start, **options)
    assert (found.iterations[1] == 0).all()
    assert (found.iterations[2] > 0).all()
    assert found.iterations[2].max() < 0.6 * found.iterations[[0, 3]].min()
    assert found.converged.all()
    longest = found.iterations.max(axis=1).sum()
    true_residuals = 0.5 * longest if solver is refined_cg else 0
    assert sum(counted.counts.values()) <= 3 * (2 * longest + true_residuals + 8 * 4)


def test_reliable_updates(counting, source):
    """Single precision needs hardly more iterations than double precision, and few true residuals."""
    operator = even_odd(_rough(0.3))
    eigenvalues = np.linalg.svd(matrix(operator), compute_uv=False) ** 2
    assert (eigenvalues.max(axis=1) / eigenvalues.min(axis=1)).max() > 100
    b = source(operator)
    counted = counting(operator)
    found, double = refined_cg(counted, b, tolerance=1e-12), cg(operator, b, tolerance=1e-12)
    assert _relative(operator, b, _normal(operator, found.x)).max() <= 1e-12
    assert found.iterations.max() <= 1.25 * double.iterations.max()
    assert counted.counts["complex128"] < 0.3 * counted.counts["complex64"]


# ---- many shifts ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fields", [0, 2])
def test_many_shifts(counting, make, source, fields):
    operator = even_odd(make("wilson su2 4d anisotropic"))
    b = source(operator, fields)
    shifts = [0.5, 0.0, 0.02, 3.0]
    counted = counting(operator)
    found = multi_shift_cg(counted, b, shifts, tolerance=[1e-10, 1e-11, 1e-10, 1e-6])
    for shift, tolerance, solution in zip(shifts, [1e-10, 1e-11, 1e-10, 1e-6], found, strict=True):
        residual = _relative(operator, b, _normal(operator, solution.x, shift))
        assert residual.max() <= tolerance
        np.testing.assert_allclose(solution.residual, residual, rtol=1e-3)
        one = cg(operator, b, shift=shift, tolerance=tolerance)
        assert abs(one.iterations - solution.iterations).max() <= 2
        np.testing.assert_allclose(solution.x, one.x, atol=1e-8 if tolerance < 1e-9 else 1e-4)
    iterations = [found[i].iterations for i in (3, 0, 2, 1)]
    assert all((a < c).all() for a, c in pairwise(iterations))
    systems = 3 * max(1, fields)
    assert sum(counted.counts.values()) <= 2 * systems * (found[1].iterations.max() + len(shifts))


def test_many_shifts_stop_on_their_own(counting, source):
    operator = _uneven(48, [5, 40])
    b = source(operator)
    counted = counting(operator)
    found = multi_shift_cg(counted, b, [0.0, 0.3])
    for c in (5, 17):
        for one, all_of_them in zip(multi_shift_cg(operator.select([c]), b[..., [c]], [0.0, 0.3]), found, strict=True):
            assert one.iterations[0] == all_of_them.iterations[c]
            np.testing.assert_allclose(all_of_them.x[..., c], one.x[..., 0], atol=1e-9)
    assert sum(counted.counts.values()) < 0.95 * 2 * 48 * found[0].iterations.max()


def test_bad_shifts(make, source):
    operator = make(LIGHT)
    b = source(operator)
    for shifts in ([], [0.1, -0.2]):
        with pytest.raises(ValueError, match="non-negative numbers, at least one"):
            multi_shift_cg(operator, b, shifts)
    with pytest.raises(ValueError, match="expected one number or 2, got 3"):
        multi_shift_cg(operator, b, [0.1, 0.2], tolerance=[1e-8] * 3)
    with pytest.raises(ValueError, match=r"shift: expected a non-negative number, got -0\.1"):
        cg(operator, b, shift=-0.1)


# ---- errors instead of wrong vectors -------------------------------------------------------------------------------
SOLVERS = {
    "cg": cg,
    "refined": refined_cg,
    "bicgstab": bicgstab,
    **{f"solve {m}": lambda o, b, m=m, **k: solve(o, b, method=m, **k) for m in METHODS},
}


def _image(name, operator, x):
    return operator.apply(x) if name.startswith(("solve", "bicg")) else _normal(operator, x)


@pytest.mark.parametrize("name", SOLVERS)
def test_too_few_iterations(make, source, name):
    """The error names kappa, residual, configuration and field; without it, residual and verdict are true."""
    operator = make("wilson u1 2d")
    b = source(operator, 2)
    b[0] = 0.0
    message = (
        r"Wilson\(kappa 0\.21\): .* has residual 0\.\d+ after 3 iterations in configuration \d, field 1 of the stack"
    )
    with pytest.raises(ConvergenceError, match=message):
        SOLVERS[name](operator, b, max_iterations=3)
    found = SOLVERS[name](operator, b, max_iterations=3, strict=False)
    np.testing.assert_array_equal(found.converged, [[True] * 3, [False] * 3])
    assert (found.iterations == [[0], [3]]).all()
    residual = _relative(operator, b[1:], _image(name, operator, found.x[1:]))
    np.testing.assert_allclose(found.residual[1:], residual, rtol=1e-6)
    with pytest.raises(ConvergenceError, match="after 0 iterations"):
        SOLVERS[name](operator, b[1], max_iterations=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["links", "source"])
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_numbers_that_are_not_finite(make, source, name, where, bad):
    """One configuration is bad: it is named, and the others are solved all the same."""
    operator = make("wilson u1 2d")
    b = source(operator)
    u = operator.links.copy()
    (u if where == "links" else b)[..., 0, 0, 1] = bad
    operator = operator.with_links(u)
    with pytest.raises(ConvergenceError, match=r"residual nan after \d+ iterations in configuration 1;"):
        SOLVERS[name](operator, b)
    found = SOLVERS[name](operator, b, strict=False)
    np.testing.assert_array_equal(found.converged, [True, False, True])
    good = [0, 2]
    few = operator.select(good)
    assert _relative(few, b[..., good], _image(name, few, found.x[..., good])).max() <= 1e-10


def test_many_shifts_fail_loudly(make, source):
    operator = make("wilson u1 2d")
    b = source(operator)
    with pytest.raises(ConvergenceError, match=r"kappa 0\.21.* \+ 0\.1\) x = b has residual .* configuration \d"):
        multi_shift_cg(operator, b, [0.1, 2.0], max_iterations=4)
    b[0, 0, 0, 2] = np.nan
    with pytest.raises(ConvergenceError, match="residual nan after 0 iterations in configuration 2"):
        multi_shift_cg(operator, b, [0.1, 2.0])
    found = multi_shift_cg(operator, b, [0.1, 2.0], strict=False)
    np.testing.assert_array_equal(found[0].converged, [True, True, False])


def test_unreachable_tolerance(make, source):
    """Rounding ends the descent: no endless loop, and the residual that is there."""
    operator = make("wilson u1 2d")
    b = source(operator)
    for solver in SOLVERS.values():
        found = solver(operator, b, tolerance=1e-18, strict=False)
        assert not found.converged.any()
        assert (found.residual < 1e-14).all()
        assert found.iterations.max() < 2000


def test_bicgstab_says_when_it_is_lost(source):
    """Eigenvalues on all sides of zero; conjugate gradients still converge."""
    operator = even_odd(_rough(0.45))
    b = source(operator)
    found = bicgstab(operator, b, strict=False, max_iterations=300)
    residual = _relative(operator, b, operator.apply(found.x))
    np.testing.assert_allclose(found.residual, residual, rtol=1e-3)
    assert not found.converged.all()
    with pytest.raises(ConvergenceError, match="by BiCGStab has residual"):
        bicgstab(operator, b, max_iterations=300)
    assert cg(operator, b).converged.all()


def test_bad_arguments(make, source):
    operator = make("wilson u1 2d")
    b = source(operator)
    with pytest.raises(ValueError, match="method: expected one of"):
        solve(operator, b, method="gmres")
    with pytest.raises(ValueError, match="b: expected shape"):
        solve(operator, b[:5])
    with pytest.raises(ValueError, match="expected shape"):
        cg(operator, b[..., :2])
    low = operator.with_links(operator.links.astype(np.complex64))
    for solver in (refined_cg, lambda o, b: solve(o, b, method="refined")):
        with pytest.raises(TypeError, match="double precision, got complex64"):
            solver(low, b.astype(np.complex64))
    assert cg(low, b.astype(np.complex64), tolerance=1e-5).x.dtype == np.complex64


def test_massless_staggered_fermions_have_no_schur_complement():
    """There is no mass to divide by: the solver works on D itself, which antiperiodic time makes invertible."""
    lattice = Lattice((4, 4))
    operator = Staggered(lattice=lattice, links=random.haar_links(random.Rng(5), lattice, 1, 2), mass=0.0)
    b = gaussian(random.Rng(6), operator)
    assert reduced(operator) is operator
    x = solve(operator, b, tolerance=1e-11).x
    assert np.linalg.norm(operator.apply(x) - b) < 1e-10 * np.linalg.norm(b)
