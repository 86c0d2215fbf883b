"""Invertible maps of fields with tractable Jacobians."""

from gaugeflow.flows.chain import Chain
from gaugeflow.flows.convolution import Convolution
from gaugeflow.flows.residual import ResidualSweep
from gaugeflow.flows.smeared import SmearedSweep
from gaugeflow.flows.smearing import Smearing
from gaugeflow.flows.trivialising import TrivialisingFlow, luescher_classes

__all__ = ["Chain", "Convolution", "ResidualSweep", "SmearedSweep", "Smearing", "TrivialisingFlow", "luescher_classes"]
