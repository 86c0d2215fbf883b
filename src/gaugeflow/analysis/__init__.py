"""Error analysis of Markov chain data: Gamma method, resampling, reweighting, differences between ensembles.

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
from gaugeflow.analysis.gamma import Estimate, derive, format_error, gamma_method
from gaugeflow.analysis.resample import Resampled, bootstrap, jackknife
from gaugeflow.analysis.series import Series, align, stack
from gaugeflow.analysis.susceptibility import (
    polyakov_susceptibility,
    susceptibility,
    topological_susceptibility,
)
from gaugeflow.analysis.weights import (
    VariancePerSite,
    acceptance_gaussian,
    ess,
    ess_gaussian,
    kl_gaussian,
    reweighted,
    reweighted_mean,
    variance_per_site,
)

__all__ = [
    "Cost",
    "Estimate",
    "Gain",
    "Resampled",
    "Series",
    "VariancePerSite",
    "acceptance_gaussian",
    "align",
    "bootstrap",
    "derivative_central",
    "derivative_linear",
    "derivative_one_sided",
    "derive",
    "difference_flow",
    "difference_independent",
    "ess",
    "ess_gaussian",
    "format_error",
    "gain",
    "gamma_method",
    "jackknife",
    "kl_gaussian",
    "polyakov_susceptibility",
    "reweighted",
    "reweighted_mean",
    "stack",
    "susceptibility",
    "topological_susceptibility",
    "variance_per_site",
]
