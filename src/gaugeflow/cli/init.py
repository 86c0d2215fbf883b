"""``gaugeflow init``: a commented run file to start from."""

from __future__ import annotations

from pathlib import Path

import click

TEMPLATE = """\
# A run file of gaugeflow: `sample` makes the ensemble, `train` the flows, `derive` the derivatives.
# Keys that begin with # have the value that is given there, unless "none" is said; paths are relative to this file.

[lattice]
shape = [8, 8, 8, 8]          # extents t, z, y, x
# fold = [2, 2, 2, 1]         # none: sub-lattices in each direction that fill the vector registers

[group]
n = 3                         # SU(n); 1 is U(1)

[source]
beta = 6.0                    # the ensemble that is sampled, or given by files
# action = "wilson"
# anisotropy = 0.0            # temporal planes have beta (1 + anisotropy), spatial ones beta (1 - anisotropy)
# files = "configs/*.ildg"    # none; in place of the section [sampler]
# first = 0                   # configurations with smaller numbers are not used by train and derive

[sampler]
configurations = 25           # for each chain
chains = 4                    # side by side
# burn_in = 200               # steps before the first configuration
# separation = 10             # steps between two configurations
# overrelaxation = 4          # overrelaxation sweeps after each heat-bath sweep
# start = "hot"               # or "cold", or "quenched": 50 heat-bath steps without quarks
# seed = 1

# [hmc]                       # with this section, trajectories take the place of the heat bath
# length = 1.0
# steps = 10                  # of the slowest time scale, tuned during the burn-in
# inner = [2]                 # none; steps of each faster scale in a drift of the one above
# acceptance = 0.8            # that steps are tuned to
# integrator = "omelyan2"     # "leapfrog", "omelyan4", "force-gradient"

# [fermions]                  # with this section, the source has quarks; needs kappa or mass
# kappa = 0.1530              # none; one value for each entry of flavours
# mass = 0.1                  # none; in place of kappa
# flavours = 2                # numbers of degenerate quarks, such as [2, 1]
# csw = 0.0                   # clover term
# boundary = [1, 0, 0, 0]     # none: antiperiodic in time; angles over pi of the phases in t, z, y, x
# method = "pseudofermion"    # or "determinant": exact, for small lattices
# hasenbusch = [0.14]         # none; kappas (or masses) of heavier factors of pairs of the first quark
# twisted = [0.2]             # none; or twisted masses of such factors
# spectrum = [1e-4, 6.0]      # none; range of M^dagger M, for the rational approximation of a single quark
# error = 1e-7                # largest relative error of this approximation
# solver = "refined"          # iterations in single precision, or "cg"
# tolerance = 1e-10           # residual of solutions in the action
# force_tolerance = 1e-7      # and in forces
# force_precision = 64        # or 32, of the forces of an exact determinant

[target]                      # what train and derive go to: beta or anisotropy, one value or a list
beta = [6.02, 5.98]
# anisotropy = [0.01, -0.01]  # none; in place of beta
# kappa = 0.1545              # none; in place of beta, for the linearised flow of a source with quarks
# vectors = 4                 # of noise in each of two groups, for traces with a target kappa
# files = ["up/*", "down/*"]  # none; independent ensembles at these values, for derive to compare with

[flow]
# kind = "smeared"            # loops of smeared links; or "residual", staples of convolved links; or "forces", of all links
# convolutions = [0, 1, 2]    # none; needed by "residual": a coefficient for links that are convolved so many times
# gradient_steps = [2, 4]     # none: those of the smeared flow, and [2, 4, 6, 8] for forces
# staple_steps = 3            # smearing of its staples; 1, with gradient_steps = [1, 2, 4], for targets in anisotropy
# sweeps = 1
# planes = "isotropic"        # or "anisotropic": temporal and spatial planes apart
# force_steps = [0, 6]        # none: these; smearing of the links that forces are those of
# eta = [0.02, 0.04]          # none: weights that grow; of a staple in each smearing step, the last for all further ones
# colours = 4                 # of forces: 1, 2, 4, 8 or 16; more cost more and leave less noise

[training]
# method = "least-squares"    # or "adam", which starts from the fit
# configurations = 64         # from all over the source; a quarter is held out to measure the ESS
# steps = 200                 # of Adam
# batch = 16
# learning_rate = 1e-3        # relative to the largest coefficient of the fit
# loss = "log-variance"       # or "reverse-kl", or "path-gradient"
# clip = 10.0                 # none; largest norm of a gradient
# patience = 5                # none; stop after so many evaluations without a better ESS of the held-out quarter

[observables]
names = ["plaquette", "t2_e"] # or plaquette_spatial, plaquette_temporal, polyakov, q_squared, pion
flow_time = 0.5               # of t2_e, and of q_squared in 4D
# scales = [0.3, 0.35]        # none; flow times t_c with t^2 E = c, up to flow_time, and their ratio
# step = 0.02                 # of the integrator of the gradient flow
# kappa = 0.15                # none; of the quenched quarks of the pion
# window = [3, 8]             # none; times of the fit of its mass; default: from a quarter to half of the extent
# smearing = [2.0, 10.0]      # width and steps of the Gaussian smearing of its quarks

# [sources]                   # in place of [target]: derive gives correlators of time slices with less noise
# operator = "scalar"         # sums of spatial plaquettes; or "tensor", "temporal": those between two slices
# stout = 0                   # smearing steps in space of the first two
# fields = ["plaquette", "smeared"]  # or ["gradients"]: without masks, with noise, the best
# gradient_steps = [2, 4]     # of the smeared fields
# radius = 1                  # slices to both sides that the field of a source moves
# sides = 2                   # or 1: a field at the source alone
# coefficients = "cross-fit"  # on all other chains; or "training"
# training = 50               # none; first configurations of each chain, which fix the coefficients
# contact_every = 10          # of so many configurations one gives the terms where supports meet

# [parallel]                  # with this section, processes that are started together share the work
# parts = 1                   # shares of the chains of sample, and of the configurations of derive
# ranks = 2                   # none; processes of mpirun that share a configuration; default: all there are for each part
# grid = [2, 1, 1, 1]         # none; how these cut the lattice, for each direction; default: the smallest surface

[output]
dir = "results"               # folder of everything that is computed
# format = "ensemble"         # one file; or "nersc", "ildg", "scidac", "hdf5": one for each configuration
# precision = 64              # or 32, of the configurations
"""


@click.command()
@click.argument("runfile", metavar="[RUN.toml]", default="run.toml", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def init(runfile: Path, force: bool) -> None:
    """Write a commented run file, RUN.toml (default: run.toml), to start from.

    It names every key with its default. `gaugeflow sample RUN.toml` accepts it as it is: SU(3) at beta = 6.0 on 8^4,
    with targets on both sides for `train` and `derive`.
    """
    try:
        with runfile.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ValueError(f"{runfile} exists: give another name, or --force to replace it") from None
    click.echo(f"{runfile}: edit it, then run `gaugeflow sample {runfile}`")
