"""What fields of sources gain: noise of two-point functions of time slices with and without them, at equal numbers of
configurations and at equal cost.

Half of the chains fix the coefficients, the other half gives the table.  ``--theory`` chooses one of

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
    contact,
    fit_sources,
    gamma_method,
    improved,
    residual_share,
    two_point_function,
)
from gaugeflow.ensembles import JoinedSources, PlaquetteSources, ScalarSources, SmearedSources, measure_sources
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
    reach: int | None
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

    return Theory(sampler, sampler.hot(Rng(3), 3), WilsonAction(lattice, beta), operator, fields, None, 6)


def measure(theory: Theory, rows: int, burn_in: int) -> tuple[dict[str, Any], tuple[float, float]]:
    """Columns ``(rows, T, chains)``, and CPU seconds for a configuration with O_t, and for its fields."""
    rng, state, table, seconds = Rng(11), theory.start, [], np.zeros(2)
    measured = measure_sources(theory.fields, theory.action, theory.operator, reach=theory.reach)
    for _ in range(burn_in):
        state, _ = theory.sampler.step(rng, state)
    measured(state.x)
    for _ in range(rows):
        before = time.process_time()
        for _ in range(theory.between):
            state, _ = theory.sampler.step(rng, state)
        theory.operator(state.x)
        middle = time.process_time()
        table.append(measured(state.x))
        seconds += (middle - before, time.process_time() - middle)
    return {name: np.stack([row[name] for row in table]) for name in table[0]}, tuple(seconds / rows)


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
    table, (plain_cost, field_cost) = measure(theory, rows, burn_in)
    halves = {name: as_series(values, name) for name, values in table.items()}
    kinds = {kind: [name for name in halves if name.startswith(kind)] for kind in ("h|", "contact|")}
    cost = 1.0 + field_cost / plain_cost
    print(f"{len(kinds['h|'])} fields; a configuration costs {cost:.2f} times as much with them")
    for radius in radii:
        fitted, held = ((halves["operator"][k], [halves[name][k] for name in kinds["h|"]]) for k in range(2))
        coefficients = fit_sources(*fitted, radius)
        operator, better = held[0], improved(*held, coefficients)
        rho = gamma_method(residual_share(operator, better))
        terms = [contact([halves[name][1] for name in kinds["contact|"]], coefficients)] if kinds["contact|"] else []
        plain, one, two = (
            two_point_function(operator, operator),
            two_point_function(operator, better, *terms),
            two_point_function(better, better),
        )
        print(f"radius {radius}: rho = {rho}")
        for t in times:
            errors = [gamma_method(c.split()[t]) for c in (plain, one, two)]
            gains = [(errors[0].error / e.error) ** 2 for e in errors[1:]]
            print(
                f"  t = {t}: plain {errors[0]}, one-sided {errors[1]}, two-sided without contact terms {errors[2]}; "
                f"variance / {gains[0]:.3g} and / {gains[1]:.3g}, at equal cost / {gains[0] / cost:.3g} and "
                f"/ {gains[1] / cost:.3g}"
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
