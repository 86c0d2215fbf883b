"""Limits of time, threads of a batch job, and what its log shows."""

import io
import math
import signal
import time

import pytest

from gaugeflow.cli.launch import share_of_cores
from gaugeflow.cli.stopping import MARGIN, Stopped, seconds_left, stopping
from gaugeflow.progress import ProgressLog


def test_limits():
    assert seconds_left(None, {}) == math.inf
    assert seconds_left(1.5, {"SLURM_JOB_END_TIME": "1"}) == 90.0  # what the user says comes first
    end = str(time.time() + 1000.0)
    assert seconds_left(None, {"SLURM_JOB_END_TIME": end}) == pytest.approx(1000.0 - MARGIN, abs=1.0)
    assert seconds_left(None, {"SLURM_JOB_END_TIME": "1"}) == 1.0
    with pytest.raises(ValueError, match="SLURM_JOB_END_TIME: expected seconds since 1970, got 'soon'"):
        seconds_left(None, {"SLURM_JOB_END_TIME": "soon"})


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_time_is_up():
    with pytest.raises(Stopped, match="the limit of time is reached"), stopping(0.002):
        time.sleep(20.0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with stopping(10.0):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 100.0


def test_minutes_of_a_command(gaugeflow, tmp_path):
    """A run of heat bath that would take days ends in time, with status 75."""
    path = tmp_path / "run.toml"
    path.write_text(
        '[lattice]\nshape = [8, 8]\n[group]\nn = 1\n[source]\nbeta = 1.0\n[output]\ndir = "out"\n'
        "[sampler]\nchains = 2\nconfigurations = 100000000\nseparation = 100\nburn_in = 0\n"
    )
    text = gaugeflow("sample", path, "--minutes", 0.01, "--backend", "reference", status=75)
    assert text.startswith("gaugeflow: stopped: the limit of time is reached")


def test_threads_of_a_task(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert share_of_cores() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1000000")
    assert share_of_cores() < 1000000  # no more than the process may run on
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    assert share_of_cores() is None


def test_threads_of_processes_on_the_same_cores(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert share_of_cores(1, {}) is None
    assert share_of_cores(1000000, {}) == 1
    assert share_of_cores(1, {"SLURM_CPUS_PER_TASK": "1"}) == 1


def test_log_of_progress():
    now, stream = [0.0], io.StringIO()
    log = ProgressLog(60.0, stream, lambda: now[0])
    for done in range(1, 301):
        now[0] = done
        log("steps", done, 1000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "steps: 60 of 1000, 0:00:59 passed, 0:15:40 left"
