"""Distributions that can be sampled and evaluated, from which flows start."""

from gaugeflow.priors.free import FreeField
from gaugeflow.priors.haar import Haar
from gaugeflow.priors.normal import Normal
from gaugeflow.priors.photon import Photon
from gaugeflow.priors.pushed import Mirrored, Pushed

__all__ = ["FreeField", "Haar", "Mirrored", "Normal", "Photon", "Pushed"]
