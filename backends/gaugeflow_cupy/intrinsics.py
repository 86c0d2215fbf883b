"""Loads, stores and scratch memory as numba-cuda compiles them; the meaning is that of :mod:`gaugeflow_cupy.memory`.

Matrices become tuples of :mod:`gaugeflow_cupy.numbers`, and both parts of an entry move in one access.  These are intrinsics
rather than overloads: memory that a function allocates is gone when it returns.
"""

from __future__ import annotations

import math
import operator

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic, lower_builtin, models, register_model
from numba.cuda.typing.templates import AbstractTemplate, infer_global, signature

from gaugeflow.sites import numbers as element
from gaugeflow.sites.jacobian import memory_size
from gaugeflow.sites.random import haar_of_size, momentum_of_size
from gaugeflow_cupy._jit import compiled, jitable
from gaugeflow_cupy.numbers import ComplexType, RealType, join, parts

__all__ = [
    "gaussians",
    "haar",
    "load",
    "load_at",
    "load_real",
    "load_real_at",
    "momentum",
    "own",
    "scratch",
    "settled",
    "store",
    "store_pair",
    "store_real",
    "zero",
    "zero_matrix",
]

_INDEX = ir.IntType(64)


class _ScratchType(types.Type):
    """Local memory of real numbers of one type."""

    def __init__(self, number):
        self.number = number
        super().__init__(name=f"Scratch({number.name})")


@register_model(_ScratchType)
class _ScratchModel(models.PrimitiveModel):
    def __init__(self, manager, t):
        super().__init__(manager, t, t.number.llvm.as_pointer())


@infer_global(operator.getitem)
class _GetTyping(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], _ScratchType):
            return signature(args[0].number, args[0], types.int64)


@infer_global(operator.setitem)
class _SetTyping(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], _ScratchType):
            return signature(types.void, args[0], types.int64, args[2])


@lower_builtin(operator.getitem, _ScratchType, types.Integer)
def _get(ctx, b, sig, a):
    return b.load(b.gep(a[0], [a[1]]))


@lower_builtin(operator.setitem, _ScratchType, types.Integer, RealType)
@lower_builtin(operator.setitem, _ScratchType, types.Integer, types.Number)
def _set(ctx, b, sig, a):
    b.store(parts(ctx, b, sig.args[2], a[2], sig.args[0].number)[0], b.gep(a[0], [a[1]]))
    return ctx.get_dummy_value()


for _function in (element.get, element.put):
    jitable(_function, {"forceinline": True})


def _allocation(number, count, arguments):
    t = _ScratchType(number)

    def generate(ctx, b, sig, a):
        place = cgutils.alloca_once(b, ir.ArrayType(number.llvm, count))
        return b.bitcast(place, number.llvm.as_pointer())

    return t(*arguments), generate


def _precision(array):
    array = array[0] if isinstance(array, types.BaseTuple) else array
    return array.dtype.bitwidth // (2 if isinstance(array.dtype, types.Complex) else 1)


def _pointer(ctx, b, array, value, place):
    return b.gep(ctx.make_array(array)(ctx, b, value).data, [place])


def _first_number(ctx, b, field, value, row, size, offset):
    """Pointer to a number behind ``offset`` in a row, also of a field with rows around the own ones; its type of array."""
    if not isinstance(field, types.BaseTuple):
        return _pointer(ctx, b, field, value, b.add(b.mul(row, size), offset)), field
    own, around = (b.extract_value(value, i) for i in (0, 1))
    here, there, inside = (b.extract_value(row, i) for i in (0, 1, 2))
    pointers = (
        _pointer(ctx, b, field[i], memory, b.add(b.mul(number, size), offset))
        for i, (memory, number) in enumerate(((own, here), (around, there)))
    )
    return b.select(inside, *pointers), field[0]


def _pair_at(b, array, pointer):
    """Pointer to both parts of a complex number, and the bytes to which they are aligned."""
    bits = _precision(array)
    pair = ir.VectorType(RealType(bits).llvm, 2)
    return b.bitcast(pointer, pair.as_pointer()), bits // 4


def _entry(ctx, b, array, value, place):
    return _pair_at(b, array, _pointer(ctx, b, array, value, place))


def _load_matrix(ctx, b, array, number, count, pointer, stride):
    values = []
    for k in range(count):
        at, alignment = _pair_at(b, array, b.gep(pointer, [b.mul(stride, ir.Constant(_INDEX, k))]))
        pair = b.load(at, align=alignment)
        re, im = (b.extract_element(pair, ir.Constant(ir.IntType(32), i)) for i in (0, 1))
        values.append(join(ctx, b, number, re, im))
    return ctx.make_tuple(b, types.UniTuple(number, count), values)


@intrinsic
def own(tx, field):
    if isinstance(field, types.BaseTuple):
        return field[0](field), lambda ctx, b, sig, a: b.extract_value(a[0], 0)
    return field(field), lambda ctx, b, sig, a: a[0]


@intrinsic
def load(tx, field, place, stride, g):
    number = ComplexType(_precision(field))

    def generate(ctx, b, sig, a):
        return _load_matrix(ctx, b, field, number, g.count, _pointer(ctx, b, field, a[0], a[1]), a[2])

    return types.UniTuple(number, g.count)(field, types.int64, types.int64, g), generate


@intrinsic
def load_at(tx, field, row, size, offset, stride, g):
    number = ComplexType(_precision(field))

    def generate(ctx, b, sig, a):
        pointer, array = _first_number(ctx, b, field, a[0], a[1], a[2], a[3])
        return _load_matrix(ctx, b, array, number, g.count, pointer, a[4])

    return types.UniTuple(number, g.count)(field, row, types.int64, types.int64, types.int64, g), generate


@intrinsic
def load_real_at(tx, field, row, size, offset):
    def generate(ctx, b, sig, a):
        return b.load(_first_number(ctx, b, field, a[0], a[1], a[2], a[3])[0])

    return RealType(_precision(field))(field, row, types.int64, types.int64), generate


def _put_pair(ctx, b, field, value, place, re, im):
    pointer, alignment = _entry(ctx, b, field, value, place)
    pair = ir.Constant(pointer.type.pointee, ir.Undefined)
    for i, x in enumerate((re, im)):
        pair = b.insert_element(pair, x, ir.Constant(ir.IntType(32), i))
    b.store(pair, pointer, align=alignment)


@intrinsic
def store(tx, field, place, stride, matrix):
    def generate(ctx, b, sig, a):
        for k in range(matrix.count):
            at = b.add(a[1], b.mul(a[2], ir.Constant(_INDEX, k)))
            _put_pair(ctx, b, field, a[0], at, *parts(ctx, b, matrix.dtype, b.extract_value(a[3], k), matrix.dtype))
        return ctx.get_dummy_value()

    return types.void(field, types.int64, types.int64, matrix), generate


@intrinsic
def store_pair(tx, field, place, x, y):
    def generate(ctx, b, sig, a):
        _put_pair(ctx, b, field, a[0], a[1], a[2], a[3])
        return ctx.get_dummy_value()

    return types.void(field, types.int64, x, y), generate


@intrinsic
def zero_matrix(tx, field, g):
    number = ComplexType(_precision(field))
    matrix = types.UniTuple(number, g.count)

    def generate(ctx, b, sig, a):
        nought = ir.Constant(number.part.llvm, 0.0)
        return ctx.make_tuple(b, matrix, [join(ctx, b, number, nought)] * g.count)

    return matrix(field, g), generate


@intrinsic
def settled(tx, matrix):
    def generate(ctx, b, sig, a):
        number = matrix.dtype.part.llvm
        pin = ir.InlineAsm(ir.FunctionType(number, [number]), "", "=d,0" if number == ir.DoubleType() else "=f,0", True)
        values = []
        for k in range(matrix.count):
            re, im = parts(ctx, b, matrix.dtype, b.extract_value(a[0], k), matrix.dtype)
            values.append(join(ctx, b, matrix.dtype, b.call(pin, [re]), b.call(pin, [im])))
        return ctx.make_tuple(b, matrix, values)

    return matrix(matrix), generate


@intrinsic
def load_real(tx, array, place):
    return RealType(_precision(array))(array, types.int64), lambda ctx, b, sig, a: b.load(
        _pointer(ctx, b, array, a[0], a[1])
    )


@intrinsic
def store_real(tx, array, place, x):
    def generate(ctx, b, sig, a):
        b.store(a[2], _pointer(ctx, b, array, a[0], a[1]))
        return ctx.get_dummy_value()

    return types.void(array, types.int64, x), generate


@intrinsic
def zero(tx):
    return RealType(64)(), lambda ctx, b, sig, a: ir.Constant(ir.DoubleType(), 0.0)


@intrinsic
def scratch(tx, field, g):
    return _allocation(RealType(_precision(field)), memory_size(math.isqrt(g.count)), (field, g))


@intrinsic
def gaussians(tx, g):
    return _allocation(RealType(64, exact=True), 2 * g.count, (g,))


def haar(z, g):
    """Compiled for the N of g."""


def momentum(z, g):
    """Compiled for the N of g."""


def _for_size(function, of_size):
    @compiled(function)
    def _(z, g):
        chosen = jitable(of_size(math.isqrt(g.count)), {"forceinline": True})
        return lambda z, g: chosen(z)


_for_size(haar, haar_of_size)
_for_size(momentum, momentum_of_size)
