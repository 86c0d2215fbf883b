"""What is written is read back: format x precision x byte order x N x rows."""

import itertools
import os
import re
import struct
import subprocess
import sys
from dataclasses import replace

import array_api_strict
import numpy as np
import pytest

from gaugeflow.errors import FormatError, FormatWarning
from gaugeflow.io import Config, Format, available_formats, formats, lime, read, write
from gaugeflow.io.config import link_trace, plaquette

CASES = [
    *(
        ("nersc", n, {"precision": precision, "byte_order": order, "rows": n - fewer})
        for n, precision, order, fewer in itertools.product((2, 3, 4), (32, 64), ("big", "little"), (0, 1))
    ),
    *((form, n, {"precision": p}) for form in ("ildg", "scidac", "hdf5") for n in (1, 2, 3, 4) for p in (32, 64)),
    *(("milc", 3, {"precision": 32, "byte_order": order}) for order in ("big", "little")),
    ("openqcd", 3, {"precision": 64}),
]
EVEN = (2, 6, 4, 8)
FORMS = ("nersc", "ildg", "scidac", "milc", "openqcd", "hdf5")


def identify(value):
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("form", "n", "options"), CASES, ids=identify)
def test_round_trip(tmp_path, random_config, form, n, options):
    config = random_config(n, EVEN if form == "openqcd" else (4, 1, 3, 2))
    write(tmp_path / "field", config, format=form, **options)
    back = read(tmp_path / "field", shape=config.shape, n_colours=n)
    if options["precision"] == 64 and options.get("rows", n) == n:
        assert (back.links == config.links).all()
    else:
        assert abs(back.links - config.links).max() < (1e-6 if options["precision"] == 32 else 1e-14)
    assert back.metadata["format"] == form
    assert options.items() - {("rows", n)} <= back.metadata.items()
    if "plaquette" in back.metadata:
        assert back.metadata["plaquette"] == pytest.approx(plaquette(config.links), abs=1e-11)
    if "link_trace" in back.metadata:
        assert back.metadata["link_trace"] == pytest.approx(link_trace(config.links), abs=1e-11)
    assert list(tmp_path.iterdir()) == [tmp_path / "field"]


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 4), (2, 1, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("form", ["scidac", "hdf5"])
def test_other_dimensions(tmp_path, random_config, form, shape):
    config = random_config(2, shape)
    write(tmp_path / "field", config, format=form)
    assert (read(tmp_path / "field").links == config.links).all()
    for other in ("nersc", "ildg", "milc", "openqcd"):
        with pytest.raises(ValueError, match="4D"):
            write(tmp_path / "field", config, format=other)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        ("nersc", "nersc"),
        ("ildg", "ildg"),
        ("lime", "ildg"),
        ("scidac", "scidac"),
        ("openqcd", "openqcd"),
        ("oqcd", "openqcd"),
        ("H5", "hdf5"),
    ],
)
def test_suffix_selects_the_format_and_content_reveals_it(tmp_path, random_config, suffix, form):
    write(tmp_path / f"field.{suffix}", random_config(3, EVEN))
    (tmp_path / f"field.{suffix}").rename(tmp_path / "field.wrong")
    assert read(tmp_path / "field.wrong").metadata["format"] == form
    with pytest.raises(ValueError, match=r"no format has the suffix '\.wrong'"):
        write(tmp_path / "other.wrong", random_config())


def test_openqcd_layout(tmp_path, random_config):
    """Every number of the file against the definition, point by point."""
    config = random_config(3, EVEN)
    write(tmp_path / "field", config, format="openqcd")
    content = (tmp_path / "field").read_bytes()
    n = (2, 8, 4, 6)  # t, x, y, z
    *extents, average = struct.unpack_from("<4id", content)
    assert tuple(extents) == n
    assert average == pytest.approx(3 * plaquette(config.links), abs=1e-13)
    data = np.frombuffer(content, "<f8", offset=24)
    assert data.size == 2 * 8 * 4 * 6 * 4 * 18
    stored = iter(data.reshape(-1, 3, 3, 2))
    for point in np.ndindex(n):
        if sum(point) % 2:
            for mu in range(4):
                for back in (0, 1):
                    t, x, y, z = ((c - back * (mu == nu)) % n[nu] for nu, c in enumerate(point))
                    link = config.links[(0, 3, 2, 1)[mu], t, z, y, x]
                    assert (next(stored) == np.stack([link.real, link.imag], axis=-1)).all()


def test_openqcd_average_plaquette_of_the_unit_field_is_three(tmp_path):
    write(
        tmp_path / "field", Config(np.broadcast_to(np.eye(3, dtype=complex), (4, 2, 2, 2, 2, 3, 3))), format="openqcd"
    )
    assert struct.unpack_from("<4id", (tmp_path / "field").read_bytes()) == (2, 2, 2, 2, 3.0)


def test_openqcd_refuses_odd_extents_other_groups_and_single_precision(tmp_path, random_config):
    for config in (random_config(3, (2, 2, 3, 2)), random_config(2, EVEN)):
        with pytest.raises(ValueError, match="even extents, got"):
            write(tmp_path / "field", config, format="openqcd")
    with pytest.raises(ValueError, match="precision=64"):
        write(tmp_path / "field", random_config(3, EVEN), format="openqcd", precision=32)


def test_metadata_travel_between_formats(tmp_path, random_config):
    metadata = {"ensemble_id": "b6.0", "sequence_number": 120, "creation_date": "Thu Apr 14 17:20:32 2022 UTC"}
    config = Config(random_config().links, metadata)
    for form in ("nersc", "hdf5", "nersc"):
        write(tmp_path / "field", config, format=form)
        config = read(tmp_path / "field")
        assert metadata.items() <= config.metadata.items()
    lime_metadata = {
        "lfn": "lfn://a/b",
        "xlf_info": "trajectory nr = 5\n",
        "file_xml": "<a/>",
        "record_xml": "<b>1</b>",
    }
    write(tmp_path / "field", Config(config.links, {**metadata, **lime_metadata}), format="ildg")
    found = read(tmp_path / "field").metadata
    assert lime_metadata.items() <= found.items()
    assert found["sequence_number"] == 5
    assert found["creation_date"] == metadata["creation_date"]


def test_nersc_number_of_rows_of_qdpxx_and_of_an_unmarked_byte_order(tmp_path, random_config):
    config = random_config(4)
    for order in ("big", "little"):
        write(tmp_path / "field", config, format="nersc", byte_order=order)
        content = (tmp_path / "field").read_bytes().replace(b"_4x4", b"").replace(order.upper().encode(), b"", 1)
        (tmp_path / "field").write_bytes(content)
        back = read(tmp_path / "field")
        assert (back.links == config.links).all()
        assert back.metadata["byte_order"] == order


def bare_lime(path, config, precision, kind="ildg-binary-data"):
    """A file with nothing but the binary record."""
    links = np.moveaxis(config.links[::-1], 0, len(config.shape))
    with open(path, "wb") as handle:
        lime.write_message(handle, [(kind, np.ascontiguousarray(links, f">c{precision // 4}"))])


@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["ildg-binary-data", "scidac-binary-data"])
def test_binary_record_alone_needs_the_shape(tmp_path, random_config, precision, n, kind):
    config = random_config(n, (4, 2, 2, 2))
    bare_lime(tmp_path / "field", config, precision, kind)
    back = read(tmp_path / "field", shape=config.shape, n_colours=n)
    assert back.metadata["format"] == kind.split("-")[0]
    assert abs(back.links - config.links).max() < 1e-6
    assert back.metadata["precision"] == precision
    assert "checksum" not in back.metadata
    with pytest.raises(FormatError, match=r"extents: expected .* shape=\(t, z, y, x\)"):
        read(tmp_path / "field", n_colours=n)
    with pytest.warns(FormatWarning, match=f"does not state the number of colours.* N = {n} in {precision} bits"):
        inferred = read(tmp_path / "field", shape=config.shape)
    assert (inferred.links == back.links).all()
    for wrong in ({"shape": (4, 2, 2, 5), "n_colours": n}, {"shape": config.shape, "n_colours": n + 1}):
        with pytest.raises(FormatError, match=f"{kind} length"):
            read(tmp_path / "field", **wrong)


@pytest.mark.parametrize("kept", ["ildg", "scidac-private|scidac-binary", "(?!scidac-checksum)"])
@pytest.mark.parametrize("precision", [32, 64])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_without_checksum_one_message_a_record(tmp_path, random_config, n, precision, kept):
    """Pure ILDG, bare SciDAC, and everything but the checksum: extents and colours are known from what is left."""
    config = random_config(n)
    write(tmp_path / "field", config, format="scidac" if "binary" in kept else "ildg", precision=precision)
    with open(tmp_path / "field", "rb") as source, open(tmp_path / "without", "wb") as target:
        for record in lime.scan(source, "field"):
            if re.match(kept, record.kind):
                source.seek(record.offset)
                lime.write_message(target, [(record.kind, source.read(record.length))])
    back = read(tmp_path / "without")
    assert (back.links == read(tmp_path / "field").links).all()
    assert back.metadata["precision"] == precision
    assert "checksum" not in back.metadata


@pytest.mark.parametrize("form", FORMS)
def test_links_outside_the_group_are_written_only_without_verification(tmp_path, random_config, form):
    config, precision = random_config(3, EVEN), 32 if form == "milc" else 64
    for value in (np.nan, np.inf, 2.0):
        config.links[1, 0, 3, 1, 1, 0, 0], keep = value, config.links[1, 0, 3, 1, 1, 0, 0]
        with pytest.raises(ValueError, match=r"link \(1, 0, 3, 1, 1\)"):
            write(tmp_path / "field", config, format=form, precision=precision)
        if not np.isfinite(value):
            with pytest.raises(ValueError, match="NaN or infinity"):
                write(tmp_path / "field", config, format=form, precision=precision, verify=False)
        config.links[1, 0, 3, 1, 1, 0, 0] = keep
    opposite = Config(-config.links)
    with pytest.raises(ValueError, match="det U"):
        write(tmp_path / "field", opposite, format=form, precision=precision)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "field", opposite, format=form, precision=precision, verify=False)
    with pytest.raises(FormatError, match="det U"):
        read(tmp_path / "field")
    assert abs(read(tmp_path / "field", verify=False).links - opposite.links).max() < 1e-6


def test_unverified_reading_lets_smeared_links_through_but_not_nan(tmp_path, random_config):
    config = random_config()
    for links, message in ((config.links * 0.5, "U U.dagger"), (config.links * np.nan, "NaN or infinity")):
        bare_lime(tmp_path / "field", Config(links), 64)
        arguments = {"shape": config.shape, "n_colours": 3}
        with pytest.raises(FormatError, match=message):
            read(tmp_path / "field", **arguments)
        if np.isfinite(links).all():
            assert (read(tmp_path / "field", **arguments, verify=False).links == links).all()
        else:
            with pytest.raises(FormatError, match=message):
                read(tmp_path / "field", **arguments, verify=False)


def test_what_could_not_be_read_is_not_written(tmp_path, random_config):
    config = random_config(2, (2, 2, 2, 2))
    for form, key, text, message in (
        ("nersc", "ensemble_label", "x" * 66000, "expected metadata for a header of 65536 bytes, got 66"),
        (
            "ildg",
            "record_xml",
            "x" * (17 << 20),
            "text of the record scidac-record-xml: expected at most 16777216 bytes",
        ),
        ("ildg", "xlf_info", "plaquette = foo", "'xlf_info': expected the plaquette of the links, got foo"),
    ):
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "x", replace(config, metadata={key: text}), format=form)
        assert not list(tmp_path.iterdir())


def test_devices_and_pipes_are_not_replaced(tmp_path, random_config):
    """As root a file would take the place of /dev/null."""
    config, pipe = random_config(3, (2, 2, 2, 2)), tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        for form in ("nersc", "ildg", "hdf5", "openqcd"):
            with pytest.raises(FileExistsError, match="expected a new name or a file, found a device, pipe or socket"):
                write(path, config, format=form)
    assert pipe.is_fifo()


def test_shape_may_be_any_sequence(tmp_path, random_config):
    config = random_config(2, (2, 3, 2, 4))
    write(tmp_path / "x", config, format="nersc")
    for shape in ((2, 3, 2, 4), [2, 3, 2, 4], np.array([2, 3, 2, 4])):
        assert read(tmp_path / "x", shape=shape).shape == (2, 3, 2, 4)


def test_bad_arguments(tmp_path, random_config):
    config = random_config()
    with pytest.raises(ValueError, match="unknown format 'jpeg'"):
        read(tmp_path / "field", format="jpeg")
    with pytest.raises(ValueError, match="unknown format 'jpeg'"):
        write(tmp_path / "field", config, format="jpeg")
    for form in FORMS:
        with pytest.raises(ValueError, match="precision"):
            write(tmp_path / "field", random_config(3, EVEN), format=form, precision=16)
    with pytest.raises(ValueError, match="MILC format: expected precision=32"):
        write(tmp_path / "field.milc", config)
    for options in ({"rows": 1}, {"byte_order": "middle"}):
        with pytest.raises(ValueError, match="NERSC"):
            write(tmp_path / "field", config, format="nersc", **options)
    with pytest.raises(ValueError, match="'creator'"):
        write(tmp_path / "field", Config(config.links, {"creator": "x\nPLAQUETTE = 1"}), format="nersc")
    with pytest.raises(TypeError, match="JSON"):
        write(tmp_path / "field", Config(config.links, {"creator": object()}), format="hdf5")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "field")
    for form in available_formats():
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "field", format=form)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="complex"):
        Config(config.links.real)
    with pytest.raises(TypeError, match=r"links: expected an array of NumPy, got .*; numpy\.from_dlpack"):
        Config(array_api_strict.asarray(config.links))
    for shape in ((4, 2, 2, 2, 2, 3, 2), (3, 2, 2, 2, 2, 3, 3), (1, 4, 3, 3), (2, 0, 2, 3, 3)):
        with pytest.raises(ValueError, match="shape"):
            Config(np.zeros(shape, complex))


def test_third_party_format(tmp_path, random_config, monkeypatch):
    """An entry point in the group gaugeflow.formats takes part in detection, reading and writing."""
    sizes = []

    class EntryPoint:
        name = "toy"

        def load(self):
            def read_toy(path, *, shape, n_colours, verify):
                return Config(np.load(path)["links"])

            def write_toy(path, config, *, precision):
                if precision != 64:
                    raise ValueError("toy holds nothing of single precision")
                with open(path, "wb") as handle:
                    np.savez(handle, links=config.links)

            def matches(start, size):
                sizes.append((len(start), size))
                return start.startswith(b"PK")

            return Format("toy", (".toy",), matches, read_toy, write_toy)

    monkeypatch.setattr(formats, "entry_points", lambda group: [EntryPoint()] if group == "gaugeflow.formats" else [])
    config = random_config()
    write(tmp_path / "field.toy", config)
    assert (read(tmp_path / "field.toy").links == config.links).all()
    assert "toy" in available_formats()
    assert (read(tmp_path / "field.toy", format="toy").links == config.links).all()
    sizes.clear()
    with pytest.raises(ValueError, match="toy holds nothing"):
        write(tmp_path / "field", config, format="toy", precision=32)
    (tmp_path / "foreign").write_bytes(b"x" * 1000)
    with pytest.raises(FormatError, match=r"format: expected one of .*'toy'"):
        read(tmp_path / "foreign")
    assert sizes == [(256, 1000)]


def test_h5py_is_imported_only_when_needed():
    program = (
        "import sys, gaugeflow.io as io; assert 'h5py' not in sys.modules; "
        "io.EnsembleFile; assert 'h5py' in sys.modules; "
        "assert all(hasattr(io, name) for name in io.__all__); assert not hasattr(io, 'nonsense')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
