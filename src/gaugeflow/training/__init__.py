"""Training of flows with hand-derived gradients."""

from gaugeflow.training.adam import Adam, AdamState, constant, cosine, exponential
from gaugeflow.training.anneal import Stage, anneal
from gaugeflow.training.gauss_newton import GaussNewton, Squares, gauss_newton, levenberg_marquardt
from gaugeflow.training.least_squares import LinearFit, fit_linear, fit_linear_noisy, select_fields
from gaugeflow.training.loop import History, Trained, held_out_ess, train, train_from_prior
from gaugeflow.training.loss import (
    LossValue,
    log_variance,
    log_weight,
    reverse_kl,
    reverse_kl_path,
    reverse_kl_reinforce,
)
from gaugeflow.training.prior import PriorAction, PriorEnsemble

__all__ = [
    "Adam",
    "AdamState",
    "GaussNewton",
    "History",
    "LinearFit",
    "LossValue",
    "PriorAction",
    "PriorEnsemble",
    "Squares",
    "Stage",
    "Trained",
    "anneal",
    "constant",
    "cosine",
    "exponential",
    "fit_linear",
    "fit_linear_noisy",
    "gauss_newton",
    "held_out_ess",
    "levenberg_marquardt",
    "log_variance",
    "log_weight",
    "reverse_kl",
    "reverse_kl_path",
    "reverse_kl_reinforce",
    "select_fields",
    "train",
    "train_from_prior",
]
