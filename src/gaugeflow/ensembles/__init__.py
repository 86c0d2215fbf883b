"""Ensembles of configurations and pairs of correlated ones, streamed."""

from gaugeflow.ensembles.correlated import CorrelatedEnsemble, Measurements, Pair, measure_images
from gaugeflow.ensembles.linear import along_flow
from gaugeflow.ensembles.stored import FileEnsemble, MemoryEnsemble, numbers_in_names

__all__ = [
    "CorrelatedEnsemble",
    "FileEnsemble",
    "Measurements",
    "MemoryEnsemble",
    "Pair",
    "along_flow",
    "measure_images",
    "numbers_in_names",
]
