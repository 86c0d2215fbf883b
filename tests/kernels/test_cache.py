"""A compiled kernel is found again exactly while no source that it was made from changes."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import gaugeflow.sites
import gaugeflow_numba
from gaugeflow_numba import _jit
from gaugeflow_numba._jit import _Files, digest, sources

DRIVERS = Path(gaugeflow_numba.__file__).parent
SITES = Path(gaugeflow.sites.__file__).parent


def test_sources_of_a_driver():
    """All formulas that it uses, at any depth, and all of the machinery; no formula that it does not use."""
    found = set(sources(DRIVERS / "gauge.py"))
    assert {
        SITES / f"{name}.py" for name in ("clover", "exponential", "gauge", "matrix", "numbers", "unitary")
    } <= found
    assert {
        DRIVERS / f"{name}.py" for name in ("_jit", "fields", "gauge", "geometry", "lanes", "simd", "sites")
    } <= found
    assert not found & {SITES / "heatbath.py", SITES / "jacobian.py", DRIVERS / "heatbath.py"}
    assert SITES / "jacobian.py" in sources(DRIVERS / "residual.py")
    assert DRIVERS / "gauge.py" in sources(DRIVERS / "heatbath.py")


@pytest.mark.parametrize("driver", sorted(p.name for p in DRIVERS.glob("*.py") if "@parallel" in p.read_text()))
def test_registers_come_with_their_arithmetic(driver):
    """A file of kernels imports all that compiling it needs, whichever kernel a process meets first."""
    assert {DRIVERS / "lanes.py", DRIVERS / "simd.py"} <= set(sources(DRIVERS / driver))


def test_a_changed_formula_changes_the_digest(tmp_path, monkeypatch):
    driver, formula = tmp_path / "gauge.py", tmp_path / "sites" / "gauge.py"
    formula.parent.mkdir()
    driver.write_text("from gaugeflow.sites.gauge import staple_up\n")
    monkeypatch.setitem(gaugeflow_numba._jit._PACKAGES, "gaugeflow.sites", formula.parent)
    seen = set()
    for text in ("a = 1\n", "a = 2\n", "a = 1\n"):
        formula.write_text(text)
        sources.cache_clear()
        digest.cache_clear()
        seen.add(digest(driver))
    sources.cache_clear()
    digest.cache_clear()
    assert len(seen) == 2


def test_machines_that_add_a_kernel_at_once_keep_their_own(tmp_path):
    """Keys are signature, processor with its features, and code; no file is taken for that of another key."""
    here, there = (("sig", ("x86_64", cpu, features), "code") for cpu, features in (("a", "+avx2"), ("a", "+avx512f")))
    one, other = (_Files(str(tmp_path), "kernel", "stamp") for _ in range(2))
    one.save(here, here[1])
    other.save(there, there[1])
    assert one._name(here) != other._name(there)
    for file in (one, other):
        assert [file.load(key) for key in (here, there)] == [here[1], there[1]]
    assert one.load(("sig", ("x86_64", "b", ""), "code")) is None
    path = tmp_path / one._name(there)
    path.write_bytes((tmp_path / one._name(here)).read_bytes())
    assert one.load(there) is None  # whatever a name says, the key decides
    path.write_bytes(b"")
    assert one.load(there) is None


def test_processor_is_part_of_the_key():
    from numba.core.registry import cpu_target

    kernel = _jit.inline(lambda x: x)
    codegen = cpu_target.target_context.codegen()
    _, cpu, features = codegen.magic_tuple()
    assert cpu == codegen._get_host_cpu_name()
    assert features == codegen._get_host_cpu_features()
    assert codegen.magic_tuple() in _jit._Cache(kernel.py_func)._index_key((), codegen)


def test_registers_are_those_that_numba_compiles_for():
    """A cluster of different processors may say which instructions all of them have."""
    code = "from gaugeflow_numba import lanes; print(lanes.register_bytes(), lanes.widest(8, 64), lanes.can_shuffle(4, 64))"
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["32", "4", "False"]


PROJECT = """
import numpy as np
from gaugeflow import kernels
from gaugeflow.lattice import Lattice
from gaugeflow_numba import gauge
kernels.project(Lattice((2, 2)), np.zeros((2, 4, 1, 1, 1), complex))
print(sum(gauge._project.stats.cache_misses.values()))
"""
"""Compiles one kernel, or loads it."""


@pytest.mark.parametrize("place", ["full disk", "no folder"])
def test_where_compiled_kernels_cannot_be_kept(tmp_path, place):
    """A process uses what it compiled, and says that the next one has to compile again."""
    (tmp_path / "file").touch()
    folder = tmp_path / ("cache" if place == "full disk" else "file/cache")
    done = subprocess.run(
        [sys.executable, "-c", PROJECT],
        env={**os.environ, "GAUGEFLOW_CACHE_DIR": str(folder)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "Warning" in line]
    reason = "File too large" if place == "full disk" else "not a folder that can be written"
    assert f"CacheWarning: {folder}/numba-" in line
    assert line.endswith(f"compiled kernels cannot be kept ({reason}): every process compiles its own")
    assert not list(tmp_path.rglob("*.nbc"))


def test_of_many_processes_one_compiles(tmp_path):
    """As ranks of a parallel job on one file system do; what a process compiles itself, Numba writes to the cache."""
    environment = {**os.environ, "GAUGEFLOW_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROJECT]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(process.communicate(timeout=300)[0] for process in running) == ["0\n", "0\n", "1\n"]
