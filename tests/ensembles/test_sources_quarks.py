"""Two-sided correlators with sea quarks: the loop through both sources."""

import numpy as np
import pytest

from gaugeflow.actions import Determinant, Sum, WilsonAction
from gaugeflow.analysis import Series, contact, gamma_method, improved, two_point_function
from gaugeflow.ensembles import PlaquetteSources, SlicedFields, measure_sources, quark_loop, second_contact
from gaugeflow.lattice import Lattice
from gaugeflow.observables.flow_scales import slice_sums
from gaugeflow.observables.loops import plaquette_sites
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng, haar_links
from gaugeflow.samplers import HMC, HeatBath, Level

SIGMAS = 4.0


class Shift(SlicedFields):
    """U(1): all spatial links of a slice turn by the same angle, a field that every configuration sees alike."""

    def __init__(self, lattice):
        self.lattice, self.names = lattice, ("shift",)

    def vectors(self, x):
        field = np.zeros((1, *x.shape), dtype=x.dtype)
        field[0, 1] = 1j / np.sqrt(2.0)
        return field

    def tangents(self, x, force):
        along = -2.0 * np.real(1j / np.sqrt(2.0) * force[1, :, 0, 0, :])
        return -slice_sums(self.lattice, along, mean=False)[None]


@pytest.mark.parametrize("n", [1, 2])
def test_the_loop_is_all_of_the_second_contact_term_at_a_distance(n):
    """Configuration by configuration, at times where the links that move are not those that the other field is made of."""
    lattice = Lattice((8, 2))
    operator = Wilson(lattice=lattice, kappa=0.2)
    action = Sum((WilsonAction(lattice, 1.0), Determinant(operator)))
    sources, coefficients = PlaquetteSources(lattice), np.array([[0.3], [-0.2], [0.25]])
    x = haar_links(Rng(2), lattice, n, 8)
    whole = second_contact(sources, coefficients, x, action)
    loop = quark_loop(sources, coefficients, x, operator)
    np.testing.assert_allclose(whole[2:7], loop[2:7], atol=1e-9)
    assert np.min(np.abs(loop[2:7]).max(axis=1)) > 1e-5
    assert np.max(np.abs(whole[0] - loop[0])) > 0.1


def test_one_sided_and_two_sided_agree_with_the_loop_only():
    """Schwinger model on (6, 4) near its critical line at strong coupling: 4 sigmas with it, more than 5 missed without."""
    lattice, rng = Lattice((6, 4)), Rng(3)
    operator = Wilson(lattice=lattice, kappa=0.35)
    action = Sum((WilsonAction(lattice, 0.1), Determinant(operator)))
    sources, coefficients = Shift(lattice), np.ones((1, 1))

    def plaquettes(x):
        return slice_sums(lattice, plaquette_sites(lattice, x, 0, 1), mean=False)

    measure = measure_sources(sources, action, plaquettes, reach=1)
    sampler = HMC(lattice, (Level(action, 4),))
    state, rows = sampler.init(HeatBath(lattice, 0.1).hot(rng, 1, 32).x), []
    for step in range(20 + 2 * 50):
        state, _ = sampler.step(rng, state)
        if step >= 20 and step % 2 == 0:
            rows.append({**measure(state.x), "loop": quark_loop(sources, coefficients, state.x, operator)})
    table = {name: Series.from_lanes(np.stack([row[name] for row in rows]), name=name) for name in rows[0]}
    better = improved(table["operator"], [table["h|shift"]], coefficients)
    one_sided = two_point_function(table["operator"], better, contact([table["contact|shift"]], coefficients))
    two_sided, without = two_point_function(better, better, table["loop"]), two_point_function(better, better)
    for t in (2, 3):
        found = gamma_method((one_sided - two_sided).split()[t])
        assert abs(found.value) < SIGMAS * found.error
    missed = gamma_method((one_sided - without).split()[2])
    assert missed.value > 5.0 * missed.error


def test_operators_with_links_on_the_diagonal_are_refused():
    lattice = Lattice((4, 4))
    sources = PlaquetteSources(lattice)
    with pytest.raises(ValueError, match="diagonal does not depend"):
        quark_loop(
            sources, np.zeros((3, 1)), haar_links(Rng(1), lattice, 2, 8), Clover(lattice=lattice, kappa=0.1, csw=1.0)
        )
