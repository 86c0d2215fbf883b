"""Compilation in a process of its own, so that no process runs what it compiled.

A loop that was compiled here and the same loop read from the cache differ in the last bits of their results: Numba
optimises it once more when it is linked for the cache, and multiply-adds are fused in another order.  A Markov chain
that was interrupted in the run that compiled its kernels would not continue bit for bit.  So a helper process compiles
into the cache, and this one reads.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

from numba.core import event

HERE = "GAUGEFLOW_COMPILE_HERE"
"""Environment variable: processes in which it is set compile for themselves, as helpers do."""

_lock = threading.Lock()
_helper = None
_owner = 0
"""The helper, and the process that started it: a fork must not talk to its parent's."""


def compiles_apart():
    """Whether kernels can be compiled by a helper: not by one itself, nor without an interpreter to start."""
    return not os.environ.get(HERE) and Path(sys.executable or "").name.startswith("python")


def compile_apart(module, name, signature):
    """Have the kernel ``module.name`` compiled for a signature into the cache; False where that is not possible.

    Where it is not (no interpreter to start, no helper, or an error, which the caller meets when it compiles itself),
    results may differ in the last bits from those of later runs, and nothing else.
    """
    global _helper, _owner
    if not compiles_apart():
        return False
    data = {"dispatcher": f"{module}.{name}", "args": signature, "return_type": None}
    with _lock, event.trigger_event("numba:compile", data=data):
        try:
            if _helper is None or _owner != os.getpid() or _helper.poll() is not None:
                stop()
                _helper, _owner = _start(), os.getpid()
            _send(_helper.stdin, (module, name, signature))
            return bool(_receive(_helper.stdout))
        except (OSError, EOFError, pickle.PickleError):
            return False
        except BaseException:  # interrupted: a late reply must not answer the next question
            if _helper is not None:
                _helper.kill()
                stop()
            raise


@atexit.register
def stop():
    """End the helper, if this process started it; it waits for its next task, which does not come."""
    global _helper
    if _helper is not None and _owner == os.getpid():
        with contextlib.suppress(OSError):
            _helper.stdin.close()
        _helper.stdout.close()
        _helper.wait()
    _helper = None


def _start():
    environment = {
        **os.environ,
        HERE: "1",
        "NUMBA_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-c", "from gaugeflow_numba.apart import serve; serve()"]
    # in a session of its own: Ctrl-C is for the process that asks; the helper ends with its pipe
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def serve():
    """Compile what is asked for on standard input until it ends, or until nobody waits for the reply."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # nothing else may write into the replies
    while True:
        try:
            module, name, signature = _receive(sys.stdin.buffer)
        except (EOFError, pickle.UnpicklingError):  # the one who asked has ended, perhaps while asking
            return
        try:
            getattr(import_module(module), name).compile(signature)
            done = True
        except Exception:  # the one who asked compiles as well and reports it
            done = False
        try:
            _send(replies, done)
        except BrokenPipeError:
            return


def _send(stream, value):
    data = pickle.dumps(value)
    stream.write(struct.pack("<q", len(data)) + data)
    stream.flush()


def _receive(stream):
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack("<q", header)[0]))
