"""Replica exchange between any actions, with flows on the way: transformed replica exchange (T-REX).

A pair of neighbouring replicas with the actions S_0, S_1 and a flow f from the first to the second proposes

    U_1' = f(U_0),   U_0' = f^-1(U_1)

and accepts with min[1, p_0(U_0') p_1(U_1') / (p_0(U_0) p_1(U_1)) J_f(U_0) J_f^-1(U_1)] (arXiv:2404.11674).  Without a
flow f is the identity: parallel tempering (Swendsen and Wang, Phys. Rev. Lett. 57 (1986) 2607).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gaugeflow.domains import deal
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.random import Rng
from gaugeflow.samplers.accept import accept, choose
from gaugeflow.samplers.composite import moved_to
from gaugeflow.typing import Action, Flow, Observable, Params, Sampler


@dataclass(frozen=True, eq=False)
class Replica:
    """One member: an action and a sampler that keeps exp(-action)."""

    action: Action
    sampler: Sampler


@dataclass(frozen=True, eq=False)
class Exchange:
    """The flow from one replica to the next, and its parameters."""

    flow: Flow
    params: Params


class ReplicaState(NamedTuple):
    """Fields and sampler states of all replicas, where walkers are, and the number of steps."""

    x: tuple[Array, ...]
    parts: tuple[Any, ...]
    walker: Array
    """``(n_replicas, batch)`` int64: number of the replica at which the configuration there started."""
    step: int


class ReplicaInfo(NamedTuple):
    """Diagnostics of a step."""

    parts: tuple[Any, ...]
    """Infos of the last local step of each replica."""
    attempted: Array
    """``(n_replicas - 1,)``: which pairs were tried."""
    accepted: Array
    """``(n_replicas - 1, batch)``: which swaps were made."""
    probability: Array
    """``(n_replicas - 1, batch)``: with what probability; 0 where none was tried."""
    walker: Array
    """``(n_replicas, batch)`` after the step."""


@dataclass(frozen=True, eq=False)
class ReplicaExchange:
    """Local steps of all replicas, then swaps of every other pair of neighbours.

    Even pairs (0, 1), (2, 3), ... swap after even steps, odd pairs after odd ones.

    Parameters
    ----------
    lattice
        The lattice of all replicas.
    replicas
        Two or more, neighbours in coupling side by side.
    exchanges
        For each pair of neighbours a flow from the first to the second, or None.  Default: none has one.
    local_steps
        Steps of each sampler between swaps.
    comm
        An mpi4py communicator whose processes share the work: each moves some of the replicas and proposes some of the swaps,
        see :func:`gaugeflow.domains.deal`.  All of them call the same functions and hold the fields of all replicas; chains do
        not depend on their number.

    Raises
    ------
    ValueError
        If numbers do not fit.
    """

    lattice: Lattice
    replicas: tuple[Replica, ...]
    exchanges: tuple[Exchange | None, ...] = ()
    local_steps: int = 1
    comm: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.replicas) < 2:
            raise ValueError(f"ReplicaExchange: expected two replicas or more, got {len(self.replicas)}")
        if not self.exchanges:
            object.__setattr__(self, "exchanges", (None,) * (len(self.replicas) - 1))
        if len(self.exchanges) != len(self.replicas) - 1:
            raise ValueError(
                f"ReplicaExchange: expected {len(self.replicas) - 1} exchanges for {len(self.replicas)} replicas, got "
                f"{len(self.exchanges)}"
            )
        if self.local_steps < 1:
            raise ValueError(f"ReplicaExchange: local_steps must be at least 1, got {self.local_steps}")

    def init(self, x: Any) -> ReplicaState:
        """State that starts from one field for all replicas, or from a tuple with one for each."""
        fields = x if isinstance(x, tuple) else (x,) * len(self.replicas)
        if len(fields) != len(self.replicas):
            raise ValueError(f"ReplicaExchange: expected {len(self.replicas)} fields, got {len(fields)}")
        parts = tuple(replica.sampler.init(field) for replica, field in zip(self.replicas, fields, strict=True))
        xp = array_namespace(fields[0])
        batch = self.lattice.batch(fields[0].shape[-1])
        walker = xp.stack([xp.full((batch,), i, dtype=xp.int64) for i in range(len(self.replicas))])
        return ReplicaState(tuple(fields), parts, walker, 0)

    def swap(self, pair: int, rng: Rng, first: Array, second: Array) -> tuple[Array, Array, Array, Array]:
        """Swap two fields where accepted.

        Returns
        -------
        first, second, accepted, probability
            New fields; what was accepted and with what probability, ``(batch,)``.
        """
        low, high = (replica.action for replica in self.replicas[pair : pair + 2])
        new_second, new_first = first, second
        log_ratio = low.value(first) + high.value(second)
        exchange = self.exchanges[pair]
        if exchange is not None:
            new_second, log_det = exchange.flow.forward(exchange.params, first)
            new_first, inverse_log_det = exchange.flow.inverse(exchange.params, second)
            log_ratio = log_ratio + log_det + inverse_log_det
        log_ratio = log_ratio - low.value(new_first) - high.value(new_second)
        accepted, probability = accept(rng, log_ratio)
        first, second = (
            choose(self.lattice, accepted, new_first, first),
            choose(self.lattice, accepted, new_second, second),
        )
        return first, second, accepted, probability

    def step(self, rng: Rng, state: ReplicaState) -> tuple[ReplicaState, ReplicaInfo]:
        """Local steps and swaps; random numbers depend on ``rng`` and on ``state.step``."""
        here = rng.stream("replica").stream(state.step)
        xp = array_namespace(state.walker)
        moved = deal(self.comm, len(self.replicas), lambda i: self._move(i, here.stream("local").stream(i), state))
        parts, infos = zip(*moved, strict=True)
        fields = [part.x for part in parts]
        rows = [state.walker[i, :] for i in range(len(self.replicas))]
        pairs = range(len(self.replicas) - 1)
        tried = [len(pairs) == 1 or pair % 2 == state.step % 2 for pair in pairs]
        accepted = [xp.zeros(rows[0].shape, dtype=xp.bool) for _ in pairs]
        probability = [xp.zeros(rows[0].shape, dtype=xp.float64) for _ in pairs]
        chosen = [pair for pair in pairs if tried[pair]]

        def swapped(k: int) -> tuple[Array, Array, Array, Array]:
            pair = chosen[k]
            return self.swap(pair, here.stream("swap").stream(pair), fields[pair], fields[pair + 1])

        for pair, found in zip(chosen, deal(self.comm, len(chosen), swapped), strict=True):
            fields[pair], fields[pair + 1], accepted[pair], probability[pair] = found
            low, high = rows[pair], rows[pair + 1]
            rows[pair] = xp.where(accepted[pair], high, low)
            rows[pair + 1] = xp.where(accepted[pair], low, high)
        walker = xp.stack(rows)
        new = ReplicaState(tuple(fields), parts, walker, state.step + 1)
        info = ReplicaInfo(infos, xp.asarray(tried), xp.stack(accepted), xp.stack(probability), walker)
        return new, info

    def _move(self, i: int, rng: Rng, state: ReplicaState) -> tuple[Any, Any]:
        """State and info of a replica after its local steps."""
        sampler = self.replicas[i].sampler
        part = moved_to(sampler, state.parts[i], state.x[i])
        for local in range(self.local_steps):
            part, info = sampler.step(rng.stream(local), part)
        return part, info


class OnReplicas:
    """An observable of every replica, for :func:`gaugeflow.samplers.run`: ``(n_replicas, ...)``; named like it.

    ``comm`` is that of :class:`ReplicaExchange`.
    """

    def __init__(self, observable: Observable, comm: Any = None) -> None:
        self.observable, self.comm = observable, comm
        self.name = observable.name

    def __call__(self, x: tuple[Array, ...]) -> Array:
        """Values on all fields."""
        values = deal(self.comm, len(x), lambda i: self.observable(x[i]))
        return array_namespace(values[0]).stack(values)
