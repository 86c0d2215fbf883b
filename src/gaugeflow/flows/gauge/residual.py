"""Residual flows of gauge links: masked updates ``U -> exp(P(U S^dagger)) U`` with exact Jacobian determinants.

A *sweep* updates every link once, in ``2 ndim`` masked layers: the links of one direction whose other coordinates have
one parity are active, everything else is frozen.  S sums staples of frozen links, plain or convolved, weighted by a few
coefficients that do not depend on the volume.  Source: arXiv 2305.02402 (residual flows), 2401.10874 (convolved links,
correlated ensembles); derivation in ``docs/derivations/residual.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

from gaugeflow import kernels
from gaugeflow.devices import follow, to_host
from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.flows.gauge.convolution import Convolution
from gaugeflow.lattice import Array, Box, Lattice
from gaugeflow.namespaces import array_namespace
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
    learn_convolutions
        Whether eta and kappa of the convolutions are parameters, which start from those of ``convolutions``.
    tolerance, iterations
        Largest change of a link in the last step of the inverse, and how many steps it may take.

    Notes
    -----
    ``params["delta"]`` has shape ``(n_convolutions, n_plane_classes)``; zeros are the identity.  Learned convolutions add
    ``params["eta"]`` and ``params["kappa"]`` of shape ``(n_convolutions,)``.  A layer is certainly
    invertible where the operator norm of S is below one for every active link; ``forward`` raises where it is not.
    """

    lattice: Lattice
    n_colours: int = 3
    convolutions: tuple[Convolution, ...] = (Convolution(0),)
    planes: PlaneClasses = "isotropic"
    reverse: bool = False
    region: Box | None = None
    learn_convolutions: bool = False
    tolerance: float = 1e-13
    iterations: int = 1000

    def __post_init__(self) -> None:
        require_finite(self, "tolerance")
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
        params = {"delta": xp.zeros(self.shape, dtype=xp.float64)}
        if self.learn_convolutions:
            params["eta"] = xp.asarray([float(c.eta) for c in self.convolutions])
            params["kappa"] = xp.asarray([float(c.kappa) for c in self.convolutions])
        return params

    def _convolutions(self, params: Params) -> tuple[Convolution, ...]:
        """The convolutions, with eta and kappa from the parameters where they are learned."""
        if not self.learn_convolutions:
            return self.convolutions
        eta, kappa = to_host(params["eta"]), to_host(params["kappa"])
        expected = (len(self.convolutions),)
        for name, values in (("eta", eta), ("kappa", kappa)):
            if tuple(values.shape) != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {tuple(values.shape)}")
        return tuple(replace(c, eta=float(eta[i]), kappa=float(kappa[i])) for i, c in enumerate(self.convolutions))

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
        if lattice.domain is None:  # else all processes must take part in every layer, with links of their own or not
            masks = [(mu, sites) for mu, sites in masks if len(sites)]
        return masks[::-1] if self.reverse else masks

    def _paths(self, params: Params, links: Array, mu: int, sites: Any) -> Array:
        total = None
        for level, convolution in enumerate(self._convolutions(params)):
            smeared = convolution.forward(self.lattice, links, mu, sites)
            paths = kernels.path_sum(self.lattice, smeared, mu, sites, self._weight(params, level, mu))
            total = paths if total is None else total + paths
        return total

    def _paths_vjp(
        self, params: Params, level: int, links: Array, mu: int, sites: Any, paths_bar: Array, total: Array
    ) -> tuple[Array, Array, Array, Array]:
        """``total`` plus the cotangents of frozen links through one class of paths; those of weights, eta and kappa."""
        weight = self._weight(params, level, mu)
        convolution = self._convolutions(params)[level]
        xp = array_namespace(links)
        if convolution.plain:
            total, weight_bar = kernels.path_sum_vjp(self.lattice, links, mu, sites, weight, paths_bar, total)
            nought = xp.zeros_like(weight_bar[0, ...])
            return total, weight_bar, nought, nought
        smeared = convolution.forward(self.lattice, links, mu, sites)
        bar, weight_bar = kernels.path_sum_vjp(
            self.lattice, smeared, mu, sites, weight, paths_bar, xp.zeros_like(total)
        )
        total, eta_bar, kappa_bar = convolution.vjp(self.lattice, links, mu, sites, bar, total)
        return total, weight_bar, eta_bar, kappa_bar

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Map links; returns ``(y, log_det)`` with ``log_det`` of shape ``(batch,)``."""
        self.lattice.check_links(x, "x")
        xp = array_namespace(x)
        work = xp.asarray(x, copy=True)
        log_det = None
        norms: list[tuple[int, Array]] = []
        for mu, sites in self._masks():
            paths = self._paths(params, work, mu, sites)
            active, part, norm = kernels.residual_update(self.lattice, work, mu, sites, paths)
            norms.append((mu, norm))
            work = kernels.overwrite(self.lattice, work, mu, sites, active)
            log_det = part if log_det is None else log_det + part
        _check_norms(norms)
        return work, _finite(log_det)

    def inverse(self, params: Params, y: Array) -> tuple[Array, Array]:
        """Links x with ``forward(x) = y``, and minus the log-determinant at x.

        Raises
        ------
        ConvergenceError
            If the last Newton step of a link is longer than ``tolerance`` (complex64: 5e-6).
        """
        self.lattice.check_links(y, "y")
        xp = array_namespace(y)
        work = xp.asarray(y, copy=True)
        log_det = None
        single = y.dtype == xp.complex64
        tolerance = max(self.tolerance, 5e-6 if single else 0.0)
        for mu, sites in reversed(self._masks()):
            paths = self._paths(params, work, mu, sites)
            active, part, change = kernels.residual_solve(
                self.lattice, work, mu, sites, paths, tolerance, self.iterations
            )
            worst = float(xp.max(change))
            if not worst <= tolerance:
                raise ConvergenceError(
                    f"inverse of a residual layer (direction {mu}): the last Newton step has norm {worst:.3g}, "
                    f"tolerance {tolerance:.3g}"
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

    def linearised(self, coefficients: Any, x: Array, force: Array, step: float) -> tuple[Array, Array, Array]:
        """Links moved to both sides along X, the derivative of the sweep at the identity along some coefficients.

        Parameters
        ----------
        coefficients
            Of the shape of ``delta``.
        x, force
            Links, and the gradient of the action from which they come.
        step
            How far they move.

        Returns
        -------
        ahead, behind, tangent : Array
            ``exp(step X) x`` and ``exp(-step X) x``; ``div X - <X, force>`` of each configuration.
        """
        lattice = self.lattice
        ahead, behind = (array_namespace(x).asarray(x, copy=True) for _ in range(2))
        tangent = 0.0
        params = {**self.init(), "delta": coefficients}
        for mu, sites in self._masks():
            paths = self._paths(params, x, mu, sites)
            tangent = tangent + kernels.residual_tangent(lattice, x, mu, sites, paths, force)
            moved = [kernels.residual_update(lattice, x, mu, sites, sign * step * paths)[0] for sign in (1.0, -1.0)]
            ahead = kernels.overwrite(lattice, ahead, mu, sites, moved[0])
            behind = kernels.overwrite(lattice, behind, mu, sites, moved[1])
        return ahead, behind, tangent

    def vjp(self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any) -> tuple[Params, Array]:
        """Pull cotangents back through the sweep; see :class:`gaugeflow.typing.Flow`."""
        bars, x_bar = self.vjp_by_configuration(params, x, y, y_bar, log_det_bar)
        xp = array_namespace(x)
        return {name: follow(xp.sum(bar, axis=-1), params[name]) for name, bar in bars.items()}, x_bar

    def vjp_by_configuration(
        self, params: Params, x: Array, y: Array, y_bar: Array, log_det_bar: Any
    ) -> tuple[Params, Array]:
        """As :meth:`vjp`, with the cotangents of each configuration: ``delta`` is ``(*delta.shape, batch)`` and so on.

        Every link is updated once in a sweep, so that x and y together hold the links before every layer.
        """
        lattice = self.lattice
        xp = array_namespace(x)
        work = xp.asarray(y, copy=True)
        total = kernels.to_ambient(lattice, y, y_bar)
        nought = xp.zeros((lattice.batch(x.shape[-1]),), dtype=xp.float64)
        levels, classes = self.shape
        eta_bar, kappa_bar = [nought] * levels, [nought] * levels
        bars = {(level, k): nought for level in range(levels) for k in range(classes)}
        for mu, sites in reversed(self._masks()):
            old = xp.take(x[mu, ...], xp.asarray(sites, dtype=xp.int64), axis=0)
            work = kernels.overwrite(lattice, work, mu, sites, old)
            paths = self._paths(params, work, mu, sites)
            active_bar, paths_bar = kernels.residual_update_vjp(lattice, work, mu, sites, paths, log_det_bar, total)
            total = kernels.overwrite(lattice, total, mu, sites, active_bar)
            for level in range(levels):
                total, weight_bar, by_eta, by_kappa = self._paths_vjp(params, level, work, mu, sites, paths_bar, total)
                eta_bar[level], kappa_bar[level] = eta_bar[level] + by_eta, kappa_bar[level] + by_kappa
                for nu in range(lattice.ndim):
                    if nu != mu:
                        key = (level, self._plane_class(mu, nu))
                        bars[key] = bars[key] + weight_bar[nu, ...]
        delta_bar = xp.stack([xp.stack([bars[level, k] for k in range(classes)]) for level in range(levels)])
        result = {"delta": delta_bar}
        if self.learn_convolutions:
            result.update(eta=xp.stack(eta_bar), kappa=xp.stack(kappa_bar))
        return result, kernels.from_ambient(lattice, x, total)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x, both algebra fields."""
        lattice = self.lattice
        self.lattice.check_links(x, "x")
        xp = array_namespace(x)
        work = xp.asarray(x, copy=True)
        total = kernels.to_ambient(lattice, x, score)
        for mu, sites in self._masks():
            paths = self._paths(params, work, mu, sites)
            active, paths_bar = kernels.residual_score(lattice, work, mu, sites, paths, total)
            for level in range(len(self.convolutions)):
                total, *_ = self._paths_vjp(params, level, work, mu, sites, paths_bar, total)
            total = kernels.overwrite(lattice, total, mu, sites, active)
            new = xp.take(y[mu, ...], xp.asarray(sites, dtype=xp.int64), axis=0)
            work = kernels.overwrite(lattice, work, mu, sites, new)
        return kernels.from_ambient(lattice, y, total)


def _check_norms(norms: list[tuple[int, Array]]) -> None:
    """Raise unless bounds are below one, which suffices for an inverse; one question to the device for all layers."""
    xp = array_namespace(norms[0][1])
    largest = to_host(xp.stack([xp.max(norm) for _, norm in norms]))
    for (mu, _), worst in zip(norms, largest.tolist(), strict=True):
        if not worst < 1.0:
            raise ConvergenceError(
                f"layer of links (direction {mu}): invertibility is certain where the bound on its contraction is below 1, "
                f"and it is {worst:.3g} here: take a smaller step or more sweeps"
            )


def _finite(log_det: Array) -> Array:
    xp = array_namespace(log_det)
    if not bool(xp.all(xp.isfinite(log_det))):
        raise ConvergenceError("residual layer: a Jacobian determinant is not positive; the step is too large")
    return log_det
