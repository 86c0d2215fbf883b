"""Every action by name: a factory of (action, lattice, fields).  A row puts the action through its whole contract."""

from cases.fields import links, scalars
from gaugeflow.actions import (
    DBW2,
    IWASAKI,
    Defect,
    DefectAction,
    ImprovedAction,
    ScalarAction,
    Scaled,
    Sum,
    WilsonAction,
)
from gaugeflow.lattice import Box, Lattice


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


ACTIONS = {
    **GAUGE_ACTIONS,
    "phi^4 2d": _scalar((4, 6), lambda lattice: ScalarAction(lattice, -4.0, 8.0)),
    "phi^4 2d smallest": _scalar((2, 3), lambda lattice: ScalarAction(lattice, 1.0, 0.5)),
    "phi^4 3d folded": _scalar((4, 2, 4), lambda lattice: ScalarAction(lattice, -1.0, 2.0, 0.5), (2, 1, 2), 3),
    "free scalar 1d": _scalar((8,), lambda lattice: ScalarAction(lattice, 0.3)),
}
