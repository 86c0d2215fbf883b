"""Kernels are compiled in one piece, and what is compiled for others stays as Numba makes it."""

import gc

import numba
import numpy as np
import pytest
from numba import prange
from numba.core.codegen import JITCodeLibrary

from gaugeflow_numba import _jit


@_jit.inline
def twice(x):
    return 2.0 * x


@_jit.apart
def shifted(x):
    return twice(x) + 1.0


def loop(x):
    for i in prange(x.size):
        x[i] = shifted(x[i])


def library_of(function):
    (found,) = function.overloads.values()
    return type(found.library)


def test_kernels_and_functions_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(_jit, "cache_directory", lambda: str(tmp_path))
    kernel, x = _jit.parallel(loop), np.arange(4.0)
    kernel(x)
    np.testing.assert_array_equal(x, [1, 3, 5, 7])
    assert library_of(kernel) is JITCodeLibrary
    assert library_of(shifted) is not JITCodeLibrary
    with pytest.raises(TypeError, match="not callable"):  # of which there is no machine code
        shifted(1.0)

    @numba.njit
    def other(x):
        return shifted(x) + 1.0

    assert other(2.0) == 6.0  # pieces can be linked into anything
    assert library_of(other) is JITCodeLibrary
    assert gc.isenabled()

    def wrong(x):
        return x.nothing

    with pytest.raises(numba.TypingError):
        _jit.parallel(wrong)(x)
    assert gc.isenabled()
    assert numba.njit(lambda x: x + 1.0)(1.0) == 2.0
    again = _jit.parallel(loop)
    again(x)
    np.testing.assert_array_equal(x, [3, 7, 11, 15])
    assert sum(again.stats.cache_hits.values()) == 1
