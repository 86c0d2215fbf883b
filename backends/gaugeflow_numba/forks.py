"""Forked processes: GNU OpenMP ends a process that uses threads its parent had started before the fork."""

from __future__ import annotations

import os
import sys

from gaugeflow.errors import BackendError

_lost_threads = False
"""Whether this process was forked from one that had started such threads."""


def _notice_fork():
    global _lost_threads
    _lost_threads = _lost_threads or _has_started_gnu_openmp()


def _has_started_gnu_openmp():
    """Whether Numba has started threads here that a forked process cannot use; TBB's and its own work queue's it can."""
    parallel = sys.modules.get("numba.np.ufunc.parallel")  # this module is imported before Numba is needed
    if parallel is None or not getattr(parallel, "_is_initialized", False) or parallel.threading_layer() != "omp":
        return False
    from numba.np.ufunc import omppool

    return getattr(omppool, "openmp_vendor", "GNU") == "GNU"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notice_fork)


def require_threads():
    """``BackendError`` where a kernel with threads would end this process without a word to its parent."""
    if _lost_threads:
        raise BackendError(
            "this process was forked from one in which kernels had started OpenMP threads, and those do not survive a fork: "
            "start workers by multiprocessing.get_context('spawn') or 'forkserver', or fork before the first kernel runs; "
            "with NUMBA_THREADING_LAYER=workqueue, set before Python starts, kernels run in forked processes too"
        )
