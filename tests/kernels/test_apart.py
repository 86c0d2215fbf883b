"""The process in which kernels are compiled gets the same bits as those that find them in the cache."""

import os
import subprocess
import sys

PROGRAM = """
import hashlib
import numpy as np
from gaugeflow import kernels, random
from gaugeflow.lattice import Lattice
lattice = Lattice((4, 4))
links = random.haar_links(random.Rng(1), lattice, 3, 8)
results = kernels.plaquette(lattice, links), kernels.reunitarise(lattice, links)
print([hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in results])
"""


def _run(cache, **environment):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "GAUGEFLOW_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout


def test_first_run_equals_later_ones(tmp_path):
    first = _run(tmp_path / "apart")
    assert first == _run(tmp_path / "apart")
    assert list((tmp_path / "apart").rglob("*.nbc"))


def test_compiled_here_where_no_helper_may_start(tmp_path):
    assert _run(tmp_path / "here", GAUGEFLOW_COMPILE_HERE="1").startswith("[")
    assert list((tmp_path / "here").rglob("*.nbc"))
