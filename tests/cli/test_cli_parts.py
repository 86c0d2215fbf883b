"""Chains and configurations in parts that processes share: the numbers of one process, whoever does them.

Links are equal bit for bit; sums over sites of the reference kernels depend on the number of lanes in their last digit.
"""

import numpy as np
import pytest

from gaugeflow import io
from gaugeflow.filesystem import FileLock
from gaugeflow.io.hdf5 import read_table

RUN = """
[lattice]
shape = [4, 4]
[group]
n = 1
[source]
beta = 1.0
[sampler]
chains = 5
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
dir = "out"
{more}
"""
OPTIONS = ("--json", "--backend", "reference")


@pytest.fixture
def runfile(tmp_path):
    """Writes a run file in a folder of its own."""

    def write(name, configurations=6, more=""):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "run.toml").write_text(RUN.format(configurations=configurations, more=more))
        return folder / "run.toml"

    return write


def _links(folder):
    """Configurations by number and chain."""
    found = {}
    for path in sorted(folder.glob("out/**/ensemble.h5")):
        with io.EnsembleFile.open(path) as file:
            for part in file.batches(100):
                found.update(zip(zip(part.id.tolist(), part.chain.tolist(), strict=True), part.links, strict=True))
    return found


def _same(a, b):
    assert a.keys() == b.keys()
    for key, x in a.items():
        np.testing.assert_array_equal(x, b[key])


def _numbers(result):
    return [row[name] for row in result["derivatives"] for name in ("value", "error")]


def test_parts_are_what_one_process_makes(gaugeflow, runfile, tmp_path):
    whole = runfile("whole")
    results = [gaugeflow(command, whole, *OPTIONS) for command in ("sample", "train", "derive")]
    path = runfile("shared", more="[parallel]\nparts = 3")
    shared = tmp_path / "shared/out"
    (shared / "part-1").mkdir(parents=True)
    with FileLock(shared / "part-1/part.lock"):  # as another process would
        text = gaugeflow("sample", path, "--backend", "reference", status=3)
        assert "2 of 3 parts are done, and other processes have 1" in text
        assert "part-1/ensemble.h5 does not exist" in gaugeflow("train", path, *OPTIONS, status=2)
    sampled = gaugeflow("sample", path, *OPTIONS)
    _same(_links(tmp_path / "shared"), _links(tmp_path / "whole"))
    assert sampled["plaquette"] == pytest.approx(results[0]["plaquette"], rel=1e-12)
    histories = [read_table(tmp_path / name / "out/history.h5")[0]["plaquette"] for name in ("shared", "whole")]
    np.testing.assert_allclose(*histories, rtol=1e-14)
    trained = gaugeflow("train", path, *OPTIONS)
    assert trained[0]["ess_flow"] == pytest.approx(results[1][0]["ess_flow"], rel=1e-9)
    with FileLock(shared / "part-2/part.lock"):
        assert "2 of 3 parts are done" in gaugeflow("derive", path, "--backend", "reference", status=3)
    assert _numbers(gaugeflow("derive", path, *OPTIONS)) == pytest.approx(_numbers(results[2]), rel=1e-9)
    longer = runfile("whole", 8), runfile("shared", 8, more="[parallel]\nparts = 3")
    for each in longer:
        gaugeflow("sample", each, *OPTIONS)
    _same(_links(tmp_path / "shared"), _links(tmp_path / "whole"))
    ends = [gaugeflow("derive", each, *OPTIONS) for each in longer]
    assert _numbers(ends[0]) == pytest.approx(_numbers(ends[1]), rel=1e-9)
    assert ends[0]["n_configurations"] == 40


def test_single_files_of_all_parts(gaugeflow, runfile, tmp_path):
    for name, more in (("whole", ""), ("shared", "[parallel]\nparts = 9")):  # no more parts than chains
        text = runfile(name, 2, more).read_text()
        (tmp_path / name / "run.toml").write_text(text.replace('dir = "out"', 'dir = "out"\nformat = "hdf5"'))
        gaugeflow("sample", tmp_path / name / "run.toml", *OPTIONS)
    names = [sorted(p.name for p in (tmp_path / name / "out").glob("run-*.h5")) for name in ("whole", "shared")]
    assert names[0] == names[1]
    assert len(names[0]) == 10
    assert len(list((tmp_path / "shared/out").glob("part-*"))) == 5
    for name in names[0]:
        one, other = (io.read(tmp_path / folder / "out" / name).links for folder in ("whole", "shared"))
        np.testing.assert_array_equal(one, other)


def test_ensembles_of_all_parts_are_a_source(gaugeflow, runfile, tmp_path):
    """Named as files, they are what one file is; two files with the same chains are refused."""
    for name, more in (("whole", ""), ("shared", "[parallel]\nparts = 2")):
        gaugeflow("sample", runfile(name, more=more), *OPTIONS)
    for name, held, more in (("whole", "without", "[parallel]\nparts = 2"), ("shared", "with", "")):
        error = gaugeflow("sample", runfile(name, more=more), *OPTIONS, status=2)
        assert f"out holds a run {held} [parallel] parts: expected a run {held} parts, or another [output] dir" in error
    text = runfile("given").read_text()
    text = text.replace(text[text.index("[sampler]") : text.index("[target]")], "")
    found = []
    for files in ("../whole/out/ensemble.h5", "../shared/out/part-*/ensemble.h5"):
        path = tmp_path / "given" / "run.toml"
        path.write_text(text.replace("beta = 1.0", f'beta = 1.0\nfiles = "{files}"'))
        found += gaugeflow("train", path, *OPTIONS)
    assert found[0]["ess_flow"] == pytest.approx(found[1]["ess_flow"], rel=1e-9)
    path.write_text(text.replace("beta = 1.0", 'beta = 1.0\nfiles = "../*/out/**/ensemble.h5"'))
    assert "chains of their own" in gaugeflow("train", path, *OPTIONS, status=2)
