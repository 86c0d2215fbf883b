"""Products of traces of Wilson loops as symbols: their Laplacian, scalar products of gradients, Luescher's expansion.

A *loop* is a closed walk on the infinite lattice, ``(start, steps)`` with steps ``mu + 1`` forward and ``-(mu + 1)``
backward; a *term* is a product of traces of loops; a *class* is the sum of the real parts of all different images of a
term under translations and the symmetries of the lattice, named by its smallest image.  Derivatives join and split
loops (``docs/derivations/trivialising.md``), so that a finite set of classes is closed under the Laplacian: nothing
here is numerical.  Source of the expansion: Luescher, arXiv:0907.5491, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import permutations, product

Site = tuple[int, ...]
Steps = tuple[int, ...]
Loop = tuple[Site, Steps]
Term = tuple[Loop, ...]
Sum = dict[Term, Fraction]

HALF = Fraction(1, 2)


def plaquette(ndim: int) -> Term:
    """The class of plaquettes."""
    return canonical((((0,) * ndim, (1, 2, -1, -2)),))


def hop(site: Site, step: int) -> Site:
    """The site one step away."""
    mu = abs(step) - 1
    return (*site[:mu], site[mu] + (1 if step > 0 else -1), *site[mu + 1 :])


def links_of(loop: Loop) -> Iterator[tuple[int, Site, int]]:
    """For every step its number, the site of its link and the signed direction."""
    site, steps = loop
    for i, step in enumerate(steps):
        after = hop(site, step)
        yield i, site if step > 0 else after, step
        site = after


def is_closed(loop: Loop) -> bool:
    """Whether the walk has steps and ends where it starts."""
    site, steps = loop
    for step in steps:
        site = hop(site, step)
    return bool(steps) and site == loop[0]


def normal(loop: Loop) -> Loop:
    """The smallest of the starting points."""
    site, steps = loop
    choices = []
    for i, step in enumerate(steps):
        choices.append((site, steps[i:] + steps[:i]))
        site = hop(site, step)
    return min(choices)


def reverse(loop: Loop) -> Loop:
    return loop[0], tuple(-step for step in reversed(loop[1]))


def _reduced(site: Site, steps: Iterable[int]) -> Loop | None:
    """The loop without steps that go back at once; None where nothing is left."""
    kept: list[int] = []
    for step in steps:
        if kept and kept[-1] == -step:
            kept.pop()
        else:
            kept.append(step)
    while len(kept) > 1 and kept[0] == -kept[-1]:
        site = hop(site, kept[0])
        kept = kept[1:-1]
    return (site, tuple(kept)) if kept else None


@cache
def _symmetries(ndim: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Where every direction goes, with a sign."""
    return tuple(
        tuple(zip(order, signs, strict=True))
        for order in permutations(range(ndim))
        for signs in product((1, -1), repeat=ndim)
    )


def _moved(term: Term, symmetry: tuple[tuple[int, int], ...]) -> Term:
    def site(x: Site) -> Site:
        y = [0] * len(x)
        for mu, (to, sign) in enumerate(symmetry):
            y[to] = sign * x[mu]
        return tuple(y)

    def step(s: int) -> int:
        to, sign = symmetry[abs(s) - 1]
        return (to + 1) * sign * (1 if s > 0 else -1)

    return tuple((site(x), tuple(step(s) for s in steps)) for x, steps in term)


def _at_origin(term: Term) -> Term:
    """The term as loops from their smallest starting points, sorted, the smallest site of all at the origin."""
    loops = [normal(loop) for loop in term]
    first = tuple(min(x[mu] for x, _ in loops) for mu in range(len(loops[0][0])))
    return tuple(sorted((tuple(a - b for a, b in zip(x, first, strict=True)), steps) for x, steps in loops))


@cache
def images(term: Term) -> tuple[Term, ...]:
    """All terms of the class of ``term`` that start at the origin; of a term and its conjugate only one."""
    ndim = len(term[0][0])
    found = set()
    for symmetry in _symmetries(ndim):
        moved = _moved(term, symmetry)
        found.add(min(_at_origin(moved), _at_origin(tuple(reverse(loop) for loop in moved))))
    return tuple(sorted(found))


@cache
def canonical(term: Term) -> Term:
    """The name of the class of a term."""
    return images(_at_origin(term))[0] if term else ()


def _trace(n: int) -> Fraction:
    """The number kappa of the completeness relation sum_a T_ij T_kl = -(d_il d_jk - kappa d_ij d_kl) / 2."""
    return Fraction(1, n) if n > 1 else Fraction(0)


def _add(total: Sum, loops: Iterable[Loop | None], factor: Fraction, n: int) -> None:
    kept = []
    for loop in loops:
        if loop is None:
            factor *= n
        else:
            kept.append(loop)
    name = canonical(_at_origin(tuple(kept))) if kept else ()
    total[name] = total.get(name, Fraction(0)) + factor


def _from_link(loop: Loop, i: int) -> Loop:
    """The loop that starts at the link's site: before a forward step, after a backward one."""
    site, steps = loop
    first = i if steps[i] > 0 else i + 1
    for step in steps[:first]:
        site = hop(site, step)
    return site, steps[first:] + steps[:first]


@cache
def _laplacian(term: Term, n: int) -> tuple[tuple[Term, Fraction], ...]:
    total: Sum = {}
    kappa = _trace(n)
    places: dict[tuple[Site, int], list[tuple[int, int, int]]] = {}
    for j, loop in enumerate(term):
        for i, site, step in links_of(loop):
            places.setdefault((site, abs(step)), []).append((j, i, 1 if step > 0 else -1))
    length = sum(len(steps) for _, steps in term)
    _add(total, term, -HALF * (n - kappa) * length, n)
    for found in places.values():
        for a, (j, i, sign) in enumerate(found):
            for k, m, other in found[a + 1 :]:
                factor = Fraction(-sign * other)  # twice: ordered pairs
                rest = [loop for q, loop in enumerate(term) if q not in (j, k)]
                if j == k:
                    start, steps = _from_link(term[j], i)
                    second = (m if other > 0 else m + 1) - (i if sign > 0 else i + 1)
                    parts = [_reduced(start, steps[:second]), _reduced(start, steps[second:])]
                    _add(total, [*rest, *parts], factor, n)
                    _add(total, [*rest, term[j]], -kappa * factor, n)
                else:
                    start, first = _from_link(term[j], i)
                    joined = _reduced(start, first + _from_link(term[k], m)[1])
                    _add(total, [*rest, joined], factor, n)
                    _add(total, [*rest, term[j], term[k]], -kappa * factor, n)
    return tuple((name, c) for name, c in total.items() if c)


def laplacian(term: Term, n: int) -> Sum:
    """sum_a d_a d_a of a class over all links of SU(n), or U(1) for n = 1; the empty term stands for 1 per image and site."""
    total: Sum = {}
    count = len(images(term))
    for name, c in _laplacian(term, n):
        share = Fraction(count, len(images(name))) if name else Fraction(count)
        total[name] = total.get(name, Fraction(0)) + c * share
    return total


def contraction(term: Term, other: Term, n: int) -> Sum:
    """Scalar product of the gradients of two classes, as a sum of classes.

    With real parts on both sides: Re a Re b = Re(a b + a b^*) / 2.
    """
    total: Sum = {}
    kappa = _trace(n)
    ways = [image for base in images(other) for image in (base, tuple(reverse(loop) for loop in base))]
    for image in ways:
        seen = set()
        here = [(j, i, site, step) for j, loop in enumerate(term) for i, site, step in links_of(loop)]
        there = [(j, i, site, step) for j, loop in enumerate(image) for i, site, step in links_of(loop)]
        for j, i, site, step in here:
            for k, m, place, along in there:
                if abs(step) != abs(along):
                    continue
                shift = tuple(a - b for a, b in zip(site, place, strict=True))
                if (j, i, k, m, shift) in seen:
                    continue
                seen.add((j, i, k, m, shift))
                moved = tuple((tuple(a + b for a, b in zip(x, shift, strict=True)), steps) for x, steps in image)
                factor = -HALF * HALF * (1 if step * along > 0 else -1)
                rest = [x for q, x in enumerate(term) if q != j] + [x for q, x in enumerate(moved) if q != k]
                start, first = _from_link(term[j], i)
                joined = _reduced(start, first + _from_link(moved[k], m)[1])
                _add(total, [*rest, joined], factor, n)
                _add(total, [*rest, term[j], moved[k]], -kappa * factor, n)
    count = len(images(term))
    return {
        name: c * (Fraction(count, len(images(name))) if name else Fraction(count)) for name, c in total.items() if c
    }


def words(terms: Iterable[Term]) -> frozenset[Steps]:
    """Shapes of all loops in all images of classes, each in one of its two senses."""
    return frozenset(
        min(normal(way)[1] for way in (loop, reverse(loop)))
        for term in terms
        for image in images(term)
        for loop in image
    )


def closure(terms: Iterable[Term], n: int) -> tuple[Term, ...]:
    """The smallest set of classes that holds ``terms``, in their order, and their Laplacians, constants aside."""
    found = list(dict.fromkeys(terms))
    for term in found:
        found += [name for name in laplacian(term, n) if name and name not in found]
    return tuple(found)


def _eliminate(rows: list[list[Fraction]], columns: int) -> list[int]:
    """Bring the first ``columns`` columns to reduced row echelon form, in place; the columns of the pivots."""
    pivots: list[int] = []
    for j in range(columns):
        place = len(pivots)
        pivot = next((i for i in range(place, len(rows)) if rows[i][j]), None)
        if pivot is None:
            continue
        rows[place], rows[pivot] = rows[pivot], rows[place]
        head = rows[place][j]
        rows[place] = [x / head for x in rows[place]]
        for i, row in enumerate(rows):
            factor = row[j]
            if i != place and factor:
                rows[i] = [x - factor * y if y else x for x, y in zip(row, rows[place], strict=True)]
        pivots.append(j)
    return pivots


def solve(source: Sum, n: int) -> Sum:
    """A sum of classes s with -laplacian(s) = source up to a constant.

    Sums of classes in the kernel of the Laplacian are constants, as that which makes det P: what the source has of them
    is left out.

    Raises
    ------
    ValueError
        If there is none.
    """
    names = closure([name for name in source if name], n)
    size = len(names)
    index = {name: i for i, name in enumerate(names)}
    matrix = [[Fraction(0)] * size for _ in names]
    for j, name in enumerate(names):
        for image, c in laplacian(name, n).items():
            if image:
                matrix[index[image]][j] = -c
    reduced = [row[:] for row in matrix]
    pivots = _eliminate(reduced, size)
    kernel = []
    for free in (j for j in range(size) if j not in pivots):
        vector = [Fraction(int(i == free)) for i in range(size)]
        for row, pivot in zip(reduced, pivots, strict=False):
            vector[pivot] = -row[free]
        kernel.append(vector)
    augmented = [
        [*row, *(vector[i] for vector in kernel), source.get(names[i], Fraction(0))] for i, row in enumerate(matrix)
    ]
    width = size + len(kernel)
    pivots = _eliminate(augmented, width)
    if any(row[-1] for row in augmented[len(pivots) :]):
        raise ValueError("solve: the source has a part that no Laplacian of these classes reaches")
    return {names[j]: augmented[i][-1] for i, j in enumerate(pivots) if j < size and augmented[i][-1]}


@cache
def expansion(ndim: int, n: int, order: int) -> tuple[tuple[tuple[Term, Fraction], ...], ...]:
    """Potentials S~_0 ... S~_order of the trivialising flow of S = -sum Re tr P, per power of t.

    For the Wilson action multiply S~_k by (beta / n)^(k + 1).
    """
    loop = plaquette(ndim)
    action: Sum = {loop: Fraction(-1)}
    potentials = [solve(action, n)]
    for _ in range(order):
        source: Sum = {}
        for name, c in potentials[-1].items():
            for image, d in contraction(name, loop, n).items():
                source[image] = source.get(image, Fraction(0)) + c * d
        potentials.append(solve({name: c for name, c in source.items() if c}, n))
    return tuple(tuple(potential.items()) for potential in potentials)
