"""Joint samplers of links and pseudofermions: factors of det(D)^2, their conditional flows, log-weights and fits.

The log-weight of a joint sample is that of the links alone, for a target without quarks, plus ``|eta|^2 - S + log det C`` for
every factor.  With another map C weights fluctuate more, but their mean over eta is always the determinant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from gaugeflow.errors import ConvergenceError
from gaugeflow.flows import HoppingSeries
from gaugeflow.kernels import fermion_dot
from gaugeflow.lattice import Array
from gaugeflow.operators import HoppingOperator, gaussian
from gaugeflow.operators.dense import transposed_matrix
from gaugeflow.random import Rng
from gaugeflow.solvers import cg
from gaugeflow.training import levenberg_marquardt
from gaugeflow.typing import Params

TWISTED_MASSES = {1: (), 2: (0.06,), 3: (0.04, 0.2), 4: (0.02, 0.1, 0.4)}
"""Squares of the twisted masses that split the determinant, by the number of factors; best for series of order 2 and 4."""

SCALES = {True: 1.7, False: 2.2}
"""What M^dagger M is divided by, with even-odd preconditioning and without: a little more than half its largest eigenvalue."""


_ENORMOUS = 1e5
"""phi^dagger (M^dagger M + a)^-1 phi from which on solutions need not be accurate; rounding forbids it near a zero of M."""


@dataclass(frozen=True)
class Factor:
    """det(M^dagger M + a), or its ratio to det(M^dagger M + b), as pseudofermions, with their conditional flow.

    S = phi^dagger (M^dagger M + b) / (M^dagger M + a) phi.  With twisted masses sqrt(a), sqrt(b) these are the factors of
    Hasenbusch (hep-lat/0107019).

    Parameters
    ----------
    flow
        A Hermitian :class:`HoppingSeries`; its operator is D.
    mass
        a.
    heavier
        b; None for the numerator 1.
    tolerance
        Residual of solutions; S has its square as an error.
    """

    flow: HoppingSeries
    mass: float = 0.0
    heavier: float | None = None
    tolerance: float = 1e-7

    def action(self, links: Array, phi: Array) -> Array:
        """S, ``(batch,)``.

        Raises
        ------
        ConvergenceError
            If a system is not solved, unless S is so large that the weight vanishes: what is returned is never above S.
        """
        m, lattice = self.flow.matrix(links), self.flow.lattice
        solution = cg(m, phi, tolerance=self.tolerance, shift=self.mass, strict=False)
        x = solution.x
        image = m.apply(x)

        def square(psi: Array) -> Array:
            return fermion_dot(lattice, psi, psi).real

        inverse = 2.0 * fermion_dot(lattice, phi, x).real - square(image) - self.mass * square(x)
        bad = ~np.asarray(solution.converged) & ~(inverse > _ENORMOUS)
        if np.any(bad):
            found = float(np.max(np.asarray(solution.residual)[bad]))
            raise ConvergenceError(
                f"pseudofermions of {m.label}: residual {found:.3g}, expected at most {self.tolerance:.3g}"
            )
        return np.asarray(inverse if self.heavier is None else square(phi) + (self.heavier - self.mass) * inverse)

    def draw(self, rng: Rng, params: Params, links: Array, traces: Array) -> tuple[Array, Array]:
        """Pseudofermions and their part of the log-weight, ``|eta|^2 - S + log det C``.

        Parameters
        ----------
        rng, params, links
            Numbers for the noise, coefficients, gauge fields.
        traces
            Those of the flow, or of one of higher order.
        """
        eta = gaussian(rng, self.flow.matrix(links))
        phi = self.flow.apply(params, links, eta)
        change = 2.0 * params["c"] @ traces[: self.flow.order + 1]
        return phi, fermion_dot(self.flow.lattice, eta, eta).real - self.action(links, phi) + change

    def log_values(self, spectrum: Array) -> Array:
        """Logarithm of this factor's function of M^dagger M, at eigenvalues of that."""
        light = np.log(spectrum + self.mass)
        return light if self.heavier is None else light - np.log(spectrum + self.heavier)

    def fit(self, spectrum: Array, weights: Array, steps: int = 30) -> Params:
        """Coefficients of the flow for which weights at fixed links are nearly equal.

        Parameters
        ----------
        spectrum
            Eigenvalues of M^dagger M, ``(batch, n)``.
        weights
            Shares of the configurations in the target distribution.
        steps
            Of the method of Levenberg and Marquardt.

        Notes
        -----
        Eigenvalue by eigenvalue the log-weight at fixed links has the variance d^2, d the error of ``log C^2``.  Minimised is
        the sum of ``4 (1 - exp(-d / 2))^2``, which is bounded where a mode near zero gets too much: that costs the share of its
        configuration, too little costs everything.
        """
        wanted = self.log_values(spectrum).reshape(-1)
        basis = chebyshev.chebvander(1.0 - spectrum.reshape(-1) / self.flow.scale, self.flow.order)
        root = np.repeat(np.sqrt(weights / np.sum(weights)), spectrum.shape[1])
        start = np.linalg.lstsq(basis * root[:, None], wanted * root, rcond=None)[0]

        def residuals(trial: Params) -> tuple[Array, Callable[[], Params]]:
            factor = np.exp(-0.5 * np.clip(basis @ trial["c"] - wanted, -100.0, None))
            return 2.0 * root * (1.0 - factor), lambda: {"c": (root * factor) * basis.T}

        return {"c": 0.5 * levenberg_marquardt(residuals, {"c": start}, steps=steps).params["c"]}


def factors(operator: HoppingOperator, order: int, count: int, *, preconditioned: bool = True) -> tuple[Factor, ...]:
    """Factors of det(D)^2.

    Parameters
    ----------
    operator
        D, in the kappa form.
    order
        Of all series.
    count
        Number of factors, 1 to 4; all but the last are ratios.
    preconditioned
        Whether M is the Schur complement.
    """
    if count not in TWISTED_MASSES:
        raise ValueError(f"count: expected one of {sorted(TWISTED_MASSES)}, got {count}")
    flow = HoppingSeries(operator, order, preconditioned, True, SCALES[preconditioned])
    masses = (0.0, *TWISTED_MASSES[count])
    return tuple(Factor(flow, a, b) for a, b in zip(masses, (*masses[1:], None), strict=True))


def eigenvalues(flow: HoppingSeries, links: Array) -> Array:
    """Eigenvalues of M^dagger M from dense matrices, ``(batch, n)``: for fits on small lattices.

    gamma_5 M is Hermitian: its eigenvalues are squared, and small ones keep their relative precision.
    """
    m = flow.matrix(links)
    spin = flow.operator.spin
    sign = np.repeat([1.0, -1.0], spin // 2)
    rows, _, n, _ = m.zeros().shape
    signs = np.tile(np.repeat(sign, n * flow.lattice.n_folds), rows)
    return np.stack([np.linalg.eigvalsh(matrix * signs) ** 2 for matrix in np.asarray(transposed_matrix(m))])
