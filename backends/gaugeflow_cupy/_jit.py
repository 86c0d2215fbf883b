"""The only place where compilation options are set.

Kernels are numba-cuda's.  In its simulator (``NUMBA_ENABLE_CUDASIM=1``) everything below the kernels stays plain Python:
site functions run on Python's own numbers.
"""

from __future__ import annotations

import math

from numba import cuda
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)
THREADS = 128
"""Threads of a block: a multiple of a warp, few enough for kernels that need all registers."""

if not SIMULATED:
    from numba.cuda.extending import overload, register_jitable


def kernel(function):
    """Compile what one thread does with arrays on the device."""
    return cuda.jit(function)


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
