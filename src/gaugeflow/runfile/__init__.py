"""Run files: one TOML file says what ``gaugeflow sample``, ``train`` and ``derive`` do.

Each section is a frozen dataclass; its annotations are the schema.  Whatever does not fit raises ``ValueError`` with
the file, the key, what was found and what is allowed.  Paths are relative to the folder of the run file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from gaugeflow.runfile.checks import CHECKS, check_together
from gaugeflow.runfile.sections import (
    NECESSARY,
    QUARK_OBSERVABLES,
    SECTIONS,
    FermionsSection,
    FlowSection,
    GroupSection,
    HMCSection,
    LatticeSection,
    ObservablesSection,
    OutputSection,
    ParallelSection,
    RunFile,
    SamplerSection,
    SourceSection,
    SourcesSection,
    TargetSection,
    TrainingSection,
)
from gaugeflow.runfile.values import check_names, expected, section

__all__ = [
    "QUARK_OBSERVABLES",
    "FermionsSection",
    "FlowSection",
    "GroupSection",
    "HMCSection",
    "LatticeSection",
    "ObservablesSection",
    "OutputSection",
    "ParallelSection",
    "RunFile",
    "SamplerSection",
    "SourceSection",
    "SourcesSection",
    "TargetSection",
    "TrainingSection",
    "read_runfile",
]


def read_runfile(path: Path, *used: type) -> RunFile:
    """Read and validate a run file.

    Parameters
    ----------
    path
        The file.
    *used
        Sections of the flow half that a command uses: their keys must agree with each other and with the lattice.  What
        a command does not use need not be complete.  Of [target] and [sources], where a command takes either, only the one
        that the file has is used.

    Raises
    ------
    ValueError
        If it is not TOML, or a section, key, type or value is not allowed, or necessary ones are missing, which are all
        named.
    OSError
        If it cannot be read.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    check_names(str(path), "section", table, SECTIONS.values())
    if SourcesSection in used:
        other = TargetSection if "sources" in table else SourcesSection
        used = tuple(cls for cls in used if cls is not other)
    if missing := _missing(str(path), table, used):
        raise ValueError(f"{path}: missing: {'; '.join(missing)}. `gaugeflow init` writes a commented run file")
    sections = {name: section(path, cls, name, table[name]) for cls, name in SECTIONS.items() if name in table}
    run = RunFile(path=path, **sections)
    check_together(run)
    for cls in used:
        if cls in CHECKS:
            CHECKS[cls](run)
    return run


def _missing(path: str, table: Mapping[str, Any], used: Sequence[type]) -> list[str]:
    """All keys without a default that a file lacks, in words; misspelt ones are told first."""
    found = []
    for cls, name in SECTIONS.items():
        section = table.get(name, {})
        if not isinstance(section, Mapping):
            continue
        check_names(f"{path}: [{name}]", "key", section, [entry.name for entry in fields(cls)])
        source = table.get("source", {})
        sampled = cls is SamplerSection and not (isinstance(source, Mapping) and "files" in source)
        if not (name in table or name in NECESSARY or sampled):
            continue
        kinds, instead = get_type_hints(cls), ", or [source] files" if name not in table and sampled else ""
        for entry in fields(cls):
            if entry.default is MISSING and entry.name not in section:
                found.append(f"[{name}] {entry.name} ({expected(kinds[entry.name], entry)}){instead}")
    if TargetSection in used and "target" not in table:
        found.append("[target] beta or anisotropy (a list, each entry a number)")
    return found
