"""Ensembles of configurations and pairs of correlated ones, streamed."""

from gaugeflow.ensembles.correlated import (
    CorrelatedEnsemble,
    Measurements,
    Pair,
    measure_images,
    measure_with_noise,
)
from gaugeflow.ensembles.derivatives import EPSILON, FLOW, INDEPENDENT, LINEAR, REWEIGHTING, estimators, maps_of
from gaugeflow.ensembles.fields import along_fields
from gaugeflow.ensembles.linear import along_flow
from gaugeflow.ensembles.locality import CombinedSources, Shells, measure_local, moved_means, plaquette_density
from gaugeflow.ensembles.quarks import Observables, QuarkSource, along_quarks, quark_tangents
from gaugeflow.ensembles.response import Improved, response, responses
from gaugeflow.ensembles.slabs import Slabs
from gaugeflow.ensembles.smeared_forces import NoisyForces, SmearedForces
from gaugeflow.ensembles.sources import (
    LocalSources,
    SlicedFields,
    SourceFields,
    contact_terms,
    first_contact,
    measure_sources,
    second_contact,
)
from gaugeflow.ensembles.sources_gradients import GradientSources, NoisyGradients
from gaugeflow.ensembles.sources_links import JoinedSources, PlaquetteSources, SmearedSources
from gaugeflow.ensembles.sources_noise import noisy_tangents
from gaugeflow.ensembles.sources_quarks import quark_loop
from gaugeflow.ensembles.sources_scalar import ScalarSources
from gaugeflow.ensembles.stored import FileEnsemble, MemoryEnsemble, numbers_in_names

__all__ = [
    "EPSILON",
    "FLOW",
    "INDEPENDENT",
    "LINEAR",
    "REWEIGHTING",
    "CombinedSources",
    "CorrelatedEnsemble",
    "FileEnsemble",
    "GradientSources",
    "Improved",
    "JoinedSources",
    "LocalSources",
    "Measurements",
    "MemoryEnsemble",
    "NoisyForces",
    "NoisyGradients",
    "Observables",
    "Pair",
    "PlaquetteSources",
    "QuarkSource",
    "ScalarSources",
    "Shells",
    "Slabs",
    "SlicedFields",
    "SmearedForces",
    "SmearedSources",
    "SourceFields",
    "along_fields",
    "along_flow",
    "along_quarks",
    "contact_terms",
    "estimators",
    "first_contact",
    "maps_of",
    "measure_images",
    "measure_local",
    "measure_sources",
    "measure_with_noise",
    "moved_means",
    "noisy_tangents",
    "numbers_in_names",
    "plaquette_density",
    "quark_loop",
    "quark_tangents",
    "response",
    "responses",
    "second_contact",
]
