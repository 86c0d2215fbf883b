"""Susceptibilities of Polyakov loop and charge against exact values of two-dimensional U(1)."""

import numpy as np
import pytest
from scipy.special import iv

from gaugeflow.analysis import Series, gamma_method, polyakov_susceptibility, topological_susceptibility
from gaugeflow.lattice import Lattice
from gaugeflow.observables import LinkObservable, integer_charge, polyakov_loop
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, run


def _measure(lattice, beta, name, function, steps, **options):
    sampler = HeatBath(lattice, beta, **options)
    observe = (LinkObservable(name, lattice, function),)
    return Series.from_lanes(
        run(sampler, Rng(21), sampler.hot(Rng(22), 1, 64), steps, burn_in=50, observe=observe, progress=False).records[
            name
        ],
        name=name,
    )


def _polyakov_exact(beta, extent):
    """V_s (<|P|^2> - <|P|>^2) on a torus of two spatial sites.

    The two loops differ by a phase phi, and the two strips of ``extent`` plaquettes between them give it the density
    K(phi)^2 with K(phi) = sum_n I_n(beta)^extent exp(i n phi); |P| = |cos(phi / 2)|.
    """
    phi = 2 * np.pi * (np.arange(4000) + 0.5) / 4000
    n = np.arange(-30, 31)
    density = (iv(n, beta)[:, None] ** extent * np.cos(n[:, None] * phi)).sum(axis=0) ** 2
    modulus = abs(np.cos(phi / 2))
    mean, square = (np.sum(density * m) / np.sum(density) for m in (modulus, modulus**2))
    return 2 * (square - mean**2), mean


@pytest.mark.parametrize(("beta", "extent"), [(1.0, 4), (3.0, 4), (2.0, 2)])
def test_polyakov_loop(beta, extent):
    """Modulus and susceptibility within 3.5 sigma."""
    series = _measure(Lattice((extent, 2)), beta, "P", polyakov_loop, 300)
    chi = gamma_method(polyakov_susceptibility(series, 2))
    exact, mean = _polyakov_exact(beta, extent)
    assert chi.error < 0.03 * exact
    assert abs(chi.value - exact) < 3.5 * chi.error
    modulus = gamma_method([np.hypot(p[:, 0], p[:, 1]) for p in series.values])
    assert abs(modulus.value - mean) < 3.5 * modulus.error


@pytest.mark.parametrize(("beta", "exact"), [(1.0, 2.60071911), (2.0, 1.23929891)])
def test_topological_susceptibility(beta, exact):
    """<Q^2> of 8 x 8 from Z(theta), within 3.5 sigma."""
    series = _measure(Lattice((8, 8)), beta, "q", integer_charge, 400, n_overrelax=1)
    chi = gamma_method(topological_susceptibility(series, 64))
    assert chi.error < 0.03 * exact / 64
    assert abs(chi.value - exact / 64) < 3.5 * chi.error
