"""Determinants of Dirac operators, exactly and by noise: values, phases, ratios and derivatives."""

from gaugeflow.determinants.dense import log_det, log_det_derivative, log_det_gradient
from gaugeflow.determinants.result import LogDet, LogDetDerivative, LogDetGradient

__all__ = ["LogDet", "LogDetDerivative", "LogDetGradient", "log_det", "log_det_derivative", "log_det_gradient"]
