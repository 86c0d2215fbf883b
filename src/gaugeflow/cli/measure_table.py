"""What ``gaugeflow measure`` knows of an ensemble: one row of numbers for each configuration, kept in a file if asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.cli.output import WRITING_INTERVAL, as_stored, lock_results
from gaugeflow.cli.places import LOCK, Place
from gaugeflow.cli.world import current

TABLE = "observables.h5"
_SCALARS = ("plaquette", "plaquette_spatial", "plaquette_temporal", "link_trace", "q")
_FLOW = (
    *("e_clover_spatial", "e_clover_temporal", "t2_e", "t2_e_plaquette", "q"),
    *("q_plaquette", "q_five_loop", "t2_e_five_loop"),
)
_SLICES = ("e_clover_spatial", "e_clover_temporal", "q")

Row = dict[str, Any]


def row_of(result: Mapping[str, Any]) -> Row:
    """Numbers of a result of :func:`gaugeflow.observables.measure`; what is None there has no column."""
    row = {name: result[name] for name in _SCALARS} | {"polyakov_loop": result["polyakov_loop"]}
    row |= {f"slices_{name}": values for name, values in result.get("slices", {}).items()}
    flow = result["flow"]
    if flow:
        row |= {f"flow_{name}": [entry[name] for entry in flow] for name in _FLOW if flow[0].get(name) is not None}
        parts = flow[0].get("slices", {})
        row |= {f"flow_slices_{name}": [e["slices"][name] for e in flow] for name in parts if parts[name] is not None}
    return {name: np.asarray(values, dtype=np.float64) for name, values in row.items() if values is not None}


def result_of(row: Row, parameters: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The result that a row was made of."""

    def plain(name: str) -> Any:
        return row[name].tolist() if name in row else None

    result: dict[str, Any] = {"file": file, "shape": parameters["shape"], "n_colours": parameters["n_colours"]}
    result |= {name: plain(name) for name in _SCALARS[:4]}
    result |= {"polyakov_loop": plain("polyakov_loop"), "q": plain("q"), "flow": []}
    if parameters["boundary"] is not None:
        slices = {name: plain(f"slices_{name}") for name in ("plaquette_spatial", "plaquette_temporal")}
        result |= {"boundary": parameters["boundary"], "slices": slices}
    for k, t in enumerate(parameters["flow_times"]):
        entry = {"t": t} | {n: row[f"flow_{n}"][k].item() for n in _FLOW if f"flow_{n}" in row} | {"q": None}
        if "flow_q" in row:
            entry["q"] = row["flow_q"][k].item()
        if "flow_slices_e_clover_spatial" in row:
            names = {name: f"flow_slices_{name}" for name in _SLICES}
            entry["slices"] = {n: row[column][k].tolist() if column in row else None for n, column in names.items()}
        result["flow"].append(entry)
    return result


class Table:
    """Rows by configuration; with a folder they are kept in a file, from which a later run goes on.

    Parameters
    ----------
    folder
        Folder of the file, or None.
    places
        All configurations, in their order.
    options
        What a measurement depends on besides its configuration.

    Raises
    ------
    ValueError
        If the folder holds measurements of other configurations, or with other options.
    GaugeflowError
        If another run works in the folder, which is locked until the command ends.
    """

    def __init__(self, folder: Path | None, places: Sequence[Place], options: Mapping[str, Any]) -> None:
        self._path = None if folder is None else folder / TABLE
        self._places = list(places)
        self._number = {(place.file, place.row): k for k, place in enumerate(places)}
        self._rows: dict[int, Row] = {}
        self._written, self._last = 0, time.monotonic()
        self.parameters: dict[str, Any] = as_stored(dict(options))
        self._lock = None if folder is None else lock_results(folder, LOCK)
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, file: str, row: int) -> Place:
        """The configuration in a row of an ensemble file, or -1 for the only one of a file."""
        if (file, row) not in self._number:
            raise ValueError(f"{file} changed while it was measured")
        return self._places[self._number[file, row]]

    def find(self, place: Place) -> dict[str, Any] | None:
        """The result of a configuration that is measured."""
        row = self._rows.get(self._number[place.file, place.row])
        return None if row is None else result_of(row, self.parameters, place.file)

    def add(self, place: Place, result: Mapping[str, Any]) -> None:
        """Keep a result; ``ValueError`` if it is of another lattice than the others."""
        lattice = {name: result.get(name) for name in ("shape", "n_colours", "boundary")}
        if "shape" not in self.parameters:
            self.parameters |= lattice
        for name, value in lattice.items():
            if self.parameters[name] != value:
                raise ValueError(
                    f"{place.label}: expected {name} {self.parameters[name]} like the first configuration, got {value}"
                )
        self._rows[self._number[place.file, place.row]] = row_of(result)
        if time.monotonic() - self._last > WRITING_INTERVAL:
            self.write()

    def columns(self) -> dict[str, Any]:
        """Chain, number and checksum of every configuration that is measured, and its numbers."""
        order = sorted(self._rows)
        found = {
            name: np.array([getattr(self._places[k], name) for k in order], dtype=np.int64)
            for name in ("chain", "id", "checksum")
        }
        names = self._rows[order[0]] if order else ()
        return found | {name: np.stack([self._rows[k][name] for k in order]) for name in names}

    def write(self) -> Path | None:
        """Write the file, if there is to be one and it lacks something; gives its path."""
        from gaugeflow import io

        if self._path is not None and self._lock is not None and len(self) > self._written:
            self._lock.require_own()
            described = io.provenance(parameters=self.parameters, axes=self._axes())
            if current().leads:
                io.write_table(self._path, self.columns(), attributes=described)
            self._written, self._last = len(self), time.monotonic()
        return self._path if self._written else None

    def _axes(self) -> dict[str, list[str]]:
        """Names of the axes of columns that have more than one."""
        names = next(iter(self._rows.values()))
        axes = {"polyakov_loop": ["configuration", "part"]}
        axes |= {name: ["configuration", "slice"] for name in names if name.startswith("slices_")}
        for name in names:
            if name.startswith("flow_"):
                slices = ["slice"] if name.startswith("flow_slices_") else []
                axes[name] = ["configuration", "flow time", *slices]
        return {name: axis for name, axis in axes.items() if name in names}

    def _read(self, path: Path) -> None:
        from gaugeflow import io

        columns, attributes = io.read_table(path)
        stored = attributes.get("parameters", {})
        different = [name for name, value in self.parameters.items() if stored.get(name) != value]
        if different:
            raise ValueError(
                f"{path} was measured with other {', '.join(different)}: remove it, or choose another --out"
            )
        self.parameters = stored
        known = {(place.chain, place.id, place.checksum): k for k, place in enumerate(self._places)}
        keys = zip(*(columns.pop(name).tolist() for name in ("chain", "id", "checksum")), strict=True)
        for k, key in enumerate(keys):
            if key not in known:
                raise ValueError(
                    f"{path} holds another configuration of chain {key[0]}, number {key[1]} than the files given: remove it, "
                    "or choose another --out"
                )
            self._rows[known[key]] = {name: column[k] for name, column in columns.items()}
        self._written = len(self)
