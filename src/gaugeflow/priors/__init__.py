"""Distributions that can be sampled and evaluated, from which flows start."""

from gaugeflow.priors.haar import Haar
from gaugeflow.priors.normal import Normal

__all__ = ["Haar", "Normal"]
