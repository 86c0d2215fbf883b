"""Links of several smearing steps without masks, with derivatives carried forward and backward through the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gaugeflow import kernels
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace


class SmearedLinks:
    """V_0 = U, V_1, ... of one configuration; see ``docs/derivations/smeared.md`` for the steps.

    Parameters
    ----------
    lattice, x
        The lattice and the links U.
    eta
        Weight of a staple in each step.
    kappa
        Weight of loop times link relative to the staples.
    """

    def __init__(self, lattice: Lattice, x: Array, eta: Sequence[float], kappa: float) -> None:
        self.lattice, self.eta, self.kappa = lattice, eta, kappa
        self.levels: list[Array] = [x]
        self._staples: list[Any] = [None]
        for weight in eta:
            smeared, sums = kernels.smear_step(lattice, self.levels[-1], weight, kappa)
            self.levels.append(smeared)
            self._staples.append(sums)

    def along(self, vector: Array) -> Iterator[Array]:
        """Changes of V_0, V_1, ... when U moves along an algebra field f, that is by f U."""
        x = self.levels[0]
        xp = array_namespace(x)
        move = -0.5 * kernels.to_ambient(self.lattice, x, vector)  # U^dagger f
        move = xp.conj(xp.permute_dims(move, (0, 1, 3, 2, 4))) * -1.0  # f is anti-Hermitian
        yield move
        for k, weight in enumerate(self.eta, start=1):
            before = (self.lattice, self.levels[k - 1], self._staples[k], weight, self.kappa)
            move, _ = kernels.smear_step_along(*before, move)
            yield move

    def gradient(self, top: int, add: Callable[[int, Array], Array]) -> Array:
        """Gradient with respect to U of a function of V_0 ... V_top, an algebra field.

        Parameters
        ----------
        top
            The last n on which the function depends.
        add
            From n and a cotangent of V_n to the cotangent with the function's own added.
        """
        bar = array_namespace(self.levels[0]).zeros_like(self.levels[0])
        for k in range(top, 0, -1):
            bar, links = add(k, bar), self.levels[k - 1]
            along, own = kernels.smear_step_pull(self.lattice, links, self._staples[k], self.kappa, bar)
            bar = kernels.plaquette_hessian(self.lattice, links, self.eta[k - 1], along, own)
        return kernels.from_ambient(self.lattice, self.levels[0], add(0, bar))
