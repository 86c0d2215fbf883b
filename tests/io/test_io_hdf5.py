"""Ensembles, tables and parameters in HDF5."""

import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc

import h5py
import numpy as np
import pytest

import gaugeflow
from gaugeflow.errors import FormatError
from gaugeflow.io import EnsembleFile, provenance, read_params, read_table, write_params, write_table
from gaugeflow.io.files import SparseImage
from gaugeflow.io.growing import guarded


@pytest.fixture
def links(random_config):
    """Seven configurations of SU(2) on a 4 x 3 lattice."""
    return np.stack([random_config(2, (4, 3), seed).links for seed in range(7)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ensemble.h5"


@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_ensemble_round_trip(path, links, precision, capacity):
    attributes = provenance(seed=5, parameters={"beta": 6.0, "shape": (4, 3)})
    options = {"precision": precision, "capacity": capacity, "attributes": attributes}
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2, **options) as ensemble:
        assert len(ensemble) == 0
        ensemble.append(links[:1], id=10)
        ensemble.append(links[1:4], id=[11, 12, 13], chain=1, log_weight=[0.5, -0.5, 0.0])
        assert len(ensemble) == 4
    with EnsembleFile.open(path, append=True) as ensemble:
        ensemble.append(links[4:], id=[10, 11, 12], chain=2)
    with EnsembleFile.open(path) as ensemble:
        assert len(ensemble) == 7
        assert ensemble.shape == (4, 3)
        assert ensemble.n_colours == 2
        assert ensemble.attributes == attributes | {"parameters": {"beta": 6.0, "shape": [4, 3]}}
        assert ensemble.id.tolist() == [10, 11, 12, 13, 10, 11, 12]
        assert ensemble.chain.tolist() == [0, 1, 1, 1, 2, 2, 2]
        assert ensemble.log_weight.tolist() == [0, 0.5, -0.5, 0, 0, 0, 0]
        part = ensemble.read(2, 5)
        assert part.links.dtype == np.complex128
        assert abs(part.links - links[2:5]).max() < (1e-7 if precision == 32 else 1e-300)
        assert part.id.tolist() == [12, 13, 10]
        batches = list(ensemble.batches(3))
        assert [len(batch.id) for batch in batches] == [3, 3, 1]
        assert (np.concatenate([batch.links for batch in batches]) == ensemble.read(0, 7).links).all()
        assert ensemble.read(7, 7).links.shape == (0, 2, 4, 3, 2, 2)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_ensemble_refuses_bad_arguments(path, links):
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2) as ensemble:
        ensemble.append(links[:2], id=[1, 2])
        for options, message in (
            ({"links": links[0], "id": 3}, r"expected shape \(n, 2, 4, 3, 2, 2\)"),
            ({"links": links[:1, :, :2], "id": 3}, "expected shape"),
            ({"links": links[:1] * np.nan, "id": 3}, "NaN"),
            ({"links": links[:1] * 2, "id": 3}, "U U.dagger"),
            ({"links": links[:1], "id": 2}, r"\(chain, id\)"),
            ({"links": links[:2], "id": 3}, r"\(chain, id\)"),
            ({"links": links[:1], "id": 3, "log_weight": np.inf}, "log_weight"),
            ({"links": links[:1], "id": [3, 4]}, r"id: expected a number, or one for each of 1 config.* shape \(2,\)"),
        ):
            with pytest.raises(ValueError, match=message):
                ensemble.append(**options)
        for wrong in (3.7, [3.0], "3", 2**70, 2**63):
            for column in ("id", "chain"):
                with pytest.raises(TypeError, match=f"{column}: expected integers of 64 bits, got"):
                    ensemble.append(links[:1], **{"id": 3, column: wrong})
        ensemble.append(links[:0], id=[])
        assert len(ensemble) == 2
        for start, stop in ((0, 3), (-1, 1), (2, 1)):
            with pytest.raises(IndexError):
                ensemble.read(start, stop)
    with pytest.raises(FileExistsError):
        EnsembleFile.create(path, shape=(4, 3), n_colours=2)
    for options in ({"shape": (4,)}, {"shape": (4, 0)}, {"n_colours": 0}, {"precision": 16}, {"capacity": 0}):
        with pytest.raises(ValueError, match="expected"):
            EnsembleFile.create(path.with_name("other"), **{"shape": (4, 3), "n_colours": 2, **options})
    with pytest.raises(FileNotFoundError):
        EnsembleFile.open(path.with_name("other"))


def test_an_ensemble_has_one_writer(path, links):
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2) as ensemble:
        ensemble.append(links[:1], id=1)
        program = "import sys; from gaugeflow.io import EnsembleFile; EnsembleFile.open(sys.argv[1], append=True)"
        other = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
        assert "BlockingIOError" in other.stderr
        with pytest.raises(BlockingIOError, match="this process, or its parent, has it open for appending"):
            EnsembleFile.open(path, append=True)
        with EnsembleFile.open(path) as reader:
            assert reader.id.tolist() == [1]
        ensemble.append(np.concatenate([links] * 10)[:65], id=range(2, 67))  # the file grows: it is another one now
        with pytest.raises(BlockingIOError, match="for appending"):
            EnsembleFile.open(path, append=True)
    with EnsembleFile.open(path, append=True) as ensemble:
        ensemble.append(links[:1], id=67)
        assert len(ensemble) == 67


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_no_second_writer(path, links):
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2) as ensemble:
        child = os.fork()
        if child == 0:
            try:
                EnsembleFile.open(path, append=True)
            except BlockingIOError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        ensemble.append(links[:1], id=1)


def test_a_file_that_is_closed_or_open_for_reading_says_so(path, links):
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2) as ensemble:
        ensemble.append(links[:1], id=1)
    for use in (lambda: ensemble.read(0, 1), lambda: ensemble.id, lambda: ensemble.append(links[:1], id=2)):
        with pytest.raises(ValueError, match=f"{path.name}: this ensemble has been closed"):
            use()
    with EnsembleFile.open(path) as ensemble:
        with pytest.raises(
            ValueError, match=f"{path.name}: this ensemble is open for reading; open it with append=True"
        ):
            ensemble.append(links[:1], id=2)
        assert len(ensemble) == 1


def test_damage_to_one_configuration_spares_the_others(path, links):
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2) as ensemble:
        ensemble.append(links, id=np.arange(7))
    rng = random.Random(3)
    for name in ("links", "id", "chain", "log_weight", "crc32"):
        content = path.read_bytes()
        with h5py.File(path) as file:
            offset, size = file[name].id.get_offset(), file[name].nbytes // len(file[name])
        damaged = bytearray(content)
        damaged[offset + 3 * size + rng.randrange(size)] ^= 0x10
        path.write_bytes(damaged)
        with EnsembleFile.open(path) as ensemble:
            assert (ensemble.read(0, 3).links == links[:3]).all()
            assert (ensemble.read(4, 7).links == links[4:]).all()
            with pytest.raises(FormatError, match="configuration 3 crc32"):
                ensemble.read(2, 5)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("count", guarded(8), "crc32"),
        ("count", guarded(65), "/count: expected 0 to 64"),
        ("count", guarded(7) ^ np.uint64(1 << 2), "/count: expected a number and its complement"),
        ("count", np.int64(7), "/count"),
        ("count", np.float64(3), "/count"),
        ("id", np.zeros(64), "/id"),
        ("id", np.zeros(65, np.int64), "/id"),
        ("log_weight", np.full(64, np.nan), "/log_weight: expected finite"),
        ("links", np.zeros((64, 3, 4, 3, 2, 2), complex), "/links shape"),
        ("links", np.zeros((64, 2, 4, 3, 2, 2)), "/links type"),
    ],
)
def test_wrong_structure_is_named(path, links, name, value, field):
    with EnsembleFile.create(path, shape=(4, 3), n_colours=2) as ensemble:
        ensemble.append(links, id=np.arange(7))
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(FormatError, match=field), EnsembleFile.open(path) as ensemble:
        ensemble.read(0, len(ensemble))


def test_capacity_costs_nothing(path, links):
    """Ten million configurations: neither memory nor disk for those that are not there."""
    tracemalloc.start()
    try:
        with EnsembleFile.create(path, shape=(4, 3), n_colours=2, capacity=10**7) as ensemble:
            ensemble.append(links[:2], id=[0, 1])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    status = path.stat()
    assert status.st_size > 1e10
    assert 512 * status.st_blocks < 1e6
    assert peak < 5e6
    with EnsembleFile.open(path) as ensemble:
        assert (ensemble.read(0, 2).links == links[:2]).all()


def test_image_of_a_file(tmp_path):
    """Pieces over pieces and over holes read and are saved as in a file; what is beyond the end is not there."""
    image, rng = SparseImage(), np.random.default_rng(3)
    expected = np.zeros(1000, np.uint8)
    for start, stop in ((10, 30), (25, 60), (0, 12), (500, 501), (700, 900), (705, 710)):
        expected[start:stop] = rng.integers(1, 255, stop - start)
        assert image.seek(start) == start
        assert image.write(expected[start:stop].tobytes()) == stop - start
        assert image.tell() == stop
    image.truncate(1000)
    for start, count in ((0, 1000), (5, 50), (400, 400), (950, 100)):
        image.seek(start)
        assert image.read(count) == expected[start : start + count].tobytes()
    assert image.seek(-10, 2) == 990
    assert image.seek(4, 1) == 994
    assert image.read() == bytes(6)
    image.save(tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == expected.tobytes()
    with pytest.raises(FileExistsError):
        image.save(tmp_path / "image")


def test_an_ensemble_larger_than_its_file_is_refused(path):
    EnsembleFile.create(path, shape=(4, 3), n_colours=2).close()
    with h5py.File(path, "r+") as file:
        del file["links"]
        file.create_dataset("links", (64, 2, 10**6, 10**6, 2, 2), complex, chunks=(1,) * 6)
        file["count"][()] = guarded(64)
    with pytest.raises(FormatError, match="size in bytes"):
        EnsembleFile.open(path)


KILLED_WRITER = """
import itertools, os, sys
import numpy as np
from gaugeflow.io import EnsembleFile
path = sys.argv[1]
os.fsync = lambda descriptor: None  # more appends a second, more chances to be hit in the middle of one
ensemble = EnsembleFile.open(path, append=True)
links = np.broadcast_to(np.eye(2, dtype=complex), (1, 2, 4, 3, 2, 2))
for i in itertools.count(len(ensemble)):
    ensemble.append(links, id=i)
    print(i + 1, flush=True)
"""


def run_kills(path, kills, seed):
    rng = random.Random(seed)
    EnsembleFile.create(path, shape=(4, 3), n_colours=2, capacity=1).close()
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        with process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            reported = [int(line) for line in process.stdout.read().split()]
        with EnsembleFile.open(path) as ensemble:
            assert len(ensemble) >= max(reported, default=1)
            assert ensemble.id.tolist() == list(range(len(ensemble)))
            for batch in ensemble.batches(1000):
                assert (batch.links == np.eye(2)).all()


def test_a_killed_writer_loses_nothing_that_it_reported(path):
    run_kills(path, 4, seed=1)


@pytest.mark.slow
def test_many_killed_writers(path):
    run_kills(path, 100, seed=2)


def test_table_round_trip(tmp_path):
    columns = {
        "time": np.linspace(0, 1, 11),
        "correlator": np.arange(24.0).reshape(2, 3, 4) * (1 + 2j),
        "accepted": np.array([True, False]),
        "count": np.array(3),
        "empty": np.zeros((0, 4), np.float32),
        "missing": np.array([1.0, np.nan]),
    }
    attributes = {
        "text": "ünï\n",
        "number": np.float64(0.1),
        "flag": True,
        "nothing": None,
        "large": 2**70,
        "array": np.arange(3),
        "parameters": {"a": [1, {"b": "c"}]},
        "long": "x" * 100_000,
    }
    write_table(tmp_path / "table.h5", columns, attributes=attributes)
    found, found_attributes = read_table(tmp_path / "table.h5")
    assert found.keys() == columns.keys()
    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)
    assert found_attributes == attributes | {"array": [0, 1, 2]}


def test_table_refuses_bad_arguments(tmp_path):
    for name in ("", ".", "a/b"):
        with pytest.raises(ValueError, match="name"):
            write_table(tmp_path / "table.h5", {name: [1.0]})
    for column in (["a"], np.array([object()]), np.zeros(2, "M8[s]"), np.zeros(2, np.longdouble)):
        with pytest.raises(TypeError, match="numerical"):
            write_table(tmp_path / "table.h5", {"x": column})
    with pytest.raises(TypeError, match="JSON"):
        write_table(tmp_path / "table.h5", {}, attributes={"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_provenance():
    found = provenance(seed=3, parameters={"beta": 6})
    assert found["gaugeflow_version"] == gaugeflow.__version__
    assert found["seed"] == 3
    assert found["parameters"] == {"beta": 6}
    assert {"command", "created", "python_version", "numpy_version"} <= found.keys()


def test_params_round_trip(tmp_path):
    params = {
        "layers": {"1": {"weight": np.ones((2, 3)), "bias": np.zeros(3, np.float32)}, "0": {}},
        "delta": np.array(0.1),
        "steps": np.arange(4),
    }
    write_params(tmp_path / "params.h5", params, attributes={"epoch": 4})
    found, attributes = read_params(tmp_path / "params.h5")
    assert attributes == {"epoch": 4}
    assert list(found) == ["delta", "layers", "steps"]
    assert list(found["layers"]) == ["0", "1"]
    assert found["layers"]["0"] == {}
    assert (found["layers"]["1"]["weight"] == 1).all()
    assert found["layers"]["1"]["bias"].dtype == np.float32
    assert found["delta"].shape == ()
    assert found["delta"] == 0.1
    assert found["steps"].tolist() == [0, 1, 2, 3]


def test_params_refuse_bad_values(tmp_path):
    for params in ({"a": {"b/c": np.ones(1)}}, {"": np.ones(1)}, {"a": {".": {}}}):
        with pytest.raises(ValueError, match="name"):
            write_params(tmp_path / "params.h5", params)
    with pytest.raises(ValueError, match="/params/a/b: expected finite"):
        write_params(tmp_path / "params.h5", {"a": {"b": np.array([1, np.inf])}})
    with pytest.raises(TypeError, match="numerical"):
        write_params(tmp_path / "params.h5", {"a": "text"})
    assert list(tmp_path.iterdir()) == []


def test_params_with_a_cycle_or_a_second_link(tmp_path):
    for target in ("params", "params/a"):
        write_params(tmp_path / "params.h5", {"a": {"w": np.ones(1)}})
        with h5py.File(tmp_path / "params.h5", "r+") as file:
            file["params/b"] = file[target]
        with pytest.raises(FormatError, match="one path to it"):
            read_params(tmp_path / "params.h5")
