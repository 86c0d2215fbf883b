"""Random numbers: published vectors, accuracy, distributions, and independence of layout, threads and back end."""

import array_api_strict
import numpy as np
import pytest
from scipy import stats

from cases import threads
from gaugeflow.backend import use_backend
from gaugeflow.kernels import heatbath
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, Streams, gauge_rotation, haar_links, momenta, normal, uniform
from gaugeflow.samplers.accept import uniforms
from gaugeflow.sites.elementary import natural_log, sin_cos_turns
from gaugeflow.sites.random import philox

RNG = Rng(20240229).stream("test")
ALL = 0xFFFFFFFF
GENERATORS = [
    pytest.param(lambda lattice, batch, rng=RNG: uniform(rng, lattice, 3, batch), 1, 0, id="uniform"),
    pytest.param(lambda lattice, batch, rng=RNG: normal(rng, lattice, 3, batch), 1, 0, id="normal"),
    pytest.param(lambda lattice, batch, rng=RNG: haar_links(rng, lattice, 1, batch), 1, 2, id="haar-u1"),
    pytest.param(lambda lattice, batch, rng=RNG: haar_links(rng, lattice, 2, batch), 1, 2, id="haar-su2"),
    pytest.param(lambda lattice, batch, rng=RNG: haar_links(rng, lattice, 3, batch), 1, 2, id="haar-su3"),
    pytest.param(lambda lattice, batch, rng=RNG: gauge_rotation(rng, lattice, 2, batch), 0, 2, id="rotation"),
    pytest.param(lambda lattice, batch, rng=RNG: momenta(rng, lattice, 1, batch), 1, 2, id="momenta-u1"),
    pytest.param(lambda lattice, batch, rng=RNG: momenta(rng, lattice, 3, batch), 1, 2, id="momenta-su3"),
]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """The three Philox4x32-10 rows of Random123's kat_vectors, for integers and for arrays that wrap."""
    assert philox(*counter, *key) == expected
    arrays = philox(*(np.array([c]) for c in counter), *key)
    assert tuple(int(x[0]) for x in arrays) == expected


def test_numbers_are_frozen():
    """The counter layout and the hash of streams are an interface: these values may never change."""
    lattice = Lattice((2, 3))
    assert Rng(7).key == (0x97B356D9, 0x1FB03C42)
    assert Rng(7).stream("a").stream(3).key == (0x313C05F5, 0x09AA296F)
    assert uniform(Rng(7).at(2), lattice, 1, 2)[0, 1].tolist() == [0.4596762914393726, 0.5933684117395397]
    assert normal(Rng(7).at(2), lattice, 1, 2)[0, 1].tolist() == [0.25971001122443094, -0.6439689121096679]


@pytest.mark.parametrize("draw", [uniform, normal])
def test_streams_of_configurations(draw):
    """A configuration has the numbers of its own stream in any batch, on folded lattices too."""
    plain, folded = Lattice((4, 4)), Lattice((4, 4), (2, 1))
    streams = Streams.of(RNG, [0, 1, 1], [5, 5, 6]).stream("noise").at(2)
    each = folded.unpack(draw(streams, folded, 2, 3), components=1)
    for k, (chain, number) in enumerate([(0, 5), (1, 5), (1, 6)]):
        alone = draw(RNG.stream(chain).stream(number).stream("noise").at(2), plain, 2)
        np.testing.assert_array_equal(each[k], plain.unpack(alone, components=1)[0])
    with pytest.raises(ValueError, match=f"{draw.__name__}: expected 2 streams, one for each configuration, got 3"):
        draw(streams, plain, 2, 2)


def test_logarithm_accuracy():
    draws = np.random.default_rng(1)
    x = np.concatenate(
        [draws.uniform(0.5, 1.414, 10**5), 2.0 ** -draws.uniform(0, 62, 10**5), 1 - 2.0 ** -np.arange(54)]
    )
    x = x[x > 0]
    exact = np.log(x.astype(np.longdouble))
    assert np.all(np.abs(natural_log(x) - exact) <= np.spacing(np.abs(exact).astype(np.float64)))
    assert natural_log(np.ones(1))[0] == 0.0


def test_sine_and_cosine_accuracy():
    u = np.concatenate([np.random.default_rng(2).random(10**5), np.linspace(0, 1, 4097)])
    angle = 8 * np.arctan(np.longdouble(1)) * u.astype(np.longdouble)
    s, c = sin_cos_turns(u)
    assert np.max(np.abs(s - np.sin(angle))) < 2 * 2.0**-53
    assert np.max(np.abs(c - np.cos(angle))) < 2 * 2.0**-53
    tiny = 2.0 ** -np.arange(10.0, 60.0)
    assert np.max(np.abs(sin_cos_turns(tiny)[0] / np.sin(2 * np.pi * tiny) - 1)) < 4e-16


@pytest.mark.parametrize(("make", "lead", "trail"), GENERATORS)
def test_back_ends_folds_batches_and_threads_agree_bit_for_bit(make, lead, trail):
    lattice = Lattice((4, 2, 6))
    fields = make(lattice, 3)
    with use_backend("reference"):
        assert np.array_equal(make(lattice, 3), fields)
    conventional = lattice.unpack(fields, lead)
    for fold, batch in (((2, 1, 1), 3), ((1, 1, 3), 3), ((2, 1, 3), 1)):
        folded = Lattice(lattice.shape, fold)
        assert np.array_equal(folded.unpack(make(folded, batch), lead), conventional[:batch])
    with threads.another_number():
        assert np.array_equal(make(lattice, 3), fields)
    assert fields.ndim == lead + 2 + trail


def test_array_api_strict():
    lattice = Lattice((2, 4), (1, 2))
    for strict, plain in (
        (normal(RNG, lattice, 3, 2, xp=array_api_strict), normal(RNG, lattice, 3, 2)),
        (haar_links(RNG, lattice, 3, 2, xp=array_api_strict), haar_links(RNG, lattice, 3, 2)),
        (momenta(RNG, lattice, 2, 2, xp=array_api_strict), momenta(RNG, lattice, 2, 2)),
    ):
        assert np.array_equal(np.asarray(strict._array), plain)


def test_uniform_distribution():
    """Kolmogorov-Smirnov over 2e5 numbers; all 53 bits are used; 256 bins of the low bits by chi squared."""
    x = uniform(RNG, Lattice((16, 16, 16)), 6, 8).ravel()
    assert x.min() >= 0
    assert x.max() < 1
    assert stats.kstest(x, "uniform").pvalue > 1e-3
    low = (x * 2.0**53).astype(np.int64) & 255
    assert stats.chisquare(np.bincount(low, minlength=256)).pvalue > 1e-3


def test_normal_distribution():
    x = normal(RNG, Lattice((16, 16, 16)), 6, 8).ravel()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert stats.anderson(x[:5000], method="interpolate").pvalue > 1e-2
    assert abs(np.mean(x**4) - 3) < 3 * np.sqrt(96 / x.size)


def test_neighbouring_numbers_are_uncorrelated():
    """Correlations of 16384 pairs within 4 sigma for 15 kinds of neighbours."""
    lattice = Lattice((64, 64))

    def field(rng, components=2, batch=4):
        return normal(rng, lattice, components, batch)

    base = field(RNG)
    pairs = {
        "draw": field(RNG.at(1)),
        "stream": field(RNG.stream(0)),
        "sibling": field(Rng(RNG.seed).stream("tesu")),
        "seed": field(Rng(RNG.seed + 1).stream("test")),
        "site": np.roll(base, 1, axis=1),
        "row": np.roll(base, 64, axis=1),
        "batch": np.roll(base, 1, axis=2),
        "component": base[::-1],
    }
    for name, other in pairs.items():
        for a, b in ((base, other), (base**2 - 1, (other**2 - 1) / 2), (base**2 - 1, other)):
            sigma = np.std(a) * np.std(b) / np.sqrt(a[0].size)
            assert abs(np.mean(a[0] * b[0])) < 4 * sigma, name


def test_generators_use_separate_streams():
    lattice = Lattice((32, 32))
    u = uniform(RNG, lattice, 2, 4)
    direct = np.sqrt(-2 * np.log1p(-u[0])) * np.cos(2 * np.pi * u[1])
    assert abs(np.corrcoef(direct.ravel(), normal(RNG, lattice, 2, 4)[0].ravel())[0, 1]) < 4 / np.sqrt(4096)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_haar_matrices(n):
    """Unitarity and determinant to rounding; traces against exact Haar moments (4 sigma) or densities."""
    u = haar_links(RNG, Lattice((16, 16, 16)), n, 4)
    m = np.moveaxis(u, (2, 3), (-2, -1)).reshape(-1, n, n)
    assert np.max(np.abs(m @ m.conj().swapaxes(1, 2) - np.eye(n))) < 4e-15
    trace = np.trace(m, axis1=1, axis2=2)
    if n == 1:
        assert stats.kstest(np.angle(trace) / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-3
        return
    assert np.max(np.abs(np.linalg.det(m) - 1)) < 4e-15
    rotated = np.trace(m @ m[::-1], axis1=1, axis2=2)
    for t in (trace, rotated[: len(rotated) // 2]):
        if n == 2:
            assert stats.kstest(t.real / 2, stats.semicircular.cdf).pvalue > 1e-3
        else:
            moments = [(np.abs(t) ** 2, 1), (np.abs(t) ** 4, 2), ((t**3).real, 1), ((t**2).real, 0), (t.imag, 0)]
            for values, exact in moments:
                assert abs(np.mean(values) - exact) < 4 * np.std(values) / np.sqrt(len(values))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_momenta(n):
    """Anti-Hermitian and traceless; <p, p> is chi squared; entries have the covariance of the algebra (4 sigma)."""
    lattice = Lattice((8, 8, 8))
    p = momenta(RNG, lattice, n, 64)
    assert np.array_equal(p, -p.conj().swapaxes(2, 3))
    freedom = max(1, n * n - 1)
    norm = np.sum(np.abs(p) ** 2, axis=(2, 3)) * 2
    assert stats.kstest(norm.ravel(), stats.chi2(freedom).cdf).pvalue > 1e-3
    assert stats.kstest(norm.sum(axis=(0, 1)), stats.chi2(freedom * 3 * lattice.volume).cdf).pvalue > 1e-3
    if n > 1:
        assert np.max(np.abs(np.trace(p, axis1=2, axis2=3))) < 1e-15
    flat = np.moveaxis(p, (2, 3), (0, 1)).reshape(n * n, -1)
    covariance = flat @ flat.conj().T / flat.shape[1]
    exact = 0.5 * (np.eye(n * n) - (n > 1) * np.outer(np.eye(n).ravel(), np.eye(n).ravel()) / n)
    assert np.max(np.abs(covariance - exact)) < 4 * 0.75 / np.sqrt(flat.shape[1])


def test_bad_arguments():
    with pytest.raises(ValueError, match="seed must be non-negative"):
        Rng(-1)
    with pytest.raises(ValueError, match=r"draw .* below 2\^32"):
        Rng(1).at(1 << 32)
    with pytest.raises(TypeError, match="stream must be an integer"):
        Rng(1).stream(1.5)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        uniform(RNG, Lattice((2, 2)), 1, 0)
    assert Rng((1 << 64) - 1, (0, "x")).key != Rng((1 << 64) - 1, ("x", 0)).key


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_part_of_a_batch_draws_what_the_whole_draws(backend):
    """Configurations 3, 4 of a batch of five, folded; fields, a heat-bath sweep and the accept step."""
    lattice = Lattice((4, 4), fold=(2, 1))
    rng, part = Rng(5).at(2), Rng(5).at(2).beginning_at(3)
    with use_backend(backend):
        for draw in (
            lambda r, n: uniform(r, lattice, 3, n),
            lambda r, n: normal(r, lattice, 3, n),
            lambda r, n: haar_links(r, lattice, 2, n),
            lambda r, n: momenta(r, lattice, 2, n),
        ):
            whole = lattice.unpack(draw(rng, 5), 1)
            np.testing.assert_array_equal(lattice.unpack(draw(part, 2), 1), whole[3:])
        links = haar_links(rng, lattice, 2, 5)
        some = lattice.pack(lattice.unpack(links, 1)[3:], 1)
        whole = lattice.unpack(heatbath(lattice, links, 2.0, rng.words()), 1)
        np.testing.assert_array_equal(lattice.unpack(heatbath(lattice, some, 2.0, part.words()), 1), whole[3:])
        np.testing.assert_array_equal(uniforms(part, np.zeros(2)), uniforms(rng, np.zeros(5))[3:])
