"""Residual flows of gauge links: masked updates ``U -> exp(P(U S^dagger)) U`` with exact Jacobian determinants.

A *sweep* updates every link once, in ``2 ndim`` masked layers: the links of one direction whose other coordinates have
one parity are active, everything else is frozen.  S sums staples of frozen links, plain or convolved, weighted by a few
coefficients that do not depend on the volume.  Source: arXiv 2305.02402 (residual flows), 2401.10874 (convolved links,
correlated ensembles); derivation in ``docs/derivations/residual.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from array_api_compat import array_namespace

from gaugeflow import kernels
from gaugeflow.devices import follow, to_host
from gaugeflow.errors import ConvergenceError
from gaugeflow.flows.convolution import Convolution
from gaugeflow.lattice import Array, Box, Lattice
from gaugeflow.typing import Params

PlaneClasses = Literal["isotropic", "anisotropic"]


@dataclass(frozen=True)
class ResidualSweep:
    """One sweep of masked residual layers over all links.

    Parameters
    ----------
    lattice
        The lattice; parameters do not depend on its size.
    n_colours
        N of SU(N); 1 is U(1).
    convolutions
        How the frozen links of each class of staples are smeared; ``Convolution(0)`` are the plain links.
    planes
        ``"isotropic"``: one coefficient per convolution; ``"anisotropic"``: one for temporal, one for spatial planes.
    reverse
        Whether the layers are applied in the opposite order.
    region
        Only links at sites in this box move; default: all.

    Notes
    -----
    ``params["delta"]`` has shape ``(n_convolutions, n_plane_classes)``; zeros are the identity.  A layer is certainly
    invertible where the operator norm of S is below one for every active link; ``forward`` raises where it is not.
    """

    lattice: Lattice
    n_colours: int = 3
    convolutions: tuple[Convolution, ...] = (Convolution(0),)
    planes: PlaneClasses = "isotropic"
    reverse: bool = False
    region: Box | None = None
    tolerance: float = 1e-14
    iterations: int = 1000

    def __post_init__(self) -> None:
        if self.planes not in ("isotropic", "anisotropic"):
            raise ValueError(f"planes: expected 'isotropic' or 'anisotropic', got {self.planes!r}")
        if not self.convolutions:
            raise ValueError("convolutions: expected at least one, got ()")
        if self.n_colours < 1:
            raise ValueError(f"n_colours: expected a positive integer, got {self.n_colours}")
        self._masks()

    # ---- parameters ------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int]:
        """Shape of ``params["delta"]``."""
        return len(self.convolutions), 2 if self.planes == "anisotropic" else 1

    def init(self, rng: Any = None) -> Params:
        """Parameters of the identity."""
        xp: Any = import_module("array_api_compat.numpy")
        return {"delta": xp.asarray([[0.0] * self.shape[1]] * self.shape[0])}

    def _plane_class(self, mu: int, nu: int) -> int:
        return 0 if self.planes == "isotropic" or 0 in (mu, nu) else 1

    def _weight(self, params: Params, level: int, mu: int) -> list[float]:
        delta = to_host(params["delta"])
        if tuple(delta.shape) != self.shape:
            raise ValueError(f"delta: expected shape {self.shape}, got {tuple(delta.shape)}")
        return [float(delta[level, self._plane_class(mu, nu)]) if nu != mu else 0.0 for nu in range(self.lattice.ndim)]

    # ---- the map ---------------------------------------------------------------------------------------------------
    def _masks(self) -> list[tuple[int, Any]]:
        lattice = self.lattice
        order = [(mu, parity) for mu in range(lattice.ndim) for parity in (0, 1)]
        masks = [(mu, lattice.restrict(lattice.active_sites(mu, parity), self.region)) for mu, parity in order]
        masks = [(mu, sites) for mu, sites in masks if len(sites)]
        return masks[::-1] if self.reverse else masks

    def _paths(self, params: Params, links: Array, mu: int, sites: Any) -> Array:
        total = None
        for level, convolution in enumerate(self.convolutions):
            smeared = convolution.forward(self.lattice, links, mu, sites)
            paths = kernels.path_sum(self.lattice, smeared, mu, sites, self._weight(params, level, mu))
            total = paths if total is None else total + paths
        return total

    def _paths_vjp(
        self, params: Params, level: int, links: Array, mu: int, sites: Any, paths_bar: Array, total: Array
    ) -> tuple[Array, Array]:
        """``total`` plus the cotangents of frozen links through one class of paths; cotangents of its weights."""
        weight = self._weight(params, level, mu)
        convolution = self.convolutions[level]
        if convolution.plain:
            return kernels.path_sum_vjp(self.lattice, links, mu, sites, weight, paths_bar, total)
        xp = array_namespace(links)
        smeared = convolution.forward(self.lattice, links, mu, sites)
        bar, weight_bar = kernels.path_sum_vjp(
            self.lattice, smeared, mu, sites, weight, paths_bar, xp.zeros_like(total)
        )
        return convolution.vjp(self.lattice, links, mu, sites, bar, total), weight_bar

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Map links; returns ``(y, log_det)`` with ``log_det`` of shape ``(batch,)``."""
        xp = array_namespace(x)
        work = xp.asarray(x, copy=True)
        log_det = None
        for mu, sites in self._masks():
            paths = self._paths(params, work, mu, sites)
            active, part, norm = kernels.residual_update(self.lattice, work, mu, sites, paths)
            _check_norm(norm, mu)
            work = kernels.overwrite(self.lattice, work, mu, sites, active)
            log_det = part if log_det is None else log_det + part
        return work, _finite(log_det)

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """Links x with ``forward(x) = y``, and minus the log-determinant at x.

        Raises
        ------
        ConvergenceError
            If the fixed-point iteration of a link does not reach ``tolerance``.
        """
        xp = array_namespace(y)
        work = xp.asarray(y, copy=True)
        log_det = None
        single = y.dtype == xp.complex64
        tolerance = max(self.tolerance, 1e-6 if single else 0.0)
        for mu, sites in reversed(self._masks()):
            paths = self._paths(params, work, mu, sites)
            active, part, change = kernels.residual_solve(
                self.lattice, work, mu, sites, paths, tolerance, self.iterations
            )
            worst = float(xp.max(change))
            if not worst <= tolerance:
                raise ConvergenceError(
                    f"inverse of a residual layer (direction {mu}): last change {worst:.3g} after {self.iterations} "
                    f"iterations, tolerance {tolerance:.3g}"
                )
            work = kernels.overwrite(self.lattice, work, mu, sites, active)
            log_det = part if log_det is None else log_det + part
        return work, -_finite(log_det)

    def tangent(self, x: Array, force: Array) -> Array:
        """Derivative of the log-weight with respect to ``delta`` at the identity, for each configuration.

        Parameters
        ----------
        x
            Links.
        force
            Gradient of the action from which they come.

        Returns
        -------
        Array
            ``(*delta.shape, batch)``: ``div X - <X, force>`` of each vector field X; its mean is zero.
        """
        lattice = self.lattice
        xp = array_namespace(x)
        levels, classes = self.shape
        nought = xp.zeros((lattice.batch(x.shape[-1]),), dtype=xp.float64)
        sums = [[nought for _ in range(classes)] for _ in range(levels)]
        for mu, sites in self._masks():
            for level, convolution in enumerate(self.convolutions):
                smeared = convolution.forward(lattice, x, mu, sites)
                for k in range(classes):
                    weight = [1.0 if nu != mu and self._plane_class(mu, nu) == k else 0.0 for nu in range(lattice.ndim)]
                    if any(weight):
                        paths = kernels.path_sum(lattice, smeared, mu, sites, weight)
                        part = kernels.residual_tangent(lattice, x, mu, sites, paths, force)
                        sums[level][k] = sums[level][k] + part
        return xp.stack([xp.stack(row) for row in sums])

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Pull cotangents back through the sweep; see :class:`gaugeflow.typing.Flow`."""
        bars, x_bar = self.vjp_by_configuration(params, x, y, y_bar, log_det_bar)
        xp = array_namespace(x)
        return {"delta": follow(xp.sum(bars["delta"], axis=-1), params["delta"])}, x_bar

    def vjp_by_configuration(
        self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any
    ) -> tuple[Params, Array]:
        """As :meth:`vjp`, with the cotangent of ``delta`` of each configuration, ``(*delta.shape, batch)``.

        Every link is updated once in a sweep, so that x and y together hold the links before every layer.
        """
        lattice = self.lattice
        xp = array_namespace(x)
        work = xp.asarray(y, copy=True)
        total = kernels.to_ambient(lattice, y, y_bar)
        nought = xp.zeros((lattice.batch(x.shape[-1]),), dtype=xp.float64)
        levels, classes = self.shape
        bars = {(level, k): nought for level in range(levels) for k in range(classes)}
        for mu, sites in reversed(self._masks()):
            old = xp.take(x[mu, ...], xp.asarray(sites, dtype=xp.int64), axis=0)
            work = kernels.overwrite(lattice, work, mu, sites, old)
            paths = self._paths(params, work, mu, sites)
            active_bar, paths_bar = kernels.residual_update_vjp(lattice, work, mu, sites, paths, log_det_bar, total)
            total = kernels.overwrite(lattice, total, mu, sites, active_bar)
            for level in range(levels):
                total, weight_bar = self._paths_vjp(params, level, work, mu, sites, paths_bar, total)
                for nu in range(lattice.ndim):
                    if nu != mu:
                        key = (level, self._plane_class(mu, nu))
                        bars[key] = bars[key] + weight_bar[nu, ...]
        delta_bar = xp.stack([xp.stack([bars[level, k] for k in range(classes)]) for level in range(levels)])
        return {"delta": delta_bar}, kernels.from_ambient(lattice, x, total)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x, both algebra fields."""
        lattice = self.lattice
        xp = array_namespace(x)
        work = xp.asarray(x, copy=True)
        total = kernels.to_ambient(lattice, x, score)
        for mu, sites in self._masks():
            paths = self._paths(params, work, mu, sites)
            active, paths_bar = kernels.residual_score(lattice, work, mu, sites, paths, total)
            for level in range(len(self.convolutions)):
                total, _ = self._paths_vjp(params, level, work, mu, sites, paths_bar, total)
            total = kernels.overwrite(lattice, total, mu, sites, active)
            new = xp.take(y[mu, ...], xp.asarray(sites, dtype=xp.int64), axis=0)
            work = kernels.overwrite(lattice, work, mu, sites, new)
        return kernels.from_ambient(lattice, y, total)


def _check_norm(norm: Array, mu: int) -> None:
    xp = array_namespace(norm)
    worst = float(xp.max(norm))
    if not worst < 1.0:
        raise ConvergenceError(
            f"residual layer (direction {mu}): the sum of paths has norm {worst:.3g}, invertible maps need less than "
            "1; take a smaller step or more sweeps"
        )


def _finite(log_det: Array) -> Array:
    xp = array_namespace(log_det)
    if not bool(xp.all(xp.isfinite(log_det))):
        raise ConvergenceError("residual layer: a Jacobian determinant is not positive; the step is too large")
    return log_det
