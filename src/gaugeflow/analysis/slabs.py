"""Two-point functions in time of observables that were averaged over the inside of slabs between frozen slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaugeflow.analysis.series import Series, check_same_configurations, stack


def slab_correlator(
    a: Series, b: Series, times: Sequence[int], thickness: int, *, first: int = 0, reach: int = 0
) -> Series:
    """C(t) = <a_t b_0> connected, from means of a and b over the inside of slabs (arXiv:hep-lat/0108014).

    A product of two means has the right expectation value if no slab moves both factors.  The average is over the pairs of time
    slices for which this is so.

    Parameters
    ----------
    a, b : Series (T,)
        Means of observables on all slices, from :meth:`gaugeflow.ensembles.Slabs.slice_means`.
    times : sequence of int
        The times t.
    thickness, first : int
        Of the slabs.
    reach : int
        The observable on slice t depends on links between the slices t - reach and t + reach, in any direction.  Spatial
        plaquettes of links that are smeared in space reach 0, temporal ones that end on t + 1 reach 1.

    Returns
    -------
    Series (len(times),)
        Linearised series of C(t) for these times.

    Raises
    ------
    ValueError
        The series do not fit, the thickness does not divide T, or at some time every pair has a slab in common.
    """
    check_same_configurations(a, b)
    if len(a.shape) != 1 or a.shape != b.shape:
        raise ValueError(f"expected two series of one number of time slices, got {a.shape} and {b.shape}")
    extent = a.shape[0]
    if thickness < 1 or extent % thickness:
        raise ValueError(f"thickness: expected a divisor of {extent} time slices, got {thickness}")
    moved = [_slabs_of(t - first, thickness, reach, extent) for t in range(extent)]
    found = []
    for t in times:
        pairs = [(s, (s + t) % extent) for s in range(extent) if not moved[s] & moved[(s + t) % extent]]
        if not pairs:
            raise ValueError(
                f"time {t}: every pair of slices shares a slab of thickness {thickness} at reach {reach}; take thinner slabs"
            )
        sources, sinks = np.transpose(pairs)
        mean_a, mean_b = a.mean.mean(), b.mean.mean()
        values = tuple(
            np.mean((u[:, sinks] - mean_a) * (v[:, sources] - mean_b), axis=1)
            for u, v in zip(a.values, b.values, strict=True)
        )
        found.append(Series(values, a.ids, f"<{a.name}({t}), {b.name}>"))
    return stack(*found)


def _slabs_of(t: int, thickness: int, reach: int, extent: int) -> set[int]:
    """Slabs whose inside an observable on slice t depends on, counted from the first frozen slice."""
    low = (t - reach) // thickness
    high = -((-t - reach) // thickness)
    return {k % (extent // thickness) for k in range(low, high)}
