"""CPU drivers of :mod:`gaugeflow.kernels.dirac`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels.dirac import check_blocks, check_hop
from gaugeflow.kernels.fermions import BOTH, check_fermions, other
from gaugeflow.sites.dirac import spin_components
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.fields import flat
from gaugeflow_numba.geometry import blocks, entries_at, first, first_lane, hop, link, pieces, put_entries
from gaugeflow_numba.lanes import barrier, zero_matrix
from gaugeflow_numba.memory import empty, empty_like
from gaugeflow_numba.spinors import (
    SpinorGeometry,
    added,
    block_times,
    chiral_combined,
    chiral_scaled,
    colour_dag_times,
    colour_times,
    combined,
    factor,
    joined,
    scaled,
    site_force,
    wilson_hops,
)

_NOTHING = {np.dtype(np.complex128): np.zeros(0), np.dtype(np.complex64): np.zeros(0, np.float32)}


@parallel
def _wilson_hop(links, psi, base, out, numbers, places, code, values, table, sites, lanes, g, v, o, s):
    targets, row, fields, own, there, again = places
    c, br, bi, ar, ai, with_base = numbers
    n = pieces(own)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for k in range(first(item % n, own), first(item % n + 1, own)):
            site = targets[k]
            for r in range(fields):
                h = joined(
                    wilson_hops(
                        links, psi, r * there, row, code, values, table, site, sites, lanes, lane, c, again, g, v, o
                    )
                )
                place = r * own + k
                if with_base:
                    b = entries_at(base, table, place, 0, lanes, lane, s)
                    if ai == 0.0 and bi == 0.0:
                        put_entries(out, place, lanes, lane, s, combined(ar, b, br, h))
                    else:
                        put_entries(out, place, lanes, lane, s, chiral_combined(ar, ai, b, br, bi, h))
                elif bi == 0.0:
                    put_entries(out, place, lanes, lane, s, scaled(br, h))
                else:
                    put_entries(out, place, lanes, lane, s, chiral_scaled(br, bi, h))


def wilson_hop(lattice, links, psi, factors, sign, parity, beta, base, alpha):
    check_hop(lattice, links, psi, sign, parity, base)
    geometry = SpinorGeometry(lattice, links, psi, parity, factors)
    out = empty((*psi.shape[:-4], geometry.rows, *psi.shape[-3:]), psi.dtype)
    beta, alpha = complex(beta), complex(alpha)
    numbers = (float(sign), beta.real, beta.imag, alpha.real, alpha.imag, base is not None)
    given = _NOTHING[psi.dtype] if base is None else flat(base)
    _wilson_hop(flat(links), flat(psi), given, flat(out), numbers, *geometry.hop_arguments)
    return out


@parallel
def _clover_hop(links, psi, base, out, t, numbers, places, code, values, table, sites, lanes, g, v, o, s, h):
    targets, row, fields, own, there, again = places
    c, beta, alpha, with_base = numbers
    n = pieces(own)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for k in range(first(item % n, own), first(item % n + 1, own)):
            site = targets[k]
            for r in range(fields):
                x = joined(
                    wilson_hops(
                        links, psi, r * there, row, code, values, table, site, sites, lanes, lane, c, again, g, v, o
                    )
                )
                place = r * own + k
                barrier()
                upper = entries_at(t, table, 2 * site, 0, lanes, lane, h)
                lower = entries_at(t, table, 2 * site + 1, 0, lanes, lane, h)
                if with_base:
                    b = block_times(upper, lower, entries_at(base, table, place, 0, lanes, lane, s))
                    put_entries(out, place, lanes, lane, s, combined(alpha, b, beta, x))
                else:
                    put_entries(out, place, lanes, lane, s, scaled(beta, block_times(upper, lower, x)))


def clover_hop(lattice, links, psi, factors, sign, parity, beta, base, alpha, blocks):
    check_hop(lattice, links, psi, sign, parity, base)
    check_blocks(lattice, blocks, links)
    geometry = SpinorGeometry(lattice, links, psi, parity, factors)
    out = empty((*psi.shape[:-4], geometry.rows, *psi.shape[-3:]), psi.dtype)
    numbers = (float(sign), float(beta), float(alpha), base is not None)
    given = _NOTHING[psi.dtype] if base is None else flat(base)
    arguments = (numbers, *geometry.hop_arguments, geometry.block)
    _clover_hop(flat(links), flat(psi), given, flat(out), flat(blocks), *arguments)
    return out


@parallel
def _blocks_times(psi, t, out, twist, places, table, lanes, g, s, h):
    targets, fields, own = places
    n = pieces(own)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for k in range(first(item % n, own), first(item % n + 1, own)):
            site = targets[k]
            for r in range(fields):
                place = r * own + k
                upper = entries_at(t, table, 2 * site, 0, lanes, lane, h)
                lower = entries_at(t, table, 2 * site + 1, 0, lanes, lane, h)
                x = entries_at(psi, table, place, 0, lanes, lane, s)
                put_entries(
                    out, place, lanes, lane, s, added(block_times(upper, lower, x), chiral_scaled(0.0, twist, x))
                )


def blocks_times(lattice, psi, blocks, parity, twist):
    check_fermions(lattice, psi, parity)
    geometry = SpinorGeometry.of_spinors(lattice, psi, parity)
    out = empty(psi.shape, psi.dtype)
    targets, _, fields, own, _, _ = geometry.places
    table, _, _, lanes, g = geometry.local_arguments
    arguments = ((targets, fields, own), table, lanes, g, geometry.own_spinor, geometry.block)
    _blocks_times(flat(psi), flat(blocks), flat(out), float(twist), *arguments)
    return out


@parallel
def _site_force(links, left, right, out, weight, fields, code, values, table, sites, lanes, g, o, s):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            site_force(links, left, right, out, weight, fields, code, values, table, site, sites, lanes, lane, g, o, s)


def hop_force(lattice, links, left, right, factors, weight):
    check_fermions(lattice, left, BOTH, links, "left", spin_components(lattice.ndim))
    check_fermions(lattice, right, BOTH, links, "right", spin_components(lattice.ndim))
    return _force(lattice, links, left, right, factors, weight)


def _force(lattice, links, left, right, factors, weight):
    geometry = SpinorGeometry(lattice, links, left, BOTH, factors)
    out = empty_like(links)
    _site_force(flat(links), flat(left), flat(right), flat(out), -0.5 * float(weight), *geometry.force_arguments)
    return out


@parallel
def _staggered_hop(links, psi, base, out, numbers, places, code, values, table, sites, lanes, g, v, o, s):
    targets, row, fields, own, there, _ = places
    beta, alpha, with_base = numbers
    n = pieces(own)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for k in range(first(item % n, own), first(item % n + 1, own)):
            site = targets[k]
            x = (site, 0)
            for r in range(fields):
                total = zero_matrix(v)
                for mu in range(code.shape[0]):
                    f, b = hop(table, x, mu, 0, g), hop(table, x, mu, 1, g)
                    h = colour_times(
                        link(links, table, mu, x, sites, lanes, lane, g),
                        entries_at(psi, table, r * there + row[f[0]], f[1], lanes, lane, v),
                    )
                    c = code[mu, 0, site]
                    if c != 0:
                        h = scaled(factor(values, c, lanes, lane, o), h)
                    total = combined(1.0, total, 1.0, h)
                    h = colour_dag_times(
                        link(links, table, mu, b, sites, lanes, lane, g),
                        entries_at(psi, table, r * there + row[b[0]], b[1], lanes, lane, v),
                    )
                    c = code[mu, 1, site]
                    if c != 0:
                        h = scaled(factor(values, c, lanes, lane, o), h)
                    total = combined(1.0, total, -1.0, h)
                place = r * own + k
                if with_base:
                    own_numbers = entries_at(base, table, place, 0, lanes, lane, s)
                    put_entries(out, place, lanes, lane, s, combined(alpha, own_numbers, beta, total))
                else:
                    put_entries(out, place, lanes, lane, s, scaled(beta, total))


def staggered_hop(lattice, links, psi, factors, parity, beta, base, alpha):
    check_fermions(lattice, psi, other(parity), links, "psi", 1)
    if base is not None:
        check_fermions(lattice, base, parity, links, "base", 1)
    geometry = SpinorGeometry(lattice, links, psi, parity, factors)
    out = empty((*psi.shape[:-4], geometry.rows, *psi.shape[-3:]), psi.dtype)
    numbers = (float(beta), float(alpha), base is not None)
    given = _NOTHING[psi.dtype] if base is None else flat(base)
    _staggered_hop(flat(links), flat(psi), given, flat(out), numbers, *geometry.hop_arguments)
    return out


def staggered_force(lattice, links, left, right, factors, weight):
    check_fermions(lattice, left, BOTH, links, "left", 1)
    check_fermions(lattice, right, BOTH, links, "right", 1)
    return _force(lattice, links, left, right, factors, weight)
