"""Series, derivatives, correlators and tables as objects of pyerrors and xarray, which are imported only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gaugeflow.analysis.series import AnyArray, Series


def to_pyerrors(series: Series, ensemble: str) -> Any:
    """A series as observables of pyerrors (arXiv:2209.14371), with the names of ensemble and chains and the numbers.

    Parameters
    ----------
    series : Series
        Measured or linearised: a mean, or a derivative or another function of means.
    ensemble : str
        Name of the ensemble. Observables of the same ensemble are correlated there, configuration by configuration; chain r
        is called ``ensemble|rR``.

    Returns
    -------
    pyerrors.Obs or list of pyerrors.Obs
        One for each component. Fluctuations are ours, around the mean of all chains, so that ``gamma_method`` there gives the
        error that it gives here.

    Raises
    ------
    ImportError
        If pyerrors is not installed.
    ValueError
        If the name holds a bar, which separates it from that of a chain.
    """
    if "|" in ensemble or not ensemble:
        raise ValueError(f"ensemble: expected a name without '|', got {ensemble!r}")
    obs = import_module("pyerrors").Obs
    names = [f"{ensemble}|r{r}" for r in range(series.chains)]
    numbers = [ids.tolist() for ids in series.ids]

    def one(component: Series) -> Any:
        deltas = list(component.fluctuations)
        # Without means, pyerrors would take those of the chains off; with others than zero, it would not know the value.
        return obs(deltas, names, idl=numbers, means=[0.0] * len(names)) + float(component.mean)

    return [one(component) for component in series.split()] if series.shape else one(series)


def to_correlator(series: Series, ensemble: str) -> Any:
    """A correlator C(0), C(1), ... as a ``pyerrors.Corr``.

    Parameters
    ----------
    series : Series (T,)
        As :func:`gaugeflow.analysis.correlator` returns it.
    ensemble : str
        As for :func:`to_pyerrors`.

    Raises
    ------
    ImportError
        If pyerrors is not installed.
    ValueError
        If the series has no times.
    """
    if len(series.shape) != 1:
        raise ValueError(f"correlator: expected a series with one component for each time, got shape {series.shape}")
    return import_module("pyerrors").Corr(to_pyerrors(series, ensemble))


def to_xarray(table: tuple[Mapping[str, AnyArray], Mapping[str, Any]]) -> Any:
    """A file of measurements as a ``xarray.Dataset``.

    Parameters
    ----------
    table
        What ``gaugeflow.io.read_table`` returns.

    Returns
    -------
    xarray.Dataset
        Columns with one entry for each configuration have the dimension ``configuration``, of which ``chain`` and ``id`` are
        coordinates where the file has them; further axes are called after the column, ``correlators_1`` and so on. What the
        file says about them are the attributes.

    Raises
    ------
    ImportError
        If xarray is not installed.
    """
    columns, attributes = table
    keys = [key for key in ("chain", "id") if key in columns]
    rows = len(columns[keys[0]]) if keys else -1
    variables = {}
    for name, column in columns.items():
        axes = [f"{name}_{axis}" for axis in range(column.ndim)]
        if column.ndim and column.shape[0] == rows:
            axes[0] = "configuration"
        variables[name] = (axes, column)
    data = import_module("xarray").Dataset(variables, attrs=dict(attributes))
    return data.set_coords(keys)
