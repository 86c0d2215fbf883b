"""This process: threads, vector registers, where compiled kernels are kept and when one is compiled."""

from __future__ import annotations

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


class _FirstCompilation(event.Listener):
    def __init__(self, notify):
        self._notify = notify

    def on_start(self, event):
        notify, self._notify = self._notify, None
        if notify is not None:
            notify(cache_directory())

    def on_end(self, event):
        pass


def announce_compilation(notify):
    """Call ``notify(cache_directory)`` when a kernel is compiled rather than loaded from the cache; once."""
    event.register("numba:compile", _FirstCompilation(notify))
