"""Disconnected loops tr Gamma D^-1 by noise, and what follows from them: chiral condensate, derivative of the action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gaugeflow.hadrons.correlators import slice_sums
from gaugeflow.hadrons.gammas import spin_matrix
from gaugeflow.hadrons.sources import Dilution, noise_field
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.solvers import solve


@dataclass(frozen=True, eq=False)
class Loops:
    """Unbiased estimates of tr Gamma D^-1 of every time slice, one for each noise.

    Parameters
    ----------
    values
        ``(structure, noise, time, batch)`` complex128: sums over the sites of the slice, all spins and colours.
    structures
        Names along the first axis, see :func:`gaugeflow.hadrons.spin_matrix`.
    """

    values: Array
    structures: tuple[str, ...]

    axes = ("structure", "noise", "time", "batch")

    def trace(self, structure: str = "1") -> Array:
        """Real part of tr Gamma D^-1 over the whole lattice, ``(noise, batch)``."""
        if structure not in self.structures:
            raise KeyError(f"loop: expected one of {self.structures}, got {structure!r}")
        xp = array_namespace(self.values)
        return xp.real(xp.sum(self.values[self.structures.index(structure), ...], axis=1))


def loops(
    operator: Wilson,
    rng: Rng | Sequence[Rng],
    hits: int = 1,
    *,
    structures: Sequence[str] = ("1", "g5"),
    kind: str = "z4",
    dilution: Dilution | None = None,
    subtract: bool = True,
    method: str = "cg",
    tolerance: float = 1e-8,
    max_iterations: int = 10000,
    comm: Any = None,
) -> Loops:
    """Estimate tr Gamma D^-1 of every time slice: eta^dagger Gamma D^-1 eta for every part of every noise, added up.

    Parameters
    ----------
    operator
        D, bound to links.
    rng
        Stream of the noise, or one for each configuration: hit k is drawn from draw k.
    hits
        Number of independent noises.
    structures
        Names of spin matrices Gamma.
    kind
        Of the noise, see :func:`gaugeflow.hadrons.noise_field`.
    dilution
        Default: time slices and spins.
    subtract
        Leave out of D^-1 the first terms of its hopping expansion, where their traces vanish and only their noise is left.
    method, tolerance, max_iterations, comm
        As for :func:`gaugeflow.solvers.solve`: processes of ``comm`` share the fields of a part.  The tolerance need not be far
        below the noise.

    Raises
    ------
    ValueError
        If ``hits`` is not positive.
    ConvergenceError
        If a system is not solved.

    Notes
    -----
    With D = T + K, D^-1 = sum_j (-T^-1 K)^j T^-1.  Terms of odd order up to 3 lead to another site (order 3 on even extents);
    that of order 2 comes back by (1 - gamma_mu) (1 + gamma_mu) = 0 where T is a number and no extent is 2
    (hep-lat/9707001).  The trace of each with any Gamma vanishes at every site.
    """
    if hits < 1:
        raise ValueError(f"hits: expected a positive number, got {hits}")
    chosen = Dilution() if dilution is None else dilution
    lattice = operator.lattice
    matrices = [spin_matrix(lattice.ndim, name) for name in structures]
    xp = array_namespace(operator.bound)
    result = []
    for hit in range(hits):
        streams = rng.at(hit) if isinstance(rng, Rng) else [one.at(hit) for one in rng]
        eta = noise_field(operator, streams, kind)
        densities: list[Any] = [0.0] * len(matrices)
        for part in chosen.parts(operator, eta):
            solved = solve(operator, part, method=method, tolerance=tolerance, max_iterations=max_iterations, comm=comm)
            psi = solved.x
            if subtract:
                psi = psi - _traceless(operator, part)
            for m, matrix in enumerate(matrices):
                for i, (j, number) in enumerate(matrix):
                    product = xp.conj(part[:, :, i, :, :]) * psi[:, :, j, :, :]
                    densities[m] = densities[m] + number * xp.sum(product, axis=(0, 2))
        result.append(xp.stack([_slices(lattice, density) for density in densities]))
    return Loops(xp.stack(result, axis=1), tuple(structures))


def _traceless(operator: Wilson, source: Array) -> Array:
    """The terms of the hopping expansion of D^-1 source that have no trace."""
    extents = operator.lattice.shape
    orders = [1]
    if type(operator) is Wilson and not operator.twist and min(extents) > 2:
        orders.append(2)
    if all(n % 2 == 0 for n in extents):
        orders.append(3)
    term = operator.diagonal_inverse(source)
    total: Any = 0.0
    for order in range(1, max(orders) + 1):
        term = -operator.eliminate(term, BOTH)
        if order in orders:
            total = total + term
    return total


def _slices(lattice: Lattice, density: Array) -> Array:
    zero = (0,) * lattice.ndim
    return slice_sums(lattice, density, (zero[1:],), zero, (1.0,) * lattice.ndim)[0, ...]


def chiral_condensate(operator: Wilson, trace: Array) -> Array:
    """-<psi-bar psi> of one flavour at one site, from traces Re tr D^-1: norm tr D^-1 / V.

    ``norm`` is 2 kappa in the kappa form, 1 in the mass form, so that fields are those of the mass form.  Bare: Wilson
    quarks need an additive renormalisation.
    """
    return trace * (operator.norm / operator.lattice.volume)


def d_kappa(operator: Wilson, trace: Array, flavours: int = 2) -> Array:
    """dS/dkappa of S = -Nf log det D at fixed links, from traces Re tr D^-1.

    D = 1 + kappa K, also with clover term, twisted mass and anisotropy, so that tr D^-1 K = (n - tr D^-1) / kappa with n the
    number of components of a field: dS/dkappa = Nf (Re tr D^-1 - n) / kappa.

    Raises
    ------
    ValueError
        If the operator is in the mass form.
    """
    if operator.kappa is None:
        raise ValueError(f"{operator.label}: the derivative with respect to kappa needs the kappa form")
    _, spin, n, _ = operator.field_shape()
    size = operator.lattice.volume * spin * n
    return (flavours / operator.kappa) * (trace - size)
