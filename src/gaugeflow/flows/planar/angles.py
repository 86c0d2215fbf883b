"""U(1) links as angles: flows of real fields ``(ndim, volume, batch)`` seen as flows of links.

The site axis of angles runs over slots ``block site * n_folds + fold``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gaugeflow.flows.evaluation import Evaluation, evaluate
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.sites.numbers import atan2, cos, cplx, sin
from gaugeflow.typing import Flow, Params


@dataclass(frozen=True)
class AngleFlow:
    """A flow of the angles of U(1) links as a flow of the links.

    Parameters
    ----------
    lattice
        The lattice.
    flow
        Changes angles ``(ndim, volume, batch)`` in a way that does not depend on the turn they are given in.

    Notes
    -----
    The algebra field i f is the gradient f = g / 2 for derivatives g by angles, because <i f, i w> = 2 f w.
    """

    lattice: Lattice
    flow: Flow

    def __post_init__(self) -> None:
        self.lattice.check_whole("AngleFlow")

    def init(self, rng: Any) -> Params:
        """Parameters of the flow of angles."""
        return self.flow.init(rng)

    def _angles(self, links: Array) -> Array:
        xp = array_namespace(links)
        n, lanes = self.lattice.check_links(links)
        if n != 1:
            raise ValueError(f"AngleFlow: expected U(1) links, got {n} colours")
        flat = xp.reshape(links, (self.lattice.ndim, self.lattice.volume, self.lattice.batch(lanes)))
        return atan2(xp.imag(flat), xp.real(flat))

    def _moved(self, links: Array, change: Array) -> Array:
        xp = array_namespace(links)
        return links * xp.reshape(cplx(cos(change), sin(change)), links.shape)

    def _by_angle(self, algebra: Array) -> Array:
        xp = array_namespace(algebra)
        shape = (self.lattice.ndim, self.lattice.volume, self.lattice.batch(algebra.shape[-1]))
        return 2.0 * xp.reshape(xp.imag(algebra), shape)

    def _algebra(self, by_angle: Array, links: Array) -> Array:
        return array_namespace(links).reshape(cplx(0.0 * by_angle, 0.5 * by_angle), links.shape)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        angles = self._angles(x)
        moved, log_det = self.flow.forward(params, angles)
        return self._moved(x, moved - angles), log_det

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``."""
        angles = self._angles(y)
        moved, log_det = self.flow.inverse(params, angles)
        return self._moved(y, moved - angles), log_det

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`."""
        angles = self._angles(x)
        at = evaluate(self.flow, params, angles)

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            params_bar, angle_bar = at.pull_back(self._by_angle(y_bar), log_det_bar)
            return params_bar, self._algebra(angle_bar, x)

        def push_score(score: Array) -> Array:
            return self._algebra(at.push_score(self._by_angle(score)), x)

        return Evaluation(self._moved(x, at.y - angles), at.log_det, pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)
