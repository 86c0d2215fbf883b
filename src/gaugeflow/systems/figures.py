"""Figures of reports, as PNG files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import FEW, format_error
from gaugeflow.plots import POINTS, bin_edges, colour, integer_ticks, line, marker, panels, save

SYMBOLS = {
    "plaquette": "P",
    "plaquette_spatial": r"P_\mathrm{s}",
    "plaquette_temporal": r"P_\mathrm{t}",
    "t2_e": "t^2 E",
    "q_squared": "Q^2",
    "M_pi": r"M_\pi",
    "beta": r"\beta",
    "anisotropy": r"\lambda",
    "kappa": r"\kappa",
    "polyakov": r"\operatorname{Re} L",
    "pion_correlator": r"C_\pi",
    "condensate": r"\bar\psi\psi",
}
"""Of observables and couplings, as TeX without dollars."""
NAMES = {
    "plaquette": "plaquette",
    "plaquette_spatial": "spatial plaquette",
    "plaquette_temporal": "temporal plaquette",
    "t2_e": "energy of the gradient flow",
    "q_squared": "topological charge squared",
    "M_pi": "mass of the pion",
    "polyakov": "Polyakov loop",
    "pion_correlator": "pion correlator",
}


def log_weights(path: Path, columns: Mapping[str, Any], targets: Mapping[str, str]) -> Path:
    """Histograms of the log-weights with and without flow, one panel for each target, with the same bins for both.

    Parameters
    ----------
    path
        File to write.
    columns
        Measurements, with columns ``plainTARGET|log_weight`` and ``flowTARGET|log_weight``.
    targets
        Titles of the panels by target.
    """
    figure, axes = panels(-(-len(targets) // 3), min(len(targets), 3))
    for axis in axes.ravel()[len(targets) :]:
        axis.set_visible(False)
    for axis, (target, title) in zip(axes.ravel(), targets.items(), strict=False):
        labels = {"plain": "plain reweighting", "flow": "flow"}
        _histograms(axis, {label: columns[f"{kind}{target}|log_weight"] for kind, label in labels.items()})
        axis.set(title=title)
    return save(figure, path)


def weights(path: Path, samples: Mapping[str, Mapping[str, Any]]) -> Path:
    """Histograms of log-weights, one panel for each title, with the same bins for all histograms of a panel.

    Densities are logarithmic: a few proposals in the tails decide about the effective sample size.

    Parameters
    ----------
    path
        File to write.
    samples
        Log-weights by title and label.
    """
    columns = 2 if len(samples) == 4 else min(len(samples), 3)
    figure, axes = panels(-(-len(samples) // columns), columns)
    for axis in axes.ravel()[len(samples) :]:
        axis.set_visible(False)
    for axis, (title, chosen) in zip(axes.ravel(), samples.items(), strict=False):
        _histograms(axis, chosen, log=True)
        axis.set(title=title)
    return save(figure, path)


def by_theory(rows: Iterable[Mapping[str, Any]], samples: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Samples of targets, sorted by theory and labelled by coupling, as :func:`weights` wants them.

    Parameters
    ----------
    rows
        ``target, n_colours, lattice, beta``.
    samples
        By target.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(_theory(row), {})[rf"$\beta$ = {row['beta']:g}"] = samples[row["target"]]
    return found


def _theory(row: Mapping[str, Any]) -> str:
    """Group and lattice, such as SU(3), 16^2."""
    n, shape = row["n_colours"], row["lattice"]
    extents = f"{shape[0]}^{len(shape)}" if len(set(shape)) == 1 else r" \times ".join(map(str, shape))
    return f"{'U(1)' if n == 1 else f'SU({n})'}, ${extents}$"


def _histograms(axis: Any, samples: Mapping[str, Any], log: bool = False) -> None:
    centred = {name: np.ravel(weight) - np.mean(weight) for name, weight in samples.items()}
    edges = bin_edges(list(centred.values()))
    style: dict[str, Any] = {"bins": edges, "histtype": "step", "density": True, "lw": 1.2, "log": log}
    for k, (name, weight) in enumerate(centred.items()):
        axis.hist(weight, color=colour(k), ls=line(k), label=rf"{name}, $\sigma$ = {weight.std():.3g}", **style)
    low, high = axis.get_ylim()  # room for the legend
    axis.set_ylim(*((low, high * (high / low) ** 0.5) if log else (0.0, 1.35 * high)))
    axis.set(xlabel=r"log-weight $\log w - \langle\log w\rangle$", ylabel="probability density")
    axis.legend(fontsize=8)


def training(path: Path, history: Any) -> Path:
    """Effective sample size of the configurations held out against the training step, and the best one."""
    figure, axes = panels()
    axis = axes[0, 0]
    axis.errorbar(history.step, history.ess, yerr=history.ess_error, fmt="o-", color=colour(0), **POINTS)
    best = int(np.argmax(history.ess))
    label = f"kept: {format_error(history.ess[best], history.ess_error[best])} at step {history.step[best]}"
    axis.plot(history.step[best], history.ess[best], "o", ms=11, mfc="none", color=colour(1), label=label)
    axis.set(xlabel="training step", ylabel="ESS of configurations held out")
    integer_ticks(axis.xaxis, history.step)
    axis.legend(fontsize=8)
    return save(figure, path)


def derivatives(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Derivatives with errors, one panel for each observable, one line for each estimator and a mark for each step.

    Estimates from fewer than :data:`gaugeflow.analysis.FEW` effective configurations, which are biased and whose errors are too
    small, are open and grey and do not decide about the range; a triangle at the edge points to those beyond it. The band to
    compare with is the best of the others: the one with the smallest error among central differences, linearised flows
    and epsilon-reweighting, which have no bias of first order in the step, where there are any.

    Parameters
    ----------
    path
        File to write.
    rows
        ``observable, estimator, step, value, error, n_effective``, and ``parameter`` if it is not beta.
    """
    points = list(rows)
    names = list(dict.fromkeys(p["observable"] for p in points))
    labels = list(dict.fromkeys(p["estimator"] for p in points))
    steps = sorted({p["step"] for p in points})
    figure, axes = panels(1, len(names), sharey=True)
    figure.set_figheight(1.6 + 0.2 * len(labels) * max(2, len(steps)))
    for axis, name in zip(axes[0], names, strict=True):
        ends = (-np.inf, np.inf)
        of_name = [p for p in points if p["observable"] == name]
        good = [p for p in of_name if not _few(p)]
        if good:
            best = _best(good)
            low, high = best["value"] - best["error"], best["value"] + best["error"]
            label = f"{best['estimator']}: {format_error(best['value'], best['error'])}"
            axis.axvspan(low, high, color="0.85", lw=0, label=label)
            ends = _range(of_name, good)
            axis.set_xlim(*ends)
        for k, step in enumerate(steps):
            shift = 0.6 * ((k + 0.5) / len(steps) - 0.5)
            for few in (False, True):
                chosen = [p for p in of_name if p["step"] == step and _few(p) == few]
                axis.errorbar(
                    [p["value"] for p in chosen],
                    [labels.index(p["estimator"]) + shift for p in chosen],
                    xerr=[p["error"] for p in chosen],
                    fmt=marker(k),
                    color="0.6" if few else colour(k),
                    mfc="none" if few else colour(k),
                    **POINTS,
                )
                for p in chosen:
                    if not ends[0] <= p["value"] <= ends[1]:
                        edge, symbol = (ends[0], "<") if p["value"] < ends[0] else (ends[1], ">")
                        axis.plot(edge, labels.index(p["estimator"]) + shift, symbol, color="0.6", ms=6, clip_on=False)
        parameter = SYMBOLS.get(of_name[0].get("parameter", "beta"), "")
        symbol = SYMBOLS.get(name) or re.sub(r"_([\d.]+)", r"_{\1}", name)  # t_0.3
        axis.set(title=NAMES.get(name, name), ylim=(len(labels) - 0.5, -1.2 if good else -0.5))  # room for the legend
        axis.set_xlabel(rf"$\mathrm{{d}}\langle {symbol} \rangle / \mathrm{{d}}{parameter}$")
        axis.set_yticks(range(len(labels)), labels)
        axis.grid(axis="x", lw=0.4, color="0.9")
        axis.set_axisbelow(True)
        if good:
            axis.legend(fontsize=7, loc="upper center", borderaxespad=0.2)
    handles = [
        axes[0, 0].errorbar([], [], xerr=[], fmt=marker(k), color=colour(k), label=f"step {step:+g}", **POINTS)
        for k, step in enumerate(steps)
    ]
    if any(map(_few, points)):
        label = f"fewer than {FEW:g} effective configurations"
        handles.append(axes[0, 0].errorbar([], [], xerr=[], fmt="o", color="0.6", mfc="none", label=label, **POINTS))
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return save(figure, path)


def _few(point: Mapping[str, Any]) -> bool:
    return point.get("n_effective") is not None and point["n_effective"] < FEW


def _best(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The estimate with the smallest error among those without a bias of first order in the step, or among all."""
    exact = [p for p in points if any(word in p["estimator"] for word in ("central", "linear", "epsilon"))]
    return min(exact or points, key=lambda p: p["error"])


def _range(points: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Ends of an axis: good estimates with their errors, and as many of the others as do not stretch it to the double."""
    low, high = min(p["value"] - p["error"] for p in good), max(p["value"] + p["error"] for p in good)
    width = high - low
    values = [p["value"] for p in points if low - 0.5 * width < p["value"] < high + 0.5 * width]
    low, high = min(low, *values), max(high, *values)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


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
    for k, i in enumerate(shown):
        axes[0].plot(time, charge[:, i, 0], line(k), lw=1, color=colour(k), label=f"{betas[i]:g}")
    axes[0].set(title="replica exchange", ylabel="topological charge $Q$")
    axes[1].plot(time, charge[:, -1, 0], line(0), lw=1, color=colour(0), label="replica exchange")
    axes[1].plot(time, local[:, 0], line(1), lw=1, color=colour(1), label="local updates")
    axes[1].set(title=rf"$\beta$ = {betas[-1]:g}", ylabel="topological charge $Q$")
    for axis, values in ((axes[0], charge[:, list(shown), 0]), (axes[1], (charge[:, -1, 0], local[:, 0]))):
        integer_ticks(axis.yaxis, values)
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.25 * (high - low))  # room for the legend
    axes[0].legend(title=r"$\beta$", fontsize=7, title_fontsize=7, ncols=len(shown), loc="upper center")
    axes[1].legend(fontsize=7, loc="upper center")
    place = np.argsort(walker[:, :, 0], axis=1)
    for k, i in enumerate(shown):
        track = place[:, i] + 0.06 * (i / max(last, 1) - 0.5)
        axes[2].step(time, track, where="mid", lw=1, ls=line(k), color=colour(k), label=f"{betas[i]:g}")
    axes[2].set(
        title="way of the walkers",
        ylabel=r"$\beta$",
        yticks=range(last + 1),
        ylim=(-0.4, 1.25 * last + 0.4),
    )
    axes[2].set_yticklabels([f"{beta:g}" for beta in betas])
    axes[2].legend(title="started at", fontsize=7, title_fontsize=7, ncols=len(shown), loc="upper center")
    for axis in axes:
        axis.set_xlabel("local updates of the lattice")
    return save(figure, path)


def sample_sizes(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Effective sample size of every target with its error, and published ones.

    Parameters
    ----------
    path
        File to write.
    rows
        ``n_colours, lattice, beta, ess, ess_error, ess_published``, the last one None where nothing is published.
    """
    figure, axes = panels()
    figure.set_figheight(1.2 + 0.3 * len(rows))
    axis = axes[0, 0]
    place = np.arange(len(rows))
    errors = [row["ess_error"] for row in rows]
    axis.barh(
        place, [row["ess"] for row in rows], xerr=errors, capsize=3, height=0.6, color=colour(5), label="this flow"
    )
    known = [i for i, row in enumerate(rows) if row["ess_published"] is not None]
    if known:
        axis.plot([rows[i]["ess_published"] for i in known], known, "kD", ms=6, mfc="w", label="published")
    axis.set(xlabel="effective sample size per configuration", xlim=(0.0, 1.05))
    axis.set_yticks(place, [rf"{_theory(row)}, $\beta$ = {row['beta']:g}" for row in rows])
    axis.invert_yaxis()
    figure.legend(fontsize=8, loc="outside upper right", ncols=2, frameon=False)
    return save(figure, path)


def qualities(
    path: Path, results: Sequence[Mapping[str, Any]], published: Iterable[tuple[float, float, str]] = ()
) -> Path:
    """Flow and HMC against beta: ESS, autocorrelation times of the charge, and its mean square beside the exact one.

    Parameters
    ----------
    path
        File to write.
    results
        ``lattice, beta, steps, ess, ess_error, exact`` and what ``flow`` and ``hmc`` measured. Frozen chains, whose
        charge never moved, have no error and are left out.
    published
        Coupling, effective sample size and source of flows by others.
    """
    figure, axes = panels(1, 3)
    quality, times, charge = axes[0]
    for i, extent in enumerate(dict.fromkeys(r["lattice"][0] for r in results)):
        rows = [r for r in results if r["lattice"][0] == extent]
        style: dict[str, Any] = {"color": colour(i), **POINTS}
        ess, error = ([r[key] for r in rows] for key in ("ess", "ess_error"))
        label = f"flow, $L$ = {extent}"
        quality.errorbar([r["beta"] for r in rows], ess, yerr=error, fmt=marker(i) + "-", label=label, **style)
        for kind, dashes, face in (("flow", "-", colour(i)), ("hmc", "--", "none")):
            moving = [r for r in rows if r[kind]["Q"]["tau_int"] is not None]
            tau, error = ([r[kind]["Q"][key] for r in moving] for key in ("tau_int", "tau_int_error"))
            label = f"{_KINDS[kind]}, $L$ = {extent}"
            shown = {"fmt": marker(i) + dashes, "mfc": face, "label": label, **style}
            times.errorbar([r["beta"] for r in moving], tau, yerr=error, **shown)
    sources: dict[str, list[tuple[float, float]]] = {}
    for beta, size, source in published:
        sources.setdefault(source, []).append((beta, size))
    for k, (source, points) in enumerate(sources.items()):
        quality.plot(*np.transpose(points), "*D"[k % 2], color="k", mfc="w", ms=8 - 2 * (k % 2), label=source)
    largest = max(r["lattice"][0] for r in results)
    for k, (kind, label) in enumerate(_KINDS.items()):
        known = [r for r in results if r["lattice"][0] == largest and r[kind]["Q^2"]["error"] is not None]
        value, error = ([r[kind]["Q^2"][key] / r["exact"]["Q^2"] for r in known] for key in ("value", "error"))
        shown = {"fmt": marker(k), "mfc": "none" if k else colour(k), "color": colour(k), "label": label}
        charge.errorbar([r["beta"] for r in known], value, yerr=error, **shown, **POINTS)
    charge.axhline(1.0, color="k", lw=0.8, label="exact")
    frozen = min(r["steps"] for r in results) / 4.0
    times.axhline(frozen, color="k", lw=0.8, ls=":", label="a quarter of a chain")
    times.axhline(0.5, color="k", lw=0.8, label="independent")
    quality.set(xlabel=r"$\beta$", ylabel="ESS per configuration", ylim=(0.0, 1.05))
    times.set(xlabel=r"$\beta$", ylabel=r"$\tau_\mathrm{int}(Q)$ (proposals or trajectories)", yscale="log")
    charge.set(xlabel=r"$\beta$", ylabel=r"$\langle Q^2 \rangle$ / exact value", title=f"topology, $L$ = {largest}")
    quality.set_title("effective sample size")
    times.set_title("memory of the charge")
    charge.set_ylim(bottom=0.0)
    for axis, place in zip(axes[0], ("center", "center right", "upper left"), strict=True):
        integer_ticks(axis.xaxis, [r["beta"] for r in results])
        axis.legend(fontsize=7, loc=place)
    return save(figure, path)


_KINDS = {"flow": "flow", "hmc": "HMC"}


def charges(path: Path, histories: Mapping[str, Any], title: str) -> Path:
    """Histories of the topological charge of one chain by each algorithm."""
    figure, axes = panels(1, len(histories), sharey=True)
    for k, (axis, (name, values)) in enumerate(zip(axes[0], histories.items(), strict=True)):
        axis.plot(np.arange(1, len(values) + 1), values, lw=0.8, color=colour(k))
        axis.set(title=f"{name}, {title}", xlabel="proposal" if name == "flow" else "trajectory")
    axes[0, 0].set(ylabel="topological charge $Q$")
    integer_ticks(axes[0, 0].yaxis, np.concatenate([np.ravel(values) for values in histories.values()]))
    return save(figure, path)


def joint_sizes(path: Path, results: Sequence[Mapping[str, Any]], published: Mapping[str, float]) -> Path:
    """Effective sample sizes of joint samplers by the treatment of the determinant, one line for each theory."""
    figure, axes = panels()
    axis = axes[0, 0]
    names = [row["name"] for row in results[0]["models"]]
    for i, result in enumerate(results):
        values, errors = ([row[key] for row in result["models"]] for key in ("ess", "ess_error"))
        theory = "U(1)" if result["n_colours"] == 1 else f"SU({result['n_colours']})"
        label = rf"{theory}, $\beta$ = {result['beta']:g}, $\kappa$ = {result['kappa']:g}"
        axis.errorbar(range(len(names)), values, yerr=errors, color=colour(i), marker=marker(i), label=label)
    known = [(i, published[key]) for i, name in enumerate(names) if (key := name.split(",")[0]) in published]
    if known:
        axis.plot(*zip(*known, strict=True), "k_", ms=16, mew=2, label="published, Schwinger model")
    axis.set(ylabel="ESS per configuration", ylim=(0.0, 1.05))
    axis.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8)
    axis.legend(fontsize=7)
    return save(figure, path)
