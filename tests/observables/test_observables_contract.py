"""Every observable of links: shape and type, configurations that do not mix, untouched arguments, gauge invariance."""

import pytest

from cases.fields import links
from gaugeflow import check, observables
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable

FOLDED = Lattice((4, 2, 4), (2, 1, 2))


def _loops(lattice, x):
    return observables.wilson_loops(lattice, x, 2, 3).reshape(6, -1)


def _smeared(smear, function):
    return lambda lattice, x: function(lattice, smear(lattice, x))


EVERY = {
    "loops": _loops,
    "loops of stout links": _smeared(lambda lattice, x: observables.stout(lattice, x, 0.1, 2, spatial=True), _loops),
    "loops of APE links": _smeared(lambda lattice, x: observables.ape(lattice, x, 0.4, 2, spatial=True), _loops),
    "0++": observables.glueball_correlator,
    "0++ of stout links": _smeared(
        lambda lattice, x: observables.stout(lattice, x, 0.1, 2), observables.glueball_correlator
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_observable(name, rng):
    observable, x = LinkObservable(name, FOLDED, EVERY[name]), links(FOLDED, 3, 4)
    check.check_observable(observable, FOLDED, x)
    check.check_gauge_covariance(observable, FOLDED, x, rng)
