"""``gaugeflow demo``: what it prints and writes, with a system that takes no time."""

import json
from dataclasses import dataclass

import pytest

from gaugeflow import systems
from gaugeflow.errors import ConvergenceError
from gaugeflow.filesystem import FileLock


@dataclass(frozen=True)
class _System:
    name: str = "small"
    summary: str = "one number"
    error: BaseException | None = None

    def run(self, *, out, seed, quick, progress):
        progress("counting", 1, 2)
        if self.error:
            raise self.error
        figure = out / "figure.png"
        figure.write_bytes(b"png")
        table = systems.Table("Numbers", ("what", "value"), (("seed", seed), ("[quick]", quick)))
        return systems.Report((table,), {"seed": seed}, (figure,), ("a note",))


@pytest.fixture
def offer(monkeypatch):
    return lambda system: monkeypatch.setattr(systems, "systems", lambda: {system.name: system})


def test_report(gaugeflow, offer, tmp_path):
    offer(_System())
    text = gaugeflow("demo", "small", "--out", tmp_path / "results", "--seed", 5, "--quick")
    assert "[quick]" in text
    assert "a note" in text
    assert f"wrote {tmp_path / 'results/figure.png'}" in text
    assert json.loads((tmp_path / "results/report.json").read_text()) == {"seed": 5}


def test_json_elsewhere(offer, gaugeflow, tmp_path):
    offer(_System())
    from click.testing import CliRunner

    from gaugeflow.cli import main

    arguments = ["demo", "small", "--out", str(tmp_path / "r"), "--json", str(tmp_path / "x.json")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert json.loads((tmp_path / "x.json").read_text()) == {"seed": 2401}


def test_errors(gaugeflow, offer, tmp_path):
    offer(_System(error=ConvergenceError("no inverse")))
    assert "gaugeflow: no inverse\n" in gaugeflow("demo", "small", "--out", tmp_path, status=1)
    offer(_System(error=KeyboardInterrupt()))
    text = gaugeflow("demo", "small", "--out", tmp_path, status=130)
    assert f"interrupted: give the same command again to go on from what is in {tmp_path}" in text
    assert "unknown system 'large': expected one of small" in gaugeflow("demo", "large", status=2)


def test_list(gaugeflow):
    assert "correlated-su3" in gaugeflow("demo", "--list")


def test_one_run_at_a_time(gaugeflow, offer, tmp_path):
    offer(_System())
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / "demo.lock"):
        assert "out is in use by another run" in gaugeflow("demo", "small", "--out", tmp_path / "out", status=2)
    gaugeflow("demo", "small", "--out", tmp_path / "out")


def test_default_folders(gaugeflow, offer, tmp_path, monkeypatch):
    """A quick run and a whole one do not meet: files of one are none of the other."""
    offer(_System())
    monkeypatch.chdir(tmp_path)
    gaugeflow("demo", "small")
    gaugeflow("demo", "small", "--quick")
    assert {path.parent.name for path in tmp_path.rglob("report.json")} == {"gaugeflow-small", "gaugeflow-small-quick"}
