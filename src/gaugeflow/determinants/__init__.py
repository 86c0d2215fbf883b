"""Determinants of Dirac operators, exactly and by noise: values, phases, ratios and derivatives."""

from gaugeflow.determinants.dense import log_det_derivative, log_det_gradient
from gaugeflow.determinants.exact import d_kappa, log_det, ratio
from gaugeflow.determinants.result import LogDet, LogDetDerivative, LogDetGradient

__all__ = [
    "LogDet",
    "LogDetDerivative",
    "LogDetGradient",
    "d_kappa",
    "log_det",
    "log_det_derivative",
    "log_det_gradient",
    "ratio",
]
