"""Sums over sites that depend on no order: not on threads, folds, processes or the machine.

Numbers are cut into digits of 26 bits, which are counted from a power of two that all processes agree on (J. Demmel and
H. D. Nguyen, IEEE Trans. Comput. 64, 2060 (2015)).  Three digits are kept; their sums are exact for up to 2^27 numbers, and
what is exact does not depend on the order.  What is dropped is smaller than 2^-51 of the largest number, for each number.
"""

from __future__ import annotations

import math
from typing import Any

from gaugeflow.backend import kernel
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.digits import BITS, DIGITS, HIGHEST, LOWEST, digits

MOST = 1 << 27
"""Numbers of which the sums of digits are exact."""


@kernel()
def digit_sums(lattice: Lattice, values: Array) -> Array:
    """Sums of the digits of numbers over the sites and sub-lattices of this process.

    Parameters
    ----------
    lattice
        The lattice.
    values
        ``(..., sites, lanes)`` float64, of any number of sites.

    Returns
    -------
    Array
        ``(4, ..., batch)`` float64: the power p of 2^26 that is larger than twice every number, and the sums of the
        digits that are multiples of 2^(26 (p - 1)), 2^(26 (p - 2)) and 2^(26 (p - 3)).
    """
    xp = array_namespace(values)
    lead, batch = tuple(values.shape[:-2]), lattice.batch(values.shape[-1])
    x = xp.reshape(xp.asarray(xp.astype(values, xp.float64)), (*lead, -1, batch))
    if x.shape[-2] == 0:
        nothing = xp.zeros((DIGITS, *lead, batch), dtype=xp.float64)
        return xp.concat([xp.full((1, *lead, batch), float(LOWEST), dtype=xp.float64), nothing])
    power = first_power(xp, xp.max(xp.abs(x), axis=-2))
    two = 2.0 + 0.0 * power
    anchors = [(1.5 * 2.0**52 * xp.pow(two, BITS * (power - k)))[..., None, :] for k in range(1, DIGITS + 1)]
    return xp.stack([power, *(xp.sum(part, axis=-2) for part in digits(x, *anchors))])


def first_power(xp: Any, largest: Array) -> Array:
    """Power of 2^26 that is larger than twice a number; the highest one for what is not finite, so that no sum loses it."""
    finite = xp.where(xp.isfinite(largest), largest, xp.asarray(2.0**1000, dtype=xp.float64))
    size = xp.log2(xp.where(finite > 0.0, finite, xp.asarray(2.0**-1000, dtype=xp.float64)))
    return xp.clip(xp.floor((size + 1.5) / BITS) + 1.0, float(LOWEST), float(HIGHEST))


def aligned(xp: Any, parts: Array, power: Array) -> Array:
    """The digit sums of one process, ``(3, ...)``, counted from a power that is not smaller than its own."""
    shift = power - parts[0, ...]
    result = []
    for k in range(DIGITS):
        total = 0.0 * power
        for j in range(k + 1):
            total = xp.where(shift == k - j, parts[1 + j, ...], total)
        result.append(total)
    return xp.stack(result)


def sum_slots(lattice: Lattice, values: Array) -> Array:
    """As :func:`sum_sites` of numbers of any slots, ``(..., slots, batch)``."""
    return sum_sites(Lattice(lattice.shape, domain=lattice.domain), values)


def sum_processes(lattice: Lattice, values: Array) -> Array:
    """Numbers of all processes added up, entry by entry; the numbers themselves where the lattice is whole."""
    if lattice.domain is None:
        return values
    xp = array_namespace(values)
    x = xp.astype(values, xp.float64)[..., None, None]
    nothing = xp.zeros((*values.shape, 1, lattice.n_folds - 1), dtype=xp.float64)
    return xp.astype(sum_sites(lattice, xp.concat([x, nothing], axis=-1))[..., 0], values.dtype)


def largest_of_sites(lattice: Lattice, values: Array) -> Array:
    """Largest of numbers of sites that are not negative, ``(sites, lanes)``: ``(batch,)``; nan where one is."""
    xp = array_namespace(values)
    batch = lattice.batch(values.shape[-1])
    x = xp.reshape(values, (-1, batch))
    found = xp.max(x, axis=0) if x.shape[0] else xp.zeros((batch,), dtype=values.dtype)
    return found if lattice.domain is None else lattice.domain.largest(found)


def largest_entry(lattice: Lattice, field: Array) -> float:
    """Largest absolute value of all entries of a field, of all processes."""
    xp = array_namespace(field)
    found = xp.max(xp.abs(field))
    return float(found if lattice.domain is None else lattice.domain.largest(xp.reshape(found, (1,)))[0])


def different_numbers(lattice: Lattice, numbers: Array) -> list[int]:
    """Different ones of integers that are not negative, of all processes, in increasing order."""
    xp = array_namespace(numbers)
    if lattice.domain is None:
        return [int(n) for n in xp.unique_values(numbers)]
    present = xp.zeros((int(largest_entry(lattice, numbers)) + 1,), dtype=xp.float64)
    present[xp.unique_values(numbers)] = 1.0
    return [n for n, there in enumerate(lattice.domain.largest(present)) if there]


def sum_sites(lattice: Lattice, values: Array) -> Array:
    """Sum over all sites of the lattice, whatever its fold and however it is cut over processes.

    Parameters
    ----------
    lattice
        The lattice.
    values
        ``(..., sites, lanes)``: numbers of sites of this process, of any number of sites.

    Returns
    -------
    Array
        ``(..., batch)`` float64; the same bits for every order of summation.  Numbers that are not finite give one.

    Raises
    ------
    ValueError
        If there are so many numbers that sums of digits would be rounded.
    """
    count = values.shape[-2] * lattice.n_folds * math.prod(lattice.grid)
    if count > MOST:
        raise ValueError(f"sum over sites: expected at most {MOST} numbers for each configuration, got {count}")
    parts = digit_sums(lattice, values)
    if lattice.domain is not None:
        parts = lattice.domain.total(parts)
    return parts[3, ...] + parts[2, ...] + parts[1, ...]


def sum_slices(lattice: Lattice, values: Array) -> Array:
    """Sums over the sites of every time slice, as :func:`sum_sites`: ``(..., n_blocks, lanes)`` to ``(..., time, batch)``."""
    xp = array_namespace(values)
    lead = tuple(values.shape[:-2])
    x = lattice.local.unpack(values, components=len(lead))
    x = xp.moveaxis(xp.reshape(x, (*x.shape[: 2 + len(lead)], -1)), 0, -1)
    parts = digit_sums(Lattice(lattice.local_shape), xp.asarray(x, copy=True))
    if lattice.domain is not None:
        first = lattice.origin[0]
        last = lattice.shape[0] - first - lattice.local_shape[0]
        empty = [(*lead, k, parts.shape[-1]) for k in (first, last)]
        before, after = (
            xp.concat([xp.full((1, *n), float(LOWEST), dtype=parts.dtype), xp.zeros((DIGITS, *n), dtype=parts.dtype)])
            for n in empty
        )
        parts = lattice.domain.total(xp.concat([before, parts, after], axis=-2))
    return parts[3, ...] + parts[2, ...] + parts[1, ...]
