"""Lattices that end in time against sums over plaquettes and finite differences in plain NumPy."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from gaugeflow import kernels, observables, random
from gaugeflow.backend import use_backend
from gaugeflow.cli import main
from gaugeflow.io import Config, write
from gaugeflow.lattice import Lattice
from gaugeflow.observables import gradient_flow

T = 6
LATTICE = Lattice((T, 2, 4, 2))


@pytest.fixture(autouse=True)
def _reference():
    """No kernel is compiled for these shapes."""
    with use_backend("reference"):
        yield


@pytest.fixture
def links():
    """SU(3) links ``(d, *shape, 3, 3)``, zero around the end."""
    x = random.haar_links(random.Rng(5), LATTICE, 3)
    array = LATTICE.unpack(x, components=1)[0]
    array[0, -1] = 0.0
    return array


def traces(links):
    """Re tr P / 3 of all plaquettes, ``{(mu, nu): (*shape)}``."""
    found = {}
    for mu, nu in LATTICE.planes:
        one = links[mu] @ np.roll(links[nu], -1, axis=mu)
        two = links[nu] @ np.roll(links[mu], -1, axis=nu)
        found[mu, nu] = np.einsum("...ab,...ab->...", one, two.conj()).real / 3
    return found


def weighted(links, end=0.5):
    """Sum of Re tr P with the weight of spatial plaquettes on the end slices, and the number of weighted plaquettes."""
    total, count = 0.0, 0.0
    for (mu, _), trace in traces(links).items():
        weight = np.ones(trace.shape)
        if mu == 0:
            weight[-1] = 0.0
        else:
            weight[0] = weight[-1] = end
        total += 3 * (weight * trace).sum()
        count += weight.sum()
    return total, count


def test_averages_are_those_of_openqcd(links):
    """``plaq_wsum_dble`` over (6 N0 - 6) N1 N2 N3, and means of every slice."""
    total, count = weighted(links)
    assert count == 6 * (T - 1) * 16
    found = observables.measure("x", links)
    assert found["boundary"] == "open"
    assert 3 * found["plaquette"] == pytest.approx(total / count, abs=1e-13)
    expected = traces(links)
    for part, wanted in (("temporal", (0,)), ("spatial", (1, 2))):
        slices = np.mean([p.mean(axis=(1, 2, 3)) for (mu, _), p in expected.items() if mu in wanted], axis=0)
        got = found["slices"][f"plaquette_{part}"]
        np.testing.assert_allclose(got, slices[: len(got)], atol=1e-13)
    assert len(found["slices"]["plaquette_temporal"]) == T - 1
    assert found["plaquette_temporal"] == pytest.approx(np.mean(found["slices"]["plaquette_temporal"]), abs=1e-13)
    assert found["polyakov_loop"] is None
    traced = np.einsum("...aa->...", links).real
    assert found["link_trace"] == pytest.approx(traced.sum() / 3 / (16 * (4 * T - 1)), abs=1e-13)
    unit = np.broadcast_to(np.eye(3, dtype=complex), links.shape).copy()
    unit[0, -1] = 0.0
    unit = observables.measure("unit", unit, flow_times=[0.0, 0.1])
    assert [unit[name] for name in ("plaquette", "plaquette_spatial", "plaquette_temporal", "link_trace")] == [
        pytest.approx(1.0, abs=1e-14)
    ] * 4
    assert unit["flow"][1]["t2_e"] == pytest.approx(0.0, abs=1e-14)


def exponential(w):
    """exp of anti-Hermitian matrices."""
    value, vector = np.linalg.eigh(-1j * w)
    return vector * np.exp(1j * value)[..., None, :] @ vector.conj().swapaxes(-1, -2)


def test_flow_descends_the_action_of_openqcd(links):
    """dV/dt = -(factor of 2 for spatial links at the ends) grad S_w, S_w = 2 sum w(p) Re tr(1 - P)."""
    field = LATTICE.pack(links[None], components=1)
    found = LATTICE.unpack(gradient_flow._open_gradient(LATTICE, field), components=1)[0]
    assert not found[0, -1].any()
    found[1:, 0] /= 2.0
    found[1:, -1] /= 2.0
    rng = np.random.default_rng(3)
    w = rng.normal(size=links.shape) + 1j * rng.normal(size=links.shape)
    w = w - w.conj().swapaxes(-1, -2)
    w -= np.einsum("...aa->...", w)[..., None, None] * np.eye(3) / 3

    def action(step):
        return -2.0 * weighted(exponential(step * w) @ links)[0]

    h = 1e-3
    slope = (8 * (action(h) - action(-h)) - (action(2 * h) - action(-2 * h))) / (12 * h)
    product = -2.0 * (found * w.swapaxes(-1, -2)).sum().real
    assert product == pytest.approx(slope, rel=1e-8)


def test_energy_and_charge_of_interior_slices(links):
    """Away from the ends nothing knows of them: slices of a periodic lattice with the same links there."""
    found = observables.measure("x", links, flow_times=[0.0])["flow"][0]
    closed = links.copy()
    closed[0, -1] = np.eye(3)
    field = LATTICE.pack(closed[None], components=1)
    energy, charge = kernels.clover(LATTICE, field)
    spatial = LATTICE.unpack(energy[3:].sum(axis=0))[0].mean(axis=(1, 2, 3))
    temporal = LATTICE.unpack(energy[:3].sum(axis=0))[0].mean(axis=(1, 2, 3))
    q = LATTICE.unpack(charge)[0].sum(axis=(1, 2, 3))
    for name, wanted in (("e_clover_spatial", spatial), ("e_clover_temporal", temporal), ("q", q)):
        np.testing.assert_allclose(found["slices"][name][1:-1], wanted[1:-1], atol=1e-12)
        assert found["slices"][name][0] == found["slices"][name][-1] == 0.0
    assert found["e_clover_spatial"] == pytest.approx(spatial[1:-1].mean(), rel=1e-12)
    assert found["q"] == pytest.approx(q[1:-1].sum(), abs=1e-12)


def test_flow_keeps_the_lattice_open_and_in_the_group(links):
    field = LATTICE.pack(links[None], components=1)
    energies = []
    for flowed in observables.flow_through(LATTICE, field, [0.0, 0.05, 0.1], open_in_time=True):
        array = LATTICE.unpack(flowed, components=1)[0]
        assert observables.is_open_in_time(array)
        unitary = array @ array.conj().swapaxes(-1, -2)
        assert abs(unitary[1:] - np.eye(3)).max() < 1e-13
        energies.append(-weighted(array)[0])
    assert energies[0] > energies[1] > energies[2]
    folded = Lattice(LATTICE.shape, (1, 1, 2, 1))
    x = folded.pack(links[None], components=1)
    *_, other = observables.flow_through(folded, x, [0.0, 0.05, 0.1], open_in_time=True)
    assert abs(folded.unpack(other, components=1)[0] - array).max() < 1e-13
    with pytest.raises(ValueError, match="expected 'wilson' on a lattice that is open in time, got 'symanzik'"):
        observables.flow_through(LATTICE, field, [0.1], flow="symanzik", open_in_time=True)


def test_measure_refuses_what_open_boundaries_do_not_have(links, tmp_path):
    with pytest.raises(ValueError, match="known to the flow 'wilson' only"):
        observables.measure("x", links, flow_times=[0.1], flow="symanzik")
    short = np.broadcast_to(np.eye(3, dtype=complex), (4, 2, 2, 2, 2, 3, 3)).copy()
    short[0, -1] = 0.0
    with pytest.raises(ValueError, match="an extent of at least 3 there, got 2"):
        observables.measure("x", short)


def test_the_command_prints_open_boundaries(links, tmp_path):
    write(tmp_path / "x.oqcd", Config(links))
    arguments = ["measure", str(tmp_path / "x.oqcd"), "--flow-time", "0.04", "--backend", "reference"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert row["boundary"] == "open"
    assert len(row["flow"][2]["slices"]["q"]) == T
    text = CliRunner().invoke(main, arguments).stdout
    assert "x.oqcd (open in time)" in text
    assert f"{row['plaquette']:.10g}" in text
    hadrons = CliRunner().invoke(main, [*arguments[:2], "--hadrons", "--kappa", "0.1", "--out", str(tmp_path / "h")])
    assert hadrons.exit_code == 2
    assert "open boundaries in time" in hadrons.stderr
