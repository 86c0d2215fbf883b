"""Every kernel by name: a function of :class:`Case` that makes its arguments after the lattice.

A row puts the kernel's back ends through the whole comparison with the reference.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from cases.fields import algebra, links, ordered, scalars
from gaugeflow.kernels.slots import all_slots, reach
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng

MU = 1
"""Direction of active links."""


@dataclass(frozen=True)
class Case:
    """Random arguments: numbers do not depend on fold or array library, and arrays are fresh with every access."""

    lattice: Lattice
    n: int
    batch: int
    dtype: Any = np.complex128
    asarray: Any = np.asarray

    @property
    def _host(self):
        """The same case on NumPy arrays."""
        return replace(self, asarray=np.asarray)

    @property
    def links(self):
        return self.asarray(links(self.lattice, self.n, self.batch).astype(self.dtype))

    @property
    def ordered(self):
        """Links for updates that divide by sums of staples, each new link entering those of the next ones."""
        return self.asarray(ordered(self.lattice, self.n, self.batch).astype(self.dtype))

    @property
    def algebra(self):
        return self.asarray(algebra(self.lattice, self.n, self.batch, 1).astype(self.dtype))

    @property
    def momenta(self):
        """Another algebra field."""
        return self.asarray(algebra(self.lattice, self.n, self.batch, 3).astype(self.dtype))

    @property
    def matrices(self):
        """Links of no group."""
        x = algebra(self.lattice, self.n, self.batch, 2) + 0.3 * links(self.lattice, self.n, self.batch, 3)
        return self.asarray(x.astype(self.dtype))

    @property
    def sites(self):
        return self.lattice.active_sites(MU, 0)

    @property
    def active(self):
        """Active rows of :attr:`matrices`, of norm below 1 as a residual update needs it."""
        return self.asarray(self._host.matrices[MU, self.sites] * np.asarray(0.02, dtype=self.dtype))

    @property
    def loops(self):
        """Seven active matrices of different kinds, as a smeared update needs them."""
        x = [algebra(self.lattice, self.n, self.batch, 20 + k) for k in range(7)]
        x = [0.3 * a + (0.5 + 0.1 * k) * self._host.matrices for k, a in enumerate(x)]
        return self.asarray(np.stack([0.02 * a[MU, self.sites] for a in x]).astype(self.dtype))

    @property
    def scalars(self):
        return self.asarray(scalars(self.lattice, self.batch).astype(np.zeros(0, self.dtype).real.dtype))

    @property
    def tensor(self):
        """An algebra field for every plane."""
        x = [algebra(self.lattice, self.n, self.batch, 30 + p)[0] for p in range(len(self.lattice.planes))]
        return self.asarray(np.stack(x).astype(self.dtype))

    def features(self, channels, seed=0):
        """Features ``(channels, n_blocks, lanes)``."""
        x = np.stack([scalars(self.lattice, self.batch, seed + c) for c in range(channels)])
        return self.asarray(x.astype(np.zeros(0, self.dtype).real.dtype))

    def matrix(self, *shape):
        """Numbers that depend on the shape alone."""
        return self.asarray(np.random.default_rng(shape).normal(size=shape).astype(np.zeros(0, self.dtype).real.dtype))

    @property
    def taps(self):
        """Three translations: none, one forward, two backward and one along the last direction."""
        here, last = all_slots(self.lattice, np), (self.lattice.ndim - 1, 0)
        walks = ((), [(0, 0)], [(0, 1), (0, 1), last])
        return self.asarray(np.stack([reach(self.lattice, np, here, walk) for walk in walks]))

    @property
    def traces(self):
        """A complex number for each of four words and each site."""
        return self.asarray(
            np.ascontiguousarray(links(self.lattice, self.n, self.batch)[:4, :, 0, 0].astype(self.dtype))
        )

    def fermions(self, rows=None, spin=4, fields=0, seed=0):
        """Fermion field on all block sites or ``rows`` of them, or a stack of ``fields``."""
        lead = (self.batch, max(1, fields), *self.lattice.shape, spin, self.n)
        numbers = np.random.default_rng([seed, *lead]).normal(size=(2, *lead))
        psi = self.lattice.pack(numbers[0] + 1j * numbers[1], components=1)
        psi = psi[:, slice(None) if rows is None else rows]
        psi = psi if fields else psi[0]
        return self.asarray(np.ascontiguousarray(psi.astype(self.dtype)))

    @property
    def spin(self):
        """Components of a Dirac spinor."""
        return 1 << (self.lattice.ndim // 2)

    @property
    def even(self):
        return self.lattice.sites_of_parity(0)

    @property
    def odd(self):
        return self.lattice.sites_of_parity(1)

    @property
    def factors(self):
        """Phases and weights of hops, the same object for equal lattices."""
        return _factors(self.lattice)

    @property
    def blocks(self):
        """Hermitian matrices at every site, packed."""
        half = self.spin // 2 * self.n
        count = half * (half + 1) // 2
        numbers = self._host.fermions(None, 2 * count, 0, 50)[:, :, 0]
        return self.asarray(np.ascontiguousarray(numbers.reshape(self.lattice.n_blocks, 2, count, -1)))

    @property
    def slices(self):
        """Every other time slice, the same in all sub-lattices."""
        return tuple(range(1, self.lattice.shape[0], 2))

    @property
    def key(self):
        return self.asarray(Rng(11).at(self.n).words())

    def weights(self, count):
        """A coefficient for each of ``count`` loops and each configuration."""
        return self.asarray(np.random.default_rng(count).uniform(0.5, 2.0, size=(count, self.batch)))


@cache
def _factors(lattice):
    """A phase in time, a weight in the last direction."""
    phases = (np.exp(0.3j), *(1.0,) * (lattice.ndim - 1))
    weights = np.array([1.0] * (lattice.ndim - 1) + [0.7])[:, None, None]
    return lattice.hop_factors(lattice.boundary_phase(phases) * weights)


WORDS = ((1, 2, -1, -2), (1, 1, 3, -1, -1, -3), (1, 2, -1, -2, 1, 2, -1, -2), (4, -1, 2, -4, 1, -2))
"""Plaquette, rectangle, plaquette twice, chair."""
TERMS = (
    (((0, (0, 0, 0, 0), False),),),
    (((1, (0, 0, 0, 0), False), (0, (1, -1, 0, 0), True)), ((3, (0, 0, 1, 0), False), (2, (0, 0, 0, 2), False))),
    (((0, (0, 0, 0, 0), False), (0, (0, 0, 0, 0), False), (2, (0, 1, 0, 0), True)),),
)
"""Polynomials of one, two and three traces."""

KERNELS = {
    "activate": lambda c: (c.features(2), ("leaky relu", "silu", "tanh")[c.n % 3], 0.1),
    "activate_vjp": lambda c: (
        c.features(2),
        c.features(2, 5),
        c.features(2, 9),
        ("leaky relu", "silu", "tanh")[c.n % 3],
        0.1,
    ),
    "blocks_times": lambda c: (c.fermions(c.odd, c.spin), c.blocks, 1, 0.3),
    "clover": lambda c: (c.links,),
    "clover_blocks": lambda c: (c.links, 1.1, tuple(0.1 + 0.05 * k for k in range(len(c.lattice.planes)))),
    "clover_gradient": lambda c: (c.links, c.tensor),
    "clover_hop": lambda c: (
        c.links,
        c.fermions(None, c.spin),
        c.factors,
        -1,
        -1,
        -0.3,
        c.fermions(None, c.spin, 0, 9) if c.n % 2 else None,
        0.7,
        c.blocks,
    ),
    "clover_tensor": lambda c: (
        c.fermions(None, c.spin, 2),
        c.fermions(None, c.spin, 2, 9),
        tuple(0.1 + 0.05 * k for k in range(len(c.lattice.planes))),
    ),
    "convolve_features": lambda c: (c.features(5), c.matrix(3, 7 * c.n - 5, 5), c.matrix(7 * c.n - 5), c.taps),
    "convolve_features_vjp": lambda c: (c.features(7), c.features(7 * c.n - 5, 4), c.taps),
    "digit_sums": lambda c: (c.features(3),),
    "evolve": lambda c: (c.links, c.algebra, -0.3),
    "extend": lambda c: (c.links, c.matrices),
    "fermion_combine": lambda c: (
        c.fermions(c.even, 2, 3),
        c.weights(3),
        c.fermions(c.even, 2, 3, 9),
        (0.3 - 0.2j) * c.weights(1)[0, ...],
    ),
    "fermion_dot": lambda c: (c.fermions(c.even, 2, 3), c.fermions(c.even, 2, 3, 9)),
    "flow_stage": lambda c: (c.links, c.algebra, -1.0 * c.algebra, 0.2, -1.5),
    "flow_stage_vjp": lambda c: (c.algebra, -1.0 * c.algebra),
    "from_ambient": lambda c: (c.links, c.matrices),
    "gauge_transform": lambda c: (c.links, c.links[0, ...]),
    "haar_field": lambda c: (c.key, c.lattice.ndim, c.n, c.batch),
    "heatbath": lambda c: (c.ordered, 20.0 * c.weights(len(c.lattice.planes)), c.key, c.slices),
    "hop_force": lambda c: (c.links, c.fermions(None, c.spin, 2), c.fermions(None, c.spin, 2, 9), c.factors, 0.4),
    "inner": lambda c: (c.algebra, c.links),
    "link_averages": lambda c: (c.links, 6.0 * c.weights(len(c.lattice.planes)), MU),
    "loop_gradient": lambda c: (c.links, WORDS, c.traces),
    "loop_gradient_vjp": lambda c: (c.links, WORDS, c.traces, c.algebra),
    "loop_traces": lambda c: (c.links, WORDS),
    "loop_traces_along": lambda c: (c.links, c.algebra, WORDS),
    "momentum_field": lambda c: (c.key, c.lattice.ndim, c.n, c.batch),
    "neighbour_sum": lambda c: (c.scalars,),
    "newton_schulz": lambda c: (c.matrices[0, ...],),
    "newton_schulz_vjp": lambda c: (c.links[0, ...], c.matrices[0, ...]),
    "normal_field": lambda c: (c.key, 3, c.batch),
    "overrelax": lambda c: (c.ordered, c.weights(len(c.lattice.planes)), c.slices),
    "overwrite": lambda c: (c.links, MU, c.sites, c.active),
    "path_sum": lambda c: (c.links, MU, c.sites, c.weights(c.lattice.ndim)),
    "path_sum_vjp": lambda c: (c.links, MU, c.sites, c.weights(c.lattice.ndim), c.active, c.matrices),
    "plaquette_gradient": lambda c: (c.matrices, c.weights(c.lattice.ndim**2), c.links),
    "plaquette_hessian": lambda c: (c.links, c.weights(c.lattice.ndim**2), c.matrices, c.algebra),
    "plaquette_hessian_active": lambda c: (
        c.links,
        c.weights(c.lattice.ndim**2),
        c.matrices,
        c.algebra,
        MU,
        c.sites,
    ),
    "plaquette_hessian_along": lambda c: (
        c.links,
        c.weights(c.lattice.ndim**2),
        c.matrices,
        c.algebra,
        c.momenta,
        c.links,
    ),
    "plaquette_traces": lambda c: (c.links,),
    "plaquette_traces_along": lambda c: (c.matrices, c.links),
    "project": lambda c: (c.matrices,),
    "rectangle": lambda c: (c.links,),
    "rectangle_clover": lambda c: (c.links, c.matrices, 2, 1 + c.n % 2),
    "rectangle_force": lambda c: (c.links, c.weights(c.lattice.ndim * (c.lattice.ndim - 1))),
    "residual_score": lambda c: (c.links, MU, c.sites, c.active, c.matrices),
    "residual_solve": lambda c: (c.links, MU, c.sites, c.active, 5e-6 if c.dtype == np.complex64 else 1e-13, 100),
    "residual_tangent": lambda c: (c.links, MU, c.sites, c.active, c.algebra),
    "residual_update": lambda c: (c.links, MU, c.sites, c.active),
    "residual_update_vjp": lambda c: (c.links, MU, c.sites, c.active, c.weights(1)[0, ...], c.matrices),
    "reunitarise": lambda c: (c.links + 0.05 * c.matrices,),
    "smear": lambda c: (c.links, 0.1 * c.weights(c.lattice.ndim**2), -1.0),
    "smear_vjp": lambda c: (c.links, 0.1 * c.weights(c.lattice.ndim**2), -1.0, c.matrices),
    "smear_step": lambda c: (c.links, 0.1 * c.weights(c.lattice.ndim**2), -1.0),
    "smear_step_along": lambda c: (c.links, c.matrices, 0.1 * c.weights(c.lattice.ndim**2), -1.0, c.algebra),
    "smear_step_pull": lambda c: (c.links, c.matrices, -1.0, c.algebra),
    "smear_step_pull_along": lambda c: (c.links, c.matrices, -1.0, c.algebra, c.momenta, c.links, c.matrices),
    "smeared_direction": lambda c: (c.links, MU, c.sites, c.active, c.algebra),
    "smeared_score": lambda c: (c.links, MU, c.sites, c.loops, c.matrices),
    "smeared_solve": lambda c: (c.links, MU, c.sites, c.loops, 5e-6 if c.dtype == np.complex64 else 1e-13, 100),
    "smeared_tangent": lambda c: (c.links, MU, c.sites, c.loops, c.algebra),
    "smeared_update": lambda c: (c.links, MU, c.sites, c.loops),
    "smeared_update_vjp": lambda c: (c.links, MU, c.sites, c.loops, c.weights(1)[0, ...], c.matrices),
    "staggered_force": lambda c: (c.links, c.fermions(None, 1, 2), c.fermions(None, 1, 2, 9), c.factors, 0.4),
    "staggered_hop": lambda c: (
        c.links,
        c.fermions(c.odd, 1, 2),
        c.factors,
        0,
        -0.3,
        c.fermions(c.even, 1, 2, 9) if c.n % 2 else None,
        0.7,
    ),
    "straighten": lambda c: (c.links, c.algebra, 0.2),
    "to_ambient": lambda c: (c.links, c.algebra),
    "trace_terms": lambda c: (c.traces, TERMS),
    "trace_weights": lambda c: (c.traces, TERMS, c.weights(len(TERMS))),
    "uniform_field": lambda c: (c.key, 3, c.batch),
    "wilson_hop": lambda c: (
        c.links,
        c.fermions(c.odd, c.spin, 2),
        c.factors,
        1,
        0,
        -0.3 + 0.1j,
        c.fermions(c.even, c.spin, 2, 9) if c.n % 2 else None,
        0.7 - 0.2j,
    ),
    "wilson_force": lambda c: (c.links, c.weights(len(c.lattice.planes))),
}

LARGEST = {"link_averages": 3}
"""Largest N of kernels that do not have all."""
REFERENCE_ON_GPU = {
    "activate",
    "activate_vjp",
    "convolve_features",
    "convolve_features_vjp",
    "flow_stage_vjp",
    "link_averages",
    "loop_gradient",
    "loop_gradient_vjp",
    "loop_traces",
    "loop_traces_along",
    "trace_terms",
    "trace_weights",
}
"""Kernels without a driver for GPUs, those of networks, of loops of any shape, of means of links: CuPy has the reference."""
GPU = sorted(KERNELS.keys() - REFERENCE_ON_GPU)
