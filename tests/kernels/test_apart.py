"""The process in which kernels are compiled gets the same bits as those that find them in the cache."""

import os
import pickle
import struct
import subprocess
import sys

import pytest

from gaugeflow_numba import process
from gaugeflow_numba._jit import cache_directory

PROGRAM = """
import hashlib
import numpy as np
from gaugeflow import kernels
from gaugeflow.lattice import Lattice
lattice, rng = Lattice((4, 4)), np.random.default_rng(1)
links = rng.normal(size=(2, 16, 3, 3, 8)) + 1j * rng.normal(size=(2, 16, 3, 3, 8))  # group or not: nothing else compiles
results = kernels.plaquette(lattice, links), kernels.reunitarise(lattice, links)
print([hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in results])
"""


def _run(cache, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", PROGRAM],
        env={**os.environ, "GAUGEFLOW_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""  # no helper left behind
    return done.stdout


def test_first_run_equals_later_ones(tmp_path):
    first = _run(tmp_path / "apart")
    assert first == _run(tmp_path / "apart")
    assert list((tmp_path / "apart").rglob("*.nbc"))


def test_compiled_here_where_no_helper_may_start(tmp_path):
    assert _run(tmp_path / "here", GAUGEFLOW_COMPILE_HERE="1").startswith("[")
    assert list((tmp_path / "here").rglob("*.nbc"))


@pytest.mark.parametrize("question", [("gaugeflow_numba.absent", "kernel", ()), None])
def test_helper_ends_quietly_when_nobody_waits_for_it(question):
    """The one who asked is killed: while it waits for the reply, or while it asks."""
    command = [sys.executable, "-c", "from gaugeflow_numba.apart import serve; serve()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as helper:
        helper.stdout.close()
        data = pickle.dumps(question or "cut off")
        helper.stdin.write(struct.pack("<q", len(data)) + (data if question else data[:4]))
        helper.stdin.close()
        assert helper.stderr.read() == b""
        assert helper.wait() == 0


def test_every_compilation_is_announced_once():
    """Not those inside another one, and none after the context."""
    from numba.core import event

    found = []
    with process.announce_compilation(found.append):
        for _ in range(2):
            with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
                pass
    with event.trigger_event("numba:compile"):
        pass
    assert found == [cache_directory()] * 2
