"""The systems of the talk, each a runnable, documented assembly behind ``gaugeflow demo NAME``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from gaugeflow.backend import chosen_backend
from gaugeflow.devices import device
from gaugeflow.errors import BackendError
from gaugeflow.progress import Progress, silent
from gaugeflow.systems.report import Report, Table

__all__ = ["Report", "System", "Table", "systems"]


@dataclass(frozen=True)
class System:
    """One system: its name, what it shows, and the module whose ``run`` makes the report."""

    name: str
    summary: str
    module: str
    host_only: bool = False
    """Whether it computes on NumPy arrays, whatever the back end offers."""

    def run(self, *, out: Path, seed: int, quick: bool, progress: Progress = silent) -> Report:
        """Run it; figures and files go to ``out``.

        Raises
        ------
        BackendError
            If the chosen back end computes on a device and the system only on the host.
        """
        if self.host_only and device() != "cpu":
            found = chosen_backend()
            raise BackendError(
                f"{self.name} computes on the host: expected the back end numba or reference, got {found}"
            )
        run: Callable[..., Report] = import_module(self.module).run
        return run(out=out, seed=seed, quick=quick, progress=progress)


def systems() -> dict[str, System]:
    """Every system by name, the default one first."""
    known = (
        System(
            "correlated-su3",
            "4D SU(3), beta 6.02 to 6.03 and 6.12: correlated ensembles and derivatives of observables",
            "gaugeflow.systems.correlated_su3",
        ),
        System(
            "trex",
            "4D SU(3) 12^4 at beta 5.95, 6.00, 6.05: replica exchange with flows (T-REX), about an hour; --quick: 8^4",
            "gaugeflow.systems.trex",
        ),
        System(
            "phi4",
            "2D phi^4, L = 6 ... 14 at fixed L / xi: affine flows beside Metropolis and HMC, broken phase; --quick: L <= 10",
            "gaugeflow.systems.phi4",
            host_only=True,
        ),
        System(
            "trivialising",
            "2D U(1), SU(2), SU(3) on 16 x 16 and 4D SU(3) by trivialising gradient flows, trained here; --quick: SU(3)",
            "gaugeflow.systems.trivialising",
            host_only=True,
        ),
        System(
            "u1",
            "2D U(1) on 8 x 8 and 16 x 16, beta 1 to 7: flows from Haar links, exact values, no topological freezing",
            "gaugeflow.systems.u1",
            host_only=True,
        ),
        System(
            "spectral",
            "2D SU(2) and SU(3) on 16 x 16 by spectral flows, trained here in a few minutes; --quick: SU(3), as installed",
            "gaugeflow.systems.spectral",
            host_only=True,
        ),
        System(
            "pseudofermions",
            "2D U(1) and SU(3) with two flavours: joint flows of links and pseudofermions; --quick: U(1) on 8 x 8",
            "gaugeflow.systems.pseudofermions",
            host_only=True,
        ),
        System(
            "yukawa",
            "2D scalar field with staggered quarks, 8 x 8 and 16 x 16: marginal, Gibbs, autoregressive, joint flows, HMC",
            "gaugeflow.systems.yukawa",
            host_only=True,
        ),
        System(
            "strong-coupling",
            "4D SU(3) with two flavours on 4^4 at beta = 1, kappa = 0.1: joint flow from Haar links, beside HMC",
            "gaugeflow.systems.strong_coupling",
            host_only=True,
        ),
        System(
            "schwinger",
            "2D U(1), two flavours, exact determinant, up to criticality on 16 x 16, twenty minutes; --quick: 8 x 8",
            "gaugeflow.systems.schwinger",
            host_only=True,
        ),
        System(
            "trex-schwinger",
            "2D U(1) with two flavours up to kappa = 0.276, 16 x 16: replica exchange in kappa with flows; --quick: 8 x 8",
            "gaugeflow.systems.trex_schwinger",
            host_only=True,
        ),
        System(
            "continuum-slope",
            "4D SU(3) at beta 5.96, 6.02, 6.1: slope of t_0.3 / t_0.35 in a^2 from derivatives, hours; --quick: 8^4",
            "gaugeflow.systems.continuum_slope",
        ),
        System(
            "theta-mu-charge",
            "2D U(1), with and without quarks: derivatives by theta, chemical potentials, electric charge; --quick: smaller",
            "gaugeflow.systems.theta_mu_charge",
            host_only=True,
        ),
        System(
            "feynman-hellmann",
            "4D SU(3) quenched, 16 x 8^3, beta = 6: d M_pi / d lambda and the gluon momentum fraction; --quick: 8 x 4^3",
            "gaugeflow.systems.feynman_hellmann",
            host_only=True,
        ),
        System(
            "quark-mass",
            "4D SU(3) with two flavours on 8^4, kappa 0.1530 to 0.1545: derivatives without determinants; --quick: 4^4, exact",
            "gaugeflow.systems.quark_mass",
            host_only=True,
        ),
        System(
            "correlated-su3-16",
            "4D SU(3) on 16^4, beta 6.02 to 6.03, 200 configurations: the published flow; hours (GPU: minutes); --quick: 8^4",
            "gaugeflow.systems.correlated_su3_16",
        ),
        System(
            "glueball",
            "4D SU(3) on 12 x 8^3, beta = 5.9: two glueballs with fields of sources, half an hour; --quick: 8 x 4^3",
            "gaugeflow.systems.glueball",
            host_only=True,
        ),
        System(
            "static-potential",
            "4D SU(3) on 8^4, beta = 5.8: Wilson loops by slabs, static potential, r_0, minutes; --quick: 8 x 6^3",
            "gaugeflow.systems.static_potential",
            host_only=True,
        ),
    )
    return {system.name: system for system in known}
