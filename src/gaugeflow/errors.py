"""Exceptions of gaugeflow.

Bad arguments raise the built-in ``ValueError`` or ``TypeError``; the classes here are for conditions that a caller may
want to catch separately.
"""


class GaugeflowError(Exception):
    """Base class of every exception that is specific to gaugeflow."""


class FormatError(GaugeflowError):
    """A file is truncated, corrupted, inconsistent with its own metadata, or not in a known format."""


class ConvergenceError(GaugeflowError):
    """An iteration (flow inverse, solver, rejection loop) did not reach its tolerance, or left its domain."""


class BackendError(GaugeflowError):
    """A back end is unknown, cannot be loaded, or cannot serve the arrays that it was given."""
