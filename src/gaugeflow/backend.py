"""Dispatch of kernels to back ends.

A *kernel* is one whole lattice sweep.  Its definition in :mod:`gaugeflow.kernels` is the array-API reference
implementation and carries the contract; a back end may offer a faster function of the same name and signature.
Nothing here converts, copies or caches fields: arrays go to the back end that accepts their type, or to the reference.
Arrays of PyTorch and JAX are lent to the back ends of NumPy and CuPy, see :mod:`gaugeflow.lending`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from gaugeflow.errors import BackendError
from gaugeflow.lending import is_lent, on_loan

F = TypeVar("F", bound=Callable[..., Any])
REFERENCE = "reference"
"""Name of the back end that every kernel brings along: its reference implementation."""


@runtime_checkable
class Backend(Protocol):
    """What an entry point of the group ``gaugeflow.backends`` must provide."""

    name: str

    def accepts(self, array: Any) -> bool:
        """Whether this back end computes on arrays of this type."""

    def lookup(self, kernel: str) -> Callable[..., Any] | None:
        """The implementation of a kernel, or None where the reference should serve."""


_chosen: ContextVar[str | None] = ContextVar("gaugeflow_backend", default=None)
kernels: dict[str, Callable[..., Any]] = {}
"""Every kernel by name, as dispatched; ``kernels[name].reference`` is the reference implementation."""


@functools.cache
def _load(name: str) -> Backend:
    found = {e.name: e for e in entry_points(group="gaugeflow.backends")}
    if name not in found:
        raise BackendError(f"unknown back end {name!r}; installed: {sorted([REFERENCE, *found])}")
    try:
        backend = found[name].load()
    except ImportError as error:
        raise BackendError(f"back end {name!r} cannot be loaded: {error}") from error
    if not isinstance(backend, Backend):
        raise BackendError(f"back end {name!r}: entry point {found[name].value} is not a Backend, got {type(backend)}")
    return backend


def available_backends() -> dict[str, str]:
    """Names of the installed back ends with ``"ready"`` or the reason why one cannot be loaded."""
    status = {REFERENCE: "ready"}
    for name in sorted(e.name for e in entry_points(group="gaugeflow.backends")):
        try:
            _load(name)
            status[name] = "ready"
        except BackendError as error:
            status[name] = str(error.__cause__ or error)
    return status


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Send the kernels called inside the ``with`` block (in this thread or task) to one back end.

    Parameters
    ----------
    name
        ``"reference"`` or the name of an installed back end, see :func:`available_backends`.

    Raises
    ------
    BackendError
        If the back end is unknown or cannot be loaded.
    """
    if name != REFERENCE:
        _load(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


@functools.cache
def _default_names() -> tuple[str, ...]:
    return tuple(sorted(e.name for e in entry_points(group="gaugeflow.backends")))


@functools.cache
def _backend_for(kind: type) -> str:
    """The installed back end for this array type; loads no back end."""
    module = kind.__module__.partition(".")[0]
    preferred = {"numpy": "numba", "cupy": "cupy"}.get(module)
    return preferred if preferred in _default_names() else REFERENCE


def chosen_backend() -> str | None:
    """Name of the back end that :func:`use_backend` chose here, None where arrays decide."""
    return _chosen.get()


def backend_of(array: Any) -> str:
    """Name of the back end that serves kernels on this array here and now."""
    kind: type = type(array)
    return _chosen.get() or _backend_for(kind)


def _implementation(name: str, array: Any) -> Callable[..., Any]:
    chosen = backend_of(array)
    reference = cast(Any, kernels[name]).reference
    if chosen == REFERENCE:
        return cast(Callable[..., Any], reference)
    backend = _load(chosen)
    if not backend.accepts(array):
        raise BackendError(f"back end {chosen!r} does not compute on {type(array).__module__}.{type(array).__name__}")
    return backend.lookup(name) or cast(Callable[..., Any], reference)


def kernel(*fields: str) -> Callable[[F], F]:
    """Declare a kernel; ``fields`` name the parameters that must be link-shaped fields of the lattice.

    The first parameter of a kernel is the lattice and its second the array that decides the back end.  The dispatched
    function checks shapes, that all fields share one type, and passes everything on unchanged.
    """

    def declare(reference: F) -> F:
        name = reference.__name__
        if name in kernels:
            raise ValueError(f"kernel {name!r} is declared twice")
        signature = inspect.signature(reference)
        positions = {p: i for i, p in enumerate(signature.parameters)}
        where = [(field, positions[field]) for field in fields]

        @functools.wraps(reference)
        def dispatched(*args: Any, **options: Any) -> Any:
            if options:
                bound = signature.bind(*args, **options)
                bound.apply_defaults()
                args = bound.args
            lattice, first = args[0], args[1]
            sizes = None
            for field, position in where:
                value = args[position]
                found = lattice.check_links(value, field)
                if sizes is not None and found != sizes:
                    raise ValueError(f"{name}: {field} has (colours, lanes) {found}, {where[0][0]} has {sizes}")
                if type(value) is not type(first):
                    raise TypeError(f"{name}: {field} is a {type(value)}, expected {type(first)} like the first array")
                sizes = found
            if is_lent(first) and _chosen.get() != REFERENCE:
                return on_loan(dispatched, args, first)
            return _implementation(name, first)(*args)

        cast(Any, dispatched).reference = reference
        kernels[name] = dispatched
        return cast(F, dispatched)

    return declare


def offered(backend: str, name: str) -> Callable[..., Any] | None:
    """What a back end offers besides kernels (``peak``, ``status``, ...), None where it does not."""
    for entry in entry_points(group="gaugeflow.backends", name=backend):
        return cast("Callable[..., Any] | None", getattr(entry.load(), name, None))
    return None
