"""A C program of many MPI processes: the numbers of one process, bit for bit."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cases.ranks import finish, mpirun, start
from gaugeflow import io
from gaugeflow.actions import WilsonAction
from gaugeflow.cli.embed import compile_flags, link_flags
from gaugeflow.lattice import Lattice
from gaugeflow.observables import flow_history

SHAPE = (8, 6)


@pytest.fixture(scope="module")
def program(library):
    if shutil.which("mpicc") is None:
        pytest.skip("no MPI with a compiler")
    source, program = Path(__file__).with_name("domain.c"), library / "domain"
    options = ("-std=gnu11", "-O1", "-Wall", "-Werror")
    flags = [*options, *compile_flags(library), str(source), "-o", str(program), *link_flags(library), "-lm"]
    subprocess.run(["mpicc", *flags], check=True, cwd=library)
    return program


def _numbers(program, processes, path, stored):
    running = start([*mpirun(processes), program, path, stored], NUMBA_NUM_THREADS="1")
    out, error = finish(running, 900)
    assert running.returncode == 0, out + error
    return path.read_bytes()


def test_numbers_do_not_depend_on_processes(program, tmp_path):
    lattice = Lattice(SHAPE)
    place = np.arange(lattice.volume, dtype=np.float64)
    angles = np.stack([0.37 * place * (mu + 1) - 0.11 * place * place for mu in range(2)])
    links = np.exp(1j * angles)[:, :, None, None, None]
    stored = tmp_path / "stored.h5"
    io.write(stored, io.Config(lattice.unpack(links.conj(), 1)[0]), format="hdf5")
    one, two = (_numbers(program, n, tmp_path / f"{n}.bin", stored) for n in (1, 2))
    assert one == two
    found = np.frombuffer(one, dtype=np.float64)
    action = WilsonAction(lattice, 2.0)
    expected = [action.value(links)[0], flow_history(lattice, links, [0.25], step=0.05).t2_e[0, 0]]
    np.testing.assert_allclose(found[:3], [*expected, expected[0]], rtol=1e-13)
    force = found[3:].view(np.complex128).reshape(2, lattice.volume)
    np.testing.assert_allclose(force, action.grad(links)[:, :, 0, 0, 0], atol=1e-13)
