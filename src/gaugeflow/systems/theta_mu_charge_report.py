"""Tables and figure of :mod:`gaugeflow.systems.theta_mu_charge`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import format_error
from gaugeflow.ensembles import EPSILON, INDEPENDENT, LINEAR
from gaugeflow.plots import colour, panels, save
from gaugeflow.systems import exact_u1
from gaugeflow.systems.report import BRACKETS, PULL, Table

Rows = Sequence[Mapping[str, Any]]

TEX = {
    "theta": r"$\partial^2 {} / \partial\theta^2$",
    "theta, odd": r"$-i\,\partial {} / \partial\theta$",
    "isospin": r"$\partial^2 {} / \partial q^2$",
    "quark number": r"$\partial {} / \partial q$",
    "electric charge": r"$\partial {} / \partial e^2$",
}
SYMBOLS = {
    "plaquette": "P",
    "sine charge": r"Q_\mathrm{s}",
    "Re L": r"\mathrm{Re}\,L",
    "Im L": r"\mathrm{Im}\,L",
}
"""Derivatives by parameter and observables, for the figure."""


def theory_name(row: Mapping[str, Any]) -> str:
    """Lattice and quarks."""
    extents = " x ".join(map(str, row["lattice"]))
    return f"{extents}, kappa {row['kappa']:g}" if row["kappa"] else f"{extents}, no quarks"


def derivative_table(rows: Rows) -> tuple[Table, ...]:
    """Values by every estimator, and what the field gains."""
    estimators = (INDEPENDENT, EPSILON, LINEAR)

    def value(row: Mapping[str, Any], label: str) -> str:
        found = row["estimates"].get(label)
        if found is None:
            return ""
        pull = "" if found["pull"] is None else f" [{found['pull']:+.1f}]"
        return format_error(found["value"], found["error"]) + pull

    def gains(row: Mapping[str, Any], label: str, key: str) -> str:
        return f"{row['gains'][label][key]:.3g}" if label in row["gains"] else ""

    values = Table(
        "Derivatives",
        ("theory", "derivative", *estimators, "exact"),
        tuple(
            (
                theory_name(row),
                row["derivative"],
                *(value(row, label) for label in estimators),
                "" if row["exact"] is None else f"{row['exact']:.6g}",
            )
            for row in rows
        ),
        (
            BRACKETS,
            f"in square brackets: {PULL}",
            "independent: a simulation at a changed parameter, whose finite step biases it by the next even order",
        ),
    )
    improvement = Table(
        "What the field gains",
        (
            "theory",
            "derivative",
            "configurations",
            "variance of A left",
            "over epsilon per configuration",
            "per second",
            "with training",
            "over independent per configuration",
            "per second",
        ),
        tuple(
            (
                theory_name(row),
                row["derivative"],
                row["n_configurations"],
                f"{row['variance_left']:.2g}",
                *(gains(row, EPSILON, key) for key in ("equal_statistics", "equal_cost", "equal_cost_with_training")),
                *(gains(row, INDEPENDENT, key) for key in ("equal_statistics", "equal_cost")),
            )
            for row in rows
        ),
        (
            "gain: variance of the other estimator divided by that with the field, above 1 where the field wins",
            "variance of A left: of A minus div X - X.dS, over that of A",
        ),
    )
    return values, improvement


def curvature_figure(path: Path, rows: Rows) -> Path:
    """The plaquette against theta with parabolas of the measured curvature, and the gains of all derivatives."""
    figure, axes = panels(1, 2)
    left, right = axes[0]
    theta = np.linspace(0.0, 1.0, 41)
    pure = [row for row in rows if row["parameter"] == "theta" and not row["kappa"]]
    for k, row in enumerate(pure[-1:]):
        beta, volume = row["beta"], int(np.prod(row["lattice"]))
        start = exact_u1.plaquette(beta, volume)
        left.plot(theta, [exact_u1.plaquette_at(t, beta, volume) for t in theta], color="k", lw=1.2, label="exact")
        for j, label in enumerate((EPSILON, LINEAR)):
            found = row["estimates"][label]
            low, high = (start + 0.5 * (found["value"] + s * found["error"]) * theta**2 for s in (-1.0, 1.0))
            left.fill_between(theta, low, high, color=colour(k + j), alpha=0.4, lw=0, label=label)
        left.set(xlabel=r"$\theta$", ylabel="plaquette", title=theory_name(row))
        left.legend(fontsize=8, loc="upper left")
    names = [f"{TEX[row['parameter']].format(SYMBOLS[row['observable']])} | {theory_name(row)}" for row in rows]
    place = np.arange(len(rows))[::-1]
    for k, (label, shift) in enumerate(((EPSILON, 0.2), (INDEPENDENT, -0.2))):
        there = [(p + shift, row["gains"]) for p, row in zip(place, rows, strict=True) if label in row["gains"]]
        gains = [min(found[label]["equal_statistics"], 1e4) for _, found in there]
        right.barh([p for p, _ in there], gains, height=0.36, color=colour(k), label=f"over {label}")
    right.axvline(1.0, color="k", lw=0.8)
    right.set(xscale="log", xlabel="gain per configuration")
    right.set_yticks(place, names, fontsize=6)
    right.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return save(figure, path)
