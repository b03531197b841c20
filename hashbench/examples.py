"""Retrieval for people to look at: a few queries, chosen by their ids and never by their results, and what is found."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hashbench.dataset import Dataset, Vectors, rank_by_id
from hashbench.errors import UsageError
from hashbench.measuring import rows_with, stored
from hashbench.retrieval import AnyCodes, nearest
from hashbench.store import Record, Store

SEED = 1
"""Of the order in which queries are shown; the same for every run, so that methods are seen on the same queries."""


@dataclass(frozen=True)
class Hit:
    """One database item that was found."""

    row: int
    """Of the data set."""
    distance: float
    """Hamming's; one minus the cosine for real-valued codes."""
    shared: tuple[str, ...]
    """Labels that it shares with the query; it is relevant when there is one."""


@dataclass(frozen=True)
class Example:
    """One query of a task and the first items of its ranking."""

    task: str
    row: int
    """Of the data set."""
    labels: tuple[str, ...]
    hits: tuple[Hit, ...]
    """Nearest first; ties in the database's order."""


def examples(store: Store, record: Record, task: str, queries: int = 8, top: int = 10) -> tuple[Dataset, list[Example]]:
    """Some queries of a finished run with what its codes find; also the data they are of.

    Raises:
        UsageError: the run has no such task.
        DataError: the codes are damaged, or the data set is no longer what it was.
    """
    if task not in record.metrics:
        raise UsageError(f"task {task!r}: run {record.key[:16]} has {', '.join(record.metrics) or 'none'}")
    dataset, codes = stored(store, record)
    return dataset, examples_of(dataset, codes, task, queries, top)


def examples_of(
    dataset: Dataset, codes: Mapping[str, AnyCodes], task: str, queries: int = 8, top: int = 10
) -> list[Example]:
    """Some queries of a task with what the codes of a run find; see :func:`hashbench.measuring.stored`."""
    asking, _, answering = task.partition("->")
    ask, found = rows_with(dataset, "query", asking), rows_with(dataset, "database", answering)
    keep = dataset.split.searched("query")[dataset.present(answering)[dataset.split.database]]
    chosen = rank_by_id([dataset.ids[row] for row in ask], SEED)[:queries]
    rows, distances = nearest(codes[f"query/{asking}"].take(chosen), codes[f"database/{answering}"].take(keep), top)
    return [
        Example(task, int(ask[at]), _words(dataset, dataset.labels[ask[at]]), tuple(
            Hit(int(row), float(distance), _words(dataset, dataset.labels[row] & dataset.labels[ask[at]]))
            for row, distance in zip(found[keep][of], far, strict=True)
        ))
        for at, of, far in zip(chosen, rows, distances, strict=True)
    ]  # fmt: skip


def _words(dataset: Dataset, labels: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(name for name, has in zip(dataset.class_names, labels, strict=True) if has)


def thumbnail(dataset: Dataset, row: int, side: int = 96) -> bytes | None:
    """The picture of an item as JPEG, no side longer than ``side`` pixels, on white; None where it has none.

    Raises:
        DataError: the picture cannot be read.
    """
    from PIL import Image

    source = dataset.views.get("image")
    if source is None or isinstance(source, Vectors) or not dataset.present("image")[row]:
        return None
    picture = source[row]
    assert not isinstance(picture, str)
    picture = picture.convert("RGBA")
    picture.thumbnail((side, side))
    page = Image.new("RGB", picture.size, "white")
    page.paste(picture, mask=picture.getchannel("A"))
    written = io.BytesIO()
    page.save(written, "JPEG", quality=80)
    return written.getvalue()


def words(dataset: Dataset, row: int) -> str:
    """The text of an item; empty where it has none or only numbers of it are known."""
    source = dataset.views.get("text")
    if source is None or isinstance(source, Vectors) or not dataset.present("text")[row]:
        return ""
    return str(source[row])
