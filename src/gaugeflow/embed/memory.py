"""Fields in the memory of a host program, as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaugeflow.interop import fermions_from, fermions_to, links_from, links_to
from gaugeflow.interop.layouts import link_places, site_places
from gaugeflow.lattice import Array, Lattice

OURS = "gaugeflow"
"""The layout of fields on a lattice that is not folded.

With many configurations, which then run fastest, a field is read where it is; with one it is a layout like the others.
"""
_TYPES = {64: np.complex128, 32: np.complex64}


@dataclass(frozen=True)
class HostField:
    """A field of a host.

    Parameters
    ----------
    ffi, pointer
        The interface to C, and the ``void *`` of the first number.
    layout, precision, colours, spin, configurations, extents
        As ``gf_field`` describes them.

    Raises
    ------
    ValueError
        If the description is inconsistent.
    """

    ffi: Any
    pointer: Any
    layout: str
    precision: int
    colours: int
    spin: int
    configurations: int
    extents: tuple[int, ...]
    domain: int = 0

    @classmethod
    def of(cls, ffi: Any, lib: Any, field: Any, name: str) -> HostField:
        """The field behind a ``gf_field *``.

        Raises
        ------
        ValueError
            If a pointer is NULL or a number does not fit; the message names the argument.
        """
        if field == ffi.NULL:
            raise ValueError(f"{name}: expected a gf_field, got NULL")
        if field.data == ffi.NULL:
            raise ValueError(f"{name}: expected data, got NULL")
        d = int(field.dimensions)
        if not 2 <= d <= lib.GF_DIMENSIONS:
            raise ValueError(f"{name}: expected 2 to {lib.GF_DIMENSIONS} dimensions, got {d}")
        if field.precision not in _TYPES:
            raise ValueError(f"{name}: expected precision 64 or 32, got {field.precision}")
        numbers = {"colours": (field.colours, 1), "configurations": (field.configurations, 1), "spin": (field.spin, 0)}
        for what, (value, least) in numbers.items():
            if value < least:
                raise ValueError(f"{name}: expected {what} of at least {least}, got {value}")
        layout = OURS if field.layout == ffi.NULL else ffi.string(field.layout, 64).decode(errors="replace")
        return cls(
            ffi,
            field.data,
            layout,
            int(field.precision),
            int(field.colours),
            int(field.spin),
            int(field.configurations),
            tuple(int(field.extents[mu]) for mu in range(d)),
            int(field.domain),
        )

    @property
    def _lanes_last(self) -> bool:
        return self.layout == OURS and self.configurations > 1

    def _view(self, lattice: Lattice) -> Array:
        """The host's memory in the shape that its layout has, with the configurations in front (in ours, last)."""
        if self.domain and self.layout == "openqcd":
            raise ValueError("layout: expected one without links of other processes, got 'openqcd' with a domain")
        n, batch = self.colours, self.configurations
        trail = (n, n) if self.spin == 0 else (self.spin, n) if self.spin > 1 else (n,)
        if self._lanes_last:
            inner = (1, n) if self.spin == 1 else trail
            shape = (*((lattice.ndim,) if self.spin == 0 else ()), lattice.volume, *inner, batch)
        else:
            places = link_places if self.spin == 0 else site_places
            shape = (batch, *places(self.layout, lattice).shape, *trail)
        dtype = np.dtype(_TYPES[self.precision])
        memory = self.ffi.buffer(self.pointer, math.prod(shape) * dtype.itemsize)
        return np.frombuffer(memory, dtype).reshape(shape)

    def read(self, lattice: Lattice) -> Array:
        """The field on a lattice of which this process holds these extents."""
        lattice = lattice.local
        memory, lead = self._view(lattice), int(self.spin == 0)
        if not self._lanes_last:
            return (links_from if lead else fermions_from)(lattice, memory, self.layout)
        if lattice.n_folds == 1:
            return memory
        return lattice.pack(Lattice(lattice.shape).unpack(memory, lead), lead)

    def write(self, lattice: Lattice, field: Array) -> None:
        """Put a field of these extents into the host's memory.

        Raises
        ------
        ValueError
            If the field has another size than the host's.
        """
        lattice = lattice.local
        memory, lead = self._view(lattice), int(self.spin == 0)
        if not self._lanes_last:
            (links_to if lead else fermions_to)(lattice, field, self.layout, out=memory)
        elif lattice.n_folds == 1:
            memory[...] = field
        else:
            memory[...] = Lattice(lattice.shape).pack(lattice.unpack(field, lead), lead)

    def like(self, other: HostField, name: str) -> None:
        """Raise ``ValueError`` unless another field has as many configurations on the same lattice."""
        for what in ("extents", "colours", "configurations", "domain"):
            expected, found = getattr(self, what), getattr(other, what)
            if expected != found:
                raise ValueError(f"{name}: expected {what} {expected}, got {found}")
