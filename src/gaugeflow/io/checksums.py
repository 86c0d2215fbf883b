"""Checksums of the lattice file formats."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20


def word_sum(words: NDArray[Any]) -> int:
    """Sum of 32-bit words modulo 2**32, the CHECKSUM of the NERSC archive.

    Parameters
    ----------
    words : ndarray of uint32, any byte order
        The data section of the file.
    """
    return int(words.sum(dtype=np.uint64)) & 0xFFFFFFFF


def rotated_xor(words: NDArray[Any]) -> tuple[int, int]:
    """Combine words by exclusive or, word k rotated left by k mod 29 and by k mod 31 bits.

    MILC applies it to the 32-bit words of a file (``sum29``, ``sum31`` of its v5 format), SciDAC to the crc32 of each
    site in lexicographic order (``suma``, ``sumb``; QIO's ``DML_checksum_accum``).

    Parameters
    ----------
    words : ndarray, shape (n,), of uint32, any byte order
    """
    sums = [0, 0]
    for start in range(0, words.size, _BLOCK):
        block = words[start : start + _BLOCK].astype(np.uint64)
        rank = np.arange(start, start + block.size, dtype=np.uint64)
        for i, modulus in enumerate((29, 31)):
            rotation = rank % np.uint64(modulus)
            doubled = block << rotation
            sums[i] ^= int(np.bitwise_xor.reduce((doubled | (doubled >> np.uint64(32))) & np.uint64(0xFFFFFFFF)))
    return sums[0], sums[1]


def scidac_checksum(data: NDArray[np.uint8], sites: int) -> tuple[int, int]:
    """SciDAC checksum pair ``(suma, sumb)`` of a site-major binary record.

    Parameters
    ----------
    data : ndarray, shape (n,), of uint8
        The record as it is in the file (big endian); n is a multiple of ``sites``.
    sites : int
        Number of sites.
    """
    view = data.data
    size = data.size // sites
    crc = (zlib.crc32(view[k * size : (k + 1) * size]) for k in range(sites))
    return rotated_xor(np.fromiter(crc, np.uint32, sites))
