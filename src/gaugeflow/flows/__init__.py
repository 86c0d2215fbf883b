"""Invertible maps of fields with tractable Jacobians."""

from gaugeflow.flows.affine import AffineCoupling, affine_chain
from gaugeflow.flows.angles import AngleFlow
from gaugeflow.flows.cell import CellSpline
from gaugeflow.flows.chain import Chain
from gaugeflow.flows.circle import CircularSpline, ProjectionMixture
from gaugeflow.flows.convolution import Convolution
from gaugeflow.flows.evaluation import Evaluation, evaluate
from gaugeflow.flows.halving import SpectralCoupling, spectral_chain
from gaugeflow.flows.loops import LoopCoupling, block_chain, plaquette_chain
from gaugeflow.flows.pointwise import SinhArcsinh
from gaugeflow.flows.residual import ResidualSweep
from gaugeflow.flows.smeared import SmearedSweep
from gaugeflow.flows.smearing import Smearing
from gaugeflow.flows.spectral import HalfLoop
from gaugeflow.flows.trivialising import TrivialisingFlow, luescher_classes

__all__ = [
    "AffineCoupling",
    "AngleFlow",
    "CellSpline",
    "Chain",
    "CircularSpline",
    "Convolution",
    "Evaluation",
    "HalfLoop",
    "LoopCoupling",
    "ProjectionMixture",
    "ResidualSweep",
    "SinhArcsinh",
    "SmearedSweep",
    "Smearing",
    "SpectralCoupling",
    "TrivialisingFlow",
    "affine_chain",
    "block_chain",
    "evaluate",
    "luescher_classes",
    "plaquette_chain",
    "spectral_chain",
]
