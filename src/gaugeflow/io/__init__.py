"""Gauge configurations, ensembles, tables and flow parameters in files.

`read` detects the format of a configuration from its content, verifies everything that the file states (checksums,
averages, unitarity) and returns a `Config`; `write` chooses the format by the suffix and replaces the file atomically.

========  ==================  ==============================  =====================  ================================
format    suffix              holds                           verified beside group  options of `write`
========  ==================  ==============================  =====================  ================================
nersc     .nersc              4D SU(N), 32 or 64 bits         checksum, averages     ``rows`` (N, N-1), ``byte_order``
ildg      .ildg, .lime        4D SU(N) or U(1), 32, 64 bits   checksum, plaquette
scidac    .scidac             SU(N) or U(1), any dimension    checksum
milc      .milc               4D SU(3), 32 bits               two checksums (v5)     ``byte_order``
openqcd   .openqcd, .oqcd     4D SU(3), even, 64 bits         plaquette
hdf5      .h5, .hdf5          SU(N) or U(1), any dimension    checksum, averages
hirep     read only           4D SU(N), 64 bits               plaquette
bridge    read only           SU(N) or U(1), text             nothing
========  ==================  ==============================  =====================  ================================

ILDG and SciDAC files need not have the checksum, nor anything but the binary record: then the extents are an argument of
`read`, as they are for the text of ``bridge`` (Bridge++, Julia). What else is missing follows from the length of the data,
with a `FormatWarning`. A field from anywhere else is ``Config(links)``. Other packages add formats: see `Format`.

On a lattice that is cut over processes, ``read(path, lattice=lattice)`` gives every process its own sites, and ``write`` of
``Config(links, lattice=lattice)`` makes the file that one process would make, in every format but ``bridge``; so do
`EnsembleFile` and the functions for propagators with ``lattice``. An error on one process is raised on all.

`EnsembleFile` holds many configurations and grows safely; `write_table` stores measurements, `write_params` the
parameters of a flow, `write_propagator` a quark propagator, all with `provenance`. A bad file raises
`gaugeflow.errors.FormatError` and nothing else.
"""

from importlib import import_module
from typing import Any

from gaugeflow.io.config import Config
from gaugeflow.io.formats import Format, available_formats, find_format, read, write
from gaugeflow.io.provenance import provenance

# These need h5py, which is imported when one of them is first used.
_LAZY = {
    "EnsembleFile": "ensemble",
    "EnsembleSlice": "ensemble",
    "read_table": "hdf5",
    "write_table": "hdf5",
    "StoredPropagator": "propagators",
    "read_params": "params",
    "read_propagator": "propagators",
    "write_params": "params",
    "write_propagator": "propagators",
}

__all__ = [
    "Config",
    "EnsembleFile",
    "EnsembleSlice",
    "Format",
    "StoredPropagator",
    "available_formats",
    "find_format",
    "provenance",
    "read",
    "read_params",
    "read_propagator",
    "read_table",
    "write",
    "write_params",
    "write_propagator",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"gaugeflow.io.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
