"""Values of a run file beside the schema of their sections."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints


def section(path: Path, cls: type, name: str, table: object) -> Any:
    where = f"{path}: [{name}]"
    if not isinstance(table, Mapping):
        raise ValueError(f"{path}: {name}: expected a section [{name}], found {table!r}")
    known = {entry.name: entry for entry in fields(cls)}
    kinds = get_type_hints(cls)
    values = {key: _value(f"{where} {key}", kinds[key], known[key], value) for key, value in table.items()}
    return cls(**values)


def check_names(where: str, what: str, found: Iterable[str], allowed: Iterable[str]) -> None:
    names = sorted(allowed)
    for name in found:
        if name not in names:
            raise ValueError(f"{where}: unknown {what} {name!r}{_hint([name], names)}; allowed: {', '.join(names)}")


def _hint(found: Sequence[object], choices: Sequence[object]) -> str:
    """The choice that was perhaps meant."""
    words = [choice for choice in choices if isinstance(choice, str)]
    close = [match for item in found for match in difflib.get_close_matches(str(item), words, n=1) if item != match]
    return f" (did you mean {close[0]!r}?)" if close else ""


def _value(where: str, kind: Any, entry: Field[Any], value: object) -> Any:
    """The value as the annotation wants it, or ``ValueError``; one value will do where a list is expected."""
    many = get_origin(kind) is tuple
    one = get_args(kind)[0] if many else kind
    items: list[Any] = value if many and isinstance(value, list) else [value]
    if not items or not all(_fits(one, entry.metadata, item) for item in items):
        hint = _hint(items, get_args(one))
        raise ValueError(f"{where}: expected {expected(kind, entry)}, found {value!r}{hint}")
    converted = tuple(float(item) if one is float else item for item in items)
    return converted if many else converted[0]


def _fits(kind: Any, limits: Mapping[str, Any], item: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(item == choice and type(item) is type(choice) for choice in get_args(kind))
    if kind is str:
        return isinstance(item, str) and item != ""
    if isinstance(item, bool) or not isinstance(item, int if kind is int else (int, float)):
        return False
    return math.isfinite(item) and item >= limits.get("least", item) and item > limits.get("above", -math.inf)


def expected(kind: Any, entry: Field[Any]) -> str:
    """What is allowed, in words."""
    if get_origin(kind) is tuple:
        one = expected(get_args(kind)[0], entry)
        return f"a list, each entry {one}"
    if get_origin(kind) is Literal:
        return " | ".join(repr(choice) for choice in get_args(kind))
    if kind is str:
        return "text"
    limits = entry.metadata
    limit = f" > {limits['above']:g}" if "above" in limits else ""
    if limits.get("least", -math.inf) > -math.inf:
        limit = f" >= {limits['least']:g}"
    return ("an integer" if kind is int else "a number") + limit
