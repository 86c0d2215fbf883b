"""Results and tables of joint samplers of links and pseudofermions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gaugeflow.analysis import Series, ess, format_error, gamma_method, reweighted_mean
from gaugeflow.lattice import Array
from gaugeflow.random import Rng
from gaugeflow.samplers import metropolis_chain
from gaugeflow.systems.report import BRACKETS, ESS, Table

PUBLISHED = {
    "none": 0.020,
    "even-odd": 0.05,
    "Hasenbusch 1": 0.074,
    "Hasenbusch 2": 0.091,
    "Hasenbusch 3": 0.145,
}
"""Joint effective sample sizes of the Schwinger model read off a figure of arXiv:2207.08945."""


def analyse(
    models: Sequence[str],
    observables: Sequence[str],
    columns: Mapping[str, Array],
    local: Mapping[str, Array],
    rng: Rng,
) -> dict[str, Any]:
    """Effective sample sizes and reweighted observables of all samplers, with their differences from HMC.

    Parameters
    ----------
    models, observables
        Names of log-weights but the marginal one, and of observables, among the columns.
    columns, local
        Samples, and histories ``(trajectories, chains)`` of HMC.
    rng
        Numbers for chains of independence Metropolis.
    """
    hmc: dict[str, Any] = {"acceptance": float(np.mean(local["accepted"]))}
    for key in observables:
        found = gamma_method(Series.from_lanes(local[key], name=key))
        hmc[key], hmc[f"{key}_error"], hmc[f"{key}_tau_int"] = found.value, found.error, found.tau_int
    shares = np.exp(columns["marginal"] - np.max(columns["marginal"]))
    rows: list[dict[str, Any]] = []
    for name in ("marginal", *models):
        weight = columns[name]
        quality = ess(weight)
        change = weight - columns["marginal"]
        change = change - np.average(change, weights=shares)
        _, accepted = metropolis_chain(rng.stream(name), weight.reshape(-1, 16))
        row: dict[str, Any] = {
            "name": name,
            "ess": quality.value,
            "ess_error": quality.error,
            "acceptance": float(np.mean(accepted[1:])),
            "conditional_variance": float(np.average(change**2, weights=shares)),
        }
        for key in observables:
            estimate = reweighted_mean(columns[key], weight)
            error = np.hypot(estimate.error, hmc[f"{key}_error"])
            row[key], row[f"{key}_error"] = estimate.value, estimate.error
            row[f"{key}_pull"] = float((estimate.value - hmc[key]) / error)
        rows.append(row)
    return {"configurations": len(columns["marginal"]), "models": rows, "hmc": hmc}


def sizes(results: Sequence[Mapping[str, Any]]) -> Table:
    """Effective sample sizes of all samplers."""
    cells = []
    for result in results:
        for row in result["models"]:
            preconditioner = row["name"].split(",")[0]
            known = PUBLISHED.get(preconditioner) if result["n_colours"] == 1 else None
            cells.append(
                (
                    result["case"],
                    row["name"],
                    format_error(row["ess"], row["ess_error"]),
                    "" if known is None else f"{known:.3f}",
                    f"{row['acceptance']:.3f}",
                    f"{row['ess'] / result['models'][0]['ess']:.3f}",
                )
            )
    return Table(
        "Joint samplers of links and pseudofermions",
        ("case", "pseudofermions", "ESS", "published", "acceptance", "of the marginal"),
        tuple(cells),
        (
            ESS,
            BRACKETS,
            "marginal: the same links with exact determinants, which no joint sampler can beat",
            "published: Schwinger model of arXiv:2207.08945, read off a figure; its kappa is not known to us",
            "of the marginal: ratio of the two ESS, what fluctuations of pseudofermions leave",
        ),
    )


def values(results: Sequence[Mapping[str, Any]]) -> Table:
    """Observables of all samplers beside those of HMC."""
    cells = []
    for result in results:
        keys = [key for key in ("plaquette", "Q^2") if key in result["hmc"]]
        for row in (*result["models"], {"name": "HMC", **result["hmc"]}):
            shown: list[Any] = [result["case"], row["name"]]
            for key in ("plaquette", "Q^2"):
                if key not in keys:
                    shown += ["", ""]
                    continue
                shown.append(format_error(row[key], row[f"{key}_error"]))
                shown.append(f"{row[f'{key}_pull']:.1f}" if f"{key}_pull" in row else "")
            cells.append(tuple(shown))
    return Table(
        "Observables",
        ("case", "sampler", "plaquette", "pull", "Q^2", "pull"),
        tuple(cells),
        (BRACKETS, "pull: difference from HMC in units of both errors"),
    )
