"""GPU back end: CuPy arrays, and numba-cuda kernels around the same site functions, one thread per site and lane.

Importing it needs CuPy and a CUDA device; :func:`gaugeflow.backend.available_backends` says what is missing.
"""

from __future__ import annotations

import importlib
from functools import cache

try:
    import cupy
except ImportError as error:
    raise ImportError(f"CuPy is not installed ({error}): pip install 'gaugeflow[gpu]'") from error


def _check_device():
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ImportError(f"no CUDA device can be used: {error}") from error
    if count < 1:
        raise ImportError("no CUDA device can be used: none is visible")


_check_device()


class _Backend:
    name = "cupy"
    namespace = cupy
    device = "cuda"
    _modules = (
        "gauge",
        "improved",
        "scalar",
        "residual",
        "smear",
        "smeared",
        "smearing",
        "random",
        "heatbath",
        "dirac",
        "clover_term",
        "fermions",
        "sums",
    )

    def accepts(self, array):
        return isinstance(array, cupy.ndarray)

    @cache  # noqa: B019  (one instance for the life of the process)
    def lookup(self, kernel):
        for module in self._modules:
            found = getattr(importlib.import_module(f"gaugeflow_cupy.{module}"), kernel, None)
            if found is not None:
                return found
        return None

    # What the command and scripts ask for besides kernels.
    def to_device(self, array):
        return importlib.import_module("gaugeflow_cupy.device").to_device(array)

    def to_host(self, array):
        return importlib.import_module("gaugeflow_cupy.device").to_host(array)

    def synchronize(self):
        cupy.cuda.get_current_stream().synchronize()

    def status(self):
        return importlib.import_module("gaugeflow_cupy.device").status()

    def peak(self):
        return importlib.import_module("gaugeflow_cupy.peak").peak()


backend = _Backend()
