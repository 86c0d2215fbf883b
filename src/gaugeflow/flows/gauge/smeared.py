"""Flows of gauge links by loops of smeared links: a residual flow that needs few coefficients.

A *sweep* updates every link once.  In each layer the links of two directions, at the sites of two colours chosen so that
no plaquette holds two of them, are active and move by ``U -> exp(F) U`` with F the sum, over these fields and with
coefficients delta, of

    A:  P(U A_n)                                      A_n: closing staples of the smeared links V_n
    Q:  P(U A_n U A_0)
    Z:  (P(B_n A_n) + U P(A_n B_n) U^dagger) / 2      B_n: V_n at the active link
    G:  (P(B_0 G_m) + U P(G_m B_0) U^dagger) / 2      G_m: gradient of the plaquettes of V_m with respect to V_0,
                                                      a field of its own for each m

where V_0 has the active links replaced by the mean of their staples, so that A, B, G depend on frozen links only.  The
last two fields have no divergence: they move links along the smoothed force without a Jacobian at first order.
Derivation in ``docs/derivations/smeared.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from typing import Any, Literal, NamedTuple, get_args

from gaugeflow import kernels
from gaugeflow.devices import follow, to_host
from gaugeflow.errors import ConvergenceError, require_finite
from gaugeflow.flows.gauge.residual import PlaneClasses, _check_norms, _finite
from gaugeflow.flows.gauge.smearing import Active, Gradient, Smearing, Stages, Weights, active_rows
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Box, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.typing import Params

Masks = Literal["auto", "sum4", "sum8", "parity"]

_LOOPS = ("A", "Q", "Z")


class _Rows(NamedTuple):
    """What the update of one set of active links is made of, each ``(n_active, N, N, lanes)``."""

    staples: list[Array]  # closing staples of V_n, one sum for each class of planes
    first: Array  # closing staples of V_0
    gradient: Array
    filled: Array  # the active links of V_0
    last: Array  # the active links of V_n


class _Layer(NamedTuple):
    stages: Stages
    gradient: Gradient
    rows: list[_Rows]  # for each set of active links


@dataclass(frozen=True)
class SmearedSweep:
    """One sweep of layers that move links by loops of smeared links.

    Parameters
    ----------
    lattice
        The lattice; parameters do not depend on its size.
    n_colours
        N of SU(N); 1 is U(1).
    smearing
        How V_1, V_2, ... are made, n, and every m.
    planes
        ``"isotropic"``: one coefficient per field; ``"anisotropic"``: one for temporal and one for spatial planes of
        the staples A_n and of the plaquettes in G_m.
    masks
        ``"sum4"``: links of two directions move together, at sites whose coordinates have the sum c and c + 2 modulo 4;
        ``"parity"``: links of one direction at sites of one parity; ``"auto"``: the first where the lattice and its
        fold allow it.  A sweep has 2 ndim layers either way (2 ndim + 2 for ``"sum4"`` in odd dimensions).
        ``"sum8"``: links of one direction, at sites where ``sum_mu (2 mu + 1) x_mu`` is c modulo 8: 8 ndim layers, whose
        links hardly see each other also through smeared links; extents must be multiples of 8.
    reverse
        Whether the layers are applied in the opposite order.
    region
        Only links at sites in this box move; default: all.
    tolerance, iterations
        Of the inverse: longest last Newton step, and iterations of the fixed point before it at most.

    Notes
    -----
    ``params["delta"]`` has shape ``(n_fields, n_plane_classes)``, rows in the order of :attr:`fields`; zeros are the
    identity.
    A layer is certainly invertible where ``||A|| + 2 ||C|| ||D|| + 2 ||R'|| < 1`` for every active link, see
    :func:`gaugeflow.kernels.smeared_update`; ``forward`` raises where it is not.
    """

    lattice: Lattice
    n_colours: int = 3
    smearing: Smearing = field(default_factory=Smearing)
    planes: PlaneClasses = "isotropic"
    masks: Masks = "auto"
    reverse: bool = False
    region: Box | None = None
    tolerance: float = 1e-13
    iterations: int = 1000

    def __post_init__(self) -> None:
        require_finite(self, "tolerance")
        if self.planes not in ("isotropic", "anisotropic"):
            raise ValueError(f"planes: expected 'isotropic' or 'anisotropic', got {self.planes!r}")
        if self.masks not in get_args(Masks):
            raise ValueError(f"masks: expected one of {get_args(Masks)}, got {self.masks!r}")
        if self.n_colours < 1:
            raise ValueError(f"n_colours: expected a positive integer, got {self.n_colours}")
        if self.lattice.ndim < 2:
            raise ValueError(f"lattice: expected two dimensions or more, got shape {self.lattice.shape}")
        self.layers()

    # ---- parameters ------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int]:
        """Shape of ``params["delta"]``."""
        return len(self.fields), 2 if self.planes == "anisotropic" else 1

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the rows of ``params["delta"]``: A, Q, Z, and G followed by the number of its smearing steps."""
        return *_LOOPS, *(f"G{m}" for m in self.smearing.gradient_steps)

    def init(self, rng: Any = None) -> Params:
        """Parameters of the identity."""
        xp: Any = import_module("array_api_compat.numpy")
        return {"delta": xp.zeros(self.shape, dtype=xp.float64)}

    def _plane_class(self, mu: int, nu: int) -> int:
        return 0 if self.planes == "isotropic" or 0 in (mu, nu) else 1

    def _delta(self, params: Params) -> list[list[float]]:
        delta = to_host(params["delta"])
        if tuple(delta.shape) != self.shape:
            raise ValueError(f"delta: expected shape {self.shape}, got {tuple(delta.shape)}")
        return [[float(delta[i, k]) for k in range(self.shape[1])] for i in range(self.shape[0])]

    def _weights(self, classes: list[float]) -> list[float]:
        """Weight of each plane (mu, nu), at ``mu * ndim + nu``, from those of the classes."""
        d = range(self.lattice.ndim)
        return [classes[self._plane_class(mu, nu)] if nu != mu else 0.0 for mu in d for nu in d]

    def _one_class(self, k: int) -> list[float]:
        return self._weights([float(i == k) for i in range(self.shape[1])])

    # ---- layers ----------------------------------------------------------------------------------------------------
    @property
    def _modulus(self) -> int:
        extents = zip(self.lattice.shape, self.lattice.block_shape, self.lattice.fold, strict=True)
        fits = all(n % 4 == 0 and (f == 1 or block % 4 == 0) for n, block, f in extents)
        return {"sum8": 8, "sum4": 4, "parity": 2, "auto": 4 if fits else 2}[self.masks]

    def _colour_sites(self, colour: int) -> Any:
        modulus = self._modulus
        weights = [2 * mu + 1 if modulus == 8 else 1 for mu in range(self.lattice.ndim)]
        sites = self.lattice.sites_of_colour(weights, modulus, colour % modulus)
        return self.lattice.restrict(sites, self.region)

    def layers(self) -> list[Active]:
        """Links that move together, layer by layer."""
        d = self.lattice.ndim
        together = 2 if self._modulus == 4 else 1
        groups = [range(mu, min(mu + together, d)) for mu in range(0, d, together)]
        layers = [
            tuple((mu, self._colour_sites(colour + 2 * i)) for i, mu in enumerate(group))
            for group in groups
            for colour in range(self._modulus)
        ]
        if self.lattice.domain is None:  # else all processes must take part in every layer, with links or without
            layers = [tuple((mu, sites) for mu, sites in layer if len(sites)) for layer in layers]
            layers = [layer for layer in layers if layer]
        return layers[::-1] if self.reverse else layers

    def _class_weight(self, k: int, mu: int) -> list[float]:
        """Weight of the staples of one class in the planes (mu, nu)."""
        d = self.lattice.ndim
        return self._one_class(k)[mu * d : (mu + 1) * d]

    def _gradient_weights(self, delta: list[list[float]]) -> Weights:
        return [self._weights(classes) for classes in delta[len(_LOOPS) :]]

    def _layer(self, weights: Weights, links: Array, active: Active, keep: bool = False) -> _Layer:
        """Frozen matrices of a layer, with weights for the planes of each gradient; ``keep`` for :meth:`_frozen_vjp`."""
        stages = self.smearing.stages(self.lattice, links, active)
        gradient = self.smearing.gradient(self.lattice, stages, weights, active, keep)
        rows = self._rows(stages, active)
        return _Layer(stages, gradient, [r._replace(gradient=g) for r, g in zip(rows, gradient.active, strict=True)])

    def _rows(self, stages: Stages, active: Active) -> list[_Rows]:
        """Frozen matrices of each set of active links, without a gradient."""
        lattice = self.lattice
        first, last = stages.links[0], stages.links[self.smearing.steps]
        result = []
        for mu, sites in active:
            filled = active_rows(first, mu, sites)
            classes = range(self.shape[1])
            staples = [kernels.path_sum(lattice, last, mu, sites, self._class_weight(k, mu)) for k in classes]
            around = kernels.path_sum(lattice, first, mu, sites, 1.0)
            result.append(_Rows(staples, around, 0.0 * filled, filled, active_rows(last, mu, sites)))
        return result

    def _paths(self, delta: list[list[float]], rows: _Rows) -> Array:
        """The matrices that an update needs, ``(7, n_active, N, N, lanes)``; the gradient holds its coefficients."""
        xp = array_namespace(rows.first)

        def combined(coefficients: list[float]) -> Array:
            total = coefficients[0] * rows.staples[0]
            for weight, part in zip(coefficients[1:], rows.staples[1:], strict=True):
                total = total + weight * part
            return total

        staples = [combined(delta[i]) for i in range(len(_LOOPS))]
        return xp.stack([*staples, rows.first, rows.gradient, rows.filled, rows.last])

    # ---- the map ---------------------------------------------------------------------------------------------------
    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        """Map links; returns ``(y, log_det)`` with ``log_det`` of shape ``(batch,)``.

        Raises
        ------
        ConvergenceError
            If a layer is not certainly invertible.
        """
        self.lattice.check_links(x, "x")
        xp = array_namespace(x)
        delta = self._delta(params)
        work = xp.asarray(x, copy=True)
        log_det = None
        norms: list[tuple[int, Array]] = []
        for active in self.layers():
            layer_rows = self._layer(self._gradient_weights(delta), work, active).rows
            for (mu, sites), rows in zip(active, layer_rows, strict=True):
                moved, part, norm = kernels.smeared_update(self.lattice, work, mu, sites, self._paths(delta, rows))
                norms.append((mu, norm))
                work = kernels.overwrite(self.lattice, work, mu, sites, moved)
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
        delta = self._delta(params)
        work = xp.asarray(y, copy=True)
        log_det = None
        tolerance = max(self.tolerance, 5e-6 if y.dtype == xp.complex64 else 0.0)
        for active in reversed(self.layers()):
            layer_rows = self._layer(self._gradient_weights(delta), work, active).rows
            for (mu, sites), rows in zip(active, layer_rows, strict=True):
                old, part, change = kernels.smeared_solve(
                    self.lattice, work, mu, sites, self._paths(delta, rows), tolerance, self.iterations
                )
                worst = float(xp.max(change))
                if not worst <= tolerance:
                    raise ConvergenceError(
                        f"inverse of a smeared layer (direction {mu}): the last Newton step has norm {worst:.3g}, "
                        f"tolerance {tolerance:.3g}"
                    )
                work = kernels.overwrite(self.lattice, work, mu, sites, old)
                log_det = part if log_det is None else log_det + part
        return work, -_finite(log_det)

    # ---- derivatives -----------------------------------------------------------------------------------------------
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
        rows, classes = self.shape
        nought = xp.zeros((lattice.batch(x.shape[-1]),), dtype=xp.float64)
        sums = {(i, k): nought for i in range(rows) for k in range(classes)}
        for active in self.layers():
            stages = self.smearing.stages(lattice, x, active)
            direction = xp.zeros_like(x)
            for (mu, sites), parts in zip(active, self._rows(stages, active), strict=True):
                for i, k in product(range(len(_LOOPS)), range(classes)):
                    unit = [[float((row, cls) == (i, k)) for cls in range(classes)] for row in range(len(_LOOPS))]
                    part = kernels.smeared_tangent(lattice, x, mu, sites, self._paths(unit, parts), force)
                    sums[i, k] = sums[i, k] + part
                along = kernels.smeared_direction(lattice, x, mu, sites, parts.filled, force)
                direction = kernels.overwrite(lattice, direction, mu, sites, along)
            # <X, force> of a gradient is a change of its plaquettes: one pass forward gives those of all gradients
            self._add_planes(sums, self.smearing.plaquettes_along(lattice, stages, direction))
            del stages  # many fields, before the next layer makes its own
        return xp.stack([xp.stack([sums[i, k] for k in range(classes)]) for i in range(rows)])

    def _add_planes(self, sums: dict[tuple[int, int], Array], plane_sums: Array) -> None:
        """Add ``(n_levels, n_planes, batch)`` to the sums of the classes of planes in the rows of the gradients."""
        for m, (i, plane) in product(range(plane_sums.shape[0]), enumerate(self.lattice.planes)):
            row = len(_LOOPS) + m, self._plane_class(*plane)
            sums[row] = sums[row] + plane_sums[m, i, ...]

    def linearised(self, coefficients: Any, x: Array, force: Array, step: float) -> tuple[Array, Array, Array]:
        """As :meth:`gaugeflow.flows.ResidualSweep.linearised`: all layers meet the same links x."""
        lattice = self.lattice
        ahead, behind = (array_namespace(x).asarray(x, copy=True) for _ in range(2))
        tangent = 0.0
        delta = self._delta({"delta": coefficients})
        for active in self.layers():
            layer_rows = self._layer(self._gradient_weights(delta), x, active).rows
            for (mu, sites), rows in zip(active, layer_rows, strict=True):
                paths = self._paths(delta, rows)
                tangent = tangent + kernels.smeared_tangent(lattice, x, mu, sites, paths, force)
                moved = []
                for size in (step, -step):
                    scaled = [[size * entry for entry in row] for row in delta]
                    paths = self._paths(scaled, rows._replace(gradient=size * rows.gradient))
                    moved.append(kernels.smeared_update(lattice, x, mu, sites, paths)[0])
                ahead = kernels.overwrite(lattice, ahead, mu, sites, moved[0])
                behind = kernels.overwrite(lattice, behind, mu, sites, moved[1])
        return ahead, behind, tangent

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
        delta = self._delta(params)
        work = xp.asarray(y, copy=True)
        total = kernels.to_ambient(lattice, y, y_bar)
        nought = xp.zeros((lattice.batch(x.shape[-1]),), dtype=xp.float64)
        rows, classes = self.shape
        bars = {(i, k): nought for i in range(rows) for k in range(classes)}
        for active in reversed(self.layers()):
            for mu, sites in active:
                work = kernels.overwrite(lattice, work, mu, sites, active_rows(x, mu, sites))
            layer = self._layer(self._gradient_weights(delta), work, active, keep=True)
            paths_bars = []
            for (mu, sites), parts in zip(active, layer.rows, strict=True):
                paths = self._paths(delta, parts)
                active_bar, paths_bar = kernels.smeared_update_vjp(lattice, work, mu, sites, paths, log_det_bar, total)
                total = kernels.overwrite(lattice, total, mu, sites, active_bar)
                paths_bars.append(paths_bar)
                for i, k in product(range(len(_LOOPS)), range(classes)):
                    bars[i, k] = bars[i, k] + self._inner(paths_bar[i, ...], parts.staples[k])
            total, plane_bar = self._frozen_vjp(delta, work, active, layer, paths_bars, total)
            self._add_planes(bars, plane_bar)
            del layer  # many fields, before the next layer makes its own
        delta_bar = xp.stack([xp.stack([bars[i, k] for k in range(classes)]) for i in range(rows)])
        return {"delta": delta_bar}, kernels.from_ambient(lattice, x, total)

    def push_score(self, params: Params, x: Array, y: Array, score: Array) -> Array:
        """Gradient of the log-density of ``y = f(x)`` from that of x, both algebra fields."""
        lattice = self.lattice
        self.lattice.check_links(x, "x")
        xp = array_namespace(x)
        delta = self._delta(params)
        work = xp.asarray(x, copy=True)
        total = kernels.to_ambient(lattice, x, score)
        for active in self.layers():
            layer = self._layer(self._gradient_weights(delta), work, active, keep=True)
            parts = [
                kernels.smeared_score(lattice, work, mu, sites, self._paths(delta, rows), total)
                for (mu, sites), rows in zip(active, layer.rows, strict=True)
            ]
            total, _ = self._frozen_vjp(delta, work, active, layer, [bars for _, bars in parts], total)
            for (mu, sites), (moved, _) in zip(active, parts, strict=True):
                total = kernels.overwrite(lattice, total, mu, sites, moved)
                work = kernels.overwrite(lattice, work, mu, sites, active_rows(y, mu, sites))
            del layer
        return kernels.from_ambient(lattice, y, total)

    def _frozen_vjp(
        self,
        delta: list[list[float]],
        links: Array,
        active: Active,
        layer: _Layer,
        paths_bars: list[Array],
        total: Array,
    ) -> tuple[Array, Array]:
        """``total`` (consumed) plus the cotangents of frozen links that follow from those of the paths.

        Returns
        -------
        total, plane_bar : Array
            Cotangents of links; of the weight of each gradient and plane, ``(n_gradients, n_planes, batch)``.
        """
        lattice = self.lattice
        xp = array_namespace(links)
        first, last = layer.stages.links[0], layer.stages.links[self.smearing.steps]
        last_bar, direction = (xp.zeros_like(links) for _ in range(2))
        for (mu, sites), bar in zip(active, paths_bars, strict=True):
            # The order of paths is that of _paths; fields A, Q, Z share the staples of V_n
            for k in range(self.shape[1]):
                staples_bar = sum(delta[i][k] * bar[i, ...] for i in range(len(_LOOPS)))
                weight = self._class_weight(k, mu)
                last_bar, _ = kernels.path_sum_vjp(lattice, last, mu, sites, weight, staples_bar, last_bar)
            direction = kernels.overwrite(lattice, direction, mu, sites, bar[4, ...])
            last_bar = _add_rows(lattice, last_bar, mu, sites, bar[6, ...])
        weights = self._gradient_weights(delta)
        given = (lattice, layer.stages, weights, layer.gradient, direction, last_bar)
        first_bar, plane_bar = self.smearing.pull_back(*given)
        for (mu, sites), bar in zip(active, paths_bars, strict=True):
            first_bar, _ = kernels.path_sum_vjp(lattice, first, mu, sites, 1.0, bar[3, ...], first_bar)
            first_bar = _add_rows(lattice, first_bar, mu, sites, bar[5, ...])
        return self.smearing.fill_vjp(lattice, links, active, layer.stages, first_bar, total), plane_bar

    def _inner(self, bar: Array, rows: Array) -> Array:
        """Sum of Re tr(bar row) over active links, ``(batch,)`` float64."""
        xp = array_namespace(bar)
        products = xp.real(bar * xp.permute_dims(rows, (0, 2, 1, 3)))
        return sum_sites(self.lattice, xp.reshape(products, (-1, products.shape[-1])))


def _add_rows(lattice: Lattice, field: Array, mu: int, sites: Any, rows: Array) -> Array:
    """``field`` (consumed) with something added to active rows."""
    return kernels.overwrite(lattice, field, mu, sites, active_rows(field, mu, sites) + rows)
