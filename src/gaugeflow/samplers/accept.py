"""Accept-reject steps of whole configurations."""

from __future__ import annotations

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng, uniform

_ONE_SITE = Lattice((2,))


def uniforms(rng: Rng, like: Array) -> Array:
    """Uniform numbers of the shape and device of a vector with one entry for each configuration."""
    xp = array_namespace(like)
    return uniform(rng.stream("accept"), _ONE_SITE, 1, int(like.shape[0]), xp=xp)[0, 0, :]


def accept(rng: Rng, log_ratio: Array) -> tuple[Array, Array]:
    """Which proposals to accept, and with what probability.

    Parameters
    ----------
    rng
        Random numbers.
    log_ratio
        Logarithm of the Metropolis-Hastings ratio, ``(batch,)``; anything that is not a number means rejection.

    Returns
    -------
    accepted, probability
        ``(batch,)`` bool, and min(1, ratio).
    """
    xp = array_namespace(log_ratio)
    capped = xp.where(log_ratio < 0.0, log_ratio, xp.zeros_like(log_ratio))
    probability = xp.where(xp.isnan(log_ratio), xp.zeros_like(log_ratio), xp.exp(capped))
    return uniforms(rng, log_ratio) < probability, probability


def choose(lattice: Lattice, accepted: Array, new: Array, old: Array) -> Array:
    """``new`` for the accepted configurations of a field, ``old`` for the others."""
    xp = array_namespace(old)
    return xp.where(lattice.spread_folds(accepted), new, old)


def check_state(state: object, kind: type) -> None:
    """Raise ``TypeError`` unless a state is of this kind, for instance where it is a field."""
    if not isinstance(state, kind):
        raise TypeError(f"step: expected a {kind.__name__}, as init(x) makes it, got a {type(state).__name__}")
