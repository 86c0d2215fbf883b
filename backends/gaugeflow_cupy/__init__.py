"""GPU back end for CuPy arrays.

It has no kernels of its own yet: every kernel is served by the array-API reference, which runs on CuPy arrays one array
operation after another.  Importing it needs cupy; :func:`gaugeflow.backend.available_backends` says when that fails.
"""

from __future__ import annotations

import cupy


class _Backend:
    name = "cupy"

    def accepts(self, array):
        return isinstance(array, cupy.ndarray)

    def lookup(self, kernel):
        return None


backend = _Backend()
