"""``gaugeflow sample``: right distribution, files, and continuation bit for bit."""

import os
import re
import signal

import numpy as np
import pytest

from gaugeflow.io import EnsembleFile, read, read_table
from gaugeflow.samplers import HeatBath

RUN = """
[lattice]
shape = [8, 8]
fold = [2, 2]
[source]
beta = 4.0
[sampler]
chains = 2
burn_in = 20
configurations = {configurations}
separation = 4
seed = 5
[output]
dir = "{dir}"
{more}
"""


@pytest.fixture
def runfile(tmp_path):
    def write(configurations, dir="out", more=""):
        path = tmp_path / "run.toml"
        path.write_text(RUN.format(configurations=configurations, dir=dir, more=more))
        return path

    return write


def _ensemble(folder):
    with EnsembleFile.open(folder / "ensemble.h5") as file:
        return file.read(0, len(file)), file.attributes


def test_distribution_and_files(gaugeflow, runfile, tmp_path):
    """The plaquette of 2D SU(3) at beta = 4 is 0.2796191494 exactly; five standard deviations, fixed seed."""
    result = gaugeflow("sample", runfile(300), "--json")
    assert list(result) == [
        "dir",
        "shape",
        "n_colours",
        "beta",
        "anisotropy",
        "chains",
        "configurations",
        "plaquette",
    ]
    plaquette = result["plaquette"]
    assert abs(plaquette["mean"] - 0.2796191494) < 5 * plaquette["error"]
    assert plaquette["error"] < 0.002
    stored, attributes = _ensemble(tmp_path / "out")
    assert stored.links.shape == (600, 2, 8, 8, 3, 3)
    assert list(stored.id[:4]) == [0, 0, 1, 1]
    assert list(stored.chain[:4]) == [0, 1, 0, 1]
    assert attributes["seed"] == 5
    assert attributes["parameters"]["source"]["beta"] == 4.0
    columns, _ = read_table(tmp_path / "out/history.h5")
    assert columns["plaquette"].shape == (300, 2)
    assert columns["plaquette"].mean() == pytest.approx(plaquette["mean"], rel=1e-12)


def test_interrupted_run_continues_bit_for_bit(gaugeflow, runfile, tmp_path, monkeypatch):
    gaugeflow("sample", runfile(6, dir="whole"), "--json")
    step = HeatBath.step

    def interrupted(self, rng, state):
        if state.step == 30:
            raise KeyboardInterrupt
        return step(self, rng, state)

    monkeypatch.setattr(HeatBath, "step", interrupted)
    text = gaugeflow("sample", runfile(4, dir="pieces"), status=130)
    assert "interrupted: 2 of 4 configurations a chain are stored; give the same command again" in text
    monkeypatch.setattr(HeatBath, "step", step)
    gaugeflow("sample", runfile(4, dir="pieces"), "--json")
    gaugeflow("sample", runfile(6, dir="pieces"), "--json")
    whole, _ = _ensemble(tmp_path / "whole")
    pieces, _ = _ensemble(tmp_path / "pieces")
    np.testing.assert_array_equal(pieces.links, whole.links)
    np.testing.assert_array_equal(pieces.id, whole.id)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs the signals of batch systems")
def test_a_signal_of_the_batch_system_stops_and_the_next_job_goes_on(gaugeflow, runfile, tmp_path, monkeypatch):
    gaugeflow("sample", runfile(4, dir="whole"), "--json")
    step = HeatBath.step

    def warned(self, rng, state):
        if state.step in (30, 31):  # the second signal comes while the run is about to end
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, rng, state)

    monkeypatch.setattr(HeatBath, "step", warned)
    text = gaugeflow("sample", runfile(4, dir="jobs"), status=75)
    assert "stopped: received SIGUSR1; 2 of 4 configurations a chain are stored; give the same command again" in text
    monkeypatch.setattr(HeatBath, "step", step)
    gaugeflow("sample", runfile(4, dir="jobs"), "--json")
    whole, _ = _ensemble(tmp_path / "whole")
    jobs, _ = _ensemble(tmp_path / "jobs")
    np.testing.assert_array_equal(jobs.links, whole.links)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_single_files(gaugeflow, runfile, tmp_path):
    gaugeflow("sample", runfile(2, more='format = "scidac"\nprecision = 32'), "--threads", 1)
    files = sorted(path.name for path in (tmp_path / "out").glob("*.scidac"))
    assert files == [f"run-{chain}-00000{number}.scidac" for chain in (0, 1) for number in (0, 1)]
    results = gaugeflow("measure", *(tmp_path / "out" / name for name in files), "--json")
    assert len({result["plaquette"] for result in results}) == 4
    assert read(tmp_path / "out" / files[0]).metadata["precision"] == 32


def test_other_parameters_are_refused(gaugeflow, runfile, tmp_path):
    path = runfile(1)
    gaugeflow("sample", path, "--json")
    text = path.read_text()
    path.write_text(text.replace("beta = 4.0", "beta = 5.0"))
    message = r"ensemble.h5 was sampled with other parameters: \[source\] beta was 4.0 and is 5.0$"
    assert re.search(message, gaugeflow("sample", path, status=2), re.MULTILINE)
    path.write_text(text)
    (tmp_path / "out/ensemble.h5").unlink()
    assert "ensemble.h5 is missing beside sampler.h5" in gaugeflow("sample", path, status=2)


@pytest.mark.parametrize(
    ("format", "n", "message"), [("nersc", 3, "expected a 4D SU(N) field"), ("ildg", 1, "expected a 4D field")]
)
def test_formats_that_cannot_hold_the_field_are_refused_at_once(
    gaugeflow, runfile, tmp_path, monkeypatch, format, n, message
):
    monkeypatch.setattr(HeatBath, "step", None)  # no work is begun
    path = runfile(1, more=f'format = "{format}"\n[group]\nn = {n}')
    text = gaugeflow("sample", path, status=2)
    assert "run.toml: [output] format: " in text
    assert "shape (8, 8)" in text
    assert message in text
    assert not (tmp_path / "out").exists()
