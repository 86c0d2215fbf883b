"""Types of explicit vector registers: ``Vec`` (w reals), ``CVec`` (w complex) and ``Mask`` (w booleans)."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

I32 = ir.IntType(32)


def element(bits):
    """LLVM type of one real number."""
    return ir.DoubleType() if bits == 64 else ir.FloatType()


class VecType(types.Type):
    """w real numbers."""

    def __init__(self, w, bits):
        self.w, self.bits = w, bits
        super().__init__(name=f"Vec{w}x{bits}")

    @property
    def llvm(self):
        return ir.VectorType(element(self.bits), self.w)


class CVecType(types.Type):
    """w complex numbers."""

    def __init__(self, w, bits):
        self.w, self.bits = w, bits
        self.part = VecType(w, bits)
        super().__init__(name=f"CVec{w}x{bits}")


class MaskType(types.Type):
    """w booleans."""

    def __init__(self, w):
        self.w = w
        super().__init__(name=f"Mask{w}")


@register_model(VecType)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm, t):
        super().__init__(dmm, t, t.llvm)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, t):
        super().__init__(dmm, t, ir.VectorType(ir.IntType(1), t.w))


@register_model(CVecType)
class _CVecModel(models.StructModel):
    def __init__(self, dmm, t):
        super().__init__(dmm, t, [("re", t.part), ("im", t.part)])


def lanes_constant(values):
    """Constant vector of 32-bit indices."""
    return ir.Constant(ir.VectorType(I32, len(values)), list(values))


def splat(b, x, vector):
    """All lanes equal to one scalar."""
    v = b.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(I32, 0))
    return b.shuffle_vector(v, ir.Constant(vector, ir.Undefined), lanes_constant([0] * vector.count))


def parts(ctx, b, t, value, like):
    """(re, im) registers of a value of any numeric type; im is None for real ones."""
    if isinstance(t, CVecType):
        return _member(b, value, 0), _member(b, value, 1)
    if isinstance(t, VecType):
        return value, None
    scalar = types.float64 if like.bits == 64 else types.float32
    vector = ir.VectorType(element(like.bits), like.w)
    if isinstance(t, types.Complex):
        z = cgutils.create_struct_proxy(t)(ctx, b, value=value)
        cast = [ctx.cast(b, x, t.underlying_float, scalar) for x in (z.real, z.imag)]
        return splat(b, cast[0], vector), splat(b, cast[1], vector)
    return splat(b, ctx.cast(b, value, t, scalar), vector), None


def join(ctx, b, t, re, im):
    """Value of type t from registers."""
    if isinstance(t, VecType):
        return re
    im = im if im is not None else ir.Constant(re.type, [ir.Constant(re.type.element, 0.0)] * t.w)
    z = ir.Constant(ir.LiteralStructType([re.type, im.type]), ir.Undefined)
    return b.insert_value(b.insert_value(z, re, 0), im, 1)


def _member(b, value, index):
    """A register of a pair: the very one that was put there, where this is known."""
    pair = value
    while isinstance(pair, ir.instructions.InsertValue):
        if list(pair.indices) == [index]:
            return pair.operands[1]
        pair = pair.operands[0]
    return b.extract_value(value, index)
