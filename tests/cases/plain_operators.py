"""Dirac operators written from their textbook formulas on whole conventional arrays, to test those that are written for speed.

Links are ``(d, *shape, N, N)`` and fermions ``(*shape, spin, N)``; nothing here is taken from the library.
"""

import itertools

import numpy as np

SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def gammas(d):
    """Euclidean gamma matrices, direction 0 first, and gamma_5, in two, four and six dimensions."""
    if d == 2:
        found = [SIGMA[1], SIGMA[0]]
    elif d == 4:  # DeGrand and Rossi
        x, y, z = (np.kron([[0, 1], [-1, 0]], 1j * sigma) for sigma in SIGMA)
        found = [np.kron(SIGMA[0], np.eye(2)), z, -y, x]
    else:
        below, chirality = gammas(d - 2)
        found = [np.kron(SIGMA[0], np.eye(len(chirality)))]
        found += [-np.kron(SIGMA[1], matrix) for matrix in (chirality, *below)]
    return found, np.diag(np.repeat([1.0, -1.0], len(found[0]) // 2))


def dagger(matrix):
    return np.conj(np.swapaxes(matrix, -1, -2))


def with_phases(links, phases):
    """Links multiplied by the phase of the boundary that they cross."""
    links = links.copy()
    for mu, phase in enumerate(phases):
        last = [slice(None)] * links[mu].ndim
        last[mu] = -1
        links[mu][tuple(last)] *= phase
    return links


def walk(links, steps):
    """Product of links along a walk from every site; steps are mu + 1 forward, -(mu + 1) backward."""
    d = len(links)
    place = [0] * d
    total = np.broadcast_to(np.eye(links.shape[-1]), links[0].shape)
    for step in steps:
        mu = abs(step) - 1
        if step < 0:
            place[mu] -= 1
        link = np.roll(links[mu], [-p for p in place], axis=tuple(range(d)))
        total = total @ (link if step > 0 else dagger(link))
        if step > 0:
            place[mu] += 1
    return total


def field_strength(links, mu, nu):
    """F = (Q - Q^dagger) / 8, Q the four plaquettes that start at a site and turn from mu to nu."""
    a, b = mu + 1, nu + 1
    q = sum(walk(links, w) for w in ((a, b, -a, -b), (b, -a, -b, a), (-a, -b, a, b), (-b, a, b, -a)))
    return (q - dagger(q)) / 8


def wilson(links, psi, *, mass, hopping=None, phases=None, csw=None, twisted_mass=0.0):
    """Mass form of the Wilson operator; csw a number for each plane mu < nu."""
    d = len(links)
    hopping = hopping or (1.0,) * d
    gamma, gamma_5 = gammas(d)
    one = np.eye(len(gamma_5))

    def spin(matrix, field):
        return np.einsum("st,...ta->...sa", matrix, field)

    def colour(matrix, field):
        return np.einsum("...ab,...sb->...sa", matrix, field)

    result = (mass + sum(hopping)) * psi + 1j * twisted_mass * spin(gamma_5, psi)
    hops = links if phases is None else with_phases(links, phases)
    for mu, h in enumerate(hopping):
        ahead = colour(hops[mu], np.roll(psi, -1, mu))
        behind = np.roll(colour(dagger(hops[mu]), psi), 1, mu)
        result = result - h / 2 * (spin(one - gamma[mu], ahead) + spin(one + gamma[mu], behind))
    planes = list(itertools.combinations(range(d), 2))
    for (mu, nu), c in zip(planes, csw or (0.0,) * len(planes), strict=True):
        sigma = 0.5j * (gamma[mu] @ gamma[nu] - gamma[nu] @ gamma[mu])
        if c:
            result = result + c / 2 * spin(sigma, colour(1j * field_strength(links, mu, nu), psi))
    return result


def staggered(links, psi, *, mass, hopping=None, phases=None):
    """m + (1/2) sum_mu h eta_mu (U_mu T_mu - T_mu^dagger U_mu^dagger)."""
    d = len(links)
    x = np.indices(links.shape[1 : 1 + d])
    hops = links if phases is None else with_phases(links, phases)
    result = mass * psi
    for mu, h in enumerate(hopping or (1.0,) * d):
        eta = (-1.0) ** x[:mu].sum(axis=0)
        ahead = np.einsum("...ab,...sb->...sa", hops[mu], np.roll(psi, -1, mu))
        behind = np.roll(np.einsum("...ba,...sb->...sa", hops[mu].conj(), psi), 1, mu)
        result = result + h / 2 * eta[..., None, None] * (ahead - behind)
    return result
