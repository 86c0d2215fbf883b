"""Heat bath and overrelaxation of one link.

The link U has the density exp(Re tr U A^dagger), A the sum of its staples weighted by coupling / N.  SU(N) is updated
through its SU(2) subgroups (Cabibbo and Marinari, Phys. Lett. B 119 (1982) 387): g acts on two rows, and the density of
h = g V is exp(alpha h_0), where k V is the quaternion part of the 2 x 2 block of W = U A^dagger and alpha = 2 k.
An SU(2) matrix is the pair (a, b) of its first row; the second row is (-conj b, conj a).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import combinations
from typing import Any

from gaugeflow.namespaces import namespace_or_none
from gaugeflow.sites.elementary import natural_log, sin_cos_turns
from gaugeflow.sites.matrix import mul_dag, size
from gaugeflow.sites.numbers import Matrix, Number, conj, cplx, imag, largest, real, sqrt, where, wide
from gaugeflow.sites.random import uniform_pair

ATTEMPTS = 1000
"""Rejections after which a link counts as failed; the least favourable coupling accepts 46 % of all attempts."""
BLOCKS = 2048
"""Philox blocks set aside for one subgroup of one link: two per attempt, the last one for the direction."""
CROSSOVER = 0.86
"""alpha below which a proposal from Haar measure is accepted more often than that of Kennedy and Pendleton."""
TINY = 1e-30
HUGE = 1e300


def narrow(x: Number, like: Number) -> Number:
    """A double-precision real number in the precision of another one; the inverse of ``wide``."""
    xp = namespace_or_none(x)
    return x if xp is None else xp.astype(x, like.dtype)


def su2_cosine(alpha: Number, site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number) -> Any:
    """h_0 with density proportional to sqrt(1 - h_0^2) exp(alpha h_0), and 1 where all attempts were rejected, else 0.

    An alpha that is not finite counts as rejected.

    Large alpha: Kennedy and Pendleton, Phys. Lett. B 156 (1985) 393.  Small alpha, where that is never accepted: h_0 of
    a Haar-distributed matrix, which is a coordinate of a point in the unit disk, accepted with exp(alpha (h_0 - 1)).
    """
    strong = alpha > CROSSOVER
    safe = where(strong, alpha, alpha * 0.0 + CROSSOVER)
    h = alpha * 0.0
    waiting = where(alpha < HUGE, alpha * 0.0, 0.0) + 1.0
    for attempt in range(ATTEMPTS):
        u1, u2 = uniform_pair(site, batch, draw, block + 2 * attempt, k0, k1)
        u3, u4 = uniform_pair(site, batch, draw, block + (2 * attempt + 1), k0, k1)
        _, c = sin_cos_turns(u2)
        log3 = natural_log(1.0 - u3)
        x = (natural_log(1.0 - u1) + c * c * log3) / (-2.0 * safe)
        disk = sqrt(u1) * c
        margin = where(strong, 1.0 - x - u4 * u4, alpha * (disk - 1.0) - log3)
        h = where((margin >= 0.0) & (waiting > 0.5), where(strong, 1.0 - 2.0 * x, disk), h)
        waiting = where(margin >= 0.0, waiting * 0.0, waiting)
        if largest(waiting) < 0.5:
            break
    return h, where(alpha < HUGE, waiting, 1.0)


def u1_angle(kappa: Number, site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number) -> Any:
    """(cos t, sin t) of an angle with density exp(kappa cos t), and 1 where all attempts were rejected, else 0.

    A kappa that is not finite counts as rejected.

    Best and Fisher, Appl. Statist. 28 (1979) 152, with numerators and denominators arranged so that neither small nor
    large kappa cancels: with z uniform on the circle, the proposal is the wrapped Cauchy angle (r + z) / (1 + r z).
    """
    t = 1.0 + sqrt(1.0 + 4.0 * kappa * kappa)
    scale = t + sqrt(2.0 * t)
    r = 2.0 * kappa / scale
    gap = (1.0 - r) * (1.0 - r)
    cosine = kappa * 0.0
    sine = kappa * 0.0
    waiting = where(kappa < HUGE, kappa * 0.0, 0.0) + 1.0
    for attempt in range(ATTEMPTS):
        u1, u2 = uniform_pair(site, batch, draw, block + 2 * attempt, k0, k1)
        s, z = sin_cos_turns(u1)
        below = 1.0 + r * r + 2.0 * r * z
        fall = gap * (1.0 - z) / below
        c = 0.25 * gap * scale + kappa * fall
        c = where(c < 64.0, c, c * 0.0 + 64.0)
        margin = natural_log(c * 0.015625) + 4.1588830833596715 + 1.0 - c - natural_log(1.0 - u2)
        new = (margin >= 0.0) & (waiting > 0.5)
        cosine = where(new, 1.0 - fall, cosine)
        sine = where(new, (1.0 - r) * (1.0 + r) * s / below, sine)
        waiting = where(margin >= 0.0, waiting * 0.0, waiting)
        if largest(waiting) < 0.5:
            break
    return cosine, sine, where(kappa < HUGE, waiting, 1.0)


def direction(h: Number, site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number) -> Any:
    """The other three coordinates of a point on the 3-sphere whose first one is h, in a random direction."""
    v1, v2 = uniform_pair(site, batch, draw, block, k0, k1)
    s, c = sin_cos_turns(v2)
    radius = sqrt((1.0 - h) * (1.0 + h))
    across = 2.0 * radius * sqrt(v1 * (1.0 - v1))
    return across * c, across * s, radius * (1.0 - 2.0 * v1)


def su2_sample(norm: Number, site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number) -> Any:
    """SU(2) matrix (a, b) of density exp(norm Re tr h), in the precision of ``norm``, and where it failed."""
    h0, failed = su2_cosine(2.0 * wide(norm), site, batch, draw, block, k0, k1)
    h1, h2, h3 = direction(h0, site, batch, draw, block + (BLOCKS - 1), k0, k1)
    return cplx(narrow(h0, norm), narrow(h3, norm)), cplx(narrow(h2, norm), narrow(h1, norm)), failed


def su2_part(w00: Number, w01: Number, w10: Number, w11: Number) -> Any:
    """Norm k and matrix (a, b) of the quaternion part k V of a 2 x 2 matrix; V = 1 where k vanishes."""
    a = 0.5 * (w00 + conj(w11))
    b = 0.5 * (w01 - conj(w10))
    square = real(a) * real(a) + imag(a) * imag(a) + real(b) * real(b) + imag(b) * imag(b)
    norm = sqrt(square)
    inverse = 1.0 / where(square > TINY, norm, norm * 0.0 + 1.0)
    return norm, where(square > TINY, a * inverse, a * 0.0 + 1.0), where(square > TINY, b * inverse, b * 0.0)


def _update(n: int, name: str, arguments: str, step: str, result: str) -> Callable[..., Any]:
    """Code that visits all SU(2) subgroups: ``step`` sets (a, b) of the rotation from (norm, va, vb) of its block."""
    lines = [f"def {name}_{n}({arguments}a, u):", "w = mul_dag(u, a)", "failed = wide(real(w[0]))*0.0"]
    pairs = list(combinations(range(n), 2))
    for index, (i, j) in enumerate(pairs):
        block = ", ".join(f"w[{n * p + q}]" for p in (i, j) for q in (i, j))
        lines.append(f"norm, va, vb = su2_part({block})")
        lines.extend(step.format(block=BLOCKS * index).splitlines())
        for matrix in ("u", "w") if index + 1 < len(pairs) else ("u",):
            entry = {}
            for k in range(n):
                p, q = f"{matrix}[{n * i + k}]", f"{matrix}[{n * j + k}]"
                entry[n * i + k] = f"ga*{p} + gb*{q}"
                entry[n * j + k] = f"conj(ga)*{q} - conj(gb)*{p}"
            lines.append(f"{matrix} = (" + ", ".join(entry.get(k, f"{matrix}[{k}]") for k in range(n * n)) + ",)")
    code = "\n    ".join([*lines, f"return {result}"])
    scope: dict[str, Any] = {f.__name__: f for f in (conj, cplx, imag, mul_dag, real, su2_part, su2_sample, wide)}
    exec(compile(code + "\n", f"<gaugeflow {name}_{n}>", "exec"), scope)
    return scope[f"{name}_{n}"]


def heat_bath_1(
    site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number, a: Matrix, u: Matrix
) -> Any:
    """:func:`heat_bath` for U(1)."""
    w = u[0] * conj(a[0])
    norm, phase = u1_part(w)
    c, s, failed = u1_angle(wide(norm), site, batch, draw, block, k0, k1)
    return (cplx(narrow(c, norm), narrow(s, norm)) * conj(phase) * u[0],), failed


def u1_part(w: Number) -> Any:
    """Absolute value and phase of a complex number; the phase is 1 where the number vanishes."""
    square = real(w) * real(w) + imag(w) * imag(w)
    norm = sqrt(square)
    inverse = 1.0 / where(square > TINY, norm, norm * 0.0 + 1.0)
    return norm, where(square > TINY, w * inverse, w * 0.0 + 1.0)


def overrelax_1(a: Matrix, u: Matrix) -> Matrix:
    """:func:`overrelax` for U(1)."""
    _, phase = u1_part(u[0] * conj(a[0]))
    return (conj(phase) * conj(phase) * u[0],)


@functools.cache
def heat_bath_of_size(n: int) -> Callable[..., Any]:
    """The form of :func:`heat_bath` for N = n."""
    if n == 1:
        return heat_bath_1
    step = """ha, hb, bad = su2_sample(norm, site, batch, draw, block + {block}, k0, k1)
failed = failed + bad
ga = ha*conj(va) + hb*conj(vb)
gb = hb*va - ha*vb"""
    return _update(n, "heat_bath", "site, batch, draw, block, k0, k1, ", step, "u, failed")


@functools.cache
def overrelax_of_size(n: int) -> Callable[..., Any]:
    """The form of :func:`overrelax` for N = n."""
    if n == 1:
        return overrelax_1
    step = """ga = conj(va)*conj(va) - vb*conj(vb)
gb = -2.0*real(va)*vb"""
    return _update(n, "overrelax", "", step, "u")


def heat_bath(
    site: Number, batch: Number, draw: Number, block: Number, k0: Number, k1: Number, a: Matrix, u: Matrix
) -> Any:
    """A new link from the heat bath of the weighted staples ``a``, and how many of its rejection loops failed.

    Random numbers come from the Philox blocks ``block ... block + BLOCKS * max(1, N (N - 1) / 2) - 1``.
    """
    return heat_bath_of_size(size(u))(site, batch, draw, block, k0, k1, a, u)


def overrelax(a: Matrix, u: Matrix) -> Any:
    """The link reflected in every SU(2) subgroup, g = V^-2: Re tr U A^dagger stays the same."""
    return overrelax_of_size(size(u))(a, u)


heat_bath.for_size = heat_bath_of_size  # type: ignore[attr-defined]
overrelax.for_size = overrelax_of_size  # type: ignore[attr-defined]
