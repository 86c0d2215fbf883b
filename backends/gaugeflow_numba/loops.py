"""CPU drivers of :mod:`gaugeflow.kernels.loops`: tables of walks, one product of matrices for each node."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import prange

from gaugeflow.kernels.loops import (
    check_numbers,
    gradient_nodes,
    hops_to,
    trace_nodes,
    weight_factors,
)
from gaugeflow.kernels.slots import reach
from gaugeflow.sites.loops import (
    backward_along,
    exp_bar,
    forward_along,
    trace_gradient,
    trace_gradient_bar,
    transported_back,
)
from gaugeflow.sites.matrix import add_identity, add_scaled, dag, mul, mul_dag, re_trace, trace
from gaugeflow.sites.numbers import wide
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.geometry import CHUNKS, blocks, first, first_lane, link, pieces, put_link
from gaugeflow_numba.lanes import Lanes, load, load_real, store, store_real, width, zero, zero_matrix
from gaugeflow_numba.memory import empty, empty_like

DEPTH, DIRECTION, PLACE, BACKWARD, LEAVES = range(5)


class _Places:
    """Where offsets lead from every block site; a fresh one for each table."""

    def __init__(self, lattice):
        self.lattice, self.known = lattice, {}

    def __call__(self, offset):
        return self.known.setdefault(offset, len(self.known))

    def tables(self):
        """Sites and lane permutations ``(n_offsets, n_blocks)``."""
        lattice = self.lattice
        start = np.arange(lattice.n_blocks, dtype=np.int64) * lattice.n_folds
        reached = np.array([reach(lattice, np, start, hops_to(offset)) for offset in self.known], dtype=np.int32)
        return reached // lattice.n_folds, reached % lattice.n_folds


def _nodes(nodes, place):
    """Nodes ``(n, 6)``, the last two being their range of leaves, and leaves ``(m, 3)``."""
    table, leaves = [], []
    for node in nodes:
        begin = len(leaves)
        leaves += [(word, place(offset), int(conjugate)) for word, offset, conjugate in node.leaves]
        table.append((node.depth, node.direction, place(node.offset), int(node.backward), begin, len(leaves)))
    return table, leaves


@lru_cache(maxsize=32)
def _trace_tables(lattice, words):
    place = _Places(lattice)
    table, leaves = _nodes(trace_nodes(words, lattice.ndim), place)
    return np.array(table), np.array(leaves), *place.tables()


@lru_cache(maxsize=32)
def _gradient_tables(lattice, words):
    """As for traces, with the range of nodes of each direction."""
    place = _Places(lattice)
    table, leaves, ranges = [], [], [0]
    for nodes in gradient_nodes(words, lattice.ndim):
        some, their = _nodes(nodes, place)
        shift = len(leaves)
        table += [(*node[:LEAVES], node[LEAVES] + shift, node[LEAVES + 1] + shift) for node in some]
        leaves += their
        ranges.append(len(table))
    return (
        np.array(ranges),
        np.array(table).reshape(-1, 6),
        np.array(leaves).reshape(-1, 3),
        *place.tables(),
    )


@lru_cache(maxsize=32)
def _term_tables(lattice, terms):
    """Range of images of each term, range of factors of each image, factors."""
    place = _Places(lattice)
    images, factors, ranges = [0], [], [0]
    for term in terms:
        for image in term:
            factors += [(word, place(offset), int(conjugate)) for word, offset, conjugate in image]
            images.append(len(factors))
        ranges.append(len(images) - 1)
    return np.array(ranges), np.array(images), np.array(factors), *place.tables()


@lru_cache(maxsize=32)
def _weight_tables(lattice, terms, n_words):
    """Range of products of each word, term and range of factors of each product, factors."""
    place = _Places(lattice)
    place((0,) * lattice.ndim)
    products, factors, ranges = [], [], [0]
    for entries in weight_factors(terms, n_words):
        for k, others in entries:
            begin = len(factors)
            factors += [(word, place(offset), int(conjugate)) for word, offset, conjugate in others]
            products.append((k, begin, len(factors)))
        ranges.append(len(products))
    return np.array(ranges), np.array(products).reshape(-1, 3), np.array(factors).reshape(-1, 3), *place.tables()


class _Numbers:
    """Arguments that describe fields of numbers: matrices of size 1 beside those of the links."""

    def __init__(self, geometry):
        g = geometry.arguments[-1]
        self.own = Lanes(g.w, 1, g.bits, g.mode)
        self.stack = geometry.local_arguments[-1]


@inline
def _extended(stack, node, u, h):
    """The product of a node; ``stack`` holds that of the node before it at every depth."""
    stride = 2 * width(h)
    size = stride * len(u)
    if node[DEPTH] == 1:
        path = dag(u) if node[BACKWARD] else u
    else:
        before = load(stack, (node[DEPTH] - 2) * size, stride, h)
        path = mul_dag(before, u) if node[BACKWARD] else mul(before, u)
    store(stack, (node[DEPTH] - 1) * size, stride, path)
    return path


@inline
def _extended_along(stack, moved, node, u, y, h):
    """As `_extended`, with the derivative when u moves by y u."""
    stride = 2 * width(h)
    size = stride * len(u)
    if node[DEPTH] == 1:
        path = dag(u) if node[BACKWARD] else u
        along = dag(mul(y, u)) if node[BACKWARD] else mul(y, u)
    else:
        before = load(stack, (node[DEPTH] - 2) * size, stride, h)
        change = load(moved, (node[DEPTH] - 2) * size, stride, h)
        if node[BACKWARD]:
            path = mul_dag(before, u)
            along = backward_along(before, change, u, y)
        else:
            path = mul(before, u)
            along = forward_along(before, change, u, y)
    store(stack, (node[DEPTH] - 1) * size, stride, path)
    store(moved, (node[DEPTH] - 1) * size, stride, along)
    return path, along


@inline
def _number(field, table, leaf, to, turn, site, sites, lanes, lane, e):
    """Number of a field at the place of a leaf, as a matrix of size 1."""
    z = link(field, table, leaf[0], (to[leaf[1], site], turn[leaf[1], site]), sites, lanes, lane, e)
    return dag(z) if leaf[2] else z


@parallel
def _loop_traces(links, nodes, leaves, to, turn, deepest, out, e, h, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        stack = np.empty(deepest, links.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for k in range(len(nodes)):
                node = nodes[k]
                place = (to[node[PLACE], site], turn[node[PLACE], site])
                u = link(links, table, node[DIRECTION], place, sites, lanes, lane, g)
                path = _extended(stack, node, u, h)
                for q in range(node[LEAVES], node[LEAVES + 1]):
                    put_link(out, leaves[q, 0], site, sites, lanes, lane, e, (trace(path),))


def _deepest(geometry, nodes):
    """Reals of a stack of products."""
    return int(nodes[:, DEPTH].max()) * 2 * geometry.n**2 * geometry.width


def _traces(lattice, links, words, run, *fields):
    geometry = Geometry(lattice, links)
    numbers = _Numbers(geometry)
    nodes, leaves, to, turn = _trace_tables(lattice, words)
    out = empty((len(words), lattice.n_blocks, geometry.lanes), links.dtype)
    run(
        flat(links),
        *map(flat, fields),
        nodes,
        leaves,
        to,
        turn,
        _deepest(geometry, nodes),
        flat(out),
        numbers.own,
        numbers.stack,
        *geometry.arguments,
    )
    return out


def loop_traces(lattice, links, words):
    return _traces(lattice, links, words, _loop_traces)


@parallel
def _loop_traces_along(links, direction, nodes, leaves, to, turn, deepest, out, e, h, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        stack = np.empty(deepest, links.dtype)
        moved = np.empty(deepest, links.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for k in range(len(nodes)):
                node = nodes[k]
                place = (to[node[PLACE], site], turn[node[PLACE], site])
                u = link(links, table, node[DIRECTION], place, sites, lanes, lane, g)
                y = link(direction, table, node[DIRECTION], place, sites, lanes, lane, g)
                _, along = _extended_along(stack, moved, node, u, y, h)
                for q in range(node[LEAVES], node[LEAVES + 1]):
                    put_link(out, leaves[q, 0], site, sites, lanes, lane, e, (trace(along),))


def loop_traces_along(lattice, links, direction, words):
    return _traces(lattice, links, words, _loop_traces_along, direction)


@parallel
def _loop_gradient(
    links, weights, ranges, nodes, leaves, to, turn, deepest, out, e, h, table, d, sites, lanes, g
):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        stack = np.empty(deepest, links.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for mu in range(d):
                total = zero_matrix(g)
                for k in range(ranges[mu], ranges[mu + 1]):
                    node = nodes[k]
                    place = (to[node[PLACE], site], turn[node[PLACE], site])
                    u = link(links, table, node[DIRECTION], place, sites, lanes, lane, g)
                    path = _extended(stack, node, u, h)
                    for q in range(node[LEAVES], node[LEAVES + 1]):
                        z = _number(weights, table, leaves[q], to, turn, site, sites, lanes, lane, e)
                        total = add_scaled(total, z[0], path)
                put_link(out, mu, site, sites, lanes, lane, g, trace_gradient(total))


@parallel
def _loop_gradient_vjp(
    links, bar, weights, ranges, nodes, leaves, to, turn, deepest, out, e, h, table, d, sites, lanes, g
):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        stack = np.empty(deepest, links.dtype)
        moved = np.empty(deepest, links.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for mu in range(d):
                loops = zero_matrix(g)
                change = zero_matrix(g)
                for k in range(ranges[mu], ranges[mu + 1]):
                    node = nodes[k]
                    place = (to[node[PLACE], site], turn[node[PLACE], site])
                    u = link(links, table, node[DIRECTION], place, sites, lanes, lane, g)
                    y = link(bar, table, node[DIRECTION], place, sites, lanes, lane, g)
                    path, along = _extended_along(stack, moved, node, u, y, h)
                    for q in range(node[LEAVES], node[LEAVES + 1]):
                        z = _number(weights, table, leaves[q], to, turn, site, sites, lanes, lane, e)
                        loops = add_scaled(loops, z[0], path)
                        change = add_scaled(change, z[0], along)
                y = link(bar, table, mu, (site, 0), sites, lanes, lane, g)
                put_link(out, mu, site, sites, lanes, lane, g, trace_gradient_bar(loops, change, y))


def _gradient(lattice, links, words, weights, run, *fields):
    check_numbers(lattice, weights, len(words), "weights")
    geometry = Geometry(lattice, links)
    numbers = _Numbers(geometry)
    ranges, nodes, leaves, to, turn = _gradient_tables(lattice, words)
    out = empty_like(links)
    run(
        flat(links),
        *map(flat, fields),
        flat(weights),
        ranges,
        nodes,
        leaves,
        to,
        turn,
        _deepest(geometry, nodes),
        flat(out),
        numbers.own,
        numbers.stack,
        *geometry.arguments,
    )
    return out


def loop_gradient(lattice, links, words, weights):
    return _gradient(lattice, links, words, weights, _loop_gradient)


def loop_gradient_vjp(lattice, links, words, weights, bar):
    return _gradient(lattice, links, words, weights, _loop_gradient_vjp, bar)


# ---- polynomials -------------------------------------------------------------------------------------------------
def _as_links(traces):
    """Traces as a field of matrices of size 1: what `Geometry` and `rows` look at."""
    return traces[:, :, None, None, :]


@parallel
def _trace_terms(traces, ranges, images, factors, to, turn, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):  # one thread per row of sums: overlapping registers must not meet there
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for k in range(out.shape[1]):
                store_real(out[item, k], lane, zero(g))
            for site in range(first(item, sites), first(item + 1, sites)):
                for k in range(out.shape[1]):
                    total = zero_matrix(g)
                    for image in range(ranges[k], ranges[k + 1]):
                        z = add_identity(1.0, zero_matrix(g))
                        for q in range(images[image], images[image + 1]):
                            z = mul(z, _number(traces, table, factors[q], to, turn, site, sites, lanes, lane, g))
                        total = add_scaled(total, 1.0, z)
                    row = out[item, k]
                    store_real(row, lane, load_real(row, lane, g) + wide(re_trace(total)))


def trace_terms(lattice, traces, terms):
    check_numbers(lattice, traces, len(traces), "traces")
    weight_factors(terms, len(traces))
    geometry = Geometry(lattice, _as_links(traces))
    out = np.empty((min(lattice.n_blocks, CHUNKS), len(terms), geometry.lanes))
    _trace_terms(flat(traces), *_term_tables(lattice, terms), out, *geometry.arguments)
    return lattice.sum_folds(out.sum(axis=0))


@parallel
def _trace_weights(traces, coefficients, ranges, products, factors, to, turn, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for word in range(len(ranges) - 1):
                total = zero_matrix(g)
                for k in range(ranges[word], ranges[word + 1]):
                    z = add_identity(1.0, zero_matrix(g))
                    for q in range(products[k, 1], products[k, 2]):
                        z = mul(z, _number(traces, table, factors[q], to, turn, site, sites, lanes, lane, g))
                    total = add_scaled(total, load_real(coefficients[products[k, 0]], lane, g), z)
                put_link(out, word, site, sites, lanes, lane, g, total)


def trace_weights(lattice, traces, terms, coefficients):
    check_numbers(lattice, traces, len(traces), "traces")
    geometry = Geometry(lattice, _as_links(traces))
    c = rows(lattice, coefficients, len(terms), _as_links(traces), "coefficients")
    out = empty_like(traces)
    tables = _weight_tables(lattice, terms, len(traces))
    _trace_weights(flat(traces), c, *tables, flat(out), *geometry.arguments)
    return out


# ---- steps -------------------------------------------------------------------------------------------------------
@parallel
def _flow_stage_vjp(generator, bar, links_bar, generator_bar, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            for mu in range(d):
                x = link(generator, table, mu, (site, 0), sites, lanes, lane, g)
                y = link(bar, table, mu, (site, 0), sites, lanes, lane, g)
                put_link(links_bar, mu, site, sites, lanes, lane, g, transported_back(x, y))
                put_link(generator_bar, mu, site, sites, lanes, lane, g, exp_bar(x, y))


def flow_stage_vjp(lattice, generator, bar):
    links_bar, generator_bar = empty_like(generator), empty_like(generator)
    geometry = Geometry(lattice, generator)
    _flow_stage_vjp(flat(generator), flat(bar), flat(links_bar), flat(generator_bar), *geometry.local_arguments)
    return links_bar, generator_bar
