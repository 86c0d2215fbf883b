"""The API reference: it has every public name once, and what docstrings say about parameters is true."""

import ast
import inspect
import io
import pkgutil
import re
import textwrap
from collections import Counter
from importlib import import_module
from itertools import pairwise

import pytest
from api_reference import NOT_SHOWN, SECTIONS, modules, page, public, with_formulas
from docutils.core import publish_doctree
from linked_code import targets, variables
from numpydoc.validate import validate

import gaugeflow

RULES = {
    "PR01": "parameters that are not documented beside those that are",
    "PR02": "parameters that do not exist",
    "PR07": "parameters without description",
    "RT03": "returned values without description",
    "GL08": "no docstring",
}
"""Of numpydoc. PR03, the order of parameters, refuses groups such as ``o_plus, o_minus``, which read better together."""


def test_every_module_is_shown():
    found = {module.name for module in pkgutil.iter_modules(gaugeflow.__path__)}
    assert {name for names in SECTIONS.values() for name in names} | set(NOT_SHOWN) == found


@pytest.mark.parametrize("name", modules())
def test_every_name_is_shown_once(name):
    lines = [line.split(":: ") for line in page(name).splitlines() if line.startswith(".. ")]
    kinds = (".. autoclass", ".. autoexception", ".. autofunction", ".. py:data")
    shown = Counter(line[1] for line in lines if line[0] in kinds)
    assert set(shown.values()) == {1}
    module = import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:
        body = ast.parse(inspect.getsource(module)).body
        names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        names = [entry for entry in names if not entry.startswith("_")]
        assert set(names) <= set(shown)
    else:
        assert set(names) == set(shown)


@pytest.mark.parametrize("name", modules())
def test_docstrings(name):
    """Every public object has one, methods included, and the chosen rules of numpydoc hold."""
    wrong = []
    for entry in public(name):
        full = f"{entry.home}.{entry.name}"  # the face may have a function and a module of one name
        if not entry.doc:
            wrong.append(f"{full}: no docstring")
        if not (inspect.isclass(entry.value) or inspect.isfunction(entry.value)):
            continue
        wrong += _faults(full, _fields(entry.value))
        wrong += _markup(full, inspect.getdoc(entry.value))
        for member, value in vars(entry.value).items():
            if not member.startswith("_") and inspect.isfunction(value):
                wrong += _faults(f"{full}.{member}", set())
                wrong += _markup(f"{full}.{member}", inspect.getdoc(value))
            elif not member.startswith("_") and isinstance(value, property) and not inspect.getdoc(value):
                wrong.append(f"{full}.{member}: no docstring")
    assert not wrong, "\n".join(wrong)


def _markup(name, doc):
    """Formulas in running text that docutils takes for marks of its own: bars and trailing underscores."""
    said = io.StringIO()
    publish_doctree("\n".join(with_formulas((doc or "").splitlines())), settings_overrides={"warning_stream": said})
    for line in said.getvalue().splitlines():
        if re.search(r"Undefined substitution|Unknown target name", line):
            yield f"{name}: {line}"


def _faults(name, fields):
    report = validate(name)
    documented = "Parameters\n---" in (report["docstring"] or "")
    for code, message in report["errors"]:
        if code == "PR01":
            missing = set(ast.literal_eval(message[message.index("{") : message.index("}") + 1])) - fields
            if documented and missing:
                yield f"{name}: not documented: {sorted(missing)}"
        elif code in RULES:
            yield f"{name}: {message}"


def _fields(value):
    """Fields of a class, inherited ones too, that have a string of their own."""
    found = set()
    for cls in inspect.getmro(value) if inspect.isclass(value) else ():
        if cls.__module__.startswith("gaugeflow"):
            body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
            found |= {
                node.target.id
                for node, text in pairwise(body)
                if isinstance(node, ast.AnnAssign) and isinstance(getattr(text, "value", None), ast.Constant)
            }
    return found


def test_names_in_the_text_of_pages():
    """Names are linked by every way to write them, but not where they mean two things or a variable."""
    found = targets()
    ways = ("HeatBath", "samplers.HeatBath", "gaugeflow.samplers.HeatBath")
    assert {found[way] for way in ways} == {"gaugeflow.samplers.HeatBath"}
    assert found["HeatBath.hot"] == "gaugeflow.samplers.HeatBath.hot"
    assert "Chain" not in found  # of flows, and of samplers
    assert {"log_det", "log_weight"} <= variables()


def test_names_of_journals_do_not_end_a_summary():
    summary = next(line for line in page("gaugeflow.samplers").splitlines() if "Three forces a step" in line)
    assert summary.endswith("Phys. Lett. A226 (1997) 344, scheme A, in the form of arXiv:1111.5059.")


def test_indented_blocks_are_formulas():
    text = [
        "Sum.",
        "",
        "With",
        "",
        "    a = b",
        "",
        "* a point",
        "",
        "    of two paragraphs",
        "",
        "Notes",
        "-----",
        "As",
        "",
        "  c",
    ]
    shown = with_formulas(text)
    assert shown[3:7] == ["", "::", "", "    a = b"]
    assert shown.count("::") == 2
    assert shown[-3:] == ["::", "", "  c"]
