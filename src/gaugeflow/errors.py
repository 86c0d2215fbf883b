"""Exceptions of gaugeflow.

Bad arguments raise the built-in ``ValueError`` or ``TypeError``; the classes here are for conditions that a caller may
want to catch separately. Warnings are for what a caller should know and need not act upon.
"""


class GaugeflowError(Exception):
    """Base class of every exception that is specific to gaugeflow."""


class FormatError(GaugeflowError):
    """A file is truncated, corrupted, inconsistent with its own metadata, or not in a known format."""


class ConvergenceError(GaugeflowError):
    """An iteration (flow inverse, solver, rejection loop) did not reach its tolerance, or left its domain."""


class BackendError(GaugeflowError):
    """A back end is unknown, cannot be loaded, or cannot serve the arrays that it was given."""


class GaugeflowWarning(UserWarning):
    """Base class of the warnings of gaugeflow, which its command prints as one line each."""


class FormatWarning(GaugeflowWarning):
    """A file leaves out what its format demands, and what it leaves out follows from the rest."""


class LockWarning(GaugeflowWarning):
    """A file system cannot lock files, and something weaker keeps two runs apart."""
