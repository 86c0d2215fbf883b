"""Analysis and tables of the Schwinger model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.analysis import Estimate, Series, ess, format_error, gamma_method, reweighted_mean
from gaugeflow.lattice import Array
from gaugeflow.random import Rng
from gaugeflow.samplers import metropolis_chain
from gaugeflow.systems.report import BRACKETS, ESS, TAU_INT, Table
from gaugeflow.systems.schwinger_path import Path

PUBLISHED_PIONS = {(16, 0.25): 0.595, (16, 0.263): 0.385}
"""Mass of the pion on lattices with L >= 16, arXiv:2202.11712."""
PUBLISHED_SUSCEPTIBILITY = {(16, 0.276): (3.88e-3, 4e-5)}
"""<Q^2>/V with its error, arXiv:2202.11712."""


@dataclass(frozen=True)
class Target:
    """One lattice and mass.

    Parameters
    ----------
    extent, kappa
        Of the lattice and of the quarks.
    published
        Effective sample size of published flows with the exact determinant, where there is one.
    samples
        Weighted configurations of the flow.
    path_step
        Variance of the log-weight on one step of the path; equal for all lattices with this kappa.
    """

    extent: int
    kappa: float
    published: float | None = None
    samples: int = 128
    path_step: float = 0.005

    @property
    def name(self) -> str:
        """Name of files and streams."""
        return f"{self.extent}-{self.kappa:g}"


def _pair(estimate: Estimate, factor: float = 1.0) -> dict[str, float]:
    return {
        "value": factor * estimate.value,
        "error": factor * estimate.error,
        "tau_int": estimate.tau_int,
        "tau_int_error": estimate.tau_int_error,
    }


def quality(target: Target, path: Path, columns: Mapping[str, Array], rng: Rng) -> dict[str, Any]:
    """The JSON object of one flow: weights, reweighted means, and the Markov chain that its samples make."""
    weight = columns["log_weight"]
    size = ess(weight)
    index, accepted = metropolis_chain(rng, weight[:, None])
    chain = {name: columns[name][index[:, 0]] for name in ("charge", "sign", "condensate")}
    volume = target.extent**2
    return {
        "system": "schwinger",
        "sampler": "flow",
        "lattice": [target.extent, target.extent],
        "kappa": target.kappa,
        "n_configurations": len(weight),
        "layers": len(path.couplings) - 1,
        "ess": size.value,
        "ess_error": size.error,
        "ess_published": target.published,
        "variance_per_site": float(np.var(weight)) / volume,
        "acceptance": float(np.mean(accepted[1:])),
        "milliseconds": 1e3 * float(np.sum(columns["seconds"])) / len(weight),
        "susceptibility": _pair(reweighted_mean(columns["charge"] ** 2, weight), 1.0 / volume),
        "plaquette": _pair(reweighted_mean(columns["plaquette"], weight)),
        "sign": _pair(reweighted_mean(columns["sign"], weight)),
        "condensate": _pair(reweighted_mean(columns["condensate"], weight)),
        "chain": {name: _measured(values[:, None]) for name, values in chain.items()},
    }


def _measured(lanes: Array) -> dict[str, Any]:
    """Mean, error and autocorrelation time; without errors where nothing moves."""
    if np.ptp(lanes) == 0.0:
        return {"value": float(lanes.flat[0]), "error": None, "tau_int": None, "tau_int_error": None}
    return dict(_pair(gamma_method(Series.from_lanes(lanes))))


def history(name: str, target: Target, records: Mapping[str, Array]) -> dict[str, Any]:
    """The JSON object of one Markov chain."""
    volume = target.extent**2
    charge = records["charge"]
    susceptibility = _measured(charge**2)
    for key in ("value", "error"):
        susceptibility[key] = None if susceptibility[key] is None else susceptibility[key] / volume
    return {
        "system": "schwinger",
        "sampler": name,
        "lattice": [target.extent, target.extent],
        "kappa": target.kappa,
        "n_configurations": int(charge.size),
        "susceptibility": susceptibility,
        "streams": np.mean(charge**2, axis=0).tolist(),
        "charge": _measured(charge),
        **{key: _measured(records[key]) for key in ("plaquette", "sign", "condensate")},
        "acceptance": float(np.mean(records["accepted_links" if "accepted_links" in records else "accepted"])),
        "published_susceptibility": PUBLISHED_SUSCEPTIBILITY.get((target.extent, target.kappa)),
    }


# ---- tables ------------------------------------------------------------------------------------------------------
def _shown(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.6g}" if found["error"] is None else format_error(found["value"], found["error"])


def _tau(found: Mapping[str, Any]) -> str:
    return "constant" if found["tau_int"] is None else f"{found['tau_int']:.2f}"


def flow_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = tuple(
        (
            row["lattice"][0],
            row["kappa"],
            row["layers"],
            format_error(row["ess"], row["ess_error"]),
            "" if row["ess_published"] is None else row["ess_published"],
            f"{row['acceptance']:.2f}",
            _tau(row["chain"]["charge"]),
            _tau(row["chain"]["sign"]),
            _tau(row["chain"]["condensate"]),
            _shown(row["susceptibility"]),
            f"{row['milliseconds']:.1f}",
        )
        for row in rows
    )
    return Table(
        "Stochastic flow from the pure gauge theory, two flavours, beta = 2",
        (
            "L",
            "kappa",
            "layers",
            "ESS",
            "published",
            "acceptance",
            "tau Q",
            "tau sign",
            "tau condensate",
            "<Q^2>/V",
            "ms each",
        ),
        cells,
        (ESS, BRACKETS, f"tau of the chain of independence Metropolis; {TAU_INT}"),
    )


def chain_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    def streams(row: Mapping[str, Any]) -> str:
        values = np.array(row["streams"]) / row["lattice"][0] ** 2
        return f"{np.min(values):.2e} ... {np.max(values):.2e}"

    def published(row: Mapping[str, Any]) -> str:
        known = row["published_susceptibility"]
        return "" if known is None else format_error(*known)

    cells = tuple(
        (
            row["sampler"],
            row["n_configurations"],
            f"{row['acceptance']:.2f}",
            _tau(row["charge"]),
            _tau(row["susceptibility"]),
            _tau(row["sign"]),
            _tau(row["condensate"]),
            _shown(row["sign"]),
            _shown(row["susceptibility"]),
            published(row),
            streams(row),
        )
        for row in rows
    )
    return Table(
        f"Markov chains, {rows[0]['lattice'][0]} x {rows[0]['lattice'][0]}, kappa = {rows[0]['kappa']:g}",
        (
            "sampler",
            "configurations",
            "acceptance",
            "tau Q",
            "tau Q^2",
            "tau sign",
            "tau condensate",
            "sign of det D",
            "<Q^2>/V",
            "published",
            "<Q^2>/V of single streams",
        ),
        cells,
        (BRACKETS, f"{TAU_INT}; one sweep of the slices, one trajectory of HMC"),
    )


def pion_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = tuple(
        (row["lattice"][0], row["kappa"], row["n_configurations"], _shown(row["pion"]), row["published_pion"] or "")
        for row in rows
    )
    return Table(
        "Mass of the pion in lattice units", ("L", "kappa", "configurations", "mass", "published"), cells, (BRACKETS,)
    )
