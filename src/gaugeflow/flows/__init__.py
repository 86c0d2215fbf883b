"""Invertible maps of fields with tractable Jacobians."""

from gaugeflow.flows.convolution import Convolution
from gaugeflow.flows.residual import ResidualSweep

__all__ = ["Convolution", "ResidualSweep"]
