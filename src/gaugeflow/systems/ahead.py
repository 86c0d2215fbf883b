"""Compilation ahead of time, in several processes that share the cache of compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext

from gaugeflow.backend import offered


def compiles(work: Callable[[], object]) -> bool:
    """Whether the Numba back end compiled a kernel during ``work``."""
    found: list[str] = []
    announce = offered("numba", "announce_compilation")
    with announce(found.append) if announce is not None else nullcontext():
        work()
    return bool(found)


def run_together(programs: Iterable[str]) -> None:
    """Run Python programs in processes of one thread each, as many at a time as there are cores, and wait for all.

    What they print is dropped, and failures are not reported: the caller does the work again and meets them itself.
    """
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    waiting = list(programs)[::-1]
    running: list[subprocess.Popen[bytes]] = []
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                command = [sys.executable, "-c", waiting.pop()]
                running.append(
                    subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
            running = [process for process in running if process.poll() is None]
            time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
            process.wait()
