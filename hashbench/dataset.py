"""The contract of a data set: items with views and labels, and the protocols they are measured under.

A protocol is an object, not a habit: everything that two papers silently do differently (which items, which
split, which words, what counts as relevant) is a named field of it, and its id stands under every table.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hashbench.config import did_you_mean, digest
from hashbench.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

Index = NDArray[np.int64]
"""(m,) row numbers of a data set."""

SIDES = ("query", "database", "train", "validation")


class Raw(Protocol):
    """The raw items of one view, by row number: pictures or strings. Several threads read it at once."""

    @property
    def modality(self) -> Literal["image", "text"]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Image | str: ...


@dataclass(frozen=True)
class Texts:
    """A text view: one string an item, which may be empty."""

    strings: Sequence[str]
    modality: Literal["image", "text"] = "text"

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, row: int) -> str:
        return self.strings[row]


@dataclass(frozen=True, eq=False)
class Vectors:
    """A view that is numbers already, (n, d) of any type; no backbone reads it."""

    matrix: NDArray[Any]

    def __len__(self) -> int:
        return len(self.matrix)


Source = Raw | Vectors
"""What a view is made of."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which rows ask, which are searched, which are learned from and which are for choosing settings.

    Laws: queries are on no other side; validation items are not trained on; no row stands twice on a side.
    Training items usually lie inside the database, and validation items outside it. Where a protocol of the
    field leaves no other place for validation items than the database, their search leaves them out of it;
    where it leaves none at all there are none, and nothing can be chosen under it.
    """

    query: Index
    database: Index
    train: Index
    validation: Index

    def digest(self, ids: Sequence[str]) -> str:
        """First 16 hex digits of the sha256 over the official ids of every side, in order."""
        sides = {side: [ids[row] for row in getattr(self, side)] for side in SIDES}
        return digest(sides)[:16]

    def searched(self, side: str) -> NDArray[np.bool_]:
        """(database,) which database items the queries of a side search: all that are not on it themselves."""
        return ~np.isin(self.database, getattr(self, side))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A protocol: everything about the measurement that is not the method's business."""

    id: str
    """``name@version``; another version whenever any rule changes."""
    items: str
    """Which items of the data set, in words and counts."""
    split: str
    """How the sides were drawn."""
    text: str
    """What the text of an item consists of."""
    relevance: str = "an item is relevant to a query when they share at least one label"
    metric: str = "map@all"
    """Id of the metric that tables show first, one of :data:`hashbench.retrieval.DEFINITIONS`."""
    ties: str = "expected value over all orders of items at the same Hamming distance"
    no_relevant: str = "queries without a relevant item are left out of the mean and counted"
    checkpoint: str = "the last epoch; nothing is chosen on queries"


class Dataset(abc.ABC):
    """A set of items seen through several views. Opening one is cheap; pictures are decoded when asked for.

    Subclasses say which protocols exist; an instance is one data set under one of its protocols, because
    the protocol decides what the text of an item is.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    protocols: ClassVar[Mapping[str, Rules]]
    """By id; the first is the default."""

    def __init__(self, protocol: str | None = None) -> None:
        """Open the data set under one of its protocols (None: the first).

        Raises:
            UsageError: the data set has no protocol of that id.
        """
        chosen = protocol or next(iter(self.protocols))
        if chosen not in self.protocols:
            raise UsageError(f"--protocol {chosen!r}: {self.name} has none. {did_you_mean(chosen, self.protocols)}")
        self.rules = self.protocols[chosen]

    @property
    @abc.abstractmethod
    def revision(self) -> str:
        """Digest measured on the content itself, so that changed data is another data set."""

    @property
    @abc.abstractmethod
    def ids(self) -> Sequence[str]:
        """(n,) official, unique ids."""

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """(c,) label names in column order, lower case words."""

    @property
    @abc.abstractmethod
    def labels(self) -> NDArray[np.uint8]:
        """(n, c) of 0 and 1."""

    @property
    @abc.abstractmethod
    def views(self) -> Mapping[str, Source]:
        """The raw items of every view, by name: ``image``, ``text`` and any other."""

    @property
    @abc.abstractmethod
    def split(self) -> Split:
        """The sides under this protocol."""

    def raw(self, view: str) -> Raw:
        """The raw items of a view that a backbone is to read.

        Raises:
            UsageError: it is vectors already.
        """
        source = self.views[view]
        if isinstance(source, Vectors):
            raise UsageError(f"the {view} view of {self.name} is vectors already; no backbone reads it")
        return source

    def present(self, view: str) -> NDArray[np.bool_]:
        """(n,) which items have a view; all of them, unless a data set says otherwise.

        An item without a view has something of the right shape in its place, which nobody looks at.
        """
        return np.ones(len(self.views[view]), np.bool_)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Tag words for the bag of words; empty where the data set has no tags."""
        return ()

    @property
    def definitions(self) -> Mapping[str, str]:
        """Class name to a dictionary sentence about it; empty where nobody wrote them."""
        return {}

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def split_digest(self) -> str:
        """Digest of the ids on every side."""
        return self.split.digest(self.ids)

    def view_digest(self, view: str) -> str:
        """What the raw items of a view are: the text as the protocol has it, the pictures by revision."""
        source = self.views[view]
        if isinstance(source, Texts):
            return digest([self.revision, view, list(source.strings)])[:16]
        return digest([self.revision, view])[:16]


def rank_by_id(ids: Sequence[str], seed: int) -> Index:
    """Rows in an order drawn from the ids alone, sha256(seed, id): it survives reordering and missing items."""
    keys = [hashlib.sha256(f"{seed}/{item}".encode()).digest() for item in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), np.int64)


@dataclass(frozen=True)
class Sizes:
    """How many items each side should have, as near as whole groups allow; the database gets the rest."""

    query: int
    train: int
    validation: int


def split_by_group(groups: Sequence[str], sizes: Sizes, seed: int) -> Split:
    """Deal whole groups to the sides, so that no group (concept, scene, author) is on two of them.

    Groups are ranked by :func:`rank_by_id`; the first fill the queries, the next the validation items, the
    next the training items; training items and everything left form the database. Rows ascend on every side.
    """
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    names = sorted(rows_of)
    sides: dict[str, list[int]] = {side: [] for side in SIDES}
    wanted = {"query": sizes.query, "validation": sizes.validation, "train": sizes.train}
    for position in rank_by_id(names, seed):
        rows = rows_of[names[position]]
        side = next((s for s, size in wanted.items() if len(sides[s]) < size), "database")
        sides[side] += rows
    sides["database"] += sides["train"]
    return Split(**{side: np.array(sorted(rows), np.int64) for side, rows in sides.items()})
