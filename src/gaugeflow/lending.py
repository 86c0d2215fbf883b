"""Arrays of PyTorch and JAX, lent to the kernels of NumPy's and CuPy's arrays and given back as what they were.

A kernel computes on the memory of such an array through DLPack: nothing is copied, except read-only arrays (those of JAX),
because kernels may write into what they consume.  Results are handed over in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, cast

from array_api_compat import is_jax_array

from gaugeflow.namespaces import array_namespace

F = TypeVar("F", bound=Callable[..., Any])

_LENDERS = {"torch", "jaxlib"}
"""Libraries whose arrays are lent; others that follow the array API are computed on by the reference."""
_HOSTS = {1: "numpy", 2: "cupy"}
"""Array library of each kind of device, by its number in DLPack: memory of the host, of a CUDA device."""


@functools.cache
def _lends(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _LENDERS


def is_lent(array: Any) -> bool:
    """Whether arrays of this type are lent."""
    kind: type = type(array)
    return _lends(kind)


def on_loan(function: Callable[..., Any], args: tuple[Any, ...], first: Any) -> Any:
    """Call a function with the arrays of ``args`` lent, and return its arrays as those of the library of ``first``.

    Raises
    ------
    TypeError
        If a tensor records operations for automatic differentiation, or lives on a device without kernels.
    """
    xp = array_namespace(first)
    host = _host(first)
    return _each(
        function(*(_each(value, lambda x: _lend(host, x), _is_foreign) for value in args)), xp.from_dlpack, _owned
    )


def with_writable_links(function: F) -> F:
    """Let a function of an operator, which fills arrays piece by piece, serve links that cannot be written into: those of JAX.

    It computes on a copy of the links in NumPy's memory, and its arrays are handed over.
    """

    @functools.wraps(function)
    def wrapped(operator: Any, *args: Any, **options: Any) -> Any:
        if not is_jax_array(getattr(operator, "links", None)):
            return function(operator, *args, **options)
        return on_loan(
            lambda links: function(operator.with_links(links), *args, **options), (operator.links,), operator.links
        )

    return cast(F, wrapped)


def _host(array: Any) -> Any:
    kind = int(array.__dlpack_device__()[0])
    if kind not in _HOSTS:
        raise TypeError(f"field: expected an array in host or CUDA memory, got DLPack device type {kind}")
    return import_module(_HOSTS[kind])


def _lend(host: Any, array: Any) -> Any:
    if getattr(array, "requires_grad", False):
        raise TypeError(
            "field: expected a tensor that records nothing for autograd, got one with requires_grad; pass tensor.detach(): "
            "gradients are those of `grad` and `vjp`"
        )
    for pending in ("resolve_conj", "resolve_neg"):  # PyTorch conjugates and negates lazily
        if hasattr(array, pending):
            array = getattr(array, pending)()
    found = host.from_dlpack(array)
    return found if getattr(found.flags, "writeable", True) else found.copy()


def _is_foreign(value: Any) -> bool:
    return is_lent(value) and hasattr(value, "__dlpack__")


def _owned(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and getattr(value, "ndim", 0) > 0


def _each(value: Any, change: Callable[[Any], Any], wanted: Callable[[Any], bool]) -> Any:
    """A value with its arrays changed, also those inside tuples and lists."""
    if wanted(value):
        return change(value)
    if isinstance(value, tuple | list):
        items = [_each(item, change, wanted) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
