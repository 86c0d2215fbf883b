"""What is measured on configurations."""

from gaugeflow.observables.flow_scales import (
    FlowedCharge,
    FlowedEnergy,
    FlowHistory,
    SliceHistory,
    flow_history,
    flow_slices,
    flow_time_gradient,
    flow_time_where,
    w_0,
    w_0_gradient,
)
from gaugeflow.observables.glueball import glueball_correlator, plaquette_slices, slice_correlator, tensor_slices
from gaugeflow.observables.gradient_flow import AdaptiveStep, advance, flow_step, flow_through
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
from gaugeflow.observables.open_time import OpenAverages, is_open_in_time, open_averages, open_flow_history
from gaugeflow.observables.scalar import ising_energy, magnetisation, two_point_susceptibility
from gaugeflow.observables.scale_derivatives import flow_time_derivative, flow_time_derivative_gradient
from gaugeflow.observables.slab_loops import SlabCut, SlabLoops
from gaugeflow.observables.smearing import ape, stout
from gaugeflow.observables.topology import (
    clover_charge,
    five_loop_charge,
    integer_charge,
    plaquette_charge,
    sine_charge,
)
from gaugeflow.observables.wilson_loops import creutz_ratios, static_potential, wilson_loop, wilson_loops

__all__ = [
    "AdaptiveStep",
    "FlowHistory",
    "FlowedCharge",
    "FlowedEnergy",
    "LinkObservable",
    "OpenAverages",
    "SlabCut",
    "SlabLoops",
    "SliceHistory",
    "advance",
    "ape",
    "clover_charge",
    "creutz_ratios",
    "five_loop_charge",
    "flow_history",
    "flow_slices",
    "flow_step",
    "flow_through",
    "flow_time_derivative",
    "flow_time_derivative_gradient",
    "flow_time_gradient",
    "flow_time_where",
    "glueball_correlator",
    "integer_charge",
    "is_open_in_time",
    "ising_energy",
    "link_trace",
    "magnetisation",
    "measure",
    "open_averages",
    "open_flow_history",
    "plaquette",
    "plaquette_charge",
    "plaquette_slices",
    "plaquette_spatial",
    "plaquette_temporal",
    "polyakov_loop",
    "rectangle",
    "sine_charge",
    "slice_correlator",
    "static_potential",
    "stout",
    "tensor_slices",
    "two_point_susceptibility",
    "w_0",
    "w_0_gradient",
    "wilson_loop",
    "wilson_loops",
]
