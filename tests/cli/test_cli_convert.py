"""``gaugeflow convert`` between all formats, and what ``--force`` lets through."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gaugeflow.errors import FormatError
from gaugeflow.io import Config, EnsembleFile, Format, formats, lime, read, write

FORMATS = ("nersc", "ildg", "scidac", "milc", "openqcd", "hdf5")
SHAPE = (4, 2, 2, 6)


def field(n=3, shape=SHAPE, seed=5):
    """Random SU(n) links, or U(1)."""
    rng = np.random.default_rng(seed)
    size = (len(shape), *shape, n, n)
    unitary = np.linalg.qr(rng.normal(size=size) + 1j * rng.normal(size=size))[0]
    if n == 1:
        return Config(np.exp(1j * rng.normal(size=size)))
    return Config(unitary / (np.linalg.det(unitary) ** (1 / n))[..., None, None])


def store(path, form, config=None, **options):
    """Write in the precision of the format."""
    write(path, field() if config is None else config, format=form, precision=32 if form == "milc" else 64, **options)
    return path


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_pair(gaugeflow, tmp_path, source, target):
    file = store(tmp_path / "in", source)
    rounding = ("--precision", 32) if target == "milc" and source != "milc" else ()
    text = gaugeflow("convert", file, tmp_path / "out", "--format", target, *rounding)
    assert text == f"{file} ({source}, 4x2x2x6, N = 3) -> {tmp_path / 'out'}\n"
    back = read(tmp_path / "out")
    assert back.metadata["format"] == target
    expected = field().links
    if "milc" in (source, target):
        expected = expected.astype(np.complex64)
        assert back.metadata["precision"] == (64 if target == "openqcd" else 32)
    np.testing.assert_array_equal(back.links, expected)


@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_group_in_formats_that_hold_it(gaugeflow, tmp_path, n, precision):
    config = field(n)
    general = ["ildg", "scidac", "hdf5"] + ["nersc"] * (n > 1)
    file = store(tmp_path / "start", "hdf5", config)
    for k, form in enumerate([*general, *reversed(general)]):
        gaugeflow("convert", file, tmp_path / str(k), "--format", form, "--precision", precision)
        file = tmp_path / str(k)
        back = read(file, shape=SHAPE, n_colours=n)
        assert (back.metadata["format"], back.metadata["precision"]) == (form, precision)
        np.testing.assert_array_equal(back.links, config.links.astype(f"c{precision // 4}"))
    for form in {"milc", "openqcd", "nersc"} - set(general) if n != 3 else ():
        assert "SU(" in gaugeflow("convert", file, tmp_path / "x", "--format", form, "--precision", 32, status=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 4), (2, 1, 3, 2, 2)])
def test_other_dimensions(gaugeflow, tmp_path, shape):
    file = store(tmp_path / "a.scidac", "scidac", field(2, shape))
    gaugeflow("convert", file, tmp_path / "b.h5")
    gaugeflow("convert", tmp_path / "b.h5", tmp_path / "c.scidac")
    np.testing.assert_array_equal(read(tmp_path / "c.scidac").links, field(2, shape).links)
    assert "4D" in gaugeflow("convert", file, tmp_path / "d.nersc", status=2)


def test_ensemble_files_are_named_as_such(gaugeflow, tmp_path):
    with EnsembleFile.create(tmp_path / "ensemble.h5", shape=SHAPE, n_colours=3) as file:
        file.append(field().links[None], id=0)
    text = gaugeflow("convert", tmp_path / "ensemble.h5", tmp_path / "out.ildg", status=2)
    assert "ensemble.h5: expected a single configuration, got an ensemble file" in text


def test_rounding_must_be_asked_for(gaugeflow, tmp_path):
    file = store(tmp_path / "a.nersc", "nersc")
    message = gaugeflow("convert", file, tmp_path / "b.milc", status=2)
    assert "--precision: expected 32 for the format milc, which rounds, got 64 of IN" in message
    gaugeflow("convert", file, tmp_path / "b.milc", "--precision", 32)


def test_bare_binary_record(gaugeflow, tmp_path):
    """Extents and colours from the user, for both commands."""
    links = np.moveaxis(field(2).links[::-1], 0, 4)
    with open(tmp_path / "bare", "wb") as handle:
        lime.write_message(handle, [("ildg-binary-data", np.ascontiguousarray(links, ">c8"))])
    told = ("--shape", "4x2x2x6", "--colours", 2)
    gaugeflow("convert", tmp_path / "bare", tmp_path / "out.ildg", *told)
    np.testing.assert_array_equal(read(tmp_path / "out.ildg").links, field(2).links.astype("c8"))
    (result,) = gaugeflow("measure", tmp_path / "bare", *told, "--backend", "reference", "--json")
    assert result["shape"] == list(SHAPE)
    for command in (("convert", tmp_path / "bare", tmp_path / "x.ildg"), ("measure", tmp_path / "bare")):
        assert "or --shape TxZxYxX, found neither" in gaugeflow(*command, status=2)
        assert "length" in gaugeflow(*command, "--shape", "4x2x2x7", "--colours", 2, status=2)


def change(content, pattern, replacement):
    """One replacement that must take place."""
    changed, count = re.subn(pattern, replacement, content, count=1, flags=re.DOTALL)
    assert count == 1
    return changed


def flip(content, position):
    """One bit, low in the mantissa of a link: the field stays in the group within the tolerance."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


DAMAGE = {  # format, metadata, change, the values that the message must name
    "nersc checksum": ("nersc", {}, lambda c: flip(c, len(c) - 9), r"CHECKSUM: expected \w{8}, found \w{8}"),
    "nersc plaquette": (
        "nersc",
        {},
        lambda c: change(c, rb"PLAQUETTE = \S+", b"PLAQUETTE = 0.75"),
        r"PLAQUETTE: expected -?0\.\d+ \(computed from the links\), found 0\.75",
    ),
    "nersc link trace": (
        "nersc",
        {},
        lambda c: change(c, rb"LINK_TRACE = \S+", b"LINK_TRACE = 0.75"),
        r"LINK_TRACE: expected -?0\.\d+ \(computed from the links\), found 0\.75",
    ),
    "nersc without checksum": (
        "nersc",
        {},
        lambda c: change(c, rb"CHECKSUM = \w+\n", b""),
        "CHECKSUM: expected present, found absent",
    ),
    "ildg checksum": (
        "ildg",
        {},
        lambda c: change(c, rb"<suma>\w+", b"<suma>12345678"),
        r"<suma> and <sumb>: expected 12345678 \w{8}, found \w{8} \w{8}",
    ),
    "scidac checksum": (
        "scidac",
        {},
        lambda c: change(c, rb"<sumb>\w+", b"<sumb>12345678"),
        r"<suma> and <sumb>: expected \w{8} 12345678, found \w{8} \w{8}",
    ),
    "milc checksum": ("milc", {}, lambda c: flip(c, 96), r"sum29 and sum31: expected \w{8} \w{8}, found \w{8} \w{8}"),
    "openqcd plaquette": (
        "openqcd",
        {},
        lambda c: c[:16] + np.float64(1.5).tobytes() + c[24:],
        r"average plaquette / 3: expected -?0\.\d+ \(computed from the links\), found 0\.5",
    ),
    "xlf plaquette": (
        "ildg",
        {"xlf_info": "plaquette = PLAQ"},
        lambda c: change(c, rb"plaquette = \S{8}", b"plaquette = 0.750000"),
        r"xlf-info plaquette: expected -?0\.\d+ \(computed from the links\), found 0\.75",
    ),
}


@pytest.fixture
def damaged(tmp_path):
    """Factory: a file of which one statement is wrong, and the pattern of the error."""
    from gaugeflow.io.config import plaquette

    def make(name):
        form, metadata, edit, message = DAMAGE[name]
        config = field()
        metadata = {key: text.replace("PLAQ", f"{plaquette(config.links):.6f}"[:8]) for key, text in metadata.items()}
        file = store(tmp_path / "damaged", form, Config(config.links, metadata))
        file.write_bytes(edit(file.read_bytes()))
        return file, message

    return make


@pytest.mark.parametrize("name", DAMAGE)
def test_a_failed_check_is_an_error_and_force_a_warning(gaugeflow, tmp_path, damaged, name):
    file, message = damaged(name)
    out = tmp_path / "out.h5"
    for command in (("convert", file, out), ("measure", file, "--backend", "reference")):
        text = gaugeflow(*command, status=2)
        assert re.fullmatch(f"gaugeflow: {re.escape(str(file))}: .*{message}\n", text)
        assert not out.exists()
    gaugeflow("convert", file, out, "--force")
    assert re.search(f"^gaugeflow: warning: {re.escape(str(file))}: .*{message}; going on", gaugeflow.stderr)
    np.testing.assert_allclose(read(out).links, field().links, atol=1e-5)
    (result,) = gaugeflow("measure", file, "--force", "--backend", "reference", "--json")
    assert abs(result["plaquette"]) < 0.1
    assert re.search(message, gaugeflow.stderr)
    if name == "xlf plaquette":  # the wrong statement does not travel
        gaugeflow("convert", file, tmp_path / "out.ildg", "--force")
        assert "xlf_info" not in read(tmp_path / "out.ildg").metadata


def test_hdf5_checksum(gaugeflow, tmp_path):
    import h5py

    file = store(tmp_path / "field.h5", "hdf5")
    with h5py.File(file, "r+") as handle:
        handle["links"].attrs.modify("crc32", np.uint32(7))
    assert re.search(r"/links crc32: expected 7, found \d+", gaugeflow("convert", file, tmp_path / "x.ildg", status=2))
    gaugeflow("convert", file, tmp_path / "x.ildg", "--force")
    assert re.search(r"warning: .*crc32: expected 7, found \d+", gaugeflow.stderr)
    np.testing.assert_array_equal(read(tmp_path / "x.ildg").links, field().links)


@pytest.mark.parametrize("form", FORMATS)
def test_links_outside_the_group_need_force_again_and_again(gaugeflow, tmp_path, form):
    half = Config(field().links * 0.5)
    file = store(tmp_path / "half", form, half, verify=False)
    target = ("--format", form, *(("--precision", 32) if form == "milc" else ()))
    assert "U U^dagger - 1" in gaugeflow("convert", file, tmp_path / "copy", *target, status=2)
    gaugeflow("convert", file, tmp_path / "copy", *target, "--force")
    with pytest.raises(FormatError, match=r"U U\^dagger - 1"):
        read(tmp_path / "copy")
    np.testing.assert_allclose(read(tmp_path / "copy", verify=False).links, half.links, atol=1e-7)


def test_force_lets_neither_nan_nor_truncation_through(gaugeflow, tmp_path):
    file = store(tmp_path / "field", "openqcd")
    content = file.read_bytes()
    file.write_bytes(content[:-16] + np.array([np.nan, 0.0]).tobytes())
    assert "found NaN or infinity" in gaugeflow("convert", file, tmp_path / "x.h5", "--force", status=2)
    file = store(tmp_path / "field", "nersc")
    file.write_bytes(file.read_bytes()[:-16])
    assert "data length" in gaugeflow("measure", file, "--force", status=2)
    assert list(tmp_path.iterdir()) == [file]


def test_formats_of_other_packages(gaugeflow, tmp_path, monkeypatch):
    """Detected by content and size, chosen by suffix, listed; precision that it has, and a check that it fails."""

    def read_toy(path, *, shape, n_colours, verify):
        if verify:
            raise FormatError(f"{path}: age: expected 1, found 2")
        return Config(np.load(path)["links"])

    def write_toy(path, config, *, precision):
        assert precision == 64
        with open(path, "wb") as handle:
            np.savez(handle, links=config.links)

    toy = Format("toy", (".toy",), lambda start, size: start[:2] == b"PK" and size > 1000, read_toy, write_toy, (64,))
    entry = SimpleNamespace(name="toy", load=lambda: toy)
    monkeypatch.setattr(formats, "entry_points", lambda group: [entry] if group == "gaugeflow.formats" else [])
    store(tmp_path / "a.milc", "milc")
    gaugeflow("convert", tmp_path / "a.milc", tmp_path / "b.toy")
    assert "age: expected 1, found 2" in gaugeflow("convert", tmp_path / "b.toy", tmp_path / "c.ildg", status=2)
    gaugeflow("convert", tmp_path / "b.toy", tmp_path / "c.ildg", "--force")
    np.testing.assert_array_equal(read(tmp_path / "c.ildg").links, field().links.astype("c8"))
    assert "toy" in gaugeflow("info", "--json")["formats"]


TOY = """
import numpy as np
from gaugeflow.errors import FormatError
from gaugeflow.io import Config, Format


def read(path, *, shape, n_colours, verify):
    try:
        return Config(np.load(path)["links"], {"format": "toy"})
    except (ValueError, KeyError) as error:
        raise FormatError(f"{path}: {error}") from error


def write(path, config, *, precision):
    with open(path, "wb") as handle:
        np.savez(handle, links=config.links)


FORMAT = Format("toy", (".toy",), lambda start, size: start.startswith(b"PK"), read, write, (64,))
"""


def test_installed_package_with_a_format(tmp_path):
    """What pip leaves of another package: a module, and metadata with an entry point in the group gaugeflow.formats."""
    (tmp_path / "toy_format.py").write_text(TOY)
    installed = tmp_path / "toy_format-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-format\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[gaugeflow.formats]\ntoy = toy_format:FORMAT\n")
    store(tmp_path / "a.nersc", "nersc")
    program = (
        "from gaugeflow.cli import main\n"
        "from gaugeflow.io import available_formats, read\n"
        "main(['convert', 'a.nersc', 'b.toy'], standalone_mode=False)\n"
        "main(['convert', 'b.toy', 'c.h5'], standalone_mode=False)\n"
        "main(['info', '--json'], standalone_mode=False)\n"
        "assert 'toy' in available_formats() and read('b.toy').metadata['format'] == 'toy'\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"toy"' in done.stdout
    np.testing.assert_array_equal(read(tmp_path / "c.h5").links, field().links)
