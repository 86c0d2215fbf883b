"""``gaugeflow measure`` and ``convert`` against what other programs say about their own files."""

import errno
import json
import os

import numpy as np
import pytest

from gaugeflow import random
from gaugeflow.io import Config, EnsembleFile, lime, read, write
from gaugeflow.lattice import Lattice

KEYS = [
    "file",
    "shape",
    "n_colours",
    "plaquette",
    "plaquette_spatial",
    "plaquette_temporal",
    "link_trace",
    "polyakov_loop",
    "q",
    "flow",
]
ROW = ["t", "e_clover_spatial", "e_clover_temporal", "t2_e", "t2_e_plaquette", "q"]
# file, shape, plaquette, link trace (None where nobody states it), relative precision of what is stated
DOCUMENTED = [
    ("analysistoolbox/nersc.l8t4b3360", [4, 8, 8, 8], 0.5038664469, 0.005406083858),
    ("analysistoolbox/ildg.l8t4b3360", [4, 8, 8, 8], 0.5038664469, 0.005406083858),
    ("pyquda/weak_field.lime", [8, 4, 4, 4], 0.9948041323, 0.3794493487),
    ("chroma/t_nersc.cfg", [4, 4, 4, 4], 0.0382422893, 0.4630322094),
    ("qdpxx/t_dprec_ildg.lime", [4, 4, 4, 4], 0.0382422894, 0.4630322094),
    ("lyncs_io/unity.lime", None, 1.0, 1.0),
]
# file, 3 x spatial and 3 x temporal plaquette as MILC's CHECK PLAQ prints them
MILC = [
    ("milc/lat.sample.l4444", 1.794675, 1.774426),
    ("milc/lat.sample.l4444.ildg", 1.794675, 1.774426),
    ("milc/lat.sample.l4444.scidac", 1.794675, 1.774426),
    ("milc/lat.sample.l4448", 1.723748, 1.690586),
]


@pytest.mark.parametrize(("name", "shape", "plaquette", "link_trace"), DOCUMENTED)
def test_documented_averages(gaugeflow, reference_folder, name, shape, plaquette, link_trace):
    (result,) = gaugeflow("measure", reference_folder / name, "--json")
    assert list(result) == KEYS
    assert result["file"] == str(reference_folder / name)
    assert result["n_colours"] == 3
    assert result["flow"] == []
    if shape is not None:
        assert result["shape"] == shape
    assert result["plaquette"] == pytest.approx(plaquette, abs=1e-7)
    assert result["link_trace"] == pytest.approx(link_trace, abs=1e-7)
    mean = (result["plaquette_spatial"] + result["plaquette_temporal"]) / 2
    assert mean == pytest.approx(result["plaquette"], abs=1e-14)


def test_milc_plaquettes(gaugeflow, reference_folder):
    """Several files in one call; they come back in order."""
    results = gaugeflow("measure", *(reference_folder / name for name, *_ in MILC), "--json")
    for result, (name, spatial, temporal) in zip(results, MILC, strict=True):
        assert result["file"] == str(reference_folder / name)
        assert 3 * result["plaquette_spatial"] == pytest.approx(spatial, abs=2e-6)
        assert 3 * result["plaquette_temporal"] == pytest.approx(temporal, abs=2e-6)


def test_milc_wilson_flow(gaugeflow, reference_folder):
    """Every row of MILC's table (t, E_t, E_s, Q), six digits."""
    lines = (reference_folder / "milc/wilson_flow.1.sample-out").read_text().splitlines()
    expected = [[float(x) for x in line.split()[1:]] for line in lines if line.startswith("WFLOW ")]
    file = reference_folder / "milc/lat.sample.l4448"
    (result,) = gaugeflow("measure", file, "--flow-time", 0.9, "--step", 0.1, "--json")
    assert [list(row) for row in result["flow"]] == [ROW] * 10
    assert result["q"] is None
    found = [[r["t"], r["e_clover_temporal"], r["e_clover_spatial"], r["q"]] for r in result["flow"]]
    # the first row is of the field itself, in single precision there
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    for row in result["flow"]:
        energy = row["e_clover_spatial"] + row["e_clover_temporal"]
        assert row["t2_e"] == pytest.approx(row["t"] ** 2 * energy, rel=1e-14)


@pytest.fixture
def file_3d(tmp_path):
    """SU(3) in three dimensions, folded as the files above are, so that no kernel is compiled again."""
    lattice = Lattice((8, 4, 4))
    links = lattice.unpack(random.haar_links(random.Rng(3), lattice, 3), components=1)[0]
    write(tmp_path / "3d.h5", Config(links))
    return tmp_path / "3d.h5"


def test_table_and_reference_backend(gaugeflow, file_3d):
    """Every back end says the same."""
    (default,) = gaugeflow("measure", file_3d, "--json", "--flow-time", 0.05)
    (reference,) = gaugeflow("measure", file_3d, "--json", "--flow-time", 0.05, "--backend", "reference")
    assert [row["t"] for row in default["flow"]] == [0.0, 0.02, 0.04, 0.05]
    assert default["flow"][0]["q"] is None
    assert default["plaquette"] == pytest.approx(reference["plaquette"], abs=1e-14)
    assert default["flow"][-1]["t2_e"] == pytest.approx(reference["flow"][-1]["t2_e"], rel=1e-12)
    text = gaugeflow("measure", file_3d, "--flow-time", 0.04, "--flow", "symanzik")
    assert f"{default['plaquette']:.10g}" in text
    assert "symanzik flow" in text


def test_convert_keeps_the_links(gaugeflow, file_3d, tmp_path):
    gaugeflow("convert", file_3d, tmp_path / "copy.scidac")
    np.testing.assert_array_equal(read(tmp_path / "copy.scidac").links, read(file_3d).links)
    gaugeflow("convert", tmp_path / "copy.scidac", tmp_path / "single", "--format", "hdf5", "--precision", "32")
    assert read(tmp_path / "single").metadata["precision"] == 32


def test_convert_reference_formats(gaugeflow, reference_folder, tmp_path):
    file = reference_folder / "milc/lat.sample.l4444"
    for suffix in ("nersc", "ildg", "scidac", "milc", "h5"):
        text = gaugeflow("convert", file, tmp_path / f"x.{suffix}")
        assert "(milc, 4x4x4x4, N = 3)" in text
        np.testing.assert_allclose(read(tmp_path / f"x.{suffix}").links, read(file).links, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("measure", "absent.nersc"), "gaugeflow: absent.nersc: No such file or directory\n"),
        (("measure", "absent.nersc", "--flow-time", "-1"), "gaugeflow: expected --flow-time >= 0 and --step > 0"),
        (("measure", "absent.nersc", "--backend", "abacus"), "gaugeflow: unknown back end 'abacus'"),
        (("measure", "absent.nersc", "--threads", "100000"), "gaugeflow: threads: expected 1 to"),
        (("convert", "absent.nersc", "x.nersc"), "gaugeflow: absent.nersc: No such file or directory\n"),
        (("convert", "a", "b", "--shape", "4x0"), "expected extents like 8x8x8x8, got '4x0'"),
    ],
)
def test_one_line_errors(gaugeflow, arguments, message):
    text = gaugeflow(*arguments, status=2)
    assert message in text
    assert "Traceback" not in text


def test_debug_shows_the_traceback():
    from click.testing import CliRunner

    from gaugeflow.cli import main

    result = CliRunner().invoke(main, ["--debug", "measure", "absent.nersc"])
    assert isinstance(result.exception, FileNotFoundError)


def test_damaged_file(gaugeflow, file_3d):
    data = bytearray(file_3d.read_bytes())
    file_3d.write_bytes(data[:-200])
    assert str(file_3d) in gaugeflow("measure", file_3d, status=2)


def test_ensemble_file(gaugeflow, tmp_path):
    """Every configuration, with chain and number; the numbers are those of the same configuration alone."""
    lattice = Lattice((4, 4))
    links = lattice.unpack(random.haar_links(random.Rng(4), lattice, 2, 3), components=1)
    with EnsembleFile.create(tmp_path / "e.h5", shape=(4, 4), n_colours=2) as file:
        file.append(links, id=[7, 7, 8], chain=[0, 1, 0])
    write(tmp_path / "one.h5", Config(links[1]))
    options = ("--json", "--backend", "reference")
    results = gaugeflow("measure", tmp_path / "e.h5", *options)
    assert [(r["chain"], r["id"]) for r in results] == [(0, 7), (1, 7), (0, 8)]
    (one,) = gaugeflow("measure", tmp_path / "one.h5", *options)
    assert list(one) == KEYS
    assert {key: results[1][key] for key in KEYS[1:]} == {key: one[key] for key in KEYS[1:]}
    assert f"{tmp_path / 'e.h5'}, chain 1, number 7" in gaugeflow("measure", tmp_path / "e.h5", *options[1:])
    text = gaugeflow("measure", tmp_path / "e.h5", "--colours", 3, status=2)
    assert "expected extents (4, 4) and N = 3, got (4, 4) and 2" in text


def test_bad_files_are_left_out_and_listed(gaugeflow, file_3d, tmp_path):
    """The others are measured; with --stop, or to show a traceback, the first failure ends it and what was measured stays."""
    bad, last = tmp_path / "bad.h5", tmp_path / "last.h5"
    bad.write_bytes(file_3d.read_bytes()[:-200])
    last.write_bytes(file_3d.read_bytes())
    arguments = ("measure", file_3d, bad, tmp_path, last, tmp_path / "none", "--backend", "reference")
    lines = gaugeflow(*arguments, "--json", status=2).splitlines()
    assert lines[0] == "gaugeflow: 3 failures in 5 files:"
    assert lines[1].startswith(f"gaugeflow: {bad}: ")
    assert lines[2:] == [
        f"gaugeflow: {tmp_path}: Is a directory",
        f"gaugeflow: {tmp_path / 'none'}: No such file or directory",
    ]
    first, second = json.loads(gaugeflow.stdout)
    assert (first["file"], second["file"]) == (str(file_3d), str(last))
    gaugeflow(*arguments, status=2)
    assert gaugeflow.stdout.count(f"{first['plaquette']:.10g}") == 2
    text = gaugeflow(*arguments, "--json", "--stop", status=2)
    assert text.count("\n") == 1
    assert text.startswith(f"gaugeflow: {bad}: ")
    assert json.loads(gaugeflow.stdout) == [first]


def test_errors_while_reading_name_the_file(gaugeflow, file_3d, monkeypatch):
    """What the operating system says without a name, as of a disk that fails."""

    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("gaugeflow.io.nersc.read_sites", fail)
    write(file_3d.with_name("x.nersc"), Config(np.broadcast_to(np.eye(3, dtype=complex), (4, 2, 2, 2, 2, 3, 3))))
    text = gaugeflow("measure", file_3d.with_name("x.nersc"), status=2)
    assert text == f"gaugeflow: {file_3d.with_name('x.nersc')}: {os.strerror(errno.EIO)}\n"
    text = gaugeflow("convert", file_3d.with_name("x.nersc"), file_3d.with_name("y.h5"), status=2)
    assert text == f"gaugeflow: {file_3d.with_name('x.nersc')}: {os.strerror(errno.EIO)}\n"


def test_files_without_a_header(gaugeflow, file_3d, tmp_path):
    """Messages and warnings speak of options; what is inferred is said."""
    links = read(file_3d).links
    with open(tmp_path / "bare.ildg", "wb") as handle:
        data = np.ascontiguousarray(np.moveaxis(links[::-1], 0, 3), ">c16")
        lime.write_message(handle, [("ildg-binary-data", data)])
    text = gaugeflow("measure", tmp_path / "bare.ildg", status=2)
    assert "expected a record that states them, or --shape TxZxYxX, found neither" in text
    (result,) = gaugeflow("measure", tmp_path / "bare.ildg", "--shape", "8x4x4", "--backend", "reference", "--json")
    assert result["n_colours"] == 3
    assert gaugeflow.stderr.startswith(
        f"gaugeflow: warning: {tmp_path / 'bare.ildg'} does not state the number of colours"
    )
    gaugeflow("measure", tmp_path / "bare.ildg", "--shape", "8x4x4", "--colours", 3, "--backend", "reference")
    assert gaugeflow.stderr == ""
    assert "pass --format NAME, one of" in gaugeflow("convert", file_3d, tmp_path / "x.jpeg", status=2)


def test_info(gaugeflow):
    result = gaugeflow("info", "--json")
    assert result["backends"]["reference"] == {"state": "ready"}
    assert result["backends"]["numba"]["state"] == "ready"
    assert {"nersc", "ildg", "milc", "hdf5"} <= set(result["formats"])
    json.dumps(result)
    assert result["backends"]["numba"]["cache"] in gaugeflow("info").replace("\n", "")
