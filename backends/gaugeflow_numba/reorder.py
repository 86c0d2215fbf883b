"""Memory orders of other programs: rows of numbers to and from fields whose last axis are the lanes.

Loops follow the order of the other program, in which the rows of every lane are one stream; a field is read and written in
pieces of many cache lines, wherever they are.  A number is moved as one unit, and written as part of a whole cache line.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from gaugeflow_numba._jit import inline, parallel
from gaugeflow_numba.geometry import first, pieces
from gaugeflow_numba.lanes import LINE, fence
from gaugeflow_numba.memory import CACHED, empty

I64 = ir.IntType(64)
BUFFER = 1 << 14
"""Bytes of rows of all lanes that are put together before they are written: half of what the nearest cache holds."""


def _vector(array, numbers):
    """LLVM type of some numbers of a complex array, as reals."""
    real = ir.DoubleType() if array.dtype is types.complex128 else ir.FloatType()
    return ir.VectorType(real, 2 * numbers)


def _pointer(ctx, b, t, array, offset, kind):
    return b.bitcast(b.gep(ctx.make_array(t)(ctx, b, array).data, [offset]), kind.as_pointer())


def _load(ctx, b, t, array, offset, numbers):
    value = b.load(_pointer(ctx, b, t, array, offset, _vector(t, numbers)))
    value.align = t.dtype.bitwidth // 16
    return value


def _write(ctx, b, t, array, offset, value, past_caches=False):
    """Store as many numbers as ``value`` holds; past the caches only to the beginning of a line."""
    instruction = b.store(value, _pointer(ctx, b, t, array, offset, value.type))
    instruction.align = LINE if past_caches else t.dtype.bitwidth // 16
    if past_caches:
        instruction.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _concatenated(b, values):
    """One vector of many."""
    while len(values) > 1:
        count = 2 * values[0].type.count
        order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count)))
        values = [b.shuffle_vector(x, y, order) for x, y in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _part(b, value, start, count):
    order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(start, start + count)))
    return b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)


def _per_line(array):
    return LINE * 8 // array.dtype.bitwidth


def _collect(past_caches):
    def typing(tx, source, at, lane, k, target, offset):
        numbers = _per_line(source)

        def cg(ctx, b, sig, a):
            values = []
            for i in range(numbers):
                place = b.load(_pointer(ctx, b, at, a[1], b.add(a[2], ir.Constant(I64, i)), I64))
                values.append(_load(ctx, b, source, a[0], b.add(place, a[3]), 1))
            _write(ctx, b, target, a[4], a[5], _concatenated(b, values), past_caches)
            return ctx.get_dummy_value()

        return types.void(source, at, types.int64, types.int64, target, types.int64), cg

    return typing


_collected = intrinsic(_collect(past_caches=False))
"""Write a line of ``target``: number k of the rows that begin at ``at[lane]``, ``at[lane + 1]``, ... of ``source``."""
_collected_past_caches = intrinsic(_collect(past_caches=True))


@intrinsic
def _distributed(tx, source, offset, target, start, stride):
    """Write the numbers of a line of ``source`` to ``start``, ``start + stride``, ... of ``target``."""
    numbers = _per_line(source)

    def cg(ctx, b, sig, a):
        line = _load(ctx, b, source, a[0], a[1], numbers)
        for i in range(numbers):
            place = b.add(a[3], b.mul(a[4], ir.Constant(I64, i)))
            _write(ctx, b, target, a[2], place, _part(b, line, 2 * i, 2))
        return ctx.get_dummy_value()

    return types.void(source, types.int64, target, types.int64, types.int64), cg


@intrinsic
def _line_past_caches(tx, source, offset, target, start):
    """Copy a line."""

    def cg(ctx, b, sig, a):
        _write(ctx, b, target, a[2], a[3], _load(ctx, b, source, a[0], a[1], _per_line(source)), past_caches=True)
        return ctx.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), cg


@intrinsic
def _ask_for(tx, source, offset):
    """Ask for a line that is read soon."""

    def cg(ctx, b, sig, a):
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        f = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]), "llvm.prefetch.p0"
        )
        line = _pointer(ctx, b, source, a[0], a[1], ir.IntType(8))
        b.call(f, [line, ir.Constant(flag, 0), ir.Constant(flag, 3), ir.Constant(flag, 1)])
        return ctx.get_dummy_value()

    return types.void(source, types.int64), cg


@parallel
def _gather(rows, count, numbers, places, slots, out, past_caches, unit):
    items, folds = places.shape
    lanes = out.size // (items * numbers)
    batch = lanes // folds
    for piece in prange(pieces(items)):
        at = np.empty(lanes, np.int64)
        for item in range(first(piece, items), first(piece + 1, items)):
            for fold in range(folds):
                for b in range(batch):
                    at[fold * batch + b] = (b * count + places[item, fold]) * numbers
            start = slots[item] * numbers * lanes
            for k in range(numbers):
                lane = 0
                if past_caches:
                    while lane + unit <= lanes:
                        _collected_past_caches(rows, at, lane, k, out, start + k * lanes + lane)
                        lane += unit
                else:
                    while lane + unit <= lanes:
                        _collected(rows, at, lane, k, out, start + k * lanes + lane)
                        lane += unit
                while lane < lanes:
                    out[start + k * lanes + lane] = rows[at[lane] + k]
                    lane += 1
        fence()


@inline
def _together(places, item, longest):
    """How many items from this one on follow each other in memory in every fold."""
    length = 1
    while length < longest:
        for fold in range(places.shape[1]):
            if places[item + length, fold] != places[item, fold] + length:
                return length
        length += 1
    return length


@inline
def _flush(buffer, begin, size, out, start, skew, past_caches, unit):
    """Copy ``size`` numbers; lines of ``out`` begin at ``skew`` and all ``unit`` numbers after it."""
    done = 0
    if past_caches:
        head = min((skew - start) % unit, size)
        while done < head:
            out[start + done] = buffer[begin + done]
            done += 1
        while done + unit <= size:
            _line_past_caches(buffer, begin + done, out, start + done)
            done += unit
    while done < size:
        out[start + done] = buffer[begin + done]
        done += 1


@parallel
def _scatter(field, count, numbers, places, slots, out, longest, skew, past_caches, unit):
    items, folds = places.shape
    lanes = field.size // (items * numbers)
    batch = lanes // folds
    stride = longest * numbers
    for piece in prange(pieces(items)):
        buffer = np.empty(lanes * stride, field.dtype)
        item, last = first(piece, items), first(piece + 1, items)
        while item < last:
            length = _together(places, item, min(longest, last - item))
            for row in range(length):
                start = slots[item + row] * numbers * lanes
                ahead = slots[min(item + row + 2, items - 1)] * numbers * lanes
                for k in range(numbers):
                    lane = 0
                    while lane + unit <= lanes:
                        _ask_for(field, ahead + k * lanes + lane)
                        _distributed(field, start + k * lanes + lane, buffer, lane * stride + row * numbers + k, stride)
                        lane += unit
                    while lane < lanes:
                        buffer[lane * stride + row * numbers + k] = field[start + k * lanes + lane]
                        lane += 1
            for fold in range(folds):
                for b in range(batch):
                    begin = (fold * batch + b) * stride
                    place = (b * count + places[item, fold]) * numbers
                    _flush(buffer, begin, length * numbers, out, place, skew, past_caches, unit)
            item += length
        fence()


def _line(array):
    """Numbers of a cache line, and the first one that begins a line; None if there is no such."""
    unit = LINE // array.itemsize
    bytes_before = -array.ctypes.data % LINE
    return unit, None if bytes_before % array.itemsize else bytes_before // array.itemsize


def gather_rows(rows, places, slots):
    """Rows ``(batch, count, k)`` as a field ``(items, k, folds * batch)``.

    ``places``, ``(items, folds)``, are the rows of all items in the order of the program, and ``slots`` the items.
    """
    rows = np.ascontiguousarray(rows)
    batch, count, numbers = rows.shape
    items, folds = places.shape
    out = empty((items, numbers, folds * batch), rows.dtype)
    unit, skew = _line(out)
    past_caches = out.nbytes > CACHED and skew == 0 and folds * batch % unit == 0
    _gather(rows.reshape(-1), count, numbers, places, slots, out.reshape(-1), past_caches, unit)
    return out


def scatter_rows(field, places, slots, out, shape):
    """Inverse of :func:`gather_rows`, into ``out``, or new memory of this shape."""
    if out is None:
        out = empty(shape, field.dtype)
    _, numbers, lanes = field.shape
    unit, skew = _line(out)
    row_bytes = lanes * numbers * field.itemsize
    longest = max(unit, BUFFER // row_bytes // unit * unit)
    past_caches = out.nbytes > CACHED and skew is not None
    arguments = (longest, skew or 0, past_caches, unit)
    _scatter(np.ascontiguousarray(field).reshape(-1), places.size, numbers, places, slots, out.reshape(-1), *arguments)
    return out
