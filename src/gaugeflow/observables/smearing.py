"""Smeared links: stout and APE, in all directions or in the spatial ones only.

Spatial smearing leaves links of direction 0 alone and mixes no time slices, so that correlators in time keep their
transfer matrix and their spectrum while the overlap with low states grows.
"""

from __future__ import annotations

import math

from gaugeflow import kernels
from gaugeflow.errors import ConvergenceError
from gaugeflow.kernels.sums import largest_entry
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

_PROJECTION_STEPS = 60


def stout(lattice: Lattice, links: Array, rho: float, steps: int = 1, *, spatial: bool = False) -> Array:
    """Links after stout steps U -> exp(rho P(C U^dagger)) U, C the sum of the staples (hep-lat/0311018, section II).

    One step is an Euler step of the Wilson flow of length rho.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    rho
        Weight of the staples; above about 1/8 in four dimensions short waves grow.
    steps
        Number of steps.
    spatial
        Leave direction 0 out, in links and staples.

    Returns
    -------
    Array
        New links.

    Raises
    ------
    ValueError
        If ``rho`` is not finite, ``steps`` is negative, or spatial smearing is asked for in fewer than three dimensions.
    """
    _staple_directions(lattice, steps, spatial)
    if not math.isfinite(rho):
        raise ValueError(f"rho: expected a finite number, got {rho}")
    n, _ = lattice.check_links(links)
    # beta = 2 N makes the force P(U C^dagger) = -P(C U^dagger).
    coupling = [2.0 * n * (mu > 0 or not spatial) for mu, _ in lattice.planes]
    for _ in range(steps):
        links = kernels.evolve(lattice, links, kernels.wilson_force(lattice, links, coupling), -rho)
    return links


def ape(lattice: Lattice, links: Array, alpha: float, steps: int = 1, *, spatial: bool = False) -> Array:
    """Links after APE steps U -> Proj[(1 - alpha) U + (alpha / n) C], C the sum of the n staples.

    The sum is that of Albanese et al., Phys. Lett. B192 (1987) 163.  Proj(V) = W det(W)^(-1/N) with the unitary factor
    W = V (V^dagger V)^(-1/2) and the principal root: covariant, and for U(1) and SU(2) the element nearest to V.  For
    weak fields one step differs from a stout step with rho = alpha / n in third order of the field only.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    alpha
        Weight of the mean staple, in 0 ... 1.
    steps
        Number of steps.
    spatial
        Leave direction 0 out, in links and staples.

    Returns
    -------
    Array
        New links.

    Raises
    ------
    ValueError
        If ``alpha`` is out of range, ``steps`` is negative, or spatial smearing is asked for in fewer than three
        dimensions.
    ConvergenceError
        If the sum is singular or not finite on some link.
    """
    n_staples = 2 * (_staple_directions(lattice, steps, spatial) - 1)
    lattice.check_links(links)
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha: expected a number in 0 ... 1, got {alpha}")
    xp = array_namespace(links)
    first, d = int(spatial), lattice.ndim
    eta = [alpha / n_staples * (nu >= first and rho >= first) for nu in range(d) for rho in range(d)]
    for _ in range(steps):
        total = kernels.smear(lattice, links, eta, 0.0) - alpha * links
        # Direction 0 is (1 - alpha) U where it has no staples; the sum is not used there.
        links = xp.concat([links[:first, ...], _special_unitary(lattice, total)[first:, ...]])
    return links


def _staple_directions(lattice: Lattice, steps: int, spatial: bool) -> int:
    """Number of directions that take part."""
    directions = lattice.ndim - int(spatial)
    if directions < 2:
        kind = "spatial " if spatial else ""
        raise ValueError(f"a lattice of shape {lattice.shape} has no {kind}planes to smear in")
    if steps < 0:
        raise ValueError(f"steps: expected 0 or more, got {steps}")
    return directions


def _special_unitary(lattice: Lattice, links: Array) -> Array:
    """W det(W)^(-1/N) with W the unitary factor of matrices whose singular values are at most 1."""
    xp = array_namespace(links)
    d, v, n, _, lanes = links.shape
    rows = xp.reshape(links, (d * v, n, n, lanes))
    close = 0.25 * float(xp.finfo(links.dtype).eps) ** 0.5  # a step squares the distance from unitarity
    for _ in range(_PROJECTION_STEPS):
        rows = kernels.newton_schulz(lattice, rows)
        distance = largest_entry(lattice, n - xp.sum(xp.real(rows * xp.conj(rows)), axis=(1, 2)))
        if distance <= close:
            break
    else:
        raise ConvergenceError(
            f"projection of smeared links: {distance:.3g} from unitarity after {_PROJECTION_STEPS} steps; a sum of links "
            "is singular or not finite"
        )
    rows = kernels.newton_schulz(lattice, rows)
    unitary = xp.reshape(rows, links.shape)
    if n == 1:
        return unitary
    # reunitarise multiplies the last row of a unitary matrix by the conjugate of its determinant, and does nothing else.
    fixed = kernels.reunitarise(lattice, unitary)
    conj_det = xp.sum(fixed[:, :, n - 1, :, :] * xp.conj(unitary[:, :, n - 1, :, :]), axis=2)
    angle = xp.atan2(xp.imag(conj_det), xp.real(conj_det)) / n
    phase = xp.astype(xp.cos(angle), links.dtype) + 1j * xp.astype(xp.sin(angle), links.dtype)
    return unitary * phase[:, :, None, None, :]
