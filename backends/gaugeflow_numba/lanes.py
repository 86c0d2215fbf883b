"""Loads and stores of registers, with the register's width carried by a type.

``Lanes(w, n, bits, mode)`` is passed to kernels as a value whose Numba *type* says how wide registers are, how large
matrices are, in which precision, and how neighbours in another sub-lattice are read: kernels stay module-level
functions, which Numba can cache on disk, with one compiled specialisation per combination.

Modes of reading: ``PLAIN`` (no fold), ``SHUFFLE`` (the source lanes of a register lie in one register: the shuffle that
separates real and imaginary parts also permutes lanes, at no cost; AVX-512 only), ``GATHER`` (anything).
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import NativeValue, intrinsic, models, overload, register_model, typeof_impl, unbox

from gaugeflow.sites import numbers
from gaugeflow_numba import simd as _arithmetic  # noqa: F401  (of the registers that loads return)
from gaugeflow_numba.registers import I32, CVecType, VecType, element, join, lanes_constant, parts

PLAIN, SHUFFLE, GATHER = 0, 1, 2
LINE = 64
"""Bytes of a cache line."""


class Lanes:
    """Width w, matrix size n, precision (32 or 64 bits) and mode of reading of a kernel's numbers.

    ``spin`` is the number of spin components for kernels on fermion fields, 0 for others.
    """

    def __init__(self, w, n, bits, mode, spin=0):
        self.w, self.n, self.bits, self.mode, self.spin = w, n, bits, mode, spin
        self._numba_type_ = _type(w, n, bits, mode, spin)  # found without a call of typeof, at every call of a kernel


@cache
def _type(*parts):
    return LanesType(*parts)


class LanesType(types.Type):
    def __init__(self, w, n, bits, mode, spin):
        self.w, self.n, self.bits, self.mode, self.spin = w, n, bits, mode, spin
        super().__init__(name=f"Lanes({w},{n},{bits},{mode}{f',{spin}' if spin else ''})")

    @property
    def count(self):
        """Numbers of a spinor."""
        return self.spin * self.n


typeof_impl.register(Lanes)(lambda value, c: value._numba_type_)
register_model(LanesType)(models.OpaqueModel)


@unbox(LanesType)
def _unbox_lanes(typ, obj, c):
    return NativeValue(c.context.get_dummy_value())


@cache
def instructions():
    """Sets of instructions that Numba compiles for: this processor's, or what ``NUMBA_CPU_FEATURES`` leaves of them."""
    listed = cpu_target.target_context.codegen()._get_host_cpu_features().split(",")
    return frozenset(name[1:] for name in listed if name.startswith("+"))


@cache
def register_bytes():
    """Bytes of the widest vector register."""
    if "avx512f" in instructions():
        return 64
    return 32 if "avx" in instructions() else 16


def widest(lanes, bits):
    """Width of the widest registers that ``lanes`` lanes can fill."""
    return min(register_bytes() * 8 // bits, 1 << (lanes.bit_length() - 1))


@cache
def can_shuffle(w, bits):
    """Whether there is a two-source shuffle with run-time indices for registers of w numbers."""
    return w * bits in (128, 256, 512) and instructions() >= {"avx512f", "avx512vl"}


def width(g):
    return g.w


def colours(g):
    return g.n


def mode(g):
    return g.mode


def entries(g):
    """Numbers of a spinor."""


@overload(mode, jit_options={"forceinline": True})
def _(g):
    m = g.mode
    return lambda g: m


@overload(entries, jit_options={"forceinline": True})
def _(g):
    count = g.count
    return lambda g: count


@overload(width, jit_options={"forceinline": True})
def _(g):
    w = g.w
    return lambda g: w


@overload(colours, jit_options={"forceinline": True})
def _(g):
    n = g.n
    return lambda g: n


def _address(ctx, b, t, array, offset, kind, bits):
    """Pointer to a number of an array, or of the memory at an address, which no loop counts as in use."""
    if isinstance(t, types.Integer):
        place = b.add(array, b.mul(offset, ir.Constant(offset.type, bits // 8)))
        return b.inttoptr(place, kind.as_pointer())
    return b.bitcast(b.gep(ctx.make_array(t)(ctx, b, array).data, [offset]), kind.as_pointer())


def _prefetch(b, pointer, write):
    i8p = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [i8p, I32, I32, I32])
    f = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    b.call(f, [b.bitcast(pointer, i8p), ir.Constant(I32, int(write)), ir.Constant(I32, 3), ir.Constant(I32, 1)])


def _prefetch_next(ctx, b, t, array, place, stride, matrix, write):
    """Ask for every cache line of one entry of the next site's matrix."""
    c = matrix.dtype
    ahead = b.add(place, b.mul(stride, ir.Constant(stride.type, matrix.count)))
    for reals in range(0, 2 * c.w, LINE * 8 // c.bits):
        line = b.add(ahead, ir.Constant(stride.type, reals))
        _prefetch(b, _address(ctx, b, t, array, line, ir.IntType(8), c.bits), write)


def _load_complex(ctx, b, t, array, offset, c):
    """Interleaved re, im, re, im, ... to two registers."""
    both = ir.VectorType(element(c.bits), 2 * c.w)
    x = b.load(_address(ctx, b, t, array, offset, both, c.bits))
    x.align = c.bits // 8
    undefined = ir.Constant(both, ir.Undefined)
    re = b.shuffle_vector(x, undefined, lanes_constant(range(0, 2 * c.w, 2)))
    im = b.shuffle_vector(x, undefined, lanes_constant(range(1, 2 * c.w, 2)))
    return join(ctx, b, c, re, im)


def _elements(ctx, b, count, offset, stride):
    for k in range(count):
        yield k, b.add(offset, b.mul(stride, ir.Constant(ir.IntType(64), k)))


@intrinsic
def load(tx, array, offset, stride, g):
    """Matrix whose entry k lies ``stride`` elements after entry k - 1; the next site's matrix is fetched ahead.

    ``array`` is a flat view of reals; offset and stride count reals.
    """
    c = CVecType(g.w, g.bits)
    count = g.n * g.n
    matrix = types.UniTuple(c, count)

    def cg(ctx, b, sig, a):
        values = []
        for _, place in _elements(ctx, b, count, a[1], a[2]):
            _prefetch_next(ctx, b, array, a[0], place, a[2], matrix, write=False)
            values.append(_load_complex(ctx, b, array, a[0], place, c))
        return ctx.make_tuple(b, matrix, values)

    return matrix(array, types.int64, types.int64, g), cg


@intrinsic
def load_shuffled(tx, array, offset, stride, table, row, g):
    """Matrix whose lanes are permuted inside the register: lane i comes from lane ``table[row + i]`` of it.

    ``row`` points at w indices for the real parts followed by w for the imaginary parts of the interleaved pair.
    """
    c = CVecType(g.w, g.bits)
    count = g.n * g.n
    matrix = types.UniTuple(c, count)

    def cg(ctx, b, sig, a):
        vector = c.part.llvm
        indices = ir.VectorType(ir.IntType(g.bits), g.w)
        base = ctx.make_array(table)(ctx, b, a[3]).data
        order = []
        for part in range(2):
            place = b.gep(base, [b.add(a[4], ir.Constant(ir.IntType(64), part * g.w))])
            index = b.load(b.bitcast(place, indices.as_pointer()))
            index.align = g.bits // 8
            order.append(index)
        letter = "d" if g.bits == 64 else "s"
        kind = ir.FunctionType(vector, [vector, indices, vector])
        shuffle = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.avx512.vpermi2var.p{letter}.{g.w * g.bits}")
        values = []
        for _, place in _elements(ctx, b, count, a[1], a[2]):
            _prefetch_next(ctx, b, array, a[0], place, a[2], matrix, write=False)
            low = b.load(_address(ctx, b, array, a[0], place, vector, c.bits))
            half = b.add(place, ir.Constant(ir.IntType(64), g.w))
            high = b.load(_address(ctx, b, array, a[0], half, vector, c.bits))
            low.align = high.align = g.bits // 8
            values.append(join(ctx, b, c, *(b.call(shuffle, [low, i, high]) for i in order)))
        return ctx.make_tuple(b, matrix, values)

    return matrix(array, types.int64, types.int64, table, types.int64, g), cg


@intrinsic
def load_permuted(tx, array, offset, stride, table, row, g):
    """Matrix gathered lane by lane: lane i comes from lane ``table[row + i]``."""
    c = CVecType(g.w, g.bits)
    count = g.n * g.n
    matrix = types.UniTuple(c, count)
    i64 = ir.IntType(64)

    def cg(ctx, b, sig, a):
        base = ctx.make_array(table)(ctx, b, a[3]).data
        source = []
        for i in range(g.w):
            index = b.load(b.gep(base, [b.add(a[4], ir.Constant(i64, i))]))
            source.append(b.mul(b.sext(index, i64), ir.Constant(i64, 2)))
        pair = ir.VectorType(element(c.bits), 2)
        values = []
        for _, place in _elements(ctx, b, count, a[1], a[2]):
            re = im = ir.Constant(c.part.llvm, ir.Undefined)
            for i in range(g.w):
                z = b.load(_address(ctx, b, array, a[0], b.add(place, source[i]), pair, c.bits))
                z.align = c.bits // 8
                re = b.insert_element(re, b.extract_element(z, ir.Constant(I32, 0)), ir.Constant(I32, i))
                im = b.insert_element(im, b.extract_element(z, ir.Constant(I32, 1)), ir.Constant(I32, i))
            values.append(join(ctx, b, c, re, im))
        return ctx.make_tuple(b, matrix, values)

    return matrix(array, types.int64, types.int64, table, types.int64, g), cg


def _store(past_caches):
    def typing(tx, array, offset, stride, matrix):
        c = matrix.dtype

        def cg(ctx, b, sig, a):
            order = lanes_constant([i // 2 + (c.w if i % 2 else 0) for i in range(2 * c.w)])
            both = ir.VectorType(element(c.bits), 2 * c.w)
            for k, place in _elements(ctx, b, matrix.count, a[1], a[2]):
                if not past_caches:
                    _prefetch_next(ctx, b, array, a[0], place, a[2], matrix, write=True)
                re, im = parts(ctx, b, c, b.extract_value(a[3], k), c)
                instruction = b.store(
                    b.shuffle_vector(re, im, order), _address(ctx, b, array, a[0], place, both, c.bits)
                )
                instruction.align = c.bits // 8
                if past_caches:
                    instruction.align = c.w * c.bits // 4
                    instruction.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(I32, 1)]))
            return ctx.get_dummy_value()

        return types.void(array, types.int64, types.int64, matrix), cg

    return typing


store = intrinsic(_store(past_caches=False))
"""Write a matrix, entry k at ``offset + k stride``."""

stream = intrinsic(_store(past_caches=True))
"""As `store`, past the caches: a cache line is not read before it is written.  Addresses must be aligned."""


@intrinsic
def fence(tx):
    """What this thread streamed is visible to the threads that wait for it."""

    def cg(ctx, b, sig, a):
        b.fence("seq_cst")
        return ctx.get_dummy_value()

    return types.void(), cg


def _vector_of(array, g):
    return VecType(g.w, array.dtype.bitwidth)


@intrinsic
def load_real(tx, array, offset, g):
    """Register of w consecutive reals, in the array's precision."""
    v = _vector_of(array, g)

    def cg(ctx, b, sig, a):
        x = b.load(_address(ctx, b, array, a[0], a[1], v.llvm, v.bits))
        x.align = v.bits // 8
        return x

    return v(array, types.int64, g), cg


@intrinsic
def store_real(tx, array, offset, x):
    """Write a register to w consecutive reals."""

    def cg(ctx, b, sig, a):
        b.store(a[2], _address(ctx, b, array, a[0], a[1], x.llvm, x.bits)).align = x.bits // 8
        return ctx.get_dummy_value()

    return types.void(array, types.int64, x), cg


@intrinsic
def zero(tx, g):
    """Double-precision register of zeros: an accumulator."""
    v = VecType(g.w, 64)
    return v(g), lambda ctx, b, sig, a: ir.Constant(v.llvm, [ir.Constant(ir.DoubleType(), 0.0)] * g.w)


@intrinsic
def zero_matrix(tx, g):
    """Matrix of zeros."""
    c = CVecType(g.w, g.bits)
    matrix = types.UniTuple(c, g.n * g.n)

    def cg(ctx, b, sig, a):
        nought = ir.Constant(c.part.llvm, [ir.Constant(element(g.bits), 0.0)] * g.w)
        return ctx.make_tuple(b, matrix, [join(ctx, b, c, nought, nought)] * (g.n * g.n))

    return matrix(g), cg


# ---- scratch memory of formulas: a pair (flat array of reals, Lanes) -------------------------------------------------
@overload(numbers.get, jit_options={"forceinline": True})
def _(memory, index):
    if isinstance(memory, types.BaseTuple) and isinstance(memory[1], LanesType):
        w = memory[1].w
        return lambda memory, index: load_real(memory[0], index * w, memory[1])


@overload(numbers.put, jit_options={"forceinline": True})
def _(memory, index, value):
    if isinstance(memory, types.BaseTuple) and isinstance(memory[1], LanesType):
        w = memory[1].w
        return lambda memory, index, value: store_real(memory[0], index * w, value)
