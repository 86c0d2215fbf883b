"""Error analysis of Markov chain data: Gamma method, resampling, reweighting, fits, differences between ensembles.

Needs NumPy and SciPy only.
"""

from gaugeflow.analysis.correlated import (
    Cost,
    Gain,
    derivative_central,
    derivative_linear,
    derivative_one_sided,
    difference_flow,
    difference_independent,
    gain,
)
from gaugeflow.analysis.export import to_correlator, to_pyerrors, to_xarray
from gaugeflow.analysis.fields import combined, cross_fit
from gaugeflow.analysis.fits import Fit, covariance, fit
from gaugeflow.analysis.gamma import Estimate, derive, format_error, gamma_method
from gaugeflow.analysis.independent import Combined, combine, derive_independent
from gaugeflow.analysis.locality import Locality, choose_radius, local_curve
from gaugeflow.analysis.mass import EffectiveMass, effective_mass
from gaugeflow.analysis.n_point import (
    contact,
    cross_fit_sources,
    fit_sources,
    improved,
    n_point_function,
    reflected,
    residual_share,
    two_point_function,
)
from gaugeflow.analysis.potential import (
    effective_potential,
    fit_cornell,
    lattice_coulomb,
    sommer_scale,
    sommer_scale_of_beta,
)
from gaugeflow.analysis.replica import positions, round_trip_times
from gaugeflow.analysis.resample import Resampled, bootstrap, jackknife
from gaugeflow.analysis.series import Series, align, stack
from gaugeflow.analysis.slabs import slab_correlator
from gaugeflow.analysis.susceptibility import (
    polyakov_susceptibility,
    susceptibility,
    topological_susceptibility,
)
from gaugeflow.analysis.two_point import by_chain, correlator, fit_mass, folded
from gaugeflow.analysis.weights import (
    FEW,
    VariancePerSite,
    acceptance_gaussian,
    effective_configurations,
    ess,
    ess_from_target,
    ess_gaussian,
    kl_gaussian,
    noisy_variance,
    reweighted,
    reweighted_mean,
    variance_per_site,
)

__all__ = [
    "FEW",
    "Combined",
    "Cost",
    "EffectiveMass",
    "Estimate",
    "Fit",
    "Gain",
    "Locality",
    "Resampled",
    "Series",
    "VariancePerSite",
    "acceptance_gaussian",
    "align",
    "bootstrap",
    "by_chain",
    "choose_radius",
    "combine",
    "combined",
    "contact",
    "correlator",
    "covariance",
    "cross_fit",
    "cross_fit_sources",
    "derivative_central",
    "derivative_linear",
    "derivative_one_sided",
    "derive",
    "derive_independent",
    "difference_flow",
    "difference_independent",
    "effective_configurations",
    "effective_mass",
    "effective_potential",
    "ess",
    "ess_from_target",
    "ess_gaussian",
    "fit",
    "fit_cornell",
    "fit_mass",
    "fit_sources",
    "folded",
    "format_error",
    "gain",
    "gamma_method",
    "improved",
    "jackknife",
    "kl_gaussian",
    "lattice_coulomb",
    "local_curve",
    "n_point_function",
    "noisy_variance",
    "polyakov_susceptibility",
    "positions",
    "reflected",
    "residual_share",
    "reweighted",
    "reweighted_mean",
    "round_trip_times",
    "slab_correlator",
    "sommer_scale",
    "sommer_scale_of_beta",
    "stack",
    "susceptibility",
    "to_correlator",
    "to_pyerrors",
    "to_xarray",
    "topological_susceptibility",
    "two_point_function",
    "variance_per_site",
]
