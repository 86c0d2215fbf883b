"""On a GPU: every kernel, contract and system of the suite on CuPy arrays.  Run with ``-m gpu``; skipped without a device."""

import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner

from cases.actions import ACTIONS, GAUGE_ACTIONS
from cases.flows import GAUGE_FLOWS
from cases.kernels import GPU, KERNELS, Case
from gaugeflow import check, devices, random, tree
from gaugeflow.actions import Pseudofermion
from gaugeflow.backend import available_backends, kernels, use_backend
from gaugeflow.cli import main
from gaugeflow.kernels import plaquette
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Staggered, Wilson, even_odd, gaussian
from gaugeflow.samplers import HeatBath
from gaugeflow.solvers import low_modes, multi_shift_cg, solve

pytestmark = pytest.mark.gpu

SHAPE, FOLD = (4, 4, 4, 4), (2, 2, 1, 1)
LAYOUTS = {"plain": (None, 19), "folded": (FOLD, 5), "warp": ((2, 2, 2, 2), 2)}


@pytest.fixture(scope="module")
def cupy():
    state = available_backends()["cupy"]
    if state != "ready":
        pytest.skip(state)
    import cupy

    return cupy


def _results(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize(
    ("name", "n", "dtype", "layout"),
    list(itertools.product(GPU, (1, 2, 3, 4), (np.complex128, np.complex64), LAYOUTS)),
)
def test_kernel_equals_reference(name, n, dtype, layout, cupy):
    fold, batch = LAYOUTS[layout]
    lattice = Lattice(SHAPE, fold)
    found = _results(kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype, cupy.asarray))))
    with use_backend("reference"):
        expected = _results(kernels[name](lattice, *KERNELS[name](Case(lattice, n, batch, dtype))))
    tolerance = 1e-4 if dtype == np.complex64 else 1e-12
    for a, b in zip(found, expected, strict=True):
        assert type(a) is cupy.ndarray
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if name.endswith("_field"):
            np.testing.assert_array_equal(a.get(), b)
        np.testing.assert_allclose(a.get(), b, rtol=0, atol=tolerance * max(1.0, abs(b).max()))


@pytest.mark.parametrize("name", GPU)
def test_calls_repeat_bit_for_bit_on_any_stream(name, cupy):
    lattice = Lattice(SHAPE, FOLD)

    def call():
        arguments = KERNELS[name](Case(lattice, 3, 5, np.complex128, cupy.asarray))
        return [a.get() for a in _results(kernels[name](lattice, *arguments))]

    first = call()
    with cupy.cuda.Stream(non_blocking=True):
        second = call()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_bits_do_not_depend_on_the_fold(dtype, cupy):
    """Multiply-adds are chosen by formulas, and sums are exact."""

    def call(fold):
        lattice = Lattice(SHAPE, fold)
        case = Case(lattice, 3, 2, dtype, cupy.asarray)
        one_number = [
            plaquette(lattice, case.links),
            *kernels["residual_update"](lattice, *KERNELS["residual_update"](case))[1:],
            kernels["inner"](lattice, case.algebra, case.momenta),
            kernels["fermion_dot"](lattice, *KERNELS["fermion_dot"](case)),
        ]
        fields = [
            kernels["wilson_force"](lattice, case.links, 1.3),
            kernels["wilson_hop"](lattice, case.links, case.fermions(), case.factors, 1, -1, 0.3, None, 0.0)[None],
        ]
        return [*one_number, *(lattice.unpack(field, components=1) for field in fields)]

    for first, *others in zip(*(call(fold) for fold, _ in LAYOUTS.values()), strict=True):
        for other in others:
            np.testing.assert_array_equal(other.get(), first.get())


@pytest.mark.parametrize("name", ACTIONS)
def test_action(name, rng, cupy):
    action, lattice, x = ACTIONS[name]()
    check.check_action(action, lattice, cupy.asarray(x), rng)


def _flow(name, cupy):
    """A row of the table, parameters and links on the device."""
    flow, lattice, params, x = GAUGE_FLOWS[name]()
    return flow, lattice, tree.map(cupy.asarray, params), cupy.asarray(x)


@pytest.mark.parametrize("name", GAUGE_FLOWS)
def test_flow(name, rng, cupy):
    flow, lattice, params, x = _flow(name, cupy)
    check.check_flow(flow, lattice, params, x, rng)


@pytest.mark.parametrize("name", GAUGE_ACTIONS)
def test_action_is_gauge_invariant(name, rng, cupy):
    action, lattice, x = GAUGE_ACTIONS[name]()
    check.check_gauge_covariance(action, lattice, cupy.asarray(x), rng)


@pytest.mark.parametrize("name", GAUGE_FLOWS)
def test_flow_is_gauge_covariant(name, rng, cupy):
    flow, lattice, params, x = _flow(name, cupy)
    check.check_gauge_covariance(flow, lattice, x, rng, params=params)


def test_chain_equals_that_of_the_host(cupy):
    """Two steps: each makes rounding errors about a hundred times larger, on any machine."""
    sampler = HeatBath(Lattice(SHAPE, FOLD), 5.7, n_overrelax=2, reunitarise_every=2)
    start = random.haar_links(random.Rng(3), sampler.lattice, 3, 2)
    states = [sampler.init(start), sampler.init(cupy.asarray(start))]
    for _ in range(2):
        states = [sampler.step(random.Rng(4), state)[0] for state in states]
    np.testing.assert_allclose(devices.to_host(states[1].x), states[0].x, atol=1e-7)


FOLDED = Lattice(SHAPE, FOLD)
OPERATORS = {
    "wilson": lambda u: Wilson(lattice=FOLDED, links=u, kappa=0.11, twisted_mass=0.2),
    "clover": lambda u: Clover(lattice=FOLDED, links=u, mass=0.3, csw=1.2, boundary=(np.exp(0.4j), 1.0, 1.0, 1.0)),
    "staggered": lambda u: Staggered(lattice=FOLDED, links=u, mass=0.4),
}


def _each_place(call, cupy, dtype=np.complex128):
    """Results of ``call(case)`` on the device and on the host, pairs of arrays of the host."""
    there = call(Case(FOLDED, 3, 2, dtype, cupy.asarray))
    assert all(type(a) is cupy.ndarray for a in there)
    return zip([a.get() for a in there], call(Case(FOLDED, 3, 2, dtype)), strict=True)


@pytest.mark.parametrize(("name", "dtype"), list(itertools.product(OPERATORS, (np.complex128, np.complex64))))
def test_operator_equals_that_of_the_host(name, dtype, cupy):
    def call(case):
        operator = OPERATORS[name](case.links)
        schur, spin = even_odd(operator), operator.spin
        left, right, odd = case.fermions(None, spin, 2), case.fermions(None, spin, 2, 1), case.fermions(case.odd, spin)
        return [
            operator.apply(left),
            operator.adjoint(left),
            operator.force(left, right),
            schur.apply(odd),
            schur.adjoint(odd),
            schur.force(odd, 2.0 * odd),
            schur.complete(odd, left[0, ...]),
            schur.log_det_rest(),
            gaussian(random.Rng(3), schur, 2),
            *([schur.log_det_rest_force()] if name == "clover" else []),
        ]

    tolerance = 1e-4 if dtype == np.complex64 else 1e-12
    for found, expected in _each_place(call, cupy, dtype):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, abs(expected).max()))


@pytest.mark.parametrize(("name", "method"), list(itertools.product(OPERATORS, ("cg", "refined", "bicgstab"))))
def test_solution_equals_that_of_the_host(name, method, cupy):
    def call(case):
        operator = OPERATORS[name](case.links)
        solution = solve(operator, case.fermions(None, operator.spin, 2), method=method)
        return [solution.x, solution.residual]

    (x, expected), (residual, _) = _each_place(call, cupy)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-8 * abs(expected).max())
    assert residual.max() <= 1e-10


def test_shifted_solutions_equal_those_of_the_host(cupy):
    def call(case):
        schur = even_odd(OPERATORS["wilson"](case.links))
        return [s.x for s in multi_shift_cg(schur, case.fermions(case.odd), (0.0, 0.1, 2.0))]

    for found, expected in _each_place(call, cupy):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * abs(expected).max())


def test_low_modes(cupy):
    schur = even_odd(OPERATORS["clover"](Case(FOLDED, 3, 1, np.complex128, cupy.asarray).links))
    modes = low_modes(schur, 3)
    left = schur.adjoint(schur.apply(modes.vectors))
    right = modes.values[:, None, None, None, :].repeat(FOLDED.n_folds, axis=-1) * modes.vectors
    np.testing.assert_allclose(left.get(), right.get(), atol=1e-6)


@pytest.mark.parametrize("name", ["wilson", "clover"])
def test_pseudofermions_equal_those_of_the_host(name, cupy):
    def call(case):
        x = case.links
        action = Pseudofermion(OPERATORS[name](x)).refreshed(random.Rng(5), x)
        moved = kernels["evolve"](FOLDED, x, case.algebra, 0.05)
        return [action.value(x), action.value(moved), action.grad(moved)]

    for found, expected in _each_place(call, cupy):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * max(1.0, abs(expected).max()))


def test_demo(tmp_path, cupy):
    """The whole system on the device, SU(3) in four dimensions: the flow is worth its name."""
    command = ["demo", "--quick", "--out", str(tmp_path), "--backend", "cupy"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "report.json").read_text())
    assert len(rows) == 2
    assert (tmp_path / "derivatives.png").exists()


def test_bench(cupy):
    result = CliRunner().invoke(main, ["bench", "4x4x4x4", "--backend", "cupy", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert all(row["gbytes_per_second"] > 0 for row in json.loads(result.stdout)["kernels"])
