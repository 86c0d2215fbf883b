"""Launches of kernels on CuPy arrays.

Numba compiles and keeps kernels; a launch hands their arguments to CUDA by itself, all of them words of eight bytes in a
row, because Numba's own way of looking at every argument costs more than a kernel on a small lattice.  Kernels run on
CuPy's current stream, and nobody waits.
"""

from __future__ import annotations

import ctypes
import struct

import cupy as xp

from gaugeflow_cupy._jit import SIMULATED, THREADS

if not SIMULATED:
    from numba.cuda import types
    from numba.cuda.np.numpy_support import from_dtype

_BUFFER, _SIZE, _END = 1, 2, 0
"""How CUDA is told of arguments that lie in a row (``CU_LAUNCH_PARAM_...``)."""
_known = {}


def launch(kernel, threads, *arguments):
    """Run a kernel on ``threads`` threads, on CuPy's current stream."""
    if threads == 0:
        return
    blocks = -(-threads // THREADS)
    if SIMULATED:
        kernel[blocks, THREADS](*[_seen(a) for a in arguments])
        return
    kinds, words = flatten(arguments)
    key = kernel, xp.cuda.Device().id, kinds
    if key not in _known:
        _known[key] = _compiled(kernel, arguments), struct.Struct(layout(kinds))
    function, row = _known[key]
    buffer = ctypes.create_string_buffer(row.size)
    row.pack_into(buffer, 0, *words)
    size = ctypes.c_size_t(row.size)
    extra = (ctypes.c_size_t * 5)(_BUFFER, ctypes.addressof(buffer), _SIZE, ctypes.addressof(size), _END)
    stream = xp.cuda.get_current_stream().ptr
    xp.cuda.driver.launchKernel(function, blocks, 1, 1, THREADS, 1, 1, 0, stream, 0, ctypes.addressof(extra))


def _compiled(kernel, arguments):
    """Address of a kernel on the current device, compiled for arguments of these types or read from disk."""
    return int(kernel.compile(signature(arguments))._codelibrary.get_cufunc().handle)


def flatten(arguments):
    """What tells the types of arguments, and the words that a kernel takes: seven of an array, one of a number."""
    kinds, words = [], []
    for a in arguments:
        if isinstance(a, xp.ndarray):
            kinds.append(a.dtype.str)
            size, step = a.size, a.dtype.itemsize
            words += (0, 0, size, step, a.data.ptr, size, step)
        elif isinstance(a, tuple) and a and type(a[0]) is int and not any(a):  # zeros that stand for a size
            kinds.append(("q",) * len(a))
            words += a
        elif isinstance(a, tuple):
            inner, more = flatten(a)
            kinds.append(inner)
            words += more
        else:
            kinds.append("d" if isinstance(a, float) else "q")
            words.append(a)
    return tuple(kinds), words


def layout(kinds):
    """Format of those words for :mod:`struct`."""
    if isinstance(kinds, tuple):
        return "".join(layout(k) for k in kinds)
    return kinds if kinds in "qd" else "7q"


def signature(arguments):
    """Types under which kernels are compiled for these arguments."""
    return tuple(_type(a) for a in arguments)


def _type(argument):
    if isinstance(argument, xp.ndarray):
        return types.Array(from_dtype(argument.dtype), 1, "C")
    if isinstance(argument, tuple):
        parts = [_type(a) for a in argument]
        return types.UniTuple(parts[0], len(parts)) if len(set(parts)) == 1 else types.Tuple(parts)
    return types.float64 if isinstance(argument, float) else types.int64


def _seen(argument):
    """How the simulator sees it; tests give arrays a memory."""
    if isinstance(argument, xp.ndarray):
        return memory_of(argument)
    return tuple(_seen(a) for a in argument) if isinstance(argument, tuple) else argument


def memory_of(array):
    """Memory of an array in the simulator."""
    raise NotImplementedError("the simulator runs on stand-in arrays only: see tests/gpu/simulated")
