"""The API reference: one page for each public module of gaugeflow, written into ``docs/api`` before every build.

A package shows what its face exports (``__all__``), by the modules that define it; a module without ``__all__`` shows
every name that it defines and that does not begin with an underscore.  Nothing is listed by hand but the order of modules.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

from gaugeflow import typing as protocols

SECTIONS = {
    "Fields": ("lattice", "random", "groups", "tree", "typing", "errors"),
    "Theories": ("actions", "priors"),
    "Flows": ("flows", "nn", "training"),
    "Sampling": ("samplers", "ensembles"),
    "Quarks": ("operators", "solvers", "determinants", "hadrons"),
    "Measurements": ("observables", "analysis", "plots"),
    "Files and runs": ("io", "runfile", "systems", "filesystem", "progress"),
    "Other programs": ("interop", "lending"),
    "Machines": ("backend", "devices", "domains", "bench"),
    "Extending": ("check", "kernels", "namespaces"),
}
"""Every public module below ``gaugeflow``, in the order of the reference."""

NOT_SHOWN = {
    "sites": "formulas behind the kernels",
    "cli": "the command, which has a page of its own",
    "embed": "what runs inside host programs, which have a page of their own",
}
"""Packages without a face for Python programs, and why."""

SPELLED = {"hmc": "HMC", "su": "SU(N)", "cg": "CG", "bicgstab": "BiCGStab"}
"""Names of modules that are not words."""

TABLE = (".. list-table::", "   :class: autosummary longtable", "   :widths: 30 70", "")


class Public(NamedTuple):
    """A public name of a module."""

    name: str
    value: Any
    home: str
    """Module that defines it."""
    doc: str


@cache
def _constants(module: ModuleType) -> dict[str, str]:
    """Names that a module assigns at its top level, with the strings below them."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(targets[0], ast.Name):
            text = getattr(getattr(following, "value", None), "value", "")
            found[targets[0].id] = inspect.cleandoc(text) if isinstance(text, str) else ""
    return found


def _described(module: ModuleType, name: str) -> Public:
    value = getattr(module, name)
    if name in (own := _constants(module)):
        return Public(name, value, module.__name__, own[name])
    if inspect.isclass(value) or inspect.isfunction(value):
        return Public(name, value, value.__module__, inspect.getdoc(value) or "")
    imports = (node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ImportFrom))
    (home,) = {node.module for node in imports for alias in node.names if (alias.asname or alias.name) == name}
    return Public(name, value, str(home), _constants(import_module(str(home)))[name])


@cache
def public(name: str) -> list[Public]:
    """Public names of a module, in the order of the page."""
    module = import_module(name)
    if hasattr(module, "__all__"):
        names = [_described(module, entry) for entry in module.__all__]
        return sorted(names, key=lambda entry: entry.home)
    defined = [
        entry
        for entry, value in vars(module).items()
        if not entry.startswith("_")
        and not isinstance(value, TypeVar | ModuleType)
        and not (name != "gaugeflow.typing" and hasattr(protocols, entry))
        and (entry in _constants(module) or getattr(value, "__module__", None) == name)
    ]
    return [_described(module, entry) for entry in defined]


def modules() -> list[str]:
    """Names of all modules of the reference."""
    return [f"gaugeflow.{name}" for section in SECTIONS.values() for name in section]


def _summary(doc: str) -> str:
    """The first sentence; the point of an abbreviated journal does not end it."""
    end = r"(?<=[.])(?<!Phys\.)(?<!Rev\.)(?<!Nucl\.)(?<!Lett\.)\s(?=[A-Z])"
    return re.split(end, " ".join(doc.split("\n\n")[0].split()))[0]


def _linked(text: str) -> str:
    return re.sub(r"``docs/([a-z0-9_/]+)\.md``", r":doc:`docs/\1.md </\1>`", text)


def with_formulas(lines: list[str]) -> list[str]:
    """Indented blocks are formulas: shown as they stand, not as quotations."""
    found: list[str] = []
    before = ""  # the first line of the last paragraph that is not indented
    for index, line in enumerate(lines):
        starts = not found or not found[-1].strip()
        if starts and line.startswith("  ") and before and not re.match(r"[-*+] |\d+\. |\.\. |>>>", before):
            found += ["::", ""]
            before = ""
        elif starts and line[:1].strip():
            before = line
        if set(line) == {"-"} and index:
            before = "" if lines[index - 1] != "Notes" else "Notes"
        found.append(line)
    return found


def _module_doc(name: str) -> str:
    text = inspect.getdoc(import_module(name)) or ""
    return _linked("\n".join(with_formulas(text.splitlines())))


def _heading(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def _table(names: list[Public]) -> list[str]:
    """Names with the first sentences of what is said about them."""
    rows = list(TABLE)
    for entry in names:
        rows += [f"   * - :py:obj:`{entry.name}`", f"     - {_summary(entry.doc)}"]
    return [*rows, ""]


def _directive(entry: Public) -> list[str]:
    if inspect.isclass(entry.value):
        error = issubclass(entry.value, BaseException)
        return [f".. autoexception:: {entry.name}" if error else f".. autoclass:: {entry.name}", ""]
    if inspect.isfunction(entry.value):
        return [f".. autofunction:: {entry.name}", ""]
    shown = repr(entry.value)
    value = [f"   :value: {shown}"] if len(shown) < 80 and " object at " not in shown else []
    return [f".. py:data:: {entry.name}", *value, "", *(f"   {line}" for line in entry.doc.splitlines()), ""]


def _title(name: str, home: str) -> str:
    """What a module below ``name`` is about, from its path."""
    *families, last = home.removeprefix(f"{name}.").split(".")
    words = SPELLED.get(last, last.replace("_", " "))
    text = f"{families[0]}: {words}" if families else words
    return text[0].upper() + text[1:]


def page(name: str) -> str:
    """The page of a module."""
    names = public(name)
    lines = [*_heading(name, "="), f".. py:module:: {name}", "", _module_doc(name), ""]
    lines += _table(names)
    homes = sorted({entry.home for entry in names})
    for home in homes:
        inside = [entry for entry in names if entry.home == home]
        if home != name:
            lines += _heading(_title(name, home), "-")
            if home.removeprefix(f"{name}.") not in {entry.name for entry in names}:  # a function may have its name
                lines += [f".. py:module:: {home}", "", f".. py:currentmodule:: {name}", ""]
            lines += [_module_doc(home), ""]
        for entry in inside:
            lines += _directive(entry)
    return "\n".join(lines)


def _index() -> str:
    lines = [*_heading("API reference", "="), "Every public name, with the module that it is imported from.", ""]
    for section, names in SECTIONS.items():
        lines += [*_heading(section, "-"), *TABLE]
        for name in names:
            lines += [f"   * - :doc:`gaugeflow.{name} <gaugeflow.{name}>`"]
            lines += [f"     - {_summary(inspect.getdoc(import_module(f'gaugeflow.{name}')) or '')}"]
        lines += ["", ".. toctree::", "   :hidden:", "", *(f"   gaugeflow.{name}" for name in names), ""]
    return "\n".join(lines)


def write_pages(app: Sphinx) -> None:
    """Write the pages whose text has changed, and remove those of modules that are gone."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    texts = {"index.rst": _index(), **{f"{name}.rst": page(name) for name in modules()}}
    for old in folder.iterdir():
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


class _Written:
    """A default value as it is written in the reference."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _default(value: Any, parameter: inspect.Parameter) -> Any:
    """Constants by their names; what a dataclass makes anew for every object as a call."""
    found = parameter.default
    if is_dataclass(value):
        factories = {entry.name: entry.default_factory for entry in fields(value)}
        factory = factories.get(parameter.name, MISSING)
        if factory is not MISSING:
            return _Written(f"{factory.__name__}()" if isinstance(factory, type) else "...")
    named = [entry for name in modules() for entry in public(name) if entry.value is found]
    constants = [entry.name for entry in named if type(found).__module__.startswith("gaugeflow")]
    return _Written(constants[0]) if constants else found


def _signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Signatures with the annotations that the source has; protocols are not called."""
    if what == "class" and getattr(value, "_is_protocol", False):
        return "", None
    if arguments is None or not callable(value):
        return None
    found = inspect.signature(value)
    shown = [entry.replace(default=_default(value, entry)) for entry in found.parameters.values()]
    found = found.replace(parameters=shown)
    if what == "method" and "self" in found.parameters:
        found = found.replace(parameters=list(found.parameters.values())[1:])
    if inspect.isclass(value):
        found = found.replace(return_annotation=inspect.Signature.empty)
    text = stringify_signature(found, unqualified_typehints=True)
    arguments, _, result = text.rpartition(" -> ")
    return (arguments, result) if arguments else (text, None)


def _docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Files of the documentation become links to their pages, indented blocks formulas."""
    lines[:] = [_linked(line) for line in with_formulas(lines)]


def _foreign(app: Sphinx, env: Any, node: Any, text: Any) -> Any:
    """Annotations name types of other libraries as well: only references that were written as such must resolve."""
    return None if "refexplicit" in node or node.get("refdomain") != "py" else text


def _skip(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples that only say which number they are."""
    return True if (getattr(value, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to a build."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before numpydoc
    app.connect("missing-reference", _foreign)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
