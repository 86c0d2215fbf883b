"""Tiles of registers: the inner loops of matrix products whose columns are lanes.

``Tile(w, rows, columns, bits)`` is passed to kernels as a value whose Numba *type* carries its numbers, as
:class:`gaugeflow_numba.lanes.Lanes` does.  A tile is a tuple of ``rows * columns`` registers, row by row.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import NativeValue, intrinsic, models, register_model, typeof_impl, unbox

from gaugeflow_numba.lanes import register_bytes
from gaugeflow_numba.registers import VecType, element, splat
from gaugeflow_numba.simd import fused

ROWS = 8
I64 = ir.IntType(64)


class Tile:
    """Width w of registers, rows and columns, and precision (32 or 64 bits)."""

    def __init__(self, w, rows, columns, bits):
        self.w, self.rows, self.columns, self.bits = w, rows, columns, bits


class TileType(types.Type):
    def __init__(self, w, rows, columns, bits):
        self.w, self.rows, self.columns, self.bits = w, rows, columns, bits
        self.vector = VecType(w, bits)
        self.tuple = types.UniTuple(self.vector, rows * columns)
        super().__init__(name=f"Tile({w},{rows},{columns},{bits})")


typeof_impl.register(Tile)(lambda value, c: TileType(value.w, value.rows, value.columns, value.bits))
register_model(TileType)(models.OpaqueModel)


@unbox(TileType)
def _unbox_tile(typ, obj, c):
    return NativeValue(c.context.get_dummy_value())


def tile(lanes, rows, columns, bits):
    """The tile with the widest registers that ``lanes`` lanes fill, and as many columns of them as fit."""
    widest = register_bytes() * 8 // bits
    w = min(widest, 1 << (lanes.bit_length() - 1))
    if register_bytes() < 64:  # sixteen registers instead of thirty-two
        columns = max(1, columns // 2)
    return Tile(w, rows, columns, bits)


def _place(ctx, b, t, array, offset, kind):
    return b.bitcast(b.gep(ctx.make_array(t)(ctx, b, array).data, [offset]), kind.as_pointer())


def _load(ctx, b, t, array, offset, vector):
    x = b.load(_place(ctx, b, t, array, offset, vector.llvm))
    x.align = vector.bits // 8
    return x


def _plus(b, offset, k):
    return b.add(offset, ir.Constant(I64, k))


@intrinsic
def filled(tx, values, offset, g):
    """Tile whose row r is ``values[offset + r]`` in all lanes."""

    def cg(ctx, b, sig, a):
        rows = []
        for r in range(g.rows):
            x = b.load(_place(ctx, b, values, a[0], _plus(b, a[1], r), element(g.bits)))
            rows += [splat(b, x, g.vector.llvm)] * g.columns
        return ctx.make_tuple(b, g.tuple, rows)

    return g.tuple(values, types.int64, g), cg


@intrinsic
def zeros(tx, g):
    """Tile of zeros."""

    def cg(ctx, b, sig, a):
        zero = ir.Constant(g.vector.llvm, [ir.Constant(element(g.bits), 0.0)] * g.w)
        return ctx.make_tuple(b, g.tuple, [zero] * (g.rows * g.columns))

    return g.tuple(g), cg


@intrinsic
def add_scaled(tx, tile, x, start, factors, offset, g):
    """Add to row r ``factors[offset + r]`` times the ``columns * w`` numbers at ``x[start]``."""

    def cg(ctx, b, sig, a):
        columns = [_load(ctx, b, x, a[1], _plus(b, a[2], k * g.w), g.vector) for k in range(g.columns)]
        result = []
        for r in range(g.rows):
            f = b.load(_place(ctx, b, factors, a[3], _plus(b, a[4], r), element(g.bits)))
            f = splat(b, f, g.vector.llvm)
            for k in range(g.columns):
                result.append(fused(b, f, columns[k], b.extract_value(a[0], r * g.columns + k)))
        return ctx.make_tuple(b, g.tuple, result)

    return g.tuple(tile, x, types.int64, factors, types.int64, g), cg


@intrinsic
def add_products(tx, tile, rows, row_start, row_stride, columns, starts, lane, g):
    """Add to (r, k) the lanewise product of ``rows[row_start + r row_stride]`` and ``columns[starts[k] + lane]``."""

    def cg(ctx, b, sig, a):
        base = ctx.make_array(starts)(ctx, b, a[5]).data
        right = []
        for k in range(g.columns):
            start = b.load(b.gep(base, [ir.Constant(I64, k)]))
            right.append(_load(ctx, b, columns, a[4], b.add(start, a[6]), g.vector))
        result = []
        for r in range(g.rows):
            left = _load(ctx, b, rows, a[1], b.add(a[2], b.mul(a[3], ir.Constant(I64, r))), g.vector)
            for k in range(g.columns):
                result.append(fused(b, left, right[k], b.extract_value(a[0], r * g.columns + k)))
        return ctx.make_tuple(b, g.tuple, result)

    return g.tuple(tile, rows, types.int64, types.int64, columns, starts, types.int64, g), cg


@intrinsic
def write(tx, out, start, stride, count, tile, g):
    """Write the first ``count`` rows, row r to ``out[start + r stride]``."""

    def cg(ctx, b, sig, a):
        for r in range(g.rows):
            with cgutils.if_likely(b, b.icmp_signed("<", ir.Constant(I64, r), a[3])):
                row = b.add(a[1], b.mul(a[2], ir.Constant(I64, r)))
                for k in range(g.columns):
                    to = _place(ctx, b, out, a[0], _plus(b, row, k * g.w), g.vector.llvm)
                    b.store(b.extract_value(a[4], r * g.columns + k), to).align = g.bits // 8
        return ctx.get_dummy_value()

    return types.void(out, types.int64, types.int64, types.int64, tile, g), cg


@intrinsic
def add_sums(tx, totals, start, stride, count, tile, g):
    """Add the sum over lanes of (r, k < count) to ``totals[start + k stride + r]``, in double precision."""

    def cg(ctx, b, sig, a):
        double = ir.DoubleType()
        kind = ir.FunctionType(element(g.bits), [element(g.bits), g.vector.llvm])
        reduce = cgutils.get_or_insert_function(b.module, kind, f"llvm.vector.reduce.fadd.v{g.w}f{g.bits}")
        for k in range(g.columns):
            with cgutils.if_likely(b, b.icmp_signed("<", ir.Constant(I64, k), a[3])):
                for r in range(g.rows):
                    lanes = b.extract_value(a[4], r * g.columns + k)
                    total = b.call(reduce, [ir.Constant(element(g.bits), -0.0), lanes], fastmath=["reassoc"])
                    total = total if g.bits == 64 else b.fpext(total, double)
                    place = b.add(a[1], b.add(b.mul(a[2], ir.Constant(I64, k)), ir.Constant(I64, r)))
                    to = _place(ctx, b, totals, a[0], place, double)
                    b.store(b.fadd(b.load(to), total), to)
        return ctx.get_dummy_value()

    return types.void(totals, types.int64, types.int64, types.int64, tile, g), cg
