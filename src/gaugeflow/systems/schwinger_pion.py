"""The mass of the pion of the Schwinger model, on configurations of the chain of updates."""

from __future__ import annotations

from typing import Any

import numpy as np

from gaugeflow.analysis import Series, effective_mass
from gaugeflow.hadrons import point, propagator, two_point
from gaugeflow.lattice import Array, Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import configurations
from gaugeflow.systems.schwinger_layers import Layer, SliceUpdates
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.systems.schwinger_slices import links_of


def correlators(
    lattice: Lattice,
    beta: float,
    kappa: float,
    rng: Rng,
    *,
    lanes: int,
    measurements: int,
    burn_in: int,
    thin: int,
) -> Array:
    """Two-point functions of the pion ``(measurements, lanes, T)``.

    Parameters
    ----------
    lattice, beta, kappa
        The model.
    rng
        Random numbers.
    lanes, measurements, burn_in, thin
        Chains, measurements on each, sweeps before the first one and between two.
    """
    sampler = SliceUpdates(Layer(beta, kappa))
    start = sampler.init(PlaquettePrior(lattice, 1.1 * beta).angles(rng.stream("start"), lanes))
    operator = Wilson(lattice=lattice, kappa=kappa, boundary=(-1.0, 1.0))
    found = []
    chain = configurations(sampler, rng.stream("chain"), start, thin * measurements, burn_in=burn_in, thin=thin)
    for sample in chain:
        bound = operator.with_links(links_of(lattice, sample.state.angles))
        quark = propagator(bound, point(bound, (0, 0)))
        found.append(np.real(two_point(quark, channels=("pion",))["pion"][0]).T)
    return np.stack(found)


def mass(values: Array, first: int, last: int) -> dict[str, Any]:
    """Mass from the plateau of the effective mass, with its error.

    Parameters
    ----------
    values
        As :func:`correlators` returns them.
    first, last
        Times of the plateau.
    """
    extent = values.shape[-1]
    folded = 0.5 * (values + np.roll(values[..., ::-1], 1, axis=-1))[..., : extent // 2 + 1]
    chains = [folded[:, lane] for lane in range(folded.shape[1])]
    plateau = effective_mass(Series.from_chains(chains, name="pion"), "cosh", period=extent).plateau(first, last)
    estimate = plateau.parameters[0]
    return {"value": estimate.value, "error": estimate.error}
