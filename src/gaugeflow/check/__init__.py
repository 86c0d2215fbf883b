"""The contracts of gaugeflow's protocols, as functions that any implementation can be put through.

Every function takes double-precision fields, measures how far the implementation is from its contract, and either
returns the measured errors by name or raises :class:`ContractError` with all of them.  Derivatives are compared with
central differences of sixth order in the step, whose error is near 1e-10 for smooth functions: tolerances of 1e-7 are
loose, and far below what a wrong sign or a missing term costs.

Random directions and rotations come from an ``rng`` with ``standard_normal(shape)``, such as a
``numpy.random.Generator``.
"""

from gaugeflow.check.actions import check_action, check_gauge_covariance, check_observable
from gaugeflow.check.conditional import check_conditional
from gaugeflow.check.flows import brute_force_log_det, check_flow, check_module
from gaugeflow.check.operators import check_operator
from gaugeflow.check.report import ContractError
from gaugeflow.check.samplers import check_sampler

__all__ = [
    "ContractError",
    "brute_force_log_det",
    "check_action",
    "check_conditional",
    "check_flow",
    "check_gauge_covariance",
    "check_module",
    "check_observable",
    "check_operator",
    "check_sampler",
]
