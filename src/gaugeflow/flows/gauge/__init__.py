"""Gradient-flow-like maps of SU(N) links in any dimension: residual sweeps, smeared sweeps, convolved links."""
