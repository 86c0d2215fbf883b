"""Threads of tests: workers of pytest-xdist share the cores."""

import os
from contextlib import contextmanager

import numba


def share():
    """Give each worker its part of the cores: threads that wait for one another on a busy core take twice the time."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    numba.set_num_threads(max(1, numba.config.NUMBA_NUM_THREADS // workers))


@contextmanager
def another_number():
    """All threads where one works, else one."""
    before = numba.get_num_threads()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS if before == 1 else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
