"""Propagators in HDF5 files."""

import numpy as np
import pytest

from gaugeflow import io
from gaugeflow.errors import FormatError

SHAPE = (4, 3, 2, 2, 4, 3, 4, 3)


def test_round_trip(tmp_path, rng):
    for dtype in (np.complex128, np.complex64):
        array = (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)).astype(dtype)
        stated = {"origin": (1, 0, 1, 0), "boundary": (-1.0, 1.0, 1j, 1.0), "norm": 0.25}
        io.write_propagator(tmp_path / "s.h5", array, attributes={"kappa": 0.1}, **stated)
        found = io.read_propagator(tmp_path / "s.h5")
        np.testing.assert_array_equal(found.array, array)
        assert found.array.dtype == np.complex128
        assert found[1:4] == tuple(stated.values())
        assert found.attributes["kappa"] == 0.1


def test_damage_and_bad_input(tmp_path, rng):
    path = tmp_path / "s.h5"
    array = rng.normal(size=SHAPE) + 0j
    stated = {"origin": (0,) * 4, "boundary": (1.0,) * 4}
    for bad in (array.real, array[0], array[None]):
        with pytest.raises(ValueError, match="propagator: expected complex"):
            io.write_propagator(path, bad, **stated)
    with pytest.raises(ValueError, match="expected finite"):
        io.write_propagator(path, array * np.nan, **stated)
    io.write_propagator(path, array, **stated)
    data = bytearray(path.read_bytes())
    data[-len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"s\.h5: .*crc32"):
        io.read_propagator(path)
    io.write_table(path, {"x": np.zeros(3)})
    with pytest.raises(FormatError, match="format"):
        io.read_propagator(path)
