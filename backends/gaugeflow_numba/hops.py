"""Where the numbers of hops of fermion fields lie.

A kernel first writes down, for every hop to a site, the places of the spinor and of the link, in a list on the stack; where
lanes are read from other sub-lattices in another order, the numbers are copied there in order.  What is then done with
them is straight-line code without tables, one for all folds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from gaugeflow.kernels.fermions import BOTH, count_rows, other, sites_of
from gaugeflow_numba._jit import apart, inline
from gaugeflow_numba.fields import PRECISION
from gaugeflow_numba.geometry import CHUNKS, blocks, tables
from gaugeflow_numba.lanes import PLAIN, SHUFFLE, Lanes, can_shuffle, colours, entries, widest, width
from gaugeflow_numba.traced import I64, Registers, fetch, integer_at, put_word

WORDS = 5
"""Integers noted of a hop: place and stride of the spinor, place and stride of the link, and place of the factor (0: it is 1).

Where another process has prepared the result of a hop, the last one is the place of that plus 1, which no number begins at.
"""
LINE = 64


# ---- tables ----------------------------------------------------------------------------------------------------------
def hop_table(lattice, parity, factors, received=None):
    """Sites of a parity, and for each of their hops the row of the spinor, that of the link, the permutation and the code.

    A hop to a site of another process has the row of the spinor in the layer behind the own rows.  Where ``received`` says
    (position, hop) of hops of which other processes have prepared the result, row k of it has the code -1 - k instead.

    Returns
    -------
    targets, hops
        ``(rows,)`` and ``(rows, ndim, 2, 4)``, int32; sign 0 is forward.
    """
    targets = targets_of(lattice, parity)
    table = lattice.hops()
    row = row_of_sites(lattice, other(parity))
    hops = np.empty((len(targets), lattice.ndim, 2, 4), dtype=np.int32)
    for mu in range(lattice.ndim):
        for side in (0, 1):
            far = table.neighbour[mu, side, targets]
            hops[:, mu, side, 0] = row[far]
            hops[:, mu, side, 1] = mu * lattice.n_blocks + (targets if side == 0 else far)
            hops[:, mu, side, 2] = table.crossing[mu, side, targets]
            hops[:, mu, side, 3] = factors.code[mu, side, targets]
    if received is not None:
        position, hop = received.T
        hops.reshape(len(targets), -1, 4)[position, hop] = 0  # what is computed of the first rows is not used
        hops.reshape(len(targets), -1, 4)[position, hop, 3] = -1 - np.arange(len(received))
    return targets, hops.reshape(-1)


def row_of_sites(lattice, parity):
    """Row of every block site of a parity; where all sites have one, also those of the layer."""
    row = np.arange(lattice.hops().neighbour.shape[2], dtype=np.int32)
    if parity != BOTH:
        own = lattice.sites_of_parity(parity)
        row[own] = np.arange(len(own))
    return row


def factor_table(factors, batch, dtype):
    """The factors of every lane as reals ``(codes * 2 lanes)``, real and imaginary parts in turn."""
    values = np.repeat(factors.values, batch, axis=1).astype(np.complex128 if dtype == np.float64 else np.complex64)
    return np.ascontiguousarray(values).reshape(-1).view(dtype)


@lru_cache(maxsize=64)
def crossings(lattice, lanes, bits):
    """How registers are read through each permutation of lanes.

    Returns
    -------
    start, source, shuffle, inside
        The first lane of every register, ``(n_folds, registers)``, where it is read from consecutive lanes, else -1; and
        the tables of :func:`gaugeflow_numba.geometry.tables`, the second of which is to be used where ``inside`` is 1.
    """
    (_, _, _, source, shuffle), mode, w = tables(lattice, lanes, bits)
    first = np.minimum(np.arange(0, lanes, w), lanes - w)
    reads = source[:, first[:, None] + np.arange(w)]
    consecutive = (reads == reads[..., :1] + np.arange(w)).all(axis=2)
    start = np.where(consecutive, reads[..., 0], -1).astype(np.int32)
    return start, source, shuffle, int(mode == SHUFFLE)


@inline
def parts(rows):
    """Number of pieces that a loop which sums nothing over sites is cut into, of some sites each."""
    return min(CHUNKS, (rows + 7) // 8)


# ---- places ----------------------------------------------------------------------------------------------------------
def number_bytes(g):
    """Bytes of a complex number."""


@overload(number_bytes, jit_options={"forceinline": True})
def _(g):
    size = g.bits // 4
    return lambda g: size


def _slots(g):
    """Hops that a list has room for: all of a site, or two where the number of dimensions is not known."""
    return max(2, 2 * (2 * g.spin.bit_length() - 2))


def _head(g):
    return -(-8 * WORDS * _slots(g) // LINE) * LINE


def _room(g):
    """Bytes for the spinor and the link of a hop."""
    return (g.count + g.n * g.n) * g.w * g.bits // 4


def scratch(g):
    """Offset of the scratch memory behind a list: room for a spinor or a matrix."""
    return _head(g) + _slots(g) * _room(g)


@intrinsic
def notes(tx, g):
    """Place of a list on the stack, with room for copies of what the hops read and scratch memory."""

    def cg(ctx, b, sig, a):
        size = scratch(g) + max(g.count, g.n * g.n) * g.w * g.bits // 4
        with b.goto_entry_block():  # not Numba's way, which fills it with zeros one by one
            memory = b.alloca(ir.ArrayType(ir.IntType(8), size))
            memory.align = LINE
        return b.ptrtoint(memory, I64)

    return types.int64(g), cg


def copies(g, j, of_link):
    """Offset of the copy of a spinor or a link in a list."""


@overload(copies, jit_options={"forceinline": True})
def _(g, j, of_link):
    head, room, spinor = _head(g), _room(g), g.count * g.w * g.bits // 4
    return lambda g, j, of_link: head + j * room + of_link * spinor


@intrinsic
def _copy_number(tx, to, place, g):
    def cg(ctx, b, sig, a):
        kind = ir.VectorType(ir.DoubleType() if g.bits == 64 else ir.FloatType(), 2).as_pointer()
        z = b.load(b.inttoptr(a[1], kind))
        z.align = g.bits // 8
        b.store(z, b.inttoptr(a[0], kind)).align = g.bits // 8
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, g), cg


@intrinsic
def _copy_shuffled(tx, to, place, index, g):
    """Copy a register of complex numbers, the lanes of which a shuffle puts in order."""

    def cg(ctx, b, sig, a):
        if not can_shuffle(g.w, g.bits):
            return ctx.get_dummy_value()
        r = Registers(b, g)
        indices = ir.VectorType(ir.IntType(g.bits), g.w)

        def loaded(place, k, kind):
            x = b.load(b.inttoptr(r.plus(place, r.size, k), kind.as_pointer()))
            x.align = g.bits // 8
            return x

        letter = "d" if g.bits == 64 else "s"
        kind = ir.FunctionType(r.vector, [r.vector, indices, r.vector])
        shuffle = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.avx512.vpermi2var.p{letter}.{g.w * g.bits}")
        low, high = (loaded(a[1], k, r.vector) for k in (0, 1))
        re, im = (loaded(a[2], k, indices) for k in (0, 1))
        for k in (0, 1):
            order = [ir.Constant(ir.IntType(32), i // 2 + (g.w if i % 2 else 0)) for i in range(k * g.w, (k + 1) * g.w)]
            index = b.shuffle_vector(re, im, ir.Constant(ir.VectorType(ir.IntType(32), g.w), order))
            x = b.call(shuffle, [low, index, high])
            b.store(x, b.inttoptr(r.plus(a[0], r.size, k), r.vector.as_pointer())).align = g.bits // 8
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, g), cg


@apart
def _copy(to, place, count, stride, row, source, shuffle, inside, g):
    """Copy ``count`` registers of numbers, lanes in the order in which they are read."""
    w, size = width(g), number_bytes(g)
    if inside:
        half = size // 2
        index = shuffle + row * (2 * w + 1) * half
        low = integer_at(index + 2 * w * half, 0)
        for k in range(count):
            _copy_shuffled(to + k * w * size, place + k * stride + low * size, index, g)
    else:
        for k in range(count):
            for i in range(w):
                _copy_number(to + (k * w + i) * size, place + k * stride + integer_at(source, i) * size, g)


@inline
def _note(note, word, copy, field, row, count, permutation, cross, lanes, lane, g):
    """Write down where the numbers of a row are read through a permutation."""
    start, source, shuffle, inside = cross
    size, n = number_bytes(g), blocks(lanes, g)
    block = (lane + width(g) - 1) // width(g)
    place = field + row * (count * lanes * size)
    there = lane if permutation == 0 else integer_at(start, permutation * n + block)
    if there >= 0:
        put_word(note, word, place + there * size)
        put_word(note, word + 1, lanes * size)
    else:
        _copy(
            note + copy,
            place,
            count,
            lanes * size,
            permutation * n + block,
            source + 4 * (permutation * lanes + lane),
            shuffle,
            inside,
            g,
        )
        put_word(note, word, note + copy)
        put_word(note, word + 1, width(g) * size)


@inline
def note_spinor(note, slot, hop, psi, start, cross, lanes, lane, g):
    """Write down where the spinor of a hop lies; ``start`` is the first row of its field in a stack."""
    row, word = start + integer_at(hop, 0), WORDS * slot
    _note(note, word, copies(g, slot, 0), psi, row, entries(g), integer_at(hop, 2), cross, lanes, lane, g)


@inline
def note_hop(note, slot, side, hop, links, psi, start, values, cross, lanes, lane, g):
    """Write down a hop, of which the table ``hop`` tells; the link of a forward hop (side 0) is the site's own."""
    n, word, code = colours(g), WORDS * slot + 2, integer_at(hop, 3)
    note_spinor(note, slot, hop, psi, start, cross, lanes, lane, g)
    permutation = integer_at(hop, 2) if side else 0
    _note(note, word, copies(g, slot, 1), links, integer_at(hop, 1), n * n, permutation, cross, lanes, lane, g)
    put_word(note, word + 2, values + (code * lanes + lane) * number_bytes(g) if code != 0 else 0)


@inline
def note_any_hop(note, slot, side, hop, links, psi, start, far, values, cross, lanes, lane, g):
    """Write down a hop of which another process may have prepared the result.

    ``far`` tells where the results of other processes begin, and how many bytes a row of them has.
    """
    note_hop(note, slot, side, hop, links, psi, start, values, cross, lanes, lane, g)
    code = integer_at(hop, 3)
    if code < 0:
        put_word(note, WORDS * slot + 4, far[0] + (-1 - code) * far[1] + lane * number_bytes(g) + 1)


@inline
def note_hops(note, hops, d, links, psi, start, far, values, cross, lanes, lane, g):
    """Write down all hops to a site; ``hops`` is the place of its part of the table."""
    for j in range(2 * d):
        note_any_hop(note, j, j % 2, hops + 16 * j, links, psi, start, far, values, cross, lanes, lane, g)


@inline
def fetch_numbers(place, count, stride, g):
    """Ask for the cache lines of some registers of complex numbers."""
    for k in range(count):
        for line in range(0, width(g) * number_bytes(g), LINE):
            fetch(place + k * stride + line)


@inline
def fetch_next(hops, d, k, r, rows, begin, end, there, links, psi, lanes, lane, g):
    """Ask for what the next of the fields ``begin ... end - 1`` at a site, or the first one at the next site, reads."""
    n, size = colours(g), number_bytes(g)
    stride = lanes * size
    if r + 1 < end:
        r += 1
    else:
        r = begin
        k = min(k + 1, rows - 1)
        for j in range(2 * d):
            row = integer_at(hops + k * (32 * d), 4 * j + 1)
            fetch_numbers(links + row * (n * n * stride) + lane * size, n * n, stride, g)
    for j in range(2 * d):
        row = r * there + integer_at(hops + k * (32 * d), 4 * j)
        fetch_numbers(psi + row * (entries(g) * stride) + lane * size, entries(g), stride, g)


# ---- what kernels are told ------------------------------------------------------------------------------------------
class Hops:
    """What kernels that hop are told: tables, sizes, and the kind of numbers; the same for all calls with equal shapes.

    ``places`` holds the addresses of the tables of :func:`hop_table`, :func:`factor_table` and :func:`crossings`.
    """

    def __init__(self, lattice, parity, factors, dtype, n, spin, lanes, prepared):
        bits = 8 * PRECISION[dtype](0).itemsize
        self.faces = None
        if prepared and lattice.domain is not None:
            self.faces = lattice.domain.faces(lattice, targets_of(lattice, parity))
        targets, hops = hop_table(lattice, parity, factors, None if self.faces is None else self.faces.hops)
        values = factor_table(factors, lattice.batch(lanes), np.dtype(PRECISION[dtype]))
        *cross, inside = crossings(lattice, lanes, bits)
        tables = (targets, hops, values, *cross)
        self._tables = [np.ascontiguousarray(table) for table in tables]  # to live as long as their addresses
        places = tuple(np.int64(table.ctypes.data) for table in self._tables)
        self.rows, self.width = len(targets), widest(lanes, bits)
        there = count_rows(lattice, other(parity)) if prepared else lattice.hops().neighbour.shape[2]
        sizes = (self.rows, there, lattice.ndim, lanes, inside)
        self.arguments = (places, sizes, lanes_of(n, spin, lanes, bits))


@lru_cache(maxsize=256)
def _hops(*key):
    return Hops(*key)


def hops_of(lattice, links, psi, parity, factors, prepared=True):
    """The :class:`Hops` of a kernel's arguments.

    Where the lattice is cut, other processes prepare what ends here, or else spinors are read from a layer around the own
    sites.
    """
    return _hops(lattice, parity, factors, links.dtype, links.shape[2], psi.shape[-3], links.shape[4], prepared)


def lanes_of(n, spin, lanes, bits):
    """What tells kernels the kind of their numbers."""
    return Lanes(widest(lanes, bits), n, bits, PLAIN, spin)


@lru_cache(maxsize=64)
def targets_of(lattice, parity):
    """Block sites of a parity."""
    return np.array(sites_of(lattice, parity), dtype=np.int32)


def sites_and_lanes(lattice, psi, parity):
    """Sites, number of lanes and kind of numbers for kernels that do not hop."""
    spin, n, lanes = psi.shape[-3:]
    return targets_of(lattice, parity), lanes, lanes_of(n, spin, lanes, 8 * PRECISION[psi.dtype](0).itemsize)


GROUP = 4
"""Fields of a stack that share a sweep over the lattice: more share links, but the caches hold fewer sites of them."""
CACHED = 1 << 23
"""Bytes of links and fields that the caches hold: where there are more, what the next site reads is asked for ahead."""


def stack_of(links, psi):
    """Number of fields in a stack, how many of them are swept together, and whether to fetch ahead."""
    fields = psi.shape[0] if psi.ndim == 5 else 1
    return fields, min(GROUP, fields), int(links.nbytes + 2 * psi.nbytes > CACHED)
