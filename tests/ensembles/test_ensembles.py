"""Ensembles and correlated ensembles; reweighted averages against exact values of 2D U(1)."""

import numpy as np
import pytest
from scipy.special import iv

from gaugeflow import io, kernels, random
from gaugeflow.actions import WilsonAction
from gaugeflow.analysis import derivative_one_sided, gamma_method, reweighted_mean
from gaugeflow.ensembles import (
    CorrelatedEnsemble,
    FileEnsemble,
    Measurements,
    MemoryEnsemble,
    measure_images,
    numbers_in_names,
)
from gaugeflow.errors import FormatError
from gaugeflow.flows import ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.samplers import HeatBath, configurations


def _plaquette(lattice):
    return lambda x: {"plaquette": np.mean(kernels.plaquette(lattice, x), axis=0)}


@pytest.fixture(scope="module")
def source():
    """2D U(1) on 8 x 8 at beta 1, 64 chains, seeds 21 and 22."""
    lattice = Lattice((8, 8))
    sampler = HeatBath(lattice, 1.0, 2)
    state = sampler.hot(random.Rng(21), 1, 64)
    chain = configurations(sampler, random.Rng(22), state, 300, burn_in=50, thin=3)
    return MemoryEnsemble(lattice, tuple(s.state.x for s in chain))


@pytest.mark.parametrize("with_flow", [False, True])
def test_reweighting_and_derivative_against_exact_values(source, with_flow):
    """Plaquette I1/I0 at beta 1.1 and its slope, 3.5 sigma by the Gamma method; torus corrections are below 1e-20."""
    lattice, step = source.lattice, 0.1
    start, target = WilsonAction(lattice, 1.0), WilsonAction(lattice, 1.0 + step)
    flow = ResidualSweep(lattice, 1) if with_flow else None
    params = {"delta": np.array([[-0.25 * step]])} if with_flow else None
    correlated = CorrelatedEnsemble(source, start, target, flow, params)
    data = measure_images(source, {"map": correlated}, _plaquette(lattice), 64)
    before = data.series("plaquette")
    after = data.series("map|plaquette") if with_flow else before
    weight = data.series("map|log_weight")
    exact = [iv(1, b) / iv(0, b) for b in (1.0, 1.0 + step)]
    mean = reweighted_mean(after, weight)
    assert mean.error < 2e-3
    assert abs(mean.value - exact[1]) < 3.5 * mean.error
    slope = gamma_method(derivative_one_sided(before, after, weight, step))
    assert abs(slope.value - (exact[1] - exact[0]) / step) < 3.5 * slope.error
    assert slope.error < (5e-3 if with_flow else 1.5e-2)


def test_blocks_split_but_never_join(source):
    sizes = [len(b.ids) for b in source.batches(24)]
    assert sizes[:3] == [24, 24, 16]
    assert sum(sizes) == len(source)
    batch = next(iter(source.batches(24)))
    np.testing.assert_array_equal(batch.fields, source.blocks[0][..., :24])


def test_files(tmp_path):
    lattice = Lattice((4, 4, 2, 2))
    paths = []
    for i in range(3):
        links = lattice.unpack(random.haar_links(random.Rng(i), lattice, 3), 1)[0]
        paths.append(tmp_path / f"{i}.nersc")
        io.write(paths[-1], io.Config(links))
    ensemble = FileEnsemble.open(paths, fold=(2, 2, 1, 1))
    assert len(ensemble) == 3
    (gap,) = FileEnsemble.open([paths[0], paths[2]]).batches(2)
    np.testing.assert_array_equal(gap.ids, [0, 2])
    (given,) = FileEnsemble(lattice, tuple(paths), ids=(4, 8, 9)).batches(3)
    np.testing.assert_array_equal(given.ids, [4, 8, 9])
    np.testing.assert_array_equal(given.chain, [0, 0, 0])
    first, second = ensemble.batches(2)
    np.testing.assert_array_equal(second.ids, [2])
    expected = random.haar_links(random.Rng(0), Lattice((4, 4, 2, 2), (2, 2, 1, 1)), 3)
    np.testing.assert_allclose(first.fields[..., ::2], expected, atol=1e-14)
    other = tmp_path / "other.nersc"
    io.write(other, io.Config(random_links((2, 2, 2, 2))))
    with pytest.raises(FormatError, match=r"other.nersc: lattice shape: expected \(4, 4, 2, 2\), found \(2, 2, 2, 2\)"):
        list(FileEnsemble.open([*paths, other]).batches(4))
    with pytest.raises(ValueError, match="at least one file"):
        FileEnsemble.open([])


@pytest.mark.parametrize(
    ("names", "ids", "chains"),
    [
        (["b6.02/c.9.h5", "b6.02/c.80.h5", "b6.02/c.100.h5"], (9, 80, 100), (0, 0, 0)),
        ([f"run-{r}-{i:06d}.h5" for r in (3, 4) for i in range(5)], (0, 1, 2, 3, 4) * 2, (0,) * 5 + (1,) * 5),
        ([f"{s}.{i}" for i in range(10, 70, 10) for s in "ab"], tuple(np.repeat(range(10, 70, 10), 2)), (0, 1) * 6),
        ([f"c{i}_r{r}" for i in range(10, 70, 10) for r in (1, 2)], tuple(np.repeat(range(10, 70, 10), 2)), (0, 1) * 6),
        (["2024-05-30", "2024-05-31", "2024-06-01"], (0, 1, 2), (0, 0, 0)),  # no chain of five
        (["c.1", "c.01", "c.2"], (0, 1, 2), (0, 0, 0)),
        (["first", "c.7"], (0, 1), (0, 0)),
        (["c.12"], (0,), (0,)),
        ([], (), ()),
    ],
)
def test_numbers_in_names(names, ids, chains):
    assert numbers_in_names(names) == (ids, chains)


def random_links(shape):
    lattice = Lattice(shape)
    return lattice.unpack(random.haar_links(random.Rng(9), lattice, 3), 1)[0]


def test_measurements_refuse_gaps_and_nonsense():
    data = Measurements()
    data.add([0, 0], [0, 1], {"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"expected \['a'\], got \['b'\]"):
        data.add([1, 1], [0, 1], {"b": [1.0, 2.0]})
    with pytest.raises(ValueError, match="a is not one finite number for each configuration"):
        data.add([1, 1], [0, 1], {"a": [1.0, np.nan]})
    data.add([1, 1], [0, 1], {"a": [3.0, 4.0]})
    assert data.series("a").chains == 2
    np.testing.assert_array_equal(data.columns()["a"], [1.0, 2.0, 3.0, 4.0])
