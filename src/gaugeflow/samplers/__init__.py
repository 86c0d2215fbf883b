"""Markov chains."""

from gaugeflow.samplers.checkpoint import Checkpoint
from gaugeflow.samplers.composite import Composite, CompositeState
from gaugeflow.samplers.heatbath import HeatBath, HeatBathInfo, HeatBathState
from gaugeflow.samplers.hmc import HMC, HMCInfo, HMCState
from gaugeflow.samplers.independence import (
    IndependenceInfo,
    IndependenceMetropolis,
    IndependenceState,
    metropolis_chain,
)
from gaugeflow.samplers.integrators import (
    FORCE_GRADIENT,
    INTEGRATORS,
    LEAPFROG,
    OMELYAN2,
    OMELYAN4,
    Integrator,
    Level,
    integrate,
)
from gaugeflow.samplers.metropolis import LinkMetropolis, MetropolisInfo, MetropolisState, ScalarMetropolis
from gaugeflow.samplers.replica import (
    Exchange,
    OnReplicas,
    Replica,
    ReplicaExchange,
    ReplicaInfo,
    ReplicaState,
)
from gaugeflow.samplers.run import Chain, Sample, configurations, run

__all__ = [
    "FORCE_GRADIENT",
    "HMC",
    "INTEGRATORS",
    "LEAPFROG",
    "OMELYAN2",
    "OMELYAN4",
    "Chain",
    "Checkpoint",
    "Composite",
    "CompositeState",
    "Exchange",
    "HMCInfo",
    "HMCState",
    "HeatBath",
    "HeatBathInfo",
    "HeatBathState",
    "IndependenceInfo",
    "IndependenceMetropolis",
    "IndependenceState",
    "Integrator",
    "Level",
    "LinkMetropolis",
    "MetropolisInfo",
    "MetropolisState",
    "OnReplicas",
    "Replica",
    "ReplicaExchange",
    "ReplicaInfo",
    "ReplicaState",
    "Sample",
    "ScalarMetropolis",
    "configurations",
    "integrate",
    "metropolis_chain",
    "run",
]
