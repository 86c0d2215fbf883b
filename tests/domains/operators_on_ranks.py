"""Dirac operators, solvers, actions of quarks and correlators on a cut lattice, against the whole lattice: bit for bit.

Arguments: the grid, the fold, the back end and the names of checks (default: all).
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from mpi4py import MPI

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kernels_on_ranks import own, poison

from cases.fields import links, ordered
from cases.ranks import first_alone
from gaugeflow import hadrons, solvers
from gaugeflow.actions import Hasenbusch, Inversion, Pseudofermion, Rational, WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.determinants import stochastic_trace
from gaugeflow.domains import cut
from gaugeflow.ensembles import Observables, QuarkSource, along_quarks
from gaugeflow.flows import ResidualSweep
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Smeared, Staggered, Stout, Wilson, anisotropic, even_odd, gaussian
from gaugeflow.random import Rng
from gaugeflow.samplers import HMC, Level
from gaugeflow.systems.quark_mass import quark_observables

SHAPE = (8, 4, 4, 4)


def waves(lattice):
    """A potential without symmetries."""
    shape = (1, lattice.ndim, *lattice.shape)
    return lattice.pack(np.random.default_rng(17).normal(size=shape), components=1)


def _bound(make, n=3, weak=True):
    def operator(lattice):
        return make(lattice).with_links((ordered if weak else links)(lattice, n, 8))  # full registers

    return operator


OPERATORS = {
    "wilson": _bound(lambda lat: Wilson(lattice=lat, kappa=0.12)),
    "anisotropic": _bound(lambda lat: Wilson(lattice=lat, mass=0.3, hopping=anisotropic(2.0, 1.1), twisted_mass=0.1)),
    "clover": _bound(lambda lat: Clover(lattice=lat, kappa=0.11, csw=1.3)),
    "twisted clover": _bound(
        lambda lat: Clover(lattice=lat, mass=0.4, csw=1.0, twisted_mass=0.2, boundary=(1j, 1, -1, 1))
    ),
    "charged": _bound(lambda lat: Wilson(lattice=lat, kappa=0.12, charge=0.7, potential=waves(lat))),
    "staggered": _bound(lambda lat: Staggered(lattice=lat, mass=0.3)),
    "stout": _bound(lambda lat: Smeared(operator=Wilson(lattice=lat, kappa=0.12), smearing=Stout(0.1, 2))),
}


def applied(d, rng):
    """The operator, its Schur complement, their adjoints and forces."""
    x, y = gaussian(rng, d), gaussian(rng.at(1), d)
    small = even_odd(d)
    a, b = gaussian(rng, small, 3), gaussian(rng.at(1), small, 3)
    rest = small.log_det_rest_force()
    yield from (d.apply(x), d.adjoint(x), d.force(x, y), small.apply(a), small.adjoint(a), small.force(a, b))
    yield from (small.log_det_rest(), d.diagonal_log_det(BOTH), small.phase_rest())
    yield from () if rest is None else (rest,)


def solved(d, rng):
    """All solvers: solutions, residuals and iterations."""
    b = gaussian(rng, d)
    for method in solvers.solve.__globals__["METHODS"]:
        found = solvers.solve(d, b, method=method, tolerance=1e-9)
        yield from (found.x, found.residual, found.iterations)
    small = even_odd(d)
    b = gaussian(rng, small, 2)
    for found in (solvers.cg(small, b), *solvers.multi_shift_cg(small, b, (0.0, 0.1))):
        yield from (found.x, found.residual, found.iterations)


def fermion_actions(d, rng):
    """Pseudofermions of one field, of two factors and of a root: draws, values and forces."""
    u, moved = d.links, d.links + 0.01 * d.force(gaussian(rng, d), gaussian(rng.at(1), d))
    chosen = [Pseudofermion(d, inversion=Inversion(depth=2))]
    if isinstance(d, Wilson) and not d.twisted_mass:
        heavier = type(d)(lattice=d.lattice, kappa=0.1, charge=d.charge, potential=d.potential)
        chosen += [Hasenbusch(d, (heavier,)), Rational(d, 0.01, 10.0, error=1e-4)]
    for action in chosen:
        drawn = action.refreshed(rng, u)
        yield from (drawn.value(u), drawn.grad(moved), drawn.value(moved))


def correlators(d, rng):
    """Mesons from a point, with momenta, and from noise; the nucleon; disconnected loops."""
    smearing = hadrons.Gaussian(1.5, 3)
    momenta = hadrons.momenta_up_to(4, 1)
    point = hadrons.propagator(d, hadrons.point(d, (5, 1, 2, 3), smearing))
    channels = ("pion", "rho", "nucleon")
    yield hadrons.two_point(point.smeared(d.bound, smearing), channels=channels, momenta=momenta).values
    noise = hadrons.propagator(d, hadrons.noise(d, rng, 3))
    yield hadrons.two_point(noise, channels=("pion",)).values
    yield hadrons.loops(d, rng, 1, dilution=hadrons.Dilution(time=False)).values
    yield stochastic_trace(rng, d, lambda operator: operator.d_kappa, noise=2).samples


def trajectory(d, rng):
    """One trajectory of hybrid Monte Carlo with two quarks."""
    quarks = Pseudofermion(replace(d, links=None), inversion=Inversion(depth=2))
    sampler = HMC(d.lattice, (Level(quarks, 1), Level(WilsonAction(d.lattice, 5.5), 2)), length=0.1)
    state, info = sampler.step(rng, sampler.init(d.links))
    yield from (state.x, info.delta_h, info.accepted)


def along_kappa(d, rng):
    """The derivative with respect to kappa by noise, along a field; noise wants a lattice without a fold."""
    if d.lattice.n_folds == 1:
        source = QuarkSource(WilsonAction(d.lattice, 5.5), replace(d, links=None), vectors=1)
        flow = ResidualSweep(d.lattice, 3)
        quark = partial(quark_observables, vectors=1)
        measure = along_quarks(flow, np.full(flow.shape, 0.1), source, Observables(lambda x: {}, quark))
        yield from (np.asarray(value) for _, value in sorted(measure(rng, d.links).items()))


def messages(d, rng):
    """A hop sends one message to every neighbour, half a spinor for every site of a face and no links: its own check."""
    x = gaussian(rng, d)
    d.apply(x)
    if d.lattice.domain is not None:
        traffic = d.lattice.domain.traffic
        traffic.reset()
        d.apply(x)
        cuts = [mu for mu, n in enumerate(d.lattice.grid) if n > 1]
        lanes = x.shape[-1] // d.lattice.n_folds
        faces = sum(2 * d.lattice.n_slots // d.lattice.local_shape[mu] for mu in cuts)
        least = faces * max(1, d.spin // 2) * x.shape[2] * lanes * x.itemsize
        assert traffic.bytes == least, f"expected {least} bytes, got {traffic.bytes}"
        assert traffic.messages == len(cuts), f"expected {len(cuts)} messages, got {traffic.messages}"
    return
    yield


CHECKS = {
    "applied": (applied, OPERATORS),
    "solved": (solved, ("wilson", "clover", "staggered")),
    "actions": (fermion_actions, ("wilson", "twisted clover", "staggered")),
    "correlators": (correlators, ("wilson",)),
    "trajectory": (trajectory, ("clover",)),
    "along kappa": (along_kappa, ("wilson",)),
    "messages": (messages, ("wilson", "clover", "staggered")),
}


def main(grid, fold, names, backend):
    comm = MPI.COMM_WORLD
    lattice, whole = cut(SHAPE, comm, grid, fold), Lattice(SHAPE)
    poison()
    wrong = []

    def results(name, kind, on):
        with use_backend(backend):
            return list(CHECKS[name][0](OPERATORS[kind](on), Rng(5)))

    first_alone(comm, lambda: [results(name, kind, whole) for name in names for kind in CHECKS[name][1]])
    for name in names:
        for kind in CHECKS[name][1]:
            both = [results(name, kind, on) for on in (whole, lattice)]
            for k, (b, a) in enumerate(zip(*both, strict=True)):
                b = own(lattice, whole, b, a)
                if a.dtype != b.dtype or not np.array_equal(a, b):
                    differ = f"{int((a != b).sum())} of {a.size} differ"
                    wrong.append(f"{name} of {kind}, result {k}: {differ}")
    for line in wrong:
        print(f"rank {comm.rank}: {line}", flush=True)
    if comm.allreduce(len(wrong)):
        sys.exit(1)


if __name__ == "__main__":
    grid, fold = (tuple(int(k) for k in a.split("x")) for a in sys.argv[1:3])
    main(grid, fold, sys.argv[4:] or sorted(CHECKS), sys.argv[3])
