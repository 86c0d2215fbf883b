"""Composition of flows, and the inverse of a flow as a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gaugeflow.flows.evaluation import Evaluation, evaluate
from gaugeflow.typing import Array, Flow, Params


@dataclass(frozen=True)
class Chain:
    """Flows applied one after another; parameters live under the keys ``"0"``, ``"1"``, ..."""

    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        if not self.flows:
            raise ValueError("Chain: expected at least one flow, got ()")

    def init(self, rng: Any = None) -> Params:
        """Parameters of the identity; with an ``rng``, each flow draws from a stream of its own."""
        return {str(i): flow.init(None if rng is None else rng.stream(i)) for i, flow in enumerate(self.flows)}

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        y, log_det = self.flows[0].forward(params["0"], x)
        for i, flow in enumerate(self.flows[1:], start=1):
            y, part = flow.forward(params[str(i)], y)
            log_det = log_det + part
        return y, log_det

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``."""
        last = len(self.flows) - 1
        x, log_det = self.flows[last].inverse(params[str(last)], y)
        for i in range(last - 1, -1, -1):
            x, part = self.flows[i].inverse(params[str(i)], x)
            log_det = log_det + part
        return x, log_det

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`; every flow keeps what its cotangents need."""
        stages = []
        log_det: Any = 0.0
        y = x
        for i, flow in enumerate(self.flows):
            stages.append(evaluate(flow, params[str(i)], y))
            y, log_det = stages[-1].y, log_det + stages[-1].log_det

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            bars: dict[str, Any] = {}
            for i in range(len(stages) - 1, -1, -1):
                bars[str(i)], y_bar = stages[i].pull_back(y_bar, log_det_bar)
            return bars, y_bar

        def push_score(score: Array) -> Array:
            for stage in stages:
                score = stage.push_score(score)
            return score

        return Evaluation(y, log_det, pull_back, push_score)

    def _stages(self, params: Params, x: Array, y: Array) -> list[Array]:
        stages = [x]
        for i, flow in enumerate(self.flows[:-1]):
            stages.append(flow.forward(params[str(i)], stages[-1])[0])
        return [*stages, y]

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x; the fields in between are computed again."""
        return self._pull_back(params, x, y, y_bar, log_det_bar, "vjp")

    def vjp_by_configuration(
        self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any
    ) -> tuple[Params, Array]:
        """As :meth:`vjp`, with a last axis ``batch`` on the cotangents of parameters."""
        return self._pull_back(params, x, y, y_bar, log_det_bar, "vjp_by_configuration")

    @property
    def push_score(self) -> Callable[[Params, Array, Array, Array], Array]:
        """Gradient of the log-density of ``y = f(x)`` from that of x: a function of (params, x, y, score).

        A chain has it where all its flows have it, so that ``hasattr`` tells.
        """
        without = next((flow for flow in self.flows if not hasattr(flow, "push_score")), None)
        if without is not None:
            raise AttributeError(f"Chain: {type(without).__name__} offers no push_score")
        return self._push_score

    def _push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        stages = self._stages(params, x, y)
        for i, flow in enumerate(self.flows):
            score = flow.push_score(params[str(i)], stages[i], stages[i + 1], score)  # type: ignore[attr-defined]
        return score

    def _pull_back(
        self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any, method: str
    ) -> tuple[Params, Array]:
        stages = self._stages(params, x, y)
        bars: dict[str, Any] = {}
        for i in range(len(self.flows) - 1, -1, -1):
            pull = getattr(self.flows[i], method)
            bars[str(i)], y_bar = pull(params[str(i)], stages[i], stages[i + 1], y_bar, log_det_bar)
        return bars, y_bar
