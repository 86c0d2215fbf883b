"""Determinants of Dirac operators, exactly and by noise: values, phases, ratios and derivatives."""

from gaugeflow.determinants.dense import log_det_charge, log_det_derivative, log_det_gradient
from gaugeflow.determinants.exact import along_kappa, d_kappa, log_det, ratio
from gaugeflow.determinants.hopping_noise import HoppingNoise, hopping_noise
from gaugeflow.determinants.laplacian import LogDetLaplacian, log_det_laplacian
from gaugeflow.determinants.paths import geodesic, path
from gaugeflow.determinants.result import LogDet, LogDetDerivative, LogDetGradient, LogDetSecond
from gaugeflow.determinants.stochastic import (
    StochasticRatio,
    StochasticTrace,
    stochastic_gradient,
    stochastic_ratio,
    stochastic_trace,
)

__all__ = [
    "HoppingNoise",
    "LogDet",
    "LogDetDerivative",
    "LogDetGradient",
    "LogDetLaplacian",
    "LogDetSecond",
    "StochasticRatio",
    "StochasticTrace",
    "along_kappa",
    "d_kappa",
    "geodesic",
    "hopping_noise",
    "log_det",
    "log_det_charge",
    "log_det_derivative",
    "log_det_gradient",
    "log_det_laplacian",
    "path",
    "ratio",
    "stochastic_gradient",
    "stochastic_ratio",
    "stochastic_trace",
]
