"""Two-point functions in time of the scalar and tensor glueball operators."""

from __future__ import annotations

import math

from gaugeflow import kernels
from gaugeflow.kernels.sums import sum_slices
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


def plaquette_slices(lattice: Lattice, links: Array) -> Array:
    """O(t) = sum of Re tr P / N over the spatial plaquettes of time slice t: quantum numbers 0++, zero momentum.

    Parameters
    ----------
    lattice, links
        The lattice, of three dimensions or more, and its links; for a good overlap with the lightest state spatially
        smeared ones, see :func:`gaugeflow.observables.stout`.

    Returns
    -------
    Array
        ``(extent of direction 0, batch)`` float64.

    Raises
    ------
    ValueError
        In two dimensions, which have no spatial plane.
    """
    planes = _spatial_planes(lattice, links)
    return array_namespace(planes).sum(planes, axis=0)


def tensor_slices(lattice: Lattice, links: Array) -> Array:
    """The two operators of the representation E of the cubic group at zero momentum: quantum numbers 2++.

    With P_k(t) the sum of Re tr P / N over time slice t in the plane without the spatial direction k = 1, 2, 3, they are
    (P_1 - P_2) / sqrt 2 and (P_1 + P_2 - 2 P_3) / sqrt 6.  Their means vanish where the spatial extents are equal.

    Parameters
    ----------
    lattice, links
        A lattice of four dimensions and its links, as for :func:`plaquette_slices`.

    Returns
    -------
    Array
        ``(2, extent of direction 0, batch)`` float64.

    Raises
    ------
    ValueError
        In any other number of dimensions.
    """
    if lattice.ndim != 4:
        raise ValueError(f"the tensor operators need four dimensions, got a lattice of shape {lattice.shape}")
    planes = _spatial_planes(lattice, links)
    third, second, first = (planes[k, ...] for k in range(3))
    xp = array_namespace(links)
    return xp.stack([(first - second) / math.sqrt(2.0), (first + second - 2.0 * third) / math.sqrt(6.0)])


def _spatial_planes(lattice: Lattice, links: Array) -> Array:
    """Sums of Re tr P / N over time slices, ``(n_spatial_planes, extent, batch)``."""
    if lattice.ndim < 3:
        raise ValueError(f"a lattice of shape {lattice.shape} has no spatial planes")
    n, _ = lattice.check_links(links)
    temporal = lattice.ndim - 1  # they come first
    return sum_slices(lattice, kernels.plaquette_traces(lattice, links)[temporal:, ...]) / n


def slice_correlator(slices: Array) -> Array:
    """C(t) = mean over t' of O(t' + t) O(t'), periodic, for a real operator summed over time slices.

    Parameters
    ----------
    slices
        ``(extent, batch)``.

    Returns
    -------
    Array
        ``(extent, batch)``; C(t) = C(extent - t).
    """
    xp = array_namespace(slices)
    return xp.stack([xp.mean(xp.roll(slices, -t, axis=0) * slices, axis=0) for t in range(slices.shape[0])])


def glueball_correlator(lattice: Lattice, links: Array) -> Array:
    """C(t) = mean over t' of O(t' + t) O(t') with O of :func:`plaquette_slices`, vacuum *not* subtracted.

    The vacuum expectation value is a mean over the ensemble, so that its subtraction belongs to the analysis.

    Returns
    -------
    Array
        ``(1 + extent of direction 0, batch)`` float64: first the mean of O over the slices, then C(0), C(1), ...

    Examples
    --------
    The connected function <C(t)> - <O>^2 with Gamma-method errors, from stout-smeared links::

        def correlator(lattice, x):
            return glueball_correlator(lattice, stout(lattice, x, 0.1, 8, spatial=True))

        chain = run(sampler, rng, state, 1000, observe=(LinkObservable("0++", lattice, correlator),))
        means = Series.from_lanes(chain.records["0++"])
        connected = derive(lambda m: m[1:] - m[0] ** 2, means)
        estimates = [gamma_method(c) for c in connected.split()]
    """
    slices = plaquette_slices(lattice, links)
    xp = array_namespace(slices)
    return xp.concat([xp.mean(slices, axis=0)[None, :], slice_correlator(slices)])
