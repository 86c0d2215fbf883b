"""Correlated SU(3) ensembles on the published lattice: 16^4, beta 6.02 to 6.03, with 200 configurations.

The run is that of :mod:`gaugeflow.systems.correlated_su3` with a flow of three gradients, fitted on 8^4 (arXiv:2401.10874).
"""

from __future__ import annotations

from pathlib import Path

from gaugeflow.systems import correlated_su3
from gaugeflow.systems.correlated_su3 import Settings
from gaugeflow.systems.report import Progress, Report, silent

FULL = Settings(
    shape=(16, 16, 16, 16),
    steps=(0.01,),
    chains=4,
    blocks=50,
    burn_in=100,
    training_shape=(8, 8, 8, 8),
    training_chains=16,
    training_blocks=32,
    training_steps=0,
    gradient_steps=(2, 4, 12),
    batch=1,
)
QUICK = Settings(
    shape=(8, 8, 8, 8),
    steps=(0.01,),
    chains=4,
    blocks=6,
    burn_in=40,
    training_shape=(4, 4, 4, 4),
    training_chains=16,
    training_blocks=8,
    training_steps=0,
    gradient_steps=(2, 4, 12),
)


def run(*, out: Path, seed: int = 2401, quick: bool = False, progress: Progress = silent) -> Report:
    """Generate, train, flow, measure and report, as :func:`gaugeflow.systems.correlated_su3.run` does.

    Parameters
    ----------
    out
        Folder for figures, measurements and parameters; 8 to 15 GB of configurations are in it until the run is complete.
    seed
        Seed of all random numbers.
    quick
        24 configurations of 8^4.
    progress
        Called as work goes on.
    """
    return correlated_su3.run(out=out, seed=seed, progress=progress, settings=QUICK if quick else FULL)
