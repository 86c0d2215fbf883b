"""Commands under ``mpirun``: what one process computes, bit for bit; ends, errors and kills of all together."""

import json
import os
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from cases.ranks import MISSING, WHY, finish, launcher, start
from gaugeflow import io
from gaugeflow.cli.launch import launch
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links

pytestmark = pytest.mark.skipif(MISSING, reason=WHY)
RUN = """
[lattice]
shape = [8, 4]
[group]
n = 1
[source]
beta = {beta}
[sampler]
chains = 4
burn_in = 4
configurations = {configurations}
separation = 2
overrelaxation = 1
[target]
beta = 1.2
[flow]
kind = "residual"
convolutions = [0]
[training]
configurations = 20
[observables]
names = ["plaquette"]
[output]
dir = "{dir}"
{more}
"""
PROGRAM = [sys.executable, "-c", "from gaugeflow.cli import main; main()"]
OPTIONS = ["--backend", "reference"]


@pytest.fixture
def runfile(tmp_path):
    """Writes a run file with a folder of results of its own."""

    def write(name, beta=1.0, configurations=6, more=""):
        path = tmp_path / f"{name}.toml"
        path.write_text(RUN.format(dir=name, beta=beta, configurations=configurations, more=more))
        return path

    return write


def _start(*programs, program=PROGRAM):
    """Two processes, of one program or of one each."""
    each = [["-n", str(2 // len(programs)), *program, *map(str, words), *OPTIONS] for words in programs]
    words = [word for program in each for word in (":", *program)][1:]
    return start([*launcher(), *words], OMP_NUM_THREADS="1")


def _end(process, status=0):
    out, error = finish(process, 300)
    assert process.returncode == status, error
    return json.loads(out) if out.startswith(("{", "[")) else error


def _lines(error, begin="gaugeflow:"):
    return [line for line in error.splitlines() if line.startswith(begin)]


def _links(folder):
    """Configurations by number and chain."""
    found = {}
    for path in sorted(folder.glob("**/ensemble.h5")):
        with io.EnsembleFile.open(path) as file:
            for part in file.batches(100):
                found.update(zip(zip(part.id.tolist(), part.chain.tolist(), strict=True), part.links, strict=True))
    return found


def _same(a, b):
    assert a.keys() == b.keys()
    for key, x in a.items():
        np.testing.assert_array_equal(x, b[key])


def _without_places(result):
    return {key: x for key, x in result.items() if key != "dir"}


def test_chains_side_by_side(gaugeflow, runfile, tmp_path):
    one, many = (runfile(name, more="[parallel]\nparts = 2") for name in ("one", "many"))
    assert _without_places(_end(_start(["sample", many, "--json"]))) == _without_places(
        gaugeflow("sample", one, "--json", *OPTIONS)
    )
    _same(_links(tmp_path / "many"), _links(tmp_path / "one"))
    measure = ["measure", *sorted(tmp_path.glob("one/part-*/ensemble.h5")), tmp_path / "nothing.h5", "--json"]
    running = _start(measure)
    found, error = finish(running, 300)
    assert running.returncode == 2  # a file is missing
    gaugeflow(*measure, *OPTIONS, status=2)
    assert json.loads(found) == json.loads(gaugeflow.stdout)
    assert _lines(error) == _lines(gaugeflow.stderr)
    for folder, number in (("here", 0), ("there", 1)):  # as on disks of two machines
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "one" / f"part-{number}" / "ensemble.h5", tmp_path / folder)
    measure = f"import os, sys; os.chdir(sys.argv.pop(1)); {PROGRAM[-1]}"
    places = [("-c", measure, tmp_path / folder, "measure", "ensemble.h5") for folder in ("here", "there")]
    (line,) = _lines(_end(_start(*places, program=PROGRAM[:1]), 2))
    assert line.startswith("gaugeflow: processes differ: list of configurations is [('ensemble.h5', 0, 0, ")


def test_every_configuration_is_cut(gaugeflow, runfile, tmp_path):
    """Links of the heat bath and derivatives; without [parallel], all processes share the lattice."""
    one, many = runfile("one"), runfile("many", more="[parallel]\nranks = 2\ngrid = [1, 2]")
    for command in ("sample", "train"):
        gaugeflow(command, one, *OPTIONS)
    shutil.copytree(tmp_path / "one", tmp_path / "many")
    for name in ("ensemble.h5", "sampler.h5", "history.h5"):
        (tmp_path / "many" / name).unlink()
    _end(_start(["sample", many]))
    _same(_links(tmp_path / "many"), _links(tmp_path / "one"))
    expected, found = gaugeflow("derive", one, "--json", *OPTIONS), _end(_start(["derive", many, "--json"]))
    assert found == expected


def test_measured_configurations_are_cut(gaugeflow, tmp_path):
    """Observables along the flow on halves of the lattice, and propagators whose right-hand sides are shared."""
    lattice = Lattice((8, 4))
    for k in range(2):
        links = lattice.unpack(haar_links(Rng(k), lattice, 1), components=1)
        io.write(tmp_path / f"{k}.h5", io.Config(links[0]))
    files = [tmp_path / f"{k}.h5" for k in range(2)]
    flow = ["measure", *files, "--shape", "8x4", "--flow-time", "0.1", "--step", "0.1", "--slices", "--json"]
    assert _end(_start([*flow, "--ranks", "2"])) == gaugeflow(*flow, *OPTIONS)
    hadrons = ["measure", *files, "--hadrons", "--kappa", "0.1", "--sources", "2", "--json", "--out"]
    assert _end(_start([*hadrons, tmp_path / "two", "--ranks", "2"])) == gaugeflow(
        *hadrons, tmp_path / "three", *OPTIONS
    )
    assert _lines(_end(_start([*flow, "--ranks", "3"]), 2)) == [
        "gaugeflow: --ranks: expected a number that divides the 2 processes that were started, got 3"
    ]


def test_a_run_goes_on_after_a_stop_and_after_a_kill(gaugeflow, runfile, tmp_path):
    """HMC on two processes with half a lattice each is stopped by a signal, then one is killed; one process ends it."""
    settings = {"configurations": 150, "more": "[hmc]\nsteps = 3"}
    path, lock = runfile("many", **settings), tmp_path / "many" / "sampler.h5.lock"
    running = _start(["sample", path])
    _wait_for(lock, running)
    running.send_signal(signal.SIGUSR1)  # mpirun passes it on to all
    lines = _lines(_end(running, 75))
    assert len(lines) == 1
    assert lines[0].startswith("gaugeflow: stopped: received SIGUSR1; ")
    running = _start(["sample", path])
    _wait_for(lock, running)
    os.kill(int(lock.read_text().split()[1]), signal.SIGKILL)  # rank 0
    error = finish(running, 300)[1]
    assert running.returncode != 0
    assert _lines(error) == [
        "gaugeflow: rank 1 of 2: received SIGTERM: rank 0 of this machine is gone; the same command goes on from the last "
        "checkpoint"
    ]
    gaugeflow("sample", path, *OPTIONS)
    gaugeflow("sample", runfile("one", **settings), *OPTIONS)
    _same(_links(tmp_path / "many"), _links(tmp_path / "one"))


def _wait_for(lock, process):
    """A moment of sampling, which takes longer."""
    for _ in range(600):
        time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        if lock.exists():
            time.sleep(0.3)
            return
    raise AssertionError(f"{lock} does not appear")


def test_what_differs_between_processes(runfile):
    error = _end(_start(["sample", runfile("one")], ["sample", runfile("two", beta=1.1)]), 2)
    assert len(_lines(error)) == 1
    assert "processes differ: [output] dir is one on rank 0 and two on rank 1; " in error
    assert "[source] beta is 1.0 on rank 0 and 1.1 on rank 1" in error


def test_an_error_of_one_process_ends_all(runfile):
    error = _end(_start(["sample", runfile("one")], ["sample", "nothing.toml"]), 2)
    assert "gaugeflow: rank 1 of 2: nothing.toml: No such file or directory" in _lines(error)


def test_an_error_of_all_is_told_once(runfile):
    path = runfile("one", more="[parallel]\nparts = 2\nranks = 4")
    assert _lines(_end(_start(["sample", path]), 2)) == [
        f"gaugeflow: {path}: [parallel] ranks: expected a number that divides the 2 processes that were started, found 4"
    ]


def test_launchers():
    assert launch({}) is None
    assert launch({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}) is None
    assert launch({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}) == ("mpirun", 4, 3)
    assert launch({"PMI_SIZE": "2", "PMI_RANK": "0"}) == ("mpiexec", 2, 0)
    assert launch({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) is None  # the script of a job, outside of srun
    assert launch({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}) == ("srun", 8, 5)


def test_processes_that_cannot_speak_to_each_other(gaugeflow, runfile, monkeypatch):
    """They may share parts; where they must share a configuration, an error says what is missing."""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    reason = "srun started 2 processes, and mpi4py cannot be imported"
    assert reason in gaugeflow("sample", runfile("one"), *OPTIONS, status=2)
    gaugeflow("sample", runfile("two", more="[parallel]\nparts = 2"), *OPTIONS)
    assert f"warning: {reason}" in gaugeflow.stderr
    assert "info: this command runs in one process, and srun started 2" in gaugeflow("info", status=2)
