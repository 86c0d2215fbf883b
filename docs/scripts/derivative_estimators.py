"""Derivatives with respect to beta by independent ensembles, reweighting and a flow, against the step: docs/index.md.

    python docs/scripts/derivative_estimators.py --extent 8 --configurations 12 --out estimators

Results are kept in `report.json`; where this file exists, only the figure is drawn again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gaugeflow import plots
from gaugeflow.analysis import FEW, format_error
from gaugeflow.systems import correlated_su3
from gaugeflow.systems.figures import NAMES, SYMBOLS

ESTIMATORS = {
    "independent": "independent ensembles",
    "reweighting": "one ensemble, reweighted",
    "flow": "one ensemble and a flow",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=8)
    options.add_argument("--beta", type=float, default=6.0)
    options.add_argument("--steps", type=float, nargs="+", default=[0.01, 0.02, 0.05, 0.1])
    options.add_argument("--configurations", type=int, default=12, help="of each of eight chains")
    options.add_argument("--training-chains", type=int, default=32, help="on 4^4, six configurations each")
    options.add_argument("--flow-time", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("estimators"))
    given = options.parse_args()
    report = given.out / "report.json"
    if not report.exists():
        settings = correlated_su3.Settings(
            shape=(given.extent,) * 4,
            beta=given.beta,
            steps=tuple(given.steps),
            blocks=given.configurations,
            training_chains=given.training_chains,
            flow_time=given.flow_time,
        )
        done = correlated_su3.run(out=given.out, seed=given.seed, settings=settings)
        report.write_text(json.dumps(done.json, indent=1))
    results = json.loads(report.read_text())
    for result in results:
        sizes = (format_error(result[f"ess_{kind}"], result[f"ess_{kind}_error"]) for kind in ("plain", "flow"))
        print("step {:g}  ESS without flow {}  with flow {}".format(result["dbeta"], *sizes))
    for row in (row for result in results for row in result["derivatives"]):
        if row["estimator"] in (*ESTIMATORS, "linearised flow"):
            few = row["n_effective"] is not None and row["n_effective"] < FEW
            value = format_error(row["value"], row["error"])
            print(f"{row['observable']}  step {row['step']:g}  {row['estimator']}  {value}{' !' if few else ''}")
    print(draw(given.out / "estimators.png", results))


def draw(path: Path, results: list[dict[str, Any]]) -> Path:
    """One panel for each observable; grey and open: fewer than ten effective configurations."""
    rows = [row for result in results for row in result["derivatives"]]
    names = list(dict.fromkeys(row["observable"] for row in rows))
    figure, axes = plots.panels(1, len(names))
    for axis, name in zip(axes[0], names, strict=True):
        of_name = [row for row in rows if row["observable"] == name]
        linear = next(row for row in of_name if row["estimator"] == "linearised flow")
        value, error = linear["value"], linear["error"]
        axis.axhspan(value - error, value + error, color="0.85", lw=0, label="linearised flow")
        for k, (estimator, label) in enumerate(ESTIMATORS.items()):
            points = [row for row in of_name if row["estimator"] == estimator]
            for few in (False, True):
                chosen = [p for p in points if (p["n_effective"] is not None and p["n_effective"] < FEW) == few]
                axis.errorbar(
                    [p["step"] * 1.06 ** (k - 1) for p in chosen],
                    [p["value"] for p in chosen],
                    yerr=[p["error"] for p in chosen],
                    fmt=plots.marker(k),
                    color="0.6" if few else plots.colour(k),
                    mfc="none" if few else plots.colour(k),
                    label=None if few else label,
                    **plots.POINTS,
                )
        axis.set(xscale="log", xlabel=r"step $\Delta\beta$", title=NAMES.get(name, name))
        axis.set_ylabel(rf"$\mathrm{{d}}\langle {SYMBOLS[name]} \rangle / \mathrm{{d}}\beta$")
        steps = sorted({row["step"] for row in of_name})
        axis.set_xticks(steps, [f"{step:g}" for step in steps])
        axis.minorticks_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if any(row["n_effective"] is not None and row["n_effective"] < FEW for row in rows):
        few = axes[0, 0].errorbar([], [], yerr=[], fmt="s", color="0.6", mfc="none", **plots.POINTS)
        handles, labels = [*handles, few], [*labels, f"fewer than {FEW:g} effective configurations"]
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    return plots.save(figure, path)


if __name__ == "__main__":
    main()
