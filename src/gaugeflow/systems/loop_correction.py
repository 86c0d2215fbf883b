"""What a determinant adds to a gauge theory that a flow samples already, as a potential of loops and as a flow on top.

A potential V is chosen such that links distributed as exp(-S_0 + V) need the smallest fluctuations of weights to become those
of the target.  A trivialising flow then leads from S_0 to S_0 - V; for it, no determinants are needed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from gaugeflow.actions import WilsonAction
from gaugeflow.flows import TrivialisingFlow
from gaugeflow.lattice import Array
from gaugeflow.training import fit_linear
from gaugeflow.typing import Params

Floats = npt.NDArray[np.float64]


def fit_potential(values: Floats, log_weight: Floats, *, ridge: float = 1e-3) -> Floats:
    """Coefficients of a potential after which the effective sample size is largest.

    Parameters
    ----------
    values
        ``(n_classes, n)``: sums of loops of configurations.
    log_weight
        ``(n,)``: their log-weights towards the target.
    ridge
        Penalty on the squares of coefficients in units of the standard deviations of values.

    Returns
    -------
    array
        ``(n_classes,)``: c that minimises ``log <w^2 e^-V> + log <e^V> - 2 log <w>`` for V = c . values, a convex function.
    """
    mean, size = np.mean(values, axis=1, keepdims=True), np.std(values, axis=1, keepdims=True)
    size = np.where(size > 0.0, size, 1.0)  # a sector that never occurs
    unit = (values - mean) / size

    def loss(c: Floats) -> tuple[float, Floats]:
        v = c @ unit
        (one, p), (two, q) = _log_mean(2.0 * log_weight - v), _log_mean(v)
        return one + two + ridge * float(c @ c), unit @ (q - p) + 2.0 * ridge * c

    found = minimize(loss, np.zeros(len(values)), jac=True, method="BFGS", options={"maxiter": 100})
    return np.asarray(found.x / size[:, 0])


def _log_mean(x: Floats) -> tuple[float, Floats]:
    """Logarithm of the mean of exp(x), and its derivative."""
    top = float(np.max(x))
    e = np.exp(x - top)
    return top + float(np.log(np.mean(e))), e / np.sum(e)


@dataclass(frozen=True)
class Correction:
    """A trivialising flow from a Wilson action to one with a potential added."""

    flow: TrivialisingFlow
    params: Params

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Links and log det."""
        return self.flow.forward(self.params, x)


def follow(
    flow: TrivialisingFlow, beta: float, potential: Floats, links: Sequence[Array], log_weight: Floats
) -> Params:
    """Parameters of the flow from the Wilson action at beta to that action minus a potential of the same classes.

    Parameters
    ----------
    flow
        With two knots or more.
    beta
        Of the Wilson action S_0.
    potential
        Coefficients of V.
    links, log_weight
        Batches of configurations, and their log-weights towards S_0.

    Notes
    -----
    At flow time t links have the action S_t = S_0 - t V.  The coefficients of the vector field X make div X - X . grad S_t
    equal to -V up to a constant, by least squares; configurations of S_t are those of S_0, reweighted.
    """
    action = WilsonAction(flow.lattice, beta)
    forces = [(action.grad(x), flow.potential.gradient(potential, x)) for x in links]
    v = np.concatenate([potential @ flow.potential.values(x) for x in links])
    columns = []
    for t in flow.nodes:
        tangents: Any = np.concatenate(
            [flow.tangent(x, wilson - t * own) for x, (wilson, own) in zip(links, forces, strict=True)], axis=-1
        )
        _, weights = _log_mean(log_weight + t * v)
        root = np.sqrt(weights * len(weights))
        centred = tangents - (tangents @ weights)[:, None]
        wanted = v @ weights - v
        columns.append(fit_linear(centred * root, wanted * root, cut=1e-9).coefficients)
    return flow.interpolated(np.stack(columns, axis=1))
