"""U(1) in two dimensions with theta, chemical potentials and electric charges: sampling, operators, exact derivatives.

Configurations come from independent proposals of the exactly solvable gauge theory (:mod:`gaugeflow.systems.schwinger_prior`)
and determinants by time slices (:mod:`gaugeflow.systems.schwinger_slices`), at the source and at changed parameters alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gaugeflow.actions import Determinant, Sum, WilsonAction
from gaugeflow.determinants import log_det_charge
from gaugeflow.lattice import Array, Lattice
from gaugeflow.observables import integer_charge
from gaugeflow.operators import Wilson, imaginary_chemical_potential
from gaugeflow.priors import Photon
from gaugeflow.random import Rng
from gaugeflow.samplers.accept import accept, choose
from gaugeflow.systems.schwinger_prior import PlaquettePrior
from gaugeflow.systems.schwinger_slices import angles_of, log_det
from gaugeflow.typing import Action

ISOSPIN = (1.0, -1.0)
"""Charges of the two flavours in an isospin chemical potential."""
ELECTRIC = (2.0 / 3.0, -1.0 / 3.0)
"""Electric charges of up and down."""


class Change(NamedTuple):
    """Parameters of a direct simulation; the source has none."""

    tilt: float = 0.0
    """eta of a weight exp(eta Q): theta = -i eta."""
    isospin: float = 0.0
    """q of imaginary chemical potentials i q of one flavour and -i q of the other, on every temporal link."""
    charge: float = 0.0
    """e: flavours see exp(i e q A) U with the electric charges q, and the photon A is drawn along."""


@dataclass(frozen=True)
class Theory:
    """S = -beta sum cos P, with two flavours of Wilson quarks unless kappa is 0.

    Parameters
    ----------
    shape
        Extents of time and space.
    beta, kappa
        Couplings.
    """

    shape: tuple[int, int]
    beta: float
    kappa: float = 0.0

    @cached_property
    def lattice(self) -> Lattice:
        """The lattice."""
        return Lattice(self.shape)

    @cached_property
    def quark(self) -> Wilson:
        """The Dirac operator with an imaginary chemical potential, not bound to links; its charge is 0."""
        return Wilson(lattice=self.lattice, kappa=self.kappa, potential=imaginary_chemical_potential(self.lattice))

    @cached_property
    def action(self) -> Action:
        """S, with exact determinants."""
        gauge = WilsonAction(self.lattice, self.beta)
        return Sum((gauge, Determinant(self.quark, 2.0))) if self.kappa else gauge

    def prior(self) -> PlaquettePrior:
        """What proposals are drawn from: hopping twice around a plaquette shifts beta by 8 kappa^4 for each flavour."""
        return PlaquettePrior(self.lattice, self.beta + 16.0 * self.kappa**4)

    def log_weight(self, x: Array, photon: Array | None, change: Change) -> Array:
        """log of exp(-S) at changed parameters over the density of the prior, up to a constant, ``(batch,)``."""
        angles = angles_of(self.lattice, x)
        weight = (self.beta - self.prior().beta) * np.sum(np.cos(angles.plaquettes()), axis=(1, 2))
        if change.tilt:
            weight = weight + change.tilt * angles.charge()
        if not self.kappa:
            return weight
        if change.isospin:
            turned = [angles._replace(time=angles.time + q * change.isospin * self.shape[0]) for q in ISOSPIN]
        elif photon is not None:
            phases = [np.exp(1j * q * change.charge * photon)[:, :, None, None, :] for q in ELECTRIC]
            turned = [angles_of(self.lattice, phase * x) for phase in phases]
        else:
            return weight + 2.0 * log_det(self.kappa, angles)[0]
        return weight + sum(log_det(self.kappa, one)[0] for one in turned)

    def sample(
        self, rng: Rng, chains: int, steps: int, thin: int = 1, burn_in: int = 20, change: Change | None = None
    ) -> Iterator[Array]:
        """Links ``(2, V, 1, 1, chains)`` of Markov chains of independent proposals, every ``thin`` steps.

        Without quarks and without a change the proposals are what is wanted, and none is rejected.
        """
        wanted = change or Change()
        prior, photons = self.prior(), Photon(self.lattice)

        def propose(step: int) -> tuple[Array, Array | None, Array]:
            here = rng.stream("proposal").stream(step)
            x = prior.sample(here, chains)
            photon = photons.sample(here.stream("photon"), chains) if wanted.charge else None
            return x, photon, self.log_weight(x, photon, wanted)

        x, photon, weight = propose(0)
        exact = not self.kappa and wanted == Change()
        step = 0
        for k in range(steps):
            for _ in range((0 if exact else burn_in) if k == 0 else 1 if exact else thin):
                step += 1
                new, new_photon, new_weight = propose(step)
                accepted, _ = accept(rng.stream("step").stream(step), new_weight - weight)
                x = choose(self.lattice, accepted, new, x)
                weight = np.where(accepted, new_weight, weight)
                if photon is not None and new_photon is not None:
                    photon = np.where(accepted, new_photon, photon)
            yield x

    # ---- operators -------------------------------------------------------------------------------------------------
    def charge(self, x: Array) -> Array:
        """Q."""
        return integer_charge(self.lattice, x)

    def charge_squared(self, x: Array) -> Array:
        """Q^2: minus the second derivative of <exp(i theta Q)> by theta, where odd moments vanish."""
        return self.charge(x) ** 2

    def quark_number(self, x: Array) -> Array:
        """dS/dq of the imaginary chemical potential i q of both flavours, odd under charge conjugation."""
        return -2.0 * np.real(log_det_charge(self.quark.with_links(x)).first)

    def isospin(self, x: Array) -> Array:
        """d^2 S/dq^2 of the imaginary chemical potentials i q and -i q; the first derivatives cancel."""
        return -2.0 * np.real(log_det_charge(self.quark.with_links(x)).second)

    def electric(self, x: Array, photons: tuple[Array, ...]) -> Array:
        """(S'' - S'^2) / 2 with primes for derivatives by e, a mean over photon fields: what e^2 multiplies for even A."""
        total = 0.0
        for photon in photons:
            found = log_det_charge(replace(self.quark, potential=photon).with_links(x))
            first = -sum(ELECTRIC) * np.real(found.first)
            second = -sum(q * q for q in ELECTRIC) * np.real(found.second)
            total = total + 0.5 * (second - first**2)
        return np.asarray(total) / len(photons)
