"""Trivialising maps: gradients of potentials made of Wilson loops, and the algebra of loops that they come from."""
