"""Truncated, corrupted, foreign and hostile files: `FormatError` with a name in it, and nothing else."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
import warnings

import h5py
import numpy as np
import pytest

from gaugeflow.errors import FormatError, FormatWarning
from gaugeflow.io import (
    Config,
    EnsembleFile,
    files,
    lime,
    nersc,
    read,
    read_params,
    read_table,
    write,
    write_params,
    write_table,
)
from gaugeflow.io.config import plaquette

WRITERS = {
    "nersc": {"format": "nersc"},
    "nersc-small": {"format": "nersc", "precision": 32, "rows": 2, "byte_order": "little"},
    "ildg": {"format": "ildg"},
    "scidac": {"format": "scidac", "precision": 32},
    "milc": {"format": "milc", "precision": 32},
    "hdf5": {"format": "hdf5"},
}
METADATA = {"sequence_number": 3, "creator": "test", "lfn": "lfn://a", "creation_date": "Thu Apr 14 17:20:32 2022"}


@pytest.fixture
def stored(random_config, tmp_path):
    """Factory: bytes of a file in the format, the links read from it, and the range of the data in it."""

    def make(name):
        path = tmp_path / f"original-{name}"
        shape = (2, 2, 4, 2) if name == "openqcd" else (4, 1, 3, 2)
        write(path, Config(random_config(3, shape).links, METADATA), **WRITERS.get(name, {"format": name}))
        content = path.read_bytes()
        if name == "hdf5":
            with h5py.File(path) as file:
                start, length = file["links"].id.get_offset(), file["links"].nbytes
        elif name in ("ildg", "scidac"):
            with open(path, "rb") as handle:
                binary = next(record for record in lime.scan(handle, path) if "binary" in record.kind)
            start, length = binary.offset, binary.length
        else:
            fixed = {"milc": 96, "openqcd": 24}
            start = fixed[name] if name in fixed else content.index(b"END_HEADER\n") + len(b"END_HEADER\n")
            length = len(content) - start
        links = read(path).links
        path.unlink()
        return content, links, range(start, start + length)

    return make


@pytest.mark.parametrize("name", WRITERS)
def test_any_corrupted_byte_of_the_data_is_caught(tmp_path, stored, name):
    content, _, data = stored(name)
    rng = random.Random(1)
    path = tmp_path / "damaged"
    for position in (data[0], data[-1], *rng.sample(data, 60)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match=re.escape(str(path))):
            read(path)


def test_the_plaquette_of_openqcd_sees_small_changes(tmp_path, stored):
    """Entries off by 1e-5 of themselves or less, which leave links in the group: the average is good to 1e-10.

    A change at right angles to the staples has no effect to first order; a few of the forty may pass.
    """
    content, _, data = stored("openqcd")
    path, rng, refused = tmp_path / "damaged", random.Random(2), 0
    for position in rng.sample(data[::8], 40):
        damaged = bytearray(content)
        damaged[position + 4] ^= 0x08
        path.write_bytes(damaged)
        try:
            read(path)
        except FormatError as error:
            refused += "average plaquette / 3" in str(error)
    assert refused >= 36


@pytest.mark.parametrize("name", WRITERS)
def test_truncation_and_trailing_bytes(tmp_path, stored, name):
    content, links, data = stored(name)
    lengths = {0, 1, 7, 100, data[0] - 1, data[0], data[0] + 1, data[-1] - 7, data[-1], len(content) - 1}
    path = tmp_path / "damaged"
    for length in sorted(lengths | set(range(0, len(content), len(content) // 40))):
        path.write_bytes(content[:length])
        with pytest.raises(FormatError, match=re.escape(str(path))):
            read(path)
    if name != "hdf5":  # HDF5 allows bytes after its end
        path.write_bytes(content + b"\n")
        with pytest.raises(FormatError, match="length"):
            read(path)
    if name in ("ildg", "scidac"):  # a cut between records leaves a complete file without the checksum
        path.write_bytes(content[: data[-1] + 1])
        back = read(path)
        assert (back.links == links).all()
        assert "checksum" not in back.metadata


HEADER_EDITS = [
    ("nersc", rb"PLAQUETTE = \S+", b"PLAQUETTE = 0.7", "PLAQUETTE"),
    ("nersc", rb"PLAQUETTE = \S+", b"PLAQUETTE = nan", "PLAQUETTE"),
    ("nersc", rb"PLAQUETTE = \S+", b"PLAQUETTE = high", "PLAQUETTE"),
    ("nersc", rb"LINK_TRACE = \S+", b"LINK_TRACE = 0.7", "LINK_TRACE"),
    ("nersc", rb"LINK_TRACE = \S+\n", b"", "LINK_TRACE: expected present"),
    ("nersc", rb"CHECKSUM = \S+", b"CHECKSUM = 12345678", "CHECKSUM: expected 12345678, found"),
    ("nersc", rb"CHECKSUM = \S+", b"CHECKSUM = many", "CHECKSUM"),
    ("nersc", rb"CHECKSUM = \S+\n", b"", "CHECKSUM: expected present"),
    ("nersc", rb"DIMENSION_2 = 3", b"DIMENSION_2 = 4", "data length in bytes"),
    ("nersc", rb"DIMENSION_2 = 3", b"DIMENSION_2 = -3", "DIMENSION_2"),
    ("nersc", rb"DIMENSION_2 = 3", b"DIMENSION_2 = 0", "DIMENSION_2"),
    ("nersc", rb"DIMENSION_2 = 3", b"DIMENSION_2 = " + b"9" * 5000, "DIMENSION_2"),
    ("nersc", rb"DIMENSION_2 = 3\n", b"", "DIMENSION_2: expected present"),
    ("nersc", rb"DIMENSION_2 = 3", b"DIMENSION_1 = 2", "DIMENSION_1: expected one value"),
    ("nersc", rb"DIMENSION_1 = 2\nDIMENSION_2 = 3", b"DIMENSION_1 = 3\nDIMENSION_2 = 2", "PLAQUETTE"),
    ("nersc", rb"SU3_GAUGE_3x3", b"SU3_GAUGE_3x2", "DATATYPE"),
    ("nersc", rb"SU3_GAUGE_3x3", b"SU4_GAUGE_4x4", "data length in bytes"),
    ("nersc", rb"SU3_GAUGE_3x3", b"SU3_FERMION", "DATATYPE"),
    ("nersc", rb"IEEE64BIG", b"IEEE32BIG", "data length in bytes"),
    ("nersc", rb"IEEE64BIG", b"IEEE64LITTLE", "CHECKSUM"),
    ("nersc", rb"IEEE64BIG", b"VAX", "FLOATING_POINT"),
    ("nersc", rb"CREATOR = test", b"CREATOR test", "header line"),
    ("nersc", rb"END_HEADER", b"END-HEADER", "END_HEADER"),
    ("ildg", rb"<lx>2", b"<lx>3", "shape from scidac-private-file-xml"),
    ("ildg", rb"<lx>2", b"<lx>x", "ildg-format <lx>"),
    ("ildg", rb"<lx>2</lx>", b"<lx>2</ly>", "ildg-format number of elements <l[xy]>"),
    ("ildg", rb"<precision>64", b"<precision>32", "precision from scidac-private-record-xml"),
    ("ildg", rb"<field>su3gauge", b"<field>su2gauge", "n_colours from scidac-private-record-xml"),
    ("ildg", rb"<field>su3gauge", b"<field>spingaug", "ildg-format <field>"),
    ("ildg", rb"<colors>3", b"<colors>4", "n_colours from scidac-private-record-xml"),
    ("ildg", rb"<typesize>144", b"<typesize>145", "ildg-binary-data length"),
    ("ildg", rb"<volfmt>0", b"<volfmt>1", "scidac-private-file-xml <volfmt>"),
    ("ildg", rb"<suma>\w", b"<suma>x", "scidac-checksum <suma>"),
    ("ildg", rb"<sumb>\w{8}", b"<sumb>00000000", "<sumb>: expected .{8} 00000000, found"),
    ("ildg", rb"ildg-binary-data", b"ildg-binary-dato", "binary record"),
    ("ildg", rb"scidac-record-xml", b"ildg-binary-data\0", "number of records ildg-binary-data"),
    ("ildg", rb"\x45\x67\x89\xab\x00\x01(?=.{10}ildg-format)", b"\x45\x67\x89\xac\x00\x01", "record 4 magic number"),
    ("ildg", rb"\x45\x67\x89\xab\x00\x01(?=.{10}ildg-format)", b"\x45\x67\x89\xab\x00\x02", "record 4 version"),
    ("milc", rb"^.{4}\x02", b"\x87N\0\0\x03", "data length in bytes"),
    ("milc", rb"^.{4}\x02...", b"\x87N\0\0\xff\xff\xff\xff", "lattice shape"),
    ("milc", rb"(?<=^.{84})\0", b"\x01", "site order"),
    ("milc", rb"(?<=^.{88})....", b"\x01\x02\x03\x04", "sum29 and sum31: expected 04030201 .{8}, found"),
    ("milc", rb"(?<=^.{92})....", b"\x01\x02\x03\x04", "sum29 and sum31: expected .{8} 04030201, found"),
]


@pytest.mark.parametrize(("name", "pattern", "replacement", "field"), HEADER_EDITS)
def test_the_wrong_header_field_is_named(tmp_path, stored, name, pattern, replacement, field):
    content, _, data = stored(name)
    head, tail = content[: data[0]], content[data[0] :]
    in_head = re.search(pattern, head, re.DOTALL) is not None
    edited = re.sub(pattern, lambda _: replacement, head if in_head else tail, count=1, flags=re.DOTALL)
    assert edited != (head if in_head else tail)
    path = tmp_path / "damaged"
    path.write_bytes(edited + tail if in_head else head + edited)
    with pytest.raises(FormatError, match=field) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "expected" in str(caught.value)
    assert "found" in str(caught.value)


def test_the_xlf_plaquette_is_checked(tmp_path, random_config):
    config = random_config()
    path = tmp_path / "field"
    text = f"plaquette = {plaquette(config.links):+.6f}"
    write(path, Config(config.links, {"xlf_info": text}), format="ildg")
    content = path.read_bytes()
    assert read(path).metadata["plaquette"] == float(text.split()[-1])
    for value, field in ((b"0.9", "xlf-info plaquette"), (b"high", "xlf-info plaquette: expected a number")):
        path.write_bytes(content.replace(text.encode(), b"plaquette = " + value.ljust(9)))
        with pytest.raises(FormatError, match=field):
            read(path)
    with pytest.raises(ValueError, match="xlf_info"):
        write(path, Config(config.links, {"xlf_info": "plaquette = 0.9"}), format="ildg")


@pytest.mark.parametrize("content", [b"", b"\0", b"BEGIN", b"\x89PNG\r\n\x1a\n" + bytes(300), os.urandom(4000), b"{}"])
def test_foreign_files(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="format: expected one of"):
        read(path)
    for form in ("nersc", "ildg", "scidac", "milc", "openqcd", "hdf5"):
        with pytest.raises(FormatError, match=re.escape(str(path))):
            read(path, format=form)


def hostile_nersc(dimension, colours=3):
    dimensions = "".join(f"DIMENSION_{i} = {dimension}\n" for i in range(1, 5))
    return (
        f"BEGIN_HEADER\n{dimensions}DATATYPE = 4D_SU{colours}_GAUGE\nFLOATING_POINT = IEEE64BIG\nEND_HEADER\n".encode()
    )


def hostile_lime(*records):
    return b"".join(
        lime._HEADER.pack(lime.MAGIC, 1, 0, length, kind) + data.ljust((len(data) + 7) // 8 * 8, b"\0")
        for kind, length, data in records
    )


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "2222222222"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><ildgFormat><field>su3gauge</field>'
LAUGHS += b"<precision>64</precision><lx>&b;</lx><ly>2</ly><lz>2</lz><lt>2</lt></ildgFormat>"
COMMENTS = b"<!--" * 200_000
HOSTILE = {
    "nersc-large": hostile_nersc(999_999_999),
    "nersc-colours": hostile_nersc(1, 99) + bytes(99 * 98 * 4 * 16),
    "nersc-endless": b"BEGIN_HEADER\n" + b"A = 1\n" * 100_000,
    "lime-length": hostile_lime((b"ildg-binary-data", 2**64 - 1, b"")),
    "lime-overflow": hostile_lime((b"ildg-format", 2**63, b"")),
    "lime-empty": hostile_lime((b"ildg-binary-data", 0, b"")),
    "lime-nameless": hostile_lime((b"", 0, b"")),
    "lime-binary-name": hostile_lime((b"\xff\xfe", 0, b"")),
    "lime-many": hostile_lime(*[(b"x", 0, b"")] * 5000),
    "lime-laughs": hostile_lime((b"ildg-format", len(LAUGHS), LAUGHS), (b"ildg-binary-data", 8, bytes(8))),
    "lime-comments": hostile_lime((b"ildg-format", len(COMMENTS), COMMENTS), (b"ildg-binary-data", 8, bytes(8))),
    "lime-text": hostile_lime((b"xlf-info", 1 << 25, bytes(1 << 25)), (b"ildg-binary-data", 8, bytes(8))),
    "milc-large": np.array([20103] + [2**31 - 1] * 4, "<i4").tobytes() + bytes(76),
    "milc-negative": np.array([20103, -1, -1, 1, 1], "<i4").tobytes() + bytes(76 + 288),
    "openqcd-large": np.array([2**30] * 4, "<i4").tobytes() + np.array([1.5]).tobytes() + bytes(288),
    "openqcd-negative": np.array([-2, -2, 2, 2], "<i4").tobytes() + np.array([1.5]).tobytes() + bytes(16 * 4 * 144),
    "milc-short": np.array([20103], ">i4").tobytes(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_neither_memory_nor_time(tmp_path, name):
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=re.escape(str(path))):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(HOSTILE[name]) + 2_000_000
    assert time.perf_counter() - started < 5


def test_scidac_with_absurdly_many_dimensions(tmp_path):
    xml = f"<spacetime>99</spacetime><dims>{'1 ' * 99}</dims><volfmt>0</volfmt>".encode()
    content = hostile_lime((b"scidac-private-file-xml", len(xml), xml), (b"ildg-binary-data", 99 * 8, bytes(99 * 8)))
    (tmp_path / "hostile").write_bytes(content)
    with pytest.raises(FormatError, match="<spacetime>"):
        read(tmp_path / "hostile", n_colours=1)


def hostile_hdf5(path, kind, edit):
    """Take a good file and change it with h5py itself."""
    with h5py.File(path, "r+", libver=("v108", "v108")) as file:
        edit(file)


def replace_links(file, **options):
    attributes = dict(file["links"].attrs)
    del file["links"]
    file.create_dataset("links", **options).attrs.update(attributes)


def link_elsewhere(file, link):
    del file["links"]
    file["links"] = link


HDF5_EDITS = {
    "large": (lambda file: replace_links(file, shape=(4, *[10**5] * 4, 3, 3), dtype="c16", chunks=(1,) * 7), "size"),
    "compressed": (
        lambda file: replace_links(file, data=np.zeros((2, 500, 500, 3, 3), complex), compression="gzip"),
        "size|crc32",
    ),
    "external": (
        lambda file: replace_links(file, shape=(2, 2, 2, 1, 1), dtype="c16", external="/etc/passwd"),
        "external",
    ),
    "soft": (lambda file: link_elsewhere(file, h5py.SoftLink("/attributes")), "present in the file"),
    "elsewhere": (lambda file: link_elsewhere(file, h5py.ExternalLink("other.h5", "/links")), "present in the file"),
    "missing": (lambda file: file.__delitem__("links"), "present in the file"),
    "group": (lambda file: link_elsewhere(file, file.create_group("other")), "present in the file"),
    "text": (lambda file: replace_links(file, data=["a", "b"]), "type"),
    "real": (lambda file: replace_links(file, data=np.zeros((2, 2, 2, 1, 1))), "type"),
    "format": (lambda file: file.__delitem__("format"), "/format"),
    "attributes": (lambda file: file.__delitem__("attributes"), "/attributes"),
    "plaquette": (lambda file: file["links"].attrs.modify("plaquette", np.float64(0.9)), "plaquette"),
    "link_trace": (lambda file: file["links"].attrs.__delitem__("link_trace"), "link_trace"),
    "vector": (lambda file: file["links"].attrs.create("plaquette", np.zeros(3)), "plaquette"),
    "unmarked": (lambda file: file["links"].attrs.__delitem__("crc32"), "crc32"),
}


@pytest.mark.parametrize("name", HDF5_EDITS)
def test_hostile_hdf5(tmp_path, random_config, name):
    edit, field = HDF5_EDITS[name]
    path = tmp_path / "field.h5"
    write(path, random_config())
    hostile_hdf5(path, "config", edit)
    with pytest.raises(FormatError, match=field):
        read(path)


def test_other_kinds_of_hdf5_files_are_named(tmp_path):
    write_table(tmp_path / "table.h5", {"x": [1.0]})
    with pytest.raises(FormatError, match="format: expected gaugeflow configuration 1, found gaugeflow table 1"):
        read(tmp_path / "table.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    for reader in (read, read_table, read_params, EnsembleFile.open):
        with pytest.raises(FormatError, match="/format"):
            reader(tmp_path / "foreign.h5")


def read_ensemble(path):
    with EnsembleFile.open(path) as ensemble:
        return ensemble.read(0, len(ensemble))


def arrays(value):
    """All arrays in what a reader returned, in a fixed order."""
    if isinstance(value, Config):
        return [value.links]
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    return [array for item in value for array in arrays(item)] if isinstance(value, (tuple, list)) else [value]


def without_attributes(reader):
    """The reader without the attributes of tables and parameters."""
    return lambda path: reader(path)[0] if reader in (read_table, read_params) else reader(path)


GROUP = 3e-5
"""Links stay in the group within 1e-5 if an entry changes by this at most: so much may pass without a checksum."""


def allowed(name, found):
    """By how much a field that was accepted may differ from the good one.

    The plain sum of NERSC does not see two changes that cancel, openQCD has no checksum, and a LIME file loses its own
    when a bit flips in the name of that record.
    """
    unsigned = isinstance(found, Config) and "checksum" not in found.metadata
    return GROUP if unsigned or name.startswith("nersc") else 0


@pytest.fixture
def fuzz_target(tmp_path, stored, random_config):
    """Factory: (reader, bytes of a good file) by name."""

    def make(name):
        if name in WRITERS or name == "openqcd":
            return read, stored(name)[0]
        path = tmp_path / "good"
        if name == "table":
            write_table(path, {"x": np.arange(5.0), "y": np.ones((2, 3), complex)}, attributes={"a": [1, 2]})
        elif name == "params":
            write_params(path, {"a": {"w": np.ones(4), "e": {}}, "b": np.arange(3)}, attributes={"a": "b"})
        else:
            links = random_config(2, (2, 2)).links
            with EnsembleFile.create(path, shape=(2, 2), n_colours=2, capacity=3) as ensemble:
                ensemble.append(np.stack([links, links.conj()]), id=[4, 5], log_weight=[0.5, 0.25])
        return {"table": read_table, "params": read_params, "ensemble": read_ensemble}[name], path.read_bytes()

    return make


def mutate(rng, content):
    """Flip bits or overwrite short pieces, more often near the ends where headers are, or cut or extend the file."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        place = rng.randrange(len(content) if rng.random() < 0.4 else min(len(content), 1500))
        position = place if rng.random() < 0.7 else len(content) - 1 - place
        if rng.random() < 0.3:
            damaged[position] ^= 1 << rng.randrange(8)
            continue
        size = rng.choice((1, 1, 2, 4, 8))
        fills = (bytes(size), b"\xff" * size, rng.randbytes(size), b"9" * size, b"\x7f" + bytes(size - 1))
        damaged[position : position + size] = rng.choice(fills)
    kind = rng.random()
    if kind < 0.1:
        return damaged[: rng.randrange(len(damaged))]
    if kind < 0.15:
        return damaged + rng.randbytes(rng.choice((1, 8, 200)))
    if kind < 0.2:
        position = rng.randrange(len(damaged))
        return damaged[:position] + rng.randbytes(rng.choice((1, 8))) + damaged[position:]
    return damaged


def run_fuzz(path, target, cases, seed, name):
    """Every damaged file is refused with `FormatError` or gives the same field as the good one.

    No case may take seconds, and all together no memory to speak of.
    """
    reader, content = without_attributes(target[0]), target[1]
    rng = random.Random(seed)
    path.write_bytes(content)
    expected = arrays(reader(path))
    refused, longest, memory = 0, 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(cases):
        path.write_bytes(mutate(rng, content))
        started = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FormatWarning
                )  # a damaged tag may leave out what the length says as well
                found = reader(path)
        except FormatError:
            refused += 1
        else:
            tolerance, found = allowed(name, found), arrays(found)
            assert [array.shape for array in found] == [array.shape for array in expected], case
            pairs = zip(found, expected, strict=True)
            assert all(np.allclose(one, other, rtol=0, atol=tolerance) for one, other in pairs), case
        longest = max(longest, time.process_time() - started)
    assert refused > cases // 4
    assert longest < 3.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000  # KB


TARGETS = [*WRITERS, "openqcd", "table", "params", "ensemble"]


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz(tmp_path, fuzz_target, name):
    run_fuzz(tmp_path / "fuzzed", fuzz_target(name), 200, 11, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_long(tmp_path, fuzz_target, name):
    run_fuzz(tmp_path / "fuzzed", fuzz_target(name), 20_000, 12, name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_leaves_the_old_file(tmp_path, random_config, monkeypatch, name):
    path = tmp_path / "field"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, random_config(), **WRITERS[name])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "field.nersc"
    path.write_bytes(b"old")
    program = (
        "import sys, time, numpy as np; from gaugeflow.io import Config, files, write\n"
        "files.os.fsync = lambda descriptor: (print('written', flush=True), time.sleep(60))\n"
        "write(sys.argv[1], Config(np.broadcast_to(np.eye(3, dtype=complex), (4, 2, 2, 2, 2, 3, 3))))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"


def test_writing_follows_a_symbolic_link(tmp_path, random_config):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.nersc").symlink_to(tmp_path / "folder" / "target.nersc")
    write(tmp_path / "link.nersc", random_config())
    assert (tmp_path / "link.nersc").is_symlink()
    assert nersc.read(tmp_path / "folder" / "target.nersc").shape == random_config().shape
