"""Derivatives from the neighbourhood of an observable: noise that does not grow with the volume.

With densities o_y of O = dS/dlambda and h_y of div X - X.dS, a derivative is a sum over places,

    d<A>/dlambda = <X.dA> + sum_y <A_x; r_y>,    r_y = h_y - o_y,

whose terms far from x carry noise and hardly any signal.  Here the terms are gathered by their distance from x, averaged
over translations; :mod:`gaugeflow.analysis.locality` sums them up to a radius.  Derivation in ``docs/derivations/sources.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gaugeflow import kernels
from gaugeflow.devices import to_host
from gaugeflow.ensembles.sources import SOURCE_STEP, LocalSources, SlicedFields
from gaugeflow.groups import manifold_of
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.observables.flow_scales import slice_sums
from gaugeflow.typing import Action

Density = Callable[[Array], Array]
"""A function of a configuration with a number for every site, ``(n_blocks, lanes)``."""


@dataclass(frozen=True)
class Shells:
    """Sites by their distance from a given one, on the periodic lattice.

    Parameters
    ----------
    lattice
        The lattice.
    kind
        ``"distance"``: shell k holds the sites at Euclidean distances from above k - 1 to k, so that shells 0 ... R are the
        ball of radius R.  ``"time"``: those k time slices ahead or behind.

    Raises
    ------
    ValueError
        For any other kind.
    """

    lattice: Lattice
    kind: Literal["distance", "time"] = "distance"

    def __post_init__(self) -> None:
        if self.kind not in ("distance", "time"):
            raise ValueError(f"kind: expected 'distance' or 'time', got {self.kind!r}")

    @property
    def dimensions(self) -> int:
        """Number of directions in which distances are measured."""
        return len(self._extents)

    @property
    def _extents(self) -> tuple[int, ...]:
        return self.lattice.shape if self.kind == "distance" else self.lattice.shape[:1]

    @cached_property
    def numbers(self) -> npt.NDArray[np.int64]:
        """Shell of every displacement, in the shape of the directions that count."""
        places = np.indices(self._extents).reshape(self.dimensions, -1)
        extents = np.array(self._extents)[:, None]
        squares = np.sum(np.minimum(places, extents - places) ** 2, axis=0)
        root = np.sqrt(squares).astype(np.int64)  # exact: squares are small integers
        return np.reshape(root + (root * root < squares), self._extents)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of sites in every shell, ``(n_shells,)``."""
        return np.bincount(self.numbers.reshape(-1)) * (self.lattice.volume // int(np.prod(self._extents)))

    def transform(self, density: Array) -> npt.NDArray[np.complex128]:
        """Fourier transform of a density without its mean, ``(batch, ...)``: an argument of :meth:`correlation`."""
        sites = to_host(self.lattice.unpack(density))
        sums = sites.reshape(len(sites), *self._extents, -1).sum(axis=-1)
        axes = tuple(range(1, sums.ndim))
        return np.asarray(np.fft.rfftn(sums - sums.mean(axis=axes, keepdims=True), axes=axes))

    def correlation(self, a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> npt.NDArray[np.float64]:
        """sum over the sites y of a shell around x of (a_x - mean a) (b_y - mean b), averaged over x.

        Parameters
        ----------
        a, b
            Two :meth:`transform`.

        Returns
        -------
        ndarray (n_shells, batch)
            The sum over all shells is zero.
        """
        product = np.fft.irfftn(a.conj() * b, s=self._extents, axes=tuple(range(1, a.ndim)))
        rows = product.reshape(len(product), -1) / self.lattice.volume
        return np.stack([np.bincount(self.numbers.reshape(-1), weights=row) for row in rows], axis=1)


@dataclass(frozen=True)
class CombinedSources(SlicedFields):
    """One field: the sum of others with given coefficients.

    Parameters
    ----------
    fields
        Fields with densities.
    coefficients
        One for each.

    Raises
    ------
    ValueError
        If their numbers differ.
    """

    fields: LocalSources
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.coefficients) != len(self.fields.names):
            raise ValueError(
                f"coefficients: expected {len(self.fields.names)}, one for each field, got {len(self.coefficients)}"
            )

    @property
    def lattice(self) -> Lattice:  # type: ignore[override]
        """The lattice."""
        return self.fields.lattice

    @property
    def names(self) -> tuple[str, ...]:
        """One name."""
        return ("combined",)

    def _sum(self, rows: Array) -> Array:
        xp = array_namespace(rows)
        c = xp.asarray(self.coefficients, dtype=rows.dtype)
        return xp.tensordot(c, rows, axes=((0,), (0,)))[None, ...]

    def densities(self, x: Array, force: Array) -> Array:
        """Residual density, ``(1, n_blocks, lanes)``."""
        return self._sum(self.fields.densities(x, force))

    def tangents(self, x: Array, force: Array) -> Array:
        """Tangents by time slice, ``(1, T, batch)``."""
        return self._sum(self.fields.tangents(x, force))

    def vectors(self, x: Array) -> Array:
        """The field, ``(1, *x.shape)``."""
        return self._sum(self.fields.vectors(x))


def plaquette_density(lattice: Lattice, links: Array) -> Array:
    """Mean of Re tr P / N over the planes of the plaquettes that start at a site, ``(n_blocks, lanes)``.

    With the Wilson action dS/dbeta has the density -n_planes times this.
    """
    n, _ = lattice.check_links(links)
    traces = kernels.plaquette_traces(lattice, links)
    return array_namespace(traces).sum(traces, axis=0) / (n * len(lattice.planes))


def measure_local(
    fields: LocalSources,
    action: Action,
    operator: Density,
    observables: Mapping[str, Density],
    shells: Sequence[Shells],
) -> Callable[[Array], dict[str, Array]]:
    """Function of a configuration that measures what :func:`gaugeflow.analysis.local_curve` needs.

    Parameters
    ----------
    fields
        Vector fields.
    action
        S of the configurations.
    operator
        o_y: the sum over all sites is dS/dlambda.
    observables
        A_x by name.
    shells
        Ways to count distances, of different kinds.

    Returns
    -------
    callable
        ``operator`` and ``h|field``, sums over time slices ``(T, batch)``; ``A``, the mean over sites ``(batch,)``; and for
        every kind of shells ``A|kind|operator`` and ``A|kind|h|field``, correlations by shell ``(n_shells, batch)``.
    """
    lattice = fields.lattice

    def measure(x: Array) -> dict[str, Array]:
        h = fields.densities(x, action.grad(x))
        densities = {"operator": operator(x)} | {f"h|{name}": h[i, ...] for i, name in enumerate(fields.names)}
        row = {name: to_host(slice_sums(lattice, density, mean=False)) for name, density in densities.items()}
        found = {name: observable(x) for name, observable in observables.items()}
        row |= {name: _mean(lattice, a) for name, a in found.items()}
        for kind in shells:
            theirs = {name: kind.transform(density) for name, density in densities.items()}
            for name in observables:
                mine = kind.transform(found[name])
                row |= {f"{name}|{kind.kind}|{other}": kind.correlation(mine, b) for other, b in theirs.items()}
        return row

    return measure


def moved_means(
    fields: LocalSources, x: Array, observables: Mapping[str, Density]
) -> dict[str, npt.NDArray[np.float64]]:
    """X_i.dA for the means of observables over all sites, by central differences: a pair of images for each field.

    These terms are means of local derivatives and fluctuate little, so that a few configurations are enough.
    :class:`CombinedSources` with coefficients that are known takes one pair.

    Parameters
    ----------
    fields, x, observables
        As for :func:`measure_local`; observables must change smoothly with the configuration.

    Returns
    -------
    dict
        ``(n_fields, batch)`` by name of the observable.
    """
    lattice, group = fields.lattice, manifold_of(fields.lattice, x)
    vectors = fields.vectors(x)
    found: dict[str, list[Any]] = {name: [] for name in observables}
    for i in range(len(fields.names)):
        ahead, behind = (group.retract(x, vectors[i, ...], step) for step in (SOURCE_STEP, -SOURCE_STEP))
        for name, observable in observables.items():
            change = _mean(lattice, observable(ahead)) - _mean(lattice, observable(behind))
            found[name].append(change / (2.0 * SOURCE_STEP))
    return {name: np.stack(rows) for name, rows in found.items()}


def _mean(lattice: Lattice, density: Array) -> Any:
    return to_host(sum_sites(lattice, density)) / lattice.volume
