"""Fields of sources without a divergence in closed form: unbiased estimates by noise.

With noise eta whose components are independent, of mean 0 and variance 1, the sum of eta_l (dX eta)_l over the variables l of
slice t has the divergence of X^(t) as its mean: one probe serves all slices.  Estimates enter N-point functions linearly, so
that these stay exact, as long as the factors of a product have independent noise.
"""

from __future__ import annotations

from collections.abc import Callable

from gaugeflow.ensembles.sources import SOURCE_STEP
from gaugeflow.groups import SU, Manifold, manifold_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.flow_scales import slice_sums
from gaugeflow.random import Rng, uniform


def noisy_tangents(
    rng: Rng, lattice: Lattice, vectors: Callable[[Array], Array], x: Array, force: Array, probes: int = 1
) -> Array:
    """Unbiased estimates of h_i^(t) = div X_i^(t) - <X_i^(t), force> for fields of which only the values are known.

    Parameters
    ----------
    rng
        Source of the noise: one stream for each factor of a product, and for each configuration.
    lattice
        The lattice.
    vectors
        X_i, ``(n_fields, *x.shape)``, smooth functions of the configuration.
    x
        Configuration in double precision.
    force
        Gradient of the action.
    probes
        Noise vectors; each costs two evaluations of the fields.

    Returns
    -------
    Array
        ``(n_fields, T, batch)`` float64.  Beside the noise it has the error of a central difference, of second order in its
        step of 1e-4.

    Raises
    ------
    ValueError
        If there is no probe.
    """
    if probes < 1:
        raise ValueError(f"probes: expected 1 or more, got {probes}")
    xp = array_namespace(x)
    group = manifold_of(lattice, x)
    here = vectors(x)
    total = -_by_slice(group, here, force)
    for k in range(probes):
        eta = _signs(rng.stream(k), group, x)
        ahead, behind = (vectors(group.retract(x, eta, step)) for step in (SOURCE_STEP, -SOURCE_STEP))
        total = total + _by_slice(group, (ahead - behind) / (2.0 * SOURCE_STEP), eta) / probes
    return xp.astype(total, xp.float64)


def _signs(rng: Rng, group: Manifold, x: Array) -> Array:
    """A tangent vector with coordinates 1 and -1."""
    xp = array_namespace(x)
    lattice = group.lattice
    batch = lattice.batch(x.shape[-1])
    numbers = uniform(rng, lattice, group.dimension(x) // lattice.volume, batch, xp=xp)
    signs = xp.where(numbers < 0.5, -xp.ones_like(numbers), xp.ones_like(numbers))
    return group.tangent(x, xp.reshape(xp.moveaxis(lattice.unpack(signs, 1), 0, -1), (-1, batch)))


def _by_slice(group: Manifold, vectors: Array, other: Array) -> Array:
    """Scalar products with a tangent vector, slice by slice, ``(n_fields, T, batch)``."""
    xp = array_namespace(vectors)

    def product(vector: Array) -> Array:
        if isinstance(group, SU):
            transposed = xp.permute_dims(other, (0, 1, 3, 2, 4))
            return -2.0 * xp.sum(xp.real(vector * transposed), axis=(0, 2, 3))
        return vector * other

    return xp.stack([slice_sums(group.lattice, product(vectors[i, ...]), mean=False) for i in range(vectors.shape[0])])
