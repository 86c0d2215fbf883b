"""Traces of Wilson loops of any shape at all sites, polynomials of them, and their derivatives.

A *word* is a closed walk from a site: steps ``mu + 1`` forward and ``-(mu + 1)`` backward.  Walks with equal beginnings
share their products: words become a list of *nodes*, each the product of the node before it that is one shorter and of
one more link.  Traces are fields ``(n_words, n_blocks, lanes)``; a *term* is a tuple of images, an image a tuple of
factors ``(word, offset, conjugate)``: the sum over sites x and images of the real part of the product of traces at
x + offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import Hops, all_slots, link_at, reach, rows, site_sum, to_field, to_lanes
from gaugeflow.lattice import Array, Lattice
from gaugeflow.sites.loops import (
    backward_along,
    exp_bar,
    forward_along,
    trace_gradient,
    trace_gradient_bar,
    transported_back,
)
from gaugeflow.sites.matrix import add_scaled, dag, mul, mul_dag, trace, zero_like
from gaugeflow.sites.numbers import Matrix, Number, conj, real

Offset = tuple[int, ...]
Words = tuple[tuple[int, ...], ...]
Factor = tuple[int, Offset, bool]
Terms = tuple[tuple[tuple[Factor, ...], ...], ...]


class Node(NamedTuple):
    """One step of a walk: the product of ``depth`` links ends with this one."""

    depth: int
    direction: int
    offset: Offset
    backward: bool
    leaves: tuple[Factor, ...]


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


def _tree(walks: Iterable[tuple[Sequence[int], Factor]], ndim: int) -> tuple[Node, ...]:
    """Nodes of all walks, parents before their children."""
    leaves: dict[tuple[int, ...], list[Factor]] = {}
    for steps, leaf in walks:
        for k in range(1, len(steps) + 1):
            leaves.setdefault(tuple(steps[:k]), [])
        leaves[tuple(steps)].append(leaf)
    nodes = []
    for steps in sorted(leaves):
        mu, offset, backward = list(_walk(steps, ndim))[-1]
        nodes.append(Node(len(steps), mu, offset, backward, tuple(leaves[steps])))
    return tuple(nodes)


def _check(words: Words, ndim: int) -> None:
    for word in words:
        known = word and all(0 < abs(step) <= ndim for step in word)
        if not known or any(word.count(mu + 1) != word.count(-mu - 1) for mu in range(ndim)):
            raise ValueError(f"word: expected a closed walk of steps +-1 ... +-{ndim}, got {word}")


@lru_cache(maxsize=64)
def trace_nodes(words: Words, ndim: int) -> tuple[Node, ...]:
    """Walks that start at the site where the trace is stored."""
    _check(words, ndim)
    return _tree(((word, (w, (0,) * ndim, False)) for w, word in enumerate(words)), ndim)


@lru_cache(maxsize=64)
def gradient_nodes(words: Words, ndim: int) -> tuple[tuple[Node, ...], ...]:
    """For each direction the walks that start with a forward step from a site.

    A word is cut before each of its forward steps, and its reverse likewise: the leaves say where the trace of this word
    is stored, and whether it is that of the reverse.
    """
    _check(words, ndim)
    walks: list[list[tuple[Sequence[int], Factor]]] = [[] for _ in range(ndim)]
    for w, word in enumerate(words):
        for reverse in (False, True):
            steps = tuple(-step for step in reversed(word)) if reverse else word
            for i, (mu, site, backward) in enumerate(_walk(steps, ndim)):
                if not backward:
                    base = tuple(-x for x in site)
                    walks[mu].append((steps[i:] + steps[:i], (w, base, reverse)))
    return tuple(_tree(found, ndim) for found in walks)


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
def _products(lattice: Lattice, links: Array, nodes: Sequence[Node], here: Array) -> Iterator[tuple[Node, Matrix]]:
    stack: list[Matrix] = []
    for node in nodes:
        u = link_at(lattice, links, node.direction, here, hops_to(node.offset))
        del stack[node.depth - 1 :]
        if node.depth == 1:
            stack.append(dag(u) if node.backward else u)
        else:
            stack.append((mul_dag if node.backward else mul)(stack[-1], u))
        yield node, stack[-1]


def _products_along(
    lattice: Lattice, links: Array, direction: Array, nodes: Sequence[Node], here: Array
) -> Iterator[tuple[Node, Matrix, Matrix]]:
    moved: list[Matrix] = []
    paths: list[Matrix] = []
    for node, path in _products(lattice, links, nodes, here):
        u = link_at(lattice, links, node.direction, here, hops_to(node.offset))
        y = link_at(lattice, direction, node.direction, here, hops_to(node.offset))
        del moved[node.depth - 1 :], paths[node.depth - 1 :]
        if node.depth == 1:
            moved.append(dag(mul(y, u)) if node.backward else mul(y, u))
        else:
            moved.append((backward_along if node.backward else forward_along)(paths[-1], moved[-1], u, y))
        paths.append(path)
        yield node, path, moved[-1]


def number_at(lattice: Lattice, numbers: Array, here: Array, offset: Offset = ()) -> Number:
    """Numbers of a field ``(n_blocks, lanes)`` at an offset, over slots."""
    xp = array_namespace(numbers)
    flat = xp.reshape(numbers, (lattice.volume, -1))
    return xp.take(flat, reach(lattice, xp, here, hops_to(offset)), axis=0)


def _leaf(lattice: Lattice, weights: Array, here: Array, leaf: Factor) -> Number:
    word, offset, conjugate = leaf
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
    found: dict[int, Array] = {}
    for node, path in _products(lattice, links, trace_nodes(words, lattice.ndim), here):
        for word, _, _ in node.leaves:
            found[word] = to_lanes(lattice, trace(path))
    return xp.stack([found[w] for w in range(len(words))])


@kernel("links", "direction")
def loop_traces_along(lattice: Lattice, links: Array, direction: Array, words: Words) -> Array:
    """Derivatives of :func:`loop_traces` along an algebra field."""
    xp = array_namespace(links)
    here = all_slots(lattice, xp)
    found: dict[int, Array] = {}
    for node, _, moved in _products_along(lattice, links, direction, trace_nodes(words, lattice.ndim), here):
        for word, _, _ in node.leaves:
            found[word] = to_lanes(lattice, trace(moved))
    return xp.stack([found[w] for w in range(len(words))])


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
    result = []
    for mu, nodes in enumerate(gradient_nodes(words, lattice.ndim)):
        total = zero_like(link_at(lattice, links, mu, here))
        for node, path in _products(lattice, links, nodes, here):
            for leaf in node.leaves:
                total = add_scaled(total, _leaf(lattice, weights, here, leaf), path)
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
    result = []
    for mu, nodes in enumerate(gradient_nodes(words, lattice.ndim)):
        loops = along = zero_like(link_at(lattice, links, mu, here))
        for node, path, moved in _products_along(lattice, links, bar, nodes, here):
            for leaf in node.leaves:
                weight = _leaf(lattice, weights, here, leaf)
                loops = add_scaled(loops, weight, path)
                along = add_scaled(along, weight, moved)
        result.append(to_field(lattice, trace_gradient_bar(loops, along, link_at(lattice, bar, mu, here))))
    return xp.stack(result)


# ---- polynomials -------------------------------------------------------------------------------------------------
def _product(lattice: Lattice, traces: Array, here: Array, factors: Sequence[Factor], first: Number) -> Number:
    value = first
    for factor in factors:
        value = value * _leaf(lattice, traces, here, factor)
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
        sums = [site_sum(real(_product(lattice, traces, here, image, one))) for image in term]
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
