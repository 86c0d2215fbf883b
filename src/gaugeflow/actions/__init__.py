"""Actions: ``value`` and ``grad`` of what configurations are weighed with, exp(-S)."""

from gaugeflow.actions.algebra import PulledBack, Scaled, Sum, refreshed
from gaugeflow.actions.defect import Defect, DefectAction
from gaugeflow.actions.fermion import Determinant, Hasenbusch, Inversion, Pseudofermion, Ratio
from gaugeflow.actions.gauge import DBW2, IWASAKI, SYMANZIK, Couplings, ImprovedAction, WilsonAction, difference
from gaugeflow.actions.rational import Rational
from gaugeflow.actions.scalar import ScalarAction
from gaugeflow.actions.yukawa import (
    OfScalar,
    YukawaDeterminant,
    YukawaPseudofermions,
    with_pseudofermions,
    without_pseudofermions,
)

__all__ = [
    "DBW2",
    "IWASAKI",
    "SYMANZIK",
    "Couplings",
    "Defect",
    "DefectAction",
    "Determinant",
    "Hasenbusch",
    "ImprovedAction",
    "Inversion",
    "OfScalar",
    "Pseudofermion",
    "PulledBack",
    "Ratio",
    "Rational",
    "ScalarAction",
    "Scaled",
    "Sum",
    "WilsonAction",
    "YukawaDeterminant",
    "YukawaPseudofermions",
    "difference",
    "refreshed",
    "with_pseudofermions",
    "without_pseudofermions",
]
