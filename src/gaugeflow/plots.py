"""Plots of analyses, as PNG files: history of a chain, autocorrelation, effective mass, continuum extrapolation.

They need no display and leave matplotlib's global state alone. Colours are those of M. Okabe and K. Ito, which colour-blind
readers can tell apart; curves differ in markers or line styles besides, so that they can be told apart in grey.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from gaugeflow.analysis import EffectiveMass, Estimate, Fit, Series, format_error, gamma_method

_FEWEST = 5
"""Configurations of a chain that the Gamma method needs."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of curves, in the order in which they are used."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of points, likewise."""
LINES = ("-", "--", "-.", ":")
"""Styles of lines, likewise."""
POINTS: dict[str, Any] = {"ms": 4, "capsize": 2, "lw": 1}
"""Options of error bars."""
_BAND: dict[str, Any] = {"alpha": 0.3, "lw": 0}
_DOTS_PER_INCH = 200
_copies: ContextVar[tuple[str, ...]] = ContextVar("formats of copies", default=())


def panels(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Figure and array (rows, columns) of axes; options go to ``Figure.subplots``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Panels side by side are smaller: in print they share the width of a page, and letters must stay readable.
    width, height = (5.5, 4.0) if columns == 1 else (2.4 + 2.0 * columns, 3.0)
    figure = Figure(figsize=(width, height if rows == 1 else 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def colour(k: int) -> str:
    """Colour of the k-th curve."""
    return COLOURS[k % len(COLOURS)]


def marker(k: int) -> str:
    """Marker of the k-th set of points."""
    return MARKERS[k % len(MARKERS)]


def line(k: int) -> str:
    """Line style of the k-th curve."""
    return LINES[k % len(LINES)]


@contextmanager
def copies(*formats: str) -> Iterator[None]:
    """Within the block, every figure is also written in these formats, ``"pdf"`` or ``"svg"``, beside its file."""
    unknown = set(formats) - {"pdf", "svg"}
    if unknown:
        raise ValueError(f"expected formats pdf or svg, got {sorted(unknown)}")
    token = _copies.set(formats)
    try:
        yield
    finally:
        _copies.reset(token)


def save(figure: Any, path: Path | str) -> Path:
    """Write a figure, and the `copies` that are asked for; gives the path."""
    for file in written(path):
        # A time stamp would make equal figures differ.
        metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(file.suffix)
        figure.savefig(file, dpi=_DOTS_PER_INCH, metadata=metadata)
    return Path(path)


def written(path: Path | str) -> tuple[Path, ...]:
    """Files that `save` writes for a path."""
    return (Path(path), *(Path(path).with_suffix(f".{form}") for form in _copies.get()))


def integer_ticks(axis: Any, values: Any) -> None:
    """Ticks at integers only, where all values of an axis (``figure.axes[k].yaxis``) are integers."""
    if _integers(values):
        from matplotlib.ticker import MaxNLocator

        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def bin_edges(samples: Sequence[Any], most: int = 200) -> Any:
    """Common bin edges of several histograms: as fine as the narrowest distribution needs.

    Integers get a bin each, centred at them. The width is otherwise that of Freedman and Diaconis for the narrowest sample, or
    the range of all divided by `most`.
    """
    arrays = [np.asarray(values, dtype=np.float64).ravel() for values in samples]
    every = np.concatenate(arrays)
    low, high = float(every.min()), float(every.max())
    if _integers(every) and high - low < most:
        return np.arange(low - 0.5, high + 1.0)
    if high == low:
        return np.array([low - 0.5, low + 0.5])
    widths = [2 * float(np.subtract(*np.percentile(a, [75, 25]))) / len(a) ** (1 / 3) for a in arrays]
    width = min((w for w in widths if w > 0), default=high - low)
    count = int(np.clip(np.ceil((high - low) / width), 5, most))
    return np.linspace(low, high, count + 1)


def _integers(values: Any) -> bool:
    array = np.asarray(values, dtype=np.float64)
    return bool((np.abs(array - np.rint(array)) < 1e-6).all())


def history(path: Path | str, series: Series, label: str = "") -> Path:
    """Values of a scalar series against configuration number, one line for each chain, and the distribution of all.

    The horizontal line is the mean of all chains, the band its Gamma-method error.

    Parameters
    ----------
    path : Path or str
        PNG file to write.
    series : Series
        Measured scalar series.
    label : str
        Axis label of the observable; the name of the series by default.

    Raises
    ------
    ValueError
        The series has several components or a chain is too short for an error.
    """
    estimate = gamma_method(series)
    figure, axes = panels(1, 2, sharey=True, gridspec_kw={"width_ratios": [4, 1]})
    track, side = axes[0]
    width = 0.5 if series.n > 500 * series.chains else 1.0
    for r, (ids, values) in enumerate(zip(series.ids, series.values, strict=True)):
        style: dict[str, Any] = {"color": colour(r), "ls": line(r // len(COLOURS)), "alpha": 0.8, "label": f"chain {r}"}
        track.plot(*_broken_at_gaps(ids, values), lw=width, marker="." if len(ids) < 100 else "", ms=3, **style)
    every = np.concatenate(series.values)
    bins = bin_edges([every]) if _integers(every) else int(np.clip(np.sqrt(series.n), 5, 40))
    side.hist(every, bins=bins, orientation="horizontal", density=True, color="0.6")
    integer_ticks(track.yaxis, every)
    for axis in (track, side):
        axis.axhspan(estimate.value - estimate.error, estimate.value + estimate.error, color="k", zorder=3, **_BAND)
        axis.axhline(estimate.value, color="k", lw=1, zorder=3)
    track.set(xlabel="configuration number", ylabel=label or series.name, title=f"mean {estimate}")
    side.set(xlabel="density")
    if 1 < series.chains <= len(COLOURS):
        track.legend(fontsize=7, ncols=2)
    return save(figure, path)


def _broken_at_gaps(ids: Any, values: Any) -> tuple[Any, Any]:
    """A line that is not drawn where configurations are missing."""
    steps = np.diff(ids)
    gaps = np.flatnonzero(steps > steps.min(initial=np.iinfo(np.int64).max)) + 1
    return np.insert(ids.astype(np.float64), gaps, np.nan), np.insert(values, gaps, np.nan)


def autocorrelation(path: Path | str, estimate: Estimate, lags: int | None = None) -> Path:
    r"""Normalised autocorrelation function and running integrated autocorrelation time with errors and the chosen window.

    Parameters
    ----------
    path : Path or str
        PNG file to write.
    estimate : Estimate
        Result of `gamma_method`.
    lags : int, optional
        Number of lags shown; three windows by default.

    Raises
    ------
    ValueError
        Fewer than two lags are asked for.
    """
    if lags is not None and lags < 2:
        raise ValueError(f"expected at least 2 lags, got {lags}")
    shown = min(max(3 * estimate.window, 10) if lags is None else lags, len(estimate.rho))
    lag = np.arange(shown)
    figure, axes = panels(2, 1, sharex=True)
    above, below = axes[:, 0]
    for axis, value, error in (
        (above, estimate.rho[:shown], estimate.rho_error(shown)),
        (below, estimate.running_tau_int[:shown], estimate.running_tau_int_error[:shown]),
    ):
        axis.fill_between(lag, value - error, value + error, color=colour(0), **_BAND)
        axis.plot(lag, value, color=colour(0), lw=1, marker="o" if shown <= 60 else "", ms=3)
    above.axhline(0, color="k", lw=0.8)
    above.set(ylabel=r"autocorrelation $\rho(t)$", title=estimate.name)
    result = rf"$\tau_\mathrm{{int}}$ = {format_error(estimate.tau_int, estimate.tau_int_error)}"
    below.axhline(estimate.tau_int, color=colour(1), lw=1, label=result)
    below.set(xlabel="lag $t$, window $W$ (distances of two configurations)", ylabel=r"$\tau_\mathrm{int}(W)$")
    for axis in (above, below):
        axis.axvline(estimate.window, color="k", ls="--", lw=1, label=f"window {estimate.window}")
    below.legend(loc="lower right")
    return save(figure, path)


def effective_mass(path: Path | str, mass: EffectiveMass, plateau: Fit | None = None) -> Path:
    """Effective masses with errors and, where given, the band of a plateau over the times of its fit.

    The vertical range follows the masses with errors below a fifth of themselves.

    Parameters
    ----------
    path : Path or str
        PNG file to write.
    mass : EffectiveMass
        Masses to show.
    plateau : Fit, optional
        Result of `EffectiveMass.plateau`.
    """
    estimates = [gamma_method(component) for component in mass.series.split()]
    value, error = np.array([e.value for e in estimates]), np.array([e.error for e in estimates])
    figure, axes = panels()
    axis = axes[0, 0]
    axis.errorbar(mass.times, value, yerr=error, fmt="o", color=colour(0), **POINTS)
    shown = error < 0.2 * np.abs(value)
    if plateau is not None:
        (m,) = plateau.parameters
        ends = [plateau.x[0] - 0.3, plateau.x[-1] + 0.3]
        label = f"$m$ = {m}, $\\chi^2$/dof = {plateau.chi_squared:.3g}/{plateau.dof}"
        axis.fill_between(ends, m.value - m.error, m.value + m.error, color=colour(1), **_BAND)
        axis.plot(ends, [m.value, m.value], color=colour(1), lw=1, label=label)
        axis.legend()
    if shown.any():
        low, high = np.min((value - error)[shown]), np.max((value + error)[shown])
        axis.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))
    axis.set(xlabel="time $t / a$", ylabel=r"effective mass $a\, m_\mathrm{eff}(t)$")
    return save(figure, path)


def effective_masses(
    path: Path | str, masses: Mapping[str, EffectiveMass], fits: Mapping[str, Fit] | None = None
) -> Path:
    """Effective masses of several channels with errors, and bands of fitted masses over the times of their fits.

    Parameters
    ----------
    path : Path or str
        PNG file to write.
    masses : mapping of str to EffectiveMass
        By name of the channel. Chains too short for an error are shown without.
    fits : mapping of str to Fit
        Fits whose first parameter is the mass, and whose abscissae are times.
    """
    figure, axes = panels()
    axis = axes[0, 0]
    shown = []
    for k, (name, mass) in enumerate(masses.items()):
        shade, value, error = colour(k), mass.series.mean, None
        if min(map(len, mass.series.values)) >= _FEWEST:
            error = np.array([gamma_method(component).error for component in mass.series.split()])
        shift = 0.08 * (k - (len(masses) - 1) / 2)
        label = name
        if fits and name in fits:
            m = fits[name].parameters[0]
            ends = [fits[name].x[0] - 0.3, fits[name].x[-1] + 0.3]
            axis.fill_between(ends, m.value - m.error, m.value + m.error, color=shade, **_BAND)
            axis.plot(ends, [m.value, m.value], color=shade, lw=0.8)
            label = f"{name}: {m}"
        axis.errorbar(mass.times + shift, value, yerr=error, color=shade, fmt=marker(k), label=label, **POINTS)
        good = np.full(value.shape, True) if error is None else error < 0.2 * np.abs(value)
        shown += [*(value - (0 if error is None else error))[good], *(value + (0 if error is None else error))[good]]
    if shown:
        low, high = min(shown), max(shown)
        room = max(high - low, 0.1 * abs(high))
        axis.set_ylim(low - 0.1 * room, high + 0.2 * room)
    if masses:
        axis.legend(fontsize=8, title="fitted mass $a\\, m$" if fits else None, title_fontsize=8)
    axis.set(xlabel="time $t / a$", ylabel=r"effective mass $a\, m_\mathrm{eff}(t)$")
    return save(figure, path)


def continuum(path: Path | str, fit: Fit, xlabel: str = "$a^2$", ylabel: str = "") -> Path:
    """Data, fitted curve with error band down to x = 0, and the value there.

    Parameters
    ----------
    path : Path or str
        PNG file to write.
    fit : Fit
        Fit with an array x (n,) of abscissae, e.g. squared lattice spacings, whose model is finite at x = 0.
    xlabel, ylabel : str
        Axis labels.

    Raises
    ------
    ValueError
        The abscissae are not one number for each datum, or the model is not finite between 0 and the data.
    """
    x = np.asarray(fit.x)
    if x.shape != fit.y.shape:
        raise ValueError(f"expected abscissae of shape {fit.y.shape}, got {x.shape}")
    low, high = sorted((0.0, 1.05 * float(x[np.argmax(np.abs(x))])))
    grid = np.linspace(low, high, 200)
    with np.errstate(all="ignore"):  # Checked below.
        value, error = fit.band(grid)
        (limit,), (limit_error,) = fit.band(np.zeros(1))
    if not (np.isfinite(value).all() and np.isfinite(error).all() and np.isfinite(limit)):
        raise ValueError(f"the model is not finite everywhere between x = {low:g} and {high:g}")
    figure, axes = panels()
    axis = axes[0, 0]
    axis.fill_between(grid, value - error, value + error, color=colour(1), **_BAND)
    axis.plot(grid, value, color=colour(1), lw=1, label=f"fit, $\\chi^2$/dof = {fit.chi_squared:.3g}/{fit.dof}")
    axis.errorbar(x, fit.y, yerr=fit.y_error, color=colour(0), fmt="o", label="data", **POINTS)
    label = f"limit {format_error(limit, limit_error)}"
    axis.errorbar([0.0], [limit], yerr=[limit_error], color=colour(2), fmt="s", label=label, **POINTS)
    axis.axvline(0, color="k", lw=0.8, ls=":")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend()
    return save(figure, path)
