"""The common form of a data set: everything that its files say, in their order, before any protocol chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hashbench.config import digest
from hashbench.errors import DataError

Index = NDArray[np.int64]

BLOCK = 1024
"""Rows that are held in memory at once."""


class Numbers(Protocol):
    """A numeric array by blocks of rows: a numpy array is one, and so is what stays in its file until it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


def blocks(array: Numbers) -> Iterator[NDArray[Any]]:
    """All rows, :data:`BLOCK` at a time, C-contiguous."""
    for start in range(0, len(array), BLOCK):
        yield np.ascontiguousarray(array[start : start + BLOCK])


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Items with ids, labels, and any of: pictures, captions, vectors. Rows agree everywhere."""

    ids: tuple[str, ...]
    """(n,) official ids, unique."""
    class_names: tuple[str, ...]
    """(c,) lower-case words."""
    labels: NDArray[np.uint8]
    """(n, c) of 0 and 1."""
    images: tuple[str, ...] = ()
    """(n,) path of each picture below the root, ``archive.zip!/member`` inside a zip; "" where an item has none.
    Empty: no item has one."""
    captions: tuple[tuple[str, ...], ...] = ()
    """(n,) every text of an item; tags are one caption, joined with spaces. Empty: no item has any."""
    vectors: Mapping[str, Numbers] = field(default_factory=dict)
    """View name to (n, d) numbers of any type, or to (n, h, w, 3) uint8 pixels; zero where an item lacks the view."""
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """View name to (n,): which items have it. A view that is not named here belongs to every item."""
    vocabulary: tuple[str, ...] = ()
    """Tag words, most frequent first, as the data set's own list has them."""
    sides: Mapping[str, Index] = field(default_factory=dict)
    """``query``, ``database``, ``train`` to (m,) rows, where the files say which item is which."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(set(self.ids)) != n:
            raise DataError(f"ids: expected {n} different ones, found {len(set(self.ids))}")
        names = self.class_names
        if "" in names or len(set(names)) != len(names):
            odd = next(name for name in names if not name or names.count(name) > 1)
            raise DataError(f"class names: expected {len(names)} different ones, none empty, found {odd!r}")
        counts = {"labels": len(self.labels), **{f"view {name}": len(rows) for name, rows in self.vectors.items()}}
        counts |= {"images": len(self.images)} if self.images else {}
        counts |= {"captions": len(self.captions)} if self.captions else {}
        counts |= {f"present {name}": len(rows) for name, rows in self.present.items()}
        for what, count in counts.items():
            if count != n:
                raise DataError(f"{what}: expected {n} rows, one an id, found {count}")
        if self.labels.shape != (n, len(self.class_names)):
            raise DataError(f"labels: expected shape {(n, len(self.class_names))}, found {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    def digests(self) -> dict[str, str]:
        """What every part of it is, to tell one content from another; pictures are named here, not read."""
        parts: dict[str, Any] = {
            "ids": list(self.ids),
            "classes": list(self.class_names),
            "labels": _bytes(self.labels),
            "captions": [list(texts) for texts in self.captions],
            "vocabulary": list(self.vocabulary),
            **{f"view {name}": _bytes(rows) for name, rows in self.vectors.items()},
            **{f"present {name}": _bytes(rows) for name, rows in self.present.items()},
            **{f"side {name}": _bytes(rows) for name, rows in self.sides.items()},
        }
        return {name: digest(part)[:16] for name, part in parts.items()}


def _bytes(array: Numbers) -> list[Any]:
    content = hashlib.sha256()
    for block in blocks(array):
        content.update(block.tobytes())
    return [array.dtype.str, list(array.shape), content.hexdigest()]
