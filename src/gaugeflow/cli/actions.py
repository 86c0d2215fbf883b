"""Whether an ensemble was sampled with the action of a run file, as far as it says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gaugeflow.runfile import RunFile


def require_action(run: RunFile, path: Path, stored: Any, changed: Mapping[str, float]) -> None:
    """Refuse an ensemble of another action; one that does not say by what it was sampled is taken.

    Parameters
    ----------
    run
        The run file.
    path
        File of the ensemble.
    stored
        The parameters of the ensemble: sections as in a run file if ``gaugeflow sample`` has made it.
    changed
        Values of ``beta``, ``anisotropy`` or ``kappa`` in place of the source's.

    Raises
    ------
    ValueError
        If the actions differ; the message names keys and both values.
    """
    if not isinstance(stored, dict) or not {"source", "sampler"} <= stored.keys():
        return
    here = {"source": asdict(run.source), "fermions": None if run.fermions is None else asdict(run.fermions)}
    for key, value in changed.items():
        if key == "kappa":
            here["fermions"] = {**(here["fermions"] or {}), "kappa": (value,), "mass": ()}
        else:
            here["source"] = {**(here["source"] or {}), key: value}
    before, now = (_action(sections, len(run.lattice.shape)) for sections in (stored, here))
    differing = [
        f"{key} was {before.get(key, 'not there')} and is {now.get(key, 'not there')}"
        for key in sorted(before.keys() | now.keys())
        if not _same(before.get(key), now.get(key))
    ]
    if differing:
        raise ValueError(f"{path} was sampled with another action than that of {run.path}: {'; '.join(differing)}")


def _action(sections: Mapping[str, Any], dimensions: int) -> dict[str, Any]:
    """What decides the distribution, by section and key; a mass counts as the kappa that goes with it."""
    source, fermions = sections["source"], sections.get("fermions")
    found = {f"[source] {key}": source[key] for key in ("action", "beta", "anisotropy") if key in source}
    if fermions:
        found["[fermions] kappa"] = [
            *fermions["kappa"],
            *(0.5 / (mass + dimensions) if mass != -dimensions else math.inf for mass in fermions["mass"]),
        ]
        found |= {"[fermions] flavours": [*fermions["flavours"]], "[fermions] csw": fermions["csw"]}
        found["[fermions] boundary"] = list(fermions["boundary"]) or [1.0, *[0.0] * (dimensions - 1)]
    return found


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal, numbers up to rounding."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12)
    return bool(a == b)
