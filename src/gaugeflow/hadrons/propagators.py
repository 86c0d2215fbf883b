"""Quark propagators: solutions of D S = source for all fields of a source in one stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from gaugeflow.errors import require_finite
from gaugeflow.hadrons.smearing import Gaussian
from gaugeflow.hadrons.sources import Source
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace
from gaugeflow.operators import HoppingOperator
from gaugeflow.solvers import solve


@dataclass(frozen=True, eq=False)
class Propagator:
    """S = D^-1 source.

    Parameters
    ----------
    lattice
        The lattice.
    field
        Stack ``(R, n_blocks, spin, colour, lanes)``: field r is the solution for field r of the source.  For sources of all
        spins and colours, ``field[s' N + c', x, s, c]`` is S(x)_(s c, s' c').
    origin
        Site from which times and phases of momenta count.
    boundary
        Phases of the quark.
    norm
        As of the source.
    iterations, residual
        Of the solver, ``(R, batch)``; None where the propagator was read from a file.
    """

    lattice: Lattice
    field: Array
    origin: tuple[int, ...]
    boundary: tuple[complex, ...]
    norm: float = 1.0
    iterations: Array | None = None
    residual: Array | None = None

    def __post_init__(self) -> None:
        require_finite(self, "boundary", imaginary=True)
        require_finite(self, "norm")
        found = tuple(self.field.shape)
        good = len(found) == 5 and found[1] == self.lattice.n_blocks and found[0] % found[2] == 0
        if not good:
            raise ValueError(
                f"propagator: expected shape (spin times 1 or more, {self.lattice.n_blocks}, spin, colour, lanes), got {found}"
            )
        self.lattice.batch(found[4])

    def smeared(self, links: Array, smearing: Gaussian) -> Self:
        """The propagator with a smeared sink, by the given links (those of the operator, or smeared ones)."""
        return replace(self, field=smearing(self.lattice, links, self.field, self.boundary))

    def array(self) -> Array:
        """Conventional array ``(batch, *shape, spin, colour, spin', columns)``, source indices primed."""
        xp = array_namespace(self.field)
        spin = self.field.shape[2]
        x = self.lattice.unpack(self.field, components=1)
        x = xp.moveaxis(x, 1, -1)
        return xp.reshape(x, (*x.shape[:-1], spin, self.field.shape[0] // spin))

    @classmethod
    def from_array(
        cls,
        lattice: Lattice,
        array: Array,
        origin: Sequence[int],
        boundary: Sequence[complex],
        norm: float = 1.0,
    ) -> Self:
        """Inverse of :meth:`array`."""
        xp = array_namespace(array)
        x = xp.reshape(array, (*array.shape[:-2], array.shape[-2] * array.shape[-1]))
        field = lattice.pack(xp.moveaxis(x, -1, 1), components=1)
        return cls(lattice, field, tuple(int(i) for i in origin), tuple(complex(b) for b in boundary), norm)


def propagator(
    operator: HoppingOperator,
    source: Source,
    *,
    method: str = "cg",
    tolerance: float = 1e-10,
    max_iterations: int = 10000,
    comm: Any = None,
) -> Propagator:
    """Propagators of all configurations and all fields of a source.

    Parameters
    ----------
    operator
        D, bound to links.
    source
        See :func:`gaugeflow.hadrons.point` and its neighbours.
    method, tolerance, max_iterations, comm
        As for :func:`gaugeflow.solvers.solve`: processes of ``comm`` share the fields of the source.

    Raises
    ------
    ConvergenceError
        If a system is not solved.

    Notes
    -----
    In the kappa form S is the propagator of fields that are rescaled by sqrt(2 kappa); multiply correlators of mesons by
    (2 kappa)^2 for the mass form.
    """
    solution = solve(
        operator, source.field, method=method, tolerance=tolerance, max_iterations=max_iterations, comm=comm
    )
    assert operator.boundary is not None
    return Propagator(
        operator.lattice,
        solution.x,
        source.origin,
        operator.boundary,
        source.norm,
        solution.iterations,
        solution.residual,
    )
