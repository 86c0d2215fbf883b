"""Vector fields that belong to sources on time slices, and what N-point functions need of them.

For every time slice t there are fields X_i^(t), and one pass over a configuration gives h_i^(t) = div X_i^(t) - X_i^(t).dS
on all slices.  Most are cut from a field X_i of all variables: X_i^(t) moves those of slice t alone and is 0 elsewhere (a link
of direction 0 belongs to the slice where it starts).  :mod:`gaugeflow.analysis.n_point` makes N-point functions of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gaugeflow.devices import to_host
from gaugeflow.groups import manifold_of
from gaugeflow.lattice import Array, Lattice
from gaugeflow.typing import Action

SOURCE_STEP = 1e-4
"""Step of the central differences along a field: their error is of order step^2."""

CONTACT_STEP = 3e-3
"""That of contact terms, whose error is of order step^4.  Tangents made of second differences have rounding errors, which
a small step would enlarge."""

Slices = Callable[[Array], Array]
"""An observable on all time slices, ``(T, batch)``."""


Source = Callable[[int], Array]
"""From a time slice t to X_t, a field of all variables."""


class SourceFields(Protocol):
    """Vector fields X_i^(t) of which fields of sources are made."""

    @property
    def lattice(self) -> Lattice:
        """The lattice."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""

    @property
    def reach(self) -> int:
        """X_i^(t) moves no variable on slices farther from t than this."""

    def tangents(self, x: Array, force: Array) -> Array:
        """h_i^(t) = div X_i^(t) - <X_i^(t), force> with the gradient of an action, ``(n_fields, T, batch)`` float64."""

    def sources(self, x: Array) -> Callable[[npt.NDArray[np.float64]], Source]:
        """From coefficients ``(n_fields, 2 r + 1)`` to X_t = sum_(i tau) c_(i tau) X_i^(t + tau) of this configuration."""


class SlicedFields:
    """Fields that are cut from fields X_i of all variables: the part of a class that turns ``vectors`` into ``sources``."""

    lattice: Lattice

    @property
    def reach(self) -> int:
        """X_i^(t) moves slice t alone."""
        return 0

    def vectors(self, x: Array) -> Array:
        """X_i, ``(n_fields, *x.shape)``."""
        raise NotImplementedError

    def sources(self, x: Array) -> Callable[[npt.NDArray[np.float64]], Source]:
        """X_t from coefficients."""
        lattice, fields = self.lattice, self.vectors(x)

        def combined(coefficients: npt.NDArray[np.float64]) -> Source:
            nought, radius = 0.0 * fields[0, ...], coefficients.shape[1] // 2
            sums = [
                sum((float(c) * fields[i, ...] for i, c in enumerate(column)), start=nought)
                for column in coefficients.T
            ]

            def vector(t: int) -> Array:
                times = [(t + tau - radius) % lattice.shape[0] for tau in range(len(sums))]
                parts = (on_slices(lattice, field, [time]) for field, time in zip(sums, times, strict=True))
                return sum(parts, start=nought)

            return vector

        return combined


class LocalSources(SourceFields, Protocol):
    """Fields that are cut from fields of all variables, and tell where their tangents come from."""

    def vectors(self, x: Array) -> Array:
        """X_i, ``(n_fields, *x.shape)``."""

    def densities(self, x: Array, force: Array) -> Array:
        """Residual densities, ``(n_fields, n_blocks, lanes)``: their sums over time slices are the tangents."""


def measure_sources(
    fields: SourceFields, action: Action, operator: Slices, *, reach: int | None = None
) -> Callable[[Array], dict[str, Array]]:
    """Function of a configuration that measures what :mod:`gaugeflow.analysis.n_point` needs.

    Parameters
    ----------
    fields
        Vector fields.
    action
        S of the configurations.
    operator
        O_t.
    reach
        O_t does not depend on slices farther from t than this; links of direction 0 between t - 1 and t are on slice t - 1.
        None: no contact terms are measured.

    Returns
    -------
    callable
        ``operator`` for O_t, ``h|name`` for h_i^(t), and ``contact|name`` for X_i^(0).dO_t at every t, averaged over
        translations: each ``(T, batch)``.
    """

    def measure(x: Array) -> dict[str, Array]:
        row = {"operator": to_host(operator(x))}
        h = to_host(fields.tangents(x, action.grad(x)))
        row |= {f"h|{name}": h[i] for i, name in enumerate(fields.names)}
        if reach is not None:
            found = contact_terms(fields, x, operator, reach)
            row |= {f"contact|{name}": found[i] for i, name in enumerate(fields.names)}
        return row

    return measure


def contact_terms(fields: SourceFields, x: Array, operator: Slices, reach: int) -> npt.NDArray[np.float64]:
    """X_i^(s).dO_(s + t), averaged over s, by central differences: one pair of images for each field and colour of slices.

    Parameters
    ----------
    fields, x, operator, reach
        As for :func:`measure_sources`; slices that cannot be told apart in O_t move together.

    Returns
    -------
    ndarray (n_fields, T, batch)
        The term of time t at ``[:, t]``, t modulo T.

    Raises
    ------
    ValueError
        If ``reach`` is negative.
    """
    sources = fields.sources(x)
    single = np.eye(len(fields.names))[:, :, None]
    return np.stack([_contact(fields, sources(one), x, operator, reach) for one in single])


def first_contact(
    fields: SourceFields, coefficients: npt.NDArray[np.float64], x: Array, operator: Slices, reach: int
) -> npt.NDArray[np.float64]:
    """X_0.dO_t for the field of a source, averaged over translations.

    Parameters
    ----------
    fields, x, operator, reach
        As for :func:`contact_terms`.
    coefficients
        ``(n_fields, 2 r + 1)``, from :func:`gaugeflow.analysis.fit_sources`.

    Returns
    -------
    ndarray (T, batch)
        The term of time t at ``[t]``, t modulo T: a pair of images for each colour of slices.

    Raises
    ------
    ValueError
        If ``reach`` is negative.
    """
    source = fields.sources(x)(coefficients)
    return _contact(fields, source, x, operator, reach, coefficients.shape[1] // 2)


def second_contact(
    fields: SourceFields,
    coefficients: npt.NDArray[np.float64],
    x: Array,
    action: Action,
    sources: Sequence[int] | None = None,
) -> npt.NDArray[np.float64]:
    """X_t.dh_0 for the field of a source, averaged over the slices 0 that are given.

    Parameters
    ----------
    fields
        Vector fields.
    coefficients
        ``(n_fields, 2 r + 1)``, from :func:`gaugeflow.analysis.fit_sources`.
    x
        The configuration.
    action
        Its action.
    sources
        Slices whose fields move; default: all.  Each costs four evaluations of tangents and force.

    Returns
    -------
    ndarray (T, batch)
        sum_s X_s.dh_(s - t) / len(sources).
    """
    lattice = fields.lattice
    extent, radius = lattice.shape[0], coefficients.shape[1] // 2
    source = fields.sources(x)(coefficients)
    chosen = range(extent) if sources is None else sources

    def h(y: Array) -> Any:
        parts = to_host(fields.tangents(y, action.grad(y)))
        total = np.zeros(parts.shape[1:])
        for i, tau in np.ndindex(coefficients.shape):
            total += coefficients[i, tau] * np.roll(parts[i], radius - tau, axis=0)
        return total

    found = np.zeros((extent, lattice.batch(x.shape[-1])))
    for s in chosen:
        change = _derivative(lattice, x, source(s), h)
        found += change[(s - np.arange(extent)) % extent] / len(chosen)
    return found


def _contact(
    fields: SourceFields, source: Source, x: Array, operator: Slices, reach: int, radius: int = 0
) -> npt.NDArray[np.float64]:
    """X_s.dO_(s + t), averaged over s, ``(T, batch)``."""
    if reach < 0:
        raise ValueError(f"reach: expected 0 or more, got {reach}")
    lattice = fields.lattice
    extent = lattice.shape[0]
    far = reach + fields.reach + radius
    spacing = next((k for k in range(2 * far + 1, extent) if extent % k == 0), extent)
    distances = range(-far, far + 1) if spacing < extent else range(extent)
    found = np.zeros((extent, lattice.batch(x.shape[-1])))
    for colour in range(spacing):
        chosen = range(colour, extent, spacing)
        vector = sum((source(s) for s in chosen[1:]), start=source(chosen[0]))
        change = _derivative(lattice, x, vector, operator)
        for s in chosen:
            for t in distances:
                found[t % extent] += change[(s + t) % extent] / extent
    return found


def on_slices(lattice: Lattice, vector: Array, chosen: Iterable[int]) -> Array:
    """A vector field where the time is one of those chosen, and 0 elsewhere."""
    inside = np.isin(lattice.coordinates[0], list(chosen))  # (n_blocks, n_folds)
    lanes = np.repeat(inside, vector.shape[-1] // lattice.n_folds, axis=1)
    shape = (lattice.n_blocks, *[1] * (vector.ndim - 2 - manifold_of(lattice, vector).components), vector.shape[-1])
    return vector * _like(lanes.reshape(shape).astype(np.float64), vector)


def _like(values: npt.NDArray[np.float64], vector: Array) -> Array:
    from array_api_compat import array_namespace

    xp = array_namespace(vector)
    return xp.astype(xp.asarray(values), vector.dtype)


def _derivative(lattice: Lattice, x: Array, vector: Array, function: Slices) -> npt.NDArray[np.float64]:
    """Change of a function of the configuration along a vector field, by differences of fourth order."""
    group = manifold_of(lattice, x)

    def change(step: float) -> npt.NDArray[np.float64]:
        ahead, behind = (to_host(function(group.retract(x, vector, e))) for e in (step, -step))
        return np.asarray((ahead - behind) / (2.0 * step))

    return (4.0 * change(CONTACT_STEP) - change(2.0 * CONTACT_STEP)) / 3.0
