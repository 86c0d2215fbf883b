"""One thread's numbers for numba-cuda: ``Real`` and ``Complex`` in single or double precision.

Numba's own scalars would not do: a Python constant times a single-precision number is a double there, and a real number
times a complex one a whole complex product.

Results do not depend on what surrounds a formula, and so not on fold, processes or the compiler: the fused multiply-adds are
chosen here, as for CPUs.  A product remembers its factors, and what is added to it in the same expression becomes a chain of
them.  Every other product is told to be rounded for itself, which also keeps the compilers from fusing it.  *Exact* reals,
the random numbers, are never fused: their bits are the same on every machine.
"""

from __future__ import annotations

import math
import operator

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic, lower_builtin, models, overload, register_model
from numba.cuda.typing.templates import AbstractTemplate, infer_global, signature

from gaugeflow.sites import heatbath, numbers, random

INLINE = {"forceinline": True}


class RealType(types.Type):
    """A real number of 32 or 64 bits."""

    def __init__(self, bits, exact=False):
        self.bits, self.exact = bits, exact
        self.llvm = ir.DoubleType() if bits == 64 else ir.FloatType()
        super().__init__(name=f"{'Exact' if exact else 'Real'}{bits}")


class ComplexType(types.Type):
    """A complex number of two reals."""

    def __init__(self, bits):
        self.bits, self.exact = bits, False
        self.part = RealType(bits)
        super().__init__(name=f"Complex{2 * bits}")


@register_model(RealType)
class _RealModel(models.PrimitiveModel):
    def __init__(self, manager, t):
        super().__init__(manager, t, t.llvm)


@register_model(ComplexType)
class _ComplexModel(models.StructModel):
    def __init__(self, manager, t):
        super().__init__(manager, t, [("re", t.part), ("im", t.part)])


OURS = (RealType, ComplexType)
_KINDS = (RealType, ComplexType, types.Number)


def parts(ctx, b, t, value, like):
    """(re, im) of a value of any numeric type in the precision of ``like``; im is None for real ones."""
    if isinstance(t, ComplexType):
        return _member(b, value, 0), _member(b, value, 1)
    if isinstance(t, RealType):
        return value, None
    return ctx.cast(b, value, t, types.float64 if like.bits == 64 else types.float32), None


def join(ctx, b, t, re, im=None):
    """Value of type t from its parts."""
    if isinstance(t, RealType):
        return re
    im = im if im is not None else ir.Constant(re.type, 0.0)
    z = ir.Constant(ir.LiteralStructType([re.type, im.type]), ir.Undefined)
    return b.insert_value(b.insert_value(z, re, 0), im, 1)


def _member(b, value, index):
    """A number of a pair: the very one that was put there, where this is known."""
    pair = value
    while isinstance(pair, ir.instructions.InsertValue):
        if list(pair.indices) == [index]:
            return pair.operands[1]
        pair = pair.operands[0]
    return b.extract_value(value, index)


def _common(a, c):
    """Result type of an operation on two numbers, None where none is ours."""
    ours = [t for t in (a, c) if isinstance(t, OURS)]
    if not ours or not all(isinstance(t, _KINDS) for t in (a, c)) or len({t.bits for t in ours}) > 1:
        return None
    if any(isinstance(t, ComplexType) for t in ours):
        return ComplexType(ours[0].bits)
    return RealType(ours[0].bits, all(t.exact for t in ours))


# ---- arithmetic ------------------------------------------------------------------------------------------------------
def _negative(b, x):
    return b.fsub(ir.Constant(x.type, -0.0), x)


def _rounded(b, name, x, y):
    """A sum or product that is rounded for itself."""
    kind = ir.FunctionType(x.type, [x.type, x.type])
    precision = "d" if x.type == ir.DoubleType() else "f"
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.nvvm.{name}.rn.{precision}"), [x, y])


def _fused(b, x, y, z):
    """x y + z, rounded once."""
    kind = ir.FunctionType(x.type, [x.type] * 3)
    name = "llvm.fma.f64" if x.type == ir.DoubleType() else "llvm.fma.f32"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), [x, y, z])


def _chain(b, total, terms):
    """``total`` (None: nothing) plus products, one after the other."""
    for p, q in terms:
        total = _rounded(b, "mul", p, q) if total is None else _fused(b, p, q, total)
    return total


def _product(b, *terms):
    """Sum of products, which remembers them."""
    value = _chain(b, None, terms)
    value.terms = terms
    return value


def _terms(x):
    """Products whose sum a number is, if it is known as such."""
    return getattr(x, "terms", None)


def _plus(b, x, y):
    if _terms(y):
        return _chain(b, x, _terms(y))
    return _chain(b, y, _terms(x)) if _terms(x) else b.fadd(x, y)


def _minus(b, x, y):
    if _terms(y):
        return _chain(b, x, [(_negative(b, p), q) for p, q in _terms(y)])
    return _chain(b, _negative(b, y), _terms(x)) if _terms(x) else b.fsub(x, y)


def _add(b, x, y, exact):
    re = _rounded(b, "add", x[0], y[0]) if exact else _plus(b, x[0], y[0])
    if x[1] is None or y[1] is None:
        return re, (x[1] if y[1] is None else y[1])
    return re, _plus(b, x[1], y[1])


def _sub(b, x, y, exact):
    if exact:
        return _rounded(b, "add", x[0], _negative(b, y[0])), None
    re = _minus(b, x[0], y[0])
    if y[1] is None:
        return re, x[1]
    return re, _negative(b, y[1]) if x[1] is None else _minus(b, x[1], y[1])


def _mul(b, x, y, exact):
    if exact:
        return _rounded(b, "mul", x[0], y[0]), None
    if x[1] is None:
        return _product(b, (x[0], y[0])), None if y[1] is None else _product(b, (x[0], y[1]))
    if y[1] is None:
        return _product(b, (x[0], y[0])), _product(b, (x[1], y[0]))
    re = _product(b, (x[0], y[0]), (_negative(b, x[1]), y[1]))
    return re, _product(b, (x[0], y[1]), (x[1], y[0]))


def _div(b, x, y, exact):
    if y[1] is None:
        return b.fdiv(x[0], y[0]), None if x[1] is None else b.fdiv(x[1], y[0])
    norm = _product(b, (y[0], y[0]), (y[1], y[1]))
    re, im = _mul(b, x, (y[0], _negative(b, y[1])), exact)
    return b.fdiv(re, norm), b.fdiv(im, norm)


def _binary(op, combine):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and _common(*args) is not None:
                return signature(_common(*args), *args)

    def lower(ctx, b, sig, args):
        r = sig.return_type
        x, y = (parts(ctx, b, t, a, r) for t, a in zip(sig.args, args, strict=True))
        return join(ctx, b, r, *combine(b, x, y, r.exact))

    for left in _KINDS:
        for right in _KINDS:
            if left in OURS or right in OURS:
                lower_builtin(op, left, right)(lower)


_binary(operator.add, _add)
_binary(operator.sub, _sub)
_binary(operator.mul, _mul)
_binary(operator.truediv, _div)


def _comparison(op, symbol):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(_common(*args), RealType):
                return signature(types.boolean, *args)

    def lower(ctx, b, sig, args):
        x, y = (parts(ctx, b, t, a, _common(*sig.args))[0] for t, a in zip(sig.args, args, strict=True))
        return b.fcmp_ordered(symbol, x, y)

    for left, right in ((RealType, RealType), (RealType, types.Number), (types.Number, RealType)):
        lower_builtin(op, left, right)(lower)


for _op, _symbol in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _comparison(_op, _symbol)


@infer_global(operator.neg)
class _NegTyping(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], OURS):
            return signature(args[0], args[0])


@lower_builtin(operator.neg, RealType)
@lower_builtin(operator.neg, ComplexType)
def _neg(ctx, b, sig, args):
    re, im = parts(ctx, b, sig.args[0], args[0], sig.args[0])
    return join(ctx, b, sig.args[0], _negative(b, re), None if im is None else _negative(b, im))


# ---- element functions -----------------------------------------------------------------------------------------------
@intrinsic
def _conj(tx, z):
    def generate(ctx, b, sig, a):
        re, im = parts(ctx, b, z, a[0], z)
        return join(ctx, b, z, re, _negative(b, im))

    return z(z), generate


@intrinsic
def _real(tx, z):
    return z.part(z), lambda ctx, b, sig, a: parts(ctx, b, z, a[0], z)[0]


@intrinsic
def _imag(tx, z):
    return z.part(z), lambda ctx, b, sig, a: parts(ctx, b, z, a[0], z)[1]


@intrinsic
def _cplx(tx, x, y):
    r = ComplexType(next(t.bits for t in (x, y) if isinstance(t, RealType)))
    return r(x, y), lambda ctx, b, sig, a: join(ctx, b, r, parts(ctx, b, x, a[0], r)[0], parts(ctx, b, y, a[1], r)[0])


@intrinsic
def _where(tx, mask, x, y):
    r = _common(x, y)

    def generate(ctx, b, sig, a):
        p, q = parts(ctx, b, x, a[1], r), parts(ctx, b, y, a[2], r)
        re = b.select(a[0], p[0], q[0])
        if isinstance(r, RealType):
            return re
        zero = ir.Constant(re.type, 0.0)
        return join(ctx, b, r, re, b.select(a[0], p[1] or zero, q[1] or zero))

    return r(mask, x, y), generate


def _unary(name):
    @intrinsic
    def function(tx, x):
        def generate(ctx, b, sig, a):
            kind = ir.FunctionType(x.llvm, [x.llvm])
            return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}.f{x.bits}"), [a[0]])

        return x(x), generate

    return function


def _convert(b, x, bits):
    if bits == 64:
        return b.fpext(x, ir.DoubleType()) if x.type == ir.FloatType() else x
    return b.fptrunc(x, ir.FloatType()) if x.type == ir.DoubleType() else x


@intrinsic
def _wide(tx, x):
    r = RealType(64)
    return r(x), lambda ctx, b, sig, a: _convert(b, a[0], 64)


@intrinsic
def _narrow(tx, x, like):
    r = RealType(like.bits)
    return r(x, like), lambda ctx, b, sig, a: _convert(b, a[0], r.bits)


@intrinsic
def _to_float(tx, x):
    return types.float64(x), lambda ctx, b, sig, a: _convert(b, a[0], 64)


@intrinsic
def _from_float(tx, x):
    return RealType(64)(types.float64), lambda ctx, b, sig, a: a[0]


@intrinsic
def _exact(tx, k):
    return RealType(64, exact=True)(k), lambda ctx, b, sig, a: b.sitofp(
        ctx.cast(b, a[0], k, types.int64), ir.DoubleType()
    )


@overload(random.to_real, jit_options=INLINE)
def _(k):
    return lambda k: _exact(k)


def _overload(function, kind, implementation):
    @overload(function, jit_options=INLINE, strict=False)
    def _(*args):
        if any(isinstance(t, kind) for t in args):
            return implementation


_sqrt, _floor = _unary("sqrt"), _unary("floor")
_overload(numbers.conj, ComplexType, lambda z: _conj(z))
_overload(numbers.real, ComplexType, lambda z: _real(z))
_overload(numbers.imag, ComplexType, lambda z: _imag(z))
_overload(numbers.cplx, RealType, lambda x, y: _cplx(x, y))
_overload(numbers.sqrt, RealType, lambda x: _sqrt(x))
_overload(numbers.absolute, RealType, lambda x: _where(x < 0.0, -x, x))  # NVVM has no intrinsic of this
_overload(numbers.floor, RealType, lambda x: _floor(x))
_overload(numbers.wide, RealType, lambda x: _wide(x))
_overload(numbers.log, RealType, lambda x: _from_float(math.log(_to_float(x))))
_overload(numbers.largest, RealType, lambda x: _to_float(x))
_overload(heatbath.narrow, RealType, lambda x, like: _narrow(x, like))


@overload(numbers.where, jit_options=INLINE)
def _(mask, a, b):
    if _common(a, b) is not None:
        return lambda mask, a, b: _where(mask, a, b)
    return lambda mask, a, b: a if mask else b
