"""Wilson-clover operators, smeared sources and propagators of SU(3) in four dimensions, as sparse matrices of SciPy.

Written from the formulas, for whole small fields, to test what is written for speed.  Vectors are flat: site ``(t, z, y, x)``
with x fastest, then spin, then colour.  Directions are ordered t, z, y, x.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from gaugeflow.sites.clover import leaves

PLANES = [(mu, nu) for mu in range(4) for nu in range(mu + 1, 4)]


def gammas():
    """Euclidean gamma_mu in the basis of DeGrand and Rossi, ``(4, 4, 4)`` in the order t, z, y, x."""
    pauli = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    x, y, z = (np.kron([[0, 1], [-1, 0]], 1j * sigma) for sigma in pauli)
    return np.array([np.kron([[0, 1], [1, 0]], np.eye(2)), z, -y, x])


def field_strength(links):
    """F = (Q - Q^dagger) / 8 of every plane, ``(6, *shape, 3, 3)``, Q the sum of the four leaves from mu to nu.

    ``links`` are ``(4, *shape, 3, 3)``.  The leaves are the site function of the library.
    """
    fields = []
    for mu, nu in PLANES:

        def at(direction, *hops):
            link = links[direction]
            for axis, steps in hops:
                link = np.roll(link, -steps, axis)
            return tuple(link[..., i, j] for i in range(3) for j in range(3))

        f, b, nf, nb = (mu, 1), (mu, -1), (nu, 1), (nu, -1)
        q = leaves(
            (at(mu), at(nu, f), at(mu, nf), at(nu)),
            (at(nu), at(mu, b, nf), at(nu, b), at(mu, b)),
            (at(mu, b), at(nu, b, nb), at(mu, b, nb), at(nu, nb)),
            (at(nu, nb), at(mu, nb), at(nu, f, nb), at(mu)),
        )
        q = np.stack(q, axis=-1).reshape(links.shape[1:])
        fields.append((q - _dagger(q)) / 8)
    return np.array(fields)


def wilson_operator(links, mass, *, hopping=(1.0,) * 4, clover=(0.0,) * 6, phases=(-1.0, 1.0, 1.0, 1.0)):
    """Sparse matrix of the Wilson-clover operator with couplings per direction and per plane.

    D = mass + sum_mu h_mu (1 - [(1 - gamma_mu) U_mu(x) T_mu + (1 + gamma_mu) T_mu^dagger U_mu^dagger(x)] / 2)
    + sum_(mu < nu) (c_mu nu / 2) sigma_mu nu i F_mu nu, where T_mu psi(x) = psi(x + mu), sigma = (i / 2) [gamma_mu, gamma_nu].

    Parameters
    ----------
    links
        ``(4, *shape, 3, 3)``.
    mass
        Bare mass; 1 / (2 kappa) - 4 by the convention of Chroma, also on anisotropic lattices.
    hopping, clover
        h per direction and c per plane of :data:`PLANES`.
    phases
        Factors of forward hops across the boundary.
    """
    gamma, one, volume = gammas(), np.eye(4), links[0, ..., 0, 0].size
    site = np.arange(volume).reshape(links.shape[1:5])
    operator = (mass + sum(hopping)) * sparse.eye_array(12 * volume, format="csr")
    for mu, weight in enumerate(hopping):
        link = _with_phase(links[mu], mu, phases[mu])
        ahead, behind = np.roll(site, -1, mu), np.roll(site, 1, mu)
        operator = operator - weight / 2 * _blocks(one - gamma[mu], link, ahead)
        operator = operator - weight / 2 * _blocks(one + gamma[mu], _dagger(np.roll(link, 1, mu)), behind)
    for (mu, nu), weight, field in zip(PLANES, clover, field_strength(links), strict=True):
        sigma = 0.5j * (gamma[mu] @ gamma[nu] - gamma[nu] @ gamma[mu])
        operator = operator + weight / 2 * _blocks(sigma, 1j * field, site)
    return operator.tocsr()


def gaussian_source(links, width, steps):
    """(1 + width^2 / (4 steps) Laplacian)^steps of unit vectors at the origin, ``(12 volume, 12)``; spatial, covariant."""
    shape = links.shape[1:5]
    source = np.zeros((*shape, 3, 3), dtype=complex)
    source[0, 0, 0, 0] = np.eye(3)
    for _ in range(steps):
        laplacian = -6 * source
        for mu in (1, 2, 3):
            laplacian += links[mu] @ np.roll(source, -1, mu) + np.roll(_dagger(links[mu]) @ source, 1, mu)
        source = source + width**2 / (4 * steps) * laplacian
    return _spread(np.eye(4), source).reshape(-1, 12)


def propagator(operator, source):
    """Columns of operator^(-1) source, by conjugate gradients on the normal equations."""
    adjoint = operator.conj().T.tocsr()
    normal = LinearOperator(operator.shape, matvec=lambda v: adjoint @ (operator @ v), dtype=complex)
    columns = []
    for right_side in (adjoint @ source).T:
        column, status = cg(normal, right_side, rtol=1e-10)
        assert status == 0
        columns.append(column)
    return np.stack(columns, axis=-1)


def _dagger(matrix):
    return np.conj(np.swapaxes(matrix, -1, -2))


def _with_phase(link, mu, phase):
    """Links of direction mu with those across the boundary multiplied by a phase."""
    factor = np.ones(link.shape[mu], dtype=complex)
    factor[-1] = phase
    return link * factor.reshape([-1 if axis == mu else 1 for axis in range(6)])


def _spread(spin, colour):
    """Kronecker products of one spin matrix and the colour matrices of all sites, ``(volume, 12, 12)``."""
    return np.einsum("st,xab->xsatb", spin, colour.reshape(-1, 3, 3)).reshape(-1, 12, 12)


def _blocks(spin, colour, columns):
    """Sparse matrix whose row of blocks x is spin (x) colour(x), in block column ``columns(x)``."""
    volume = columns.size
    return sparse.bsr_array((_spread(spin, colour), columns.ravel(), np.arange(volume + 1)), shape=(12 * volume,) * 2)
