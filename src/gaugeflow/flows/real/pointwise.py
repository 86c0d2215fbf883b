"""Functions of the field at one site, with the same two parameters everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gaugeflow.devices import require_beside
from gaugeflow.flows.evaluation import Evaluation
from gaugeflow.kernels.scalar import check_scalar
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Params


@dataclass(frozen=True)
class SinhArcsinh:
    """y = k sinh(d asinh(x / k)) on every site: odd, linear at first and growing like the power d beyond k.

    Affine couplings leave the distribution of the field at a site, its neighbours given, as Gaussian as it was; a
    quartic potential wants d < 1 (lighter tails).  Without skewness this is the transformation of Jones and Pewsey,
    Biometrika 96 (2009) 761.  Parameters are ``log_power`` and ``log_scale``, log d and log k, zero-dimensional.
    """

    lattice: Lattice

    def init(self, rng: Any = None) -> Params:
        """d = 1, the identity, and k = 1."""
        xp: Any = import_module("array_api_compat.numpy")
        return {"log_power": xp.asarray(0.0), "log_scale": xp.asarray(0.0)}

    def _sum(self, number: Array) -> Array:
        return sum_sites(self.lattice, number)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """``(y, log_det)``."""
        at = self.evaluate(params, x)
        return at.y, at.log_det

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """``(x, -log_det)``; exact, the same function with power 1 / d."""
        return self.forward({**params, "log_power": -params["log_power"]}, y)

    def evaluate(self, params: Params, x: Array) -> Evaluation:
        """As :func:`gaugeflow.flows.evaluate`; derivatives in ``docs/derivations/networks.md``."""
        check_scalar(self.lattice, x)
        xp = array_namespace(x)
        for name in ("log_power", "log_scale"):
            require_beside(name, params[name], x)
        power, scale = (xp.astype(xp.exp(params[name]), x.dtype) for name in ("log_power", "log_scale"))
        u = x / scale
        w = xp.asinh(u)
        v = power * w
        y = scale * xp.sinh(v)
        cosh_v, tanh_v = xp.cosh(v), xp.tanh(v)
        root = xp.sqrt(1.0 + u * u)
        slope = power * cosh_v / root  # dy / dx
        bend = (power * tanh_v / root - u / (root * root)) / scale  # d log slope / dx

        def pull_back(y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
            bar = xp.astype(self.lattice.spread_folds(log_det_bar), x.dtype)
            x_bar = y_bar * slope + bar * bend
            power_bar = y_bar * scale * cosh_v * v + bar * (1.0 + v * tanh_v)
            scale_bar = y_bar * (y - slope * x) - bar * bend * x
            bars = {"log_power": xp.sum(self._sum(power_bar)), "log_scale": xp.sum(self._sum(scale_bar))}
            return {name: xp.astype(bars[name], params[name].dtype) for name in bars}, x_bar

        def push_score(score: Array) -> Array:
            return (score - bend) / slope

        return Evaluation(y, self._sum(xp.log(slope)), pull_back, push_score)

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Cotangents of parameters and of x."""
        return self.evaluate(params, x).pull_back(y_bar, log_det_bar)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x."""
        return self.evaluate(params, x).push_score(score)
