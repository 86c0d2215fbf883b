"""The figure of the continuum slope."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.plots import POINTS, colour, marker, panels, save
from gaugeflow.systems.slope_report import band


def extrapolation(path: Path, result: dict[str, Any]) -> Path:
    """R against a^2 / t_a with the bands of all extrapolations, and k_1 by every estimator beside it.

    Parameters
    ----------
    path
        PNG file to write.
    result
        The JSON object of the run.
    """
    a, b = result["levels"]
    figure, axes = panels(1, 2)
    figure.set_figheight(4.2)  # room for the legend
    left, right = axes.ravel()
    u = np.array([c["a^2/t_a"]["value"] for c in result["couplings"]])
    grid = np.linspace(0.0, 1.08 * u.max(), 100)
    for k, (name, limit) in enumerate(result["extrapolations"].items()):
        value, error = band(limit, grid)
        label = "values alone" if name == "none" else f"with slopes, {name}"
        left.fill_between(grid, value - error, value + error, color=colour(k + 1), alpha=0.25, lw=0, label=label)
        left.plot(grid, value, color=colour(k + 1), lw=1)
    left.errorbar(
        u,
        [c["R"]["value"] for c in result["couplings"]],
        xerr=[c["a^2/t_a"]["error"] for c in result["couplings"]],
        yerr=[c["R"]["error"] for c in result["couplings"]],
        color=colour(0),
        fmt="o",
        **POINTS,
    )
    x = rf"$a^2 / t_{{{a:g}}}$"
    left.set(xlabel=x, ylabel=rf"$R = t_{{{a:g}}} / t_{{{b:g}}}$", xlim=(0.0, grid[-1]))
    labels = list(dict.fromkeys(e["estimator"] for c in result["couplings"] for e in c["estimates"]))
    width = 0.012 * grid[-1]
    for k, label in enumerate(labels):
        rows = [
            (x + (k - (len(labels) - 1) / 2) * width, e["k_1"])
            for x, c in zip(u, result["couplings"], strict=True)
            for e in c["estimates"]
            if e["estimator"] == label
        ]
        right.errorbar(
            [x for x, _ in rows],
            [row["value"] for _, row in rows],
            yerr=[row["error"] for _, row in rows],
            color=colour(k),
            fmt=marker(k),
            label=label,
            **POINTS,
        )
    middle = [(x + y) / 2 for x, y in pairwise(u)]
    right.errorbar(
        middle,
        [n["value"] for n in result["neighbours"]],
        yerr=[n["error"] for n in result["neighbours"]],
        color="0.5",
        fmt="x",
        label="independent ensembles",
        **POINTS,
    )
    right.set(xlabel=x, ylabel="$k_1$")
    handles = [*left.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)
