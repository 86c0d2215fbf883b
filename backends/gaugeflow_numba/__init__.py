"""CPU back end: explicit vector registers compiled by Numba, threads over sites."""

from __future__ import annotations

import importlib
from functools import cache

from gaugeflow_numba.forks import require_threads


@cache
def _is_numpy(kind):
    return kind.__module__.partition(".")[0] == "numpy"


class _Backend:
    name = "numba"
    _modules = (
        "gauge",
        "sums",
        "improved",
        "scalar",
        "residual",
        "smear",
        "smeared",
        "smearing",
        "loops",
        "random",
        "heatbath",
        "one_link",
        "network",
        "dirac",
        "clover_term",
        "fermions",
    )

    def accepts(self, array):
        return _is_numpy(type(array))

    def lookup(self, kernel):
        require_threads()
        return self._find(kernel)

    @cache  # noqa: B019  (one instance for the life of the process)
    def _find(self, kernel):
        for module in self._modules:
            found = getattr(importlib.import_module(f"gaugeflow_numba.{module}"), kernel, None)
            if found is not None:
                return found
        return None

    # What the command asks for besides kernels; a back end may lack any of these.
    def set_threads(self, count):
        importlib.import_module("gaugeflow_numba.process").set_threads(count)

    def status(self):
        return importlib.import_module("gaugeflow_numba.process").status()

    def announce_compilation(self, notify):
        return importlib.import_module("gaugeflow_numba.process").announce_compilation(notify)

    def gather_rows(self, *arguments):
        return importlib.import_module("gaugeflow_numba.reorder").gather_rows(*arguments)

    def scatter_rows(self, *arguments):
        return importlib.import_module("gaugeflow_numba.reorder").scatter_rows(*arguments)

    def peak(self):
        return importlib.import_module("gaugeflow_numba.peak").peak()


backend = _Backend()
