"""How the sides are drawn from the items of a recipe: the rules of the field as data, and our own.

Every rule draws from the complete item set, whatever pictures a machine holds: a missing picture takes its own
item out of a side, and moves no other.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from hashbench.dataset import Index, rank_by_id
from hashbench.errors import DataError

VALIDATION_SHARE = 10
"""Where a rule of the field names no validation items, one database item in so many of those that are not
trained on serves as one, by the rank of its id."""


FEWEST = 10
"""Below so many items no count is scaled down."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Items:
    """What a rule may look at; rows are those of the recipe, in its order."""

    ids: Sequence[str]
    labels: NDArray[np.uint8]
    given: Mapping[str, Index]
    """Sides that the files themselves name."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Rows (m,) of every side in the order in which they were drawn."""

    query: Index
    database: Index
    train: Index
    validation: Index

    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 of the query rows as little-endian int64, in the order drawn."""
        return hashlib.sha256(self.query.astype("<i8").tobytes()).hexdigest()[:16]


class SplitRule(abc.ABC):
    """One way to draw the sides."""

    @abc.abstractmethod
    def draw(self, items: Items) -> Drawn:
        """The sides; DataError where there are too few items."""

    @abc.abstractmethod
    def __str__(self) -> str:
        """The rule in words."""

    def scaled(self, share: float) -> Self:
        """The same rule for an item set of another size, such as a tiny stand-in: every count times ``share``."""
        return self


class Counting(SplitRule):
    """A rule that is given as numbers of items; ``seed`` is none."""

    def scaled(self, share: float) -> Self:
        def smaller(count: int) -> int:
            return max(min(count, FEWEST), round(count * share))

        counts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}  # type: ignore[arg-type]
        for name, count in counts.items():
            if isinstance(count, int):
                counts[name] = smaller(count)
            elif isinstance(count, tuple):
                counts[name] = tuple(map(smaller, count))
        return replace(self, **counts)  # type: ignore[type-var]


@dataclass(frozen=True, kw_only=True)
class ById(Counting):
    """Items ranked by sha256(seed/id): it survives reordering. First queries, then validation, then training."""

    query: int
    validation: int
    train: int
    seed: int = 1

    def draw(self, items: Items) -> Drawn:
        order = rank_by_id(items.ids, self.seed)
        query, validation, train, rest = _cut(order, self.query, self.validation, self.train)
        return Drawn(query=query, database=np.concatenate([train, rest]), train=train, validation=validation)

    def __str__(self) -> str:
        return (
            f"items ranked by sha256({self.seed}/id): {self.query:,} queries, {self.validation:,} for validation, "
            f"{self.train:,} for training; the database is training plus all the rest"
        )


@dataclass(frozen=True, kw_only=True)
class Permuted(Counting):
    """numpy's legacy ``np.random.seed(s); np.random.permutation(n)``: first queries, then training."""

    seed: int
    query: int
    train: int

    def draw(self, items: Items) -> Drawn:
        order = np.random.RandomState(self.seed).permutation(len(items)).astype(np.int64)
        return _field(items, *_cut(order, self.query, self.train)[:2])

    def __str__(self) -> str:
        return (
            f"rows permuted by NumPy's legacy seed {self.seed}: the first {self.query:,} are queries, the next "
            f"{self.train:,} are for training; {_REST}"
        )


@dataclass(frozen=True, kw_only=True)
class InOrder(Counting):
    """Rows as they stand: queries from one end, training items right after them or from the other end."""

    query: int
    train: int | None
    """None: all but the queries."""
    queries: Literal["first", "last"] = "first"

    def draw(self, items: Items) -> Drawn:
        rows, size = np.arange(len(items)), len(items) - self.query if self.train is None else self.train
        if self.queries == "first":
            query, train, _ = _cut(rows, self.query, size)
        else:
            train, _, query = _cut(rows, size, len(items) - size - self.query)
        return _field(items, query, train)

    def __str__(self) -> str:
        if self.train is None:
            return f"the {self.queries} {self.query:,} rows are queries, all others are database and training items"
        train = "the next" if self.queries == "first" else "the first"
        return f"the {self.queries} {self.query:,} rows are queries, {train} {self.train:,} are for training; {_REST}"


@dataclass(frozen=True, kw_only=True)
class PerClass(Counting):
    """So many queries and training items from every class in turn; an item is taken once."""

    query: tuple[int, int]
    """From the first class, and from every other."""
    train: tuple[int, int]
    query_total: int
    train_total: int
    """Where classes run out, drawn from all items until there are so many."""
    seed: int = 1
    classes: Literal["by column", "scarce first"] = "by column"

    def draw(self, items: Items) -> Drawn:
        order = np.random.RandomState(self.seed).permutation(len(items)).astype(np.int64)
        columns = np.arange(items.labels.shape[1])
        if self.classes == "scarce first":
            columns = np.argsort(items.labels.sum(0, dtype=np.int64), kind="stable")
        query = self._take(items, order, columns, self.query, self.query_total)
        left = order[~np.isin(order, query)]
        return _field(items, query, self._take(items, left, columns, self.train, self.train_total))

    def _take(self, items: Items, order: Index, columns: NDArray[np.intp], sizes: tuple[int, int], total: int) -> Index:
        if total > len(order):
            raise DataError(f"{self}: expected at least {total:,} items to draw from, found {len(order):,}")
        free = np.ones(len(items), np.bool_)
        taken: list[Index] = []
        for position, column in enumerate(columns):
            fitting = order[free[order] & (items.labels[order, column] == 1)][: sizes[position > 0]]
            free[fitting] = False
            taken.append(fitting)
        chosen = np.concatenate(taken)[:total]
        free[:] = True
        free[chosen] = False
        return np.concatenate([chosen, order[free[order]][: total - len(chosen)]])

    def __str__(self) -> str:
        return (
            f"classes {self.classes}, items permuted by NumPy's legacy seed {self.seed}: {self.query[0]} queries from "
            f"the first class and {self.query[1]} from every other ({self.query_total:,} in all), then "
            f"{self.train[0]} and {self.train[1]} for training ({self.train_total:,}); {_REST}"
        )


@dataclass(frozen=True, kw_only=True)
class AsGiven(Counting):
    """The sides that the files name; without a named training side, the whole database is for training."""

    validation: int = 0
    """So many database items, by the rank of their ids, are taken out of database and training."""
    seed: int = 1

    def draw(self, items: Items) -> Drawn:
        missing = [side for side in ("query", "database") if side not in items.given]
        if missing:
            raise DataError(f"the files name no {missing[0]} items; choose a protocol that draws them itself")
        database = items.given["database"]
        train = items.given.get("train", database)
        if not self.validation:
            return _field(items, items.given["query"], train, database)
        if self.validation >= len(train):
            raise DataError(f"{self}: expected more than {self.validation} training items, found {len(train)}")
        ranked = rank_by_id([items.ids[row] for row in train.tolist()], self.seed)
        validation = train[ranked[: self.validation]]
        return Drawn(
            query=items.given["query"],
            database=database[~np.isin(database, validation)],
            train=train[~np.isin(train, validation)],
            validation=validation,
        )

    def __str__(self) -> str:
        words = "query, database and training items as the files name them"
        if self.validation:
            words += f", less {self.validation:,} for validation by the rank of sha256({self.seed}/id)"
        return words


@dataclass(frozen=True, kw_only=True)
class Apart(Counting):
    """Training items that the database does not hold, drawn by the rank of the ids."""

    query: int
    train: int
    seed: int = 1

    def draw(self, items: Items) -> Drawn:
        query, train, rest = _cut(rank_by_id(items.ids, self.seed), self.query, self.train)
        return _field(items, query, train, rest)

    def __str__(self) -> str:
        return (
            f"items ranked by sha256({self.seed}/id): {self.query:,} queries, then {self.train:,} for training that "
            "the database does not hold; the database is all the rest"
        )


_REST = (
    "the database is all but the queries; for choosing settings, a tenth of its items that are not trained on ask it "
    "without themselves"
)


def _cut(order: Index, *sizes: int) -> list[Index]:
    """Consecutive parts of the given sizes, and the rest, which may not be empty of what was asked."""
    if sum(sizes) > len(order) or min(sizes) < 0:
        raise DataError(f"split: expected at least {sum(sizes):,} items, found {len(order):,}")
    return np.split(order, np.cumsum(sizes))


def _field(items: Items, query: Index, train: Index, database: Index | None = None) -> Drawn:
    """A split of the field: the database is all but the queries, validation items are some of it."""
    if database is None:
        database = np.flatnonzero(~np.isin(np.arange(len(items)), query))
    unseen = database[~np.isin(database, train)]
    ranked = rank_by_id([items.ids[row] for row in unseen.tolist()], 1)
    return Drawn(
        query=query, database=database, train=train, validation=unseen[ranked[: len(unseen) // VALIDATION_SHARE]]
    )
