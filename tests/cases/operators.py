"""Every Dirac operator by name.  A row puts the operator through its whole contract, and compares it with a plain one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from cases import plain_operators as plain
from cases.fields import links
from gaugeflow import observables
from gaugeflow.lattice import Lattice
from gaugeflow.operators import (
    Clover,
    Smeared,
    Staggered,
    Stout,
    Wilson,
    anisotropic,
    imaginary_chemical_potential,
)


@dataclass(frozen=True)
class Row:
    """An operator, its lattice and its colours."""

    shape: tuple[int, ...]
    n: int
    make: Callable[..., Any]
    """Function of the lattice: the operator without links."""
    plain: Callable[..., Any]
    """Function (operator, links, psi) of conventional arrays of one configuration: D psi in the plainest way."""
    fold: tuple[int, ...] | None = None
    """A fold that the lattice can have (default: one that halves every extent that is a multiple of four)."""
    partner: Callable[..., Any] | None = None
    """Function of the operator: D' with gamma_5 D gamma_5 = D'^dagger (default: D)."""
    batch: int = 2
    weak: bool = False
    """Links close to unity."""

    def operator(self, fold=None, dtype=np.complex128):
        """The operator on random links; the same configurations for every fold."""
        lattice = Lattice(self.shape, fold)
        make = links_near_unity if self.weak else links
        return self.make(lattice).with_links(make(lattice, self.n, self.batch).astype(dtype))

    @property
    def folded(self):
        """A fold, None if the lattice has none that keeps sub-lattice extents even."""
        fold = self.fold or tuple(2 if extent % 4 == 0 else 1 for extent in self.shape)
        return fold if max(fold) > 1 else None


def links_near_unity(lattice, n, batch):
    from cases.fields import ordered

    return ordered(lattice, n, batch)


def _wilson(operator, u, psi):
    """The Wilson family from its parameters, on links u."""
    d = operator.lattice.ndim
    norm = 1.0 if operator.kappa is None else 2.0 * operator.kappa
    mass = operator.mass if operator.kappa is None else 1.0 / (2.0 * operator.kappa) - d
    csw = getattr(operator, "csw", 0.0)
    csw = csw if isinstance(csw, tuple) else (csw,) * len(operator.lattice.planes)
    return norm * plain.wilson(
        u,
        psi,
        mass=mass,
        hopping=operator.hopping,
        phases=operator.boundary,
        csw=csw,
        twisted_mass=operator.twisted_mass,
    )


def _staggered(operator, u, psi):
    return plain.staggered(u, psi, mass=operator.mass, hopping=operator.hopping, phases=operator.boundary)


def _row(kind, shape, n, **options):
    """A row of the Wilson family or staggered; options of the row start with row_."""
    of_row = {key.removeprefix("row_"): options.pop(key) for key in list(options) if key.startswith("row_")}
    return Row(
        shape,
        n,
        partial(_make, kind, options),
        _staggered if kind is Staggered else _wilson,
        partner=_untwisted if options.get("twisted_mass") else None,
        **of_row,
    )


def _make(kind, options, lattice):
    potential = options.get("potential")
    return kind(lattice=lattice, **options | ({"potential": potential(lattice)} if potential else {}))


def _waves(lattice):
    """A potential without symmetries, the same one for every fold."""
    shape = (1, lattice.ndim, *lattice.shape)
    return lattice.pack(np.random.default_rng(17).normal(size=shape), components=1)


def _untwisted(operator):
    return replace(operator, twisted_mass=-operator.twisted_mass)


def _smeared(row, smearing):
    """A row on smeared links."""

    def on_smeared_links(operator, u, psi):
        lattice = Lattice(row.shape)
        thin = lattice.pack(u[None], components=1)
        fat = observables.stout(lattice, thin, smearing.rho, smearing.steps)
        return row.plain(operator.operator, lattice.unpack(fat, components=1)[0], psi)

    def partner(operator):
        return replace(operator, operator=row.partner(operator.operator))

    return replace(
        row,
        make=lambda lattice: Smeared(operator=row.make(lattice), smearing=smearing),
        plain=on_smeared_links,
        partner=partner if row.partner else None,
    )


TWISTS = (np.exp(0.4j), np.exp(-1.1j))
TWISTS_4D = (np.exp(0.4j), np.exp(-1.1j), 1.0, -1.0)
PLANES = (0.9, 0.8, 0.7, -0.4, 0.6, 1.1)

OPERATORS = {
    "wilson u1 2d": _row(Wilson, (4, 6), 1, kappa=0.21),
    "wilson u1 2d smallest": _row(Wilson, (2, 2), 1, kappa=0.19),
    "wilson u1 2d odd extents": _row(Wilson, (3, 5), 1, kappa=0.19),
    "wilson su2 2d mass, phases": _row(Wilson, (4, 2), 2, mass=0.3, boundary=TWISTS),
    "wilson su3 4d": _row(Wilson, (4, 2, 2, 2), 3, kappa=0.13),
    "wilson su2 4d anisotropic": _row(Wilson, (4, 2, 2, 2), 2, mass=-0.2, hopping=anisotropic(2.5, 0.9)),
    "wilson su3 4d kappa form, anisotropic": _row(Wilson, (2, 2, 2, 2), 3, kappa=0.11, hopping=anisotropic(2.0, 1.1)),
    "wilson su4 2d": _row(Wilson, (2, 4), 4, kappa=0.2),
    "wilson u1 6d": _row(Wilson, (2,) * 6, 1, kappa=0.07, row_batch=1),
    "twisted mass u1 2d": _row(Wilson, (4, 4), 1, kappa=0.22, twisted_mass=0.35),
    "twisted mass su3 4d, imaginary chemical potential": _row(
        Wilson, (4, 2, 2, 2), 3, mass=0.1, twisted_mass=-0.4, boundary=TWISTS_4D
    ),
    "clover u1 2d": _row(Clover, (4, 4), 1, kappa=0.2, csw=0.8),
    "clover su2 2d smallest, mass": _row(Clover, (2, 2), 2, mass=0.4, csw=1.1, row_weak=True),
    "clover su3 4d": _row(Clover, (4, 2, 2, 2), 3, kappa=0.12, csw=1.3, row_weak=True),
    "clover su2 4d planes, anisotropic, phases": _row(
        Clover, (2, 4, 2, 2), 2, kappa=0.11, csw=PLANES, hopping=anisotropic(1.5, 0.8), boundary=TWISTS_4D
    ),
    "clover and twisted mass su3 4d": _row(
        Clover, (2, 2, 2, 4), 3, kappa=0.12, csw=1.2, twisted_mass=0.25, row_weak=True
    ),
    "wilson su2 2d, charge": _row(Wilson, (4, 4), 2, kappa=0.2, charge=0.7, potential=_waves),
    "wilson su3 4d, imaginary chemical potential": _row(
        Wilson, (4, 2, 2, 2), 3, kappa=0.12, charge=0.3, potential=imaginary_chemical_potential
    ),
    "clover su2 2d, imaginary chemical potential": _row(
        Clover, (2, 4), 2, kappa=0.2, csw=0.9, charge=-0.4, potential=imaginary_chemical_potential, row_weak=True
    ),
    "staggered u1 2d, charge": _row(Staggered, (4, 2), 1, mass=0.3, charge=-1.1, potential=_waves),
    "staggered u1 2d": _row(Staggered, (4, 4), 1, mass=0.3),
    "staggered su2 3d, anisotropic": _row(Staggered, (4, 2, 4), 2, mass=0.2, hopping=(1.0, 0.7, 1.2)),
    "staggered su3 4d, phases": _row(Staggered, (2, 4, 2, 2), 3, mass=0.25, boundary=TWISTS_4D),
}
OPERATORS |= {
    "wilson su3 4d, stout": _smeared(OPERATORS["wilson su3 4d"], Stout(0.12, 2)),
    "clover su3 4d, stout": _smeared(OPERATORS["clover su3 4d"], Stout(0.1)),
    "clover u1 2d, stout": _smeared(OPERATORS["clover u1 2d"], Stout(0.15, 3)),
    "twisted mass u1 2d, stout": _smeared(OPERATORS["twisted mass u1 2d"], Stout(0.2)),
    "staggered su2 3d, anisotropic, stout": _smeared(OPERATORS["staggered su2 3d, anisotropic"], Stout(0.1, 2)),
}
