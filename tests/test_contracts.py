"""Every row of the case tables is put through its contract; and contracts notice the smallest mistakes."""

from dataclasses import dataclass

import numpy as np
import pytest

from cases.actions import ACTIONS, GAUGE_ACTIONS, QUARK_ACTIONS
from cases.fields import links, scalars
from cases.flows import FLOWS, GAUGE_FLOWS, NeighbourAffine
from gaugeflow import check, kernels
from gaugeflow.actions import ImprovedAction, PulledBack, WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice


@pytest.mark.parametrize("name", ACTIONS)
def test_action(name, rng):
    """Far below the tolerance of 1e-7: this is what the differences can resolve."""
    action, lattice, x = ACTIONS[name]()
    assert check.check_action(action, lattice, x, rng)["force"] < 1e-9


@pytest.mark.parametrize("name", QUARK_ACTIONS)
def test_action_of_quarks(name, rng):
    with use_backend("reference"):
        action, lattice, x = QUARK_ACTIONS[name]()
        assert check.check_action(action, lattice, x, rng)["force"] < 1e-9


@pytest.mark.parametrize("name", GAUGE_ACTIONS)
def test_action_is_gauge_invariant(name, rng):
    action, lattice, x = GAUGE_ACTIONS[name]()
    errors = check.check_gauge_covariance(action, lattice, x, rng)
    assert errors.keys() == {"value", "grad"}


def _rows(table):
    """Names of a table; the smeared sweeps, minutes each to compile and differentiate, run with ``-m slow``."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("smeared") else []) for name in table]


@pytest.mark.parametrize("name", _rows(FLOWS))
def test_flow(name, rng):
    flow, lattice, params, x = FLOWS[name]()
    check.check_flow(flow, lattice, params, x, rng)


@pytest.mark.parametrize("name", ["smeared U(1), four colours", "smeared SU(2)", "smeared SU(3)"])
def test_smeared_flow_on_the_reference(name, rng):
    """Nothing to compile; that the kernels equal the reference is tested elsewhere."""
    flow, lattice, params, x = FLOWS[name]()
    with use_backend("reference"):
        errors = check.check_flow(flow, lattice, params, x, rng)
    assert {"x_bar", "params_bar delta", "score", "log_det"} <= errors.keys()


@pytest.mark.parametrize("name", _rows(GAUGE_FLOWS))
def test_flow_is_gauge_covariant(name, rng):
    flow, lattice, params, x = GAUGE_FLOWS[name]()
    errors = check.check_gauge_covariance(flow, lattice, x, rng, params=params)
    assert errors.keys() == {"links", "log_det"}


@dataclass(frozen=True)
class Quartic:
    """S = sum x^2 / 2 + x^4 / 10."""

    def value(self, x):
        return np.sum(x**2 / 2 + x**4 / 10, axis=0)

    def grad(self, x):
        return x + 0.4 * x**3


def test_pulled_back_action(rng):
    """S o f - log det f is again an action: value and gradient agree."""
    flow, lattice, params, x = FLOWS["neighbour affine"]()
    action = PulledBack(Quartic(), flow, params)
    y, log_det = flow.forward(params, x)
    np.testing.assert_allclose(action.value(x), Quartic().value(y) - log_det, rtol=1e-14)
    assert check.check_action(action, lattice, x, rng)["force"] < 1e-9


# ---- the contracts notice mistakes -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Mutated:
    """An action whose gradient is that of another one."""

    action: object
    wrong: object

    def value(self, x):
        return self.action.value(x)

    def grad(self, x):
        return self.wrong.grad(x)


@dataclass(frozen=True)
class PlaneCouplings:
    """Gradient of the Wilson action with a coupling for each plane."""

    lattice: Lattice
    couplings: tuple[float, ...]

    def grad(self, x):
        return kernels.wilson_force(self.lattice, x, self.couplings)


LATTICE = Lattice((4, 2, 3, 2))
WILSON = WilsonAction(LATTICE, 6.0)
SYMANZIK = ImprovedAction(LATTICE, 6.0)


@pytest.mark.parametrize(
    ("action", "wrong"),
    [
        pytest.param(WILSON, PlaneCouplings(LATTICE, (6.0,) * 5 + (-6.0,)), id="sign of one plane"),
        pytest.param(WILSON, PlaneCouplings(LATTICE, (6.0,) * 5 + (0.0,)), id="one plane missing"),
        pytest.param(WILSON, PlaneCouplings(LATTICE, (6.0,) * 5 + (6.0 + 1e-5,)), id="one coupling off by 2e-6"),
        pytest.param(WILSON, WilsonAction(LATTICE, -6.0), id="sign"),
        pytest.param(SYMANZIK, WilsonAction(LATTICE, 6.0 * 5 / 3), id="rectangles missing"),
        pytest.param(SYMANZIK, ImprovedAction(LATTICE, 6.0, 1 / 12), id="sign of c1"),
        pytest.param(WILSON, WilsonAction(LATTICE, 6.0, anisotropy=1e-5), id="anisotropy of 1e-5"),
    ],
)
def test_wrong_forces_are_found(action, wrong, rng):
    with pytest.raises(check.ContractError, match=r"force: .* exceeds 1e-07"):
        check.check_action(Mutated(action, wrong), LATTICE, links(LATTICE, 3, 8), rng)


def test_force_outside_the_algebra_is_found(rng):
    class Hermitian:
        value = staticmethod(WILSON.value)

        def grad(self, x):
            return WILSON.grad(x) + 1e-6 * np.eye(3)[:, :, None]

    with pytest.raises(check.ContractError, match="tangent"):
        check.check_action(Hermitian(), LATTICE, links(LATTICE, 3, 8), rng)


def test_mixed_configurations_are_found(rng):
    class Mixed:
        grad = staticmethod(WILSON.grad)

        def value(self, x):
            return WILSON.value(x) + 1e-6 * np.mean(WILSON.value(x))

    with pytest.raises(check.ContractError, match="lanes"):
        check.check_action(Mixed(), LATTICE, links(LATTICE, 3, 8), rng)


def test_changed_arguments_are_found(rng):
    class Reckless:
        value = staticmethod(WILSON.value)

        def grad(self, x):
            x[0, 0, 0, 0, 0] *= 1.0 + 1e-15
            return WILSON.grad(x)

    with pytest.raises(check.ContractError, match="an argument was changed"):
        check.check_action(Reckless(), LATTICE, links(LATTICE, 3, 8), rng)


def test_not_a_number_is_found(rng):
    class Broken:
        grad = staticmethod(Quartic().grad)

        def value(self, x):
            return np.sqrt(Quartic().value(x) * np.nan)

    with pytest.raises(check.ContractError, match="nan"):
        check.check_action(Broken(), Lattice((2, 4)), scalars(Lattice((2, 4)), 3), rng)


def _mutated_flow(method, change):
    """A NeighbourAffine whose ``method`` has its result changed."""

    def changed(self, *arguments):
        return change(*getattr(NeighbourAffine, method)(self, *arguments))

    return type("Mutant", (NeighbourAffine,), {method: changed})


@pytest.mark.parametrize(
    ("method", "change", "complaint"),
    [
        ("forward", lambda y, log_det: (y, -log_det), "log_det: "),
        ("forward", lambda y, log_det: (y, log_det * (1 + 1e-6)), "log_det: "),
        ("inverse", lambda x, log_det: (x + 1e-11, log_det), "round_trip"),
        ("inverse", lambda x, log_det: (x, -log_det), "round_trip"),
        ("vjp", lambda params_bar, x_bar: (params_bar, x_bar * (1 + 1e-6)), "x_bar"),
        ("vjp", lambda params_bar, x_bar: ({**params_bar, "b": -params_bar["b"]}, x_bar), "params_bar b"),
        ("vjp", lambda params_bar, x_bar: ({"b": params_bar["b"]}, x_bar), "expected .*scale/a"),
    ],
)
def test_wrong_flows_are_found(method, change, complaint, rng):
    _, lattice, params, x = FLOWS["neighbour affine"]()
    with pytest.raises(check.ContractError, match=complaint):
        check.check_flow(_mutated_flow(method, change)(lattice), lattice, params, x, rng)


def test_flow_that_does_not_start_at_the_identity_is_found(rng):
    _, lattice, params, x = FLOWS["neighbour affine"]()
    flow = type("Eager", (NeighbourAffine,), {"init": lambda self, rng: params})(lattice)
    with pytest.raises(check.ContractError, match="identity"):
        check.check_flow(flow, lattice, params, x, rng)


@dataclass(frozen=True)
class ClassFunction:
    """U' = exp(a P(U)) U on every link by itself: rotation angles move by a sin(angle)."""

    lattice: Lattice

    def forward(self, params, x):
        return kernels.evolve(self.lattice, x, kernels.project(self.lattice, x), params["a"]), None


@pytest.mark.parametrize("n", [1, 2])
def test_brute_force_determinant_is_exact(n):
    """SU(2) with angle t has the measure sin^2 t dt, so det = (dt'/dt) (sin t' / sin t)^2; U(1) has dt'/dt."""
    lattice, a = Lattice((2, 2)), 0.3
    x = links(lattice, n, 1)
    angle = np.angle(x) if n == 1 else np.arccos(np.real(x[:, :, 0, 0] + x[:, :, 1, 1]) / 2)
    moved = angle + a * np.sin(angle)
    expected = np.log(1 + a * np.cos(angle)) + (0 if n == 1 else 2 * np.log(np.sin(moved) / np.sin(angle)))
    found = check.brute_force_log_det(ClassFunction(lattice), lattice, {"a": a}, x)
    np.testing.assert_allclose(found, expected.sum(), atol=1e-9)


def test_brute_force_determinant_refuses_large_lattices():
    lattice = Lattice((8, 8))
    with pytest.raises(ValueError, match="1024 dimensions"):
        check.brute_force_log_det(ClassFunction(lattice), lattice, {"a": 0.1}, links(lattice, 3, 1))


def test_gauge_dependence_is_found(rng):
    @dataclass(frozen=True)
    class FirstLinks:
        name: str = "first links"

        def __call__(self, x):
            return np.real(x[0, 0, 0, 0, :])

    class Fixed:
        def value(self, x):
            return np.sum(np.real(x[0, :, 0, 0, :]), axis=0)

        def grad(self, x):
            return x

    class Shift(NeighbourAffine):
        def forward(self, params, x):
            turn = np.broadcast_to(np.diag([0.1j, -0.1j, 0.0])[:, :, None], x.shape)
            return kernels.evolve(LATTICE, x, turn, 1.0), np.zeros(x.shape[-1])

    x = links(LATTICE, 3, 8)
    for subject, name in ((FirstLinks(), "value"), (Fixed(), "value"), (Shift(LATTICE), "links")):
        with pytest.raises(check.ContractError, match=name):
            check.check_gauge_covariance(subject, LATTICE, x, rng, params={})


def test_observable_contract():
    @dataclass(frozen=True)
    class Moments:
        function: object
        name: str = "moments"

        def __call__(self, x):
            return self.function(x)

    lattice = Lattice((2, 4))
    x = scalars(lattice, 5)
    check.check_observable(Moments(lambda x: np.stack([x.mean(0), (x * x).mean(0)])), lattice, x)
    for function, complaint in (
        (lambda x: x.mean(), "expected float64"),
        (lambda x: x.mean(0).astype(np.float32), "got float32"),
        (lambda x: x.mean(0) * np.inf, "finite"),
        (lambda x: x.mean(0) - x.mean(), "lanes"),
    ):
        with pytest.raises(check.ContractError, match=complaint):
            check.check_observable(Moments(function), lattice, x)
    with pytest.raises(check.ContractError, match="name"):
        check.check_observable(Moments(lambda x: x.mean(0), name=""), lattice, x)


class Walk:
    """A random walk whose state is (x, number of steps)."""

    def __init__(self, in_place=False, hidden=False):
        self.in_place, self.hidden, self.count = in_place, hidden, 0

    def init(self, x):
        return {"x": x, "steps": np.zeros(())}

    def step(self, rng, state):
        move = rng.standard_normal(state["x"].shape)
        if self.in_place:
            state["x"] += move
        if self.hidden:
            self.count += 1
        return {"x": state["x"] + move + self.count, "steps": state["steps"] + 1}, {"size": np.abs(move).mean()}


def test_sampler_contract():
    x = np.zeros((8, 3))
    check.check_sampler(Walk(), x, lambda: np.random.default_rng(3))
    with pytest.raises(check.ContractError, match="changed"):
        check.check_sampler(Walk(in_place=True), x, lambda: np.random.default_rng(3))
    with pytest.raises(check.ContractError, match="different states"):
        check.check_sampler(Walk(hidden=True), x, lambda: np.random.default_rng(3))
    with pytest.raises(check.ContractError, match="not finite"):
        check.check_sampler(Walk(), x + np.inf, lambda: np.random.default_rng(3))


class Tanh:
    """y_o = tanh(sum_c w_oc x_c)."""

    def __init__(self, sign=1.0):
        self.sign = sign

    def init(self, rng):
        return {"w": np.ones((2, 3))}

    def forward(self, params, x):
        return np.tanh(np.tensordot(params["w"], x, axes=1))

    def vjp(self, params, x, y, y_bar):
        inner = y_bar * (1 - y * y)
        return {"w": np.tensordot(inner, x, axes=((1, 2), (1, 2)))}, self.sign * np.tensordot(params["w"].T, inner, 1)


def test_module_contract(rng):
    lattice = Lattice((2, 4))
    params, x = {"w": rng.standard_normal((2, 3))}, rng.standard_normal((3, 8, 2))
    errors = check.check_module(Tanh(), lattice, params, x, rng)
    assert max(errors.values()) < 1e-9
    with pytest.raises(check.ContractError, match="x_bar"):
        check.check_module(Tanh(-1.0), lattice, params, x, rng)


def test_single_precision_is_refused(rng):
    lattice = Lattice((2, 2))
    with pytest.raises(ValueError, match="double precision"):
        check.check_action(WilsonAction(lattice, 1.0), lattice, links(lattice, 1, 8).astype(np.complex64), rng)


def test_tangent_coordinates_are_orthonormal(rng):
    """<w, w> is the sum of squares of the coordinates, for every N and fold."""
    for n, fold in ((1, None), (2, (2, 1)), (3, None)):
        lattice = Lattice((4, 2), fold)
        group, x = SU(lattice), links(lattice, n, 8 // lattice.n_folds)
        c = rng.standard_normal((group.dimension(x), lattice.batch(x.shape[-1])))
        w = group.tangent(x, c)
        np.testing.assert_allclose(group.coordinates(w), c, atol=1e-14)
        np.testing.assert_allclose(group.inner(w, w), (c * c).sum(axis=0), rtol=1e-13)
        np.testing.assert_allclose(group.project(w), w, atol=1e-15)
