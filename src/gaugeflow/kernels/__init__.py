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
from gaugeflow.kernels.heatbath import heatbath, overrelax
from gaugeflow.kernels.random import haar_field, momentum_field, normal_field, uniform_field
from gaugeflow.kernels.residual import (
    from_ambient,
    overwrite,
    path_sum,
    path_sum_vjp,
    residual_score,
    residual_solve,
    residual_tangent,
    residual_update,
    residual_update_vjp,
    to_ambient,
)
from gaugeflow.kernels.smear import smear, smear_vjp

__all__ = [
    "clover",
    "evolve",
    "flow_stage",
    "from_ambient",
    "gauge_transform",
    "haar_field",
    "heatbath",
    "inner",
    "momentum_field",
    "normal_field",
    "overrelax",
    "overwrite",
    "path_sum",
    "path_sum_vjp",
    "plaquette",
    "project",
    "rectangle",
    "rectangle_force",
    "residual_score",
    "residual_solve",
    "residual_tangent",
    "residual_update",
    "residual_update_vjp",
    "reunitarise",
    "smear",
    "smear_vjp",
    "to_ambient",
    "uniform_field",
    "wilson_force",
]
