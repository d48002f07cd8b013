"""Values by id for joins of millions of rows: 17 bytes an id, whatever the ids look like."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b

_BUCKETS = 256


class IdTable:
    """Filled with ``put``, then sealed, then read with ``take``. The last value put for an id counts.

    An id is kept as its 64-bit hash: among ten million ids two are taken for one with a probability of 3 in a
    million. ``most`` bounds the memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._hashes = [array("Q") for _ in range(_BUCKETS)]
        self._values = [array("d") for _ in range(_BUCKETS)]
        self._taken: list[bytearray] = []
        self.rows = 0
        self.duplicate = 0
        """Ids that were put again (after ``seal``)"""
        self.conflicting = 0
        """Of these, those with another value"""

    def put(self, key: str, value: float) -> bool:
        """Keep a value; False, and nothing is kept, when the table is full."""
        if self.rows >= self._most:
            return False
        hashed = _hash(key)
        self._hashes[hashed >> 56].append(hashed)
        self._values[hashed >> 56].append(value)
        self.rows += 1
        return True

    def seal(self) -> None:
        """Sort and drop what was put twice; ``take`` works from now on."""
        for index in range(_BUCKETS):
            self._sort(index)
        self._taken = [bytearray(len(hashes)) for hashes in self._hashes]

    def take(self, key: str) -> tuple[float, int] | None:
        """The value of an id and how often (up to 255 times) it was taken before; None for an unknown id."""
        hashed = _hash(key)
        bucket = hashed >> 56
        hashes = self._hashes[bucket]
        place = bisect_left(hashes, hashed)
        if place == len(hashes) or hashes[place] != hashed:
            return None
        before = self._taken[bucket][place]
        self._taken[bucket][place] = min(before + 1, 255)
        return self._values[bucket][place], before

    @property
    def untaken(self) -> int:
        """How many ids nobody has asked for."""
        return sum(flags.count(0) for flags in self._taken)

    def _sort(self, index: int) -> None:
        hashes, values = self._hashes[index], self._values[index]
        # the sort is stable, so that of equal hashes the last one is the last that was put
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        kept, kept_values = array("Q"), array("d")
        for place in order:
            if kept and kept[-1] == hashes[place]:
                self.duplicate += 1
                self.conflicting += kept_values[-1] != values[place]
                kept_values[-1] = values[place]
            else:
                kept.append(hashes[place])
                kept_values.append(values[place])
        self._hashes[index], self._values[index] = kept, kept_values


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
