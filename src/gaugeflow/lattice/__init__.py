"""Lattices, regions of them, and tables of hops."""

from gaugeflow.lattice.grid import Array as Array
from gaugeflow.lattice.grid import Lattice
from gaugeflow.lattice.packing import check_array
from gaugeflow.lattice.tables import LANES, Box, Domain, HopFactors, HopTable, IntArray, suggest_fold

__all__ = [
    "LANES",
    "Box",
    "Domain",
    "HopFactors",
    "HopTable",
    "IntArray",
    "Lattice",
    "check_array",
    "suggest_fold",
]
