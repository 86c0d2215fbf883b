"""CPU drivers of :mod:`gaugeflow.kernels.dirac`."""

from __future__ import annotations

import numpy as np
from numba import prange

from gaugeflow.kernels import reads
from gaugeflow.kernels.dirac import check_blocks, check_hop
from gaugeflow.kernels.fermions import BOTH, check_base, check_fermions, check_pair, other, stack
from gaugeflow.sites.dirac import spin_components
from gaugeflow_numba._jit import parallel
from gaugeflow_numba.faces import from_others
from gaugeflow_numba.fields import flat
from gaugeflow_numba.geometry import blocks, first_lane
from gaugeflow_numba.hops import (
    fetch_next,
    fetch_numbers,
    hops_of,
    note_any_hop,
    note_hop,
    note_hops,
    note_spinor,
    notes,
    number_bytes,
    parts,
    sites_and_lanes,
    stack_of,
)
from gaugeflow_numba.lanes import colours, entries, fence
from gaugeflow_numba.memory import empty, empty_like, streamed
from gaugeflow_numba.spinors import (
    add_colour_hops,
    add_force,
    clear,
    put_algebra,
    put_block_product,
    put_clover,
    put_colours,
    put_wilson,
)
from gaugeflow_numba.traced import address, integer_at


@parallel
def _wilson_hop(links, psi, base, out, received, numbers, stack, places, sizes, g):
    own, there, d, lanes, inside = sizes
    fields, group, ahead = stack
    c, br, bi, ar, ai, way = numbers
    _, hops, values, start, source, shuffle = places
    cross = (start, source, shuffle, inside)
    u, x, b, y, layer = address(links), address(psi), address(base), address(out), address(received)
    n, stride = parts(own), lanes * number_bytes(g)
    m, half = n * blocks(lanes, g), entries(g) // 2
    for item in prange(m * ((fields + group - 1) // group)):
        note = notes(g)
        lane = first_lane(item % m // n, lanes, g)
        begin = item // m * group
        end = min(begin + group, fields)
        for k in range(item % n * own // n, (item % n + 1) * own // n):
            for r in range(begin, end):
                far = (layer + r * half * stride, fields * half * stride)
                note_hops(note, hops + k * (32 * d), d, u, x, r * there, far, values, cross, lanes, lane, g)
                if ahead:
                    fetch_next(hops, d, k, r, own, begin, end, there, u, x, lanes, lane, g)
                place = (r * own + k) * (entries(g) * stride) + lane * number_bytes(g)
                put_wilson(note, b + place, y + place, stride, c, br, bi, ar, ai, way, g)
        if way >= 4:
            fence()


def wilson_hop(lattice, links, psi, factors, sign, parity, beta, base, alpha):
    check_hop(lattice, links, psi, sign, parity, base)
    hops = hops_of(lattice, links, psi, parity, factors)
    out = empty((*psi.shape[:-4], hops.rows, *psi.shape[-3:]), psi.dtype)
    beta, alpha = complex(beta), complex(alpha)
    way = (base is not None) + 2 * (beta.imag != 0.0 or alpha.imag != 0.0)
    if way < 2 and streamed(out, hops.width):
        way += 4
    numbers = (float(sign), beta.real, beta.imag, alpha.real, alpha.imag, way)
    result = flat(out)
    given = result if base is None else flat(base)
    received = from_others(lattice, hops, links, psi, parity, factors, sign)
    _wilson_hop(flat(links), flat(psi), given, result, received, numbers, stack_of(links, psi), *hops.arguments)
    return out


@parallel
def _clover_hop(links, psi, base, out, received, t, numbers, stack, places, sizes, g):
    own, there, d, lanes, inside = sizes
    fields, group, ahead = stack
    c, beta, alpha, with_base = numbers
    targets, hops, values, start, source, shuffle = places
    cross = (start, source, shuffle, inside)
    u, x, b, y, blocks_at = address(links), address(psi), address(base), address(out), address(t)
    layer = address(received)
    n, stride = parts(own), lanes * number_bytes(g)
    m = n * blocks(lanes, g)
    half = entries(g) // 2
    for item in prange(m * ((fields + group - 1) // group)):
        note = notes(g)
        lane = first_lane(item % m // n, lanes, g)
        begin = item // m * group
        end = min(begin + group, fields)
        for k in range(item % n * own // n, (item % n + 1) * own // n):
            block = blocks_at + integer_at(targets, k) * (half * (half + 1) * stride) + lane * number_bytes(g)
            for r in range(begin, end):
                far = (layer + r * half * stride, fields * half * stride)
                note_hops(note, hops + k * (32 * d), d, u, x, r * there, far, values, cross, lanes, lane, g)
                if ahead:
                    fetch_next(hops, d, k, r, own, begin, end, there, u, x, lanes, lane, g)
                if r == begin:
                    fetch_numbers(block, half * (half + 1), stride, g)
                place = (r * own + k) * (entries(g) * stride) + lane * number_bytes(g)
                put_clover(note, b + place, y + place, block, stride, c, beta, alpha, with_base, g)


def clover_hop(lattice, links, psi, factors, sign, parity, beta, base, alpha, blocks):
    check_hop(lattice, links, psi, sign, parity, base)
    check_blocks(lattice, blocks, links)
    hops = hops_of(lattice, links, psi, parity, factors)
    out = empty((*psi.shape[:-4], hops.rows, *psi.shape[-3:]), psi.dtype)
    numbers = (float(sign), float(beta), float(alpha), int(base is not None))
    result = flat(out)
    given = result if base is None else flat(base)
    received = from_others(lattice, hops, links, psi, parity, factors, sign)
    arguments = (received, flat(blocks), numbers, stack_of(links, psi), *hops.arguments)
    _clover_hop(flat(links), flat(psi), given, result, *arguments)
    return out


@parallel
def _blocks_times(psi, t, out, twist, fields, targets, own, lanes, g):
    x, y, blocks_at, at = address(psi), address(out), address(t), address(targets)
    n, stride = parts(own), lanes * number_bytes(g)
    half = entries(g) // 2
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for k in range(item % n * own // n, (item % n + 1) * own // n):
            block = blocks_at + integer_at(at, k) * (half * (half + 1) * stride) + lane * number_bytes(g)
            for r in range(fields):
                place = (r * own + k) * (entries(g) * stride) + lane * number_bytes(g)
                put_block_product(x + place, y + place, block, stride, twist, g)


def blocks_times(lattice, psi, blocks, parity, twist):
    check_fermions(lattice, psi, parity)
    out = empty(psi.shape, psi.dtype)
    targets, lanes, g = sites_and_lanes(lattice, psi, parity)
    fields = psi.shape[0] if psi.ndim == 5 else 1
    _blocks_times(flat(psi), flat(blocks), flat(out), float(twist), fields, targets, len(targets), lanes, g)
    return out


@parallel
def _staggered_hop(links, psi, base, out, received, numbers, fields, places, sizes, g):
    own, there, d, lanes, inside = sizes
    beta, alpha, with_base = numbers
    _, hops, values, start, source, shuffle = places
    cross = (start, source, shuffle, inside)
    u, x, b, y, layer = address(links), address(psi), address(base), address(out), address(received)
    n, stride = parts(own), lanes * number_bytes(g)
    for item in prange(n * blocks(lanes, g)):
        note = notes(g)
        lane = first_lane(item // n, lanes, g)
        for k in range(item % n * own // n, (item % n + 1) * own // n):
            for r in range(fields):
                far = (layer + r * entries(g) * stride, fields * entries(g) * stride)
                clear(note, g)
                for mu in range(d):
                    at = hops + 32 * (k * d + mu)
                    note_any_hop(note, 0, 0, at, u, x, r * there, far, values, cross, lanes, lane, g)
                    note_any_hop(note, 1, 1, at + 16, u, x, r * there, far, values, cross, lanes, lane, g)
                    add_colour_hops(note, g)
                place = (r * own + k) * (entries(g) * stride) + lane * number_bytes(g)
                put_colours(note, b + place, y + place, stride, beta, alpha, with_base, g)


def staggered_hop(lattice, links, psi, factors, parity, beta, base, alpha):
    check_fermions(lattice, psi, other(parity), links, "psi", 1)
    if base is not None:
        check_base(lattice, psi, base, parity, links, 1)
    hops = hops_of(lattice, links, psi, parity, factors)
    out = empty((*psi.shape[:-4], hops.rows, *psi.shape[-3:]), psi.dtype)
    numbers = (float(beta), float(alpha), int(base is not None))
    result = flat(out)
    given = result if base is None else flat(base)
    fields = psi.shape[0] if psi.ndim == 5 else 1
    received = from_others(lattice, hops, links, psi, parity, factors, 1)
    _staggered_hop(flat(links), flat(psi), given, result, received, numbers, fields, *hops.arguments)
    return out


@parallel
def _force(links, left, right, out, weight, fields, places, sizes, g):
    own, there, d, lanes, inside = sizes
    _, hops, values, start, source, shuffle = places
    cross = (start, source, shuffle, inside)
    u, one, two, y = address(links), address(left), address(right), address(out)
    n, stride = parts(own), lanes * number_bytes(g)
    matrix = colours(g) * colours(g) * stride
    for item in prange(n * blocks(lanes, g)):
        note = notes(g)
        lane = first_lane(item // n, lanes, g)
        offset = lane * number_bytes(g)
        for site in range(item % n * own // n, (item % n + 1) * own // n):
            for mu in range(d):
                at = hops + 32 * (site * d + mu)
                clear(note, g)
                for r in range(fields):
                    note_hop(note, 0, 0, at, u, two, r * there, values, cross, lanes, lane, g)
                    note_spinor(note, 1, at, one, r * there, cross, lanes, lane, g)
                    place = (r * there + site) * (entries(g) * stride) + offset
                    add_force(note, one + place, two + place, stride, mu, g)
                put_algebra(note, y + (mu * own + site) * matrix + offset, stride, weight, g)


def hop_force(lattice, links, left, right, factors, weight):
    spin = spin_components(lattice.ndim)
    return _put_force(lattice, links, left, right, factors, weight, spin)


def staggered_force(lattice, links, left, right, factors, weight):
    return _put_force(lattice, links, left, right, factors, weight, 1)


def _put_force(lattice, links, left, right, factors, weight, spin):
    check_fermions(lattice, left, BOTH, links, "left", spin)
    check_fermions(lattice, right, BOTH, links, "right", spin)
    check_pair(left, right, "left and right")
    hops = hops_of(lattice, links, left, BOTH, factors, prepared=False)
    out = empty_like(links)
    fields = left.shape[0] if left.ndim == 5 else 1
    arguments = (-0.5 * float(weight), fields, *hops.arguments)
    _force(flat(links), flat(_with_layer(lattice, left)), flat(_with_layer(lattice, right)), flat(out), *arguments)
    return out


def _with_layer(lattice, psi):
    """The fields, with the rows that forward hops read of other processes behind the own ones."""
    if lattice.domain is None:
        return psi
    return np.concatenate(
        [stack(psi), lattice.domain.halo(lattice, stack(psi), reads.ahead_of_sites(lattice.ndim))], axis=1
    )
