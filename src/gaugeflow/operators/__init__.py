"""Linear maps on fermion fields ``(rows, spin, colour, lanes)``: Dirac operators, bound to a gauge field or not yet."""

from gaugeflow.operators.clover import Clover
from gaugeflow.operators.even_odd import EvenOdd, even_odd, has_parities, reduced
from gaugeflow.operators.hopping import (
    HoppingOperator,
    antiperiodic,
    boundary_phases,
    gamma_5,
    imaginary_chemical_potential,
)
from gaugeflow.operators.noise import gaussian
from gaugeflow.operators.smeared import Smeared, Stout
from gaugeflow.operators.staggered import Staggered
from gaugeflow.operators.wilson import Wilson, anisotropic
from gaugeflow.operators.yukawa import Yukawa

__all__ = [
    "Clover",
    "EvenOdd",
    "HoppingOperator",
    "Smeared",
    "Staggered",
    "Stout",
    "Wilson",
    "Yukawa",
    "anisotropic",
    "antiperiodic",
    "boundary_phases",
    "even_odd",
    "gamma_5",
    "gaussian",
    "has_parities",
    "imaginary_chemical_potential",
    "reduced",
]
