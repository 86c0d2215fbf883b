"""Formulas traced into instructions: a kernel's straight-line parts without type inference.

Numba infers the type of every intermediate number of a formula and inlines every function that it calls, which takes
longer than compiling the instructions that result.  Where a formula is long, an intrinsic calls it itself, while code is
being generated, with numbers that write down what is done to them: the formulas are those that the reference evaluates on
arrays.  Sums of products become chains of fused multiply-adds in the order in which the formula names them.

Places are addresses in bytes, so that no array is counted as in use while a loop runs.  Lanes are held in the order in
which one instruction on neighbouring registers separates real from imaginary parts, without an index register: these
numbers must not be mixed with those of :mod:`gaugeflow_numba.lanes`.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gaugeflow_numba.registers import I32, element, lanes_constant, splat
from gaugeflow_numba.simd import fused

I64 = ir.IntType(64)


class Registers:
    """Where instructions go, and the kind of registers that they work on: w numbers of some bits."""

    def __init__(self, builder, g):
        self.b, self.w, self.bits = builder, g.w, g.bits
        self.vector = ir.VectorType(element(g.bits), g.w)
        self.size = g.w * g.bits // 8
        chunk = min(128 // g.bits, g.w)
        self.even = [start + i for c in range(0, g.w, chunk) for start in (c, g.w + c) for i in range(0, chunk, 2)]
        if g.w * g.bits < 128 or chunk == 1:
            self.even = list(range(0, 2 * g.w, 2))
        order = {source: place for place, source in enumerate(self.even)}
        self.back = [order[i - i % 2] + (g.w if i % 2 else 0) for i in range(2 * g.w)]

    # ---- integers ------------------------------------------------------------------------------------------------
    def integer(self, value):
        return ir.Constant(I64, value)

    @property
    def pair(self):
        """Stride of numbers that lie one after the other."""
        return self.integer(2 * self.size)

    def plus(self, place, stride, count=1):
        """``place + count stride``; stride is a value or a Python number."""
        if count == 0:
            return place
        if isinstance(stride, int):
            return self.b.add(place, self.integer(count * stride))
        return self.b.add(place, stride if count == 1 else self.b.mul(stride, self.integer(count)))

    def word(self, place, index=0):
        """The 64-bit integer at a place of a list."""
        return self.b.load(self.b.inttoptr(self.plus(place, 8, index), I64.as_pointer()))

    # ---- numbers -------------------------------------------------------------------------------------------------
    def _pointer(self, place):
        return self.b.inttoptr(place, self.vector.as_pointer())

    def load(self, place):
        """The complex numbers of w lanes."""
        low, high = (self.b.load(self._pointer(self.plus(place, self.size, k))) for k in (0, 1))
        low.align = high.align = self.bits // 8
        return Number(
            self, *(self.b.shuffle_vector(low, high, lanes_constant([i + k for i in self.even])) for k in (0, 1))
        )

    def store(self, place, number, past_caches=False):
        """Write the complex numbers of w lanes; past the caches only to where a cache line begins."""
        number = number.value()
        for k in (0, 1):
            half = lanes_constant(self.back[k * self.w : (k + 1) * self.w])
            x = self.b.shuffle_vector(number.re, number.im, half)
            written = self.b.store(x, self._pointer(self.plus(place, self.size, k)))
            written.align = self.size if past_caches else self.bits // 8
            if past_caches:
                written.set_metadata("nontemporal", self.b.module.add_metadata([ir.Constant(I32, 1)]))

    def numbers(self, place, stride, count, step=1):
        """Tuple of the numbers at ``place + k step stride``."""
        return tuple(self.load(self.plus(place, stride, k * step)) for k in range(count))

    def row(self, place, stride, i, n):
        """Tuple of the n numbers of a row of a spinor."""
        return self.numbers(self.plus(place, self.plus(stride, stride, n - 1), i), stride, n)

    def put_row(self, place, stride, i, row, past_caches=False):
        """Write a row of a spinor."""
        n = len(row)
        place = self.plus(place, stride, i * n)
        for k, number in enumerate(row):
            self.store(self.plus(place, stride, k), number, past_caches)

    def keep(self, place, k, number):
        """Write an entry of a list of numbers that are only read again by :meth:`kept`."""
        number = number.value()
        for half, x in enumerate((number.re, number.im)):
            self.b.store(x, self._pointer(self.plus(place, self.size, 2 * k + half))).align = self.bits // 8

    def kept(self, place, k):
        """Read it."""
        parts = [self.b.load(self._pointer(self.plus(place, self.size, 2 * k + half))) for half in (0, 1)]
        for part in parts:
            part.align = self.bits // 8
        return Number(self, *parts)

    def real(self, scalar):
        """A double-precision scalar in every lane."""
        x = scalar if self.bits == 64 else self.b.fptrunc(scalar, element(32))
        return Number(self, splat(self.b, x, self.vector))

    def real_at(self, place, index):
        """A double-precision scalar of a list in every lane."""
        return self.real(self.b.load(self.b.inttoptr(self.plus(place, 8, index), ir.DoubleType().as_pointer())))

    def zeros(self, count):
        zero = ir.Constant(self.vector, [0.0] * self.w)
        return (Number(self, zero, zero),) * count

    # ---- order -----------------------------------------------------------------------------------------------------
    def barrier(self):
        """Loads and stores are not moved across: what one step loads does not fill the registers of another."""
        self.b.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])

    def hidden(self, value):
        """An integer of which the optimiser does not know that it is the same in every pass of a loop.

        It would make a copy of the loop for each outcome of a test.
        """
        kind = ir.FunctionType(value.type, [value.type])
        return self.b.call(ir.InlineAsm(kind, "", "=r,0", side_effect=True), [value])

    def chosen(self, condition, numbers, otherwise):
        """``otherwise()`` where the condition holds, else the numbers."""
        before = self.b.block
        numbers = [x.value() for x in numbers]
        with self.b.if_then(condition):
            other = [x.value() for x in otherwise()]
            inside = self.b.block
        result = []
        for x, y in zip(numbers, other, strict=True):
            joined = []
            for p, q in ((x.re, y.re), (x.im, y.im)):
                phi = self.b.phi(self.vector)
                phi.add_incoming(p, before)
                phi.add_incoming(q, inside)
                joined.append(phi)
            result.append(Number(self, *joined))
        return tuple(result)

    def cases(self, number, count):
        """What is written while ``case`` is one of ``range(count)`` is done where the integer has that value."""
        number = self.hidden(number)
        for case in range(count):
            if count == 1:
                yield case
                return
            with self.b.if_then(self.b.icmp_unsigned("==", number, self.integer(case))):
                yield case


class Lazy:
    """Numbers of a field, each of which is loaded where a formula names it."""

    def __init__(self, registers, place, stride):
        self.r, self.place, self.stride = registers, place, stride

    def __getitem__(self, k):
        return self.r.load(self.r.plus(self.place, self.stride, k))


class Number:
    """Registers of real (``im`` None) or complex numbers.

    Parameters
    ----------
    registers
        Where instructions go.
    re, im
        Values.
    """

    __slots__ = ("im", "r", "re")

    def __init__(self, registers, re, im=None):
        self.r, self.re, self.im = registers, re, im

    def value(self):
        return self

    @property
    def real(self):
        return Number(self.r, self.re)

    @property
    def imag(self):
        return Number(self.r, self.im)

    def conjugate(self):
        return self if self.im is None else Number(self.r, self.re, self.r.b.fneg(self.im))

    def with_imaginary(self, y):
        return Number(self.r, self.re, y.value().re)

    def __neg__(self):
        return Number(self.r, self.r.b.fneg(self.re), None if self.im is None else self.r.b.fneg(self.im))

    def __add__(self, other):
        if isinstance(other, Product):
            return other.added_to(self)
        other, b = other.value(), self.r.b
        im = self.im if other.im is None else other.im
        if self.im is not None and other.im is not None:
            im = b.fadd(self.im, other.im)
        return Number(self.r, b.fadd(self.re, other.re), im)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if isinstance(other, int | float):
            if other == 1.0:
                return self
            if other == -1.0:
                return -self
            constant = ir.Constant(self.r.vector, [float(other)] * self.r.w)
            return Product(Number(self.r, constant), self)
        return Product(self, other.value())

    __rmul__ = __mul__


class Product:
    """A product that has not been computed: added to something, it is a fused multiply-add."""

    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = (y, x) if y.im is None else (x, y)

    def _parts(self):
        """Pairs of factors whose products are summed to the real part, and to the imaginary part."""
        x, y = self.x, self.y
        if x.im is None:
            return ((x.re, y.re),), (() if y.im is None else ((x.re, y.im),))
        return ((x.re, y.re), (x.r.b.fneg(x.im), y.im)), ((x.re, y.im), (x.im, y.re))

    def _chain(self, total, pairs):
        b = self.x.r.b
        for p, q in pairs:
            total = b.fmul(p, q) if total is None else fused(b, p, q, total)
        return total

    def added_to(self, total):
        re, im = self._parts()
        return Number(self.x.r, self._chain(total.re, re), self._chain(total.im, im))

    def value(self):
        re, im = self._parts()
        return Number(self.x.r, self._chain(None, re), self._chain(None, im))

    def with_imaginary(self, y):
        return self.value().with_imaginary(y)

    @property
    def real(self):
        return self.value().real

    @property
    def imag(self):
        return self.value().imag

    def conjugate(self):
        return self.value().conjugate()

    def __neg__(self):
        return Product(-self.x, self.y)

    def __add__(self, other):
        return self.added_to(other) if isinstance(other, Number) else self.value() + other

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if isinstance(other, int | float) and abs(other) == 1.0:
            return self if other == 1.0 else -self
        return self.value() * other

    __rmul__ = __mul__


# ---- places --------------------------------------------------------------------------------------------------------
@intrinsic
def address(tx, array):
    """Where an array begins; the caller keeps it alive."""

    def cg(ctx, b, sig, a):
        return b.ptrtoint(ctx.make_array(array)(ctx, b, a[0]).data, I64)

    return types.int64(array), cg


@intrinsic
def integer_at(tx, place, index):
    """Entry of a list of 32-bit integers."""

    def cg(ctx, b, sig, a):
        here = b.add(a[0], b.mul(a[1], ir.Constant(I64, 4)))
        return b.sext(b.load(b.inttoptr(here, I32.as_pointer())), I64)

    return types.int64(types.int64, types.int64), cg


@intrinsic
def put_word(tx, place, index, value):
    """Write an entry of a list of 64-bit integers."""

    def cg(ctx, b, sig, a):
        here = b.add(a[0], b.mul(a[1], ir.Constant(I64, 8)))
        b.store(a[2], b.inttoptr(here, I64.as_pointer()))
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), cg


@intrinsic
def fetch(tx, place):
    """Ask for a cache line."""

    def cg(ctx, b, sig, a):
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
        f = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        b.call(f, [b.inttoptr(a[0], pointer), *(ir.Constant(I32, k) for k in (0, 3, 1))])
        return ctx.get_dummy_value()

    return types.void(types.int64), cg
