"""Random numbers without state: every number is a pure function of where and for what it is drawn.

The generator is Philox4x32-10 (Salmon et al., SC'11), a bijection of a 128-bit counter under a 64-bit key.

==================  ====================================================================================================
key                 64 bits hashed from the seed and the path of streams, see :attr:`Rng.key`
counter, word 0     global lexicographic site, before any fold
counter, word 1     number of the configuration: its index in the batch plus ``Rng.first``
counter, word 2     draw: the step of a Markov chain, the number of a batch
counter, word 3     block of components; a block makes two numbers of 53 bits
==================  ====================================================================================================

The numbers therefore do not depend on threads, fold, lanes, register width or back end, and not on the machine either:
logarithm, sine and cosine are those of ``gaugeflow.sites.elementary``.  This layout is an interface; changing it
changes every published ensemble and is a major version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gaugeflow.devices import namespace
from gaugeflow.kernels.random import haar_field, momentum_field, normal_field, uniform_field
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.random import WORD, philox

_BITS_64 = (1 << 64) - 1
_NUMBER, _NAME, _KEY = 1, 2, 3


@dataclass(frozen=True)
class Rng:
    """A place in the tree of random streams.

    Parameters
    ----------
    seed
        Any integer of 64 bits.
    path
        Names and numbers of the streams that lead here; see :meth:`stream`.
    draw
        Number of the draw, 32 bits; see :meth:`at`.
    first
        Number of the first configuration of a batch, 32 bits; see :meth:`beginning_at`.

    Notes
    -----
    Equal objects give equal numbers: whoever draws twice must call :meth:`at` or :meth:`stream` in between.  The field
    generators of this module each use a stream of their own, so that a uniform and a normal field of one ``Rng`` are
    independent.
    """

    seed: int
    path: tuple[int | str, ...] = ()
    draw: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        _check_word("seed", self.seed, 64)
        _check_word("draw", self.draw, 32)
        _check_word("first", self.first, 32)
        for part in self.path:
            if not isinstance(part, str):
                _check_word("stream", part, 64)

    def stream(self, name: int | str) -> Rng:
        """The independent stream of this name or number (64 bits), at the same draw."""
        return replace(self, path=(*self.path, name))

    def at(self, draw: int) -> Rng:
        """The same stream at another draw (32 bits): one per step of a chain, one per batch."""
        return replace(self, draw=draw)

    def beginning_at(self, first: int) -> Rng:
        """The same numbers for a part of a larger batch, which begins with configuration ``first`` of that (32 bits).

        Chains that are dealt to several processes draw what they would draw side by side in one.
        """
        return replace(self, first=first)

    @property
    def key(self) -> tuple[int, int]:
        """Two 32-bit words hashed from seed and path, draw and first configuration aside.

        Philox itself is the hash: the state starts as the words of the seed; each part of the path replaces it by words
        0 and 1 of the block with counter (low, high, kind, 0), where low and high are the words of the number (kind 1)
        or of the 64-bit BLAKE2b digest of the name (kind 2); the key is the block with counter (0, 0, 3, 0).
        """
        state = (self.seed & WORD, self.seed >> 32)
        for part in self.path:
            if isinstance(part, str):
                value = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
                kind = _NAME
            else:
                value, kind = int(part), _NUMBER
            state = philox(value & WORD, value >> 32, kind, 0, *state)[:2]
        return philox(0, 0, _KEY, 0, *state)[:2]

    def words(self, xp: Any = None) -> Array:
        """``(k0, k1, draw, first)`` as an int64 vector of an array namespace: what kernels take.

        The default is the library of the chosen back end, NumPy where none is chosen.
        """
        xp = namespace() if xp is None else xp
        return xp.asarray([*self.key, int(self.draw), int(self.first)], dtype=xp.int64)


def _check_word(name: str, value: Any, bits: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"Rng: {name} must be an integer, got {value!r}")
    if not 0 <= value < 1 << bits:
        raise ValueError(f"Rng: {name} must be non-negative and below 2^{bits}, got {value}")


class Streams(tuple[Rng, ...]):
    """A stream for every configuration of a batch, which then has the same numbers in any batch.

    Functions that draw noise take it in place of an :class:`Rng`; draws and streams below are those of all its members.
    """

    __slots__ = ()

    @classmethod
    def of(cls, rng: Rng, chains: Sequence[int], numbers: Sequence[int]) -> Streams:
        """The stream of each configuration, by the number of its chain and its own number there."""
        return cls(rng.stream(int(c)).stream(int(n)) for c, n in zip(chains, numbers, strict=True))

    def stream(self, name: int | str) -> Streams:
        """:meth:`Rng.stream` of every configuration."""
        return Streams(one.stream(name) for one in self)

    def at(self, draw: int) -> Streams:
        """:meth:`Rng.at` of every configuration."""
        return Streams(one.at(draw) for one in self)


def uniform(
    rng: Rng | Sequence[Rng], lattice: Lattice, components: int = 1, batch: int = 1, *, xp: Any = None
) -> Array:
    """Independent numbers in [0, 1) with 53 bits.

    Parameters
    ----------
    rng
        Place in the tree of streams, or one for every configuration, such as :class:`Streams`.
    lattice
        The lattice.
    components
        Numbers per site.
    batch
        Configurations.
    xp
        Array namespace of the result (default: that of the chosen back end, else NumPy).

    Returns
    -------
    Array
        ``(components, n_blocks, n_folds * batch)`` float64.

    Raises
    ------
    ValueError
        If there are several streams, but not as many as configurations.
    """
    return _drawn("uniform", uniform_field, rng, lattice, components, batch, xp)


def normal(rng: Rng | Sequence[Rng], lattice: Lattice, components: int = 1, batch: int = 1, *, xp: Any = None) -> Array:
    """Independent numbers of the normal distribution of mean 0 and variance 1; arguments as for :func:`uniform`.

    The largest possible value is 8.6.
    """
    return _drawn("normal", normal_field, rng, lattice, components, batch, xp)


def _drawn(
    name: str,
    field: Callable[[Lattice, Array, int, int], Array],
    rng: Rng | Sequence[Rng],
    lattice: Lattice,
    components: int,
    batch: int,
    xp: Any,
) -> Array:
    if isinstance(rng, Rng):
        return field(lattice, rng.stream(name).words(xp), components, batch)
    if len(rng) != batch:
        raise ValueError(f"{name}: expected {batch} streams, one for each configuration, got {len(rng)}")
    each = [field(lattice, one.stream(name).words(xp), components, 1) for one in rng]
    together = array_namespace(each[0]).stack(each, axis=-1)
    return array_namespace(together).reshape(together, (components, -1, lattice.n_folds * batch))


def haar_links(rng: Rng, lattice: Lattice, n: int, batch: int = 1, *, xp: Any = None) -> Array:
    """Haar-distributed links ``(ndim, n_blocks, n, n, n_folds * batch)`` complex128; n = 1 is U(1), else SU(n)."""
    return haar_field(lattice, rng.stream("haar links").words(xp), lattice.ndim, n, batch)


def gauge_rotation(rng: Rng, lattice: Lattice, n: int, batch: int = 1, *, xp: Any = None) -> Array:
    """Haar-distributed matrices on sites, ``(n_blocks, n, n, n_folds * batch)`` complex128, for ``gauge_transform``."""
    return haar_field(lattice, rng.stream("gauge rotation").words(xp), 1, n, batch)[0, ...]


def momenta(rng: Rng, lattice: Lattice, n: int, batch: int = 1, *, xp: Any = None) -> Array:
    """Algebra field ``(ndim, n_blocks, n, n, n_folds * batch)`` complex128 with density exp(-<p, p> / 2).

    <A, B> = -2 Re tr A B: the coordinates in a basis with tr T^a T^b = -delta / 2 are normal with variance 1.
    """
    return momentum_field(lattice, rng.stream("momenta").words(xp), lattice.ndim, n, batch)
