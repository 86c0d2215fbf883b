"""Arguments that make no sense: numbers that are none, states where fields are expected, actions where levels are."""

import importlib
import math
import pkgutil
import re
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import get_type_hints

import numpy as np
import pytest

import gaugeflow
from gaugeflow.actions import (
    Defect,
    DefectAction,
    Determinant,
    ImprovedAction,
    Inversion,
    Rational,
    ScalarAction,
    Scaled,
    WilsonAction,
    YukawaDeterminant,
)
from gaugeflow.errors import require_finite
from gaugeflow.flows import HoppingSeries
from gaugeflow.flows.gauge import convolution, residual, smeared, smearing
from gaugeflow.flows.loops import trivialising
from gaugeflow.flows.planar import cell, circle, spectral
from gaugeflow.flows.real import affine
from gaugeflow.groups import SU
from gaugeflow.hadrons.propagators import Propagator
from gaugeflow.hadrons.smearing import Gaussian
from gaugeflow.hadrons.sources import Source, point
from gaugeflow.lattice import Box, Lattice
from gaugeflow.nn import activation, linear
from gaugeflow.observables import flow_scales, loops, wilson_loops
from gaugeflow.observables.gradient_flow import AdaptiveStep
from gaugeflow.operators import Clover, Staggered, Stout, Wilson, Yukawa
from gaugeflow.priors import FreeField, Normal
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, LEAPFROG, HeatBath, Level, LinkMetropolis, ScalarMetropolis
from gaugeflow.training import Adam

SQUARE = Lattice((4, 4))
WILSON = WilsonAction(SQUARE, 2.0)
SCALAR = ScalarAction(SQUARE, 0.5)
DIRAC = Wilson(lattice=SQUARE, kappa=0.1)
LINKS = HeatBath(SQUARE, 2.0).cold(2, 4)
"""A state, whose links are its x."""

GOOD = [
    WILSON,
    SCALAR,
    DIRAC,
    LEAPFROG,
    ImprovedAction(SQUARE, 2.0),
    DefectAction(SQUARE, 2.0, Defect(0, Box((0, 0), (1, 2))), 0.5),
    Scaled(0.5, WILSON),
    Inversion(),
    Determinant(DIRAC),
    Rational(DIRAC, 0.1, 2.0),
    Wilson(lattice=SQUARE, mass=0.1),
    Clover(lattice=SQUARE, kappa=0.1),
    Staggered(lattice=SQUARE, mass=0.1),
    Stout(0.1),
    Yukawa(lattice=SQUARE, coupling=0.3),
    YukawaDeterminant(Yukawa(lattice=SQUARE, coupling=0.3)),
    HeatBath(SQUARE, 2.0),
    HMC(SQUARE, (Level(WILSON, 5),)),
    ScalarMetropolis(SCALAR),
    LinkMetropolis(SQUARE, 2.0),
    FreeField(SQUARE, 0.5),
    Normal(SQUARE),
    Adam(lambda step: 0.1),
    affine.AffineCoupling(SQUARE, linear.Convolution(SQUARE, 1, 2)),
    cell.CellSpline(3, 1),
    circle.CircularSpline(),
    circle.ProjectionMixture(),
    convolution.Convolution(),
    residual.ResidualSweep(SQUARE),
    smeared.SmearedSweep(SQUARE),
    smearing.Smearing(),
    spectral.HalfLoop(3),
    trivialising.TrivialisingFlow(SQUARE, 2),
    HoppingSeries(DIRAC),
    activation.LeakyRelu(),
    linear.Convolution(SQUARE, 1, 2),
    linear.ChannelMixing(SQUARE, 1, 2),
    linear.Dense(SQUARE, 1, 2),
    AdaptiveStep(),
    flow_scales.FlowedEnergy(SQUARE, (0.1,)),
    flow_scales.FlowedCharge(SQUARE, (0.1,)),
    Gaussian(1.0, 4),
    Source(np.zeros((2, 16, 2, 2, 1)), (0, 0)),
    Propagator(SQUARE, np.zeros((2, 16, 2, 2, 1)), (0, 0), (-1.0, 1.0)),
]
PARTS = ("actions", "operators", "solvers", "flows", "nn", "priors", "samplers", "training", "observables", "hadrons")
INFINITE = {("Adam", "clip"), ("AffineCoupling", "bound")}  # no limit
RESULTS = {("History", name) for name in ("loss", "ess", "ess_error", "seconds")} | {("HeatBath", "coupling")}


def _numbers(cls):
    """Parameters of a constructor that are floating-point numbers, or lists of them, by their annotations."""
    hints = get_type_hints(cls)
    kinds = {f.name: str(hints[f.name]) for f in fields(cls) if f.init}
    return [name for name, kind in kinds.items() if re.search("float|complex", kind) and "Callable" not in kind]


def _constructors():
    found = set()
    for part in PARTS:
        package = importlib.import_module(f"{gaugeflow.__name__}.{part}")
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(info.name)
            found |= {
                c
                for c in vars(module).values()
                if isinstance(c, type) and is_dataclass(c) and c.__module__ == info.name
            }
    return found


def test_every_constructor_is_tried():
    """A new class with a number among its parameters belongs into the list above."""
    needed = {(c.__name__, name) for c in _constructors() for name in _numbers(c)} - RESULTS
    abstract = {(c, name) for c, name in needed if c in ("HoppingOperator", "Smeared")}
    tried = {(type(good).__name__, name) for good in GOOD for name in _numbers(type(good))}
    assert needed - abstract <= tried


CASES = [(good, name) for good in GOOD for name in _numbers(type(good))] + [(HeatBath(SQUARE, 2.0), "coupling")]


@pytest.mark.parametrize(("good", "name"), CASES, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(good, name, bad):
    old, label = getattr(good, name), type(good).__name__
    if old is None and name in ("kappa", "mass"):
        return
    if bad == math.inf and (label, name) in INFINITE:
        assert getattr(replace(good, **{name: bad}), name) == math.inf
        return
    change = {name: (bad, *old[1:]) if isinstance(old, tuple) and old else bad}
    if (label, name) in (("Propagator", "boundary"), ("FlowedEnergy", "times"), ("FlowedCharge", "times")):
        change = {name: (bad,)}
    with pytest.raises(ValueError, match=f"{name}.*{bad}|{bad}.*{name}") as error:
        replace(good, **change)
    assert label in str(error.value)


@pytest.mark.parametrize(("good", "name"), CASES, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_numbers_are_real(good, name):
    """A phase at the boundary may be complex; with another complex number adjoints and forces would be wrong, silently."""
    old, bad = getattr(good, name), 0.5 + 0.25j
    if name == "boundary" or (old is None and name in ("kappa", "mass")):
        return
    many = isinstance(old, tuple) or (type(good).__name__, name) in (
        ("FlowedEnergy", "times"),
        ("FlowedCharge", "times"),
    )
    change = (bad, *old[1:]) if many and old else (bad,) if many else bad
    with pytest.raises(ValueError, match=rf"{type(good).__name__}: {name}: expected a real number, got .*0\.5\+0\.25j"):
        replace(good, **{name: change})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: WilsonAction(SQUARE, v), "beta"),
        (lambda v: Wilson(lattice=SQUARE, kappa=v), "kappa"),
        (lambda v: Staggered(lattice=SQUARE, mass=v), "mass"),
    ],
)
@pytest.mark.parametrize("values", [np.array([0.1, 0.2]), [0.1, 0.2]])
def test_one_number(make, name, values):
    with pytest.raises(TypeError, match=f"{name}: expected one number, got"):
        make(values)


@pytest.mark.parametrize("shape", [(4.7, 4), ("4", 4), (4.0, 4), np.array([4.0, 4.0]), 4])
def test_extents_are_integers(shape):
    with pytest.raises(TypeError, match="Lattice: shape: expected integers, got"):
        Lattice(shape)


def test_sites_and_momenta_are_integers():
    bound = DIRAC.with_links(LINKS.x)
    with pytest.raises(TypeError, match=r"site: expected integers, got \(1\.9, 0\)"):
        point(bound, (1.9, 0))


def test_default_values_pass():
    """No default is refused by the constructor it belongs to, unless other parameters are needed."""
    for cls in _constructors():
        if cls.__module__.startswith("gaugeflow") and all(f.default is not MISSING for f in fields(cls) if f.init):
            cls()


@pytest.mark.parametrize("coupling", [(2.0, math.nan), np.array([[2.0, math.nan]]), np.float64(math.nan), [math.inf]])
def test_couplings_of_planes_and_configurations(coupling):
    with pytest.raises(ValueError, match="HeatBath: coupling: expected a number that is finite, got"):
        HeatBath(SQUARE, coupling)


@pytest.mark.parametrize("coupling", ["2.0", "strong", {"beta": 2.0}, [2.0, "x"]])
def test_what_is_no_number(coupling):
    with pytest.raises(TypeError, match="HeatBath: coupling: expected a number, got"):
        HeatBath(SQUARE, coupling)


def test_numbers_that_pass():
    class Owner:
        values = (1, 2.5, None, np.float32(1.0), [1 + 0j, (True,)], np.ones((2, 3)))
        phases = (1j, -1.0)
        limit = math.inf

    require_finite(Owner(), "values")
    require_finite(Owner(), "phases", imaginary=True)
    require_finite(Owner(), "limit", infinite=True)


def test_field_of_a_state():
    """A state where links are expected is told from an array, and the message says where its links are."""
    hmc = HMC(SQUARE, WILSON)
    flow = residual.ResidualSweep(SQUARE, 2)
    params = flow.init(Rng(1))
    for state in (LINKS, hmc.init(LINKS.x)):
        for use in (
            WILSON.value,
            WILSON.grad,
            ImprovedAction(SQUARE, 2.0).value,
            DefectAction(SQUARE, 2.0, Defect(0, Box((0, 0), (1, 2))), 0.5).value,
            HeatBath(SQUARE, 2.0).init,
            hmc.init,
            LinkMetropolis(SQUARE, 2.0).init,
            DIRAC.with_links,
            SU(SQUARE).identity,
            lambda x: loops.link_trace(SQUARE, x),
            lambda x: wilson_loops(SQUARE, x, 1, 1),
            lambda x: loops.plaquette(SQUARE, x),
            lambda x: SQUARE.unpack(x, components=1),
            lambda x: SQUARE.pack(x, components=1),
            lambda x: flow_scales.FlowedEnergy(SQUARE, (0.1,))(x),
            lambda x: flow.forward(params, x),
            lambda x: flow.inverse(params, x),
        ):
            with pytest.raises(
                TypeError, match=f"expected an array, got a {type(state).__name__}; the field of .* its x"
            ):
                use(state)
    for use in (SCALAR.value, SCALAR.grad, ScalarMetropolis(SCALAR).init):
        with pytest.raises(TypeError, match="expected an array, got a HeatBathState"):
            use(LINKS)
    with pytest.raises(TypeError, match="links: expected an array, got a list"):
        WILSON.value([1.0])


@pytest.mark.parametrize(
    "sampler", [HeatBath(SQUARE, 2.0), HMC(SQUARE, WILSON), LinkMetropolis(SQUARE, 2.0), ScalarMetropolis(SCALAR)]
)
def test_field_where_a_state_is_expected(sampler):
    with pytest.raises(TypeError, match=r"step: expected a \w+State, as init\(x\) makes it, got a ndarray"):
        sampler.step(Rng(1), LINKS.x)


def test_one_action_is_one_level():
    hmc = HMC(SQUARE, WILSON)
    assert hmc.levels == (Level(WILSON, 10),)
    state, info = hmc.step(Rng(3), hmc.init(LINKS.x))
    same, expected = HMC(SQUARE, (Level(WILSON, 10),)).step(Rng(3), hmc.init(LINKS.x))
    assert (state.x == same.x).all()
    assert (info.delta_h == expected.delta_h).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HMC(WILSON, SQUARE), "HMC: expected a Lattice first, got a WilsonAction"),
        (lambda: HMC(SQUARE, 2.0), "HMC: expected an action, a Level or a tuple of them, got a float"),
        (lambda: HMC(SQUARE, (2.0,)), r"HMC: expected a Level\(action, steps\) for each time scale, got a float"),
        (lambda: HMC(SQUARE, (WILSON, WILSON)), r"expected a Level\(action, steps\) for each time scale, got a Wilson"),
        (lambda: Level(2.0, 10), "Level: expected an action first, got a float"),
        (lambda: Level(WILSON, 2.5), "Level: steps must be an integer, got 2.5"),
    ],
)
def test_levels(make, message):
    with pytest.raises(TypeError, match=message):
        make()
