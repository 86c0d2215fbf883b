"""Time and memory of exact determinants of Wilson fermions, SU(3): ``python docs/scripts/determinants.py 8x8x8x8 --slices``.

The gauge field is a random gauge transform of the free one, whose determinant is known in closed form.
"""

import argparse
import itertools
import resource
import time
from dataclasses import replace

import numpy as np

from gaugeflow import determinants
from gaugeflow.groups import SU
from gaugeflow.kernels import gauge_transform
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, gauge_rotation, haar_links

KAPPA = 0.12


def closed_form(shape, kappa=KAPPA):
    """log det D of free quarks, antiperiodic in direction 0."""
    starts = [np.pi / shape[0]] + [0.0] * (len(shape) - 1)
    axes = [2 * np.pi * np.arange(n) / n + start for n, start in zip(shape, starts, strict=True)]
    p = np.array(list(itertools.product(*axes)))
    value = (1 - 2 * kappa * np.cos(p).sum(axis=1)) ** 2 + 4 * kappa**2 * (np.sin(p) ** 2).sum(axis=1)
    return 3 * 2 ** (len(shape) // 2 - 1) * np.log(value).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--dense", action="store_true", help="log det by LU decomposition")
    parser.add_argument("--slices", action="store_true", help="log det by time slices")
    parser.add_argument("--gradient", action="store_true", help="log det and gradient")
    parser.add_argument(
        "--noise", type=int, nargs="*", default=[], help="24 noise vectors in so many steps to kappa 0.121"
    )
    options = parser.parse_args()
    shape = tuple(int(n) for n in options.shape.split("x"))
    lattice = Lattice(shape)
    unit = SU(lattice).identity(haar_links(Rng(1), lattice, 3, options.batch))
    links = gauge_transform(lattice, unit, gauge_rotation(Rng(2), lattice, 3, options.batch))
    operator = Wilson(lattice=lattice, links=links, kappa=KAPPA)
    tasks = {
        "dense": lambda: determinants.log_det(operator, "dense"),
        "slices": lambda: determinants.log_det(operator, "slices"),
        "gradient": lambda: determinants.log_det_gradient(operator),
    }
    for name, task in tasks.items():
        if not getattr(options, name):
            continue
        for k in range(options.repeat):
            wall, cpu = time.perf_counter(), time.process_time()
            found = task()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            error = float(np.max(np.abs(found.log_abs / closed_form(shape) - 1)))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{name} {options.shape}, run {k + 1}: {wall / options.batch:.3f} s and {cpu / options.batch:.3f} s of "
                f"processor time a configuration, off by {error:.1e} of log det, peak {peak:.2f} GiB so far",
                flush=True,
            )
    exact = 2 * (closed_form(shape, 0.121) - closed_form(shape))
    for steps in options.noise:
        operators = determinants.path(operator, replace(operator, kappa=0.121), steps)
        cpu = time.process_time()
        found = determinants.stochastic_ratio(Rng(3), operators, noise=max(24 // steps, 2))
        cpu = time.process_time() - cpu
        print(
            f"noise {options.shape}, {steps} steps: two-flavour log ratio {found.log_abs[0]:.3f} +- {found.error[0]:.3f}, bias "
            f"{found.bias[0]:.3f}, exact {exact:.3f}, {cpu / options.batch:.2f} s of processor time a configuration"
        )


if __name__ == "__main__":
    main()
