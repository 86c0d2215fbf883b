"""What fields of sources gain: noise of two-point functions of time slices with and without them, at equal numbers of
configurations and at equal cost.

Half of the chains fix the coefficients, the other half gives the table.  The terms where supports meet hardly fluctuate: they
are measured on eight configurations of each chain and added as constants.  ``--theory`` chooses one of

    chain    phi^4 in one dimension, 16 sites, m^2 = -1, lambda = 1
    phi4     phi^4 in two dimensions, 12 x 8, m^2 = -4, lambda = 8
    u1       U(1) in two dimensions, 12 x 8, beta = 2, O_t the plaquettes between slices t and t + 1
    su2      SU(2) in two dimensions, 12 x 8, beta = 2.2
    su3      SU(3) in four dimensions, 8^4, O_t the spatial plaquettes of slice t, stout-smeared ``--stout`` times
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.actions import ScalarAction, WilsonAction
from gaugeflow.analysis import (
    Series,
    fit_sources,
    folded,
    format_error,
    gamma_method,
    improved,
    reflected,
    residual_share,
    two_point_function,
)
from gaugeflow.ensembles import (
    JoinedSources,
    PlaquetteSources,
    ScalarSources,
    SmearedSources,
    first_contact,
    measure_sources,
    second_contact,
)
from gaugeflow.flows import SmearedSweep, Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.observables import plaquette_slices, stout
from gaugeflow.observables.flow_scales import slice_sums
from gaugeflow.observables.loops import plaquette_sites
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, ScalarMetropolis


@dataclass(frozen=True)
class Theory:
    """A chain, an observable on slices and the fields that serve it."""

    sampler: Any
    start: Any
    action: Any
    operator: Callable[[Any], Any]
    fields: Any
    reach: int
    between: int = 2


def scalar(lattice: Lattice, action: ScalarAction, lanes: int, square: bool) -> Theory:
    """O_t = sum_x phi, or phi^2."""
    powers = ((1, 0), (0, 1), (3, 0), (2, 1)) if square else ((0, 0), (2, 0), (1, 1), (0, 2))
    sampler = ScalarMetropolis(action, width=0.6)

    def operator(x: Any) -> Any:
        return slice_sums(lattice, x * x if square else x, mean=False)

    start = sampler.init(np.zeros((lattice.n_blocks, lanes)))
    return Theory(sampler, start, action, operator, ScalarSources(lattice, powers, (0, 2)), 0, 4)


def gauge_2d(n: int, beta: float, lanes: int) -> Theory:
    """O_t = sum of Re tr P / N between slices t and t + 1."""
    lattice = Lattice((12, 8))
    sweep = SmearedSweep(lattice, n, Smearing(eta=(0.1,) * 4, steps=4, gradient_steps=(2,)))
    fields = JoinedSources((PlaquetteSources(lattice), SmearedSources(sweep, (1, 2, 4), True)))
    sampler = HeatBath(lattice, beta)

    def operator(x: Any) -> Any:
        return slice_sums(lattice, plaquette_sites(lattice, x, 0, 1), mean=False) / n

    return Theory(sampler, sampler.hot(Rng(3), n, lanes), WilsonAction(lattice, beta), operator, fields, 1)


def gauge_4d(beta: float, steps: int) -> Theory:
    """O_t = sum of Re tr P / N over the spatial plaquettes of slice t."""
    lattice = Lattice((8, 8, 8, 8), (1, 2, 2, 2))
    sweep = SmearedSweep(lattice, 3, Smearing(eta=(0.0625,) * 4, steps=1, gradient_steps=(2, 4)))
    fields = JoinedSources((PlaquetteSources(lattice), SmearedSources(sweep, (1,))))
    sampler = HeatBath(lattice, beta)

    def operator(x: Any) -> Any:
        return plaquette_slices(lattice, stout(lattice, x, 0.1, steps, spatial=True))

    return Theory(sampler, sampler.hot(Rng(3), 3), WilsonAction(lattice, beta), operator, fields, 0, 6)


def measure(theory: Theory, rows: int, burn_in: int) -> tuple[dict[str, Any], list[Any], tuple[float, float]]:
    """Columns ``(rows, T, chains)``, some configurations, and CPU seconds for a configuration with O_t, and for its fields."""
    rng, state, table, kept, seconds = Rng(11), theory.start, [], [], np.zeros(2)
    measured = measure_sources(theory.fields, theory.action, theory.operator)
    for _ in range(burn_in):
        state, _ = theory.sampler.step(rng, state)
    measured(state.x)
    for row in range(rows):
        before = time.process_time()
        for _ in range(theory.between):
            state, _ = theory.sampler.step(rng, state)
        theory.operator(state.x)
        middle = time.process_time()
        table.append(measured(state.x))
        seconds += (middle - before, time.process_time() - middle)
        if row >= rows // 2 and row % max(1, rows // 16) == 0:
            kept.append(state.x)
    return {name: np.stack([row[name] for row in table]) for name in table[0]}, kept, tuple(seconds / rows)


def as_series(values: Any, name: str) -> tuple[Series, Series]:
    """Two halves: of the chains, or of one chain, cut into blocks."""
    rows, _, lanes = values.shape
    if lanes > 1:
        chains, numbers = [values[..., k] for k in range(lanes)], [np.arange(rows)] * lanes
    else:
        pieces = np.array_split(np.arange(rows), 8)
        chains, numbers = [values[piece, :, 0] for piece in pieces], pieces
    half = len(chains) // 2
    return tuple(Series.from_chains(chains[s], numbers[s], name) for s in (slice(half), slice(half, None)))


def report(theory: Theory, rows: int, burn_in: int, radii: list[int], times: list[int]) -> None:
    """Print rho by radius, and variances relative to the plain estimator by time."""
    table, kept, (plain_cost, field_cost) = measure(theory, rows, burn_in)
    halves = {name: as_series(values, name) for name, values in table.items()}
    names = [name for name in halves if name.startswith("h|")]
    cost = 1.0 + field_cost / plain_cost
    print(f"{len(names)} fields; a configuration costs {cost:.2f} times as much with them")
    for radius in radii:
        fitted, held = ((halves["operator"][k], [halves[name][k] for name in names]) for k in range(2))
        coefficients = fit_sources(*fitted, radius)
        operator, better = held[0], improved(*held, coefficients)
        rho = gamma_method(residual_share(operator, better))
        first, second = (
            Series.from_chains([np.concatenate([np.moveaxis(term, -1, 0) for term in terms])])
            for terms in zip(*(contact_terms(theory, coefficients, x) for x in kept), strict=True)
        )
        constants = {"plain": first * 0.0, "one-sided": first, "two-sided": first + reflected(first) + second}
        pairs = {"plain": (operator, operator), "one-sided": (operator, better), "two-sided": (better, better)}
        found = {
            kind: [
                (e.value + c.mean, np.hypot(e.error, c.values[0].std() / np.sqrt(c.n)))
                for e, c in zip(
                    map(gamma_method, folded(two_point_function(*pair)).split()),
                    folded(constants[kind]).split(),
                    strict=True,
                )
            ]
            for kind, pair in pairs.items()
        }
        print(f"radius {radius}: rho = {rho}")
        for t in times:
            values = ", ".join(f"{kind} {format_error(*rows[t])}" for kind, rows in found.items())
            gains = [(found["plain"][t][1] / found[kind][t][1]) ** 2 for kind in ("one-sided", "two-sided")]
            print(
                f"  t = {t}: {values}; variance / {gains[0]:.3g} and / {gains[1]:.3g}, at equal cost / "
                f"{gains[0] / cost:.3g} and / {gains[1] / cost:.3g}"
            )


def contact_terms(theory: Theory, coefficients: Any, x: Any) -> tuple[Any, Any]:
    """X_0.dO_t and X_t.dh_0 on the chains that are not used for the fit, ``(T, batch)``."""
    batch = theory.fields.lattice.batch(x.shape[-1])
    y = x if batch == 1 else x[..., batch // 2 :]
    return (
        first_contact(theory.fields, coefficients, y, theory.operator, theory.reach),
        second_contact(theory.fields, coefficients, y, theory.action, (0,)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theory", choices=("chain", "phi4", "u1", "su2", "su3"), default="u1")
    parser.add_argument("--square", action="store_true", help="phi^2 in place of phi")
    parser.add_argument("--rows", type=int, default=200, help="configurations of each chain")
    parser.add_argument("--lanes", type=int, default=64, help="chains, in one and two dimensions")
    parser.add_argument("--beta", type=float, default=5.9, help="in four dimensions")
    parser.add_argument("--stout", type=int, default=0)
    parser.add_argument("--radii", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--times", type=int, nargs="+", default=[2, 3, 4, 5, 6])
    chosen = parser.parse_args()
    if chosen.theory == "chain":
        lattice = Lattice((16,))
        theory = scalar(lattice, ScalarAction(lattice, -1.0, 1.0), chosen.lanes, chosen.square)
    elif chosen.theory == "phi4":
        lattice = Lattice((12, 8))
        theory = scalar(lattice, ScalarAction(lattice, -4.0, 8.0), chosen.lanes, chosen.square)
    elif chosen.theory == "su3":
        theory = gauge_4d(chosen.beta, chosen.stout)
    else:
        theory = gauge_2d(*((1, 2.0) if chosen.theory == "u1" else (2, 2.2)), chosen.lanes)
    report(theory, chosen.rows, 150 if chosen.theory == "su3" else 60, chosen.radii, chosen.times)


if __name__ == "__main__":
    main()
