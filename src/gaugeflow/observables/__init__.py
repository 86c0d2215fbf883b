"""What is measured on configurations."""

from gaugeflow.observables.flow_scales import (
    FlowedCharge,
    FlowedEnergy,
    FlowHistory,
    advance,
    flow_history,
    flow_step,
    flow_time_where,
)
from gaugeflow.observables.loops import (
    LinkObservable,
    link_trace,
    plaquette,
    plaquette_spatial,
    plaquette_temporal,
    polyakov_loop,
    rectangle,
)
from gaugeflow.observables.measure import measure
from gaugeflow.observables.topology import clover_charge, integer_charge

__all__ = [
    "FlowHistory",
    "FlowedCharge",
    "FlowedEnergy",
    "LinkObservable",
    "advance",
    "clover_charge",
    "flow_history",
    "flow_step",
    "flow_time_where",
    "integer_charge",
    "link_trace",
    "measure",
    "plaquette",
    "plaquette_spatial",
    "plaquette_temporal",
    "polyakov_loop",
    "rectangle",
]
