"""Items of which only labels are known: what codes from a file are measured against."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hashbench.config import digest
from hashbench.dataset import Dataset, Rules, Source, Split

_UNKNOWN = "not known: codes and labels come from a file"

AS_GIVEN = Rules(
    id="as-given@1",
    items="those of the file, in its order; of which data set is not known",
    split="query and database as in the file; how they were drawn, and what was trained on, is not known",
    text=_UNKNOWN,
    checkpoint=_UNKNOWN,
)


class LabelledItems(Dataset):
    """Query and database items of a file: labels, and which views have codes. Nothing is trained on or validated.

    Args:
        labels: uint8 (n, c) of 0 and 1. ``query`` and ``database`` are the labels of all views of a side;
            ``query/audio`` is those of one view whose items are others.
        parts: ``side/view`` for everything that has codes.
    """

    name: ClassVar[str] = "codes"
    licence: ClassVar[str] = "not known"
    protocols: ClassVar[Mapping[str, Rules]] = {AS_GIVEN.id: AS_GIVEN}

    def __init__(self, labels: Mapping[str, NDArray[np.uint8]], parts: Collection[str]) -> None:
        super().__init__()
        self._blocks = dict(sorted(labels.items()))
        self._views_of = {block: {part.partition("/")[2] for part in parts if block_of(labels, part) == block}
                          for block in self._blocks}  # fmt: skip

    @property
    def revision(self) -> str:
        return digest([list(self.labels.shape), hashlib.sha256(self.labels.tobytes()).hexdigest()])[:16]

    @cached_property
    def split_digest(self) -> str:
        """Digest of the labels on each side: ids are not known."""
        parts = {block: hashlib.sha256(rows.tobytes()).hexdigest() for block, rows in self._blocks.items()}
        return digest(parts)[:16]

    @cached_property
    def ids(self) -> Sequence[str]:
        return [f"{block} {row}" for block, rows in self._blocks.items() for row in range(len(rows))]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class {column}" for column in range(self.labels.shape[1]))

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        return np.concatenate(list(self._blocks.values()))

    @property
    def views(self) -> Mapping[str, Source]:
        """None: the items themselves are not known."""
        return {}

    @property
    def split(self) -> Split:
        side = np.repeat([block.partition("/")[0] for block in self._blocks], self._lengths)
        none = np.empty(0, np.int64)
        return Split(np.flatnonzero(side == "query"), np.flatnonzero(side == "database"), none, none)

    def present(self, view: str) -> NDArray[np.bool_]:
        return np.repeat([view in self._views_of[block] for block in self._blocks], self._lengths)

    @property
    def _lengths(self) -> list[int]:
        return [len(rows) for rows in self._blocks.values()]


def block_of(labels: Collection[str], part: str) -> str:
    """Where the labels of ``side/view`` are: under its own name, or under that of the side."""
    return part if part in labels else part.partition("/")[0]
