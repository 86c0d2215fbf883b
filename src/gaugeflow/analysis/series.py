"""Measurements of one observable on several Markov chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
AnyArray: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Series:
    """Per-configuration values of one observable, chain by chain.

    A series is either *measured* (``values`` are the numbers of each configuration) or *linearised*: the estimator of a
    derived quantity, stored as ``value + delta_i`` with ``sum_i delta_i = 0``, where ``delta_i / n`` is the first-order
    response of the estimator to configuration ``i``. Both have the right mean, and the Gamma method on either gives
    the right error; only linear operations (``+``, ``-``, ``*`` a number, `derive`) make sense on linearised series.

    Build one with `from_chains` or `from_lanes`; the arrays are copied, checked and made read-only.

    Parameters
    ----------
    values : tuple of ndarray, each (n_r,) or (n_r, k)
        One array per chain; ``k`` components are measured together on each configuration.
    ids : tuple of ndarray of int, each (n_r,)
        Configuration number of each entry, in Markov time. It must increase; numbers may be missing (*gaps*), and chains may
        differ in their spacings. Keep the numbers that the configurations have: without them, neighbours across a gap count as
        close in Markov time, and autocorrelation times are those of another chain.
    name : str
        Name of the observable, used in messages.

    Raises
    ------
    TypeError
        Values are not real, or ids are not integers.
    ValueError
        No chain, an empty chain, inconsistent shapes, a value that is not finite, or ids that repeat or fall.
    """

    values: tuple[FloatArray, ...]
    ids: tuple[IntArray, ...]
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(_real_array(v, self._label(r)) for r, v in enumerate(self.values)))
        object.__setattr__(self, "ids", tuple(_id_array(i, self._label(r)) for r, i in enumerate(self.ids)))
        if not self.values:
            raise ValueError(f"series {self.name!r} has no chain")
        if len(self.ids) != len(self.values):
            raise ValueError(f"series {self.name!r}: expected ids for {len(self.values)} chains, got {len(self.ids)}")
        for r, (values, ids) in enumerate(zip(self.values, self.ids, strict=True)):
            self._check_chain(r, values, ids)

    def _label(self, chain: int) -> str:
        return f"series {self.name!r}, chain {chain}"

    def _check_chain(self, r: int, values: FloatArray, ids: IntArray) -> None:
        if values.ndim not in (1, 2) or values.size == 0:
            raise ValueError(f"{self._label(r)}: expected shape (n,) or (n, k) without zeros, got {values.shape}")
        if values.shape[1:] != self.shape:
            raise ValueError(
                f"{self._label(r)}: expected {self.shape} per configuration as in chain 0, got {values.shape[1:]}"
            )
        if ids.shape != values.shape[:1]:
            raise ValueError(f"{self._label(r)}: expected {len(values)} ids, got shape {ids.shape}")
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if not finite.all():
            i = int(np.argmin(finite))
            raise ValueError(f"{self._label(r)}, index {i} (configuration {ids[i]}): value {values[i]} is not finite")
        steps = np.diff(ids)
        for wrong, what in ((steps == 0, "repeat"), (steps < 0, "fall")):
            if wrong.any():
                i = int(np.argmax(wrong))
                raise ValueError(
                    f"{self._label(r)}: expected configuration numbers that increase, each once, but they {what} at index "
                    f"{i + 1}: {ids[i + 1]} after {ids[i]}"
                )

    @classmethod
    def from_chains(cls, chains: Sequence[AnyArray], ids: Sequence[AnyArray] | None = None, name: str = "") -> Series:
        """Build a series from one array per chain.

        Parameters
        ----------
        chains : sequence of array (n_r,) or (n_r, k)
            Values in Markov time.
        ids : sequence of array of int (n_r,), optional
            Configuration numbers; 0, 1, 2, ... in every chain by default.
        name : str
            Name of the observable.
        """
        if ids is None:
            ids = [np.arange(np.shape(chain)[0] if np.ndim(chain) else 0) for chain in chains]
        return cls(tuple(chains), tuple(ids), name)

    @classmethod
    def from_lanes(cls, values: AnyArray, ids: AnyArray | None = None, name: str = "") -> Series:
        """Build a series from a batch of chains that advance together, one chain per lane.

        Parameters
        ----------
        values : array (n, B) or (n, k, B)
            Markov time first, lanes last.
        ids : array of int (n,), optional
            Configuration numbers shared by all lanes.
        name : str
            Name of the observable.
        """
        if np.ndim(values) not in (2, 3):
            raise ValueError(f"series {name!r}: expected shape (n, B) or (n, k, B), got {np.shape(values)}")
        chains = [values[..., lane] for lane in range(values.shape[-1])]
        return cls.from_chains(chains, None if ids is None else [ids] * len(chains), name)

    @property
    def n(self) -> int:
        """Number of configurations in all chains."""
        return sum(len(values) for values in self.values)

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape per configuration: ``()`` or ``(k,)``."""
        return self.values[0].shape[1:]

    @property
    def spacing(self) -> int:
        """Unit of Markov time: the smallest distance of consecutive configuration numbers in any chain.

        Raises
        ------
        ValueError
            The smallest distance in some chain is no multiple of it.
        """
        smallest = [int(np.diff(ids).min()) for ids in self.ids if len(ids) > 1]
        unit = min(smallest, default=1)
        if any(distance % unit for distance in smallest):
            raise ValueError(
                f"series {self.name!r}: expected chains whose smallest distances of configuration numbers are multiples of "
                f"the smallest of all, got {smallest}"
            )
        return unit

    @property
    def markov_times(self) -> tuple[IntArray, ...]:
        """Markov time of each configuration since the first one of its chain, in units of `spacing`, rounded down."""
        unit = self.spacing
        return tuple((ids - ids[0]) // unit for ids in self.ids)

    @property
    def mean(self) -> FloatArray:
        """Average over all configurations of all chains, shape ``()`` or ``(k,)``.

        Raises
        ------
        ValueError
            The sum is beyond the largest floating-point number.
        """
        # Relative to the first entry, so that a constant series has exactly its value as the mean.
        first = self.values[0][0]
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.asarray(first + np.mean(np.concatenate(self.values) - first, axis=0))
        if not np.isfinite(mean).all():
            largest = max(float(np.abs(values).max()) for values in self.values)
            raise ValueError(f"series {self.name!r}: the sum of values up to {largest:.3g} overflows")
        return mean

    @property
    def chain_means(self) -> FloatArray:
        """Average of each chain, shape ``(chains,)`` or ``(chains, k)``."""
        return np.stack([values[0] + np.mean(values - values[0], axis=0) for values in self.values])

    @property
    def fluctuations(self) -> tuple[FloatArray, ...]:
        """Deviations from the mean over *all* chains, one array per chain."""
        mean = self.mean
        with np.errstate(over="ignore"):
            deviations = tuple(values - mean for values in self.values)
        if not all(np.isfinite(delta).all() for delta in deviations):
            raise ValueError(f"series {self.name!r}: deviations from the mean {mean} overflow")
        return deviations

    @property
    def scale(self) -> FloatArray:
        """Largest deviation from the mean, 1 where there is none; shape ``()`` or ``(k,)``.

        Squares of deviations are summed in this unit, in which they neither overflow nor vanish.
        """
        largest = np.max([np.abs(delta).max(axis=0) for delta in self.fluctuations], axis=0)
        return np.asarray(np.where(largest > 0, largest, 1.0))

    def split(self) -> tuple[Series, ...]:
        """One scalar series per component; a scalar series gives itself."""
        if self.shape == ():
            return (self,)
        return tuple(
            replace(self, values=tuple(v[:, j] for v in self.values), name=f"{self.name}[{j}]")
            for j in range(self.shape[0])
        )

    def __add__(self, other: Series) -> Series:
        check_same_configurations(self, other)
        with np.errstate(over="ignore"):  # The result is checked.
            values = tuple(a + b for a, b in zip(self.values, other.values, strict=True))
        return Series(values, self.ids, f"({self.name} + {other.name})")

    def __sub__(self, other: Series) -> Series:
        check_same_configurations(self, other)
        with np.errstate(over="ignore"):
            values = tuple(a - b for a, b in zip(self.values, other.values, strict=True))
        return Series(values, self.ids, f"({self.name} - {other.name})")

    def __mul__(self, factor: float) -> Series:
        if not isinstance(factor, int | float):
            return NotImplemented
        with np.errstate(over="ignore"):
            values = tuple(factor * v for v in self.values)
        return replace(self, values=values, name=f"{factor:g} * {self.name}")

    __rmul__ = __mul__


SeriesLike: TypeAlias = Series | AnyArray | Sequence[AnyArray]


def as_series(data: SeriesLike, name: str = "") -> Series:
    """Return `data` as a series: a series as it is, an array as one chain, a list of arrays as several chains."""
    if isinstance(data, Series):
        return data
    return Series.from_chains([data] if isinstance(data, np.ndarray) else data, name=name)


def check_same_configurations(*series: Series) -> None:
    """Raise ValueError unless all series live on the same configurations of the same chains."""
    first = series[0]
    for other in series[1:]:
        if other.chains != first.chains:
            raise ValueError(f"series {first.name!r} has {first.chains} chains, {other.name!r} has {other.chains}")
        for r, (a, b) in enumerate(zip(first.ids, other.ids, strict=True)):
            if not np.array_equal(a, b):
                raise ValueError(
                    f"series {first.name!r} and {other.name!r} differ in the configurations of chain {r}: "
                    f"{_summary(a)} and {_summary(b)}; use align()"
                )


def align(*series: Series) -> tuple[Series, ...]:
    """Restrict series of one ensemble to the configurations that all of them have.

    What is missing in one is a gap in all: numbers stay what they are.

    Raises
    ------
    ValueError
        The numbers of chains differ, or a chain has no configuration that all series have.
    """
    if len({s.chains for s in series}) != 1:
        raise ValueError(f"cannot align series with different numbers of chains: {[s.chains for s in series]}")
    common = []
    for r in range(series[0].chains):
        ids = series[0].ids[r]
        for other in series[1:]:
            ids = np.intersect1d(ids, other.ids[r])
        if ids.size == 0:
            held = ", ".join(f"{s.name!r} {_summary(s.ids[r])}" for s in series)
            raise ValueError(f"cannot align chain {r}: no configuration is in all series, which have {held}")
        common.append(ids)
    return tuple(
        Series(tuple(v[np.isin(i, c)] for v, i, c in zip(s.values, s.ids, common, strict=True)), tuple(common), s.name)
        for s in series
    )


def stack(*series: Series) -> Series:
    """Join series of the same configurations into one whose components are theirs, in order."""
    check_same_configurations(*series)
    values = tuple(np.column_stack(chains) for chains in zip(*(s.values for s in series), strict=True))
    return Series(values, series[0].ids, ", ".join(s.name for s in series))


def _summary(ids: IntArray) -> str:
    return f"{len(ids)} in {ids[0]}..{ids[-1]}"


def _real_array(values: AnyArray, label: str) -> FloatArray:
    if np.iscomplexobj(values):
        raise TypeError(f"{label}: expected real values, got {np.asarray(values).dtype}; take the real part or modulus")
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _id_array(ids: AnyArray, label: str) -> IntArray:
    array = np.array(ids)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{label}: expected integer ids, got {array.dtype}")
    array = array.astype(np.int64)
    array.setflags(write=False)
    return array
