"""Replica exchange of the Schwinger model in kappa: exact values on 2 x 2, actions, and the demo at a small size.

Values are compared within 3.5 sigma, errors by the Gamma method, fixed seeds.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from cases.fields import links
from gaugeflow.actions import Determinant
from gaugeflow.analysis import Series, gamma_method
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import run as run_chain
from gaugeflow.systems.schwinger_replicas import Quarks, SectorWeights, draw_sample, fit, matched
from gaugeflow.systems.schwinger_slices import angles_of, log_det
from gaugeflow.systems.trex_schwinger import MODES, OBSERVABLES, Settings, correction, fixed, replicas, run, visits

SIGMAS = 3.5
EXACT = {0.0: (0.7795609227, 1.0), 0.2: (0.7961006269, 2.0276272814), 0.276: (0.8127516480, 6.7667649335)}
"""On 2 x 2 at beta = 2, by quadrature over all links: plaquette and Z / Z(0) at three kappa."""
SMALL = Settings(extent=2, kappas=tuple(EXACT), chains=128, classes_order=0, training_extent=2)


class PlaquetteAndRatio:
    """Plaquette of every replica, and the weight of the next kappa relative to its own."""

    name = "P and w"

    def __call__(self, x):
        rows = []
        for k, field in enumerate(x):
            angles = angles_of(SMALL.lattice, field)
            now, ahead = (log_det(SMALL.kappas[min(i, len(x) - 1)], angles)[0] for i in (k, k + 1))
            rows.append(np.stack([plaquette(SMALL.lattice, field), np.exp(2.0 * (ahead - now))]))
        return np.stack(rows)


@pytest.mark.parametrize("kind", ["flows", "flows, three times too strong", "matched, flows"])
def test_exact_on_two_by_two(kind):
    """Plaquette and Z / Z(0) on every replica whose action has an exact value, whatever the flow; seed 11."""
    rng = Rng(11)
    sample = draw_sample(SMALL.lattice, 2.0, SMALL.kappas, 4096, rng.stream("sample"))
    couplings = matched(2.0, sample, sample) if kind.startswith("matched") else fixed(SMALL)
    flow = correction(SMALL, SMALL.lattice)
    flows = fit(flow, couplings, sample, rng.stream("fit"), count=1024, damping=1e-3)
    if "strong" in kind:
        flows = [{"c": 3.0 * params["c"]} for params in flows]
    assert all(np.max(np.abs(params["c"])) > 1e-4 for params in flows)
    sampler = replicas(SMALL, couplings, flows)
    x = np.ones((2, 4, 1, 1, SMALL.chains), dtype=complex)
    chain = run_chain(
        sampler, rng.stream(kind), sampler.init(x), 60, burn_in=12, observe=[PlaquetteAndRatio()], progress=False
    )
    values = chain.records["P and w"]
    for k, kappa in enumerate(EXACT):
        if kind.startswith("matched") and k < len(EXACT) - 1:
            continue
        found = gamma_method(Series.from_lanes(values[:, k, 0]))
        assert abs(found.value - EXACT[kappa][0]) < SIGMAS * found.error
        assert found.error < 4e-3
        if k < len(EXACT) - 1:
            ratio = gamma_method(Series.from_lanes(values[:, k, 1]))
            assert abs(ratio.value - EXACT[SMALL.kappas[k + 1]][1] / EXACT[kappa][1]) < SIGMAS * ratio.error
            assert ratio.error < 0.1 * ratio.value
    rates = chain.records["probability"].sum(axis=0).mean(axis=-1) / chain.records["attempted"].sum(axis=0)
    assert (rates > 0.3).all()


def test_matched_couplings():
    """All replicas have the plaquette and the shares of sectors of the last one: an independent sample, 3.5 sigma."""
    lattice, kappas = Lattice((4, 4)), (0.0, 0.2, 0.25)
    couplings = matched(2.0, *(draw_sample(lattice, 2.2, kappas, 16384, Rng(seed)) for seed in (1, 2)))
    assert couplings[0].beta > couplings[1].beta > couplings[2].beta == 2.0
    sample, plain = draw_sample(lattice, 2.2, kappas, 16384, Rng(3)), []
    for k, coupling in enumerate(couplings):
        weights = np.exp(sample.log_weight(coupling, k))
        shares = weights / weights.sum()
        means = np.asarray([shares @ sample.plaquettes, shares @ (sample.charges != 0)])
        spread = [
            np.sqrt(shares**2 @ (v - m) ** 2)
            for v, m in zip((sample.plaquettes, sample.charges != 0), means, strict=True)
        ]
        plain.append((means, np.asarray(spread)))
    for means, spread in plain[:-1]:
        # three samples of equal size enter
        assert (np.abs(means - plain[-1][0]) < SIGMAS * np.sqrt(2.0) * np.hypot(spread, plain[-1][1])).all()


def test_actions():
    """Determinants of slices are those of dense matrices; forces agree to single precision; weights of |Q| have none."""
    lattice = Lattice((4, 4))
    x = links(lattice, 1, 6)
    quarks, dense = Quarks(lattice, 0.25), Determinant(Wilson(lattice=lattice, kappa=0.25))
    np.testing.assert_allclose(quarks.value(x), dense.value(x), atol=1e-11)
    exact = dense.grad(x)
    np.testing.assert_allclose(quarks.grad(x), exact, atol=1e-5 * np.max(np.abs(exact)))
    weights = SectorWeights(lattice, (0.0, 0.5))
    np.testing.assert_array_equal(np.unique(weights.value(links(lattice, 1, 64))), [-0.5, 0.0])
    assert not weights.grad(x).any()


def test_visits_are_counted_where_they_begin():
    """A stay of any length is one, at the start of a chain too."""
    signs = np.array([[-1.0, 1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]])
    assert visits(signs) == 4


def test_demo(tmp_path):
    """A run that continues from checkpoints ends like one that was never interrupted, and reports all that it promises."""
    settings = Settings(
        extent=4, kappas=(0.0, 0.2, 0.25), chains=4, steps=12, burn_in=2, training_extent=4, samples=256, gradients=64,
        classes_order=1, checkpoint_every=3,
    )  # fmt: skip
    whole = run(out=tmp_path / "whole", seed=4, settings=settings)
    run(out=tmp_path / "parts", seed=4, settings=replace(settings, steps=10))
    parts = run(out=tmp_path / "parts", seed=4, settings=settings)
    for report in (whole, parts):
        for row in report.json["autocorrelations"]:
            del row["core_seconds_per_step"], row["core_seconds_per_independent"]
    assert json.dumps(whole.json) == json.dumps(parts.json)
    assert {(row["mode"], row["observable"]) for row in whole.json["autocorrelations"]} == {
        (mode, name) for mode in (*MODES, "HMC") for name in OBSERVABLES
    }
    assert len(whole.json["swaps"]) == 2 * len(MODES)
    assert all(picture.exists() for picture in whole.figures)
    assert sum(len(table.rows) for table in whole.tables) == 3 + 5 + 16
