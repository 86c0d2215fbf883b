"""Bookkeeping of replica exchange: where walkers are, and how long they travel."""

from __future__ import annotations

import numpy as np

from gaugeflow.analysis.series import AnyArray, IntArray


def positions(walker: AnyArray) -> IntArray:
    """Replica at which each walker is after each step.

    Parameters
    ----------
    walker : array of int, (n, n_replicas, batch)
        Walker at each replica, as recorded by :class:`gaugeflow.samplers.ReplicaExchange`.

    Returns
    -------
    ndarray of int64, (n, n_replicas, batch)
        Entry (step, w, chain) is the replica where walker w is.

    Raises
    ------
    ValueError
        If a step is not a permutation of the walkers.
    """
    walker = np.asarray(walker)
    if walker.ndim != 3:
        raise ValueError(f"walker: expected shape (n, n_replicas, batch), got {walker.shape}")
    found = np.argsort(walker, axis=1)
    if not np.array_equal(np.take_along_axis(walker, found, axis=1), np.broadcast_to(_labels(walker), walker.shape)):
        raise ValueError("walker: every step must hold every walker once")
    return found.astype(np.int64)


def _labels(walker: AnyArray) -> IntArray:
    return np.arange(walker.shape[1], dtype=np.int64)[None, :, None]


def round_trip_times(walker: AnyArray) -> IntArray:
    """Durations in steps of all completed journeys from the first replica to the last and back.

    A journey lasts from the arrival of a walker at the first replica to the next one after a visit to the last replica.

    Parameters
    ----------
    walker : array of int, (n, n_replicas, batch)
        As for :func:`positions`.

    Returns
    -------
    ndarray of int64
        One entry for each journey from the first replica over the last to the first, of all walkers and chains.
    """
    place = positions(walker)
    last = place.shape[1] - 1
    times = []
    for track in place.reshape(len(place), -1).T:
        ends = np.flatnonzero((track == 0) | (track == last))
        turns = ends[np.flatnonzero(np.diff(track[ends], prepend=-1))]  # first visit to one end after the other
        homes = turns[track[turns] == 0]
        times.extend(np.diff(homes).tolist())
    return np.array(times, dtype=np.int64)
