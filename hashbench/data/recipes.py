"""Item sets and text rules: what the field's papers silently do before they split, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hashbench.data.splits import SplitRule
from hashbench.data.table import Index, Table
from hashbench.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which items of a data set, with which label columns, in which order."""

    name: str
    items: int | None = None
    """How many there are in the complete data set; None: whatever there is."""
    classes: tuple[str, ...] = ()
    """Label columns, in this order; empty: all."""
    labelled: bool = True
    """Only items with at least one of these labels."""
    tagged: bool = False
    """Only items with at least one word of the vocabulary."""
    order: Literal["as listed", "by id as text"] = "as listed"
    """Row order, which decides what a permutation of row numbers means."""
    lists: tuple[str, ...] = ()
    """Sides of :attr:`Table.sides` that stand one after the other in the row order; empty: no such division."""

    def select(self, table: Table) -> tuple[Index, NDArray[np.uint8], tuple[str, ...]]:
        """Rows (m,) of the table in this recipe's order, their labels (m, c), and the class names.

        Raises:
            DataError: the data lacks one of the classes or lists.
        """
        names = self.classes or table.class_names
        unknown = [name for name in names if name not in table.class_names]
        if unknown:
            raise DataError(f"item set {self.name}: the data has no class {unknown[0]!r}; prepare it again")
        labels = table.labels[:, [table.class_names.index(name) for name in names]]
        keep = np.ones(len(table), np.bool_)
        if self.labelled:
            keep &= labels.any(axis=1)
        if self.tagged:
            known = frozenset(table.vocabulary)
            keep &= np.array([not known.isdisjoint(" ".join(texts).split()) for texts in table.captions], np.bool_)
        rows = np.flatnonzero(keep)
        if self.order == "by id as text":
            rows = np.array(sorted(rows.tolist(), key=lambda row: table.ids[row]), np.int64)
        if missing := [name for name in self.lists if name not in table.sides]:
            raise DataError(
                f"item set {self.name}: the files that were prepared do not say which items are {missing[0]}, and so "
                "its row order is not known; prepare those that do, or choose another protocol"
            )
        if self.lists:
            rows = np.concatenate([rows[np.isin(rows, table.sides[name])] for name in self.lists])
        return rows, np.ascontiguousarray(labels[rows]), names

    def __str__(self) -> str:
        words = [f"{self.name}: items" if self.labelled or self.tagged else f"{self.name}: all items"]
        if self.labelled:
            words.append(f"with at least one of {len(self.classes) or 'the'} labels")
        if self.tagged:
            words.append("and at least one word of the tag vocabulary" if self.labelled else "with a vocabulary word")
        order = "" if self.order == "as listed" else ", rows ordered by id as text"
        return " ".join(words) + order + (f", first {', then '.join(self.lists)}" if self.lists else "")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the text of an item consists of."""

    rule: Literal["tags", "vocabulary", "first", "all", "random"] = "first"
    seed: int = 0
    """Of ``random``: which caption it is follows from sha256(seed/id), and never changes."""

    def text(self, item: str, captions: Sequence[str], vocabulary: frozenset[str]) -> str:
        """One string, empty where there is nothing."""
        if not captions:
            return ""
        match self.rule:
            case "vocabulary":
                return " ".join(word for word in " ".join(captions).split() if word in vocabulary)
            case "all" | "tags":
                return " ".join(captions)
            case "first":
                return captions[0]
            case "random":
                drawn = hashlib.sha256(f"{self.seed}/{item}".encode()).digest()
                return captions[int.from_bytes(drawn[:8], "big") % len(captions)]

    def __str__(self) -> str:
        return {
            "tags": "all tags as they are, separated by spaces; an item without tags has an empty text",
            "vocabulary": "the tags that the data set's list of common tags has, in the item's order",
            "first": "the first caption",
            "all": "all captions, one after the other",
            "random": f"one caption an item, drawn once by sha256({self.seed}/id)",
        }[self.rule]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A protocol of a prepared data set: item set, split, text, and the metric that its users print."""

    id: str
    """``name@version``."""
    recipe: Recipe
    split: SplitRule
    words: Words = field(default_factory=Words)
    metric: str = "map@all"
    note: str = ""
    """Who uses it, and what we had to assume."""
    fingerprint: str | None = None
    """:meth:`Drawn.fingerprint` on the complete item set, where it is known."""
    vectors: bool = False
    """Whether views are the vectors that come with the data set, instead of pictures and words."""
