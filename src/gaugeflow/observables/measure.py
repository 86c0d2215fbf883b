"""All gauge observables of one configuration, as ``gaugeflow measure`` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaugeflow.lattice import Array, Lattice, suggest_fold
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables import loops
from gaugeflow.observables.flow_scales import FlowHistory, flow_history
from gaugeflow.observables.gradient_flow import FLOWS, STEP
from gaugeflow.observables.open_time import is_open_in_time, measure_open, numbers
from gaugeflow.observables.topology import has_integer_charge, integer_charge

LANES = 8
"""Lanes that one configuration is folded into, where its extents allow it: the widest register in double precision."""


def measure(
    file: str,
    links: Array,
    *,
    flow_times: Sequence[float] = (),
    step: float = STEP,
    flow: str = "wilson",
    charges: Sequence[str] = (),
    slices: bool = False,
    lattice: Lattice | None = None,
) -> dict[str, Any]:
    """Measure one configuration.

    Parameters
    ----------
    file
        Name to record.
    links
        Conventional array ``(d, *shape, N, N)`` complex, direction 0 and site axis 0 being time.
    flow_times, step, flow, charges, slices
        Times, largest step and kind of the gradient flow, further charges and whether time slices are recorded, see
        :func:`gaugeflow.observables.flow_history`; none by default.
    lattice
        That of the links, which are the part of this process where it is cut over several; all of them call this and get the
        same.  By default a whole one of the extents that the links have.

    Returns
    -------
    dict
        ``file, shape, n_colours, plaquette, plaquette_spatial, plaquette_temporal, link_trace, polyakov_loop`` (real
        and imaginary part), ``q`` and ``flow``, a list of ``t, e_clover_spatial, e_clover_temporal, t2_e, t2_e_plaquette, q``.
        Loops are normalised by N, E is in a^-4, t in a^2.  Only plain numbers, strings, lists and None; None stands for
        what a dimension lacks: spatial plaquettes in two, the charge elsewhere than in four and for U(1) in two.

        ``q`` of the configuration is the integer charge of U(1) in two dimensions, None elsewhere, where a charge means
        something only after the flow.  With further charges, the entries of ``flow`` have ``q_plaquette``, or ``q_five_loop``
        and ``t2_e_five_loop``; with slices, ``slices``: ``e_clover_spatial, e_clover_temporal`` and ``q`` of every time slice.

        A lattice that ends in time, where its links of direction 0 are zero, has ``boundary`` (``"open"``) and ``slices``
        as well; its averages are weighted as :func:`gaugeflow.observables.open_averages` says, the Polyakov loop is None.

    Raises
    ------
    ValueError
        If the step is so large that the flow of a smooth field is unstable, see
        ``gaugeflow.observables.gradient_flow.Descent.largest_step``; if the lattice ends in time and has no interior slice,
        or the flow is not Wilson's; or as ``flow_history``.  If the lattice is cut and ends in time.
    """
    if lattice is None:
        extents = tuple(int(extent) for extent in links.shape[1:-2])
        lattice = Lattice(extents, suggest_fold(extents, LANES))
    shape = lattice.shape
    field = lattice.local.pack(links[None, ...], components=1)
    if len(flow_times) > 0 and flow in FLOWS and step > FLOWS[flow].largest_step(lattice.ndim):
        raise ValueError(
            f"{file}: the {flow} flow in {lattice.ndim} dimensions is unstable for steps above "
            f"{FLOWS[flow].largest_step(lattice.ndim):.3g}, got {step:g}"
        )
    if _ends_in_time(lattice, links):
        lattice.check_whole(f"{file}: open boundaries in time")
        if charges:
            raise ValueError(
                f"{file}: open boundaries in time are known to the clover charge only, got {list(charges)}"
            )
        return measure_open(file, lattice, field, flow_times, step, flow)

    def number(values: Array) -> float:
        return float(values[0])

    loop = complex(loops.polyakov_loop(lattice, field)[0])
    result: dict[str, Any] = {
        "file": file,
        "shape": list(shape),
        "n_colours": int(links.shape[-1]),
        "plaquette": number(loops.plaquette(lattice, field)),
        "plaquette_spatial": number(loops.plaquette_spatial(lattice, field)) if lattice.ndim > 2 else None,
        "plaquette_temporal": number(loops.plaquette_temporal(lattice, field)),
        "link_trace": number(loops.link_trace(lattice, field)),
        "polyakov_loop": [loop.real, loop.imag],
        "q": number(integer_charge(lattice, field)) if has_integer_charge(lattice, field) else None,
        "flow": [],
    }
    if len(flow_times) > 0:
        history = flow_history(lattice, field, flow_times, step=step, flow=flow, charges=charges, slices=slices)
        charged = lattice.ndim == 4 or has_integer_charge(lattice, field)
        result["flow"] = [_entry(history, k, charged) for k in range(len(history.t))]
    return result


def _ends_in_time(lattice: Lattice, links: Array) -> bool:
    """Whether no links lead from the last time slice to the first, those of all processes."""
    if lattice.domain is None:
        return is_open_in_time(links)
    xp = array_namespace(links)
    last = lattice.origin[0] + lattice.local_shape[0] == lattice.shape[0]
    going_on = xp.asarray([1.0 if last and not is_open_in_time(links) else 0.0], dtype=xp.float64)
    return float(lattice.domain.largest(going_on)[0]) == 0.0


def _entry(history: FlowHistory, k: int, charged: bool) -> dict[str, Any]:
    """One flow time of the first configuration, as plain numbers."""

    def number(values: Array) -> float:
        return float(values[k, 0])

    entry: dict[str, Any] = {
        "t": history.t[k],
        "e_clover_spatial": number(history.e_clover_spatial),
        "e_clover_temporal": number(history.e_clover_temporal),
        "t2_e": number(history.t2_e),
        "t2_e_plaquette": number(history.t2_e_plaquette),
        "q": number(history.q) if charged else None,
    }
    for name in ("q_plaquette", "q_five_loop", "t2_e_five_loop"):
        values = getattr(history, name)
        if values is not None:
            entry[name] = number(values)
    if history.slices is not None:
        _, spatial, temporal, charge = history.slices
        entry["slices"] = {
            "e_clover_spatial": numbers(spatial[k, ...]),
            "e_clover_temporal": numbers(temporal[k, ...]),
            "q": numbers(charge[k, ...]) if charged else None,
        }
    return entry
