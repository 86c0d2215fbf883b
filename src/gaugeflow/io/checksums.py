"""Checksums of the lattice file formats, each from pieces of the data and their places in the file.

The sums of pieces combine: NERSC's by addition, all others by exclusive or. So they do not depend on how the data are dealt to
processes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20
_POLYNOMIAL = 0xEDB88320  # of crc32, bits reversed


def word_sum(words: NDArray[Any]) -> int:
    """Sum of 32-bit words modulo 2**32, the CHECKSUM of the NERSC archive.

    Parameters
    ----------
    words : ndarray of uint32, any byte order
        The data section of the file, or a piece; sums of pieces add up modulo 2**32.
    """
    return int(words.sum(dtype=np.uint64)) & 0xFFFFFFFF


def rotated_xor(words: NDArray[Any], places: NDArray[np.int64]) -> tuple[int, int]:
    """Combine words by exclusive or, word k rotated left by k mod 29 and by k mod 31 bits.

    MILC applies it to the 32-bit words of a file (``sum29``, ``sum31`` of its v5 format), SciDAC to the crc32 of each
    site in lexicographic order (``suma``, ``sumb``; QIO's ``DML_checksum_accum``).

    Parameters
    ----------
    words : ndarray, shape (n, k), of uint32, any byte order
        Words of n sites.
    places : ndarray, shape (n,)
        Numbers of the sites in the file: the words of site s are s k ... s k + k - 1.
    """
    sums = (0, 0)
    sites, k = words.shape
    for start in range(0, sites, max(1, _BLOCK // k)):
        stop = start + max(1, _BLOCK // k)
        block = words[start:stop].astype(np.uint64)
        number = places[start:stop, None].astype(np.uint64) * np.uint64(k) + np.arange(k, dtype=np.uint64)
        found = []
        for modulus in (29, 31):
            rotation = np.remainder(number, np.uint64(modulus), dtype=np.uint64)
            doubled = block << rotation
            folded = (doubled | (doubled >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
            found.append(int(np.bitwise_xor.reduce(folded, axis=None)))
        sums = (sums[0] ^ found[0], sums[1] ^ found[1])
    return sums


def scidac_checksum(data: NDArray[np.uint8], places: NDArray[np.int64]) -> tuple[int, int]:
    """SciDAC checksum pair ``(suma, sumb)`` of sites of a binary record.

    Parameters
    ----------
    data : ndarray, shape (n, site bytes), of uint8
        Sites as they are in the file (big endian).
    places : ndarray, shape (n,)
        Their lexicographic numbers.
    """
    sites, size = data.shape
    view = np.ascontiguousarray(data).reshape(-1).data
    crc = (zlib.crc32(view[k * size : (k + 1) * size]) for k in range(sites))
    return rotated_xor(np.fromiter(crc, np.uint32, sites)[:, None], places)


def combined(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Pair of sums of all data from those of pieces, for `rotated_xor` and `scidac_checksum`."""
    return reduce(lambda a, b: (a[0] ^ b[0], a[1] ^ b[1]), pairs, (0, 0))


class PiecewiseCrc:
    """The crc32 of data of which pieces are here.

    The exclusive or of the `total` of all processes is the crc32 of all data, if each byte was added by one of them: but for
    constants, which those of consecutive bytes cancel, crc32 is linear in the data.
    """

    def __init__(self) -> None:
        self._value = 0
        self._end = 0

    def add(self, start: int, data: Any) -> None:
        """Add bytes that begin at ``start``, behind all that were added before."""
        self._value = zlib.crc32(data, _moved(self._value, start - self._end))
        self._end = start + memoryview(data).nbytes

    def total(self, size: int) -> int:
        """What these pieces contribute to the crc32 of ``size`` bytes."""
        return _moved(self._value, size - self._end)


def _moved(crc: int, gap: int) -> int:
    """Contribution to a crc32 after ``gap`` further bytes."""
    if crc == 0 or gap == 0:
        return crc
    low, second, third, high = _tables(gap)
    return low[crc & 255] ^ second[crc >> 8 & 255] ^ third[crc >> 16 & 255] ^ high[crc >> 24]


@lru_cache(maxsize=256)
def _tables(gap: int) -> list[list[int]]:
    """Products of ``x**(8 gap)`` with the four bytes of a polynomial, modulo that of crc32 (as ``crc32_combine`` of zlib)."""
    factor, power = 1 << 31, 1 << 23  # 1 and x**8
    while gap:
        if gap & 1:
            factor = _product(factor, power)
        power = _product(power, power)
        gap >>= 1
    bits = [_product(factor, 1 << k) for k in range(32)]
    tables = []
    for byte in range(4):
        table = [0] * 256
        for value in range(1, 256):
            lowest = value & -value
            table[value] = table[value ^ lowest] ^ bits[8 * byte + lowest.bit_length() - 1]
        tables.append(table)
    return tables


def _product(a: int, b: int) -> int:
    """Product of two polynomials modulo that of crc32; the highest bit is the coefficient of 1."""
    found = 0
    for k in range(31, -1, -1):
        if a >> k & 1:
            found ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return found
