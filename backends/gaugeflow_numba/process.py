"""This process: threads, vector registers, where compiled kernels are kept and when one is compiled."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numba
from numba.core import event

from gaugeflow_numba._jit import cache_directory
from gaugeflow_numba.lanes import register_bytes


def set_threads(count):
    """Let the kernels called from this thread use ``count`` CPU threads; ``ValueError`` where there are fewer."""
    available = numba.config.NUMBA_NUM_THREADS
    if not 1 <= count <= available:
        raise ValueError(f"threads: expected 1 to {available} (cores, or NUMBA_NUM_THREADS), got {count}")
    numba.set_num_threads(count)


def status():
    """What ``gaugeflow info`` prints of this back end."""
    folder = Path(cache_directory())
    return {
        "version": numba.__version__,
        "threads": numba.get_num_threads(),
        "register_bits": 8 * register_bytes(),
        "cache": str(folder),
        "compiled": sum(1 for _ in folder.rglob("*.nbc")),
    }


class _Compilations(event.Listener):
    """Notices compilations that are not part of another one."""

    def __init__(self, notify):
        self._notify = notify
        self._depth = 0

    def on_start(self, event):
        self._depth += 1
        if self._depth == 1:
            self._notify(cache_directory())

    def on_end(self, event):
        self._depth = max(0, self._depth - 1)


@contextmanager
def announce_compilation(notify):
    """While the context lasts, call ``notify(cache_directory)`` for every kernel that is compiled, not loaded."""
    listener = _Compilations(notify)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
