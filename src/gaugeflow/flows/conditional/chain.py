"""The protocol of conditional flows, and their composition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Params


@runtime_checkable
class ConditionalFlow(Protocol):
    """An invertible map of fermion fields that depends on links, with a tractable Jacobian in the fermion fields.

    ``log_det`` is log abs det of the real linear map: a complex determinant counts with its modulus squared.
    """

    def init(self, rng: Any) -> Params:
        """Parameters to start from."""

    def forward(self, params: Params, links: Array, eta: Array) -> tuple[Array, Array]:
        """``(phi, log_det)``; log_det is ``(batch,)`` float64."""

    def inverse(self, params: Params, links: Array, phi: Array) -> tuple[Array, Array]:
        """``(eta, -log_det)``."""

    def vjp(
        self, params: Params, links: Array, eta: Array, phi: Array, phi_bar: Array, log_det_bar: Array
    ) -> tuple[Params, Array, Array]:
        """Cotangents ``(params_bar, links_bar, eta_bar)``; fermion fields have the scalar product Re sum conj(a) b."""


@dataclass(frozen=True)
class ConditionalChain:
    """Conditional flows one after another; parameters live under the keys ``"0"``, ``"1"``, ..."""

    flows: tuple[ConditionalFlow, ...]

    def __post_init__(self) -> None:
        if not self.flows:
            raise ValueError("ConditionalChain: expected at least one flow, got ()")

    def init(self, rng: Any) -> Params:
        """Parameters of all flows, each from a stream of its own."""
        return {str(i): flow.init(rng.stream(i)) for i, flow in enumerate(self.flows)}

    def forward(self, params: Params, links: Array, eta: Array) -> tuple[Array, Array]:
        """``(phi, log_det)``."""
        total: Any = 0.0
        for i, flow in enumerate(self.flows):
            eta, log_det = flow.forward(params[str(i)], links, eta)
            total = total + log_det
        return eta, total

    def inverse(self, params: Params, links: Array, phi: Array) -> tuple[Array, Array]:
        """``(eta, -log_det)``."""
        total: Any = 0.0
        for i in reversed(range(len(self.flows))):
            phi, minus_log_det = self.flows[i].inverse(params[str(i)], links, phi)
            total = total + minus_log_det
        return phi, total

    def vjp(
        self, params: Params, links: Array, eta: Array, phi: Array, phi_bar: Array, log_det_bar: Array
    ) -> tuple[Params, Array, Array]:
        """Cotangents; fields between the flows are computed again."""
        fields = [eta]
        for i, flow in enumerate(self.flows):
            fields.append(flow.forward(params[str(i)], links, fields[-1])[0])
        bars: dict[str, Any] = {}
        links_bar = array_namespace(links).zeros_like(links)
        for i in reversed(range(len(self.flows))):
            bars[str(i)], part, phi_bar = self.flows[i].vjp(
                params[str(i)], links, fields[i], fields[i + 1], phi_bar, log_det_bar
            )
            links_bar = links_bar + part
        return {str(i): bars[str(i)] for i in range(len(self.flows))}, links_bar, phi_bar
