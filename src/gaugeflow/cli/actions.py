"""Whether an ensemble was sampled with the action of a run file, as far as it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import inf
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
    here: dict[str, Any] = {"source": asdict(run.source), "fermions": asdict(run.fermions) if run.fermions else None}
    for key, value in changed.items():
        if key == "kappa":
            here["fermions"] |= {"kappa": (value,), "mass": ()}
        else:
            here["source"][key] = value
    before, now = (_action(sections, len(run.lattice.shape)) for sections in (stored, here))
    if before != now:
        raise ValueError(f"{path} was sampled with another action than that of {run.path}: {differences(before, now)}")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Parameters of an ensemble that differ from those of the run file, such as ``[source] beta was 6.0 and is 6.1``."""
    sides = [
        {f"[{section}] {key}": value for section, keys in side.items() for key, value in keys.items()}
        for side in (before, now)
    ]
    names = sorted(sides[0].keys() | sides[1].keys())
    pairs = [(name, sides[0].get(name), sides[1].get(name)) for name in names]
    return "; ".join(f"{name} was {old} and is {new}" for name, old, new in pairs if old != new)


def _action(sections: Mapping[str, Any], dimensions: int) -> dict[str, dict[str, Any]]:
    """What decides the distribution; a mass counts as the kappa that goes with it, and the last digits do not count."""
    found: dict[str, dict[str, Any]] = {
        "source": {key: sections["source"].get(key) for key in ("action", "beta", "anisotropy")}
    }
    fermions = sections.get("fermions")
    if fermions:
        kappas = [*fermions["kappa"], *(0.5 / (m + dimensions) if m + dimensions else inf for m in fermions["mass"])]
        found["fermions"] = {
            "kappa": [float(f"{kappa:.12g}") for kappa in kappas],
            "flavours": list(fermions["flavours"]),
            "csw": fermions["csw"],
            "boundary": list(fermions["boundary"]) or [1.0, *[0.0] * (dimensions - 1)],
        }
    return found
