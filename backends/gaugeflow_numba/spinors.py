"""Sums of hops of fermion fields and what is done with them at a site, traced from :mod:`gaugeflow.sites.dirac`.

The functions that begin with ``put`` or ``add`` are called by the loops of :mod:`gaugeflow_numba.dirac`; a ``note`` is a list
of :mod:`gaugeflow_numba.hops`, other integers are addresses and strides in bytes.
"""

from __future__ import annotations

from itertools import combinations

from numba.core import types
from numba.extending import intrinsic

from gaugeflow.sites import dirac
from gaugeflow.sites.matrix import dag, project, scale, sub, times_i
from gaugeflow_numba.hops import WORDS, scratch
from gaugeflow_numba.traced import Lazy, Registers

INTEGER, REAL = types.int64, types.float64


# ---- hops ------------------------------------------------------------------------------------------------------------
def _hop_sum(r, note, c, n, spin):
    """Rows of the sum of all hops to a site, c the sign of the gamma matrices.

    One row of the upper half after the other: what is summed then fits into 32 registers.  Links are read once for each.
    """
    half, d = spin // 2, 2 * spin.bit_length() - 2
    minus = -c
    rows = [r.zeros(n) for _ in range(spin)]
    for i in range(half):
        for mu in range(d):
            low = half + dirac.row_entering(d, mu, i)
            for side in (0, 1):
                r.barrier()
                word = WORDS * (2 * mu + side)
                h = _projected(r, note, word, d, mu, i, n, c if side else minus)
                h = _link_times(r, note, word + 2, side, n, h, i)
                rows[i] = dirac.added(n)(rows[i], h)
                rows[low] = dirac.expand_row(d, mu, i, n)(rows[low], 1.0 if side else -1.0, h)
    return [*rows[:half], *(_values(dirac.scaled(n)(c, row)) for row in rows[half:])]


def _values(numbers):
    return tuple(x.value() for x in numbers)


def _noted(r, note, word):
    """Place and stride of numbers that a list tells of, and n strides."""
    return r.word(note, word), r.word(note, word + 1)


def _projected(r, note, word, d, mu, i, n, c):
    """Row i of the upper half of (1 + c gamma_mu) psi, psi at a place that was written down."""
    place, stride = _noted(r, note, word)
    return _projected_at(r, place, stride, d, mu, i, n, c)


def _projected_at(r, place, stride, d, mu, i, n, c):
    upper, lower = (r.row(place, stride, k, n) for k in (i, (1 << d // 2 - 1) + dirac.row_entering(d, mu, i)))
    return _values(dirac.project_row(d, mu, i, n)(c, upper, lower))


def _link_times(r, note, word, side, n, h, prepared=None):
    """A link, or its adjoint, times a colour vector, times the factor of the hop.

    ``prepared`` is the row that is read instead where another process has prepared the result.
    """
    place, stride = _noted(r, note, word)
    h = _matrix_times(r, place, stride, side, n, h)
    factor = r.word(note, word + 2)
    some = r.b.icmp_unsigned("!=", factor, r.integer(0))
    place = r.b.and_(factor, r.integer(-2))

    def otherwise():
        scaled = dirac.scaled(n)(r.load(place), h)
        if prepared is None:
            return scaled
        tagged = r.b.icmp_unsigned("!=", place, factor)
        return r.chosen(tagged, scaled, lambda: r.row(place, stride, prepared, n))

    return r.chosen(some, h, otherwise)


def _matrix_times(r, place, stride, side, n, h):
    """A matrix, or its adjoint, times a colour vector."""
    across = r.plus(stride, stride, n - 1)
    times = dirac.conj_row_times(n) if side else dirac.row_times(n)
    step, along = (stride, across) if side else (across, stride)
    return tuple(times(r.numbers(r.plus(place, step, a), along, n), h).value() for a in range(n))


@intrinsic
def put_wilson(tx, note, base, out, stride, c, br, bi, ar, ai, way, g):
    """Write ``beta H psi``, plus ``alpha base`` in odd ways.

    In ways 2 and 3 alpha and beta are not real; ways 4 and 5 are ways 0 and 1 past the caches.
    """

    def cg(ctx, b, sig, a):
        r = Registers(b, g)
        note, base, out, stride = (r.hidden(x) for x in a[:4])
        c, br, bi, ar, ai = (r.real(x) for x in a[4:9])
        rows = _hop_sum(r, note, c, g.n, g.spin)
        r.barrier()
        for way in r.cases(a[9], 6):
            for i, row in enumerate(rows):
                beta, alpha = br, ar
                if way & 2:  # i gamma_5 is -i in the lower half
                    sign = 1.0 if i < g.spin // 2 else -1.0
                    beta, alpha = br.with_imaginary(bi * sign), ar.with_imaginary(ai * sign)
                if way & 1:
                    row = dirac.combined(g.n)(alpha, r.row(base, stride, i, g.n), beta, row)
                else:
                    row = dirac.scaled(g.n)(beta, row)
                r.put_row(out, stride, i, row, past_caches=way >= 4)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 4, *(REAL,) * 5, INTEGER, g), cg


# ---- hops between processes --------------------------------------------------------------------------------------------
@intrinsic
def put_prepared(tx, psi, link, out, stride, c, hop, g):
    """Write what a hop (2 mu, or 2 mu + 1 backward) that ends on another process takes from this site.

    It is the projected spinor, times the link where that is this site's.
    """

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        psi, link, out, stride = (r.hidden(x) for x in a[:4])
        c = r.real(a[4])
        d, half = (1, 1) if g.spin == 1 else (2 * g.spin.bit_length() - 2, g.spin // 2)
        for case in r.cases(r.b.and_(a[5], r.integer(1)) if g.spin == 1 else a[5], 2 * d):
            mu, side = case // 2, case % 2
            for i in range(half):
                r.barrier()
                gamma = c if side else -c
                h = r.numbers(psi, stride, n) if g.spin == 1 else _projected_at(r, psi, stride, d, mu, i, n, gamma)
                if side:
                    h = _matrix_times(r, link, stride, side, n, h)
                r.put_row(out, stride, i, h)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 4, REAL, INTEGER, g), cg


@intrinsic
def put_received(tx, link, factor, out, stride, hop, g):
    """Complete in place what :func:`put_prepared` wrote: times the link of a forward hop, times the factor (0: none)."""

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        link, factor, out, stride = (r.hidden(x) for x in a[:4])
        some = r.b.icmp_unsigned("!=", factor, r.integer(0))
        for side in r.cases(r.b.and_(a[4], r.integer(1)), 2):
            for i in range(max(1, g.spin // 2)):
                r.barrier()
                h = r.row(out, stride, i, n)
                if not side:
                    h = _matrix_times(r, link, stride, side, n, h)
                h = r.chosen(some, h, lambda h=h: dirac.scaled(n)(r.load(factor), h))
                r.put_row(out, stride, i, h)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 5, g), cg


# ---- Hermitian matrices at a site --------------------------------------------------------------------------------------
def _block_times(r, place, stride, m, x):
    """A packed Hermitian matrix of m rows times numbers, in the order of :func:`gaugeflow.sites.dirac.block_times`.

    Every entry is read once: it is used for its row and, conjugated, for its column.
    """
    total = [None] * m
    for i in range(m):
        for j in range(i + 1):
            t = r.load(r.plus(place, stride, dirac.triangle(i, j)))
            for k, product in ((i, t.real * x[i]),) if i == j else ((i, t * x[j]), (j, t.conjugate() * x[i])):
                total[k] = product.value() if total[k] is None else total[k] + product
        r.barrier()
    return total


@intrinsic
def put_clover(tx, note, base, out, blocks, stride, c, beta, alpha, with_base, g):
    """Write ``alpha T base + beta H psi``, or ``beta T H psi`` without base, T the matrices at ``blocks``."""

    def cg(ctx, b, sig, a):
        r = Registers(b, g)
        note, base, out, blocks, stride = (r.hidden(x) for x in a[:5])
        c, beta, alpha = (r.real(x) for x in a[5:8])
        n, m = g.n, g.n * g.spin // 2
        hops, packed = r.plus(note, scratch(g)), dirac.packed(m)
        for i, row in enumerate(_hop_sum(r, note, c, n, g.spin)):
            r.put_row(hops, r.pair, i, dirac.scaled(n)(beta, row))
        r.barrier()
        for case in r.cases(a[8], 2):
            place, step = (base, stride) if case else (hops, r.pair)
            for side in (0, 1):
                x = r.numbers(r.plus(place, step, side * m), step, m)
                y = _block_times(r, r.plus(blocks, stride, side * packed), stride, m, x)
                for i in range(m):
                    if case:
                        y[i] = alpha * y[i] + r.load(r.plus(hops, r.pair, side * m + i))
                    r.store(r.plus(out, stride, side * m + i), y[i])
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 5, *(REAL,) * 3, INTEGER, g), cg


@intrinsic
def put_block_product(tx, psi, out, blocks, stride, twist, g):
    """Write ``(T + i twist gamma_5) psi``, T the matrices at ``blocks``."""

    def cg(ctx, b, sig, a):
        r = Registers(b, g)
        psi, out, blocks, stride = (r.hidden(x) for x in a[:4])
        twist = r.real(a[4])
        m = g.n * g.spin // 2
        for side in (0, 1):
            x = r.numbers(r.plus(psi, stride, side * m), stride, m)
            y = _block_times(r, r.plus(blocks, stride, side * dirac.packed(m)), stride, m, x)
            for i in range(m):
                turned = times_i(x[i])
                y[i] = y[i] - twist * turned if side else y[i] + twist * turned
                r.store(r.plus(out, stride, side * m + i), y[i])
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 4, REAL, g), cg


# ---- staggered fermions ----------------------------------------------------------------------------------------------
@intrinsic
def clear(tx, note, g):
    """Zeros in the scratch memory of a list: as many numbers as a matrix has."""

    def cg(ctx, b, sig, a):
        r = Registers(b, g)
        for k in range(g.n * g.n):
            r.keep(r.plus(a[0], scratch(g)), k, r.zeros(1)[0])
        return ctx.get_dummy_value()

    return types.void(INTEGER, g), cg


@intrinsic
def add_colour_hops(tx, note, g):
    """Add to the scratch memory the forward hop in slot 0 and minus the backward hop in slot 1."""

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        kept = r.plus(a[0], scratch(g))
        total = [r.kept(kept, k) for k in range(n)]
        for side in (0, 1):
            r.barrier()
            place, stride = _noted(r, a[0], WORDS * side)
            h = _link_times(r, a[0], WORDS * side + 2, side, n, r.numbers(place, stride, n), 0)
            total = [t - x if side else t + x for t, x in zip(total, h, strict=True)]
        for k, t in enumerate(total):
            r.keep(kept, k, t)
        return ctx.get_dummy_value()

    return types.void(INTEGER, g), cg


@intrinsic
def put_colours(tx, note, base, out, stride, beta, alpha, with_base, g):
    """Write beta times what was summed, plus ``alpha base``."""

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        note, base, out, stride = a[:4]
        beta, alpha = r.real(a[4]), r.real(a[5])
        total = [r.kept(r.plus(note, scratch(g)), k) for k in range(n)]
        for case in r.cases(a[6], 2):
            row = dirac.scaled(n)(beta, total)
            if case:
                row = dirac.combined(n)(alpha, r.numbers(base, stride, n), 1.0, row)
            r.put_row(out, stride, 0, row)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 4, *(REAL,) * 2, INTEGER, g), cg


# ---- derivatives with respect to links ---------------------------------------------------------------------------------
@intrinsic
def add_force(tx, note, left, right, stride, mu, g):
    """Add to the scratch memory the derivative with respect to the link of direction mu at a site.

    Slot 0 tells of the link and of ``right`` one hop ahead, slot 1 of ``left`` there; the arguments are those at the site.
    """

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        note, left, right, stride = (r.hidden(x) for x in a[:4])
        kept = r.plus(note, scratch(g))
        d, rows = (0, 1) if g.spin == 1 else (2 * g.spin.bit_length() - 2, g.spin // 2)
        for case in r.cases(a[4], max(1, d)):
            total = tuple(r.kept(kept, k) for k in range(n * n))
            for i in range(rows):

                def row(place, step, c, i=i, case=case):
                    return _projected_at(r, place, step, d, case, i, n, c) if d else r.numbers(place, step, n)

                r.barrier()
                ahead = _link_times(r, note, 2, 0, n, row(*_noted(r, note, 0), -1.0))
                total = _values(dirac.add_outer(1, n)(total, 1.0, ahead, row(left, stride, -1.0)))
                r.barrier()
                ahead = _link_times(r, note, 2, 0, n, row(*_noted(r, note, WORDS), 1.0))
                total = _values(dirac.add_outer(1, n)(total, -1.0 if d else 1.0, row(right, stride, 1.0), ahead))
            for k, t in enumerate(total):
                r.keep(kept, k, t)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 5, g), cg


@intrinsic
def put_algebra(tx, note, out, stride, weight, g):
    """Write a weight times the projection on the algebra of the matrix in the scratch memory."""

    def cg(ctx, b, sig, a):
        r = Registers(b, g)
        m = tuple(r.kept(r.plus(a[0], scratch(g)), k) for k in range(g.n * g.n))
        for k, number in enumerate(scale(r.real(a[3]), project(m))):
            r.store(r.plus(a[1], a[2], k), number)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 3, REAL, g), cg


# ---- clover term -------------------------------------------------------------------------------------------------------
@intrinsic
def put_blocks(tx, strength, plane, weights, diagonal, out, stride, g):
    """Write both blocks of a site, made of the field strengths of all planes, ``plane`` bytes apart."""

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        strength, plane, weights, out, stride = (r.hidden(x) for x in (a[0], a[1], a[2], a[4], a[5]))
        m, d = n * g.spin // 2, 2 * g.spin.bit_length() - 2
        diagonal = r.real(a[3])
        for side in (0, 1):
            for i in range(m):  # a row at a time; what is written down for the others is never computed
                r.barrier()
                t = [r.zeros(1)[0] for _ in range(dirac.packed(m))]
                t[dirac.triangle(i, i)] = diagonal.with_imaginary(t[0].real)
                for p, (mu, nu) in enumerate(combinations(range(d), 2)):
                    f = Lazy(r, r.plus(strength, plane, p), stride)
                    t = dirac.add_sigma(d, mu, nu, n)[side](t, r.real_at(weights, p), f)
                for j in range(i + 1):
                    k = dirac.triangle(i, j)
                    r.store(r.plus(out, stride, side * dirac.packed(m) + k), t[k])
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 3, REAL, *(INTEGER,) * 2, g), cg


@intrinsic
def add_tensor(tx, note, left, right, stride, plane, g):
    """Add to the scratch memory ``i sigma right left^dagger`` of a plane, spins summed."""

    def cg(ctx, b, sig, a):
        r, n = Registers(b, g), g.n
        note, left, right, stride = (r.hidden(x) for x in a[:4])
        kept, planes = r.plus(note, scratch(g)), tuple(combinations(range(2 * g.spin.bit_length() - 2), 2))
        for case in r.cases(a[4], len(planes)):
            total = tuple(r.kept(kept, k) for k in range(n * n))
            turn = dirac.sigma_times(2 * g.spin.bit_length() - 2, *planes[case], n)
            for i in range(g.spin):
                r.barrier()
                x = turn(Lazy(r, right, stride))[i * n : (i + 1) * n]
                total = _values(dirac.add_outer(1, n)(total, 1.0, x, r.row(left, stride, i, n)))
            for k, t in enumerate(total):
                r.keep(kept, k, t)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 5, g), cg


@intrinsic
def put_antihermitian(tx, note, out, stride, weight, g):
    """Write ``weight (m - m^dagger)`` of the matrix in the scratch memory."""

    def cg(ctx, b, sig, a):
        r = Registers(b, g)
        m = tuple(r.kept(r.plus(a[0], scratch(g)), k) for k in range(g.n * g.n))
        for k, number in enumerate(scale(r.real(a[3]), sub(m, dag(m)))):
            r.store(r.plus(a[1], a[2], k), number)
        return ctx.get_dummy_value()

    return types.void(*(INTEGER,) * 3, REAL, g), cg
