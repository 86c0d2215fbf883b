"""The beginning of a command that several processes do together: what they must agree in, and how they are dealt."""

from __future__ import annotations

import hashlib
import platform
import sys
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gaugeflow
from gaugeflow.bench import DEFAULT_BACKEND
from gaugeflow.cli.world import World, current
from gaugeflow.runfile import RunFile
from gaugeflow.runfile.sections import SECTIONS


def begin(run: RunFile, pieces: int, what: str) -> World:
    """Require that all processes have been given the same, and deal them into teams, see :meth:`World.deal`."""
    agree(run)
    world = current()
    world.deal(run, pieces, what)
    return world


def agree(run: RunFile | None = None) -> None:
    """``GaugeflowError`` unless all processes run the same programs, with the same options and the same run file."""
    world = current()
    if world.size > 1:
        found = {**programs(), "command line": " ".join(sys.argv[1:])}
        world.require_equal(found if run is None else found | keys(run))


def keys(run: RunFile) -> dict[str, Any]:
    """All values of a run file by section and key."""
    found: dict[str, Any] = {}
    for name in SECTIONS.values():
        section = getattr(run, name)
        if section is not None:
            found |= {f"[{name}] {key}": value for key, value in asdict(section).items()}
    return found | {"folder of results": str(run.folder.resolve())}


@cache
def programs() -> dict[str, str]:
    """Versions of the programs that make the numbers, and a digest of the sources of this one."""
    found = {"gaugeflow": gaugeflow.__version__, "sources of gaugeflow": _digest(), "Python": platform.python_version()}
    for name in ("numpy", "scipy", DEFAULT_BACKEND):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _digest() -> str:
    total = hashlib.sha256()
    folder = Path(gaugeflow.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:12]
