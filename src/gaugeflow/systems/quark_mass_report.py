"""How far flows in kappa go: variances of the linear log-weight, and the table of effective sample sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gaugeflow.analysis import format_error, gamma_method, noisy_variance
from gaugeflow.ensembles import Measurements
from gaugeflow.lattice import Lattice
from gaugeflow.systems.report import BRACKETS, ESS, Table

_KINDS = {"operator": "plain", "residual": "flow"}


def variances(data: Measurements, lattice: Lattice, step: float) -> dict[str, float]:
    """Variance per site and squared step of the log-weight to first order in the step, without noise, and its ESS.

    To first order log-weights of a step are -step times O, or step times r with the flow, and for Gaussian ones the ESS is
    exp(-step^2 Var).
    """
    columns = data.columns()
    found: dict[str, float] = {}
    for column, kind in _KINDS.items():
        names = [name for name in columns if name.startswith(f"noise|{column} ")]
        variance = gamma_method(noisy_variance(*(data.series(name) for name in names)))
        size = math.exp(-(step**2) * variance.value)
        found |= {
            f"linear_variance_{kind}": variance.value / lattice.volume,
            f"linear_variance_{kind}_error": variance.error / lattice.volume,
            f"linear_ess_{kind}": size,
            f"linear_ess_{kind}_error": size * step**2 * variance.error,
        }
    return found


def weights_table(result: Mapping[str, Any]) -> Table:
    """Variances and effective sample sizes, linear and, where there are determinants, exact."""
    rows = []
    for kind, label in (("plain", "plain reweighting"), ("flow", "flow")):
        exact = f"ess_{kind}" in result
        rows.append(
            (
                label,
                format_error(result[f"linear_variance_{kind}"], result[f"linear_variance_{kind}_error"]),
                format_error(result[f"linear_ess_{kind}"], result[f"linear_ess_{kind}_error"]),
                format_error(result[f"ess_{kind}"], result[f"ess_{kind}_error"]) if exact else "",
            )
        )
    source, target = (result[key]["kappa"] for key in ("source", "target"))
    notes = (
        ESS,
        BRACKETS,
        "variance: of the log-weight to first order in the step, per site and squared step, without the noise of traces",
        "linear ESS: what Gaussian log-weights of this variance have; exact: from determinants",
    )
    columns = ("map", "variance / site / dkappa^2", "linear ESS", "exact ESS")
    return Table(f"Log-weights, kappa = {source:g} to {target:g}", columns, tuple(rows), notes)
