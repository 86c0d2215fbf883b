"""Tables of joint samplers of links and pseudofermions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaugeflow.analysis import format_error
from gaugeflow.systems.report import BRACKETS, ESS, Table

PUBLISHED = {
    "none": 0.020,
    "even-odd": 0.05,
    "Hasenbusch 1": 0.074,
    "Hasenbusch 2": 0.091,
    "Hasenbusch 3": 0.145,
}
"""Joint effective sample sizes of the Schwinger model read off a figure of arXiv:2207.08945."""


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
