"""Traces of Wilson loops of any shape at all sites, polynomials of them, and their derivatives.

A *word* is a closed walk from a site: steps ``mu + 1`` forward and ``-(mu + 1)`` backward.  Walks with equal beginnings
share their products: they become a list of *nodes*, each the product of an earlier node and of one more link.  For
gradients a word is cut before every link and walked from there by two halves A and B, the loop being A B^dagger; there
are few different halves, and weighted sums over B come before the product with A.

Traces are fields ``(n_words, n_blocks, lanes)``; a *term* is a tuple of images, an image a tuple of factors
``(word, offset, conjugate)``: the sum over sites x and images of the real part of the product of traces at x + offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import Hops, all_slots, link_at, reach, rows, site_sum, take, to_field, to_lanes
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.loops import (
    backward_along,
    exp_bar,
    forward_along,
    product_along,
    trace_gradient,
    trace_gradient_bar,
    transported_back,
)
from gaugeflow.sites.matrix import add, add_scaled, dag, mul, mul_dag, trace, zero_like
from gaugeflow.sites.numbers import Matrix, Number, conj, real

Offset = tuple[int, ...]
Words = tuple[tuple[int, ...], ...]
Factor = tuple[int, Offset, bool]
Terms = tuple[tuple[tuple[Factor, ...], ...], ...]


class Node(NamedTuple):
    """A walk: that of an earlier node (-1: nothing), then one more link."""

    parent: int
    direction: int
    offset: Offset
    backward: bool


class Head(NamedTuple):
    """The node of a first half A, and for every second half its node and where the weight of the loop is stored."""

    node: int
    tails: tuple[tuple[int, Factor], ...]


def hops_to(offset: Offset) -> Hops:
    """Hops that lead to a site relative to another."""
    return [(mu, 0 if x > 0 else 1) for mu, x in enumerate(offset) for _ in range(abs(x))]


def _walk(steps: Iterable[int], ndim: int) -> Iterator[tuple[int, Offset, bool]]:
    """Direction, site and sense of every link of a walk from the origin."""
    site = [0] * ndim
    for step in steps:
        mu = abs(step) - 1
        site[mu] -= step < 0
        yield mu, tuple(site), step < 0
        site[mu] += step > 0


def _tree(walks: Iterable[tuple[int, ...]], ndim: int) -> tuple[tuple[Node, ...], dict[tuple[int, ...], int]]:
    """Nodes of all walks, parents before their children, and the node that each walk and its beginnings end at."""
    beginnings = sorted({walk[:k] for walk in walks for k in range(1, len(walk) + 1)})
    place = {walk: i for i, walk in enumerate(beginnings)}
    nodes = tuple(Node(place.get(walk[:-1], -1), *list(_walk(walk, ndim))[-1]) for walk in beginnings)
    return nodes, place


def _check(words: Words, ndim: int) -> None:
    for word in words:
        known = word and all(0 < abs(step) <= ndim for step in word)
        if not known or any(word.count(mu + 1) != word.count(-mu - 1) for mu in range(ndim)):
            raise ValueError(f"word: expected a closed walk of steps +-1 ... +-{ndim}, got {word}")


@lru_cache(maxsize=64)
def trace_nodes(words: Words, ndim: int) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """Walks from the site where traces are stored, and the node of every word."""
    _check(words, ndim)
    nodes, place = _tree(words, ndim)
    return nodes, tuple(place[word] for word in words)


@lru_cache(maxsize=64)
def half_walks(words: Words, ndim: int) -> tuple[tuple[Node, ...], tuple[tuple[Head, ...], ...]]:
    """Walks from a site, and for each direction the halves of all loops that start with a forward step.

    A word is cut before each of its forward steps, and its reverse likewise.
    """
    _check(words, ndim)
    loops: list[list[tuple[tuple[int, ...], tuple[int, ...], Factor]]] = [[] for _ in range(ndim)]
    for w, word in enumerate(words):
        for reverse in (False, True):
            steps = _back(word) if reverse else word
            for i, (mu, site, backward) in enumerate(_walk(steps, ndim)):
                if not backward:
                    cut = steps[i:] + steps[:i]
                    half = (len(cut) + 1) // 2
                    loops[mu].append((cut[:half], _back(cut[half:]), (w, tuple(-x for x in site), reverse)))
    nodes, place = _tree((walk for found in loops for a, b, _ in found for walk in (a, b)), ndim)
    heads = []
    for found in loops:
        tails: dict[tuple[int, ...], list[tuple[int, Factor]]] = {}
        for a, b, factor in found:
            tails.setdefault(a, []).append((place[b], factor))
        heads.append(tuple(Head(place[a], tuple(tails[a])) for a in sorted(tails)))
    return nodes, tuple(heads)


def _back(steps: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-step for step in reversed(steps))


@lru_cache(maxsize=64)
def weight_factors(terms: Terms, n_words: int) -> tuple[tuple[tuple[int, tuple[Factor, ...]], ...], ...]:
    """For each word what its trace is multiplied with: the number of the term and the other factors, seen from its site."""
    found: list[list[tuple[int, tuple[Factor, ...]]]] = [[] for _ in range(n_words)]
    for k, term in enumerate(terms):
        for image in term:
            for i, (word, site, conjugate) in enumerate(image):
                if not 0 <= word < n_words:
                    raise ValueError(f"term {k}: expected a word in 0 ... {n_words - 1}, got {word}")
                others = tuple(
                    (w, tuple(a - b for a, b in zip(x, site, strict=True)), c != conjugate)
                    for j, (w, x, c) in enumerate(image)
                    if j != i
                )
                found[word].append((k, others))
    return tuple(tuple(x) for x in found)


# ---- walks -------------------------------------------------------------------------------------------------------
def _products(lattice: Lattice, links: Array, nodes: Sequence[Node], here: Array) -> list[Matrix]:
    """The product of links of every node."""
    paths: list[Matrix] = []
    for node in nodes:
        u = link_at(lattice, links, node.direction, here, hops_to(node.offset))
        if node.parent < 0:
            paths.append(dag(u) if node.backward else u)
        else:
            paths.append((mul_dag if node.backward else mul)(paths[node.parent], u))
    return paths


def _products_along(
    lattice: Lattice, links: Array, direction: Array, nodes: Sequence[Node], here: Array, paths: Sequence[Matrix]
) -> list[Matrix]:
    """Their derivatives along an algebra field."""
    moved: list[Matrix] = []
    for node in nodes:
        u = link_at(lattice, links, node.direction, here, hops_to(node.offset))
        y = link_at(lattice, direction, node.direction, here, hops_to(node.offset))
        if node.parent < 0:
            moved.append(dag(mul(y, u)) if node.backward else mul(y, u))
        else:
            formula = backward_along if node.backward else forward_along
            moved.append(formula(paths[node.parent], moved[node.parent], u, y))
    return moved


def number_at(lattice: Lattice, numbers: Array, here: Array, offset: Offset = ()) -> Number:
    """Numbers of a field ``(n_blocks, lanes)`` at an offset, over slots."""
    xp = array_namespace(numbers)
    flat = xp.reshape(numbers, (1, lattice.n_slots, -1))
    return take(lattice, flat, reach(lattice, xp, here, hops_to(offset)))[0, ...]


def _factor(lattice: Lattice, weights: Array, here: Array, factor: Factor) -> Number:
    word, offset, conjugate = factor
    value = number_at(lattice, weights[word, ...], here, offset)
    return conj(value) if conjugate else value


def check_numbers(lattice: Lattice, numbers: Array, count: int, name: str) -> None:
    """Raise ``ValueError`` unless the array is ``(count, n_blocks, lanes)``."""
    found = tuple(numbers.shape)
    if len(found) != 3 or found[:2] != (count, lattice.n_blocks):
        raise ValueError(f"{name}: expected shape ({count}, {lattice.n_blocks}, lanes) on {lattice}, got {found}")
    lattice.batch(found[2])


@kernel("links")
def loop_traces(lattice: Lattice, links: Array, words: Words) -> Array:
    """Traces of words at every site.

    Parameters
    ----------
    lattice, links
        The lattice and its links.
    words
        Closed walks.

    Returns
    -------
    Array
        ``(n_words, n_blocks, lanes)``, complex like the links.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    nodes, ends = trace_nodes(words, lattice.ndim)
    paths = _products(lattice, links, nodes, here)
    return xp.stack([to_lanes(lattice, trace(paths[end])) for end in ends])


@kernel("links", "direction")
def loop_traces_along(lattice: Lattice, links: Array, direction: Array, words: Words) -> Array:
    """Derivatives of :func:`loop_traces` along an algebra field."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    nodes, ends = trace_nodes(words, lattice.ndim)
    moved = _products_along(lattice, links, direction, nodes, here, _products(lattice, links, nodes, here))
    return xp.stack([to_lanes(lattice, trace(moved[end])) for end in ends])


@kernel("links")
def loop_gradient(lattice: Lattice, links: Array, words: Words, weights: Array) -> Array:
    """Gradient of ``sum Re(weights traces)``.

    Parameters
    ----------
    lattice, links, words
        As for :func:`loop_traces`.
    weights
        ``(n_words, n_blocks, lanes)``, complex like the links.

    Returns
    -------
    Array
        Algebra field.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    check_numbers(lattice, weights, len(words), "weights")
    nodes, heads = half_walks(words, lattice.ndim)
    paths = _products(lattice, links, nodes, here)
    result = []
    for found in heads:
        total = nought = zero_like(link_at(lattice, links, 0, here))
        for head in found:
            tails = nought
            for node, factor in head.tails:
                tails = add_scaled(tails, conj(_factor(lattice, weights, here, factor)), paths[node])
            total = add(total, mul_dag(paths[head.node], tails))
        result.append(to_field(lattice, trace_gradient(total)))
    return xp.stack(result)


@kernel("links", "bar")
def loop_gradient_vjp(lattice: Lattice, links: Array, words: Words, weights: Array, bar: Array) -> Array:
    """Cotangent of links in :func:`loop_gradient`; that of the weights is :func:`loop_traces_along` of ``bar``.

    Parameters
    ----------
    lattice, links, words, weights
        Arguments of the forward function.
    bar
        Cotangent of its result, an algebra field.

    Returns
    -------
    Array
        Algebra field: the gradient of ``<bar, loop_gradient(links)>`` at fixed ``bar`` and weights.
    """
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    check_numbers(lattice, weights, len(words), "weights")
    nodes, heads = half_walks(words, lattice.ndim)
    paths = _products(lattice, links, nodes, here)
    moved = _products_along(lattice, links, bar, nodes, here, paths)
    result = []
    for mu, found in enumerate(heads):
        loops = along = nought = zero_like(link_at(lattice, links, mu, here))
        for head in found:
            tails = change = nought
            for node, factor in head.tails:
                weight = conj(_factor(lattice, weights, here, factor))
                tails = add_scaled(tails, weight, paths[node])
                change = add_scaled(change, weight, moved[node])
            loops = add(loops, mul_dag(paths[head.node], tails))
            along = add(along, product_along(paths[head.node], moved[head.node], tails, change))
        result.append(to_field(lattice, trace_gradient_bar(loops, along, link_at(lattice, bar, mu, here))))
    return xp.stack(result)


# ---- polynomials -------------------------------------------------------------------------------------------------
def _product(lattice: Lattice, traces: Array, here: Array, factors: Sequence[Factor], first: Number) -> Number:
    value = first
    for factor in factors:
        value = value * _factor(lattice, traces, here, factor)
    return value


def _check_numbers_here(lattice: Lattice, traces: Array) -> None:
    check_numbers(lattice, traces, int(traces.shape[0]), "traces")


@kernel()
def trace_terms(lattice: Lattice, traces: Array, terms: Terms) -> Array:
    """Sums over sites of polynomials of traces.

    Parameters
    ----------
    lattice
        The lattice.
    traces
        ``(n_words, n_blocks, lanes)`` complex.
    terms
        Polynomials.

    Returns
    -------
    Array
        ``(n_terms, batch)`` float64.
    """
    xp = array_namespace(traces)
    here = all_slots(lattice, xp)
    _check_numbers_here(lattice, traces)
    weight_factors(terms, int(traces.shape[0]))
    one = number_at(lattice, xp.ones_like(traces[0, ...]), here)
    values = []
    for term in terms:
        sums = [site_sum(lattice, real(_product(lattice, traces, here, image, one))) for image in term]
        values.append(sum(sums[1:], start=sums[0]))
    return xp.stack(values)


@kernel()
def trace_weights(lattice: Lattice, traces: Array, terms: Terms, coefficients: Any) -> Array:
    """Derivatives of ``sum_k coefficients_k trace_terms_k`` with respect to the traces.

    Parameters
    ----------
    lattice, traces, terms
        As for :func:`trace_terms`.
    coefficients
        ``(n_terms,)`` or ``(n_terms, batch)``.

    Returns
    -------
    Array
        ``(n_words, n_blocks, lanes)`` complex w with ``dL = sum Re(w dtraces)``.
    """
    xp = array_namespace(traces)
    here = all_slots(lattice, xp)
    _check_numbers_here(lattice, traces)
    one = number_at(lattice, xp.ones_like(traces[0, ...]), here)
    c = rows(lattice, coefficients, len(terms), traces, "coefficients")
    result = []
    for entries in weight_factors(terms, int(traces.shape[0])):
        total = one * 0.0
        for k, others in entries:
            total = total + c[k, ...] * _product(lattice, traces, here, others, one)
        result.append(to_lanes(lattice, total))
    return xp.stack(result)


@kernel("generator", "bar")
def flow_stage_vjp(lattice: Lattice, generator: Array, bar: Array) -> tuple[Array, Array]:
    """Cotangents of links u and algebra field K in ``exp(K) u``.

    Parameters
    ----------
    lattice, generator
        The lattice and K.
    bar
        Cotangent of the new links, an algebra field.

    Returns
    -------
    links_bar, generator_bar : Array
        Algebra fields ``exp(-K) bar exp(K)`` and ``phi(-ad K) bar``.
    """
    xp = array_namespace(generator)
    here = all_slots(lattice, xp)
    pairs = [(link_at(lattice, generator, mu, here), link_at(lattice, bar, mu, here)) for mu in range(lattice.ndim)]
    return (
        xp.stack([to_field(lattice, transported_back(k, y)) for k, y in pairs]),
        xp.stack([to_field(lattice, exp_bar(k, y)) for k, y in pairs]),
    )
