"""Locks where the file system has none, stale ones, and errors of the operating system with a name."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from gaugeflow import filesystem
from gaugeflow.errors import GaugeflowError, LockWarning
from gaugeflow.filesystem import FileLock, HeldError, named, open_without_locks, sync_folder
from gaugeflow.io import EnsembleFile
from gaugeflow.samplers import Checkpoint

fcntl = pytest.importorskip("fcntl")


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks; nobody has been told of it."""

    def flock(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(filesystem, "_without_locks", set())


@pytest.fixture
def quiet(no_locks):
    """The same, and everybody knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LockWarning)
        yield


def owner_of(path):
    return path.with_name(path.name + ".owner")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_one_warning_names_the_folder(tmp_path, no_locks, monkeypatch, code):
    def flock(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(LockWarning) as caught, FileLock(tmp_path / "a"), FileLock(tmp_path / "b"):
        pass
    (warning,) = caught
    assert str(warning.message).startswith(f"{tmp_path}: its file system cannot lock files ({os.strerror(code)})")
    assert list(tmp_path.iterdir()) == []


def test_two_owners_are_kept_apart(tmp_path, quiet):
    path = tmp_path / "x.lock"
    with FileLock(path):
        with pytest.raises(HeldError, match=f"held by process {os.getpid()} on "), FileLock(path):
            pass
        assert list(tmp_path.iterdir()) == [owner_of(path)]
    with FileLock(path):
        assert json.loads(owner_of(path).read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_says_who_has_it(tmp_path, quiet):
    message = f"x.h5 is in use by another run: process {os.getpid()} on "
    with Checkpoint(tmp_path / "x.h5"), pytest.raises(GaugeflowError, match=message), Checkpoint(tmp_path / "x.h5"):
        pass


TAKE_AND_DIE = """
import fcntl, os, sys, warnings
def flock(handle, operation):
    raise OSError(37, "No locks available")
fcntl.flock = flock
warnings.simplefilter("ignore")
from gaugeflow.filesystem import FileLock
FileLock(sys.argv[1]).__enter__()
os._exit(0)
"""


def test_the_owner_has_died_on_this_machine(tmp_path, quiet):
    path = tmp_path / "x.lock"
    subprocess.run([sys.executable, "-c", TAKE_AND_DIE, str(path)], check=True)
    left = json.loads(owner_of(path).read_text())
    with FileLock(path):
        assert json.loads(owner_of(path).read_text())["token"] != left["token"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [json.dumps({"owner": "process 1 on far", "machine": "far", "process": 1}), "", "[]"]
)
def test_the_owner_on_another_machine_has_been_silent(tmp_path, quiet, content):
    """Its last sign of life counts, by the clock of the file system; incomplete files count as somebody's, too."""
    path = tmp_path / "x.lock"
    owner_of(path).write_text(content)
    with pytest.raises(HeldError, match="process 1 on far" if "far" in content else "unknown"), FileLock(path):
        pass
    long_ago = time.time() - filesystem.STALE - 5
    os.utime(owner_of(path), (long_ago, long_ago))
    with FileLock(path):
        assert json.loads(owner_of(path).read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_the_owner_gives_signs_of_life(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(filesystem, "HEARTBEAT", 0.01)
    path = tmp_path / "x.lock"
    with FileLock(path):
        os.utime(owner_of(path), (1.0, 1.0))
        end = time.monotonic() + 10
        while owner_of(path).stat().st_mtime < 2.0:
            assert time.monotonic() < end
            time.sleep(0.005)
    assert "heartbeat" not in " ".join(thread.name for thread in threading.enumerate())


def test_an_owner_that_was_taken_for_dead_notices(tmp_path, quiet):
    checkpoint = Checkpoint(tmp_path / "x.h5")
    with checkpoint:
        checkpoint.save({}, 1, {})
        owner = owner_of(tmp_path / "x.h5.lock")
        owner.write_text(json.dumps({"owner": "process 1 on far", "machine": "far", "process": 1, "token": "new"}))
        with pytest.raises(GaugeflowError, match="another run has taken over"):
            checkpoint.save({}, 2, {})
    assert json.loads(owner.read_text())["token"] == "new"


def test_a_fork_does_not_give_back_what_its_parent_has(tmp_path, quiet):
    path = tmp_path / "x.lock"
    with FileLock(path) as lock:
        lock._claim._process += 1  # as in a forked process
        lock._claim.give_back()
        assert owner_of(path).exists()
        lock._claim._process -= 1


def test_a_faster_one_keeps_its_lock(tmp_path, quiet):
    """Two find the same stale lock: the slower one must not remove the lock that the faster one has made of it."""
    path = owner_of(tmp_path / "x.lock")
    path.write_text(json.dumps({"token": "new"}))
    filesystem._remove(path, {"token": "stale"})
    assert json.loads(path.read_text()) == {"token": "new"}
    filesystem._remove(path, {"token": "new"})
    filesystem._remove(path, {"token": "new"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_one_at_a_time(tmp_path, quiet, monkeypatch, links):
    """Eight threads, ten turns each, with a gap in which another one would be seen; also without hard links."""
    monkeypatch.setattr(filesystem, "_POLL", 0.001)
    if not links:

        def link(source, target):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    inside, seen = [], []

    def work():
        for _ in range(10):
            with FileLock(tmp_path / "x.lock", wait=True):
                inside.append(1)
                time.sleep(0.0005)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [1] * 80
    assert list(tmp_path.iterdir()) == []


def test_locks_of_the_kernel(tmp_path):
    """They end with the process that has them, and other errors than missing locks have the path in them."""
    path = tmp_path / "x.lock"
    take = "import sys, time; from gaugeflow.filesystem import FileLock\n"
    take += "with FileLock(sys.argv[1]):\n    print('taken', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", take, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "taken\n"
        with pytest.raises(HeldError, match=f"process {other.pid} on "), FileLock(path):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with FileLock(path):
            pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match=str(tmp_path)), FileLock(tmp_path / "none" / "x.lock"):
        pass


def test_errors_of_locks_are_named(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=f"{tmp_path / 'x.lock'}") as caught, FileLock(tmp_path / "x.lock"):
        pass
    assert caught.value.filename == str(tmp_path / "x.lock")


def test_named():
    with pytest.raises(OSError, match=r"disk\.h5") as caught, named("disk.h5"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "disk.h5")
    with pytest.raises(BlockingIOError, match=r"in use: 'x'"), named("x", "in use"):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    with pytest.raises(FileNotFoundError) as caught, named("x"):
        Path("absent").read_text()
    assert caught.value.filename == "absent"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("info", "--json"), ("--help",)])
def test_results_that_go_nowhere(unbuffered, arguments):
    """A full disk behind standard output, and a reader that has ended; Python has a buffer before it or none."""
    command = [sys.executable, "-c", "from gaugeflow.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == f"gaugeflow: standard output: {os.strerror(errno.ENOSPC)}\n"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        done.stdout.close()
        assert "Errno" not in done.stderr.read()


def test_folders_that_cannot_be_synchronised(tmp_path, monkeypatch):
    code = errno.EINVAL

    def fsync(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    sync_folder(tmp_path)
    code = errno.EIO
    with pytest.raises(OSError, match=str(tmp_path)):
        sync_folder(tmp_path)


def test_hdf5_without_locks(tmp_path, no_locks):
    asked = []

    def opener(locking):
        asked.append(locking)
        if locking:
            raise OSError(errno.ENOLCK, "unable to lock file")
        return "open"

    with pytest.warns(LockWarning, match=str(tmp_path)):
        assert open_without_locks(tmp_path / "x.h5", opener) == "open"
    assert asked == ["best-effort", False]

    def held(locking):
        raise BlockingIOError(errno.EAGAIN, "unable to lock file")

    with pytest.raises(BlockingIOError):
        open_without_locks(tmp_path / "x.h5", held)


NO_LOCKS = """
#include <errno.h>
int flock(int fd, int operation) { (void)fd; (void)operation; errno = ENOLCK; return -1; }
"""
RUN = """
[lattice]
shape = [4, 4]
[group]
n = 2
[source]
beta = 2.0
[sampler]
chains = 2
configurations = {configurations}
burn_in = 2
separation = 1
seed = 1
[output]
dir = "out"
"""
TWO_WRITERS = """
import subprocess
import sys
import numpy as np
from gaugeflow.io import EnsembleFile
links = np.broadcast_to(np.eye(2, dtype=complex), (1, 2, 2, 2, 2, 2))
with EnsembleFile.open(sys.argv[1], append=True) as file:
    before = len(file)
    program = "import sys; from gaugeflow.io import EnsembleFile; EnsembleFile.open(sys.argv[1], append=True)"
    other = subprocess.run([sys.executable, "-W", "ignore", "-c", program, sys.argv[1]], capture_output=True, text=True)
    error = other.stderr.splitlines()[-1]
    assert "BlockingIOError" in error and sys.argv[1] in error and "open for appending: process" in error, error
    file.append(links, id=[before])
    with EnsembleFile.open(sys.argv[1]) as other:
        assert len(other) == before + 1
with EnsembleFile.open(sys.argv[1], append=True) as file:
    assert len(file) == before + 1
"""


@pytest.fixture
def without_flock(tmp_path):
    """Factory: run Python with a C library whose ``flock`` fails, HDF5 included."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler, or no LD_PRELOAD")
    source, library = tmp_path / "no_locks.c", tmp_path / "no_locks.so"
    source.write_text(NO_LOCKS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
        )

    return run


def test_sample_without_flock(tmp_path, without_flock):
    """Runs, goes on, and gives the numbers of a file system that has locks; one warning."""
    command = ("-c", "from gaugeflow.cli import main; main()", "sample", "run.toml", "--backend", "reference")
    for configurations in (2, 4):
        (tmp_path / "run.toml").write_text(RUN.format(configurations=configurations))
        done = without_flock(*command)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("warning") == done.stderr.count("\n") == 1
        assert f"warning: {tmp_path / 'out'}: its file system cannot lock files" in done.stderr
    with EnsembleFile.open(tmp_path / "out" / "ensemble.h5") as file:
        assert len(file) == 8
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ensemble.h5", "history.h5", "sampler.h5"]


def test_ensembles_without_flock(tmp_path, without_flock):
    path = tmp_path / "e.h5"
    EnsembleFile.create(path, shape=(2, 2), n_colours=2).close()
    done = without_flock("-W", "ignore", "-c", TWO_WRITERS, path)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"e.h5", "no_locks.c", "no_locks.so"}
