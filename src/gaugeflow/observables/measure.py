"""All gauge observables of one configuration, as ``gaugeflow measure`` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaugeflow.lattice import Array, Lattice, suggest_fold
from gaugeflow.observables import loops
from gaugeflow.observables.flow_scales import flow_history
from gaugeflow.observables.gradient_flow import STEP
from gaugeflow.observables.open_time import is_open_in_time, measure_open

LANES = 8
"""Lanes that one configuration is folded into, where its extents allow it: the widest register in double precision."""


def measure(
    file: str, links: Array, *, flow_times: Sequence[float] = (), step: float = STEP, flow: str = "wilson"
) -> dict[str, Any]:
    """Measure one configuration.

    Parameters
    ----------
    file
        Name to record.
    links
        Conventional array ``(d, *shape, N, N)`` complex, direction 0 and site axis 0 being time.
    flow_times, step, flow
        Times, largest step and kind of the gradient flow, see :func:`gaugeflow.observables.flow_history`; none by
        default.

    Returns
    -------
    dict
        ``file, shape, n_colours, plaquette, plaquette_spatial, plaquette_temporal, link_trace, polyakov_loop`` (real
        and imaginary part) and ``flow``, a list of ``t, e_clover_spatial, e_clover_temporal, t2_e, q``.  Loops are
        normalised by N, E is in a^-4, t in a^2.  Only plain numbers, strings, lists and None; None stands for what a
        dimension lacks: spatial plaquettes in two, the clover charge q in any but four.

        A lattice that ends in time, where its links of direction 0 are zero, has ``boundary`` (``"open"``) and ``slices``
        as well; its averages are weighted as :func:`gaugeflow.observables.open_averages` says, the Polyakov loop is None.

    Raises
    ------
    ValueError
        If the lattice ends in time and has no interior slice, or the flow is not Wilson's.
    """
    shape = tuple(int(extent) for extent in links.shape[1:-2])
    lattice = Lattice(shape, suggest_fold(shape, LANES))
    field = lattice.pack(links[None, ...], components=1)
    if is_open_in_time(links):
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
        "flow": [],
    }
    if len(flow_times) > 0:
        history = flow_history(lattice, field, flow_times, step=step, flow=flow)
        t2_e = history.t2_e
        result["flow"] = [
            {
                "t": t,
                "e_clover_spatial": number(history.e_clover_spatial[k, ...]),
                "e_clover_temporal": number(history.e_clover_temporal[k, ...]),
                "t2_e": number(t2_e[k, ...]),
                "q": number(history.q[k, ...]) if lattice.ndim == 4 else None,
            }
            for k, t in enumerate(history.t)
        ]
    return result
