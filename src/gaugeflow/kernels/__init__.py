"""Whole lattice sweeps.  Each function is the array-API reference and the contract that back ends follow."""

from gaugeflow.kernels.gauge import (
    clover,
    evolve,
    flow_stage,
    gauge_transform,
    inner,
    plaquette,
    project,
    rectangle,
    rectangle_force,
    reunitarise,
    wilson_force,
)

__all__ = [
    "clover",
    "evolve",
    "flow_stage",
    "gauge_transform",
    "inner",
    "plaquette",
    "project",
    "rectangle",
    "rectangle_force",
    "reunitarise",
    "wilson_force",
]
