"""Sweeps over real fields ``(n_blocks, lanes)``."""

from __future__ import annotations

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import all_slots, reach, take
from gaugeflow.lattice import Array, Lattice, check_array
from gaugeflow.namespaces import array_namespace


def check_scalar(lattice: Lattice, field: Array) -> None:
    """Raise ``ValueError`` unless ``field`` is ``(n_blocks, lanes)``."""
    check_array(field)
    if len(field.shape) != 2 or field.shape[0] != lattice.n_blocks:
        raise ValueError(f"field: expected shape ({lattice.n_blocks}, lanes), got {tuple(field.shape)}")
    lattice.batch(field.shape[-1])


@kernel()
def neighbour_sum(lattice: Lattice, field: Array) -> Array:
    """Sum of a real field over the 2 d neighbours of every site, ``(n_blocks, lanes)``."""
    check_scalar(lattice, field)
    xp = array_namespace(field)
    flat = xp.reshape(field, (1, lattice.n_slots, -1))
    here = all_slots(lattice, xp)
    total = None
    for mu in range(lattice.ndim):
        for sign in (0, 1):
            part = take(lattice, flat, reach(lattice, xp, here, [(mu, sign)]))[0, ...]
            total = part if total is None else total + part
    return xp.reshape(total, tuple(field.shape))
