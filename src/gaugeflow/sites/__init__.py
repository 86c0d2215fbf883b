"""Formulas on numbers.

Every formula of the lattice is a plain function on tuples of *numbers*, written with ``+ - * /`` and the functions of
:mod:`gaugeflow.sites.numbers`.  A number is a whole array (reference), an explicit vector register (CPU) or one thread's
scalar (GPU); a matrix is a row-major tuple of N * N numbers.  Each formula therefore exists once.
"""
