"""Tables of neighbours against np.roll, masks, layouts, and what errors say."""

import itertools

import array_api_strict
import numpy as np
import pytest

from gaugeflow.lattice import Lattice, suggest_fold

LATTICES = [
    Lattice((5,)),
    Lattice((6,), (3,)),
    Lattice((4, 6)),
    Lattice((4, 6), (2, 3)),
    Lattice((2, 3, 4)),
    Lattice((4, 4, 6), (2, 1, 3)),
    Lattice((4, 2, 3, 2)),
    Lattice((4, 4, 2, 6), (2, 2, 1, 3)),
]
EVEN = [lattice for lattice in LATTICES if all(n % 2 == 0 for n in lattice.block_shape)]
every_lattice = pytest.mark.parametrize("lattice", LATTICES, ids=str)
every_even_lattice = pytest.mark.parametrize("lattice", EVEN, ids=str)


def _hopped(lattice, field, mu, sign):
    """A site field ``(n_blocks, lanes)`` read at neighbours, by the tables that back ends use."""
    batch = lattice.batch(field.shape[-1])
    lanes = lattice.permutation[lattice.crossing[mu, sign]][..., None] * batch + np.arange(batch)
    sites = lattice.neighbour[mu, sign]
    return field[sites[:, None], lanes.reshape(len(sites), -1)]


@every_lattice
def test_hops_equal_rolls(lattice):
    array = np.random.default_rng(0).normal(size=(3, *lattice.shape))
    field = lattice.pack(array)
    for mu, (sign, shift) in itertools.product(range(lattice.ndim), ((0, -1), (1, 1))):
        expected = lattice.pack(np.roll(array, shift, axis=1 + mu))
        np.testing.assert_array_equal(_hopped(lattice, field, mu, sign), expected)
        slots = field.reshape(lattice.volume, 3)[lattice.slot_neighbour[mu, sign]]
        np.testing.assert_array_equal(slots.reshape(field.shape), expected)


@every_lattice
def test_permutations_compose_as_hops_do(lattice):
    array = np.arange(lattice.volume).reshape(1, *lattice.shape)
    field = lattice.pack(array)
    for mu, nu in itertools.product(range(lattice.ndim), repeat=2):
        middle = lattice.neighbour[mu, 0]
        far = lattice.neighbour[nu, 1][middle]
        both = lattice.composition[lattice.crossing[mu, 0], lattice.crossing[nu, 1][middle]]
        found = field[far[:, None], lattice.permutation[both]]
        np.testing.assert_array_equal(found, lattice.pack(np.roll(array, (-1, 1), axis=(1 + mu, 1 + nu))))


@every_lattice
def test_coordinates_and_sites_follow_the_layout(lattice):
    index = np.arange(lattice.volume).reshape(1, *lattice.shape)
    np.testing.assert_array_equal(lattice.pack(index), lattice.site)
    coordinates = np.indices(lattice.shape)[None]
    np.testing.assert_array_equal(lattice.pack(coordinates, components=1), lattice.coordinates)


@every_lattice
@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
def test_pack_and_unpack_are_inverse(lattice, xp):
    array = np.random.default_rng(1).normal(size=(2, 3, *lattice.shape, 2, 5))
    field = lattice.pack(xp.asarray(array), components=1)
    assert field.shape == (3, lattice.n_blocks, 2, 5, 2 * lattice.n_folds)
    np.testing.assert_array_equal(np.asarray(lattice.unpack(field, components=1)), array)
    plain = xp.asarray(array[:, 0, ..., 0, 0])
    np.testing.assert_array_equal(np.asarray(lattice.unpack(lattice.pack(plain))), np.asarray(plain))


@every_lattice
def test_pack_copies(lattice):
    array = np.zeros((1, *lattice.shape))
    field = lattice.pack(array)
    field += 1
    assert not array.any()
    assert field.flags.c_contiguous


@every_lattice
def test_numbers_of_configurations_are_repeated_in_every_fold(lattice):
    values = np.arange(3.0)
    array = np.broadcast_to(values.reshape(3, *[1] * lattice.ndim), (3, *lattice.shape))
    np.testing.assert_array_equal(lattice.pack(array)[0], lattice.spread_folds(values))


@every_even_lattice
def test_parity_splits_the_sites(lattice):
    even, odd = (set(lattice.sites_of_parity(p).tolist()) for p in (0, 1))
    assert even | odd == set(range(lattice.n_blocks))
    assert not even & odd
    total = lattice.coordinates.sum(axis=0)
    for sites, parity in ((even, 0), (odd, 1)):
        assert (total[sorted(sites)] % 2 == parity).all()


@every_even_lattice
def test_active_links_cover_every_link_once(lattice):
    count = np.zeros((lattice.ndim, lattice.n_blocks), dtype=int)
    for mu, parity in itertools.product(range(lattice.ndim), (0, 1)):
        if lattice.ndim > 1 or parity == 0:  # in one dimension there is no other coordinate
            count[mu, lattice.active_sites(mu, parity)] += 1
    assert (count == 1).all()


@every_even_lattice
def test_no_plaquette_has_two_active_links(lattice):
    for mu, parity in itertools.product(range(lattice.ndim), (0, 1)):
        active = np.zeros((lattice.ndim, lattice.n_blocks, lattice.n_folds), dtype=int)
        active[mu, lattice.active_sites(mu, parity)] = 1
        for a, b in lattice.planes:
            links = (active[a], _hopped(lattice, active[b], a, 0), _hopped(lattice, active[a], b, 0), active[b])
            assert sum(links).max() <= 1


def test_planes():
    assert Lattice((2, 2, 2, 2)).planes == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@every_lattice
def test_boundary_phases(lattice):
    """A hop across the boundary picks the phase up; products along closed lines are the phase once."""
    phases = [np.exp(1j * (mu + 1)) for mu in range(lattice.ndim)]
    factor = lattice.boundary_phase(phases)
    for mu, n in enumerate(lattice.shape):
        expected = np.where(np.indices(lattice.shape)[mu] == n - 1, phases[mu], 1.0)
        np.testing.assert_array_equal(factor[mu], lattice.pack(expected[None]))


def test_boundary_phases_need_one_entry_per_direction():
    with pytest.raises(ValueError, match="expected 2 entries, got 1"):
        Lattice((2, 2)).boundary_phase([1.0])


@pytest.mark.parametrize(
    ("shape", "fold", "message"),
    [
        ((), None, "at least one extent"),
        ((4, 1), None, "direction 1 must be at least 2, got 1"),
        ((4, 4), (2,), r"fold needs 2 entries like shape \(4, 4\), got \(2,\)"),
        ((4, 6), (1, 4), r"fold 4 cannot cut direction 1 of extent 6 .* folds that work: \[1, 2, 3\]"),
        ((4, 4), (4, 1), r"fold 4 cannot cut direction 0 of extent 4 .* folds that work: \[1, 2\]"),
        ((4, 4), (0, 1), r"fold 0 cannot cut direction 0"),
    ],
)
def test_errors_of_shapes(shape, fold, message):
    with pytest.raises(ValueError, match=message):
        Lattice(shape, fold)


def test_errors_of_parity():
    with pytest.raises(ValueError, match="direction 1 has extent 5; 4 or 6 would work"):
        Lattice((4, 5)).sites_of_parity(0)
    with pytest.raises(ValueError, match=r"extent 3, not a multiple of 2, in direction 0 of extent 6; .*\[1, 3\]"):
        Lattice((6, 4), (2, 1)).sites_of_parity(0)
    with pytest.raises(ValueError, match=r"colour: expected 0 \.\.\. 1, got 2"):
        Lattice((4, 4)).sites_of_parity(2)
    # Only the coordinates that count must be even.
    assert len(Lattice((5, 4)).active_sites(0, 0)) == 10


def test_errors_of_fields():
    lattice = Lattice((4, 4), (2, 1))
    with pytest.raises(ValueError, match=r"direction must be in 0 ... 1, got 2"):
        lattice.active_sites(2, 0)
    with pytest.raises(ValueError, match="needs a multiple of 2 lanes, got 3"):
        lattice.batch(3)
    with pytest.raises(ValueError, match=r"links: expected shape \(2, 8, N, N, lanes\) .* got \(2, 16, 3, 3, 2\)"):
        lattice.check_links(np.zeros((2, 16, 3, 3, 2)))
    with pytest.raises(ValueError, match=r"expected site axes \(4, 4\) after 2 leading axes"):
        lattice.pack(np.zeros((1, 2, 4, 5)), components=1)
    with pytest.raises(ValueError, match="expected 1 leading axes, then 8 sites"):
        lattice.unpack(np.zeros((2, 16, 4)), components=1)


@pytest.mark.parametrize(
    ("shape", "width", "fold"),
    [
        ((16, 8, 8, 8), 8, (4, 2, 1, 1)),
        ((8, 8), 4, (2, 2)),
        ((6, 6), 8, (1, 1)),
        ((5, 8), 8, (1, 4)),
        ((4, 4), 64, (2, 2)),
    ],
)
def test_suggested_folds(shape, width, fold):
    assert suggest_fold(shape, width) == fold
    assert all(n % (2 * f) == 0 or f == 1 for n, f in zip(shape, fold, strict=True))


def test_suggested_fold_fills_registers_or_a_warp():
    lattice = Lattice((16, 16, 16, 16))
    assert lattice.suggest_fold() == (2, 2, 2, 1)
    assert lattice.suggest_fold("cuda") == (4, 2, 2, 2)
    assert lattice.suggest_fold("cuda", batch=8) == (2, 2, 1, 1)
    assert lattice.suggest_fold("cuda", batch=33) == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"device: expected one of \['cpu', 'cuda'\], got 'tpu'"):
        lattice.suggest_fold("tpu")
    with pytest.raises(ValueError, match="batch: expected a positive number, got 0"):
        lattice.suggest_fold(batch=0)
