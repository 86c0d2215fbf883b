"""Tables, notes and figures of :mod:`gaugeflow.systems.yukawa`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gaugeflow.analysis import format_error
from gaugeflow.plots import POINTS, colour, marker, panels, save
from gaugeflow.systems.estimates import text
from gaugeflow.systems.report import BRACKETS, ESS, TAU_INT, VARIANCE, Table

SHOWN = ("abs M", "chi_2", "condensate M", "C(1)", "G(1)", "G(3)")
"""Observables of the printed table; the JSON file has all."""
_NOTES = (
    "condensate M: tr M^-1 / V, times the mean field M",
    "C(t): two-point function of the scalar field summed over space; G(t): quark propagator between time slices",
)


def _name(point: Mapping[str, Any]) -> str:
    return f"{point['extent']}^2, g = {point['coupling']:g}"


def _title(point: Mapping[str, Any]) -> str:
    return f"${point['extent']}^2$, $g = {point['coupling']:g}$"


def tables(result: Mapping[str, Any]) -> tuple[Table, ...]:
    """What the command prints."""
    quality, means, pulls = [], [], []
    for point in result["points"]:
        for row in point["samplers"]:
            quality.append(
                (
                    _name(point),
                    row["sampler"],
                    text(row["ess"]),
                    "" if row["variance_per_site"] is None else f"{row['variance_per_site']['value']:.2g}",
                    f"{row['acceptance']:.2f}",
                    *(format_error(row["tau_int"][k]["value"], row["tau_int"][k]["error"]) for k in ("M", "chi_2")),
                    f"{1e3 * row['seconds_per_step']:.2g}",
                    f"{1e3 * row['seconds_per_independent']['M']:.2g}",
                    f"{1e3 * row['seconds_per_independent']['chi_2']:.2g}",
                )
            )
            shown = [name for name in SHOWN if name in row["means"]]
            means.append((_name(point), row["sampler"], *(text(row["means"][name]) for name in shown)))
            others = [pull for name, pull in row["pulls"].items() if pull != 0.0]
            if others:
                mean_square = sum(pull**2 for pull in others) / len(others)
                largest = max(row["pulls"], key=lambda name, row=row: abs(row["pulls"][name]))  # type: ignore[misc]
                pulls.append(
                    (
                        _name(point),
                        row["sampler"],
                        len(others),
                        f"{mean_square:.2f}",
                        f"{row['pulls'][largest]:+.1f} ({largest})",
                    )
                )
    shown = [name for name in SHOWN if all(name in point["samplers"][0]["means"] for point in result["points"])]
    return (
        Table(
            f"samplers ({result['parameters']} parameters)",
            (
                "point",
                "sampler",
                "ESS",
                "variance / site",
                "acceptance",
                "tau_int M",
                "tau_int chi_2",
                "ms per step",
                "ms per independent M",
                "ms per independent chi_2",
            ),
            tuple(quality),
            (ESS, VARIANCE, TAU_INT, "times are processor times of one chain among many that are computed together"),
        ),
        Table("means", ("point", "sampler", *shown), tuple(means), (BRACKETS, *_NOTES)),
        Table(
            "agreement with HMC with the determinant",
            ("point", "sampler", "observables", "mean square of the pulls", "largest"),
            tuple(pulls),
            ("pull: difference in units of its error; observables of one sampler are correlated",),
        ),
    )


def notes(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Cost of training, and what HMC's configurations say of the marginal flow."""
    said = ["S = sum [phi (-Laplace) phi - 4 phi^2 + 8 phi^4] - 2 log det(D + g phi)"]
    for point in result["points"]:
        found = text(point["ess_from_hmc"])
        said.append(f"{_name(point)}: ESS of the marginal flow from configurations of HMC {found}")
        spent = [row["training_seconds"] for row in point["samplers"] if row["training_seconds"] is not None]
        if spent:
            said.append(f"{_name(point)}: trained for {sum(spent):.0f} s")
    return tuple(said)


def costs(path: Path, points: Sequence[Mapping[str, Any]]) -> Path:
    """Autocorrelation times and seconds for an independent mean field, by sampler and point."""
    figure, axes = panels(1, 2)
    labels = [_title(point) for point in points]
    for k, name in enumerate(row["sampler"] for row in points[0]["samplers"]):
        rows = [point["samplers"][k] for point in points]
        style: dict[str, Any] = {"fmt": marker(k), "color": colour(k), "label": name, **POINTS}
        at = [i + 0.08 * (k - 2.5) for i in range(len(points))]
        tau = [row["tau_int"]["M"] for row in rows]
        axes[0, 0].errorbar(at, [t["value"] for t in tau], yerr=[t["error"] for t in tau], **style)
        axes[0, 1].errorbar(at, [1e3 * row["seconds_per_independent"]["M"] for row in rows], **style)
    for axis, title in zip(
        axes[0], (r"$\tau_\mathrm{int}$ of the mean field, steps", "ms per independent mean field"), strict=True
    ):
        axis.set(title=title, yscale="log")
        axis.set_xticks(range(len(points)), labels, fontsize=7, rotation=20)
        axis.minorticks_off()
    axes[0, 0].legend(fontsize=7)
    return save(figure, path)


def propagators(path: Path, points: Sequence[Mapping[str, Any]]) -> Path:
    """Two-point functions of the scalar field of all samplers of the last point, and of quarks, beside each other."""
    figure, axes = panels(1, 2)
    point = points[-1]
    for k, row in enumerate(point["samplers"]):
        for axis, letter in zip(axes[0], "CG", strict=True):
            chosen = {int(n[2:-1]): value for n, value in row["means"].items() if n.startswith(f"{letter}(")}
            axis.errorbar(
                [t + 0.06 * (k - 2.5) for t in chosen],
                [value["value"] for value in chosen.values()],
                yerr=[value["error"] for value in chosen.values()],
                fmt=marker(k),
                color=colour(k),
                label=row["sampler"],
                **POINTS,
            )
    axes[0, 0].set(title=f"scalar field, {_title(point)}", xlabel="$t / a$", ylabel="$C(t)$", yscale="log")
    axes[0, 1].set(title="quark", xlabel="$t / a$", ylabel="$G(t)$")
    axes[0, 0].legend(fontsize=7)
    return save(figure, path)
