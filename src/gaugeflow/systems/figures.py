"""Figures of reports, as PNG files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.plots import panels


def log_weights(path: Path, columns: Mapping[str, Any], steps: Sequence[float]) -> Path:
    """Histograms of the log-weights with and without flow, one panel for each step."""
    figure, axes = panels(1, len(steps))
    for axis, step in zip(axes[0], steps, strict=True):
        for kind, label in (("plain", "plain reweighting"), ("flow", "flow")):
            weight = columns[f"{kind}{step:+g}|log_weight"]
            axis.hist(weight - np.mean(weight), bins=30, histtype="step", density=True, label=label)
        axis.set(title=f"step {step:g}", xlabel=r"$\log w - \langle\log w\rangle$", ylabel="density")
        axis.legend()
    figure.savefig(path, dpi=150)
    return path


def training(path: Path, history: Any) -> Path:
    """Held-out ESS against training step."""
    figure, axes = panels()
    axes[0, 0].errorbar(history.step, history.ess, yerr=history.ess_error, marker="o", capsize=2)
    axes[0, 0].set(xlabel="training step", ylabel="held-out ESS")
    figure.savefig(path, dpi=150)
    return path


def derivatives(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Derivatives with errors by method against the step, one panel for each observable."""
    points = list(rows)
    names = list(dict.fromkeys(p["observable"] for p in points))
    labels = list(dict.fromkeys(p["estimator"] for p in points))
    figure, axes = panels(1, len(names))
    for axis, name in zip(axes[0], names, strict=True):
        for i, label in enumerate(labels):
            chosen = [p for p in points if p["observable"] == name and p["estimator"] == label]
            x = np.array([p["step"] for p in chosen]) * (1.0 + 0.06 * (i - 0.5 * len(labels)))
            axis.errorbar(
                x,
                [p["value"] for p in chosen],
                yerr=[p["error"] for p in chosen],
                fmt="o",
                ms=4,
                capsize=2,
                label=label,
            )
        axis.set(title=name, xlabel="step", ylabel="derivative", xscale="log")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=150)
    return path
