"""CPU drivers of :mod:`gaugeflow.kernels.loops`: tables of walks, whose products lie in scratch memory."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import prange

from gaugeflow.kernels.loops import (
    check_numbers,
    half_walks,
    hops_to,
    trace_nodes,
    weight_factors,
)
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice.reads import Reads
from gaugeflow.sites.loops import (
    backward_along,
    exp_bar,
    forward_along,
    product_along,
    trace_gradient,
    trace_gradient_bar,
    transported_back,
)
from gaugeflow.sites.matrix import add, add_identity, add_scaled, dag, mul, mul_dag, re_trace, trace
from gaugeflow.sites.numbers import wide
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.fields import Geometry, flat, rows
from gaugeflow_numba.geometry import blocks, first, first_lane, link, pieces, put_link
from gaugeflow_numba.lanes import Lanes, colours, load, load_real, store, store_real, width, zero_matrix
from gaugeflow_numba.memory import empty, empty_like

PARENT, DIRECTION, PLACE, BACKWARD = range(4)


class _Places:
    """Where offsets lead from every block site, and what is read there; a fresh one for each table."""

    def __init__(self, lattice):
        self.lattice, self.known = lattice, {}
        self._links, self._numbers = set(), set()

    def __call__(self, offset):
        return self.known.setdefault(offset, len(self.known))

    def of_link(self, direction, offset):
        """Place of an offset at which links of a direction are read."""
        self._links.add((direction, offset))
        return self(offset)

    def of_number(self, word, offset):
        """Place of an offset at which numbers of a word are read."""
        self._numbers.add((word, offset))
        return self(offset)

    @property
    def reads(self):
        """What is read of links, and of numbers."""
        return Reads(frozenset(self._links)), Reads(frozenset(self._numbers))

    def tables(self):
        """Sites and lane permutations ``(n_offsets, n_blocks)``."""
        links, numbers = self.reads
        hops, composition = self.lattice.hops((links | numbers).depth), self.lattice.composition
        sites, turns = [], []
        for offset in self.known:
            site, turn = np.arange(self.lattice.n_blocks), np.zeros(self.lattice.n_blocks, dtype=np.int64)
            for mu, sign in hops_to(offset):
                turn = composition[turn, hops.crossing[mu, sign, site]]
                site = hops.neighbour[mu, sign, site]
            sites.append(site)
            turns.append(turn)
        return np.array(sites, dtype=np.int32), np.array(turns, dtype=np.int32)


def _integers(rows, columns):
    return np.array(rows, dtype=np.int64).reshape(-1, columns)


def _nodes(nodes, place):
    return _integers([(n.parent, n.direction, place.of_link(n.direction, n.offset), int(n.backward)) for n in nodes], 4)


@lru_cache(maxsize=32)
def _trace_tables(lattice, words):
    """Nodes, the node of every word, places; what is read."""
    place = _Places(lattice)
    nodes, ends = trace_nodes(words, lattice.ndim)
    table = _nodes(nodes, place)
    return (table, np.array(ends), *place.tables()), place.reads


@lru_cache(maxsize=32)
def _gradient_tables(lattice, words):
    """Nodes, range of heads of each direction, heads with their range of tails, tails with their factor, places."""
    place = _Places(lattice)
    nodes, directions = half_walks(words, lattice.ndim)
    table = _nodes(nodes, place)
    ranges, heads, tails = [0], [], []
    for found in directions:
        for head in found:
            begin = len(tails)
            for node, (word, offset, conjugate) in head.tails:
                tails.append((word, place.of_number(word, offset), int(conjugate), node))
            heads.append((head.node, begin, len(tails)))
        ranges.append(len(heads))
    return (table, np.array(ranges), _integers(heads, 3), _integers(tails, 4), *place.tables()), place.reads


@lru_cache(maxsize=32)
def _term_tables(lattice, terms):
    """Range of images of each term, range of factors of each image, factors, places; what is read."""
    place = _Places(lattice)
    images, factors, ranges = [0], [], [0]
    for term in terms:
        for image in term:
            factors += [(word, place.of_number(word, offset), int(conjugate)) for word, offset, conjugate in image]
            images.append(len(factors))
        ranges.append(len(images) - 1)
    return (np.array(ranges), np.array(images), _integers(factors, 3), *place.tables()), place.reads[1]


@lru_cache(maxsize=32)
def _weight_tables(lattice, terms, n_words):
    """Range of products of each word, term and range of factors of each product, factors, places; what is read."""
    place = _Places(lattice)
    place((0,) * lattice.ndim)
    products, factors, ranges = [], [], [0]
    for entries in weight_factors(terms, n_words):
        for k, others in entries:
            begin = len(factors)
            factors += [(word, place.of_number(word, offset), int(conjugate)) for word, offset, conjugate in others]
            products.append((k, begin, len(factors)))
        ranges.append(len(products))
    return (np.array(ranges), _integers(products, 3), _integers(factors, 3), *place.tables()), place.reads[1]


@inline
def _walk(links, nodes, to, turn, site, paths, h, table, sites, lanes, lane, g):
    """Products of links of all nodes, into scratch memory."""
    stride = 2 * width(h)
    for k in range(len(nodes)):
        node = nodes[k]
        place = (to[node[PLACE], site], turn[node[PLACE], site])
        u = link(links, table, node[DIRECTION], place, sites, lanes, lane, g)
        size = stride * len(u)
        if node[PARENT] < 0:
            path = dag(u) if node[BACKWARD] else u
        else:
            before = load(paths, node[PARENT] * size, stride, h)
            path = mul_dag(before, u) if node[BACKWARD] else mul(before, u)
        store(paths, k * size, stride, path)


@inline
def _walk_along(links, direction, nodes, to, turn, site, paths, moved, h, table, sites, lanes, lane, g):
    """Their derivatives when links u move by y u."""
    stride = 2 * width(h)
    for k in range(len(nodes)):
        node = nodes[k]
        place = (to[node[PLACE], site], turn[node[PLACE], site])
        u = link(links, table, node[DIRECTION], place, sites, lanes, lane, g)
        y = link(direction, table, node[DIRECTION], place, sites, lanes, lane, g)
        size = stride * len(u)
        if node[PARENT] < 0:
            along = dag(mul(y, u)) if node[BACKWARD] else mul(y, u)
        else:
            before = load(paths, node[PARENT] * size, stride, h)
            change = load(moved, node[PARENT] * size, stride, h)
            along = backward_along(before, change, u, y) if node[BACKWARD] else forward_along(before, change, u, y)
        store(moved, k * size, stride, along)


@inline
def _at(paths, node, h):
    """A product in scratch memory."""
    stride = 2 * width(h)
    return load(paths, node * stride * colours(h) * colours(h), stride, h)


@inline
def _number(field, table, factor, to, turn, site, sites, lanes, lane, e):
    """Number that a factor names, as a matrix of size 1."""
    z = link(field, table, factor[0], (to[factor[1], site], turn[factor[1], site]), sites, lanes, lane, e)
    return dag(z) if factor[2] else z


@parallel
def _loop_traces(links, nodes, ends, to, turn, size, out, e, h, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        paths = np.empty(size, out.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            _walk(links, nodes, to, turn, site, paths, h, table, sites, lanes, lane, g)
            for word in range(len(ends)):
                put_link(out, word, site, sites, lanes, lane, e, (trace(_at(paths, ends[word], h)),))


@parallel
def _loop_traces_along(links, direction, nodes, ends, to, turn, size, out, e, h, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        paths = np.empty(size, out.dtype)
        moved = np.empty(size, out.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            _walk(links, nodes, to, turn, site, paths, h, table, sites, lanes, lane, g)
            _walk_along(links, direction, nodes, to, turn, site, paths, moved, h, table, sites, lanes, lane, g)
            for word in range(len(ends)):
                put_link(out, word, site, sites, lanes, lane, e, (trace(_at(moved, ends[word], h)),))


@parallel
def _loop_gradient(links, weights, nodes, ranges, heads, tails, to, turn, size, out, e, h, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        paths = np.empty(size, out.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            _walk(links, nodes, to, turn, site, paths, h, table, sites, lanes, lane, g)
            for mu in range(d):
                total = zero_matrix(g)
                for k in range(ranges[mu], ranges[mu + 1]):
                    ends = zero_matrix(g)
                    for q in range(heads[k, 1], heads[k, 2]):
                        z = dag(_number(weights, table, tails[q], to, turn, site, sites, lanes, lane, e))
                        ends = add_scaled(ends, z[0], _at(paths, tails[q, 3], h))
                    total = add(total, mul_dag(_at(paths, heads[k, 0], h), ends))
                put_link(out, mu, site, sites, lanes, lane, g, trace_gradient(total))


@parallel
def _loop_gradient_vjp(
    links, bar, weights, nodes, ranges, heads, tails, to, turn, size, out, e, h, table, d, sites, lanes, g
):
    n = pieces(sites)
    for item in prange(n * blocks(lanes, g)):
        lane = first_lane(item // n, lanes, g)
        paths = np.empty(size, out.dtype)
        moved = np.empty(size, out.dtype)
        for site in range(first(item % n, sites), first(item % n + 1, sites)):
            _walk(links, nodes, to, turn, site, paths, h, table, sites, lanes, lane, g)
            _walk_along(links, bar, nodes, to, turn, site, paths, moved, h, table, sites, lanes, lane, g)
            for mu in range(d):
                loops = zero_matrix(g)
                along = zero_matrix(g)
                for k in range(ranges[mu], ranges[mu + 1]):
                    ends = zero_matrix(g)
                    change = zero_matrix(g)
                    for q in range(heads[k, 1], heads[k, 2]):
                        z = dag(_number(weights, table, tails[q], to, turn, site, sites, lanes, lane, e))
                        ends = add_scaled(ends, z[0], _at(paths, tails[q, 3], h))
                        change = add_scaled(change, z[0], _at(moved, tails[q, 3], h))
                    a = _at(paths, heads[k, 0], h)
                    loops = add(loops, mul_dag(a, ends))
                    along = add(along, product_along(a, _at(moved, heads[k, 0], h), ends, change))
                y = link(bar, table, mu, (site, 0), sites, lanes, lane, g)
                put_link(out, mu, site, sites, lanes, lane, g, trace_gradient_bar(loops, along, y))


def _run(lattice, kernel, out, fields, found, numbers=()):
    """Call a kernel that walks: the first table holds its nodes."""
    tables, (of_links, of_numbers) = found
    geometry = Geometry(lattice, fields[0], of_links | of_numbers)
    around = [geometry.around(field, reads=of_links) for field in fields]
    around += [geometry.around(field, reads=of_numbers) for field in numbers]
    g = geometry.arguments[-1]
    size = len(tables[0]) * 2 * geometry.n**2 * geometry.width
    own, scratch = Lanes(g.w, 1, g.bits, g.mode), geometry.local_arguments[-1]
    kernel(*around, *tables, size, flat(out), own, scratch, *geometry.arguments)
    return out


def loop_traces(lattice, links, words):
    out = empty((len(words), lattice.n_blocks, links.shape[-1]), links.dtype)
    return _run(lattice, _loop_traces, out, (links,), _trace_tables(lattice, words))


def loop_traces_along(lattice, links, direction, words):
    out = empty((len(words), lattice.n_blocks, links.shape[-1]), links.dtype)
    return _run(lattice, _loop_traces_along, out, (links, direction), _trace_tables(lattice, words))


def loop_gradient(lattice, links, words, weights):
    check_numbers(lattice, weights, len(words), "weights")
    tables = _gradient_tables(lattice, words)
    return _run(lattice, _loop_gradient, empty_like(links), (links,), tables, (weights,))


def loop_gradient_vjp(lattice, links, words, weights, bar):
    check_numbers(lattice, weights, len(words), "weights")
    tables = _gradient_tables(lattice, words)
    return _run(lattice, _loop_gradient_vjp, empty_like(links), (links, bar), tables, (weights,))


# ---- polynomials -------------------------------------------------------------------------------------------------
def _as_links(traces):
    """Traces as a field of matrices of size 1: what `Geometry` and `rows` look at."""
    return traces[:, :, None, None, :]


@parallel
def _trace_terms(traces, ranges, images, factors, to, turn, out, table, d, sites, lanes, g):
    n = pieces(sites)
    for item in prange(n):
        for block in range(blocks(lanes, g)):
            lane = first_lane(block, lanes, g)
            for site in range(first(item, sites), first(item + 1, sites)):
                for k in range(out.shape[0]):
                    total = zero_matrix(g)
                    for image in range(ranges[k], ranges[k + 1]):
                        z = add_identity(1.0, zero_matrix(g))
                        for q in range(images[image], images[image + 1]):
                            z = mul(z, _number(traces, table, factors[q], to, turn, site, sites, lanes, lane, g))
                        total = add_scaled(total, 1.0, z)
                    store_real(out[k, site], lane, wide(re_trace(total)))


def trace_terms(lattice, traces, terms):
    check_numbers(lattice, traces, len(traces), "traces")
    weight_factors(terms, len(traces))
    tables, of_numbers = _term_tables(lattice, terms)
    geometry = Geometry(lattice, _as_links(traces), of_numbers)
    out = empty((len(terms), lattice.n_blocks, geometry.lanes), np.float64)
    _trace_terms(geometry.around(traces), *tables, out, *geometry.arguments)
    return sum_sites(lattice, out)


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
    tables, of_numbers = _weight_tables(lattice, terms, len(traces))
    geometry = Geometry(lattice, _as_links(traces), of_numbers)
    c = rows(lattice, coefficients, len(terms), _as_links(traces), "coefficients")
    out = empty_like(traces)
    _trace_weights(geometry.around(traces), c, *tables, flat(out), *geometry.arguments)
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
