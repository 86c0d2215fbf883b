"""Actions: ``value`` and ``grad`` of what configurations are weighed with, exp(-S)."""

from gaugeflow.actions.algebra import PulledBack, Scaled, Sum, refreshed
from gaugeflow.actions.defect import Defect, DefectAction
from gaugeflow.actions.fermion import Determinant, Hasenbusch, Inversion, Pseudofermion, Ratio
from gaugeflow.actions.gauge import DBW2, IWASAKI, SYMANZIK, ImprovedAction, WilsonAction, difference
from gaugeflow.actions.rational import Rational
from gaugeflow.actions.scalar import ScalarAction

__all__ = [
    "DBW2",
    "IWASAKI",
    "SYMANZIK",
    "Defect",
    "DefectAction",
    "Determinant",
    "Hasenbusch",
    "ImprovedAction",
    "Inversion",
    "Pseudofermion",
    "PulledBack",
    "Ratio",
    "Rational",
    "ScalarAction",
    "Scaled",
    "Sum",
    "WilsonAction",
    "difference",
    "refreshed",
]
