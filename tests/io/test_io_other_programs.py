"""Formats of other programs, from writers that follow their loops, and what is said about files that lack something."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from gaugeflow.errors import FormatError, FormatWarning
from gaugeflow.io import Config, lime, read, write
from gaugeflow.io.arguments import spelled
from gaugeflow.io.config import link_trace, plaquette


def write_hirep(path, config, quaternions=False, average=None):
    """Loops of ``write_gauge_field_matrix`` and ``write_gauge_field_su2q``; links[0, t, z, y, x] is the one in time."""
    t, z, y, x = config.shape
    stated = plaquette(config.links) if average is None else average
    with open(path, "wb") as handle:
        handle.write(struct.pack(">5id", config.n_colours, t, x, y, z, stated))
        for it, ix, iy, iz in np.ndindex(t, x, y, z):
            for direction in (0, 3, 2, 1):  # t, x, y, z
                u = config.links[direction, it, iz, iy, ix]
                if quaternions:
                    numbers = [u[0, 0].real, u[0, 1].imag, -u[0, 1].real, u[0, 0].imag]
                else:
                    numbers = [part for entry in u.ravel() for part in (entry.real, entry.imag)]
                handle.write(struct.pack(f">{len(numbers)}d", *numbers))


def write_milc_1(path, config, order, integer="i"):
    """``write_gauge_hdr`` of the old formats and the serial order of the links."""
    t, z, y, x = config.shape
    with open(path, "wb") as handle:
        handle.write(struct.pack(f"{order}5{integer}2f", 59354, x, y, z, t, 5.5, 0.1))
        for site in np.ndindex(t, z, y, x):
            for direction in (3, 2, 1, 0):
                entries = config.links[(direction, *site)].ravel()
                handle.write(struct.pack(f"{order}18f", *(part for e in entries for part in (e.real, e.imag))))


def write_text(path, config, form="{!r}\n"):
    """``save_textdata`` of Gaugefields.jl."""
    d = len(config.shape)
    with open(path, "w") as handle:
        for site in np.ndindex(config.shape):
            for direction in reversed(range(d)):
                for entry in config.links[(direction, *site)].ravel():
                    handle.write(form.format(float(entry.real)) + form.format(float(entry.imag)))


@pytest.mark.parametrize(("n", "quaternions"), [(2, False), (2, True), (3, False), (4, False)])
def test_hirep(tmp_path, random_config, n, quaternions):
    config = random_config(n, (4, 1, 3, 2))
    write_hirep(tmp_path / "field", config, quaternions)
    back = read(tmp_path / "field", shape=config.shape, n_colours=n)
    assert abs(back.links - config.links).max() < 1e-15
    assert back.metadata["format"] == "hirep"
    assert back.metadata["plaquette"] == pytest.approx(plaquette(config.links), abs=1e-14)
    write_hirep(tmp_path / "field", config, quaternions, average=plaquette(config.links) + 1e-8)
    with pytest.raises(FormatError, match="average plaquette: expected"):
        read(tmp_path / "field")
    with pytest.raises(FormatError, match="number of colours"):
        read(tmp_path / "field", n_colours=n + 1)
    content = (tmp_path / "field").read_bytes()
    (tmp_path / "field").write_bytes(content[:-8])
    with pytest.raises(FormatError, match="data length in bytes: expected "):
        read(tmp_path / "field", format="hirep")


def test_the_plaquette_of_hirep_tells_swapped_axes(tmp_path, random_config):
    config = random_config(3, (2, 3, 3, 2))
    write_hirep(tmp_path / "field", Config(config.links[[0, 2, 1, 3]]), average=plaquette(config.links))
    with pytest.raises(FormatError, match="average plaquette"):
        read(tmp_path / "field")


@pytest.mark.parametrize(("order", "integer"), [("<", "i"), (">", "i"), (">", "q")])
def test_milc_version_1(tmp_path, random_config, order, integer):
    config = random_config(3)
    write_milc_1(tmp_path / "field", config, order, integer)
    back = read(tmp_path / "field", shape=config.shape)
    assert abs(back.links - config.links).max() < 1e-6
    assert back.metadata["byte_order"] == {"<": "little", ">": "big"}[order]
    assert back.metadata["couplings"] == pytest.approx([5.5, 0.1])
    content = (tmp_path / "field").read_bytes()
    for length in (10, len(content) - 4):
        (tmp_path / "field").write_bytes(content[:length])
        with pytest.raises(FormatError, match="length in bytes"):
            read(tmp_path / "field")


def test_milc_version_1_holds_the_field_of_version_5(reference_folder, tmp_path):
    """A file of MILC in the old layout: its plaquette is what MILC printed."""
    config = read(reference_folder / "milc/lat.sample.l4448")
    write_milc_1(tmp_path / "old", config, ">")
    assert (read(tmp_path / "old").links == config.links).all()
    assert 6 * plaquette(read(tmp_path / "old").links) == pytest.approx(1.723748 + 1.690586, abs=2e-6)


def test_both_sums_of_milc_are_named(tmp_path, random_config):
    write(tmp_path / "field.milc", random_config(), precision=32)
    content = bytearray((tmp_path / "field.milc").read_bytes())
    stated = "{:08x} {:08x}".format(*struct.unpack_from("<2I", content, 88))
    content[200] ^= 1
    (tmp_path / "field.milc").write_bytes(content)
    with pytest.raises(FormatError, match=rf"sum29 and sum31: expected {stated}, found \w{{8}} \w{{8}}"):
        read(tmp_path / "field.milc")


@pytest.mark.parametrize("form", ["{!r}\n", "{:.14e}\n", "{:23.15E} "], ids=["julia", "bridge", "one line"])
@pytest.mark.parametrize(("n", "shape"), [(1, (2, 4)), (2, (2, 1, 3, 2)), (3, (4, 1, 3, 2))])
def test_text(tmp_path, random_config, n, shape, form):
    config = random_config(n, shape)
    write_text(tmp_path / "field.txt", config, form)
    back = read(tmp_path / "field.txt", shape=shape)
    assert abs(back.links - config.links).max() < 1e-13
    assert plaquette(back.links) == pytest.approx(plaquette(config.links), abs=1e-13)
    assert back.metadata["format"] == "bridge"
    with pytest.raises(FormatError, match=r"extents, which text files do not state: expected shape="):
        read(tmp_path / "field.txt")
    with pytest.raises(FormatError, match=f"with N = {n + 1}, found"):
        read(tmp_path / "field.txt", shape=shape, n_colours=n + 1)


def test_text_with_something_else_in_it(tmp_path, random_config, monkeypatch):
    monkeypatch.setattr("gaugeflow.io.bridge._CHUNK", 1000)  # numbers across the ends of pieces
    config = random_config(2)
    write_text(tmp_path / "field", config)
    assert (read(tmp_path / "field", shape=config.shape).links == config.links).all()
    content = (tmp_path / "field").read_text()
    for end, message in (("0.5 abc\n", "'abc'"), ("9" * 500 + "\n", "number|NaN"), ("0.5\n", "number of numbers")):
        (tmp_path / "field").write_text(content + end)
        with pytest.raises(FormatError, match=message):
            read(tmp_path / "field", shape=config.shape)
    (tmp_path / "field").write_text("1 " * 100 + "x" * 5000)
    with pytest.raises(FormatError, match="text: expected numbers, found"):
        read(tmp_path / "field", shape=config.shape)


def test_formats_that_are_only_read(tmp_path, random_config):
    for name in ("hirep", "bridge"):
        with pytest.raises(ValueError, match=f"format '{name}' is only read: expected format=NAME, one of .*'nersc'"):
            write(tmp_path / "field", random_config(), format=name)


def test_nersc_headers_from_windows(tmp_path, random_config):
    config = random_config()
    write(tmp_path / "field", config, format="nersc")
    head, mark, data = (tmp_path / "field").read_bytes().partition(b"END_HEADER\n")
    (tmp_path / "field").write_bytes((head + mark).replace(b"\n", b"\r\n") + data)
    back = read(tmp_path / "field")
    assert (back.links == config.links).all()
    assert back.metadata["link_trace"] == pytest.approx(link_trace(config.links), abs=1e-11)


MISSING = ["<field>su3gauge</field>", "<volfmt>0</volfmt>", "<colors>3</colors>", "<typesize>144</typesize>"]
MISSING += ["<datacount>4</datacount>", "<spacetime>4</spacetime>", "<precision>64</precision>"]


@pytest.mark.parametrize(
    "missing", [[name] for name in MISSING] + [MISSING], ids=lambda names: re.sub(r"\W+", "-", names[0])
)
def test_ildg_without_what_the_length_says(tmp_path, random_config, missing):
    config = random_config()
    write(tmp_path / "field", config, format="ildg")
    content = (tmp_path / "field").read_bytes()
    for element in missing:
        assert element.encode() in content
        content = content.replace(element.encode(), b" " * len(element))
    (tmp_path / "field").write_bytes(content)
    with pytest.warns(FormatWarning) as caught:
        assert (read(tmp_path / "field").links == config.links).all()
    (warning,) = caught
    text = str(warning.message)
    assert all(re.match(r"<\w+>", element)[0] in text for element in missing)
    assert text.startswith(f"{tmp_path / 'field'} has no ")
    assert "are those of N = 3 in 64 bits" in text
    assert warning.filename == __file__


def test_ildg_of_the_wrong_length_is_refused_whatever_is_missing(tmp_path, random_config):
    config = random_config()
    links = np.moveaxis(config.links[::-1], 0, 4).astype(">c16").reshape(-1)[:-1]
    with open(tmp_path / "field", "wb") as handle:
        lime.write_message(handle, [("ildg-binary-data", np.ascontiguousarray(links))])
    with pytest.raises(FormatError, match="ildg-binary-data length in bytes"):
        read(tmp_path / "field", shape=config.shape)


def test_messages_spell_arguments_as_the_command_has_them(tmp_path, random_config):
    write_text(tmp_path / "field", random_config())
    with (
        spelled({"shape": "--shape TxZxYxX"}),
        pytest.raises(FormatError, match="expected --shape TxZxYxX, found nothing"),
    ):
        read(tmp_path / "field")
    with pytest.raises(FormatError, match=r"expected shape=\(t, z, y, x\), found nothing"):
        read(tmp_path / "field")


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        (b"PK\x03\x04\xff" + bytes(40), "the bytes 50 4b 03 04 ff 00"),
        (b"# a comment\n1 2 3\n" * 20, "the text '# a comment\\n1 2 3"),
        (b"", "nothing: the file is empty"),
    ],
)
def test_unknown_files(tmp_path, content, quoted):
    """The message lists the formats, the beginning of the file and the way out."""
    (tmp_path / "field").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read(tmp_path / "field")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'field'}: format: expected one of ['nersc', 'ildg', ")
    assert f"has {len(content)} bytes and begins with {quoted}" in text
    assert "gaugeflow.io.Config(links)" in text


def test_a_configuration_by_hand(tmp_path, monkeypatch, random_config):
    """The lines of the documentation, on an array with the axes that they say."""
    page = (Path(__file__).parents[2] / "docs" / "configurations.md").read_text()
    (lines,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "np.fromfile" in block]
    config = random_config(3, (4, 8, 8, 8))
    raw = np.empty((4, 8, 8, 8, 4, 3, 3), "<c16")
    for direction, x, y, z in np.ndindex(4, 8, 8, 8):
        raw[direction, x, y, z] = config.links[3 - direction, :, z, y, x]
    monkeypatch.chdir(tmp_path)
    exec(lines, {"config": config, "Config": Config, "write": write})
    assert (np.fromfile("conf.bin", "<c16") == raw.ravel()).all()
    assert (read(tmp_path / "conf.h5").links == config.links).all()


def test_repr_has_no_array(tmp_path, random_config):
    config = random_config()
    assert repr(config) == "Config(shape=(4, 1, 3, 2), n_colours=3)"
    write(tmp_path / "field.h5", config)
    back = read(tmp_path / "field.h5")
    assert repr(back) == f"Config({str(tmp_path / 'field.h5')!r}, shape=(4, 1, 3, 2), n_colours=3, format='hdf5')"


def test_openqcd_with_open_boundaries(tmp_path, random_config):
    config = random_config(3, (4, 2, 2, 6))
    config.links[0, -1] = 0.0
    with pytest.raises(ValueError, match="open boundaries in time, which only the format openqcd holds"):
        write(tmp_path / "field.ildg", config)
    write(tmp_path / "field.openqcd", config)
    average = struct.unpack_from("<d", (tmp_path / "field.openqcd").read_bytes(), 16)[0]
    assert average == pytest.approx(3 * plaquette(config.links), abs=1e-13)  # openQCD divides by 6 N0 N1 N2 N3
    back = read(tmp_path / "field.openqcd")
    assert (back.links == config.links).all()
    assert back.metadata["boundary"] == "open"
    config.links[0, 1, 0, 0, 0] = 0.0
    write(tmp_path / "field.openqcd", config, verify=False)
    with pytest.raises(FormatError, match=r"link \(0, 1, 0, 0, 0\)"):
        read(tmp_path / "field.openqcd")
