"""Observables on lattices that end in time, with the conventions of openQCD.

Links of direction 0 from the last time slice to the first do not exist there and are zero, so that every loop around the end
adds nothing to a sum; what differs from a periodic lattice are the numbers that sums are divided by, and the gradient flow.
openQCD gives the spatial plaquettes of the two end slices the weight 1/2 and divides by the number of weighted plaquettes
(``plaq_wsum_dble`` and ``npl`` of its main programs), and has no clover density on the end slices (``ym_action_slices``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gaugeflow import kernels
from gaugeflow.kernels.sums import sum_slices
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.flow_scales import SliceHistory, flow_slices
from gaugeflow.observables.gradient_flow import STEP, AdaptiveStep
from gaugeflow.observables.loops import link_trace


class OpenAverages(NamedTuple):
    """Plaquettes of lattices that end in time, normalised by N; T is the extent of direction 0.

    ``spatial`` and ``temporal`` are means ``(T, batch)`` over the plaquettes at a time slice; the last temporal one, of
    plaquettes that do not exist, is zero. ``plaquette``, ``plaquette_spatial`` and ``plaquette_temporal`` ``(batch,)``
    are averages over all plaquettes that exist, spatial ones of the two end slices with the weight 1/2; three times
    ``plaquette`` is what openQCD prints as the average plaquette of SU(3).
    """

    spatial: Array
    temporal: Array
    plaquette: Array
    plaquette_spatial: Array
    plaquette_temporal: Array


def is_open_in_time(links: Array) -> bool:
    """Whether all links from the last time slice to the first are zero.

    Parameters
    ----------
    links
        Conventional array ``(d, *shape, N, N)``.
    """
    return not bool(array_namespace(links).any(links[0, -1, ...] != 0.0))


def open_averages(lattice: Lattice, links: Array) -> OpenAverages:
    """Plaquettes of every time slice and their weighted averages.

    Parameters
    ----------
    lattice, links
        The lattice, of three dimensions or more, and its links, zero where the lattice ends.

    Raises
    ------
    ValueError
        In two dimensions, which have no spatial plane.
    """
    if lattice.ndim < 3:
        raise ValueError(f"a lattice of shape {lattice.shape} has no spatial planes")
    n, _ = lattice.check_links(links)
    xp = array_namespace(links)
    sums = sum_slices(lattice, kernels.plaquette_traces(lattice, links))
    planes = sums / (n * (lattice.volume // lattice.shape[0]))
    count, extent = lattice.ndim - 1, lattice.shape[0]
    temporal = xp.mean(planes[:count, ...], axis=0)
    spatial = xp.mean(planes[count:, ...], axis=0)
    weighted = xp.sum(spatial, axis=0) - 0.5 * (spatial[0, :] + spatial[-1, :])
    mean_spatial = weighted / (extent - 1)
    mean_temporal = xp.sum(temporal, axis=0) / (extent - 1)
    mean = (count * mean_temporal + (len(lattice.planes) - count) * mean_spatial) / len(lattice.planes)
    return OpenAverages(spatial, temporal, mean, mean_spatial, mean_temporal)


def open_flow_history(
    lattice: Lattice, links: Array, times: Sequence[float], *, step: float | AdaptiveStep = STEP
) -> SliceHistory:
    """Energy and charge of every time slice along the Wilson flow, zero on the two end slices.

    The clover is incomplete there, and openQCD has zeros, too.

    Parameters
    ----------
    lattice, links, times, step
        As of :func:`gaugeflow.observables.flow_history`.

    Raises
    ------
    ValueError, ConvergenceError
        As :func:`gaugeflow.observables.flow_through`.
    """
    xp = array_namespace(links)
    inside = xp.asarray([0.0] + [1.0] * (lattice.shape[0] - 2) + [0.0])[:, None]
    t, *parts = flow_slices(lattice, links, times, step=step, open_in_time=True)
    return SliceHistory(t, *(part * inside for part in parts))


def measure_open(
    file: str, lattice: Lattice, links: Array, flow_times: Sequence[float], step: float, flow: str
) -> dict[str, Any]:
    """What :func:`gaugeflow.observables.measure` returns for one configuration on a lattice that ends in time.

    Parameters
    ----------
    file
        Name to record.
    lattice, links
        The lattice and the field of one configuration.
    flow_times, step, flow
        As of ``measure``; the energy is the mean over interior slices, the charge the sum over them.

    Raises
    ------
    ValueError
        If there is no interior slice, no spatial plane, or the flow is not Wilson's.
    """
    extent = lattice.shape[0]
    if extent < 3:
        raise ValueError(f"{file}: open boundaries in time need an extent of at least 3 there, got {extent}")
    if len(flow_times) > 0 and flow != "wilson":
        raise ValueError(f"{file}: open boundaries in time are known to the flow 'wilson' only, got {flow!r}")
    averages = open_averages(lattice, links)
    d = lattice.ndim
    exist = (d * extent) / (d * extent - 1)  # of d T links at every site of a slice one is missing
    result: dict[str, Any] = {
        "file": file,
        "shape": list(lattice.shape),
        "n_colours": int(links.shape[2]),
        "plaquette": float(averages.plaquette[0]),
        "plaquette_spatial": float(averages.plaquette_spatial[0]),
        "plaquette_temporal": float(averages.plaquette_temporal[0]),
        "link_trace": float(link_trace(lattice, links)[0]) * exist,
        "polyakov_loop": None,
        "q": None,
        "flow": [],
        "boundary": "open",
        "slices": {
            "plaquette_spatial": numbers(averages.spatial),
            "plaquette_temporal": numbers(averages.temporal)[:-1],
        },
    }
    if len(flow_times) == 0:
        return result
    history = open_flow_history(lattice, links, flow_times, step=step)
    for k, t in enumerate(history.t):
        spatial, temporal = numbers(history.e_clover_spatial[k, ...]), numbers(history.e_clover_temporal[k, ...])
        charge = numbers(history.q[k, ...]) if d == 4 else None
        inner = extent - 2
        result["flow"].append(
            {
                "t": t,
                "e_clover_spatial": sum(spatial) / inner,
                "e_clover_temporal": sum(temporal) / inner,
                "t2_e": t * t * (sum(spatial) + sum(temporal)) / inner,
                "q": None if charge is None else sum(charge),
                "slices": {"e_clover_spatial": spatial, "e_clover_temporal": temporal, "q": charge},
            }
        )
    return result


def numbers(slices: Array) -> list[float]:
    """Slices ``(T, 1)`` of one configuration as plain numbers."""
    return [float(slices[t, 0]) for t in range(slices.shape[0])]
