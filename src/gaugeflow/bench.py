"""Rates of the kernels beside what the machine can do: behind ``gaugeflow bench`` and the asv benchmarks.

Operations are counted, not estimated: the reference implementation of a kernel runs once on a tiny lattice with arrays
that count their additions and multiplications.  Traffic is the least possible one: every array argument read once,
every result written once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaugeflow import kernels, random
from gaugeflow.backend import kernels as registry
from gaugeflow.backend import offered, use_backend
from gaugeflow.devices import device
from gaugeflow.kernels.fermions import BOTH
from gaugeflow.lattice import Array, HopFactors, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.dirac import spin_components

DEFAULT_BACKEND = "numba"
"""Back end that serves NumPy arrays where none is chosen."""
LANES = 8
"""Lanes that a batch is folded to, where the extents allow it."""
BUDGET = 0.3
"""Seconds that one kernel is timed for; at least three calls."""


# ---- what is timed -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """One hot kernel: how to call it, and whether it has a fixed number of operations."""

    kernel: str
    arguments: Callable[[Lattice, Array, Array], tuple[Any, ...]]
    """Arguments after the lattice, from links and an algebra field."""
    countable: bool = True
    variant: str = ""
    """What follows the kernel's name where one kernel is timed in several ways."""
    operations: Callable[[int, int], float] | None = None
    """Operations at a site from dimensions and colours, where the reference makes some that do nothing."""
    even: bool = False
    """Whether it needs an even number of dimensions."""

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"{self.kernel} {self.variant}".rstrip()


def _paths(lattice: Lattice, links: Array) -> Array:
    return kernels.path_sum(lattice, links, 0, lattice.active_sites(0, 0), 0.01)


def _loops(lattice: Lattice, links: Array) -> Array:
    """Matrices of the smeared update, of a size that keeps it invertible; what they mean does not matter here."""
    return np.stack([_paths(lattice, links)] * 7)


def _cases() -> Iterator[Case]:
    def active(lattice: Lattice) -> tuple[int, Any]:
        return 0, lattice.active_sites(0, 0)

    yield Case("plaquette_traces", lambda lattice, u, p: (u,))
    yield Case("rectangle", lambda lattice, u, p: (u,))
    yield Case("wilson_force", lambda lattice, u, p: (u, 6.0))
    yield Case("rectangle_force", lambda lattice, u, p: (u, 6.0))
    yield Case("clover", lambda lattice, u, p: (u,))
    yield Case("evolve", lambda lattice, u, p: (u, p, 0.1))
    yield Case("flow_stage", lambda lattice, u, p: (u, p, p, 0.1, 0.5))
    yield Case("inner", lambda lattice, u, p: (p, p))
    yield Case("reunitarise", lambda lattice, u, p: (u,))
    yield Case("heatbath", lambda lattice, u, p: (u, 6.0, random.Rng(1).words()), countable=False)
    yield Case("overrelax", lambda lattice, u, p: (u, 6.0))
    yield Case("smear", lambda lattice, u, p: (u, 0.1, -1.0))
    yield Case("smear_vjp", lambda lattice, u, p: (u, 0.1, -1.0, p))
    yield Case("smear_step", lambda lattice, u, p: (u, 0.1, -1.0))
    yield Case("smear_step_along", lambda lattice, u, p: (u, u, 0.1, -1.0, p))
    yield Case("smear_step_pull", lambda lattice, u, p: (u, u, -1.0, p))
    yield Case("smear_step_pull_along", lambda lattice, u, p: (u, u, -1.0, p, p, p, p))
    yield Case("plaquette_hessian", lambda lattice, u, p: (u, 0.1, p, p))
    yield Case("plaquette_hessian_along", lambda lattice, u, p: (u, 0.1, p, p, p, p))
    yield Case("path_sum", lambda lattice, u, p: (u, *active(lattice), 0.01))
    yield Case("path_sum_vjp", lambda lattice, u, p: (u, *active(lattice), 0.01, _paths(lattice, u), p.copy()))
    yield Case("residual_update", lambda lattice, u, p: (u, *active(lattice), _paths(lattice, u)))
    yield Case("residual_update_vjp", lambda lattice, u, p: (u, *active(lattice), _paths(lattice, u), 1.0, p))
    yield Case("residual_tangent", lambda lattice, u, p: (u, *active(lattice), _paths(lattice, u), p))
    yield Case("smeared_update", lambda lattice, u, p: (u, *active(lattice), _loops(lattice, u)))
    yield Case("smeared_update_vjp", lambda lattice, u, p: (u, *active(lattice), _loops(lattice, u), 1.0, p))
    yield Case("smeared_tangent", lambda lattice, u, p: (u, *active(lattice), _loops(lattice, u), p))


RIGHT_HAND_SIDES = 12
"""Spin and colour of a point source."""


def _spinor(spin: int, p: Array) -> Array:
    """A fermion field made of columns of an algebra field."""
    xp = array_namespace(p)
    return xp.stack([p[s % p.shape[0], :, :, 0, :] for s in range(spin)], axis=1)


def _hop_operations(ndim: int, n: int) -> float:
    """Of a hop: half spinors are projected, multiplied by links and summed."""
    half = 1 << (ndim // 2 - 1)
    return 2 * ndim * half * n * (2 + 8 * n - 2) + (2 * ndim - 1) * 4 * half * n


def _clover_operations(ndim: int, n: int) -> float:
    """Of a hop, Hermitian blocks, and their sum."""
    m = n << (ndim // 2 - 1)
    return _hop_operations(ndim, n) + 2 * m * (2 + 8 * (m - 1)) + 2 * m * 6


def _staggered_operations(ndim: int, n: int) -> float:
    """Of a hop without spin."""
    return 2 * ndim * n * (8 * n - 2) + (2 * ndim - 1) * 2 * n


def _fermion_cases(dtype: str, variant: str) -> Iterator[Case]:
    def bound(lattice: Lattice, u: Array) -> tuple[Array, HopFactors]:
        phases = (-1.0, *(1.0,) * (lattice.ndim - 1))
        xp = array_namespace(u)
        return xp.astype(u, getattr(xp, dtype)), lattice.hop_factors(lattice.boundary_phase(phases))

    def spinor(lattice: Lattice, p: Array, fields: int = 0) -> Array:
        xp = array_namespace(p)
        psi = xp.astype(_spinor(spin_components(lattice.ndim), p), getattr(xp, dtype))
        return xp.stack([psi] * fields) if fields else psi

    def hop(lattice: Lattice, u: Array, p: Array, fields: int = 0) -> tuple[Any, ...]:
        links, factors = bound(lattice, u)
        return links, spinor(lattice, p, fields), factors, 1, BOTH, 1.0, None, 0.0

    def clover(lattice: Lattice, u: Array, p: Array) -> tuple[Any, ...]:
        links, factors = bound(lattice, u)
        psi = spinor(lattice, p)
        planes = (0.1,) * len(lattice.planes)
        return links, psi, factors, 1, BOTH, -0.1, psi, 1.0, kernels.clover_blocks(lattice, links, 1.0, planes)

    def staggered(lattice: Lattice, u: Array, p: Array) -> tuple[Any, ...]:
        links, factors = bound(lattice, u)
        xp = array_namespace(u)
        return links, xp.astype(_spinor(1, p), links.dtype), factors, BOTH, 1.0, None, 0.0

    def force(lattice: Lattice, u: Array, p: Array) -> tuple[Any, ...]:
        links, factors = bound(lattice, u)
        return links, spinor(lattice, p), spinor(lattice, p), factors, 1.0

    def many(lattice: Lattice, u: Array, p: Array) -> tuple[Any, ...]:
        return hop(lattice, u, p, RIGHT_HAND_SIDES)

    def of_many(ndim: int, n: int) -> float:
        return RIGHT_HAND_SIDES * _hop_operations(ndim, n)

    sides = f"{RIGHT_HAND_SIDES} right-hand sides {variant}".rstrip()
    yield Case("wilson_hop", hop, variant=variant, operations=_hop_operations, even=True)
    yield Case("clover_hop", clover, variant=variant, operations=_clover_operations, even=True)
    yield Case("staggered_hop", staggered, variant=variant, operations=_staggered_operations)
    yield Case("hop_force", force, variant=variant, even=True)
    yield Case("wilson_hop", many, variant=sides, operations=of_many, even=True)


_ALL = (*_cases(), *_fermion_cases("complex128", ""), *_fermion_cases("complex64", "single"))
CASES = {case.name: case for case in _ALL}
"""Every timed kernel by name; names stay as they are, because time series of measurements refer to them."""


def names(ndim: int) -> list[str]:
    """Cases that lattices of so many dimensions can be timed in."""
    return [name for name, case in CASES.items() if ndim % 2 == 0 or not case.even]


def fields(lattice: Lattice, n: int, batch: int) -> tuple[Array, Array]:
    """Links and an algebra field to time kernels on: near unity, so that every layer is invertible."""
    rng = random.Rng(7)
    momenta = random.momenta(rng, lattice, n, batch)
    xp = array_namespace(momenta)
    unit = xp.zeros_like(momenta) + xp.eye(n, dtype=momenta.dtype)[:, :, None]
    return kernels.evolve(lattice, unit, momenta, 0.3), momenta


# ---- counting ----------------------------------------------------------------------------------------------------
_FREE = {"conjugate", "negative", "absolute", "greater", "less", "less_equal", "greater_equal", "equal", "isfinite"}
_COST = {
    # operations for operands that are (both real, one complex, both complex)
    "multiply": (1, 2, 6),
    "add": (1, 2, 2),
    "subtract": (1, 2, 2),
    "divide": (1, 2, 11),
}


class _Counting(np.ndarray):
    """An array whose type counts the floating-point operations made on it and on what follows from it."""

    __array_priority__ = 1.0  # so that stacked arrays count too
    operations = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(x) for x in inputs]
        if "out" in options:
            options["out"] = tuple(_plain(x) for x in options["out"])
        result = getattr(ufunc, method)(*plain, **options)
        type(self).operations += _operations(ufunc.__name__, method, plain, result)
        return result.view(type(self)) if isinstance(result, np.ndarray) else result


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, _Counting) else x


def _operations(name: str, method: str, inputs: Sequence[Any], result: Any) -> int:
    if name in _FREE or np.result_type(*inputs).kind not in "fc":
        return 0
    n_complex = sum(np.iscomplexobj(x) for x in inputs)
    if method == "reduce":
        return int(np.size(inputs[0]) - np.size(result)) * (1 + n_complex)
    return int(np.size(result)) * _COST.get(name, (1, 1, 1))[n_complex]


def operations_per_site(kernel: str, ndim: int, n: int) -> float | None:
    """Floating-point operations of a kernel for each lattice site; a fused multiply-add is two, exact sums over sites are none.

    Parameters
    ----------
    kernel
        A name in `CASES`.
    ndim, n
        Dimensions of the lattice, number of colours.

    Returns
    -------
    float or None
        None for kernels with rejection loops, whose work depends on the numbers.
    """
    case = CASES[kernel]
    if not case.countable:
        return None
    if case.operations is not None:
        return case.operations(ndim, n)
    lattice = Lattice((2,) * ndim)
    with use_backend("reference"):
        arguments = case.arguments(lattice, *fields(lattice, n, 1))
        counting: Any = type("Counting", (_Counting,), {})
        counted = [
            argument.view(counting) if isinstance(argument, np.ndarray) and argument.dtype.kind == "c" else argument
            for argument in arguments
        ]
        registry[case.kernel](lattice, *counted)
    return float(counting.operations) / lattice.volume


# ---- timing ------------------------------------------------------------------------------------------------------
def _arrays(values: Iterable[Any]) -> Iterator[NDArray[Any]]:
    for value in values:
        if hasattr(value, "nbytes"):
            yield value
        elif isinstance(value, tuple):
            yield from _arrays(value)


def best_time(call: Callable[[], Any], budget: float = BUDGET) -> float:
    """Shortest of at least three calls, in seconds, after one that compiles."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def machine(backend: str = DEFAULT_BACKEND) -> dict[str, float | int | None]:
    """Threads, FMA and triad rates of the machine as the back end measures them; None where it cannot."""
    status, peak = offered(backend, "status"), offered(backend, "peak")
    rates: dict[str, float] = peak() if peak else {}
    return {
        "threads": status().get("threads") if status else None,
        "fma_gflops": rates.get("fma_gflops"),
        "triad_gbytes_per_second": rates.get("triad_gbytes_per_second"),
    }


def time_kernel(
    kernel: str, shape: Sequence[int], batch: int, n: int, backend: str, peaks: dict[str, Any], budget: float = BUDGET
) -> dict[str, Any]:
    """Time one kernel.

    Parameters
    ----------
    kernel
        A name in `CASES`.
    shape, batch, n
        Extents, configurations, number of colours; the lattice is folded as
        :meth:`gaugeflow.lattice.Lattice.suggest_fold` says.
    backend
        Name of a back end; fields are made where it computes.
    peaks
        What `machine` returned.
    budget
        Seconds to spend.

    Returns
    -------
    dict
        ``kernel, shape, batch, fold, backend, threads, seconds, gflops, gbytes_per_second, share_of_peak``.  The share
        is that of the nearer limit, arithmetic or main memory; it may exceed one where fields fit in a cache.  Rates
        that are not known are None.
    """
    wait = offered(backend, "synchronize") or (lambda: None)
    case = CASES[kernel]
    with use_backend(backend):
        lattice = Lattice(shape, Lattice(shape).suggest_fold(device(), batch))
        arguments = case.arguments(lattice, *fields(lattice, n, batch))
        call = registry[case.kernel]
        results = call(lattice, *arguments)
        seconds = best_time(lambda: (call(lattice, *arguments), wait()), budget)
    traffic = sum(array.nbytes for array in _arrays((*arguments, results)))
    operations = operations_per_site(kernel, lattice.ndim, n)
    gflops = None if operations is None else operations * lattice.volume * batch / seconds / 1e9
    rate = traffic / seconds / 1e9
    limits = ((gflops, peaks["fma_gflops"]), (rate, peaks["triad_gbytes_per_second"]))
    shares = [value / limit for value, limit in limits if value is not None and limit is not None]
    return {
        "kernel": kernel,
        "shape": list(lattice.shape),
        "batch": batch,
        "fold": list(lattice.fold),
        "backend": backend,
        "threads": peaks["threads"],
        "seconds": seconds,
        "gflops": gflops,
        "gbytes_per_second": rate,
        "share_of_peak": max(shares, default=None),
    }
