"""Binary codes, packed eight bits to a byte.

A code is a row of +1 and -1; packed, +1 is the bit 1 and -1 the bit 0. Zero counts as +1, so real-valued
outputs are packed with ``pack(outputs >= 0)``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import UsageError


@dataclass(frozen=True, eq=False)
class PackedCodes:
    """Codes of n items, ready for XOR and popcount.

    ``words`` is uint64 (n, ceil(bits/64)), C-contiguous, with zeros in the padding behind the last bit.
    Raises UsageError where it is not.
    """

    words: NDArray[np.uint64]
    bits: int

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise UsageError(f"packed codes: expected at least 1 bit, found {self.bits}")
        width = -(-self.bits // 64)
        if self.words.dtype != np.uint64 or self.words.ndim != 2 or self.words.shape[1] != width:
            raise UsageError(
                f"packed codes: expected uint64 words of shape (n, {width}) for {self.bits} bits, "
                f"found {self.words.dtype} {self.words.shape}"
            )
        if not self.words.flags.c_contiguous:
            raise UsageError("packed codes: expected C-contiguous words; use numpy.ascontiguousarray")
        if (self.words[:, -1] & ~_used_bits(self.bits)).any():
            raise UsageError(f"packed codes: found bits set in the padding behind bit {self.bits}")

    def __len__(self) -> int:
        return len(self.words)

    def take(self, rows: NDArray[Any]) -> PackedCodes:
        """Some rows, by number or mask."""
        return PackedCodes(np.ascontiguousarray(self.words[rows]), self.bits)


def pack(codes: NDArray[Any]) -> PackedCodes:
    """Pack codes (n, k): bool, or signed numbers that are all +1 or -1.

    Raises UsageError for another shape, dtype or value; a zero is an error here, since only the caller
    knows whether it is an undecided +1 or a bit that was meant to be False.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] == 0:
        raise UsageError(f"codes: expected shape (n, k) with k >= 1, found {codes.shape}")
    if codes.dtype == np.bool_:
        positive = codes
    elif codes.dtype.kind in "if":
        positive = codes == 1
        wrong = ~(positive | (codes == -1))
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise UsageError(
                f"codes: expected +1 or -1, found {codes[row, column]} in row {row}, column {column}; "
                "pack real values with pack(values >= 0)"
            )
    else:
        raise UsageError(f"codes: expected bool or signed numbers of +1 and -1, found dtype {codes.dtype}")
    return PackedCodes(_words(np.packbits(positive, axis=1)), codes.shape[1])


def unpack(packed: PackedCodes) -> NDArray[np.int8]:
    """The codes (n, k) as +1 and -1, int8; the inverse of `pack`."""
    bits = np.unpackbits(to_bytes(packed), axis=1, count=packed.bits)
    return bits.view(np.int8) * np.int8(2) - np.int8(1)


def to_bytes(packed: PackedCodes) -> NDArray[np.uint8]:
    """The codes as uint8 (n, ceil(k/8)) for storage; the first bit is the highest of the first byte."""
    data = packed.words.astype("<u8", copy=False).view(np.uint8)
    return np.ascontiguousarray(data[:, : -(-packed.bits // 8)])


def from_bytes(data: NDArray[np.uint8], bits: int) -> PackedCodes:
    """The inverse of `to_bytes`: uint8 (n, ceil(bits/8)) with zero padding. Raises UsageError otherwise."""
    width = -(-bits // 8)
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != width:
        raise UsageError(
            f"stored codes: expected uint8 of shape (n, {width}) for {bits} bits, found {data.dtype} {data.shape}"
        )
    return PackedCodes(_words(data), bits)


def distances(query: PackedCodes, database: PackedCodes) -> NDArray[np.uint16]:
    """All Hamming distances (queries, database), for small sets: the whole matrix is held in memory."""
    same_length(query, database)
    total = np.zeros((len(query), len(database)), np.uint16)
    for word in range(query.words.shape[1]):
        total += np.bitwise_count(query.words[:, word, None] ^ database.words[None, :, word])
    return total


def digest(packed: PackedCodes) -> str:
    """sha256, in hex, of the number of items, the number of bits and the bytes of `to_bytes`."""
    head = f"{len(packed)} codes of {packed.bits} bits\n".encode()
    return hashlib.sha256(head + to_bytes(packed).tobytes()).hexdigest()


def same_length(query: PackedCodes, database: PackedCodes) -> None:
    """Raises UsageError unless query and database codes have the same number of bits."""
    if query.bits != database.bits:
        raise UsageError(f"codes: the query has {query.bits} bits, the database has {database.bits}")


def _words(data: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Bytes (n, b) -> uint64 (n, ceil(b/8)), little-endian everywhere, so that short codes are small numbers."""
    padded = np.zeros((len(data), -(-data.shape[1] // 8) * 8), np.uint8)
    padded[:, : data.shape[1]] = data
    return padded.view("<u8").astype(np.uint64, copy=False)


def _used_bits(bits: int) -> np.uint64:
    """The mask of the bits in use in the last word."""
    return np.uint64(_words(np.packbits(np.ones((1, (bits - 1) % 64 + 1), np.bool_), axis=1))[0, 0])
