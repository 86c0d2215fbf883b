"""Paths of operators between two of them: parameters along straight lines, links along geodesics of the group."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

from gaugeflow.groups import SU
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators.hopping import HoppingOperator


def path(start: HoppingOperator, end: HoppingOperator, steps: int) -> list[HoppingOperator]:
    """Operators from one to another in equal steps.

    Parameters
    ----------
    start, end
        Two operators of one kind on one lattice with one boundary condition; links, kappa or mass and all other numbers may
        differ.
    steps
        Number of steps.

    Returns
    -------
    list of HoppingOperator
        ``steps + 1`` operators, start and end included.  Links are exp(s log(U_end U_start^dagger)) U_start.

    Raises
    ------
    ValueError
        If the operators cannot be joined so, naming what differs, or links are antipodes that no single geodesic joins.
    """
    if steps < 1:
        raise ValueError(f"steps: expected a positive number, got {steps}")
    if type(start) is not type(end) or start.lattice != end.lattice or start.boundary != end.boundary:
        raise ValueError(
            "path: expected two operators of one kind, lattice and boundary, got "
            f"{start.label} on {start.lattice} with {start.boundary} and {end.label} on {end.lattice} with {end.boundary}"
        )
    if start.potential is not end.potential:
        raise ValueError("path: expected operators of one potential, got two; charges may differ")
    names = [f.name for f in fields(start) if f.init and f.name not in ("lattice", "links", "boundary", "potential")]
    pairs = {name: (getattr(start, name), getattr(end, name)) for name in names}
    first, last = start.links, end.links
    if first is None or last is None:
        raise ValueError("path: expected operators that are bound to links")
    velocity = None if first is last else geodesic(start.lattice, first, last)
    result = [start]
    for k in range(1, steps):
        s = k / steps
        numbers: dict[str, Any] = {name: _between(name, *pair, s) for name, pair in pairs.items()}
        links = first if velocity is None else SU(start.lattice).retract(first, velocity, s)
        result.append(replace(start, links=links, **numbers))
    return [*result, end]


def _between(name: str, a: Any, b: Any, s: float) -> Any:
    """(1 - s) a + s b of numbers, of tuples of numbers, or of None."""
    if a is None and b is None:
        return None
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return tuple(_between(name, x, y, s) for x, y in zip(a, b, strict=True))
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        raise ValueError(f"path: cannot interpolate {name} between {a} and {b}")
    return (1.0 - s) * a + s * b


def geodesic(lattice: Lattice, start: Array, end: Array) -> Array:
    """Algebra field log(end start^dagger): the shortest way from one gauge field to another is exp(s times it) start.

    Parameters
    ----------
    lattice
        The lattice.
    start, end
        Links ``(ndim, n_blocks, N, N, lanes)``.

    Returns
    -------
    Array
        Anti-Hermitian and, for N > 1, traceless: where angles add to a multiple of a turn, the largest are taken the other
        way round.

    Raises
    ------
    ValueError
        If shapes differ, or links are antipodes (eigenvalue -1), between which there is no shortest way.
    """
    lattice.check_links(start, "start")
    if tuple(start.shape) != tuple(end.shape):
        raise ValueError(f"geodesic: expected links of one shape, got {tuple(start.shape)} and {tuple(end.shape)}")
    xp = array_namespace(start)
    u, v = (xp.permute_dims(x, (0, 1, 4, 2, 3)) for x in (start, end))
    v = v @ xp.conj(xp.matrix_transpose(u))
    n = v.shape[-1]
    if n == 1:
        log = 1j * xp.atan2(xp.imag(v), xp.real(v))
    else:
        unit = xp.eye(n, dtype=v.dtype)
        tangent = xp.linalg.solve(unit + v, 1j * (unit - v))  # Hermitian, with tan of half the angles as eigenvalues
        _, vectors = xp.linalg.eigh(0.5 * (tangent + xp.conj(xp.matrix_transpose(tangent))))
        dagger = xp.conj(xp.matrix_transpose(vectors))
        eigenvalues = xp.linalg.diagonal(dagger @ v @ vectors)
        angles = _traceless(xp.atan2(xp.imag(eigenvalues), xp.real(eigenvalues)))
        log = (vectors * (1j * angles)[..., None, :]) @ dagger
    if not bool(xp.all(xp.isfinite(xp.real(log)))) or not bool(xp.all(xp.isfinite(xp.imag(log)))):
        raise ValueError("geodesic: links are antipodes of each other, or not finite")
    log = xp.astype(xp.permute_dims(log, (0, 1, 3, 4, 2)), start.dtype)
    return SU(lattice).project(xp.asarray(log, copy=True))


def _traceless(angles: Array) -> Array:
    """Angles whose sum is a multiple of 2 pi, some of them a turn less or more so that it is zero."""
    xp = array_namespace(angles)
    turns = xp.round(xp.sum(angles, axis=-1, keepdims=True) / (2.0 * math.pi))
    rank = xp.astype(xp.argsort(xp.argsort(-xp.sign(turns) * angles, axis=-1), axis=-1), angles.dtype)
    return angles - 2.0 * math.pi * xp.sign(turns) * xp.astype(rank < xp.abs(turns), angles.dtype)
