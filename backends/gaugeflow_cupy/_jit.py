"""The only place where compilation options are set.

Kernels are numba-cuda's.  In its simulator (``NUMBA_ENABLE_CUDASIM=1``) everything below the kernels stays plain Python:
site functions run on Python's own numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from functools import cache
from pathlib import Path

from numba import cuda
from numba.core import config

import gaugeflow

SIMULATED = bool(config.ENABLE_CUDASIM)
THREADS = 128
"""Threads of a block: a multiple of a warp, few enough for kernels that need all registers."""


@cache
def cache_directory():
    """Directory of compiled kernels, named by the sources of site functions and of this back end.

    ``GAUGEFLOW_CACHE_DIR`` overrides the place (default: the user's cache directory).
    """
    base = os.environ.get("GAUGEFLOW_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gaugeflow"
    )
    total = hashlib.sha256(cuda.__version__.encode() if hasattr(cuda, "__version__") else b"")
    for folder in (Path(gaugeflow.__file__).parent / "sites", Path(__file__).parent):
        for file in sorted(folder.glob("*.py")):
            total.update(file.name.encode() + file.read_bytes())
    return os.path.join(base, f"cuda-{total.hexdigest()[:16]}")


TUPLE = tuple
"""What says that an argument of a kernel is a tuple: its Python type, or Numba's."""

if not SIMULATED:
    from numba.cuda import types
    from numba.cuda.core.caching import _CacheLocator
    from numba.cuda.dispatcher import CUDACache, CUDACacheImpl
    from numba.cuda.extending import overload, register_jitable

    TUPLE = types.BaseTuple

    class _Locator(_CacheLocator):
        """Numba's own cache watches one file; ours is named by all that a kernel may use."""

        def __init__(self, py_func):
            self._line = py_func.__code__.co_firstlineno

        def get_cache_path(self):
            return cache_directory()

        def get_source_stamp(self):
            return os.path.basename(cache_directory())

        def get_disambiguator(self):
            return str(self._line)

        @classmethod
        def from_function(cls, py_func, py_file):
            self = cls(py_func)
            with contextlib.suppress(OSError):
                self.ensure_cache_path()
                return self
            return None

    class _CacheImpl(CUDACacheImpl):
        _locator_classes = (_Locator,)

    class _Cache(CUDACache):
        _impl_class = _CacheImpl


def kernel(function):
    """Compile what one thread does with arrays on the device; kept on disk for the compute capability it was made for."""
    dispatcher = cuda.jit(function)
    if not SIMULATED:
        with contextlib.suppress(RuntimeError):  # without a writable place, compile in every process
            dispatcher._cache = _Cache(function)
    return dispatcher


def device(function):
    """Let kernels call a function of this package; it is inlined."""
    return function if SIMULATED else register_jitable(forceinline=True)(function)


def compiled(function, inline=True):
    """Decorator: how the compiler should understand a Python function, chosen by the types of its arguments."""

    def declare(choose):
        if not SIMULATED:
            overload(function, jit_options={"forceinline": True} if inline else {}, strict=False)(choose)
        return choose

    return declare


def teach(function, inline=True):
    """Let kernels call a site function."""
    if SIMULATED:
        return
    options = {"forceinline": True} if inline else {}
    for_size = getattr(function, "for_size", None)
    if for_size is None:
        jitable(function, options)
        return

    @compiled(function, inline)
    def _(*args):
        chosen = jitable(for_size(math.isqrt(args[-1].count)), options)
        names = ", ".join(f"a{i}" for i in range(len(args)))
        scope = {"chosen": chosen}
        exec(f"def call({names}):\n    return chosen({names})\n", scope)
        return scope["call"]


_known = set()


def jitable(function, options):
    """Declare once that a Python function may be compiled as it stands."""
    if function not in _known:
        _known.add(function)
        register_jitable(**options)(function) if options else register_jitable(function)
    return function
