"""Correlated ensembles: source configurations, their images under a flow, and exact log-weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gaugeflow.analysis import Series
from gaugeflow.devices import to_host
from gaugeflow.lattice import Array
from gaugeflow.random import Rng, Streams
from gaugeflow.training.loss import log_weight
from gaugeflow.typing import Action, Ensemble, Map, Params


class Pair(NamedTuple):
    """Some source configurations with their images: ``<O>_target = <w O(image)> / <w>`` over the source ensemble."""

    source: Array
    image: Array
    log_weight: Array
    ids: Array
    chain: Array


@dataclass(frozen=True)
class CorrelatedEnsemble:
    """Streams (U, f(U), log w) from a source ensemble; nothing is kept in memory.

    Parameters
    ----------
    ensemble
        Configurations distributed as exp(-source).
    source, target
        The two actions.
    flow, params
        Map from source to target; None for plain (epsilon-) reweighting, where f is the identity.
    """

    ensemble: Ensemble
    source: Action
    target: Action
    flow: Map | None = None
    params: Params | None = None

    def __len__(self) -> int:
        """Number of configurations."""
        return len(self.ensemble)

    def map(self, x: Array) -> tuple[Array, Array]:
        """Images and log-weights of source configurations."""
        if self.flow is None:
            return x, self.source.value(x) - self.target.value(x)
        if self.params is None:
            raise ValueError("CorrelatedEnsemble: a flow needs its parameters, got None")
        return log_weight(self.flow, self.params, self.source, self.target, x)

    def pairs(self, size: int) -> Iterator[Pair]:
        """Consecutive batches of at most ``size`` configurations."""
        for batch in self.ensemble.batches(size):
            image, weight = self.map(batch.fields)
            yield Pair(batch.fields, image, weight, batch.ids, batch.chain)


class Measurements:
    """Rows of measurements by configuration, collected batch by batch, handed out as series by chain."""

    def __init__(self) -> None:
        self._columns: dict[str, list[npt.NDArray[Any]]] = {}
        self._ids: list[npt.NDArray[Any]] = []
        self._chains: list[npt.NDArray[Any]] = []

    def __len__(self) -> int:
        """Number of configurations."""
        return sum(map(len, self._ids))

    def add(self, ids: Any, chain: Any, values: Mapping[str, Any]) -> None:
        """Append one batch: every value is ``(batch,)``.

        Raises
        ------
        ValueError
            If the names differ from earlier batches, or a value is not finite.
        """
        if self._columns and set(values) != set(self._columns):
            raise ValueError(f"measurements: expected {sorted(self._columns)}, got {sorted(values)}")
        row = {name: np.asarray(to_host(value), dtype=np.float64) for name, value in values.items()}
        numbers = np.asarray(ids)
        for name, column in row.items():
            if column.shape != numbers.shape or not np.isfinite(column).all():
                raise ValueError(f"measurements: {name} is not one finite number for each configuration")
        self._ids.append(numbers)
        self._chains.append(np.asarray(chain))
        for name, column in row.items():
            self._columns.setdefault(name, []).append(column)

    def series(self, name: str) -> Series:
        """One column as a series with its chains in order of configuration ids."""
        ids, chains = np.concatenate(self._ids), np.concatenate(self._chains)
        column = np.concatenate(self._columns[name])
        rows = [np.nonzero(chains == c)[0] for c in np.unique(chains)]
        rows = [r[np.argsort(ids[r], kind="stable")] for r in rows]
        return Series.from_chains([column[r] for r in rows], [ids[r] for r in rows], name)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All columns in the order of arrival, with ``id`` and ``chain``."""
        table = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        return {"id": np.concatenate(self._ids), "chain": np.concatenate(self._chains), **table}


def at_once(kind: str, name: str, work: Callable[[], Any]) -> Any:
    """Result of ``work``, without a clock."""
    return work()


def measure_images(
    ensemble: Ensemble,
    maps: Mapping[str, CorrelatedEnsemble],
    observables: Callable[[Array], Mapping[str, Array]],
    size: int,
    *,
    source_only: Callable[[Array], Mapping[str, Array]] | None = None,
    timed: Callable[[str, str, Callable[[], Any]], Any] = at_once,
    progress: Callable[[int], None] = lambda count: None,
) -> Measurements:
    """Measure observables on a source ensemble and on its images under several maps.

    Parameters
    ----------
    ensemble
        Source configurations.
    maps
        Correlated ensembles over the same source, by name.
    observables
        Function of a field that returns named values ``(batch,)``.
    size
        Configurations per batch.
    source_only
        Like ``observables``, for what is measured on source configurations alone.
    timed
        Called with the kind of a piece of work (``"flow"`` or ``"measurement"``), the name of the map (empty for the
        source) and the work, whose result it returns: a place for a clock.
    progress
        Called with the number of configurations done.

    Returns
    -------
    Measurements
        Columns ``name`` (source), ``map|name`` (images; absent for identity maps) and ``map|log_weight``.
    """
    return _measured(
        ensemble, lambda batch: batch_of_images(maps, observables, source_only, timed, batch.fields), size, progress
    )


def _measured(
    ensemble: Ensemble, measure: Callable[[Any], Mapping[str, Any]], size: int, progress: Callable[[int], None]
) -> Measurements:
    """Rows of all batches."""
    result = Measurements()
    for batch in ensemble.batches(size):
        result.add(batch.ids, batch.chain, measure(batch))
        progress(len(result))
    return result


def batch_of_images(
    maps: Mapping[str, CorrelatedEnsemble],
    observables: Callable[[Array], Mapping[str, Array]],
    source_only: Callable[[Array], Mapping[str, Array]] | None,
    timed: Callable[[str, str, Callable[[], Any]], Any],
    x: Array,
) -> dict[str, Array]:
    """Columns of :func:`measure_images` of one batch."""
    row: dict[str, Array] = dict(timed("measurement", "", partial(observables, x)))
    for name, correlated in maps.items():
        image, weight = timed("flow", name, partial(correlated.map, x))
        row[f"{name}|log_weight"] = weight
        if correlated.flow is not None:
            values = timed("measurement", name, partial(observables, image))
            row.update({f"{name}|{key}": value for key, value in values.items()})
    return row if source_only is None else {**row, **source_only(x)}


def measure_with_noise(
    ensemble: Ensemble,
    measure: Callable[[Streams, Array], Mapping[str, Any]],
    rng: Rng,
    size: int,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> Measurements:
    """Measure what needs random numbers on all configurations.

    Parameters
    ----------
    ensemble
        The configurations.
    measure
        Function of streams, one for each configuration, and a field, that returns named values ``(batch,)``, such as
        :func:`gaugeflow.ensembles.along_quarks` makes.
    rng
        Source of the streams.  They belong to chain and number of a configuration, so that its results do not depend on the
        others of its batch.
    size
        Configurations per batch.
    progress
        Called with the number of configurations done.

    Returns
    -------
    Measurements
        The named values.
    """
    return _measured(
        ensemble, lambda batch: measure(Streams.of(rng, batch.chain, batch.ids), batch.fields), size, progress
    )
