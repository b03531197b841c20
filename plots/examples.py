"""A few queries and what a run finds first: the same queries for every run, chosen by their ids.

A relevant item has a solid blue frame and ✓, any other a dashed orange frame and ✗; below it stands its distance.
Items at the same distance stand in the database's order.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hashbench.data import catalogue
from hashbench.errors import UsageError
from hashbench.examples import examples, thumbnail, words
from hashbench.plot import Plot

from ._arms import KINDS, caption
from .style import COLOURS, NOTE, arrow, canvas, short, styled

if TYPE_CHECKING:
    from hashbench.dataset import Dataset
    from hashbench.store import Record

QUERIES, TOP, ABREAST = 4, 10, 5

CELL, GAP, UNDER = 0.47, 0.05, 0.12
"""Inches: side of an item, space to the next, line under it."""

LETTERS, LINES = 9, 5
"""What fits of a text into an item."""


class Examples(Plot):
    """Queries with their first items."""

    description = "a few queries and the first items that a run finds"
    kinds = KINDS[1:]

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        record, task = records[0], kind.replace("-to-", "->")
        if len(records) > 1:
            raise UsageError(
                f"examples: shows one run, these are {len(records)}; choose one with --where, for example "
                f"--where key={record.key[:16]}; hashbench results --json has their keys"
            )
        if task not in record.metrics:
            raise UsageError(
                f"examples: --kind {kind}: this run measured {', '.join(record.metrics)}; take another kind"
            )
        dataset, found = examples(self.store, record, task, QUERIES, TOP)
        asking, _, answering = task.partition("->")
        rows: list[dict[str, Any]] = []
        for number, example in enumerate(found, 1):
            of_query = {"row": example.row, "labels": "; ".join(example.labels)}
            rows.append({"query": number, "place": 0, "view": asking, **of_query})
            rows += [
                {
                    "query": number, "place": place, "view": answering, "row": hit.row, "distance": hit.distance,
                    "relevant": bool(hit.shared), "labels": "; ".join(hit.shared),
                }
                for place, hit in enumerate(example.hits, 1)
            ]  # fmt: skip
        return pd.DataFrame(rows).assign(
            item=lambda table: [dataset.ids[row] for row in table["row"]],
            words=lambda table: [words(dataset, row) for row in table["row"]],
            picture=lambda table: [
                view == "image" and thumbnail(dataset, row) is not None
                for view, row in zip(table["view"], table["row"], strict=True)
            ],
            task=task, method=record.spec.method, bits=record.spec.bits, seed=record.spec.seed, run=record.key[:16],
            dataset=record.spec.dataset, protocol=record.spec.protocol, metric=f"MAP {short(_map(record, task))}",
            chance=record.metrics[task]["chance"],
        )  # fmt: skip

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        first = table.iloc[0]
        pictures = catalogue.open_dataset(first["dataset"], first["protocol"]) if table["picture"].any() else None
        block = -(-int(table["place"].max()) // ABREAST) * (CELL + UNDER + GAP) + GAP
        count = table["query"].nunique()
        said = [
            "left: query; ✓ and solid: shares a label with it, ✗ and dashed: shares none; number: distance",
            "queries chosen by their ids",
        ]
        with styled():
            figure, axes = canvas(
                1, 1, count * block + 0.3,
                caption(table, *said, seeds=f"{first['method']}, {first['bits']} bits, seed {first['seed']}"),
            )  # fmt: skip
            ax = axes[0, 0]
            ax.set_axis_off()
            ax.set_aspect("equal")
            ax.set(xlim=(-GAP, (ABREAST + 1) * (CELL + GAP) + GAP), ylim=(count * block, 0))
            ax.set_title(arrow(first["task"]))
            for row in table.itertuples():
                line, column = divmod(row.place - 1, ABREAST) if row.place else (0, -1)
                x = (column + 1) * (CELL + GAP) + (GAP if row.place else 0)
                y = (row.query - 1) * block + line * (CELL + UNDER + GAP)
                if pictures is not None and row.picture:
                    _picture(ax, x, y, pictures, row.row)
                else:
                    _text(ax, x, y, row.words if row.view == "text" and row.words else row.item)
                if row.place:
                    _judged(ax, x, y, row.relevant, row.distance)
                else:
                    _frame(ax, x, y, "0.5", "-", 0.6)
                    _under(ax, x, y, _cut(row.labels.replace(";", ","), LINES), "0.2")
        return figure


def _picture(ax: Axes, x: float, y: float, dataset: Dataset, row: int) -> None:
    from PIL import Image

    data = thumbnail(dataset, row)
    assert data is not None
    with Image.open(io.BytesIO(data)) as picture:
        width, height = (CELL * side / max(picture.size) for side in picture.size)
        left, top = x + (CELL - width) / 2, y + (CELL - height) / 2
        ax.imshow(picture, extent=(left, left + width, top + height, top), zorder=1)


def _text(ax: Axes, x: float, y: float, text: str) -> None:
    ax.text(
        x + CELL / 2, y + CELL / 2, _cut(text, LINES), ha="center", va="center", fontsize=NOTE - 0.5, linespacing=1.1,
        parse_math=False,
    )  # fmt: skip


def _judged(ax: Axes, x: float, y: float, relevant: bool, distance: float) -> None:
    """Whether an item is relevant, told by colour, line and sign, and how far it is."""
    colour, line, sign = (COLOURS[0], "-", "✓") if relevant else (COLOURS[1], (0, (2, 1.5)), "✗")
    _frame(ax, x, y, colour, line, 1.6 if relevant else 1.0)
    _under(ax, x, y, f"{sign} {distance:g}" if distance == int(distance) else f"{sign} {short(distance, 2)}", colour)


def _frame(ax: Axes, x: float, y: float, colour: str, line: Any, width: float) -> None:
    ax.add_patch(
        Rectangle((x, y), CELL, CELL, fill=False, edgecolor=colour, linestyle=line, linewidth=width, clip_on=False)
    )


def _under(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    ax.text(
        x + CELL / 2, y + CELL + 0.02, text, ha="center", va="top", fontsize=NOTE, color=colour, linespacing=1.05,
        parse_math=False,
    )  # fmt: skip


def _cut(text: str, lines: int) -> str:
    """A text in lines of LETTERS; what does not fit is left out, words that are longer end in …"""
    whole = " ".join(word if len(word) <= LETTERS else f"{word[: LETTERS - 1]}…" for word in text.split())
    return "\n".join(textwrap.wrap(whole, LETTERS, max_lines=lines, placeholder="…", break_on_hyphens=False))


def _map(record: Record, task: str) -> float:
    return record.metrics[task]["map@all"]
