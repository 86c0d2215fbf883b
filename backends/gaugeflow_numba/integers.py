"""``IntVec``: registers of w 64-bit integers, as many as are needed to run Philox on vector registers."""

from __future__ import annotations

import math
import operator

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model

from gaugeflow.sites import elementary, numbers, random
from gaugeflow_numba import sites as _known_sites  # noqa: F401
from gaugeflow_numba._jit import teach
from gaugeflow_numba.lanes import _address
from gaugeflow_numba.registers import VecType, splat

I64 = ir.IntType(64)


class IntVecType(types.Type):
    """w integers of 64 bits."""

    def __init__(self, w):
        self.w = w
        super().__init__(name=f"IntVec{w}")

    @property
    def llvm(self):
        return ir.VectorType(I64, self.w)


@register_model(IntVecType)
class _IntVecModel(models.PrimitiveModel):
    def __init__(self, dmm, t):
        super().__init__(dmm, t, t.llvm)


def _binary(op, method):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], IntVecType) and isinstance(args[1], (IntVecType, types.Integer)):
                return signature(args[0], *args)

    def lower(ctx, b, sig, args):
        vector = sig.return_type.llvm
        right = args[1]
        if isinstance(sig.args[1], types.Integer):
            right = splat(b, ctx.cast(b, right, sig.args[1], types.int64), vector)
        return getattr(b, method)(args[0], right)

    lower_builtin(op, IntVecType, IntVecType)(lower)
    lower_builtin(op, IntVecType, types.Integer)(lower)


for _op, _method in (
    (operator.add, "add"),
    (operator.mul, "mul"),
    (operator.and_, "and_"),
    (operator.xor, "xor"),
    (operator.rshift, "ashr"),
):
    _binary(_op, _method)


@intrinsic
def load_integers(tx, array, offset, g):
    """Register of w consecutive 64-bit integers of a flat array."""
    v = IntVecType(g.w)

    def cg(ctx, b, sig, a):
        x = b.load(_address(ctx, b, array, a[0], a[1], v.llvm, 0))
        x.align = 8
        return x

    return v(array, types.int64, g), cg


@intrinsic
def same_integer(tx, value, g):
    """Register of w equal integers."""
    v = IntVecType(g.w)
    return v(value, g), lambda ctx, b, sig, a: splat(b, ctx.cast(b, a[0], value, types.int64), v.llvm)


@intrinsic
def _to_real(tx, x):
    r = VecType(x.w, 64)
    return r(x), lambda ctx, b, sig, a: b.sitofp(a[0], r.llvm)


@overload(random.to_real, jit_options={"forceinline": True})
def _(k):
    if isinstance(k, IntVecType):
        return lambda k: _to_real(k)
    return lambda k: float(k)


@overload(numbers.sqrt, jit_options={"forceinline": True})
def _(x):
    if isinstance(x, types.Float):
        return lambda x: math.sqrt(x)


@overload(numbers.floor, jit_options={"forceinline": True})
def _(x):
    if isinstance(x, types.Float):
        return lambda x: np.floor(x)


for _function in (
    elementary.natural_log,
    elementary.sin_cos_turns,
    random.philox,
    random.uniform_pair,
    random.normal_pair,
):
    teach(_function)
