"""Code in the text of a page becomes a link to the reference where it is a public name, or a call of one.

``HeatBath``, ``HeatBath.hot``, ``fit_linear(...)`` and ``analysis.fit`` are links; plain words such as ``fit`` or ``path`` are
not, for they may mean an option, a key of a run file or a variable.  Neither is a name that two modules export, nor one that
is also a parameter or a field somewhere, such as ``log_det``, unless it is called.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from api_reference import modules, public
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

NAME = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?P<call>\(.*\))?", re.DOTALL)
MARKED = re.compile(r"[A-Z].*[a-z]|.*[._]")
"""Class names, and names with a dot or an underscore in them."""


def variables() -> set[str]:
    """Names of the parameters and fields of everything public."""
    found: set[str] = set()
    for entry in (entry for module in modules() for entry in public(module)):
        if inspect.isclass(entry.value) or inspect.isfunction(entry.value):
            found |= {*getattr(entry.value, "__annotations__", {})}
            for value in (entry.value, *vars(entry.value).values()):
                if inspect.isfunction(value):
                    found |= {*inspect.signature(value).parameters}
    return found


def targets() -> dict[str, str]:
    """Full names of what can be linked, by every way to write them."""
    found: dict[str, set[str]] = {}
    for module in modules():
        for entry in public(module):
            full = f"{module}.{entry.name}"
            members = vars(entry.value) if inspect.isclass(entry.value) else {}
            inside = [name for name, value in members.items() if not name.startswith("_") and callable(value)]
            for name in (full, *(f"{full}.{member}" for member in inside)):
                last = name.removeprefix(f"{module}.")
                for way in (name, name.removeprefix("gaugeflow."), last):
                    found.setdefault(way, set()).add(name)
    return {way: full.pop() for way, full in found.items() if len(full) == 1}


def _collect(app: Sphinx) -> None:
    app.config.linked_code_targets = targets()
    app.config.linked_code_variables = variables()


def _link(app: Sphinx, document: nodes.document) -> None:
    for node in list(document.findall(nodes.literal)):
        if isinstance(node.parent, pending_xref | nodes.reference | nodes.title):
            continue
        match = NAME.fullmatch(node.astext())
        if match is None:
            continue
        variable = match["name"] in app.config.linked_code_variables
        if not match["call"] and (variable or not MARKED.match(match["name"])):
            continue
        target = app.config.linked_code_targets.get(match["name"])
        if target is not None:
            options: dict[str, Any] = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True}
            link = pending_xref("", refdoc=app.env.docname, refwarn=True, **options)
            node.replace_self(link)
            link += node


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to a build."""
    app.add_config_value("linked_code_targets", {}, "")
    app.add_config_value("linked_code_variables", set(), "")
    app.connect("builder-inited", _collect)
    app.connect("doctree-read", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
