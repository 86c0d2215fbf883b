"""Arithmetic of explicit vector registers as Numba numbers.

LLVM never vectorises tuples of complex scalars, so the registers are spelled out.

The instructions carry no fast-math flags, so that LLVM must keep every rounding: the result of a formula does not depend
on the width of registers, on the fold, or on what surrounds the formula.  The fused multiply-adds are chosen here instead.
A product remembers its factors, and what is added to it in the same expression becomes a chain of them.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, overload

from gaugeflow.sites import numbers
from gaugeflow_numba.registers import I32, CVecType, MaskType, VecType, join, parts


def _common(a, c):
    """Result type of an operation on two numbers, None where no register is involved."""
    if not all(isinstance(t, (VecType, CVecType, types.Number)) for t in (a, c)):
        return None
    registers = [t for t in (a, c) if isinstance(t, (VecType, CVecType))]
    if not registers or len({(t.w, t.bits) for t in registers}) > 1:
        return None
    w, bits = registers[0].w, registers[0].bits
    is_complex = any(isinstance(t, (CVecType, types.Complex)) for t in (a, c))
    return CVecType(w, bits) if is_complex else VecType(w, bits)


_KINDS = (VecType, CVecType, types.Number)


def _binary(op, combine):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2:
                result = _common(*args)
                if result is not None:
                    return signature(result, *args)

    def lower(ctx, b, sig, args):
        r = sig.return_type
        x = parts(ctx, b, sig.args[0], args[0], r)
        y = parts(ctx, b, sig.args[1], args[1], r)
        return join(ctx, b, r, *combine(b, x, y))

    for left in _KINDS:
        for right in _KINDS:
            if not (left is types.Number and right is types.Number):
                lower_builtin(op, left, right)(lower)


def fused(b, x, y, z):
    """x y + z, rounded once where the processor has the instruction."""
    t = x.type
    count, bits = (f"v{t.count}", t.element) if isinstance(t, ir.VectorType) else ("", t)
    name = f"llvm.fmuladd.{count}f{64 if bits == ir.DoubleType() else 32}"
    return b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(t, [t, t, t]), name), [x, y, z])


def _chain(b, total, terms):
    """``total`` (None: nothing) plus products, one after the other."""
    for p, q in terms:
        total = b.fmul(p, q) if total is None else fused(b, p, q, total)
    return total


def _product(b, *terms):
    """Sum of products, which remembers them."""
    value = _chain(b, None, terms)
    value.terms = terms
    return value


def _terms(x):
    """Products whose sum a register is, if it is known as such."""
    return getattr(x, "terms", None)


def _plus(b, x, y):
    if _terms(y):
        return _chain(b, x, _terms(y))
    return _chain(b, y, _terms(x)) if _terms(x) else b.fadd(x, y)


def _minus(b, x, y):
    if _terms(y):
        return _chain(b, x, [(b.fneg(p), q) for p, q in _terms(y)])
    return _chain(b, b.fneg(y), _terms(x)) if _terms(x) else b.fsub(x, y)


def _add(b, x, y):
    re = _plus(b, x[0], y[0])
    if x[1] is None or y[1] is None:
        return re, (x[1] if y[1] is None else y[1])
    return re, _plus(b, x[1], y[1])


def _sub(b, x, y):
    re = _minus(b, x[0], y[0])
    if y[1] is None:
        return re, x[1]
    return re, b.fneg(y[1]) if x[1] is None else _minus(b, x[1], y[1])


def _mul(b, x, y):
    if x[1] is None:
        return _product(b, (x[0], y[0])), None if y[1] is None else _product(b, (x[0], y[1]))
    if y[1] is None:
        return _product(b, (x[0], y[0])), _product(b, (x[1], y[0]))
    re = _product(b, (x[0], y[0]), (b.fneg(x[1]), y[1]))
    return re, _product(b, (x[0], y[1]), (x[1], y[0]))


def _div(b, x, y):
    if y[1] is None:
        return b.fdiv(x[0], y[0]), None if x[1] is None else b.fdiv(x[1], y[0])
    norm = _product(b, (y[0], y[0]), (y[1], y[1]))
    re, im = _mul(b, x, (y[0], b.fneg(y[1])))
    return b.fdiv(re, norm), b.fdiv(im, norm)


_binary(operator.add, _add)
_binary(operator.sub, _sub)
_binary(operator.mul, _mul)
_binary(operator.truediv, _div)


def _comparison(op, symbol):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(_common(*args), VecType):
                return signature(MaskType(_common(*args).w), *args)

    def lower(ctx, b, sig, args):
        like = _common(*sig.args)
        x, y = (parts(ctx, b, t, a, like)[0] for t, a in zip(sig.args, args, strict=True))
        return b.fcmp_ordered(symbol, x, y)

    for left, right in ((VecType, VecType), (VecType, types.Number), (types.Number, VecType)):
        lower_builtin(op, left, right)(lower)


for _op, _symbol in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _comparison(_op, _symbol)


def _logic(op, method):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], MaskType) and args[0] == args[1]:
                return signature(args[0], *args)

    lower_builtin(op, MaskType, MaskType)(lambda ctx, b, sig, args: getattr(b, method)(*args))


_logic(operator.and_, "and_")
_logic(operator.or_, "or_")


@infer_global(operator.neg)
class _NegTyping(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], (VecType, CVecType)):
            return signature(args[0], args[0])


@lower_builtin(operator.neg, VecType)
@lower_builtin(operator.neg, CVecType)
def _neg(ctx, b, sig, args):
    t = sig.args[0]
    re, im = parts(ctx, b, t, args[0], t)
    return join(ctx, b, t, b.fneg(re), None if im is None else b.fneg(im))


# ---- element functions ---------------------------------------------------------------------------------------------
@intrinsic
def _conj(tx, z):
    def cg(ctx, b, sig, a):
        re, im = parts(ctx, b, z, a[0], z)
        return join(ctx, b, z, re, b.fneg(im))

    return z(z), cg


@intrinsic
def _real(tx, z):
    return z.part(z), lambda ctx, b, sig, a: parts(ctx, b, z, a[0], z)[0]


@intrinsic
def _imag(tx, z):
    return z.part(z), lambda ctx, b, sig, a: parts(ctx, b, z, a[0], z)[1]


@intrinsic
def _cplx(tx, x, y):
    like = x if isinstance(x, VecType) else y
    r = CVecType(like.w, like.bits)

    def cg(ctx, b, sig, a):
        return join(ctx, b, r, parts(ctx, b, x, a[0], like)[0], parts(ctx, b, y, a[1], like)[0])

    return r(x, y), cg


@intrinsic
def _where(tx, mask, x, y):
    like = next((t for t in (x, y) if isinstance(t, (VecType, CVecType))), None)
    r = _common(x, y)
    if like is None or r is None:
        return None

    def cg(ctx, b, sig, a):
        p = parts(ctx, b, x, a[1], like)
        q = parts(ctx, b, y, a[2], like)
        re = b.select(a[0], p[0], q[0])
        if isinstance(r, VecType):
            return re
        zero = ir.Constant(re.type, [ir.Constant(re.type.element, 0.0)] * r.w)
        return join(ctx, b, r, re, b.select(a[0], p[1] or zero, q[1] or zero))

    return r(mask, x, y), cg


def _unary(name):
    @intrinsic
    def function(tx, x):
        def cg(ctx, b, sig, a):
            vector = x.llvm
            kind = ir.FunctionType(vector, [vector])
            symbol = f"llvm.{name}.v{x.w}f{x.bits}"
            return b.call(cgutils.get_or_insert_function(b.module, kind, symbol), [a[0]])

        return x(x), cg

    return function


_sqrt, _abs, _floor = _unary("sqrt"), _unary("fabs"), _unary("floor")


@intrinsic
def vector_sum(tx, x):
    """Sum of the lanes, in lane order."""

    def cg(ctx, b, sig, a):
        total = b.extract_element(a[0], ir.Constant(I32, 0))
        for i in range(1, x.w):
            total = b.fadd(total, b.extract_element(a[0], ir.Constant(I32, i)))
        return total

    return (types.float64 if x.bits == 64 else types.float32)(x), cg


@intrinsic
def lane(tx, x, i):
    """One lane as a scalar."""
    scalar = types.float64 if x.bits == 64 else types.float32
    return scalar(x, types.int64), lambda ctx, b, sig, a: b.extract_element(a[0], b.trunc(a[1], I32))


@intrinsic
def with_lane(tx, x, i, value):
    """The register with one lane replaced."""
    scalar = types.float64 if x.bits == 64 else types.float32
    return x(x, types.int64, scalar), lambda ctx, b, sig, a: b.insert_element(a[0], a[2], b.trunc(a[1], I32))


@intrinsic
def any_lane(tx, mask):
    """Whether the mask holds anywhere."""

    def cg(ctx, b, sig, a):
        bits = b.bitcast(a[0], ir.IntType(mask.w))
        return b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), cg


@intrinsic
def _wide(tx, x):
    r = VecType(x.w, 64)
    return r(x), lambda ctx, b, sig, a: a[0] if x.bits == 64 else b.fpext(a[0], r.llvm)


@intrinsic
def narrow(tx, x, like):
    """A double-precision register in the precision of another one."""
    r = VecType(x.w, like.bits)
    return r(x, like), lambda ctx, b, sig, a: a[0] if like.bits == 64 else b.fptrunc(a[0], r.llvm)


def _overload_parts(function, on_complex_register, on_complex_scalar):
    @overload(function, jit_options={"forceinline": True})
    def _(z):
        if isinstance(z, CVecType):
            return on_complex_register
        if isinstance(z, types.Complex):
            return on_complex_scalar


_overload_parts(numbers.conj, lambda z: _conj(z), lambda z: complex(z.real, -z.imag))
_overload_parts(numbers.real, lambda z: _real(z), lambda z: z.real)
_overload_parts(numbers.imag, lambda z: _imag(z), lambda z: z.imag)


@overload(numbers.cplx, jit_options={"forceinline": True})
def _(x, y):
    if isinstance(x, VecType) or isinstance(y, VecType):
        return lambda x, y: _cplx(x, y)
    return lambda x, y: complex(x, y)


@overload(numbers.where, jit_options={"forceinline": True})
def _(mask, a, b):
    if isinstance(mask, MaskType):
        return lambda mask, a, b: _where(mask, a, b)
    return lambda mask, a, b: a if mask else b


def _overload_real(function, on_register):
    @overload(function, jit_options={"forceinline": True})
    def _(x):
        if isinstance(x, VecType):
            return on_register


_overload_real(numbers.sqrt, lambda x: _sqrt(x))
_overload_real(numbers.absolute, lambda x: _abs(x))
_overload_real(numbers.floor, lambda x: _floor(x))
_overload_real(numbers.wide, lambda x: _wide(x))


@overload(numbers.log)
def _(x):
    if isinstance(x, VecType):
        n = x.w
        import math

        def log_lanes(x):
            y = x
            for i in range(n):
                y = with_lane(y, i, math.log(lane(x, i)))
            return y

        return log_lanes


@overload(numbers.largest)
def _(x):
    if isinstance(x, VecType):
        n = x.w

        def largest_lane(x):
            y = lane(x, 0)
            for i in range(1, n):
                y = max(y, lane(x, i))
            return y

        return largest_lane
