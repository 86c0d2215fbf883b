"""Flow-based sampling of lattice field theory and correlated lattice QCD ensembles."""

__version__ = "0.1.0"
