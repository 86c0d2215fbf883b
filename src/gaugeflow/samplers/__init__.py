"""Markov chains."""

from gaugeflow.samplers.heatbath import HeatBath, HeatBathInfo, HeatBathState
from gaugeflow.samplers.run import Chain, Sample, configurations, run

__all__ = ["Chain", "HeatBath", "HeatBathInfo", "HeatBathState", "Sample", "configurations", "run"]
