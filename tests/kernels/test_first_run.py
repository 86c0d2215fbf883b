"""The process in which kernels are compiled gets the same bits as those that find them in the cache."""

import os
import subprocess
import sys

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
    assert done.stderr == ""
    return done.stdout


def test_first_run_equals_later_ones(tmp_path):
    first = _run(tmp_path)
    assert first == _run(tmp_path)
    assert list((tmp_path).rglob("*.nbc"))


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
