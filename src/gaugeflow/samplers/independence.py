"""Metropolis with independent proposals: samples of a flow, or stored configurations with their log-weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng
from gaugeflow.samplers.accept import accept, choose
from gaugeflow.typing import Action, Flow, Params, Prior


class IndependenceState(NamedTuple):
    """Field, its log-weight ``log p - log q`` up to a constant, and the number of steps."""

    x: Array
    log_weight: Array
    step: int


class IndependenceInfo(NamedTuple):
    """What was accepted, and the log-weights of the proposals, accepted or not; both ``(batch,)``."""

    accepted: Array
    log_weight: Array


@dataclass(frozen=True, eq=False)
class IndependenceMetropolis:
    """Proposals f(z) with z from a prior, accepted with min(1, w'/w) (arXiv:1904.12072).

    Parameters
    ----------
    lattice
        The lattice.
    action
        The target is exp(-S).
    prior
        Distribution of z.
    flow, params
        f and its parameters; without a flow the prior itself makes the proposals.
    """

    lattice: Lattice
    action: Action
    prior: Prior
    flow: Flow | None = None
    params: Params = field(default_factory=dict)

    def init(self, x: Array) -> IndependenceState:
        """State that starts from any configuration, whose log-weight needs the inverse flow."""
        if self.flow is None:
            return IndependenceState(x, -self.action.value(x) - self.prior.log_prob(x), 0)
        z, inverse_log_det = self.flow.inverse(self.params, x)
        log_weight = -self.action.value(x) - self.prior.log_prob(z) - inverse_log_det
        return IndependenceState(x, log_weight, 0)

    def propose(self, rng: Rng, batch: int, xp: Any = None) -> tuple[Array, Array]:
        """Independent configurations and their log-weights ``(batch,)``."""
        options = {} if xp is None else {"xp": xp}
        z = self.prior.sample(rng, batch, **options)
        if self.flow is None:
            return z, -self.action.value(z) - self.prior.log_prob(z)
        x, log_det = self.flow.forward(self.params, z)
        return x, -self.action.value(x) - self.prior.log_prob(z) + log_det

    def start(self, rng: Rng, batch: int = 1) -> IndependenceState:
        """State that starts from proposals."""
        return IndependenceState(*self.propose(rng.stream("independence start"), batch), 0)

    def step(self, rng: Rng, state: IndependenceState) -> tuple[IndependenceState, IndependenceInfo]:
        """One proposal for every chain; random numbers depend on ``rng`` and on ``state.step``."""
        here = rng.stream("independence").stream(state.step)
        xp = array_namespace(state.x)
        new, log_weight = self.propose(here, self.lattice.batch(state.x.shape[-1]), xp)
        accepted, _ = accept(here, log_weight - state.log_weight)
        x = choose(self.lattice, accepted, new, state.x)
        kept = xp.where(accepted, log_weight, state.log_weight)
        return IndependenceState(x, kept, state.step + 1), IndependenceInfo(accepted, log_weight)


def metropolis_chain(rng: Rng, log_weight: Array) -> tuple[Array, Array]:
    """The Markov chain that a list of stored, independent proposals makes.

    Parameters
    ----------
    rng
        Random numbers.
    log_weight
        ``(n, chains)``: log-weights of proposals in their order; the first is accepted.

    Returns
    -------
    index, accepted
        ``(n, chains)``: the proposal that the chain is at after each step, and whether it had just been accepted.

    Raises
    ------
    ValueError
        If the shape is not ``(n, chains)``, or a first log-weight is not finite.
    """
    xp = array_namespace(log_weight)
    if len(log_weight.shape) != 2 or log_weight.shape[0] < 1:
        raise ValueError(f"log_weight: expected shape (n, chains) with n >= 1, got {tuple(log_weight.shape)}")
    if not bool(xp.all(xp.isfinite(log_weight[0, :]))):
        raise ValueError("log_weight: the first proposal of a chain has a log-weight that is not finite")
    now = log_weight[0, :]
    at = xp.zeros(now.shape, dtype=xp.int64)
    index, history = [at], [xp.ones(now.shape, dtype=xp.bool)]
    for i in range(1, log_weight.shape[0]):
        accepted, _ = accept(rng.stream("metropolis chain").stream(i), log_weight[i, :] - now)
        now = xp.where(accepted, log_weight[i, :], now)
        at = xp.where(accepted, xp.full_like(at, i), at)
        index.append(at)
        history.append(accepted)
    return xp.stack(index), xp.stack(history)
