"""Conditional flows: pseudofermions from Gaussian noise at fixed links, linear and gauge-equivariant.

With a flow of links such a map makes a joint sampler p(U) p(phi | U) of gauge fields and pseudofermions.  The perfect map is
the heat bath phi = M^dagger eta, but the determinant of that is what pseudofermions were to replace: maps are wanted that come
close and whose determinant is cheap.
"""
