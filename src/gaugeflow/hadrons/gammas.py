"""Spin structures of hadron operators, built from the gamma matrices of ``gaugeflow.sites.dirac``.

Every product of gamma matrices has one number in each row, so that a matrix is a tuple of (column, value), row by row.
"""

from __future__ import annotations

import re
from functools import cache

from gaugeflow.sites.dirac import Row, SpinMatrix, gamma, spin_components


def identity(ndim: int) -> SpinMatrix:
    """The unit matrix."""
    return tuple((i, 1 + 0j) for i in range(spin_components(ndim)))


def gamma_5(ndim: int) -> SpinMatrix:
    """gamma_5: 1 on upper halves of spinors, -1 on lower ones."""
    size = spin_components(ndim)
    return tuple((i, 1 + 0j if i < size // 2 else -1 + 0j) for i in range(size))


def product(*matrices: SpinMatrix) -> SpinMatrix:
    """Matrix product."""
    result = matrices[0]
    for m in matrices[1:]:
        result = tuple((m[j][0], c * m[j][1]) for j, c in result)
    return result


def scaled(number: complex, matrix: SpinMatrix) -> SpinMatrix:
    """The matrix times a number."""
    return tuple((j, number * c) for j, c in matrix)


def transpose(matrix: SpinMatrix) -> SpinMatrix:
    """Transposed matrix."""
    rows: list[Row] = [(0, 0j)] * len(matrix)
    for i, (j, c) in enumerate(matrix):
        rows[j] = (i, c)
    return tuple(rows)


def dagger(matrix: SpinMatrix) -> SpinMatrix:
    """Hermitian conjugate."""
    return tuple((i, c.conjugate()) for i, c in transpose(matrix))


def bar(ndim: int, matrix: SpinMatrix) -> SpinMatrix:
    """gamma_0 Gamma^dagger gamma_0: the structure of the operator that creates what psi-bar Gamma psi annihilates."""
    time = gamma(ndim, 0)
    return product(time, dagger(matrix), time)


@cache
def charge_conjugation(ndim: int) -> SpinMatrix:
    """A matrix C with C gamma_mu C^-1 = -gamma_mu^T for all mu, a product of gamma matrices.

    It is the product of the antisymmetric gamma matrices, or of the symmetric ones: whichever has that property (in the
    basis of DeGrand and Rossi gamma_t gamma_y).  Its phase cancels in every correlator.
    """
    matrices = [gamma(ndim, mu) for mu in range(ndim)]
    for symmetry in (1, -1):
        chosen = [m for m in matrices if transpose(m) == scaled(symmetry, m)]
        candidate = product(identity(ndim), *chosen)
        if all(product(candidate, m) == scaled(-1, product(transpose(m), candidate)) for m in matrices):
            return candidate
    raise ValueError(f"no product of the gamma matrices of {ndim} dimensions is a charge conjugation")


def spin_matrix(ndim: int, name: str) -> SpinMatrix:
    """Spin matrix from its name: ``"1"`` or a product like ``"g5"``, ``"g0"``, ``"g0g5"``, ``"g1g2"``.

    Digits are directions (0 is time) except 5, which is gamma_5 (below six dimensions).

    Raises
    ------
    ValueError
        If the name is none of these.
    """
    if name == "1":
        return identity(ndim)
    if ndim > 5 or not re.fullmatch(r"(g[0-9])+", name):
        raise ValueError(f"spin matrix: expected '1' or a product like 'g5' or 'g0g5', got {name!r}")
    factors = []
    for digit in map(int, name.replace("g", "")):
        if digit != 5 and digit >= ndim:
            raise ValueError(f"spin matrix: {name!r} names direction {digit}, expected 0 ... {ndim - 1} or 5")
        factors.append(gamma_5(ndim) if digit == 5 else gamma(ndim, digit))
    return product(*factors)


MESONS = ("pion", "pion_axial", "rho", "a0", "a1", "b1")
"""Mesons by name; see :func:`meson_structures`."""


def meson_structures(ndim: int, name: str) -> tuple[SpinMatrix, ...]:
    """Matrices Gamma of a meson psi-bar Gamma psi, over whose correlators the mean is taken.

    ==========  ===========================================================
    pion        gamma_5
    pion_axial  gamma_0 gamma_5
    rho         gamma_i
    a0          1
    a1          gamma_i gamma_5
    b1          gamma_i gamma_j, i < j (more than two dimensions)
    ==========  ===========================================================

    Any name that :func:`spin_matrix` understands is a meson of that one matrix.

    Raises
    ------
    ValueError
        If the name is unknown, or the meson does not exist in this dimension.
    """
    space = range(1, ndim)
    five = gamma_5(ndim)
    table = {
        "pion": (five,),
        "pion_axial": (product(gamma(ndim, 0), five),),
        "rho": tuple(gamma(ndim, i) for i in space),
        "a0": (identity(ndim),),
        "a1": tuple(product(gamma(ndim, i), five) for i in space),
        "b1": tuple(product(gamma(ndim, i), gamma(ndim, j)) for i in space for j in space if i < j),
    }
    if name in table:
        if not table[name]:
            raise ValueError(f"meson {name!r} does not exist in {ndim} dimensions")
        return table[name]
    if re.fullmatch(r"1|(g[0-9])+", name):
        return (spin_matrix(ndim, name),)
    raise ValueError(f"meson: expected one of {MESONS} or a product like 'g1g5', got {name!r}")
