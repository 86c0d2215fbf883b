"""What kernels on fermion fields share: shapes, stacks, fields of one parity, and linear algebra lane by lane.

A fermion field is ``(rows, spin, colour, lanes)``, or a stack ``(R, rows, spin, colour, lanes)`` of R fields on one gauge
field.  Its rows are all block sites, or those of one parity in increasing order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from array_api_compat import device

from gaugeflow.backend import kernel
from gaugeflow.kernels.slots import slots_of, split, take
from gaugeflow.kernels.sums import sum_sites
from gaugeflow.lattice import Array, Lattice
from gaugeflow.namespaces import array_namespace

BOTH = -1
"""In place of a parity: all sites."""


def sites_of(lattice: Lattice, parity: int) -> Any:
    """Block sites of a parity, or all of them for :data:`BOTH`."""
    return range(lattice.n_blocks) if parity == BOTH else _sites_of_parity(lattice, parity)


@lru_cache(maxsize=64)
def _sites_of_parity(lattice: Lattice, parity: int) -> Any:
    """Every hop asks for them, and finding them can take as long as a hop."""
    return lattice.sites_of_parity(parity)


def count_rows(lattice: Lattice, parity: int) -> int:
    """Rows of a fermion field on the sites of a parity."""
    return lattice.n_blocks if parity == BOTH else len(_sites_of_parity(lattice, parity))


def count_sites(lattice: Lattice, parity: int) -> int:
    """Number of sites of a parity on the whole lattice."""
    return lattice.volume if parity == BOTH else lattice.volume // 2


def rows_of(lattice: Lattice, parity: int, like: Array) -> Array:
    """Block sites of a parity as an array of indices where ``like`` lives; copied there once."""
    xp = array_namespace(like)
    return _rows_of(lattice, parity, xp, str(device(like)))


@lru_cache(maxsize=64)
def _rows_of(lattice: Lattice, parity: int, xp: Any, place: str) -> Array:
    return xp.asarray(sites_of(lattice, parity), dtype=xp.int64)


def rows_in_order(lattice: Lattice, like: Array) -> Array:
    """Row of every block site among the even sites followed by the odd ones, an array of indices where ``like`` lives."""
    xp = array_namespace(like)
    return _rows_in_order(lattice, xp, str(device(like)))


@lru_cache(maxsize=64)
def _rows_in_order(lattice: Lattice, xp: Any, place: str) -> Array:
    order = xp.concat([xp.asarray(sites_of(lattice, p), dtype=xp.int64) for p in (0, 1)])
    return xp.argsort(order)


def other(parity: int) -> int:
    """The parity that one hop leads to."""
    return BOTH if parity == BOTH else 1 - parity


def check_fermions(
    lattice: Lattice, psi: Array, parity: int, links: Array | None = None, name: str = "psi", spin: int | None = None
) -> None:
    """Raise ``ValueError`` unless psi is a fermion field, or a stack, on these sites, with the colours and lanes of links."""
    found = tuple(psi.shape)
    rows = count_rows(lattice, parity)
    colours, lanes = (None, None) if links is None else (links.shape[2], links.shape[4])
    good = len(found) in (4, 5) and found[-4] == rows and spin in (None, found[-3])
    if not good or colours not in (None, found[-2]) or lanes not in (None, found[-1]):
        where = "all sites" if parity == BOTH else f"parity {parity}"
        shape = f"{rows}, {spin or 'spin'}, {colours or 'colour'}, {lanes or 'lanes'}"
        raise ValueError(f"{name}: expected shape ({shape}) on {where} of {lattice}, or a stack of such, got {found}")
    lattice.batch(found[-1])
    if links is not None and (type(psi) is not type(links) or psi.dtype != links.dtype):
        raise TypeError(f"{name}: expected {links.dtype} {type(links)} like the links, got {psi.dtype} {type(psi)}")


def stack(psi: Array) -> Array:
    """The field as a stack."""
    return psi if len(psi.shape) == 5 else psi[None, ...]


def spinors(lattice: Lattice, psi: Array, parity: int, slots: Array) -> tuple[Array, ...]:
    """One field of a stack as a tuple of spin x colour arrays ``(slots, batch)``, at slots of the given parity."""
    return spinors_at(lattice, components(lattice, psi), parity, slots)


def components(lattice: Lattice, psi: Array) -> Array:
    """One field of a stack as ``(spin x colour, slots, batch)``."""
    xp = array_namespace(psi)
    rows, spin, n, lanes = psi.shape
    x = xp.reshape(psi, (rows, spin * n, lattice.n_folds, lattice.batch(lanes)))
    return xp.reshape(xp.permute_dims(x, (1, 0, 2, 3)), (spin * n, rows * lattice.n_folds, lattice.batch(lanes)))


def spinors_at(lattice: Lattice, numbers: Array, parity: int, slots: Array) -> tuple[Array, ...]:
    """What :func:`spinors` gives, from the :func:`components` of a field."""
    xp = array_namespace(numbers)
    place = None if parity == BOTH else _places(lattice, xp, str(device(numbers)), parity)
    return split(take(lattice, numbers, slots, place))


@lru_cache(maxsize=64)
def _places(lattice: Lattice, xp: Any, place: str, parity: int) -> Array:
    """Place of every slot among those of a parity, followed by the others."""
    return xp.argsort(
        xp.concat(
            [slots_of(lattice, xp, xp.asarray(sites_of(lattice, p), dtype=xp.int64)) for p in (parity, 1 - parity)]
        )
    )


def to_fermions(lattice: Lattice, spinor: tuple[Array, ...], n: int) -> Array:
    """A tuple of spin x colour arrays ``(slots, batch)`` as ``(rows, spin, n, lanes)``."""
    xp = array_namespace(spinor[0])
    slots, batch = spinor[0].shape
    rows = slots // lattice.n_folds
    x = xp.reshape(xp.stack(spinor), (len(spinor) // n, n, rows, lattice.n_folds * batch))
    return xp.permute_dims(x, (2, 0, 1, 3))


# ---- linear algebra -------------------------------------------------------------------------------------------------
def check_base(lattice: Lattice, psi: Array, base: Array, parity: int, links: Array, spin: int) -> None:
    """Raise unless ``base``, what hops of psi are added to, is a field on these sites, or a stack of the length of psi's."""
    check_fermions(lattice, base, parity, links, "base", spin)
    if len(base.shape) != len(psi.shape) or stack(base).shape[0] != stack(psi).shape[0]:
        raise ValueError(f"base: expected a stack like psi {tuple(psi.shape)}, got {tuple(base.shape)}")


def check_pair(x: Array, y: Array, name: str) -> None:
    """Raise unless two fields have one shape and type."""
    if tuple(x.shape) != tuple(y.shape) or x.dtype != y.dtype or type(x) is not type(y):
        raise ValueError(
            f"{name}: expected two equal shapes and types, got {x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )


def check_per_field(lattice: Lattice, x: Array, given: Array, name: str) -> Array:
    """``given``, if it is coefficients of the fields x: one number, ``(batch,)`` or ``(R, batch)``."""
    shape = (x.shape[0] if len(x.shape) == 5 else 1, lattice.batch(x.shape[-1]))
    if given.ndim > 2 or any(g not in (1, s) for g, s in zip(given.shape[::-1], shape[::-1], strict=False)):
        raise ValueError(f"{name}: expected a number, ({shape[1]},) or {shape}, got shape {tuple(given.shape)}")
    return given


def per_field(lattice: Lattice, x: Array, values: Any, name: str) -> Array:
    """Coefficients of fields x as complex128 ``(R, batch)``."""
    xp = array_namespace(x)
    given = check_per_field(lattice, x, xp.asarray(values), name)
    return xp.broadcast_to(xp.astype(given, xp.complex128), (stack(x).shape[0], lattice.batch(x.shape[-1])))


@kernel()
def fermion_dot(lattice: Lattice, x: Array, y: Array) -> Array:
    """Scalar product ``sum x^* y`` of every configuration and field, in double precision.

    Parameters
    ----------
    lattice
        The lattice.
    x, y
        Fermion fields, or stacks of R.

    Returns
    -------
    Array
        ``(batch,)`` or ``(R, batch)`` complex128.
    """
    check_pair(x, y, "fermion_dot")
    xp = array_namespace(x)
    lead = (x.shape[0],) if len(x.shape) == 5 else ()
    products = xp.astype(xp.conj(x), xp.complex128) * xp.astype(y, xp.complex128)
    lanes = xp.reshape(products, (*lead, -1, x.shape[-1]))
    return sum_sites(lattice, xp.real(lanes)) + 1j * sum_sites(lattice, xp.imag(lanes))


@kernel()
def fermion_combine(lattice: Lattice, x: Array, a: Any, y: Array, b: Any) -> Array:
    """``a x + b y``, with coefficients of every configuration and field.

    Parameters
    ----------
    lattice
        The lattice.
    x, y
        Fermion fields, or stacks of R.
    a, b
        Real or complex numbers: one, ``(batch,)`` or ``(R, batch)``.

    Returns
    -------
    Array
        A field like x.
    """
    check_pair(x, y, "fermion_combine")
    xp = array_namespace(x)

    def spread(values: Any, name: str) -> Array:
        rows = lattice.spread_folds(per_field(lattice, x, values, name))
        rows = xp.astype(rows, x.dtype)[:, None, None, None, :]
        return rows if len(x.shape) == 5 else rows[0, ...]

    return spread(a, "a") * x + spread(b, "b") * y
