"""Tables, notes and figures of :mod:`gaugeflow.systems.phi4`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import format_error
from gaugeflow.plots import POINTS, colour, line, marker, panels, save
from gaugeflow.systems.estimates import text
from gaugeflow.systems.report import BRACKETS, ESS, VARIANCE, Table

_SYMBOLS = {"M": "magnetisation $M$", "abs_M": "$|M|$", "E": "energy $E$", "chi_2": r"susceptibility $\chi_2$"}
_STEPS = {"flow": "proposals", "Metropolis": "sweeps", "HMC": "trajectories"}
"""Units of autocorrelation times."""
_PULL = "pull: difference of flow and HMC in units of its error"


def tables(result: Mapping[str, Any]) -> tuple[Table, ...]:
    """What the command prints."""
    volumes = result["volumes"]
    quality = tuple(
        (
            f"{row['extent']}^2",
            f"{row['mass_squared']:g}, {row['coupling']:g}",
            f"{row['coupling_with_halves']:g}",
            text(row["ess"]),
            text(row["ess_from_hmc"]),
            f"{row['variance_per_site']['value']:.3g}",
            f"{row['acceptance']:.2f}",
        )
        for row in volumes
    )
    means = tuple(
        (f"{row['extent']}^2", name, text(row[name]["flow"]), text(row[name]["HMC"]), f"{row[f'{name} pull']:+.1f}")
        for row in volumes
        for name in ("chi_2", "E")
    )
    times = tuple(
        (
            f"{row['extent']}^2",
            row["algorithm"],
            row["observable"],
            format_error(row["tau_int"], row["tau_int_error"]),
            f"{row['seconds_per_independent']:.2g}",
        )
        for row in result["autocorrelations"]
    )
    broken = result["broken"]
    modes = tuple(
        (
            row["sampler"],
            text(row["positive"]),
            text(row["abs_M"]),
            text(row["E"]),
            f"{row['acceptance']:.2f}",
            text(row["ess"]),
            text(row["ess_from_hmc"]),
        )
        for row in broken["rows"]
    )
    return (
        Table(
            f"flows from free fields to phi^4 ({result['parameters']} parameters)",
            ("lattice", "m^2, lambda", "lambda with 1/2's", "ESS", "ESS from HMC", "variance / site", "acceptance"),
            quality,
            (
                ESS,
                "ESS from HMC: the same number from configurations of the target; far below it, a mode is missing",
                VARIANCE,
            ),
        ),
        Table(
            "means",
            ("lattice", "observable", "flow", "HMC", "pull"),
            means,
            (BRACKETS, _PULL),
        ),
        Table(
            "integrated autocorrelation times, in proposals, sweeps and trajectories",
            ("lattice", "algorithm", "observable", "tau_int", "seconds per independent configuration"),
            times,
            (BRACKETS,),
        ),
        Table(
            f"broken phase, {broken['extent']}^2, m^2 = {broken['mass_squared']:g}, lambda = {broken['coupling']:g}: "
            "M is positive for one half",
            ("sampler", "share of M > 0", "|M|", "E", "acceptance", "ESS", "ESS from HMC"),
            modes,
            (BRACKETS,),
        ),
    )


def notes(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Cost of training in words."""
    said = [
        "actions without factors 1/2: S = sum [phi (-Laplace) phi + m^2 phi^2 + lambda phi^4]; "
        "with 1/2's the field is larger by sqrt 2, lambda smaller by 4, chi_2 and E larger by 2"
    ]
    for row in result["volumes"]:
        if row["training_seconds"] is not None:
            said.append(
                f"{row['extent']}^2: trained for {row['training_seconds']:.0f} s, {row['training_steps']} updates"
            )
    return tuple(said)


def slowing_down(path: Path, volumes: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Autocorrelation times against the extent, one panel for each observable, and quality of the flows."""
    names = list(dict.fromkeys(row["observable"] for row in rows))
    labels = list(dict.fromkeys(row["algorithm"] for row in rows))
    figure, grid = panels(-(-(len(names) + 1) // 2), 2)
    axes = grid.ravel()
    axes[-1].set_visible(False)
    quality = axes[len(names)]
    quality.set_visible(True)
    for axis, name in zip(axes, names, strict=False):
        for k, label in enumerate(labels):
            chosen = [row for row in rows if row["observable"] == name and row["algorithm"] == label]
            axis.errorbar(
                [row["extent"] for row in chosen],
                [row["tau_int"] for row in chosen],
                yerr=[row["tau_int_error"] for row in chosen],
                fmt=marker(k) + line(k),
                color=colour(k),
                label=f"{label} ({_STEPS.get(label, 'steps')})",
                **POINTS,
            )
        axis.axhline(0.5, color="k", lw=0.8, label="independent")
        axis.set(title=_SYMBOLS.get(name, name), ylabel=r"$\tau_\mathrm{int}$", yscale="log")
    extents = [row["extent"] for row in volumes]
    for k, (key, label) in enumerate((("ess", "ESS"), ("ess_from_hmc", "ESS from configurations of HMC"))):
        values, errors = ([row[key][part] for row in volumes] for part in ("value", "error"))
        style = {"fmt": marker(k) + line(k), "color": colour(k), "label": label}
        quality.errorbar(extents, values, yerr=errors, **style, **POINTS)
    acceptance = [row["acceptance"] for row in volumes]
    quality.plot(extents, acceptance, marker(2) + line(2), color=colour(2), ms=4, lw=1, label="acceptance")
    quality.set(title="quality of the flow", ylabel="ESS, acceptance", ylim=(0.0, 1.0))
    for axis in axes[: len(names) + 1]:
        axis.set(xlabel="extent $L / a$")
        axis.set_xticks(extents)
        axis.tick_params(axis="x", which="minor", bottom=False)
    quality.legend(fontsize=8)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=8, loc="outside lower center", ncols=len(labels) + 1, frameon=False)
    return save(figure, path)


def modes(path: Path, columns: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Distribution of the magnetisation in the broken phase for each sampler, with the share of M > 0, which is exactly 1/2.

    Parameters
    ----------
    path
        File to write.
    columns
        Measurements, with columns ``broken|SAMPLER|measured``.
    rows
        ``sampler, positive`` for each of them.
    """
    figure, axes = panels()
    share = {row["sampler"]: text(row["positive"]) for row in rows}
    chosen = {key.split("|")[1]: values[:, 0].ravel() for key, values in columns.items() if _is_mode(key)}
    edge = max(float(np.abs(values).max()) for values in chosen.values())
    for k, (label, values) in enumerate(chosen.items()):
        style: dict[str, Any] = {"color": colour(k), "ls": line(k), "label": f"{label}: {share[label]} at $M > 0$"}
        axes[0, 0].hist(values, bins=60, range=(-edge, edge), histtype="step", density=True, **style)
    axes[0, 0].axvline(0.0, color="k", lw=0.8, ls=":", label="exact: 1/2 on either side")
    axes[0, 0].set_ylim(0.0, 1.35 * axes[0, 0].get_ylim()[1])  # room for the legend
    axes[0, 0].set(xlabel="magnetisation $M$ of a configuration", ylabel="probability density")
    axes[0, 0].legend(fontsize=8)
    return save(figure, path)


def _is_mode(key: str) -> bool:
    return key.startswith("broken|") and key.endswith("|measured")
