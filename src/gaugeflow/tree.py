"""Nested dictionaries of arrays: what parameters, their cotangents and optimiser states are.

Import the module, not its names: ``tree.map``, ``tree.dot``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Array, Params


def map(function: Callable[..., Any], tree: Params, *others: Params) -> dict[str, Any]:
    """Apply a function to the arrays of one or more trees of the same structure.

    Returns
    -------
    dict
        A tree of that structure, keys sorted.

    Raises
    ------
    ValueError
        If the trees do not have the same keys.
    """
    for other in others:
        if not isinstance(other, Mapping) or other.keys() != tree.keys():
            found = sorted(other) if isinstance(other, Mapping) else type(other).__name__
            raise ValueError(f"trees differ: expected keys {sorted(tree)}, got {found}")
    result: dict[str, Any] = {}
    for key in sorted(tree):
        values = [tree[key], *(other[key] for other in others)]
        result[key] = map(function, *values) if isinstance(tree[key], Mapping) else function(*values)
    return result


def axpy(a: Any, x: Params, y: Params) -> dict[str, Any]:
    """``a x + y`` for a number ``a``."""
    return map(lambda p, q: a * p + q, x, y)


def dot(x: Params, y: Params) -> Array:
    """Sum of the products of all entries of two real trees, a zero-dimensional float64 array.

    Raises
    ------
    ValueError
        If the trees differ in structure, or are empty.
    """
    products = flatten(map(_dot, x, y)).values()
    if not products:
        raise ValueError("dot: the trees hold no arrays")
    first, *others = products
    return sum(others, start=first)


def _dot(a: Array, b: Array) -> Array:
    xp = array_namespace(a)
    return xp.sum(xp.astype(a, xp.float64) * xp.astype(b, xp.float64))


def flatten(tree: Params, prefix: str = "") -> dict[str, Array]:
    """Arrays by flat name ``"layer/weight"``, names sorted at every level; empty mappings leave no trace."""
    flat: dict[str, Array] = {}
    for key in sorted(tree):
        if isinstance(tree[key], Mapping):
            flat.update(flatten(tree[key], f"{prefix}{key}/"))
        else:
            flat[prefix + key] = tree[key]
    return flat


def unflatten(flat: Mapping[str, Array]) -> dict[str, Any]:
    """Inverse of :func:`flatten`.

    Raises
    ------
    ValueError
        If a name is both an array and a prefix of another.
    """
    tree: dict[str, Any] = {}
    for name in sorted(flat):
        *path, last = name.split("/")
        node = tree
        for key in path:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ValueError(f"unflatten: {name!r} lies below a name that holds an array")
        node[last] = flat[name]
    return tree
