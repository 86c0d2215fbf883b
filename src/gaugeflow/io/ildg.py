"""ILDG and SciDAC (QIO) gauge configurations in LIME files.

Sources: the ILDG binary file format specification 1.1 (ILDG metadata working group); QIO (usqcd-software/qio) for the
SciDAC records and checksum. The binary record is ``ildg-binary-data`` or ``scidac-binary-data``: sites in the order
t, z, y, x (x fastest), directions x, y, z, t, big endian. Everything else in the file is optional on reading: with the
extents given, the length of the binary record decides both N and the precision, because N^2 = 2 M^2 has no solution.
"""

from __future__ import annotations

import html
import math
import os
import re
import time
import warnings
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gaugeflow.errors import FormatWarning
from gaugeflow.io import lime
from gaugeflow.io.arguments import argument
from gaugeflow.io.checksums import combined, scidac_checksum
from gaugeflow.io.config import (
    TOLERANCE,
    Config,
    Stated,
    empty_links,
    plaquette,
    put_sites,
    sites_of,
    verify_links,
)
from gaugeflow.io.files import (
    StrPath,
    empty_file,
    integer_or_text,
    mismatch,
    parse_integer,
    parse_number,
    require_equal,
    single_line,
)
from gaugeflow.io.formats import Format
from gaugeflow.io.part import Part
from gaugeflow.io.runs import pieces, read_sites, shared_file, write_items
from gaugeflow.lattice import Lattice

_BINARY_KINDS = ("ildg-binary-data", "scidac-binary-data")
_TEXT_KINDS = {
    "ildg-data-lfn": "lfn",
    "xlf-info": "xlf_info",
    "scidac-file-xml": "file_xml",
    "scidac-record-xml": "record_xml",
}
_XML_KINDS = ("ildg-format", "scidac-private-file-xml", "scidac-private-record-xml", "scidac-checksum")
_PRECISIONS = {"F": 32, "D": 64}
_MOST_DIMENSIONS = 16
_XML_START = '<?xml version="1.0" encoding="UTF-8"?>'
_XLF_PLAQUETTE = re.compile(r"\bplaquette\s*=\s*([^\s,]+)")
_XLF_TRAJECTORY = re.compile(r"\btrajectory nr\s*=\s*([0-9]+)")


_Record = tuple[str, bytes | int]
"""Type name of a record, and its data or how many bytes they are."""


class _Layout(NamedTuple):
    """What one source says about the binary record: ``None`` where it is silent."""

    shape: tuple[int, ...] | None = None  # (t, z, y, x)
    precision: int | None = None  # bits per real number
    n_colours: int | None = None
    site_bytes: int | None = None


def read(
    path: StrPath,
    *,
    shape: tuple[int, ...] | None = None,
    n_colours: int | None = None,
    verify: bool = True,
    lattice: Lattice | None = None,
) -> Config:
    """Read an ILDG or SciDAC configuration.

    Parameters
    ----------
    path : path
    shape : tuple of int, optional
        Lattice extents ``(t, z, y, x)``: needed where no record states them, otherwise an expectation.
    n_colours : int, optional
        Number of colours, an expectation too; what neither it nor a record states follows from the length of the data.
    verify : bool
        Check the checksum and the ``xlf-info`` plaquette where the file has them, unitarity and determinant.
    lattice : Lattice, optional
        Where it is cut over processes, each reads its own sites.

    Returns
    -------
    Config
        Links in double precision. ``metadata`` has ``checksum`` (``"suma sumb"``) only if the file states one.

    Raises
    ------
    FormatError
        If anything about the file is wrong, or it needs ``shape``.

    Warns
    -----
    FormatWarning
        If the file lacks what its format demands or does not state N, with what was inferred.
    """
    part = Part(lattice)
    missing: list[str] = []
    with open(path, "rb") as handle:
        records = lime.scan(handle, path)
        binary = _one_record(path, records, _BINARY_KINDS)
        if binary is None:
            raise mismatch(path, "binary record", " or ".join(_BINARY_KINDS), [record.kind for record in records[:20]])
        xml = _read_texts(handle, path, records, {kind: kind for kind in _XML_KINDS})
        texts = _read_texts(handle, path, records, _TEXT_KINDS)
        layouts = {"argument": _Layout(shape=shape, n_colours=n_colours), **_stated_layouts(path, xml, missing)}
        extents, precision, n = _settle(path, layouts, binary, missing if part.rank == 0 else None)
        stated = _stated_checksum(path, xml["scidac-checksum"]) if "scidac-checksum" in xml else None
        links, d, own = empty_links(extents, n, part), len(extents), []
        for piece, data in read_sites(
            handle, path, binary.kind, binary.offset, extents, part, d * n * n * precision // 4
        ):
            if verify and stated is not None:
                own.append(scidac_checksum(data, piece.places))
            put_sites(links, piece, data.view(f">c{precision // 4}").reshape(-1, d, n, n))

    metadata: dict[str, object] = {"format": binary.kind.split("-")[0], "precision": precision, "byte_order": "big"}
    metadata |= texts
    if stated is not None:
        metadata["checksum"] = "{:08x} {:08x}".format(*stated)
        if verify:
            found = "{:08x} {:08x}".format(*combined(part.gather(combined(own))))
            require_equal(path, "scidac-checksum <suma> and <sumb>", metadata["checksum"], found)
    if "scidac-private-record-xml" in xml:
        dates = _elements(xml["scidac-private-record-xml"], "date")
        if dates:
            metadata["creation_date"] = html.unescape(dates[0])
    averages = []
    info = texts.get("xlf_info", "")
    if trajectory := _XLF_TRAJECTORY.search(info):
        metadata["sequence_number"] = integer_or_text(trajectory[1])
    if average := _XLF_PLAQUETTE.search(info):
        value = parse_number(path, "xlf-info plaquette", average[1])
        metadata["plaquette"] = value
        averages.append(Stated("xlf-info plaquette", value, plaquette))
    verify_links(path, links, averages, verify, part=part)
    return Config(links, metadata, lattice=lattice)


def write(path: StrPath, config: Config, *, precision: int = 64) -> None:
    """Write a four-dimensional configuration as ILDG with the SciDAC records and checksum, atomically.

    Parameters
    ----------
    path : path
    config : Config
        ``lfn``, ``xlf_info``, ``file_xml``, ``record_xml`` and ``creation_date`` of its metadata become records.
    precision : {64, 32}

    Raises
    ------
    ValueError
        If the field does not fit the format, ``xlf_info`` states the plaquette of another field, or a text is longer than
        `read` takes (16 MiB).
    """
    if len(config.shape) != 4:
        raise ValueError(
            f"ILDG format: expected a 4D field, got shape {config.shape}: {argument('format')} can be scidac or hdf5"
        )
    extents = "".join(f"<l{axis}>{extent}</l{axis}>" for axis, extent in zip("tzyx", config.shape, strict=True))
    ildg_format = (
        f'{_XML_START}<ildgFormat xmlns="http://www.lqcd.org/ildg" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f' xsi:schemaLocation="http://www.lqcd.org/ildg/filefmt.xsd"><version>1.0</version>'
        f"<field>su{config.n_colours}gauge</field><precision>{precision}</precision>{extents}</ildgFormat>"
    )
    records: list[_Record] = [("ildg-format", ildg_format.encode())]
    if "lfn" in config.metadata:
        records.append(("ildg-data-lfn", single_line(config.metadata, "lfn").encode()))
    _write(path, config, precision, records, "ildg-binary-data")


def write_scidac(path: StrPath, config: Config, *, precision: int = 64) -> None:
    """Write a configuration in any number of dimensions in the SciDAC format of QIO; otherwise as `write`."""
    _write(path, config, precision, [], "scidac-binary-data")


def _write(path: StrPath, config: Config, precision: int, records: list[_Record], binary_kind: str) -> None:
    """Write the messages of QIO: the file's description, then the record's with ``records`` before the data."""
    if precision not in (32, 64):
        raise ValueError(f"LIME formats: expected precision 32 or 64, got {precision!r}")
    metadata, d, n, part = config.metadata, len(config.shape), config.n_colours, config.part
    stated = _XLF_PLAQUETTE.search(str(metadata.get("xlf_info", "")))
    if stated and not abs(_number(stated[1]) - plaquette(config.links, part)) <= TOLERANCE:
        raise ValueError(f"metadata 'xlf_info': expected the plaquette of the links, got {stated[1]}")
    letter = {32: "F", 64: "D"}[precision]
    date = single_line(metadata, "creation_date", time.strftime("%a %b %d %H:%M:%S %Y UTC", time.gmtime()))
    private_file = (
        f"{_XML_START}<scidacFile><version>1.1</version><spacetime>{d}</spacetime>"
        f"<dims>{' '.join(map(str, config.shape[::-1]))} </dims><volfmt>0</volfmt></scidacFile>"
    )
    private_record = (
        f"{_XML_START}<scidacRecord><version>1.1</version><date>{html.escape(date)}</date><recordtype>0</recordtype>"
        f"<datatype>QDP_{letter}{n}_ColorMatrix</datatype><precision>{letter}</precision><colors>{n}</colors>"
        f"<spins>1</spins><typesize>{n * n * precision // 4}</typesize><datacount>{d}</datacount></scidacRecord>"
    )
    user_xml = f"{_XML_START}<title>gauge configuration</title>"
    site_bytes = d * n * n * precision // 4
    messages: list[list[_Record]] = [
        [
            ("scidac-private-file-xml", private_file.encode()),
            ("scidac-file-xml", str(metadata.get("file_xml", user_xml)).encode()),
        ],
        [
            ("scidac-private-record-xml", private_record.encode()),
            ("scidac-record-xml", str(metadata.get("record_xml", user_xml)).encode()),
            *records,
            (binary_kind, math.prod(config.shape) * site_bytes),
            ("scidac-checksum", _checksum_xml((0, 0))),
        ],
    ]
    if "xlf_info" in metadata:
        messages.insert(0, [("xlf-info", str(metadata["xlf_info"]).encode())])
    for message in messages:
        lime.require_readable(message)
    with shared_file(path, part, empty_file(0)) as handle:
        places = [lime.write_message(handle, message) for message in messages] if part.rank == 0 else []
        data_offset, checksum_offset = part.share(tuple(places[-1][-2:]) if places else ())
        own = []
        for piece in pieces(config.shape, part.box(config.shape), site_bytes):
            data = sites_of(config.links, piece, f">c{precision // 4}")
            own.append(scidac_checksum(data.reshape(len(data), -1).view(np.uint8), piece.places))
            write_items(handle, data_offset, piece.places, data)
        sums = combined(part.gather(combined(own)))
        if part.rank == 0:
            handle.seek(checksum_offset)
            handle.write(_checksum_xml(sums))


def _number(text: str) -> float:
    """The number, or NaN where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _checksum_xml(sums: tuple[int, int]) -> bytes:
    return (
        f"{_XML_START}<scidacChecksum><version>1.0</version><suma>{sums[0]:08x}</suma><sumb>{sums[1]:08x}</sumb>"
        f"</scidacChecksum>"
    ).encode()


def _one_record(path: StrPath, records: list[lime.Record], kinds: tuple[str, ...]) -> lime.Record | None:
    found = [record for record in records if record.kind in kinds]
    if len(found) > 1:
        raise mismatch(path, f"number of records {' or '.join(kinds)}", "at most 1", len(found))
    return found[0] if found else None


def _read_texts(handle: BinaryIO, path: StrPath, records: list[lime.Record], names: dict[str, str]) -> dict[str, str]:
    """Read the text records that exist, under the given names."""
    found = {name: _one_record(path, records, (kind,)) for kind, name in names.items()}
    return {name: lime.read_text(handle, path, record) for name, record in found.items() if record is not None}


def _elements(xml: str, name: str) -> list[str]:
    """Contents of the elements ``name`` that have no children.

    The records hold flat lists of numbers and words; matching them directly leaves no room for entities, includes or
    nesting, which a general parser would have to be kept from following.
    """
    without_comments = "".join(part.rpartition("-->")[2] for part in xml.split("<!--"))
    return [text.strip() for text in re.findall(rf"<(?:\w+:)?{name}\s*>([^<]*)</(?:\w+:)?{name}\s*>", without_comments)]


def _element(path: StrPath, kind: str, xml: str, name: str) -> str:
    found = _elements(xml, name)
    if len(found) != 1:
        raise mismatch(path, f"{kind} number of elements <{name}>", 1, len(found))
    return found[0]


def _integer(path: StrPath, kind: str, xml: str, name: str, *, least: int = 1) -> int:
    return parse_integer(path, f"{kind} <{name}>", _element(path, kind, xml, name), least=least)


class _Records(NamedTuple):
    """The descriptive records of a file, and names of elements that they lack and the length of the data replaces."""

    path: StrPath
    xml: dict[str, str]
    missing: list[str]

    def text(self, kind: str, name: str) -> str | None:
        """Content of an element; None where there is none, which is remembered."""
        if not _elements(self.xml[kind], name):
            self.missing.append(f"{kind} <{name}>")
            return None
        return _element(self.path, kind, self.xml[kind], name)

    def integer(self, kind: str, name: str, *, least: int = 1) -> int | None:
        """Content of an element that is an integer."""
        text = self.text(kind, name)
        return None if text is None else parse_integer(self.path, f"{kind} <{name}>", text, least=least)


def _stated_layouts(path: StrPath, xml: dict[str, str], missing: list[str]) -> dict[str, _Layout]:
    """What the three descriptive records say, those that exist; ``missing`` gets the names of elements that they lack."""
    records = _Records(path, xml, missing)
    layouts = {}
    if (kind := "ildg-format") in xml:
        extents = tuple(_integer(path, kind, xml[kind], f"l{axis}") for axis in "tzyx")
        field = records.text(kind, "field")
        match = re.fullmatch(r"su([1-9][0-9]?)gauge", field or "")
        if field is not None and not match:
            raise mismatch(path, f"{kind} <field>", "su{N}gauge", field)
        layouts[kind] = _Layout(extents, records.integer(kind, "precision"), int(match[1]) if match else None)
    if (kind := "scidac-private-file-xml") in xml:
        require_equal(path, f"{kind} <volfmt>", 0, records.integer(kind, "volfmt", least=0) or 0)
        words = _element(path, kind, xml[kind], "dims").split()
        d = records.integer(kind, "spacetime", least=2) or len(words)
        if not 2 <= d <= _MOST_DIMENSIONS:
            raise mismatch(path, f"{kind} <spacetime>", f"2 to {_MOST_DIMENSIONS}", d)
        require_equal(path, f"{kind} number of <dims>", d, len(words))
        layouts[kind] = _Layout(tuple(parse_integer(path, f"{kind} <dims>", word, least=1) for word in words[::-1]))
    if (kind := "scidac-private-record-xml") in xml:
        letter = records.text(kind, "precision")
        if letter is not None and letter not in _PRECISIONS:
            raise mismatch(path, f"{kind} <precision>", "F or D", letter)
        size, count = records.integer(kind, "typesize"), records.integer(kind, "datacount")
        layouts[kind] = _Layout(
            precision=_PRECISIONS[letter] if letter is not None else None,
            n_colours=records.integer(kind, "colors"),
            site_bytes=size * count if size is not None and count is not None else None,
        )
    return layouts


def _settle(
    path: StrPath, layouts: dict[str, _Layout], binary: lime.Record, missing: list[str] | None
) -> tuple[tuple[int, ...], int, int]:
    """Combine what the caller and the records say into extents, precision and number of colours.

    A warning says what ``missing`` names; where it is None, another process warns.
    """
    merged: dict[str, Any] = {}
    for source, layout in layouts.items():
        for name, value in layout._asdict().items():
            if value is not None:
                require_equal(path, f"{name} from {source}", merged.setdefault(name, value), value)
    if "shape" not in merged:
        raise mismatch(path, "extents", f"a record that states them, or {argument('shape')}", "neither")
    lattice: tuple[int, ...] = merged["shape"]
    matrices = math.prod(lattice) * len(lattice)
    for precision in [merged["precision"]] if "precision" in merged else [64, 32]:
        n = merged.get("n_colours") or math.isqrt(binary.length * 4 // (matrices * precision))
        length = matrices * n * n * precision // 4
        site_bytes = merged.get("site_bytes", length // math.prod(lattice))
        if precision in (32, 64) and n > 0 and binary.length == length == site_bytes * math.prod(lattice):
            if missing is not None and (missing or "n_colours" not in merged):
                lacks = f"has no {', '.join(missing)}" if missing else "does not state the number of colours"
                warnings.warn(
                    f"{os.fspath(path)} {lacks}: the {length} bytes of its data for extents {lattice} are those of N = {n} in "
                    f"{precision} bits, all sites in this file",
                    FormatWarning,
                    stacklevel=4,
                )
            return lattice, precision, n
    described = ", ".join(f"{name} {value}" for name, value in merged.items())
    raise mismatch(path, f"{binary.kind} length in bytes", f"that of {described}", binary.length)


def _stated_checksum(path: StrPath, xml: str) -> tuple[int, int]:
    values = []
    for name in ("suma", "sumb"):
        text = _element(path, "scidac-checksum", xml, name)
        if not re.fullmatch(r"[0-9a-fA-F]{1,8}", text):
            raise mismatch(path, f"scidac-checksum <{name}>", "up to 8 hexadecimal digits", text)
        values.append(int(text, 16))
    return values[0], values[1]


def _is_lime(start: bytes, size: int) -> bool:
    return start.startswith(lime.MAGIC.to_bytes(4, "big"))


FORMAT = Format("ildg", (".ildg", ".lime"), _is_lime, read, write, in_parts=True)
SCIDAC_FORMAT = Format("scidac", (".scidac",), _is_lime, read, write_scidac, in_parts=True)
