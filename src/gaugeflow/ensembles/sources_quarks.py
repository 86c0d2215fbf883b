"""The loop of sea quarks between two sources.

With S = S_gauge - flavours log abs det D, the tangent h_0 of a source holds flavours Re tr D^-1 (X_0.dD), which depends on
all links.  The two-sided correlator therefore needs, at every time and not only where supports meet,

    X_t.dh_0 = -flavours Re tr D^-1 (X_t.dD) D^-1 (X_0.dD),

a loop that runs through both sources; see ``docs/derivations/sources.md``.  One-sided correlators need none of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gaugeflow.devices import to_host
from gaugeflow.ensembles.sources import SourceFields
from gaugeflow.lattice import Array
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import HoppingOperator
from gaugeflow.operators.dense import matrix


def quark_loop(
    fields: SourceFields,
    coefficients: npt.NDArray[np.float64],
    x: Array,
    operator: HoppingOperator,
    flavours: float = 2.0,
) -> npt.NDArray[np.float64]:
    """The loop term of the two-sided correlator, averaged over translations, from dense inverses: for small lattices.

    Parameters
    ----------
    fields
        Vector fields on links.
    coefficients
        ``(n_fields, 2 r + 1)``, from :func:`gaugeflow.analysis.fit_sources`.
    x
        Links.
    operator
        D, whose diagonal part does not depend on links: a Wilson or staggered operator without clover term.
    flavours
        Number of degenerate quarks.

    Returns
    -------
    ndarray (T, batch)
        -flavours Re tr D^-1 (X_(s + t).dD) D^-1 (X_s.dD), averaged over s, with T^2 traces of n x n matrices.

    Raises
    ------
    ValueError
        If the diagonal part of D depends on links.
    numpy.linalg.LinAlgError
        If D is singular.
    """
    bound = operator.with_links(x)
    if bound.diagonal_log_det_force(0) is not None:
        raise ValueError(f"quark_loop: expected an operator whose diagonal does not depend on links, got {bound.label}")
    extent = fields.lattice.shape[0]
    inverse = np.linalg.inv(to_host(matrix(bound)))
    rest = to_host(matrix(operator.with_links(0.0 * x)))
    source = fields.sources(x)(coefficients)

    def between(t: int) -> Any:
        """D^-1 (X_t.dD); D minus its diagonal part is linear in the links."""
        change = _times(source(t), x)
        return inverse @ (to_host(matrix(operator.with_links(change))) - rest)

    steps = np.stack([between(t) for t in range(extent)])
    traces = np.einsum("sbij,tbji->stb", steps, steps).real
    s = np.arange(extent)
    return np.stack([-flavours * traces[s, (s + t) % extent].mean(axis=0) for t in range(extent)])


def _times(algebra: Array, links: Array) -> Array:
    """Change of links that move along an algebra field."""
    xp = array_namespace(links)
    a, u = (xp.permute_dims(f, (0, 1, 4, 2, 3)) for f in (algebra, links))
    return xp.asarray(xp.permute_dims(a @ u, (0, 1, 3, 4, 2)), copy=True)
