"""Invertible maps of fields with tractable Jacobians, by family; chains and their evaluation stand above the families."""

from gaugeflow.flows.chain import Chain
from gaugeflow.flows.conditional.chain import ConditionalChain, ConditionalFlow
from gaugeflow.flows.conditional.coupling import HoppingCoupling
from gaugeflow.flows.conditional.series import HoppingSeries
from gaugeflow.flows.evaluation import Evaluation, evaluate
from gaugeflow.flows.gauge.convolution import Convolution
from gaugeflow.flows.gauge.residual import ResidualSweep
from gaugeflow.flows.gauge.smeared import SmearedSweep
from gaugeflow.flows.gauge.smearing import Smearing
from gaugeflow.flows.loops.charge import ChargeGradient
from gaugeflow.flows.loops.trivialising import StepError, TrivialisingFlow, luescher_classes
from gaugeflow.flows.planar.angles import AngleFlow
from gaugeflow.flows.planar.blocks import LoopCoupling, block_chain, plaquette_chain
from gaugeflow.flows.planar.cell import CellSpline
from gaugeflow.flows.planar.circle import CircularSpline, ProjectionMixture
from gaugeflow.flows.planar.currents import SectorFields
from gaugeflow.flows.planar.halving import SpectralCoupling, spectral_chain
from gaugeflow.flows.planar.spectral import HalfLoop
from gaugeflow.flows.real.affine import AffineCoupling, affine_chain
from gaugeflow.flows.real.conditional import JointCoupling, OnScalar
from gaugeflow.flows.real.pointwise import SinhArcsinh
from gaugeflow.flows.real.yukawa import PseudofermionCoupling, ScalarCoupling, pseudofermion_chain, scalar_chain

__all__ = [
    "AffineCoupling",
    "AngleFlow",
    "CellSpline",
    "Chain",
    "ChargeGradient",
    "CircularSpline",
    "ConditionalChain",
    "ConditionalFlow",
    "Convolution",
    "Evaluation",
    "HalfLoop",
    "HoppingCoupling",
    "HoppingSeries",
    "JointCoupling",
    "LoopCoupling",
    "OnScalar",
    "ProjectionMixture",
    "PseudofermionCoupling",
    "ResidualSweep",
    "ScalarCoupling",
    "SectorFields",
    "SinhArcsinh",
    "SmearedSweep",
    "Smearing",
    "SpectralCoupling",
    "StepError",
    "TrivialisingFlow",
    "affine_chain",
    "block_chain",
    "evaluate",
    "luescher_classes",
    "plaquette_chain",
    "pseudofermion_chain",
    "scalar_chain",
    "spectral_chain",
]
