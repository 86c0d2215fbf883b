"""What the page on hadrons shows: its examples run as they stand."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from gaugeflow import io

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "hadrons.md").read_text()
CONFIGURATION, FIRST, LOOPS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(MASS,) = re.findall(r"^```{code-block} python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_first_propagator_and_loops(folder, capsys):
    scope = {}
    assert len(FIRST.strip().splitlines()) <= 12
    exec(compile(CONFIGURATION, "hadrons.md", "exec"), scope)
    exec(compile(FIRST, "hadrons.md", "exec"), scope)
    pion = np.array([float(x) for x in re.findall(r"[\d.]+e?[-+\d]*", capsys.readouterr().out)])
    assert len(pion) == 8
    assert np.all(pion > 0)
    assert np.all(np.diff(pion[:4]) < 0)
    exec(compile(LOOPS, "hadrons.md", "exec"), scope)
    condensate, slope = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    # The trace of D^-1 is close to that of 1 for heavy quarks, and the slope is what the difference says.
    assert condensate == pytest.approx(2 * 0.13 * 12, rel=0.05)
    assert slope == pytest.approx(2 * (condensate / 0.26 - 12) * 512 / 0.13, rel=1e-9)


def test_mass_from_a_file(folder, capsys):
    """The correlator of a known mass comes back."""
    rng = np.random.default_rng(1)
    (folder / "hadrons").mkdir()
    t = np.arange(16)
    exact = np.cosh(0.4 * (t - 8))
    values = exact * (1 + 0.02 * rng.normal(size=(40, 1, 1, 16))) + 0j
    columns = {"correlators": values, "chain": np.zeros(40, dtype=int), "id": np.arange(40)}
    attributes = {"labels": {"channel": ["pion"], "momentum": [[0, 0, 0]]}}
    io.write_table("hadrons/hadrons.h5", columns, attributes=attributes)
    exec(compile(MASS, "hadrons.md", "exec"), {})
    assert float(re.search(r"0\.\d+", capsys.readouterr().out)[0]) == pytest.approx(0.4, abs=0.01)


def test_costs(folder, monkeypatch, capsys):
    arguments = [
        "hadron_costs.py",
        "--shape",
        "4x4x4x4",
        "--kappa",
        "0.1",
        "--repeat",
        "1",
        "--steps",
        "1",
        "--solvers",
        "cg",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(DOCS / "scripts" / "hadron_costs.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4x4x4x4, beta 6.0, Wilson(kappa 0.1)")
    assert [line.split("  ")[0] for line in lines[1:]][:2] == ["smeared source", "propagator, cg"]
    assert len(lines) == 7
