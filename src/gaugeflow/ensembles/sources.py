"""Vector fields that belong to sources on time slices, and what N-point functions need of them.

The fields X_i move all variables; X_i^(t) moves those of time slice t alone and is 0 elsewhere (a link of direction 0
belongs to the slice where it starts).  Every variable carries its own share of div X - X.dS, so that one pass over a
configuration gives h_i^(t) on all slices.  :mod:`gaugeflow.analysis.n_point` makes N-point functions of it.
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

Slices = Callable[[Array], Array]
"""An observable on all time slices, ``(T, batch)``."""


class SourceFields(Protocol):
    """Vector fields X_i whose restrictions to time slices are the parts of which fields of sources are made."""

    @property
    def lattice(self) -> Lattice:
        """The lattice."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields."""

    def tangents(self, x: Array, force: Array) -> Array:
        """h_i^(t) = div X_i^(t) - <X_i^(t), force> with the gradient of an action, ``(n_fields, T, batch)`` float64."""

    def vectors(self, x: Array) -> Array:
        """X_i, ``(n_fields, *x.shape)``."""


class LocalSources(SourceFields, Protocol):
    """Fields of sources that tell where their tangents come from."""

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
        If ``reach`` is negative, or so large that two slices that move together would have to be neighbours.
    """
    vectors = fields.vectors(x)
    rows = range(len(fields.names))
    return np.stack([_contact(fields.lattice, x, vectors[i, ...], operator, reach) for i in rows])


def first_contact(
    fields: SourceFields, coefficients: npt.NDArray[np.float64], x: Array, operator: Slices, reach: int
) -> npt.NDArray[np.float64]:
    """X_0.dO_t for the field of a source, averaged over translations.

    It is :func:`contact_terms` with the coefficients known: a pair of images for each of the 2 r + 1 distances and each colour
    of slices, for any number of fields.

    Parameters
    ----------
    fields, x, operator, reach
        As for :func:`contact_terms`.
    coefficients
        ``(n_fields, 2 r + 1)``, from :func:`gaugeflow.analysis.fit_sources`.

    Returns
    -------
    ndarray (T, batch)
        The term of time t at ``[t]``, t modulo T.

    Raises
    ------
    ValueError
        As :func:`contact_terms`.
    """
    vectors = fields.vectors(x)
    radius = coefficients.shape[1] // 2
    found = np.zeros((fields.lattice.shape[0], fields.lattice.batch(x.shape[-1])))
    for column in range(coefficients.shape[1]):
        moved = sum(float(c) * vectors[i, ...] for i, c in enumerate(coefficients[:, column]))
        change = _contact(fields.lattice, x, moved, operator, reach)
        found += np.roll(change, column - radius, axis=0)
    return found


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
        Slices whose fields move; default: all.  Each costs two evaluations of tangents and force.

    Returns
    -------
    ndarray (T, batch)
        sum_s X_s.dh_(s - t) / len(sources).
    """
    lattice = fields.lattice
    extent, radius = lattice.shape[0], coefficients.shape[1] // 2
    vectors = fields.vectors(x)
    chosen = range(extent) if sources is None else sources

    def h(y: Array) -> Any:
        parts = to_host(fields.tangents(y, action.grad(y)))
        total = np.zeros(parts.shape[1:])
        for i, tau in np.ndindex(coefficients.shape):
            total += coefficients[i, tau] * np.roll(parts[i], radius - tau, axis=0)
        return total

    found = np.zeros((extent, lattice.batch(x.shape[-1])))
    for s in chosen:
        change = _derivative(lattice, x, source_vector(lattice, vectors, coefficients, s), h)
        found += change[(s - np.arange(extent)) % extent] / len(chosen)
    return found


def _contact(lattice: Lattice, x: Array, vector: Array, operator: Slices, reach: int) -> npt.NDArray[np.float64]:
    """X^(s).dO_(s + t) of one field, averaged over s, ``(T, batch)``."""
    extent = lattice.shape[0]
    spacing = _spacing(extent, reach)
    found = np.zeros((extent, lattice.batch(x.shape[-1])))
    for colour in range(spacing):
        chosen = range(colour, extent, spacing)
        change = _derivative(lattice, x, on_slices(lattice, vector, chosen), operator)
        for s in chosen:
            for t in range(-reach, reach + 1) if spacing < extent else range(extent):
                found[t % extent] += change[(s + t) % extent] / extent
    return found


def source_vector(lattice: Lattice, vectors: Array, coefficients: npt.NDArray[np.float64], t: int) -> Array:
    """X_t from all fields, ``(n_fields, *x.shape)``, and coefficients ``(n_fields, 2 r + 1)``."""
    extent, radius = lattice.shape[0], coefficients.shape[1] // 2
    total = 0.0 * vectors[0, ...]
    for i, tau in np.ndindex(coefficients.shape):
        here = [(t + tau - radius) % extent]
        total = total + float(coefficients[i, tau]) * on_slices(lattice, vectors[i, ...], here)
    return total


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
    """Change of a function of the configuration along a vector field."""
    group = manifold_of(lattice, x)
    ahead, behind = (to_host(function(group.retract(x, vector, step))) for step in (SOURCE_STEP, -SOURCE_STEP))
    return np.asarray((ahead - behind) / (2.0 * SOURCE_STEP))


def _spacing(extent: int, reach: int) -> int:
    """Smallest divisor of the extent at which slices move together without sharing what they change."""
    if reach < 0:
        raise ValueError(f"reach: expected 0 or more, got {reach}")
    return next((k for k in range(2 * reach + 1, extent) if extent % k == 0), extent)
