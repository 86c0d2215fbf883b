"""The clover field strength and what is made of it."""

from __future__ import annotations

from gaugeflow.sites.matrix import add, dag_mul, mul, mul_dag, re_trace_mul, scale
from gaugeflow.sites.numbers import Matrix, Number, wide

Corner = tuple[Matrix, Matrix, Matrix, Matrix]


def leaves(first: Corner, second: Corner, third: Corner, fourth: Corner) -> Matrix:
    """Sum of the four plaquettes of a plane that start at x, all turning from mu to nu.

    ``first`` holds m(x), n(x+mu), m(x+nu), n(x); ``second`` n(x), m(x+nu-mu), n(x-mu), m(x-mu); ``third`` m(x-mu),
    n(x-mu-nu), m(x-mu-nu), n(x-nu); ``fourth`` n(x-nu), m(x-nu), n(x+mu-nu), m(x).
    """
    a = mul_dag(mul(first[0], first[1]), mul(first[3], first[2]))
    b = mul(mul_dag(second[0], second[1]), dag_mul(second[2], second[3]))
    c = mul(dag_mul(mul(third[1], third[0]), third[2]), third[3])
    d = mul_dag(mul(dag_mul(fourth[0], fourth[1]), fourth[2]), fourth[3])
    return add(add(a, b), add(c, d))


def wide_energy(g: Matrix) -> Number:
    """-tr g^2 in double precision."""
    return wide(re_trace_mul(g, g)) * -1.0


def wide_charge(g01: Matrix, g02: Matrix, g03: Matrix, g12: Matrix, g13: Matrix, g23: Matrix) -> Number:
    """tr(g01 g23) - tr(g02 g13) + tr(g03 g12) in double precision, up to the sign of the convention.

    Axes are (t, z, y, x); eps_xyzt = +1 equals eps_tzyx = +1 because reversing four axes is an even permutation.
    With anti-Hermitian g the charge density is -(1 / 4 pi^2) times this sum of traces.
    """
    return wide(re_trace_mul(g02, g13) - re_trace_mul(g01, g23) - re_trace_mul(g03, g12))


Sides = tuple[Matrix, Matrix, Matrix]


def inserted_above(u: Matrix, sides: Sides, z: Corner) -> Matrix:
    """u times the way around the plaquette above it, with z inserted at each of the four corners in turn, and summed.

    ``sides`` holds n(x+mu), m(x+nu), n(x); ``z`` the matrices at x, x+mu, x+mu+nu, x+nu.
    """
    a, b, c = sides
    ab, bc = mul_dag(a, b), mul(c, b)  # the second is that of b^dagger c^dagger, conjugated
    way = mul_dag(ab, c)
    first = add(mul(z[1], way), mul(way, z[0]))
    second = add(mul_dag(mul(a, z[2]), bc), mul_dag(mul(ab, z[3]), c))
    return mul(u, add(first, second))


def inserted_below(u: Matrix, sides: Sides, z: Corner) -> Matrix:
    """Minus the way from x around the plaquette below and to x+mu, times u^dagger, z inserted at each corner in turn, summed.

    ``sides`` holds n(x-nu), m(x-nu), n(x+mu-nu); ``z`` the matrices at x, x-nu, x+mu-nu, x+mu.
    """
    a, b, c = sides
    ab, bc = dag_mul(a, b), mul(b, c)
    way = mul(ab, c)
    first = add(mul(z[0], way), mul(way, z[3]))
    second = add(dag_mul(a, mul(z[1], bc)), mul(ab, mul(z[2], c)))
    return scale(-1.0, mul_dag(add(first, second), u))
