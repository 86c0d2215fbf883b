"""What a contract check found: errors by name, complaints, arguments that changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from array_api_compat import is_array_api_obj

from gaugeflow.errors import GaugeflowError
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Array


class ContractError(GaugeflowError, AssertionError):
    """An implementation breaks the contract of its protocol."""


class Report:
    """Errors by name, and the complaints about those that are too large."""

    def __init__(self, subject: object) -> None:
        self._subject = f"{type(subject).__module__}.{type(subject).__qualname__}"
        self._errors: dict[str, float] = {}
        self._complaints: list[str] = []

    def measure(self, name: str, error: Any, tolerance: float) -> None:
        """Record an error, a number or an array of which the largest counts; NaN is too large for every tolerance."""
        worst = float(array_namespace(error).max(error)) if is_array_api_obj(error) else float(error)
        self._errors[name] = max(worst, self._errors.get(name, 0.0))
        if not worst <= tolerance:
            self._complaints.append(f"{name}: {worst:.3g} exceeds {tolerance:.3g}")

    def require(self, condition: bool, complaint: str) -> None:
        """Raise at once where nothing can be measured any more."""
        if not condition:
            raise ContractError(f"{self._subject}: {complaint}")

    def like(self, name: str, found: Array, expected: Array) -> None:
        """Require the shape and the type of another array."""
        self.require(
            tuple(found.shape) == tuple(expected.shape) and found.dtype == expected.dtype,
            f"{name}: expected {expected.dtype} {tuple(expected.shape)}, got {found.dtype} {tuple(found.shape)}",
        )

    def per_configuration(self, name: str, found: Array, batch: int, stacked: bool = False) -> None:
        """Require ``(batch,)`` float64, or also ``(k, batch)``."""
        xp = array_namespace(found)
        shape = tuple(found.shape)
        good = shape == (batch,) or (stacked and len(shape) == 2 and shape[1] == batch)
        expected = f"({batch},)" + (f" or (k, {batch})" if stacked else "")
        self.require(
            good and found.dtype == xp.float64, f"{name}: expected float64 {expected}, got {found.dtype} {shape}"
        )

    def finish(self) -> dict[str, float]:
        """The errors, if all are within tolerance."""
        if self._complaints:
            measured = ", ".join(f"{k} {v:.3g}" for k, v in self._errors.items())
            raise ContractError(f"{self._subject}: {'; '.join(self._complaints)} (measured: {measured})")
        return self._errors


class Unchanged:
    """Context in which arguments must not change."""

    def __init__(self, report: Report, *arguments: Any) -> None:
        self._report, self._arguments = report, arguments

    def __enter__(self) -> None:
        self._before = copy.deepcopy(self._arguments)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._report.require(equal(self._before, self._arguments), "an argument was changed")


def arrays(value: Any, name: str = "") -> Iterator[tuple[str, Array]]:
    """The arrays in nested mappings, sequences and dataclasses."""
    if is_array_api_obj(value):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from arrays(item, f"{name}.{key}")
    elif isinstance(value, tuple | list):
        for key, item in enumerate(value):
            yield from arrays(item, f"{name}.{key}")
    elif hasattr(value, "__dataclass_fields__"):
        for key in value.__dataclass_fields__:
            yield from arrays(getattr(value, key), f"{name}.{key}")


def equal(a: Any, b: Any) -> bool:
    """Whether all arrays of two values of one structure are equal bit for bit."""
    pairs = list(zip(arrays(a), arrays(b), strict=True))
    return all(bool(array_namespace(x).all(x == y)) for (_, x), (_, y) in pairs)
