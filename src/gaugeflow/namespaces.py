"""Namespaces of arrays, kept for every type of array.

Solvers on small lattices ask for a namespace at every step, and ``array_api_compat`` needs microseconds for the answer.
"""

from __future__ import annotations

from typing import Any

import array_api_compat

_kept: dict[type, Any] = {}


def namespace_or_none(x: Any) -> Any:
    """The array API namespace of an array, None for anything else.

    Parameters
    ----------
    x
        An array of any library, a number of Python, or a number in a register of a back end.

    Returns
    -------
    namespace or None
        What ``array_api_compat.array_namespace`` returns.
    """
    kind = type(x)
    if kind not in _kept:
        _kept[kind] = array_api_compat.array_namespace(x) if array_api_compat.is_array_api_obj(x) else None
    return _kept[kind]


def array_namespace(x: Any) -> Any:
    """The array API namespace of an array: ``xp = array_namespace(x)`` begins every function that computes.

    Parameters
    ----------
    x
        An array of any library.

    Returns
    -------
    namespace
        What ``array_api_compat.array_namespace`` returns.

    Raises
    ------
    TypeError
        If ``x`` is no array of a known library.
    """
    found = namespace_or_none(x)
    return array_api_compat.array_namespace(x) if found is None else found
