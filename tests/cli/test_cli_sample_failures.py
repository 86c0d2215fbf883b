"""``gaugeflow sample`` against kills, full disks, folders that cannot be written, and a second run."""

import errno
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from gaugeflow.io import EnsembleFile, ensemble

RUN = """
[lattice]
shape = [8, 8]
[group]
n = {n}
[source]
beta = 4.0
[sampler]
chains = 2
burn_in = 4
configurations = {configurations}
separation = 2
seed = 5
[output]
dir = "{dir}"
format = "{form}"
"""
PROGRAM = "import sys; from gaugeflow.cli import main; main(sys.argv[1:])"


@pytest.fixture
def runfile(tmp_path):
    """Factory of run files in a folder of their own; they differ in length, place and format only."""

    def write(configurations, dir="out", form="ensemble", n=3):
        path = tmp_path / "run.toml"
        path.write_text(RUN.format(configurations=configurations, dir=dir, form=form, n=n))
        return path

    return write


def start(path, **options):
    """The command in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, "sample", str(path), "--json", "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def contents(folder):
    """Links, numbers and chains in the ensemble."""
    with EnsembleFile.open(folder / "ensemble.h5") as file:
        found = file.read(0, len(file))
    return found.links, found.id, found.chain


def same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def step_of(path):
    with h5py.File(path) as file:
        return int(file.attrs["step"])


def wait_for_lock(process, folder):
    """Wait until the process has the folder for itself; False if it ended before."""
    lock, deadline = folder / "sampler.h5.lock", time.monotonic() + 120
    while process.poll() is None:
        if lock.exists() and f"process {process.pid} on" in lock.read_text():
            return True
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return False


def kill_at_random(gaugeflow, runfile, tmp_path, kills, configurations):
    """SIGKILL after random times, then the rest: the ensemble of an undisturbed run, bit for bit."""
    path, rng, killed = runfile(configurations), random.Random(3), 0
    for _ in range(kills):
        process = start(path)
        if wait_for_lock(process, tmp_path / "out"):
            time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed > kills // 2
    gaugeflow("sample", path, "--json", "--threads", 1)
    pieces = contents(tmp_path / "out")
    gaugeflow("sample", runfile(configurations, dir="whole"), "--json", "--threads", 1)
    same(pieces, contents(tmp_path / "whole"))
    assert len(pieces[0]) == 2 * configurations
    leftovers = {"sampler.h5.tmp"} & {path.name for path in (tmp_path / "out").iterdir()}
    assert not leftovers


def test_killed_at_random(gaugeflow, runfile, tmp_path):
    kill_at_random(gaugeflow, runfile, tmp_path, 2, 100)


@pytest.mark.slow
def test_killed_at_random_often(gaugeflow, runfile, tmp_path):
    kill_at_random(gaugeflow, runfile, tmp_path, 40, 1000)


def test_two_runs_refuse_each_other(gaugeflow, runfile, tmp_path):
    """The second ends with the first one's name, and disturbs nothing: before, during and after the first output."""
    path = runfile(2000)
    process = start(path)
    try:
        assert wait_for_lock(process, tmp_path / "out")
        message = gaugeflow("sample", path, status=2)
        assert re.search(f"out/sampler.h5 is in use by another run: process {process.pid} on ", message)
        while not (tmp_path / "out/ensemble.h5").exists():
            time.sleep(0.01)
        assert "in use by another run" in gaugeflow("sample", path, status=2)
    finally:
        process.kill()
        process.communicate()


# ---- full disks --------------------------------------------------------------------------------------------------
def test_disk_fills_up_between_configurations(gaugeflow, runfile, tmp_path, monkeypatch):
    """No space for the seventh pair: a clear error, everything before is there, and the run goes on later."""
    allocate, calls = os.posix_fallocate, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 6 * 5 + 1:  # five datasets
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return allocate(*arguments)

    path = runfile(10)
    monkeypatch.setattr(ensemble.os, "posix_fallocate", full)
    message = gaugeflow("sample", path, status=2)
    assert message == f"gaugeflow: {tmp_path / 'out/ensemble.h5'}: No space left on device\n"
    assert len(contents(tmp_path / "out")[0]) == 12
    monkeypatch.undo()
    gaugeflow("sample", path, "--json")
    gaugeflow("sample", runfile(10, dir="whole"), "--json")
    same(contents(tmp_path / "out"), contents(tmp_path / "whole"))


def limited(size):
    """The process may not write beyond this size of a file: what a full disk does, without one."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}


def run_limited(path, size):
    """Exit status and message under a limit."""
    process = start(path, **limited(size))
    _, message = process.communicate(timeout=300)
    return process.returncode, message


def test_files_that_cannot_grow(gaugeflow, runfile, tmp_path):
    """A larger copy of the ensemble does not fit: one line, the old ensemble and the checkpoint are intact."""
    gaugeflow("sample", runfile(4), "--json")
    before, step = contents(tmp_path / "out"), step_of(tmp_path / "out/sampler.h5")
    size = (tmp_path / "out/ensemble.h5").stat().st_size
    status, message = run_limited(runfile(8), size + 1000)
    assert status == 2, message
    assert message == f"gaugeflow: {tmp_path / 'out/ensemble.h5'}: File too large\n"
    same(contents(tmp_path / "out"), before)
    assert step_of(tmp_path / "out/sampler.h5") == step
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ensemble.h5", "sampler.h5", "history.h5"}
    gaugeflow("sample", runfile(8), "--json")
    gaugeflow("sample", runfile(8, dir="whole"), "--json")
    same(contents(tmp_path / "out"), contents(tmp_path / "whole"))


def test_checkpoints_that_do_not_fit(gaugeflow, runfile, tmp_path):
    """A checkpoint of two chains is larger than one configuration: that file names itself, none is left half written."""
    status, message = run_limited(runfile(3, form="scidac"), 30_000)
    assert status == 2, message
    assert message == f"gaugeflow: {tmp_path / 'out/sampler.h5'}: File too large\n"
    assert not list((tmp_path / "out").glob("*sampler*"))
    status, message = run_limited(runfile(3, form="scidac"), 10_000)
    assert re.fullmatch(rf"gaugeflow: {tmp_path}/out/run-0-000000.scidac: File too large\n", message)
    assert not list((tmp_path / "out").glob(".*"))


# ---- folders that cannot be written ----------------------------------------------------------------------------------
def test_unwritable_folders(gaugeflow, runfile, tmp_path):
    (tmp_path / "file").write_text("no folder")
    assert re.search("file.*: (Not a directory|File exists)", gaugeflow("sample", runfile(1, dir="file"), status=2))
    message = gaugeflow("sample", runfile(1, dir="file/out"), status=2)
    assert re.search("file/out: Not a directory", message)
    if os.path.isdir("/proc/1"):
        message = gaugeflow("sample", runfile(1, dir="/proc/gaugeflow"), status=2)
        assert re.fullmatch("gaugeflow: /proc/gaugeflow: [^:]*\n", message)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to any folder")
def test_read_only_folder(gaugeflow, runfile, tmp_path):
    gaugeflow("sample", runfile(1), "--json")
    (tmp_path / "out").chmod(0o500)
    assert "sampler.h5.lock: Permission denied" in gaugeflow("sample", runfile(2), status=2)
    (tmp_path / "out").chmod(0o700)
    gaugeflow("sample", runfile(2), "--json")
