"""Equivariant couplings of gauge theories in two dimensions: maps of angles, of eigenvalues and of loops."""
