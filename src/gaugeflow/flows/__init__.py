"""Invertible maps of fields with tractable Jacobians."""

from gaugeflow.flows.chain import Chain
from gaugeflow.flows.convolution import Convolution
from gaugeflow.flows.residual import ResidualSweep
from gaugeflow.flows.smeared import SmearedSweep
from gaugeflow.flows.smearing import Smearing

__all__ = ["Chain", "Convolution", "ResidualSweep", "SmearedSweep", "Smearing"]
