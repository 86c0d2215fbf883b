"""What the compiler made of a driver (x86): work on whole registers, spills, and arithmetic that missed the registers."""

from __future__ import annotations

import importlib
import re

import numba

from gaugeflow_numba._jit import OPTIONS
from gaugeflow_numba.lanes import register_bytes

_REGISTERS = {64: "zmm", 32: "ymm", 16: "xmm"}
_FUSED = re.compile(r"vfn?m(?:add|sub)\d*([sp])[sd]$")
_PLAIN = re.compile(r"v?(?:mul|add|sub|div)([sp])[sd]$")
_SHUFFLE = re.compile(r"v?(?:perm|shuf|unpck)\w*$")
_STORE = re.compile(r"v?mov(?:[ua]p[sd]|dq\w*|ntp[sd])$")


def instructions(driver, n, bits=64):
    """Count the instructions of the loops of a driver, once for each signature that it was called with.

    Only those of fields with N = n that fill whole registers are looked at.

    The driver is compiled once more, without the disk cache: what is read from there has no assembly.

    Parameters
    ----------
    driver
        ``"file.function"`` of this back end, for example ``"gauge._wilson_force"``.
    n, bits
        Number of colours, and bits of a real number.

    Returns
    -------
    list of dict
        For each signature ``fused, plain, shuffles, spills`` (instructions on whole vector registers: fused
        multiply-adds, other arithmetic, permutations, stores to the stack), and ``narrow`` (floating-point arithmetic
        on anything less than a whole register).
    """
    file, function = driver.split(".")
    compiled = getattr(importlib.import_module(f"gaugeflow_numba.{file}"), function)
    fresh = numba.njit(parallel=True, **OPTIONS)(compiled.py_func)
    counts = []
    whole = f"Lanes({8 * register_bytes() // bits},{n},{bits},"
    for signature in compiled.signatures:
        if whole not in str(signature):
            continue
        fresh.compile(signature)
        counts.append(count(fresh.inspect_asm(signature), _REGISTERS[register_bytes()]))
    return counts


def count(assembly, register):
    """Counts as of :func:`instructions` in a listing, for registers whose names begin with ``register``."""
    counts = dict.fromkeys(("fused", "plain", "shuffles", "spills", "narrow"), 0)
    for line in assembly.splitlines():
        name, _, operands = line.strip().partition("\t")
        whole = register in operands
        fused, plain = _FUSED.match(name), _PLAIN.match(name)
        if fused or plain:
            kind = "fused" if fused else "plain"
            counts[kind if whole and (fused or plain).group(1) != "s" else "narrow"] += 1
        elif whole and _SHUFFLE.match(name):
            counts["shuffles"] += 1
        elif whole and _STORE.match(name) and re.search(r"\(%r[sb]p\)$", operands):
            counts["spills"] += 1
    return counts
