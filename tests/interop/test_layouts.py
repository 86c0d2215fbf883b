"""Layouts of other programs: orders written out site by site, round trips, files that those programs wrote."""

import itertools
import struct

import array_api_strict
import numpy as np
import pytest

from gaugeflow import kernels
from gaugeflow.interop import LAYOUTS, fermions_from, fermions_to, links_from, links_to
from gaugeflow.interop.layouts import OPENQCD_SPIN
from gaugeflow.io import read
from gaugeflow.lattice import Lattice
from gaugeflow.sites.dirac import gamma

SHAPE = (4, 2, 6, 8)  # t, z, y, x: all different
FOLDS = [(1, 1, 1, 1), (2, 1, 1, 4)]


def _numbered(rng, lattice, trail, batch, components=0):
    """A conventional array ``(batch, [d,] *shape, *trail)`` of different numbers, and the field of it."""
    lead = (lattice.ndim,) * components
    size = (batch, *lead, *lattice.shape, *trail)
    array = rng.normal(size=size) + 1j * rng.normal(size=size)
    return array, lattice.pack(array, components)


def _position(name, t, z, y, x):
    """Where a program stores a site: written from its documentation, one site at a time."""
    nt, nz, ny, nx = SHAPE
    lexicographic = x + nx * (y + ny * (z + nz * t))
    if LAYOUTS[name].points == "checkerboard":
        return lexicographic // 2 + (x + y + z + t) % 2 * (nx * ny * nz * nt // 2)
    return z + nz * (y + ny * (x + nx * t)) if name == "openqcd" else lexicographic


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("fold", FOLDS)
def test_every_link_is_where_the_program_has_it(rng, name, fold):
    lattice = Lattice(SHAPE, fold)
    array, links = _numbered(rng, lattice, (2, 2), 1, components=1)
    memory = links_to(lattice, links, name).reshape(-1, 2, 2)
    nt, nz, ny, nx = SHAPE
    volume = nt * nz * ny * nx
    odd = sorted(_position(name, *s) for s in np.ndindex(SHAPE) if sum(s) % 2)
    for site in np.ndindex(SHAPE):
        for direction, mu in enumerate({"openqcd": (0, 3, 2, 1), "gaugeflow": (0, 1, 2, 3)}.get(name, (3, 2, 1, 0))):
            place = _position(name, *site)
            if name == "openqcd":
                start = list(site)
                if sum(site) % 2 == 0:  # the link arrives at the odd point in front of it
                    start[mu] = (start[mu] + 1) % SHAPE[mu]
                index = 8 * odd.index(_position(name, *start)) + 2 * direction + (sum(site) + 1) % 2
            else:
                index = 4 * place + direction if LAYOUTS[name].site_major else direction * volume + place
            assert (memory[index] == array[(0, mu, *site)]).all()


@pytest.mark.parametrize(("name", "fold", "batch"), list(itertools.product(LAYOUTS, FOLDS, (1, 3))))
def test_round_trips(rng, name, fold, batch):
    lattice = Lattice(SHAPE, fold)
    _, links = _numbered(rng, lattice, (3, 3), batch, components=1)
    there = links_to(lattice, links, name)
    assert there.shape == (batch, *LAYOUTS[name].links(lattice).shape, 3, 3)
    assert (links_from(lattice, there, name) == links).all()
    if batch == 1:
        assert (links_from(lattice, there[0], name) == links).all()
    for spin in (4, 1):
        array, psi = _numbered(rng, lattice, (spin, 3), batch)
        there = fermions_to(lattice, psi, name)
        assert (fermions_from(lattice, there, name) == psi).all()
        if spin == 1 or not LAYOUTS[name].spin:
            rows = there.reshape(batch, -1, spin, 3)
            for site in np.ndindex(SHAPE):
                assert (rows[:, _position(name, *site)] == array[(slice(None), *site)]).all()


@pytest.mark.parametrize(("name", "fold", "batch"), list(itertools.product(LAYOUTS, FOLDS, (1, 3))))
def test_large_arrays_are_written_past_the_caches(rng, monkeypatch, name, fold, batch):
    """The same bits, wherever lines of the caches begin in the caller's memory."""
    lattice = Lattice(SHAPE, fold)
    _, links = _numbered(rng, lattice, (3, 3), batch, components=1)
    there, past_caches = links_to(lattice, links, name), "gaugeflow_numba.reorder.CACHED"
    monkeypatch.setattr(past_caches, 0)
    assert (links_to(lattice, links, name) == there).all()
    assert (links_from(lattice, there, name) == links).all()
    for before in range(0, 64, 8):
        memory = np.zeros(there.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + before
        out = memory[start : start + there.nbytes].view(there.dtype).reshape(there.shape)
        assert links_to(lattice, links, name, out=out) is out
        assert (out == there).all()
        assert not memory[:start].any()
        assert not memory[start + there.nbytes :].any()


@pytest.mark.parametrize("name", LAYOUTS)
def test_other_array_libraries(rng, name):
    """The path of arrays that are not NumPy's gives the same numbers, and an array of their own kind."""
    lattice = Lattice(SHAPE, FOLDS[1])
    for (to, back), (trail, components) in {
        (links_to, links_from): ((2, 2), 1),
        (fermions_to, fermions_from): ((4, 3), 0),
    }.items():
        _, field = _numbered(rng, lattice, trail, 2, components)
        there = to(lattice, field, name)
        strict = to(lattice, array_api_strict.asarray(field), name)
        assert type(strict).__module__.startswith("array_api_strict")
        assert (np.asarray(strict) == there).all()
        assert (np.asarray(back(lattice, strict, name)) == field).all()


def test_two_dimensions_and_single_precision(rng):
    lattice = Lattice((4, 6))
    links = lattice.pack((rng.normal(size=(5, 2, 4, 6, 1, 1)) + 0j).astype(np.complex64), components=1)
    for name in LAYOUTS:
        there = links_to(lattice, links, name)
        assert there.dtype == np.complex64
        assert (links_from(lattice, there, name) == links).all()
    assert (links_to(lattice, links, "qdp-lexicographic") == lattice.unpack(links, components=1)[:, ::-1]).all()


def test_openqcd_spin_basis():
    """S gamma S^dagger is our gamma for openQCD's gamma_0 = (0, -1; -1, 0) and gamma_k = (0, -i sigma_k; i sigma_k, 0)."""
    sigma = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    change = np.zeros((4, 4), complex)
    for row, (column, phase) in enumerate(OPENQCD_SPIN):
        change[row, column] = phase
    for mu, block in zip((0, 3, 2, 1), (-np.eye(2), *(-1j * sigma)), strict=True):  # t, x, y, z
        theirs = np.block([[np.zeros((2, 2)), block], [block.conj().T, np.zeros((2, 2))]])
        ours = np.zeros((4, 4), complex)
        for row, (column, value) in enumerate(gamma(4, mu)):
            ours[row, column] = value
        np.testing.assert_array_equal(change @ theirs @ change.conj().T, ours)


def test_files_of_other_programs(reference_folder):
    """The bytes of Chroma's and MILC's files, taken as arrays in memory, are the fields that the readers return."""
    for file, shape, dtype, start in (
        ("milc/lat.sample.l4444", (4, 4, 4, 4), "<c8", 96),
        ("milc/lat.sample.l4448", (8, 4, 4, 4), ">c8", 96),
        ("analysistoolbox/nersc.l8t4b3360", (4, 8, 8, 8), ">c16", None),
    ):
        path = reference_folder / file
        raw = path.read_bytes()
        start = raw.index(b"END_HEADER\n") + 11 if start is None else start
        memory = np.frombuffer(raw[start:], dtype).astype(np.complex128).reshape(*shape, 4, 3, 3)
        lattice = Lattice(shape, (2, 2, 1, 1))
        links = links_from(lattice, memory, "ildg")
        assert (lattice.unpack(links, components=1)[0] == read(path).links).all()


def test_checkerboards_of_a_field_of_chroma(reference_folder):
    """A field of Chroma has the same plaquette after a trip through every layout, and even sites come first."""
    field = read(reference_folder / "pyquda" / "weak_field.lime").links
    lattice = Lattice(field.shape[1:5])
    links = lattice.pack(field[None], components=1)
    for name in LAYOUTS:
        back = links_from(lattice, links_to(lattice, links, name), name)
        assert kernels.plaquette(lattice, back).mean() == pytest.approx(0.9948041323, abs=1e-9)
    even, odd = links_to(lattice, links, "pyquda")[0, 0]  # direction x
    assert (even[0, 0, 0] == field[3, 0, 0, 0, 0::2]).all()
    assert (odd[0, 0, 0] == field[3, 0, 0, 0, 1::2]).all()
    assert (even[0, 0, 1] == field[3, 0, 0, 1, 1::2]).all()


def test_openqcd_files_are_their_memory(tmp_path, rng):
    """The exported file is a header and then the layout."""
    from gaugeflow.io import Config, write

    unitary = np.linalg.qr(rng.normal(size=(4, *SHAPE, 3, 3)) + 1j * rng.normal(size=(4, *SHAPE, 3, 3)))[0]
    field = unitary / np.linalg.det(unitary)[..., None, None] ** (1 / 3)
    write(tmp_path / "c.openqcd", Config(field))
    raw = (tmp_path / "c.openqcd").read_bytes()
    assert struct.unpack_from("<4i", raw) == (4, 8, 6, 2)
    lattice = Lattice(SHAPE)
    memory = links_to(lattice, lattice.pack(field[None], components=1), "openqcd")
    assert raw[24:] == memory.tobytes()


def test_results_in_given_memory(rng):
    lattice = Lattice(SHAPE, FOLDS[1])
    _, links = _numbered(rng, lattice, (3, 3), 2, components=1)
    out = np.empty((2, 4, *SHAPE, 3, 3), complex)
    assert links_to(lattice, links, "gaugeflow", out=out) is out
    assert (out == lattice.unpack(links, components=1)).all()
    with pytest.raises(ValueError, match=r"out: expected shape \(2, 4, 2, 6, 8, 4, 3, 3\), got \(2, 4, 4"):
        links_to(lattice, links, "grid", out=out)
    with pytest.raises(ValueError, match="out: expected a contiguous array"):
        links_to(lattice, links, "gaugeflow", out=out.swapaxes(-1, -2))
    with pytest.raises(ValueError, match="out: expected numbers like those of the field, complex128, got float64"):
        links_to(lattice, links, "gaugeflow", out=out.real.copy())
    single = links_to(lattice, links, "gaugeflow", out=out.astype(np.complex64))
    assert (single == out.astype(np.complex64)).all()


def test_bad_input(rng):
    lattice = Lattice(SHAPE)
    _, links = _numbered(rng, lattice, (3, 3), 1, components=1)
    _, psi = _numbered(rng, lattice, (3, 3), 1)
    with pytest.raises(ValueError, match=r"layout: expected one of .*'milc'.*, got 'mild'"):
        links_to(lattice, links, "mild")
    with pytest.raises(ValueError, match=r"expected shape \(4, 2, 4, 2, 6, 4, N, N\).*got \(4, 3, 3\)"):
        links_from(lattice, np.zeros((4, 3, 3)), "qdp")
    with pytest.raises(ValueError, match=r"expected shape \(4, 2, 6, 8, spin, colour\).*got \(1, 4\)"):
        fermions_from(lattice, np.zeros((1, 4)), "grid")
    with pytest.raises(ValueError, match=r"expected shape \(384, spin, colour, lanes\)"):
        fermions_to(lattice, links, "grid")
    with pytest.raises(ValueError, match="expected 4 spin components, got 3"):
        fermions_to(lattice, psi, "openqcd")
    with pytest.raises(TypeError, match="expected an array, got a str"):
        links_from(lattice, "links", "qdp")
    with pytest.raises(ValueError, match=r"layout 'milc': expected even extents, got a lattice of shape \(3, 4\)"):
        links_to(Lattice((3, 4)), np.zeros((2, 12, 1, 1, 1), complex), "milc")
