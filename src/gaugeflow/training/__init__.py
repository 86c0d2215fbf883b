"""Training of flows with hand-derived gradients."""

from gaugeflow.training.adam import Adam, AdamState, constant, cosine, exponential
from gaugeflow.training.least_squares import LinearFit, fit_linear
from gaugeflow.training.loop import History, Trained, held_out_ess, train
from gaugeflow.training.loss import LossValue, log_variance, log_weight, reverse_kl, reverse_kl_path

__all__ = [
    "Adam",
    "AdamState",
    "History",
    "LinearFit",
    "LossValue",
    "Trained",
    "constant",
    "cosine",
    "exponential",
    "fit_linear",
    "held_out_ess",
    "log_variance",
    "log_weight",
    "reverse_kl",
    "reverse_kl_path",
    "train",
]
