"""A step of smearing towards the group on one link, with first and second derivatives.

A step is ``V = h(g)`` with ``g = U + S + kappa U S^dagger U``, where S is the weighted sum of the staples of U, and the
Newton-Schulz step ``h(g) = (3 g - g g^dagger g) / 2``.  Names that end in ``_t`` are changes along a direction.  Gradients
x with ``dL = Re tr(x^dagger dV)`` transform like links; derivation in ``docs/derivations/smeared.md``.
"""

from __future__ import annotations

from gaugeflow.sites.matrix import add, add_scaled, dag, dag_mul, mul, mul_dag, re_trace_mul_dag, scale, sub
from gaugeflow.sites.numbers import Matrix, Number


# ---- Newton-Schulz: one step towards the unitary factor --------------------------------------------------------------
def schulz(v: Matrix) -> Matrix:
    """(3 v - v v^dagger v) / 2: unitary to second order in the distance of v from it."""
    return sub(scale(1.5, v), scale(0.5, mul(mul_dag(v, v), v)))


def twice_hermitian_part(p: Matrix) -> Matrix:
    """p + p^dagger."""
    return add(p, dag(p))


def schulz_along(v: Matrix, v_t: Matrix) -> Matrix:
    """Change of :func:`schulz`.  The map is symmetric, so that it also takes gradients of the result to those of v."""
    loops = add(mul(v_t, dag_mul(v, v)), mul(v, twice_hermitian_part(dag_mul(v, v_t))))
    return sub(scale(1.5, v_t), scale(0.5, loops))


def schulz_along_twice(v: Matrix, a: Matrix, b: Matrix) -> Matrix:
    """Second derivative of :func:`schulz` along a and b."""
    loops = add(mul(a, twice_hermitian_part(dag_mul(b, v))), mul(b, twice_hermitian_part(dag_mul(a, v))))
    return scale(-0.5, add(loops, mul(v, twice_hermitian_part(dag_mul(a, b)))))


def schulz_bar(v: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of v."""
    return dag(schulz_along(v, dag(s_bar)))


# ---- a step at one link, given the sum of its staples ----------------------------------------------------------------
def convolved(kappa: float, u: Matrix, s: Matrix, loop: Matrix) -> Matrix:
    """g from ``loop = s^dagger u``."""
    return add(add(u, s), scale(kappa, mul(u, loop)))


def loop_along(u: Matrix, s: Matrix, u_t: Matrix, s_t: Matrix) -> Matrix:
    """Change of s^dagger u."""
    return add(dag_mul(s_t, u), dag_mul(s, u_t))


def convolved_along(kappa: float, u: Matrix, loop: Matrix, u_t: Matrix, s_t: Matrix, loop_t: Matrix) -> Matrix:
    """Change of :func:`convolved`."""
    return add(add(u_t, s_t), scale(kappa, add(mul(u_t, loop), mul(u, loop_t))))


def step(kappa: float, u: Matrix, s: Matrix) -> Matrix:
    """The smeared link."""
    return schulz(convolved(kappa, u, s, dag_mul(s, u)))


def step_along(kappa: float, u: Matrix, s: Matrix, u_t: Matrix, s_t: Matrix) -> Matrix:
    """Change of the smeared link."""
    loop = dag_mul(s, u)
    change = convolved_along(kappa, u, loop, u_t, s_t, loop_along(u, s, u_t, s_t))
    return schulz_along(convolved(kappa, u, s, loop), change)


def step_pull(kappa: float, u: Matrix, s: Matrix, x: Matrix) -> tuple[Matrix, Matrix]:
    """Gradients with respect to s, and to u where it appears explicitly, from that of the smeared link."""
    loop = dag_mul(s, u)
    r = schulz_along(convolved(kappa, u, s, loop), x)
    q = dag_mul(u, r)
    return add_scaled(r, kappa, mul_dag(u, q)), add_scaled(r, kappa, add(mul_dag(r, loop), mul(s, q)))


def step_pull_along(
    kappa: float, u: Matrix, s: Matrix, x: Matrix, u_t: Matrix, s_t: Matrix, x_t: Matrix
) -> tuple[Matrix, Matrix]:
    """Changes of the results of :func:`step_pull`."""
    loop = dag_mul(s, u)
    loop_t = loop_along(u, s, u_t, s_t)
    g = convolved(kappa, u, s, loop)
    r = schulz_along(g, x)
    turned = schulz_along_twice(g, convolved_along(kappa, u, loop, u_t, s_t, loop_t), x)
    r_t = add(schulz_along(g, x_t), turned)
    q = dag_mul(u, r)
    q_t = add(dag_mul(u_t, r), dag_mul(u, r_t))
    along_t = add_scaled(r_t, kappa, add(mul_dag(u_t, q), mul_dag(u, q_t)))
    own = add(add(mul_dag(r_t, loop), mul_dag(r, loop_t)), add(mul(s_t, q), mul(s, q_t)))
    return along_t, add_scaled(r_t, kappa, own)


# ---- derivatives of staples and plaquettes along a direction ---------------------------------------------------------
def upper_along(n: Matrix, m: Matrix, f: Matrix, n_t: Matrix, m_t: Matrix, f_t: Matrix) -> Matrix:
    """Change of the upper staple n m f^dagger."""
    return add(mul_dag(add(mul(n_t, m), mul(n, m_t)), f), mul_dag(mul(n, m), f_t))


def lower_along(n: Matrix, m: Matrix, f: Matrix, n_t: Matrix, m_t: Matrix, f_t: Matrix) -> Matrix:
    """Change of the lower staple n^dagger m f."""
    return add(mul(add(dag_mul(n_t, m), dag_mul(n, m_t)), f), mul(dag_mul(n, m), f_t))


def upper_along_both(
    n: Matrix, m: Matrix, f: Matrix, n_u: Matrix, m_u: Matrix, f_u: Matrix, n_t: Matrix, m_t: Matrix, f_t: Matrix
) -> Matrix:
    """Change of :func:`upper_along` when links move along ``_u``."""
    near = mul_dag(add(mul(n_t, m_u), mul(n_u, m_t)), f)
    far = mul_dag(add(mul(n_t, m), mul(n, m_t)), f_u)
    return add(add(near, far), mul_dag(add(mul(n_u, m), mul(n, m_u)), f_t))


def lower_along_both(
    n: Matrix, m: Matrix, f: Matrix, n_u: Matrix, m_u: Matrix, f_u: Matrix, n_t: Matrix, m_t: Matrix, f_t: Matrix
) -> Matrix:
    """Change of :func:`lower_along` when links move along ``_u``."""
    near = mul(add(dag_mul(n_t, m_u), dag_mul(n_u, m_t)), f)
    far = mul(add(dag_mul(n_t, m), dag_mul(n, m_t)), f_u)
    return add(add(near, far), mul(add(dag_mul(n_u, m), dag_mul(n, m_u)), f_t))


def re_trace_plaquette_along(
    m: Matrix, n_m: Matrix, n: Matrix, m_n: Matrix, m_t: Matrix, n_m_t: Matrix, n_t: Matrix, m_n_t: Matrix
) -> Number:
    """Change of Re tr m(x) n(x + mu) m(x + nu)^dagger n(x)^dagger."""
    ahead = re_trace_mul_dag(add(mul(m_t, n_m), mul(m, n_m_t)), mul(n, m_n))
    return ahead + re_trace_mul_dag(mul(m, n_m), add(mul(n_t, m_n), mul(n, m_n_t)))
