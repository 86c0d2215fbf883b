"""Core seconds of every step of a hadron measurement on one configuration, of all threads together, medians of runs.

python docs/scripts/hadron_costs.py --shape 8x8x8x8 --kappa 0.12 --solvers cg refined bicgstab
"""

import argparse
import time
from statistics import median

from gaugeflow.hadrons import MESONS, Gaussian, momenta_up_to, point, propagator, two_point
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath


def seconds(work, repeat):
    """Median core seconds of several runs after one that compiles, and the last result."""
    result, taken = work(), []
    for _ in range(repeat):
        start = time.process_time()
        result = work()
        taken.append(time.process_time() - start)
    return median(taken), result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="8x8x8x8", help="TxZxYxX")
    parser.add_argument("--beta", type=float, default=6.0, help="of the heat bath that makes the configuration")
    parser.add_argument("--kappa", type=float, default=0.15)
    parser.add_argument("--csw", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=20, help="of the heat bath, from unit links")
    parser.add_argument("--solvers", nargs="+", default=["cg", "bicgstab"])
    parser.add_argument("--tolerance", type=float, default=1e-10)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    shape = tuple(int(n) for n in arguments.shape.split("x"))
    lattice = Lattice(shape, Lattice(shape).suggest_fold())
    sampler = HeatBath(lattice, arguments.beta)
    state = sampler.cold(3)
    for step in range(arguments.steps):
        state, _ = sampler.step(Rng(1).at(step), state)
    links = state.x
    options = {"lattice": lattice, "links": links, "kappa": arguments.kappa}
    quark = Clover(csw=arguments.csw, **options) if arguments.csw else Wilson(**options)
    smearing = Gaussian(2.0, 5)
    rows = []

    def row(name, work, note=""):
        taken, result = seconds(work, arguments.repeat)
        rows.append((name, taken, note))
        return result

    source = row("smeared source", lambda: point(quark, (0, 0, 0, 0), smearing))
    for method in arguments.solvers:
        s = row(
            f"propagator, {method}", lambda m=method: propagator(quark, source, method=m, tolerance=arguments.tolerance)
        )
        rows[-1] = (*rows[-1][:2], f"{int(s.iterations.max())} iterations")
    row("smeared sink", lambda: s.smeared(links, smearing))
    row("pion", lambda: two_point(s, channels=("pion",)))
    row("all mesons, 7 momenta", lambda: two_point(s, channels=MESONS, momenta=momenta_up_to(4, 1)))
    row("nucleon, 7 momenta", lambda: two_point(s, channels=("nucleon",), momenta=momenta_up_to(4, 1)))
    print(f"{'x'.join(map(str, shape))}, beta {arguments.beta}, {quark.label}")
    for name, taken, note in rows:
        print(f"{name:24s} {taken:8.3f} s  {note}".rstrip())


if __name__ == "__main__":
    main()
