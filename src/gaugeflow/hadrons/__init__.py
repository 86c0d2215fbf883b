"""Hadron spectroscopy with Wilson quarks: sources, propagators, two-point functions, disconnected loops."""

from gaugeflow.hadrons.baryons import NUCLEONS, nucleon_density
from gaugeflow.hadrons.correlators import Correlators, meson_density, momenta_up_to, slice_sums, two_point
from gaugeflow.hadrons.gammas import MESONS, meson_structures, spin_matrix
from gaugeflow.hadrons.loops import Loops, chiral_condensate, d_kappa, loops
from gaugeflow.hadrons.propagators import Propagator, propagator
from gaugeflow.hadrons.smearing import Gaussian
from gaugeflow.hadrons.sources import NOISE, Dilution, Source, noise, noise_field, point, wall

__all__ = [
    "MESONS",
    "NOISE",
    "NUCLEONS",
    "Correlators",
    "Dilution",
    "Gaussian",
    "Loops",
    "Propagator",
    "Source",
    "chiral_condensate",
    "d_kappa",
    "loops",
    "meson_density",
    "meson_structures",
    "momenta_up_to",
    "noise",
    "noise_field",
    "nucleon_density",
    "point",
    "propagator",
    "slice_sums",
    "spin_matrix",
    "two_point",
    "wall",
]
