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
from gaugeflow.kernels.random import haar_field, momentum_field, normal_field, uniform_field

__all__ = [
    "clover",
    "evolve",
    "flow_stage",
    "gauge_transform",
    "haar_field",
    "inner",
    "momentum_field",
    "normal_field",
    "plaquette",
    "project",
    "rectangle",
    "rectangle_force",
    "reunitarise",
    "uniform_field",
    "wilson_force",
]
