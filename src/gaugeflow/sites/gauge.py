"""Paths of links."""

from __future__ import annotations

from gaugeflow.sites.matrix import add, add_scaled, dag, dag_mul, mul, mul_dag, re_trace_mul_dag, scale, sub
from gaugeflow.sites.numbers import Matrix, Number


def staple_up(n: Matrix, m_n: Matrix, n_m: Matrix) -> Matrix:
    """n(x) m(x + nu) n(x + mu)^dagger: the path from x to x + mu around the upper side of the plaquette."""
    return mul_dag(mul(n, m_n), n_m)


def staple_down(n_b: Matrix, m_b: Matrix, n_bm: Matrix) -> Matrix:
    """n(x - nu)^dagger m(x - nu) n(x - nu + mu): the path from x to x + mu around the lower side."""
    return mul(dag_mul(n_b, m_b), n_bm)


def staple_pair(n: Matrix, m_n: Matrix, n_m: Matrix, n_b: Matrix, m_b: Matrix, n_bm: Matrix) -> Matrix:
    """Sum of the upper and the lower staple."""
    return add(staple_up(n, m_n, n_m), staple_down(n_b, m_b, n_bm))


def re_trace_plaquette(m: Matrix, n_m: Matrix, n: Matrix, m_n: Matrix) -> Number:
    """Re tr m(x) n(x + mu) m(x + nu)^dagger n(x)^dagger."""
    return re_trace_mul_dag(mul(m, n_m), mul(n, m_n))


def re_trace_rectangle(m: Matrix, m_m: Matrix, n_mm: Matrix, n: Matrix, m_n: Matrix, m_nm: Matrix) -> Number:
    """Re tr of the loop two steps along mu and one along nu."""
    return re_trace_mul_dag(mul(mul(m, m_m), n_mm), mul(mul(n, m_n), m_nm))


def rectangle_staples(
    above: tuple[Matrix, Matrix, Matrix, Matrix, Matrix],
    below: tuple[Matrix, Matrix, Matrix, Matrix, Matrix],
    ahead_up: tuple[Matrix, Matrix, Matrix, Matrix, Matrix],
    ahead_down: tuple[Matrix, Matrix, Matrix, Matrix, Matrix],
    behind_up: tuple[Matrix, Matrix, Matrix, Matrix, Matrix],
    behind_down: tuple[Matrix, Matrix, Matrix, Matrix, Matrix],
) -> tuple[Matrix, Matrix]:
    """Five-link paths from x to x + mu in the plane (mu, nu): (sum of the two tall ones, sum of the four wide ones).

    Tall loops are two steps along nu, wide ones two steps along mu.  The tuples hold the links of each path in the
    order in which the helper functions below walk them.
    """
    tall = add(tall_up(*above), tall_down(*below))
    wide_up = add(around_ahead(*ahead_up), around_behind(*behind_up))
    wide_down = add(around_ahead_below(*ahead_down), around_behind_below(*behind_down))
    return tall, add(wide_up, wide_down)


def tall_up(n: Matrix, n_n: Matrix, m_nn: Matrix, n_mn: Matrix, n_m: Matrix) -> Matrix:
    """n(x) n(x+nu) m(x+2nu) n(x+mu+nu)^dagger n(x+mu)^dagger."""
    return mul_dag(mul_dag(mul(mul(n, n_n), m_nn), n_mn), n_m)


def tall_down(n_b: Matrix, n_bb: Matrix, m_bb: Matrix, n_mbb: Matrix, n_mb: Matrix) -> Matrix:
    """n(x-nu)^dagger n(x-2nu)^dagger m(x-2nu) n(x+mu-2nu) n(x+mu-nu)."""
    return mul(mul(dag_mul(n_b, dag_mul(n_bb, m_bb)), n_mbb), n_mb)


def around_ahead(m_m: Matrix, n_mm: Matrix, m_nm: Matrix, m_n: Matrix, n: Matrix) -> Matrix:
    """n(x) m(x+nu) m(x+nu+mu) n(x+2mu)^dagger m(x+mu)^dagger."""
    return mul_dag(mul_dag(mul(mul(n, m_n), m_nm), n_mm), m_m)


def around_ahead_below(m_m: Matrix, n_mmb: Matrix, m_mb: Matrix, m_b: Matrix, n_b: Matrix) -> Matrix:
    """n(x-nu)^dagger m(x-nu) m(x-nu+mu) n(x-nu+2mu) m(x+mu)^dagger."""
    return mul_dag(mul(mul(dag_mul(n_b, m_b), m_mb), n_mmb), m_m)


def around_behind(m_w: Matrix, n_w: Matrix, m_nw: Matrix, m_n: Matrix, n_m: Matrix) -> Matrix:
    """m(x-mu)^dagger n(x-mu) m(x-mu+nu) m(x+nu) n(x+mu)^dagger."""
    return mul_dag(mul(mul(dag_mul(m_w, n_w), m_nw), m_n), n_m)


def around_behind_below(m_w: Matrix, n_wb: Matrix, m_wb: Matrix, m_b: Matrix, n_mb: Matrix) -> Matrix:
    """m(x-mu)^dagger n(x-mu-nu)^dagger m(x-mu-nu) m(x-nu) n(x-nu+mu)."""
    return mul(mul(dag_mul(m_w, dag_mul(n_wb, m_wb)), m_b), n_mb)


def differ_along(c: float, u: Matrix, u_b: Matrix, ahead: Matrix, behind: Matrix, here: Matrix) -> Matrix:
    """``(1 - 2 c) here + c (u ahead u^dagger + u_b^dagger behind u_b)``: a matrix plus c times its second difference."""
    moved = add(mul_dag(mul(u, ahead), u), dag_mul(u_b, mul(behind, u_b)))
    return add_scaled(here, c, sub(moved, scale(2.0, here)))


# ---- derivatives of staples: s_bar and the results x stand for dL = Re tr(x dm) ---------------------------------------
def staple_up_bar_near(m_n: Matrix, n_m: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of n(x) in the upper staple n m_n n_m^dagger."""
    return mul(mul_dag(m_n, n_m), s_bar)


def staple_up_bar_top(n: Matrix, n_m: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of m(x + nu) in the upper staple."""
    return mul(dag_mul(n_m, s_bar), n)


def staple_up_bar_far(n: Matrix, m_n: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of n(x + mu) in the upper staple."""
    return dag(mul(s_bar, mul(n, m_n)))


def staple_down_bar_near(m_b: Matrix, n_bm: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of n(x - nu) in the lower staple n_b^dagger m_b n_bm."""
    return dag(mul(mul(m_b, n_bm), s_bar))


def staple_down_bar_bottom(n_b: Matrix, n_bm: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of m(x - nu) in the lower staple."""
    return mul_dag(mul(n_bm, s_bar), n_b)


def staple_down_bar_far(n_b: Matrix, m_b: Matrix, s_bar: Matrix) -> Matrix:
    """Cotangent of n(x - nu + mu) in the lower staple."""
    return mul(s_bar, dag_mul(n_b, m_b))


# ---- first variation of staples when links n move along w_n n_t, and links m along w_m m_t ----------------------------
def staple_up_along(
    w_n: Number, w_m: Number, n: Matrix, m_n: Matrix, n_m: Matrix, n_t: Matrix, m_n_t: Matrix, n_m_t: Matrix
) -> Matrix:
    """Variation of the upper staple."""
    turned = add_scaled(scale(w_m, mul(n, m_n_t)), w_n, mul(n_t, m_n))
    return add(mul_dag(turned, n_m), mul_dag(scale(w_n, mul(n, m_n)), n_m_t))


def staple_down_along(
    w_n: Number, w_m: Number, n_b: Matrix, m_b: Matrix, n_bm: Matrix, n_b_t: Matrix, m_b_t: Matrix, n_bm_t: Matrix
) -> Matrix:
    """Variation of the lower staple."""
    turned = add_scaled(scale(w_m, dag_mul(n_b, m_b_t)), w_n, dag_mul(n_b_t, m_b))
    return add(mul(turned, n_bm), mul(scale(w_n, dag_mul(n_b, m_b)), n_bm_t))


# ---- convolution V = U + S + kappa U S^dagger U -----------------------------------------------------------------------
def convolve(kappa: float, u: Matrix, s: Matrix) -> Matrix:
    """u + s + kappa u s^dagger u."""
    return add(add(u, s), scale(kappa, mul(mul_dag(u, s), u)))


def convolve_bar_sum(kappa: float, u: Matrix, v_bar: Matrix) -> Matrix:
    """Cotangent of s."""
    return add(v_bar, scale(kappa, dag(mul(mul(u, v_bar), u))))


def convolve_bar_link(kappa: float, u: Matrix, s: Matrix, v_bar: Matrix) -> Matrix:
    """Cotangent of u where it appears explicitly."""
    loops = add(mul(dag_mul(s, u), v_bar), mul_dag(mul(v_bar, u), s))
    return add(v_bar, scale(kappa, loops))
