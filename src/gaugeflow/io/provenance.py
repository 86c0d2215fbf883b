"""Where a file came from: the attributes that every file of results carries."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gaugeflow import __version__


def provenance(**extra: object) -> dict[str, object]:
    """Describe the running program.

    Parameters
    ----------
    **extra
        Further entries, usually ``seed`` and ``parameters`` (a dict): anything that JSON can hold.

    Returns
    -------
    dict
        ``gaugeflow_version``, ``numpy_version``, ``python_version``, ``command`` (the command line, the program
        without its folder), ``created`` (UTC, ISO 8601), and ``extra``.
    """
    return {
        "gaugeflow_version": __version__,
        "numpy_version": np.__version__,
        "python_version": sys.version.split()[0],
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **extra,
    }
