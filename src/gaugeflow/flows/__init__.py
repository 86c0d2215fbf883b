"""Invertible maps of fields with tractable Jacobians."""

from gaugeflow.flows.chain import Chain
from gaugeflow.flows.convolution import Convolution
from gaugeflow.flows.residual import ResidualSweep

__all__ = ["Chain", "Convolution", "ResidualSweep"]
