"""Figures of reports, as PNG files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.plots import panels


def log_weights(path: Path, columns: Mapping[str, Any], targets: Mapping[str, str]) -> Path:
    """Histograms of the log-weights with and without flow, one panel for each target.

    Parameters
    ----------
    path
        File to write.
    columns
        Measurements, with columns ``plainTARGET|log_weight`` and ``flowTARGET|log_weight``.
    targets
        Titles of the panels by target.
    """
    figure, axes = panels(1, len(targets))
    for axis, (target, title) in zip(axes[0], targets.items(), strict=True):
        for kind, label in (("plain", "plain reweighting"), ("flow", "flow")):
            weight = columns[f"{kind}{target}|log_weight"]
            axis.hist(weight - np.mean(weight), bins=30, histtype="step", density=True, label=label)
        axis.set(title=title, xlabel=r"$\log w - \langle\log w\rangle$", ylabel="density")
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


def replicas(path: Path, betas: Sequence[float], charge: Any, local: Any, walker: Any, steps: int) -> Path:
    """Histories of one chain: charge of every replica, of local updates alone, and the way of the walkers.

    Parameters
    ----------
    path
        File to write.
    betas
        Couplings of the replicas.
    charge
        ``(n, n_replicas, chains)``.
    local
        ``(n, chains)``: charge at the last coupling without exchange.
    walker
        ``(n, n_replicas, chains)``: walker at each replica.
    steps
        Local steps between records.
    """
    figure, grid = panels(1, 3)
    axes = grid[0]
    time = steps * np.arange(1, len(charge) + 1)
    last = len(betas) - 1
    shown = range(last + 1) if last < 4 else (0, last // 2, last)  # more lines hide each other
    for i in shown:
        axes[0].plot(time, charge[:, i, 0], lw=1, label=f"{betas[i]:g}")
    axes[0].set(title="exchange", ylabel="Q")
    axes[0].legend(title=r"$\beta$", fontsize=8)
    axes[1].plot(time, charge[:, -1, 0], lw=1, label="exchange")
    axes[1].plot(time, local[:, 0], lw=1, label="local")
    axes[1].set(title=rf"$\beta$ = {betas[-1]:g}", ylabel="Q")
    axes[1].legend(fontsize=8)
    place = np.argsort(walker[:, :, 0], axis=1)
    for i in shown:
        axes[2].step(time, place[:, i] + 0.06 * (i / max(last, 1) - 0.5), where="mid", lw=1, label=f"{betas[i]:g}")
    axes[2].set(title="walkers", ylabel=r"at $\beta$", yticks=range(last + 1), ylim=(-0.4, 1.25 * last + 0.4))
    axes[2].set_yticklabels([f"{beta:g}" for beta in betas])
    axes[2].legend(title="started at", fontsize=7, title_fontsize=7, ncols=len(shown), loc="upper center")
    for axis in axes:
        axis.set_xlabel("local steps")
    figure.savefig(path, dpi=150)
    return path


def sample_sizes(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Effective sample size of every target, with published ones."""
    figure, axes = panels()
    axis = axes[0, 0]
    place = np.arange(len(rows))
    axis.bar(place, [row["ess"] for row in rows], yerr=[row["ess_error"] for row in rows], capsize=3, label="this flow")
    known = [i for i, row in enumerate(rows) if row["ess_published"] is not None]
    if known:
        axis.plot(known, [rows[i]["ess_published"] for i in known], "k_", ms=24, mew=2, label="published")
    axis.set(ylabel="ESS", ylim=(0.0, 1.05))
    axis.set_xticks(place, [row["target"] for row in rows], rotation=30, ha="right")
    axis.legend(loc="lower left")
    figure.savefig(path, dpi=150)
    return path


def weights(path: Path, samples: Mapping[str, Any]) -> Path:
    """Histograms of log-weights."""
    figure, axes = panels()
    for name, weight in samples.items():
        axes[0, 0].hist(weight - np.mean(weight), bins=40, histtype="step", density=True, label=name)
    axes[0, 0].set(xlabel=r"$\log w - \langle\log w\rangle$", ylabel="density")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=150)
    return path


def qualities(path: Path, results: Sequence[Mapping[str, Any]]) -> Path:
    """ESS of flows, and autocorrelation times of the charge by flow and by HMC, against beta for every lattice."""
    figure, axes = panels(1, 2)
    for i, extent in enumerate(dict.fromkeys(r["lattice"][0] for r in results)):
        rows = [r for r in results if r["lattice"][0] == extent]
        beta = [r["beta"] for r in rows]
        style: dict[str, Any] = {"marker": "o", "ms": 4, "color": f"C{i}"}
        axes[0, 0].errorbar(
            beta,
            [r["ess"] for r in rows],
            yerr=[r["ess_error"] for r in rows],
            capsize=2,
            label=f"L = {extent}",
            **style,
        )
        for kind, line, label in (("flow", "-", "flow"), ("hmc", "--", "HMC")):
            tau = [np.nan if r[kind]["Q"]["tau_int"] is None else r[kind]["Q"]["tau_int"] for r in rows]
            axes[0, 1].plot(beta, tau, line, label=f"{label}, L = {extent}", **style)
    axes[0, 0].set(xlabel=r"$\beta$", ylabel="ESS", ylim=(0.0, 1.05))
    axes[0, 1].set(xlabel=r"$\beta$", ylabel=r"$\tau_\mathrm{int}(Q)$", yscale="log")
    for axis in axes[0]:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    return path


def charges(path: Path, histories: Mapping[str, Any], title: str) -> Path:
    """Histories of the topological charge of one chain by each algorithm."""
    figure, axes = panels(1, len(histories), sharey=True)
    for axis, (name, values) in zip(axes[0], histories.items(), strict=True):
        axis.plot(np.arange(1, len(values) + 1), values, lw=0.8)
        axis.set(title=f"{name}, {title}", xlabel="proposal" if name == "flow" else "trajectory")
    axes[0, 0].set(ylabel="Q")
    figure.savefig(path, dpi=150)
    return path
