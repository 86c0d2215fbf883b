"""Fields that keep the charge: divergences, plaquettes, the charge itself, and exact values in which they cancel noise."""

import numpy as np
import pytest

from cases.fields import links as random_links
from gaugeflow.actions import WilsonAction
from gaugeflow.check.differences import differentiate
from gaugeflow.flows import SectorFields
from gaugeflow.groups import SU
from gaugeflow.lattice import Lattice
from gaugeflow.observables import integer_charge

FIELDS = {
    "even": SectorFields(Lattice((4, 6)), harmonics=(1, 2), windings=(1, 2)),
    "odd": SectorFields(Lattice((4, 6)), harmonics=(1, 3), windings=(1,), odd=True),
}


def _plaquettes(lattice, x):
    a = np.angle(x).reshape(2, *lattice.shape, x.shape[-1])
    return a[0] + np.roll(a[1], -1, 0) - np.roll(a[0], -1, 1) - a[1]


@pytest.mark.parametrize("name", FIELDS)
def test_divergence_and_tangent(name):
    """The divergence is the sum over all links of differences of the field along that link."""
    flow = FIELDS[name]
    lattice, group = flow.lattice, SU(flow.lattice)
    x = random_links(lattice, 1, 4)
    fields, divergence = flow.fields(x)
    total = 0.0
    for place in np.ndindex(2, lattice.n_blocks):
        unit = np.zeros_like(x)
        unit[place] = 1j
        (slope,) = differentiate(lambda e, unit=unit: (flow.fields(group.retract(x, unit, e))[0],))
        total = total + slope[(slice(None), *place)].imag[:, 0, 0, :]
    np.testing.assert_allclose(divergence, total, atol=1e-9)
    force = WilsonAction(lattice, 1.7).grad(x)
    expected = divergence - np.stack([group.inner(f, force) for f in fields])
    np.testing.assert_allclose(flow.tangent(x, force), expected, atol=1e-12)
    c = np.linspace(-0.4, 0.7, *flow.shape)
    ahead, behind, tangent = flow.linearised(c, x, force, 1e-3)
    np.testing.assert_allclose(tangent, c @ expected, atol=1e-12)
    np.testing.assert_allclose(ahead, group.retract(x, np.tensordot(c, fields, 1), 1e-3), atol=1e-14)
    np.testing.assert_allclose(behind, group.retract(x, np.tensordot(c, fields, 1), -1e-3), atol=1e-14)


@pytest.mark.parametrize("name", FIELDS)
def test_the_charge_stays(name):
    """Plaquettes at pi do not move, and long flows along every field change plaquettes, but never the charge."""
    flow = FIELDS[name]
    lattice = flow.lattice
    x = random_links(lattice, 1, 64, seed=3)
    charge = integer_charge(lattice, x)
    assert len(set(charge)) > 2
    y = x
    for c in np.eye(*flow.shape):
        for _ in range(20):
            y = flow.linearised(c, y, np.zeros_like(y), 0.1)[0]
    assert np.max(np.abs(_plaquettes(lattice, y) - _plaquettes(lattice, x))) > 0.3
    np.testing.assert_array_equal(integer_charge(lattice, y), charge)
    x[0, 3] *= np.exp(1j * (np.pi - _plaquettes(lattice, x)[0, 3]))  # the plaquette that starts at site 3 becomes pi
    for f in flow.fields(x)[0]:
        (slope,) = differentiate(lambda e, f=f: (np.exp(1j * _plaquettes(lattice, SU(lattice).retract(x, f, e))),))
        assert np.max(np.abs(slope[0, 3])) < 1e-10


def test_what_is_refused():
    with pytest.raises(ValueError, match="two dimensions without folds"):
        SectorFields(Lattice((4, 4, 4)))
    with pytest.raises(ValueError, match="at least one field"):
        SectorFields(Lattice((4, 4)), harmonics=())
    flow = SectorFields(Lattice((4, 4)))
    x = random_links(flow.lattice, 1, 2)
    with pytest.raises(ValueError, match=r"expected U.1. links, got 2 colours"):
        flow.fields(random_links(flow.lattice, 2, 2))
    with pytest.raises(ValueError, match=r"expected shape .3,., got .2,."):
        flow.linearised([1.0, 2.0], x, x, 0.1)
