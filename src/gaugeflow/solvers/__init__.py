"""Solvers of linear systems with Dirac operators; lanes and right-hand sides converge on their own."""

from gaugeflow.solvers.adapters import FromScipy, spectral_range, to_scipy
from gaugeflow.solvers.bicgstab import bicgstab
from gaugeflow.solvers.cg import cg, refined_cg
from gaugeflow.solvers.multi_shift import multi_shift_cg
from gaugeflow.solvers.solution import Solution
from gaugeflow.solvers.solve import solve
from gaugeflow.solvers.starts import Chronology, LowModes, low_modes

__all__ = [
    "Chronology",
    "FromScipy",
    "LowModes",
    "Solution",
    "bicgstab",
    "cg",
    "low_modes",
    "multi_shift_cg",
    "refined_cg",
    "solve",
    "spectral_range",
    "to_scipy",
]
