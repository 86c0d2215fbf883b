"""Actions: ``value`` and ``grad`` of what configurations are weighed with, exp(-S)."""

from gaugeflow.actions.algebra import PulledBack, Scaled, Sum
from gaugeflow.actions.defect import Defect, DefectAction
from gaugeflow.actions.gauge import DBW2, IWASAKI, SYMANZIK, ImprovedAction, WilsonAction, difference
from gaugeflow.actions.scalar import ScalarAction

__all__ = [
    "DBW2",
    "IWASAKI",
    "SYMANZIK",
    "Defect",
    "DefectAction",
    "ImprovedAction",
    "PulledBack",
    "ScalarAction",
    "Scaled",
    "Sum",
    "WilsonAction",
    "difference",
]
