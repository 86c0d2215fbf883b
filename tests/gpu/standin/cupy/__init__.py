"""A stand-in for CuPy where there is no GPU: its arrays live in host memory but behave as if they did not.

They refuse to meet NumPy arrays and to become one implicitly, as CuPy's do, and every crossing is counted in
:data:`crossings`.  With numba-cuda's simulator this runs the back end; with its compiler it shows what would be launched.
"""

from __future__ import annotations

import builtins
import contextlib
import sys
from collections import Counter
from types import ModuleType, SimpleNamespace

import numpy as np

__version__ = "stand-in"
crossings: Counter[str] = Counter()
"""Number of copies ``to_device`` and ``to_host`` since it was last cleared."""


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    __module__ = "cupy"
    __slots__ = ("_host",)
    __hash__ = None

    def __init__(self, host):
        self._host = np.asarray(host)

    # ---- what becomes visible to the host ----------------------------------------------------------------------
    def get(self):
        crossings["to_host"] += 1
        return self._host.copy()

    def __array__(self, *args, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._host)

    # ---- what stays --------------------------------------------------------------------------------------------
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return _call(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, kinds, args, options):
        return _call(function, args, options)

    def __getitem__(self, index):
        return _wrap(self._host[_unwrap(index)])

    def __setitem__(self, index, value):
        self._host[_unwrap(index)] = _unwrap(value)

    @property
    def data(self):
        return SimpleNamespace(ptr=self._host.ctypes.data)

    @property
    def __cuda_array_interface__(self):
        """What MPI asks for an address; the memory is that of the host, so that any MPI can use it."""
        pointer = (self._host.ctypes.data, False)
        return {"shape": self._host.shape, "typestr": self._host.dtype.str, "data": pointer, "version": 3}

    @property
    def device(self):
        return cuda.Device()

    def __repr__(self):
        return f"stand-in {self._host!r}"


def _forward(name):
    def method(self, *args, **options):
        return _call(getattr(self._host, name), args, options)

    return method


for _name in (
    "all",
    "any",
    "argmax",
    "astype",
    "copy",
    "max",
    "mean",
    "min",
    "ravel",
    "reshape",
    "sum",
    "swapaxes",
    "transpose",
    "view",
):
    setattr(ndarray, _name, _forward(_name))
for _name in ("T", "imag", "real"):
    setattr(ndarray, _name, property(lambda self, name=_name: _wrap(getattr(self._host, name))))
for _name in ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides"):
    setattr(ndarray, _name, property(lambda self, name=_name: getattr(self._host, name)))
for _name in ("__bool__", "__complex__", "__float__", "__int__", "__index__", "item", "tolist"):

    def _crossing(self, name=_name):
        crossings["to_host"] += 1
        return getattr(self._host, name)()

    setattr(ndarray, _name, _crossing)


def _unwrap(x):
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, (list, tuple)):
        return type(x)(_unwrap(y) for y in x)
    return x


def _wrap(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return ndarray(x)
    if isinstance(x, (list, tuple)):
        parts = [_wrap(y) for y in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x


def _call(function, args, options):
    return _wrap(function(*_unwrap(args), **{k: _unwrap(v) for k, v in options.items()}))


def _holds_arrays(x):
    return isinstance(x, ndarray) or (isinstance(x, (list, tuple)) and builtins.any(_holds_arrays(y) for y in x))


def array(obj, dtype=None, copy=True, **options):
    """A copy on the "device"; counted where ``obj`` comes from the host."""
    if _holds_arrays(obj):
        return ndarray(np.array(_unwrap(obj), dtype=dtype, copy=copy, **options))
    crossings["to_device"] += 1
    return ndarray(np.array(obj, dtype=dtype, **options))


def asarray(obj, dtype=None, **options):
    if isinstance(obj, ndarray) and dtype in (None, obj.dtype):
        return obj
    return array(obj, dtype=dtype, copy=None if _holds_arrays(obj) else True, **options)


def ascontiguousarray(x):
    return x if x.ndim and x._host.flags.c_contiguous else ndarray(np.ascontiguousarray(x._host))


def asnumpy(x):
    return x.get() if isinstance(x, ndarray) else np.asarray(x)


def _function(name, function):
    def call(*args, **options):
        return _call(function, args, options)

    call.__name__ = name
    return call


_PLAIN = {"dtype", "finfo", "iinfo", "issubdtype", "isdtype", "result_type", "can_cast", "broadcast_shapes"}


def _namespace(target, source):
    for name in dir(source):
        value = getattr(source, name)
        if name.startswith("_") or name in target or isinstance(value, ModuleType):
            continue
        target[name] = (
            _function(name, value) if callable(value) and not isinstance(value, type) and name not in _PLAIN else value
        )


_namespace(globals(), np)
__all__ = [name for name in globals() if not name.startswith("_") and name not in ("annotations", "crossings")]
for _part in ("linalg", "fft"):
    _module = ModuleType(f"cupy.{_part}")
    _namespace(vars(_module), getattr(np, _part))
    globals()[_part] = sys.modules[f"cupy.{_part}"] = _module


# ---- cupy.cuda -------------------------------------------------------------------------------------------------------
class _Device(contextlib.nullcontext):
    def __init__(self, device=None):
        super().__init__()
        self.id = 0

    def __repr__(self):
        return f"<stand-in device {self.id}>"


cuda = ModuleType("cupy.cuda")
cuda.Device = _Device
cuda.get_current_stream = lambda: SimpleNamespace(ptr=0, synchronize=lambda: None)
cuda.runtime = SimpleNamespace(
    CUDARuntimeError=RuntimeError,
    getDeviceCount=lambda: 1,
    getDeviceProperties=lambda device: {"name": b"stand-in", "major": 0, "minor": 0, "totalGlobalMem": 0},
)
_module = ModuleType("cupy.cuda.device")
_module.Device = _Device
sys.modules["cupy.cuda"], sys.modules["cupy.cuda.device"] = cuda, _module
