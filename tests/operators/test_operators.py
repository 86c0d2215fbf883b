"""Every row of the table of operators is put through its contract; and the contract notices the smallest mistakes."""

from dataclasses import replace

import numpy as np
import pytest

from cases.fields import ordered
from cases.operators import OPERATORS
from gaugeflow import check
from gaugeflow.backend import use_backend
from gaugeflow.determinants import log_det
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Smeared, Staggered, Stout, Wilson, even_odd, imaginary_chemical_potential
from gaugeflow.operators.even_odd import split
from gaugeflow.random import Rng, haar_links


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


FOLDED = [
    "wilson su2 2d, charge",
    "clover u1 2d",
    "staggered u1 2d",
    "clover and twisted mass su3 4d",
    "wilson su3 4d, stout",
]


@pytest.mark.parametrize(("name", "folded"), [(name, False) for name in OPERATORS] + [(name, True) for name in FOLDED])
def test_contract(name, folded, rng):
    row = OPERATORS[name]
    with use_backend("reference"):
        operator = row.operator(row.folded if folded else None)
        partner = None if row.partner is None else row.partner(operator)
        errors = check.check_operator(operator, rng, partner=partner)
    assert {"adjoint", "covariance", "force", "gamma_5", "split", "select", "stack"} <= errors.keys()
    assert ("d_charge" in errors) == (operator.potential is not None)
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


@pytest.mark.parametrize("name", ["clover u1 2d, stout", "clover and twisted mass su3 4d", "staggered su3 4d, phases"])
def test_compiled_and_in_single_precision(name):
    """Kernels are compared one by one elsewhere: here their combinations, eight configurations that fill registers."""
    double = replace(OPERATORS[name], batch=8).operator()
    left, right = _fields(double, 2, 6), _fields(double, 2)
    single = double.with_links(double.bound.astype(np.complex64))
    with use_backend("reference"):
        expected = list(_everything(double, left, right))
        low = list(_everything(single, left.astype(np.complex64), right.astype(np.complex64)))
    compiled = list(_everything(double, left, right))
    for i, wanted in enumerate(expected):
        size = max(1.0, abs(wanted).max())
        np.testing.assert_allclose(compiled[i], wanted, atol=1e-13 * size, rtol=0)
        np.testing.assert_allclose(low[i], wanted, atol=2e-5 * size, rtol=0)
        assert low[i].dtype in (np.complex64, np.float64)  # log det is in double precision


def _everything(operator, left, right):
    schur = even_odd(operator)
    l_odd, r_odd = split(operator.lattice, left)[1], split(operator.lattice, right)[1]
    yield operator.apply(right)
    yield operator.adjoint(left)
    yield schur.apply(r_odd)
    yield schur.adjoint(l_odd)
    yield schur.complete(r_odd, right)
    yield schur.force(l_odd, r_odd)
    yield schur.log_det_rest()


# ---- the contract notices mistakes ---------------------------------------------------------------------------------
LATTICE = Lattice((4, 2))
KAPPA = 0.2


def _mistake(method, wrong, base=Wilson, **options):
    """An operator whose method is replaced by ``wrong(original, self, ...)``."""
    original = getattr(base, method)
    kind = type("Mistaken", (base,), {method: lambda self, *a, **k: wrong(original, self, *a, **k)})
    options = options or {"kappa": KAPPA}
    return kind(lattice=LATTICE, boundary=(np.exp(0.3j), 1.0), links=ordered(LATTICE, 2, 3), **options)


TWISTED = {"kappa": KAPPA, "twisted_mass": 0.2}
CLOVER = {"kappa": KAPPA, "csw": 1.2}


def _other(operator, factor):
    """The operator with another clover coefficient."""
    return replace(operator, csw=factor * operator.csw)


@pytest.mark.parametrize(
    ("operator", "error"),
    [
        pytest.param(_mistake("apply", lambda f, s, x: f(s, x) + 1e-9 * x), "adjoint", id="diagonal of the adjoint"),
        pytest.param(_mistake("adjoint", lambda f, s, x: s.apply(x)), "adjoint", id="no adjoint"),
        pytest.param(_mistake("adjoint", lambda f, s, x: f(replace(s, boundary=(1, 1)), x)), "adjoint", id="phases"),
        pytest.param(_mistake("apply", lambda f, s, x: np.conj(f(s, np.conj(x)))), "linear", id="antilinear"),
        pytest.param(_mistake("apply", lambda f, s, x: np.roll(f(s, x), 1, -1)), "select", id="lanes mixed"),
        pytest.param(
            _mistake("apply", lambda f, s, x: f(s, x[:1] if x.ndim == 5 else x) + 0 * x),
            "stack",
            id="one field for all",
        ),
        pytest.param(_mistake("apply", lambda f, s, x: f(s, x) + 1e-8 * x[..., ::-1, :]), "covariance", id="colours"),
        pytest.param(_mistake("force", lambda f, s, x, y: (1 + 1e-7) * f(s, x, y)), "force", id="force off by 1e-7"),
        pytest.param(_mistake("force", lambda f, s, x, y: f(s, y, x)), "force", id="left and right"),
        pytest.param(_mistake("force", lambda f, s, x, y: f(s, x, y) + 1e-9), "tangent", id="not in the algebra"),
        pytest.param(
            _mistake("force", lambda f, s, x, y: f(_other(s, 1 + 1e-5), x, y), Clover, **CLOVER),
            "force",
            id="clover term of the force off by 1e-5",
        ),
        pytest.param(
            _mistake("diagonal_log_det_force", lambda f, s, p: 2 * f(s, p), Clover, **CLOVER),
            "log_det force",
            id="twice",
        ),
        pytest.param(
            _mistake("diagonal_log_det_force", lambda f, s, p: None, Clover, **CLOVER), "has no force", id="no force"
        ),
        pytest.param(
            _mistake("diagonal_log_det", lambda f, s, p: f(s, 1 - p), Clover, **CLOVER), "log_det", id="other parity"
        ),
        pytest.param(
            _mistake("diagonal", lambda f, s, x, p=-1, adjoint=False: f(s, x, p), **TWISTED), "halves", id="T dagger"
        ),
        pytest.param(
            _mistake("eliminate", lambda f, s, x, p, adjoint=False: f(s, x, p), **TWISTED), "halves", id="T^-dagger K"
        ),
        pytest.param(
            _mistake("close", lambda f, s, x, y, p, adjoint=False: f(s, x, -y, p, adjoint)), "schur", id="T + K"
        ),
        pytest.param(
            _mistake("diagonal_inverse", lambda f, s, x, p=-1, adjoint=False: f(s, x, p, not adjoint), **TWISTED),
            "solution",
            id="T^-1",
        ),
        pytest.param(
            _mistake("apply", lambda f, s, x: f(s, x), **TWISTED), "gamma_5", id="twisted, not its own partner"
        ),
        pytest.param(_mistake("d_kappa", lambda f, s, x: f(s, x) + x, **TWISTED), "d_kappa", id="derivative by kappa"),
    ],
)
def test_mistakes_are_noticed(operator, error, rng):
    partner = replace(operator, twisted_mass=-operator.twisted_mass) if error != "gamma_5" else None
    with use_backend("reference"), pytest.raises(check.ContractError, match=error):
        check.check_operator(operator, rng, partner=partner)


# ---- errors --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wilson(lattice=LATTICE), "give kappa or mass, got kappa None and mass None"),
        (lambda: Wilson(lattice=LATTICE, kappa=0.1, mass=0.2), "give kappa or mass, got kappa 0.1 and mass 0.2"),
        (lambda: Wilson(lattice=Lattice((4, 4, 4)), kappa=0.1), "even number of dimensions, got 3"),
        (lambda: Wilson(lattice=LATTICE, kappa=0.1, boundary=(1.0,)), "expected 2 phases"),
        (lambda: Wilson(lattice=LATTICE, kappa=0.1, boundary=(1.0, 0.5)), "modulus 1, got .* in direction 1"),
        (lambda: Wilson(lattice=LATTICE, kappa=0.1, hopping=(1.0,)), "hopping: expected 2 weights"),
        (lambda: Staggered(lattice=LATTICE, hopping=(1.0,) * 3), "hopping: expected 2 weights"),
        (lambda: Clover(lattice=LATTICE, kappa=0.1, csw=(1.0, 1.0)), "csw: expected a number or 1"),
        (lambda: Wilson(lattice=LATTICE, kappa=0.1).zeros(), "has no links"),
        (lambda: Wilson(lattice=LATTICE, kappa=0.1, links=np.zeros((2, 9, 3, 3, 1))), "links: expected shape"),
        (lambda: even_odd(Wilson(lattice=Lattice((3, 4)), kappa=0.1)), "direction 0 has extent 3"),
        (lambda: even_odd(Wilson(lattice=Lattice((6, 4), (2, 1)), kappa=0.1)), "the same in all lanes"),
        (lambda: Stout(float("nan")), "rho: expected a number that is finite"),
        (lambda: Stout(0.1, -1), "0 or more, got -1"),
        (lambda: Smeared(operator=Wilson(lattice=LATTICE, kappa=0.1), smearing=Stout((0.1, 0.2))), "a number rho or 1"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture
def reference():
    """Nothing is compiled."""
    with use_backend("reference"):
        yield


@pytest.mark.usefixtures("reference")
def test_bad_fields():
    links = ordered(LATTICE, 2, 3)
    operator = Wilson(lattice=LATTICE, kappa=0.2, links=links)
    psi = operator.zeros()
    for method in (operator.apply, operator.adjoint, operator.diagonal, even_odd(operator).prepare):
        with pytest.raises(ValueError, match="expected shape"):
            method(psi[:4])
    with pytest.raises(TypeError, match="complex64"):
        operator.apply(psi.astype(np.complex64))
    with pytest.raises(ValueError, match="left: expected shape"):
        operator.force(psi[..., :1], psi)
    with pytest.raises(ValueError, match="needs the kappa form"):
        Clover(lattice=LATTICE, mass=0.2, links=links).d_kappa(psi)
    with pytest.raises(ValueError, match="divides by the mass"):
        even_odd(Staggered(lattice=LATTICE, links=links)).apply(Staggered(lattice=LATTICE, links=links).zeros(0, 1))
    rough = replace(OPERATORS["clover u1 2d"].operator(), csw=40.0)
    with pytest.raises(ValueError, match=r"csw 40\.0\).* determinant <= 0"):
        rough.diagonal_log_det(0)


def test_imaginary_chemical_potential_is_a_boundary_phase():
    """q on every temporal link is exp(i q T) at the boundary, up to a gauge transformation: determinants agree."""
    lattice = Lattice((4, 6))
    links = haar_links(Rng(1), lattice, 1, 2)
    potential = imaginary_chemical_potential(lattice)
    for method in ("dense", "slices"):
        found = log_det(Wilson(lattice=lattice, links=links, kappa=0.2, charge=0.3, potential=potential), method)
        expected = log_det(Wilson(lattice=lattice, links=links, kappa=0.2, boundary=(-np.exp(1.2j), 1.0)), method)
        np.testing.assert_allclose(found.log_abs, expected.log_abs, atol=1e-13)
    neutral = log_det(Wilson(lattice=lattice, links=links, kappa=0.2))
    assert np.all(np.abs(found.log_abs - neutral.log_abs) > 1e-4)


def test_charges_are_refused():
    lattice = Lattice((4, 4))
    links = haar_links(Rng(1), lattice, 1, 4)
    with pytest.raises(ValueError, match=r"expected a potential beside the charge 1\.0"):
        Wilson(lattice=lattice, kappa=0.1, charge=1.0)
    with pytest.raises(ValueError, match=r"potential: expected shape \(2, 16, lanes\), got \(2, 16\)"):
        Wilson(lattice=lattice, kappa=0.1, charge=1.0, potential=np.zeros((2, 16)))
    with pytest.raises(TypeError, match="real floating numbers, got complex128"):
        Wilson(lattice=lattice, kappa=0.1, charge=1.0, potential=np.zeros((2, 16, 1), dtype=complex))
    with pytest.raises(ValueError, match="expected 4 lanes as of the links, got 3"):
        Wilson(lattice=lattice, links=links, kappa=0.1, charge=1.0, potential=np.zeros((2, 16, 3))).zeros()
    flat = Wilson(lattice=lattice, links=links, kappa=0.1)
    with pytest.raises(ValueError, match="has no potential"):
        flat.d_charge(flat.zeros())
    wave = np.random.default_rng(1).normal(size=(2, 16, 1))
    curved = Clover(lattice=lattice, links=links, kappa=0.1, csw=1.0, charge=0.1, potential=wave)
    with pytest.raises(ValueError, match="needs a potential without plaquettes"):
        curved.d_charge(curved.zeros())
    assert np.all(np.isfinite(curved.apply(curved.zeros())))  # the operator itself takes any potential
