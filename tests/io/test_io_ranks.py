"""Files that many processes read and write together, see files_on_ranks.py."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from cases.ranks import on_ranks
from gaugeflow.errors import GaugeflowError
from gaugeflow.io.checksums import PiecewiseCrc, combined, rotated_xor
from gaugeflow.io.config import plaquette
from gaugeflow.io.part import Part
from gaugeflow.io.runs import pieces
from gaugeflow.lattice.tables import Box

PROGRAM = Path(__file__).with_name("files_on_ranks.py")


def test_two_processes(tmp_path, reference_folder):
    on_ranks(2, PROGRAM, tmp_path, reference_folder, "1x1x1x2/1x1x2x2", "1x2x1x1/1x1x1x1")


def test_four_processes_and_a_large_file_that_needs_its_share_of_memory(tmp_path):
    on_ranks(4, PROGRAM, tmp_path, "-", "sparse", "2x1x1x2/1x1x1x1", "1x1x1x4/2x1x1x1")


def test_crc32_of_pieces(rng):
    data = rng.bytes(100_003)
    parts = [PiecewiseCrc() for _ in range(3)]
    ends = np.sort(rng.integers(0, len(data), 400))
    for start, stop in zip([0, *ends], [*ends, len(data)], strict=True):
        parts[rng.integers(3)].add(int(start), data[start:stop])
    total = 0
    for part in parts:
        total ^= part.total(len(data))
    assert total == zlib.crc32(data)


def test_rotated_sums_of_pieces(rng):
    words, places = rng.integers(0, 1 << 32, (500, 7), dtype=np.uint32), np.arange(500)
    order = rng.permutation(500)
    parts = [rotated_xor(words[chosen], places[chosen]) for chosen in (order[:200], order[200:])]
    assert combined(parts) == rotated_xor(words, places)
    found = 0
    for k, word in enumerate(words.reshape(-1).tolist()):
        found ^= (word << k % 29 | word >> 32 - k % 29) & 0xFFFFFFFF
    assert rotated_xor(words, places)[0] == found


def test_pieces_cover_a_box_in_order():
    shape, box = (6, 4, 10, 8), Box((2, 0, 5, 4), (3, 4, 5, 4))
    every = np.arange(np.prod(shape)).reshape(shape)[2:5, :, 5:, 4:]
    for item_bytes in (1, 1 << 20, 1 << 22, 1 << 23, 1 << 25):
        found = list(pieces(shape, box, item_bytes))
        assert np.array_equal(np.concatenate([piece.places for piece in found]), every.reshape(-1))
        for piece in found:
            assert np.array_equal(every[piece.corner].reshape(-1), piece.places)
            assert piece.places.size * item_bytes <= max(1 << 24, item_bytes)


@pytest.mark.parametrize("magnitude", [1.0, 1e-30, 1e30])
def test_sums_are_exact(random_config, magnitude):
    """The plaquette is that of all sites in any order: here of the lattice seen from another corner."""
    links = random_config(2, (6, 4, 4)).links * magnitude
    moved = np.roll(links, (1, 2, 3), axis=(1, 2, 3))
    assert plaquette(moved) == plaquette(links)


def test_a_process_alone_has_nobody_to_tell():
    part = Part()
    assert part.gather(3) == [3]
    with pytest.raises(GaugeflowError, match="here"), part.together():
        raise GaugeflowError("here")
