"""The nucleon: contractions of three quark propagators."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from gaugeflow.hadrons.gammas import charge_conjugation, dagger, gamma_5, product, transpose
from gaugeflow.hadrons.propagators import Propagator
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.dirac import SpinMatrix, gamma

NUCLEONS = {"nucleon": 1.0, "nucleon_minus": -1.0}
"""Sign of gamma_0 in the projector of every nucleon channel."""

_EVEN = tuple((p, 1.0 if p in ((0, 1, 2), (1, 2, 0), (2, 0, 1)) else -1.0) for p in permutations(range(3)))


def nucleon_density(quark: Propagator, channel: str = "nucleon") -> Array:
    """tr[P chi(x) chi-bar(0)] at every site, ``(n_blocks, lanes)``, for degenerate quarks.

    The interpolator is chi = epsilon_abc (u_a^T C gamma_5 d_b) u_c, chi-bar its adjoint times gamma_0, and the projector
    P = (1 + gamma_0) / 2 for ``"nucleon"``, (1 - gamma_0) / 2 for ``"nucleon_minus"``.  The nucleon runs forwards in the
    first and backwards in the second, its partner of negative parity the other way round: for boundary phase b of the
    quarks in time, averages obey C_minus(T - t) = b^3 C(t) (antiperiodic quarks: -C(t)).

    Raises
    ------
    ValueError
        Unless there are four dimensions, three colours and a source of all spins and colours.
    """
    field = quark.field
    r, rows, _, n, lanes = field.shape
    if quark.lattice.ndim != 4 or n != 3 or r != 12:
        raise ValueError(
            "nucleon: expected four dimensions, three colours and a source of all 12 spins and colours, "
            f"got {quark.lattice.ndim} dimensions and a propagator of shape {tuple(field.shape)}"
        )
    xp = array_namespace(field)
    # S[c, c'] is a list of spin matrices (sites, 4, 4), sink spin first.
    s = xp.reshape(xp.permute_dims(field, (3, 0, 1, 4, 2)), (3, 4, 3, rows * lanes, 4))
    shape = (3, 3, rows * lanes, 4, 4)
    s = xp.reshape(
        xp.reshape(xp.permute_dims(s, (0, 2, 3, 4, 1)), (-1,)), shape
    )  # in order: sums do not depend on sizes
    diquark = product(charge_conjugation(4), gamma_5(4))
    time = gamma(4, 0)
    creator = product(time, dagger(diquark), transpose(time))
    projector = _dense(xp, s.dtype, time, 0.5 * NUCLEONS[channel]) + 0.5 * xp.eye(4, dtype=s.dtype)
    left, right = _dense(xp, s.dtype, diquark), _dense(xp, s.dtype, creator)
    d = left @ s @ right
    u, projected = s, s @ projector  # spin source index gamma' to gamma: traces below close the loop of the third quark
    total: Any = xp.zeros((rows * lanes,), dtype=s.dtype)
    for (a, b, c), sign in _EVEN:
        for (a2, b2, c2), other in _EVEN:
            pair = xp.sum(d[b, b2, ...] * u[a, a2, ...], axis=(-2, -1))
            third = xp.sum(u[c, c2, ...] * xp.permute_dims(projector, (1, 0)), axis=(-2, -1))
            last = (
                projected[a, c2, ...] @ u[c, a2, ...]
            )  # named: NumPy swaps factors of which one is large and has no name
            crossed = xp.sum(d[b, b2, ...] * last, axis=(-2, -1))
            total = total + (sign * other) * (pair * third - crossed)
    return xp.reshape(total, (rows, lanes))


def _dense(xp: Any, dtype: Any, matrix: SpinMatrix, number: complex = 1.0) -> Array:
    """A spin matrix as an array ``(4, 4)``."""
    rows = [[0.0 + 0.0j] * len(matrix) for _ in matrix]
    for i, (j, value) in enumerate(matrix):
        rows[i][j] = number * value
    return xp.asarray(rows, dtype=dtype)
