"""Conventional arrays as fields, and back: folds become lanes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gaugeflow.namespaces import array_namespace


def check_array(value: object, name: str = "field") -> None:
    """Raise ``TypeError`` unless this is an array; a sampler's state is told where its field is."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        kind = type(value).__name__
        hint = f"; the field of a {kind} is its x" if hasattr(value, "x") else ""
        raise TypeError(f"{name}: expected an array, got a {kind}{hint}")


def packed(array: Any, components: int, blocks: Sequence[int], fold: Sequence[int]) -> Any:
    """``(batch, *lead, *shape, *trail)`` as ``(*lead, n_blocks, *trail, lanes)``, see :meth:`Lattice.pack`."""
    check_array(array, "array")
    xp = array_namespace(array)
    ndim, first, found = len(blocks), 1 + components, tuple(array.shape)
    shape = tuple(b * f for b, f in zip(blocks, fold, strict=True))
    if found[first : first + ndim] != shape:
        raise ValueError(f"pack: expected site axes {shape} after {first} leading axes, got an array of shape {found}")
    split = [n for f, b in zip(fold, blocks, strict=True) for n in (f, b)]
    trail = found[first + ndim :]
    x = xp.reshape(array, (*found[:first], *split, *trail))
    folds = [first + 2 * i for i in range(ndim)]
    inner = [first + 2 * i + 1 for i in range(ndim)]
    tail = list(range(first + 2 * ndim, len(x.shape)))
    x = xp.permute_dims(x, (*range(1, first), *inner, *tail, *folds, 0))
    flat = xp.asarray(xp.reshape(x, (-1,)), copy=True)
    return xp.reshape(flat, (*found[1:first], math.prod(blocks), *trail, math.prod(fold) * found[0]))


def unpacked(field: Any, components: int, blocks: Sequence[int], fold: Sequence[int]) -> Any:
    """Inverse of :func:`packed`."""
    check_array(field)
    xp = array_namespace(field)
    ndim, found, n_blocks, n_folds = len(blocks), tuple(field.shape), math.prod(blocks), math.prod(fold)
    if len(found) < components + 2 or found[components] != n_blocks:
        raise ValueError(
            f"unpack: expected {components} leading axes, then {n_blocks} sites, got a field of shape {found}"
        )
    if found[-1] < 1 or found[-1] % n_folds:
        raise ValueError(f"lattice folded {tuple(fold)} needs a multiple of {n_folds} lanes, got {found[-1]}")
    batch = found[-1] // n_folds
    trail = found[components + 1 : -1]
    x = xp.reshape(field, (*found[:components], *blocks, *trail, *fold, batch))
    inner = [components + i for i in range(ndim)]
    folds = [components + ndim + len(trail) + i for i in range(ndim)]
    pairs = [axis for pair in zip(folds, inner, strict=True) for axis in pair]
    tail = range(components + ndim, components + ndim + len(trail))
    x = xp.permute_dims(x, (len(x.shape) - 1, *range(components), *pairs, *tail))
    shape = tuple(b * f for b, f in zip(blocks, fold, strict=True))
    return xp.reshape(x, (batch, *found[:components], *shape, *trail))
