"""What runs inside a C, C++ or Fortran program that links gaugeflow; the page "Embedding" tells how.

``gaugeflow embed --build DIR`` makes the shared library.  Its functions, declared in ``gaugeflow.h``, are those of
:mod:`gaugeflow.embed.calls`.
"""
