"""Every action by name: a factory of (action, lattice, fields).  A row puts the action through its whole contract."""

from dataclasses import replace

import numpy as np

from cases.fields import links, scalars
from gaugeflow.actions import (
    DBW2,
    IWASAKI,
    Defect,
    DefectAction,
    Determinant,
    Hasenbusch,
    ImprovedAction,
    Inversion,
    OfScalar,
    Pseudofermion,
    Ratio,
    Rational,
    ScalarAction,
    Scaled,
    Sum,
    WilsonAction,
    YukawaDeterminant,
    YukawaPseudofermions,
)
from gaugeflow.lattice import Box, Lattice
from gaugeflow.operators import Clover, Wilson, Yukawa
from gaugeflow.random import Rng

TIGHT = Inversion(1e-13, 1e-13, depth=0)
"""Differences see the errors of solutions."""


def _gauge(shape, n, make, fold=None, batch=8):
    def factory():
        lattice = Lattice(shape, fold)
        return make(lattice), lattice, links(lattice, n, batch)

    return factory


GAUGE_ACTIONS = {
    "wilson u1 2d": _gauge((4, 6), 1, lambda lattice: WilsonAction(lattice, 2.0)),
    "wilson u1 2d smallest": _gauge((2, 2), 1, lambda lattice: WilsonAction(lattice, 1.0)),
    "wilson su2 3d folded": _gauge((4, 2, 4), 2, lambda lattice: WilsonAction(lattice, 1.7), (2, 1, 2), batch=2),
    "wilson su3 4d": _gauge((4, 2, 3, 2), 3, lambda lattice: WilsonAction(lattice, 6.0)),
    "wilson anisotropic su3 4d": _gauge((2, 2, 3, 4), 3, lambda lattice: WilsonAction(lattice, 6.0, anisotropy=0.3)),
    "wilson su4 2d": _gauge((4, 3), 4, lambda lattice: WilsonAction(lattice, 8.0)),
    "symanzik su3 4d": _gauge((2, 4, 2, 3), 3, lambda lattice: ImprovedAction(lattice, 4.0)),
    "iwasaki su3 4d folded": _gauge(
        (4, 2, 2, 4), 3, lambda lattice: ImprovedAction(lattice, 2.2, IWASAKI), (2, 1, 1, 2), 4
    ),
    "dbw2 u1 2d": _gauge((3, 4), 1, lambda lattice: ImprovedAction(lattice, 0.7, DBW2)),
    "defect su2 2d": _gauge((4, 4), 2, lambda lattice: DefectAction(lattice, 2.2, Defect(0, Box((3, 1), (2, 2))), 0.4)),
    "defect su3 4d folded": _gauge(
        (2, 4, 2, 4),
        3,
        lambda lattice: DefectAction(lattice, 6.0, Defect(1, Box((0, 3, 0, 1), (2, 1, 1, 2))), 0.0),
        (1, 1, 1, 2),
    ),
    "sum and multiple su3 2d": _gauge(
        (4, 4),
        3,
        lambda lattice: Sum((WilsonAction(lattice, 3.0), Scaled(-0.4, ImprovedAction(lattice, 1.0)))),
    ),
}


def _scalar(shape, make, fold=None, batch=8):
    def factory():
        lattice = Lattice(shape, fold)
        return make(lattice), lattice, scalars(lattice, batch)

    return factory


def _yukawa(shape, coupling, make, joint=False, batch=4):
    """An action of quarks that a scalar field gives their mass; ``joint`` ones are functions of pseudofermions, too."""

    def factory():
        lattice = Lattice(shape)
        operator = Yukawa(lattice=lattice, coupling=coupling)
        phi = 0.4 * scalars(lattice, batch)
        if joint:
            return make(operator), lattice, np.stack([phi, scalars(lattice, batch, 1)], axis=1)
        action = make(operator)
        return action.refreshed(Rng(5), -0.5 * phi) if hasattr(action, "refreshed") else action, lattice, phi

    return factory


ACTIONS = {
    **GAUGE_ACTIONS,
    "phi^4 2d": _scalar((4, 6), lambda lattice: ScalarAction(lattice, -4.0, 8.0)),
    "phi^4 2d smallest": _scalar((2, 3), lambda lattice: ScalarAction(lattice, 1.0, 0.5)),
    "phi^4 3d folded": _scalar((4, 2, 4), lambda lattice: ScalarAction(lattice, -1.0, 2.0, 0.5), (2, 1, 2), 3),
    "free scalar 1d": _scalar((8,), lambda lattice: ScalarAction(lattice, 0.3)),
    "yukawa determinant 2d": _yukawa((4, 6), 0.7, YukawaDeterminant),
    "yukawa determinant 2d, three flavours, smallest": _yukawa((2, 2), 1.0, lambda n: YukawaDeterminant(n, 3)),
    "yukawa pseudofermion 2d": _yukawa((4, 6), 0.7, lambda n: Pseudofermion(n, inversion=TIGHT)),
    "yukawa with pseudofermions 2d": _yukawa(
        (4, 2),
        0.7,
        lambda n: Sum((OfScalar(ScalarAction(n.lattice, -4.0, 8.0)), YukawaPseudofermions(n, TIGHT))),
        joint=True,
    ),
    "yukawa determinant 4d": _yukawa((2, 2, 2, 4), 0.7, YukawaDeterminant),
}


# ---- quarks ------------------------------------------------------------------------------------------------------
def _wilson(lattice):
    return Wilson(
        lattice=lattice, kappa=0.22 if lattice.ndim == 2 else 0.14, boundary=(-1.0, *(1.0,) * (lattice.ndim - 1))
    )


def _clover(lattice):
    return Clover(lattice=lattice, kappa=0.11, csw=1.3)


def _heavier(operator):
    return replace(operator, kappa=0.8 * operator.kappa)


def _twisted(operator):
    return replace(operator, twisted_mass=0.3)


def _quarks(shape, n, make, fold=None, batch=2):
    """An action of quarks; pseudofermions are drawn for other links than those where it is differentiated."""

    def factory():
        lattice = Lattice(shape, fold)
        action, x = make(lattice), links(lattice, n, batch)
        drawn = action.refreshed(Rng(5), links(lattice, n, batch, 1)) if hasattr(action, "refreshed") else action
        return drawn, lattice, x

    return factory


QUARK_ACTIONS = {
    "determinant u1 2d": _quarks((4, 2), 1, lambda lattice: Determinant(_wilson(lattice), 2)),
    "determinant clover su2 4d": _quarks((2, 2, 2, 2), 2, lambda lattice: Determinant(_clover(lattice), 3)),
    "pseudofermion u1 2d": _quarks((4, 6), 1, lambda lattice: Pseudofermion(_wilson(lattice), inversion=TIGHT)),
    "pseudofermion u1 2d odd extent": _quarks(
        (3, 4), 1, lambda lattice: Pseudofermion(_wilson(lattice), inversion=TIGHT)
    ),
    "pseudofermion clover u1 4d": _quarks(
        (2, 2, 2, 2), 1, lambda lattice: Pseudofermion(_clover(lattice), inversion=TIGHT)
    ),
    "ratio u1 2d": _quarks(
        (4, 4), 1, lambda lattice: Ratio(_wilson(lattice), _heavier(_wilson(lattice)), inversion=TIGHT)
    ),
    "ratio clover twisted u1 4d": _quarks(
        (2, 2, 2, 2), 1, lambda lattice: Ratio(_clover(lattice), _twisted(_clover(lattice)), inversion=TIGHT)
    ),
    "hasenbusch u1 2d": _quarks(
        (4, 4),
        1,
        lambda lattice: Hasenbusch(_wilson(lattice), (_twisted(_wilson(lattice)), _heavier(_wilson(lattice))), TIGHT),
    ),
    "rational u1 2d folded": _quarks(
        (4, 4), 1, lambda lattice: Rational(_wilson(lattice), 0.001, 6.0, inversion=TIGHT), (2, 1)
    ),
    "rational clover u1 4d": _quarks(
        (2, 2, 2, 2), 1, lambda lattice: Rational(_clover(lattice), 0.003, 5.0, inversion=TIGHT)
    ),
    "sum of quarks and gauge su2 2d": _quarks(
        (4, 2), 2, lambda lattice: Sum((WilsonAction(lattice, 2.0), Pseudofermion(_wilson(lattice), inversion=TIGHT)))
    ),
}
"""Checked on the reference implementation, which has nothing to compile: the kernels are compared with it elsewhere."""
