"""CPU driver of :mod:`gaugeflow.kernels.one_link`."""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import register_jitable

from gaugeflow.kernels import reads
from gaugeflow.kernels.one_link import checked, start
from gaugeflow.sites import one_link as formulas
from gaugeflow_numba._jit import parallel, teach
from gaugeflow_numba.fields import Geometry, flat
from gaugeflow_numba.geometry import blocks, first, first_lane, pieces, put_link
from gaugeflow_numba.heatbath import staple_sum
from gaugeflow_numba.memory import empty

for _function in (formulas.whole, formulas.steps, formulas.bessel_ratio, formulas.exp_complex, formulas.adjugate):
    register_jitable(_function)
teach(formulas.one_link_average, inlined=False)
one_link_average = formulas.one_link_average


@parallel
def _averages(links, out, weight, mu, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            a = staple_sum(links, weight, mu, d, site, table, sites, lanes, lane, g)
            put_link(out, 0, site, sites, lanes, lane, g, one_link_average(a))


def link_averages(lattice, links, coupling, mu):
    given = np.broadcast_to(start(lattice, links, coupling, mu), (len(lattice.planes), lattice.batch(links.shape[-1])))
    geometry = Geometry(lattice, links, reads.staples(lattice.ndim, (mu,)))
    weight = np.zeros((lattice.ndim, lattice.ndim, geometry.lanes), dtype=given.dtype)
    for value, (nu, rho) in zip(lattice.spread_folds(given), lattice.planes, strict=True):
        weight[nu, rho] = weight[rho, nu] = value
    out = empty(links.shape[1:], links.dtype)
    _averages(geometry.around(links), flat(out), weight, mu, *geometry.arguments)
    return checked(lattice, out)
