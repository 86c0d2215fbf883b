"""Replica exchange in a defect: SU(3) links of a small cube weakened and strengthened, with flows that repair it.

    python docs/scripts/trex_defect.py --extent 4 --beta 6.0 --size 2 --steps 80 --out trex-defect

The links of direction 0 on a cube of size^3 enter plaquettes multiplied by a strength c: 1 is the periodic lattice, 0 cuts
it open there.  Flows between neighbouring strengths move only links around the cube.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from gaugeflow.actions import Defect, DefectAction
from gaugeflow.analysis import Estimate, gamma_method, round_trip_times
from gaugeflow.flows import Chain, Convolution, ResidualSweep
from gaugeflow.lattice import Box, Lattice
from gaugeflow.observables import LinkObservable, plaquette
from gaugeflow.plots import POINTS, colour, line, marker, panels, save
from gaugeflow.random import Rng
from gaugeflow.samplers import Exchange, HeatBath, OnReplicas, Replica, ReplicaExchange, configurations, run
from gaugeflow.training import fit_linear


def around(lattice: Lattice, size: int) -> tuple[Box, ...]:
    """Boxes around the defect, whose links start at time 0 on the sites 0 ... size - 1: tight, and one link larger."""
    tight = Box((0,) * lattice.ndim, (1,) + (size,) * (lattice.ndim - 1))
    grown = tuple(min(extent + 2, length) for extent, length in zip(tight.extents, lattice.shape, strict=True))
    origin = tuple((-1) % length if extent < length else 0 for extent, length in zip(grown, lattice.shape, strict=True))
    return tight, Box(origin, grown)


def repair(
    flow: Chain, lattice: Lattice, beta: float, defect: Defect, strengths: tuple[float, float], blocks: int, rng: Rng
) -> dict[str, dict[str, np.ndarray]]:
    """Parameters that carry the first strength to the second: the linear fit half way between them."""
    middle = DefectAction(lattice, beta, defect, 0.5 * sum(strengths))
    sampler = HeatBath(lattice, beta, 4, defect=defect, strength=middle.strength)
    tangents, operators = [], []
    for sample in configurations(sampler, rng, sampler.hot(rng, 3, 16), 5 * blocks, burn_in=30, thin=5):
        x = sample.state.x
        force = middle.grad(x)
        tangents.append(np.concatenate([part.tangent(x, force).reshape(-1, 16) for part in flow.flows]))
        operators.append(middle.d_strength(x))
    fit = fit_linear(np.concatenate(tangents, axis=-1), np.concatenate(operators))
    pieces = np.split(fit.coefficients * (strengths[1] - strengths[0]), len(flow.flows))
    return {
        str(i): {"delta": piece.reshape(part.shape)}
        for i, (part, piece) in enumerate(zip(flow.flows, pieces, strict=True))
    }


def estimate(values: np.ndarray) -> Estimate:
    """Gamma method on ``(n, chains)``."""
    return gamma_method([values[:, chain] for chain in range(values.shape[1])])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--extent", type=int, default=4)
    options.add_argument("--beta", type=float, default=6.0)
    options.add_argument("--size", type=int, default=2)
    options.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 1.0])
    options.add_argument("--chains", type=int, default=8)
    options.add_argument("--steps", type=int, default=80)
    options.add_argument("--burn-in", type=int, default=30)
    options.add_argument("--fit", type=int, default=6, help="blocks of 16 configurations for each flow")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("trex-defect"))
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    lattice, rng = Lattice((given.extent,) * 4), Rng(given.seed)
    boxes = around(lattice, given.size)
    defect = Defect(0, boxes[0])
    replicas = tuple(
        Replica(
            DefectAction(lattice, given.beta, defect, strength),
            HeatBath(lattice, given.beta, 4, defect=defect, strength=strength),
        )
        for strength in given.strengths
    )
    sweeps = [ResidualSweep(lattice, 3, (Convolution(0), Convolution(1)), "anisotropic", region=box) for box in boxes]
    flow = Chain(tuple(sweeps))
    flows = tuple(
        Exchange(flow, repair(flow, lattice, given.beta, defect, pair, given.fit, rng.stream(f"fit {pair[0]}")))
        for pair in pairwise(given.strengths)
    )
    start = HeatBath(lattice, given.beta, 4).hot(rng.stream("start"), 3, given.chains).x
    observe = OnReplicas(LinkObservable("P", lattice, plaquette))
    rates = {}
    for name, exchanges in (("without flow", ()), ("with flow", flows)):
        sampler = ReplicaExchange(lattice, replicas, exchanges)
        chain = run(
            sampler, rng.stream(name), sampler.init(start), given.steps, burn_in=given.burn_in, observe=[observe]
        )
        tried = chain.records["attempted"]
        rates[name] = [
            estimate(chain.records["probability"][tried[:, pair], pair]) for pair in range(len(replicas) - 1)
        ]
        closed = estimate(chain.records["P"][:, -1]) if given.strengths[-1] == 1.0 else None
        print(f"{name:13s} swaps {' '.join(map(str, rates[name]))}", end="")
        print(f"   round trips {len(round_trip_times(chain.records['walker']))}   closed lattice <P> {closed}")
    local = HeatBath(lattice, given.beta, 4)
    alone = run(
        local,
        rng.stream("local"),
        local.init(start),
        given.steps,
        burn_in=given.burn_in,
        observe=[LinkObservable("P", lattice, plaquette)],
    )
    print(f"heat bath alone: <P> {estimate(alone.records['P'])}")

    figure, ((axis,),) = panels()
    middle = [0.5 * sum(pair) for pair in pairwise(given.strengths)]
    for k, (name, found) in enumerate(rates.items()):
        style = {"fmt": marker(k) + line(k), "color": colour(k), "label": name}
        axis.errorbar(middle, [r.value for r in found], yerr=[r.error for r in found], **style, **POINTS)
    labels = [f"{low:g} and {high:g}" for low, high in pairwise(given.strengths)]
    axis.set_xticks(middle, labels)
    axis.set(xlabel="strengths $c$ of the defect that are exchanged", ylabel="share of swaps accepted")
    axis.set_ylim(bottom=0.0)
    axis.legend()
    save(figure, given.out / "swaps.png")


if __name__ == "__main__":
    main()
