"""How far apart codes lie: Hamming distances of pairs that share a label, and of pairs that share none.

A pair is a test query and a database item that it searches. The two histograms of an arm and a task have an area of 1
each, so that their overlap, the sum of the smaller share over all distances (0: a radius tells the two kinds of pairs
apart, 1: nothing does), does not depend on how many pairs there are of either kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.measuring import rows_with, stored
from hashbench.plot import Plot
from hashbench.retrieval import PackedCodes
from hashbench.retrieval.histogram import histograms

from ._arms import arms, seeds_averaged
from .style import COLOURS, NOTE, SMALL, arrow, canvas, legend, short, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record, Store

PAIRS = {"share a label": (COLOURS[0], "-"), "share none": (COLOURS[4], "--")}
"""Dark and light, solid and dashed."""

ROWS = 20
"""Of panels that a page holds."""

NAME = 14
"""Characters of an arm's name in a line."""


class Distances(Plot):
    """Two histograms a panel, an arm a row and a task a column; the arm with the least overlap on top."""

    description = "Hamming distances of pairs with and without a common label, as histograms"
    kinds = ("shares",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        names = arms(records)
        tasks = {task for record in records for task in record.metrics}
        rows = len(set(names)) * len(tasks) // _columns(tasks)
        if rows > ROWS:
            raise UsageError(
                f"distances: {len(set(names))} arms with {len(tasks)} tasks need {rows} rows of panels, a page has "
                f"room for {ROWS}; choose arms with --where name=value"
            )
        shown = pd.DataFrame(
            [
                {"arm": name, "bits": record.spec.bits, **row, "protocol": record.spec.protocol}
                for record, name in zip(records, names, strict=True)
                for row in _of_run(self.store, record)
            ]
        )  # fmt: skip
        if shown.empty:
            raise UsageError(
                "distances: real-valued codes have no Hamming distance; choose others with --where method=..."
            )
        by = ["arm", "task", "bits", "pairs", "distance", "protocol"]
        means = {name: (name, "mean") for name in ("share", "mean_distance", "overlap")}
        found = shown.groupby(by, sort=False, as_index=False).agg(**means, seeds=("share", "count"))
        overlap = found.groupby("arm")["overlap"].mean()
        return found.sort_values("arm", key=lambda arm: arm.map(overlap), kind="stable", ignore_index=True)

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names, tasks = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["task"]))
        relative = table["bits"].nunique() > 1  # codes of several lengths share an axis
        columns = _columns(tasks)
        blocks = [tasks[i : i + columns] for i in range(0, len(tasks), columns)]
        rows = [(block, name) for block in blocks for name in names]
        lines = max(_broken(name).count("\n") + 1 for name in names)
        height = max(0.42, 0.125 * lines + 0.06) + (0.35 + 0.17 * len(blocks)) / len(rows)
        said = (
            f"{table['protocol'].iloc[0]}; areas of 1, {seeds_averaged(table)}; upright lines: mean distances; "
            "numbers: overlap, 0 apart, 1 alike"
        )
        with styled():
            figure, axes = canvas(len(rows), columns, height, said, list(PAIRS), sharex=True, sharey=True)
            for row, (block, name) in enumerate(rows):
                axes[row, 0].set_ylabel(_broken(name), rotation=0, ha="right", va="center", fontsize=SMALL)
                for ax, task in zip(axes[row], block, strict=True):
                    _panel(ax, table[(table["arm"] == name) & (table["task"] == task)], relative)
                    if name == names[0]:
                        ax.set_title(arrow(task))
            last, half = (1, 0.5 / table["bits"].min()) if relative else (table["bits"].max(), 0.5)
            axes[0, 0].set(xlim=(-half, last + half), xticks=[0, last / 2, last], ylim=(0, None), yticks=[])
            for ax in axes[-1]:
                ax.set_xlabel("distance / bits" if relative else "Hamming distance")
            legend(figure, list(PAIRS))
        return figure


def _panel(ax: Axes, panel: pd.DataFrame, relative: bool) -> None:
    """The histograms of one arm in one task; both nothing where it has not measured that."""
    for pairs, bars in panel.groupby("pairs", sort=False):
        colour, dash = PAIRS[str(pairs)]
        unit = bars["bits"].iloc[0] if relative else 1
        shares, edges = bars["share"] * unit, (np.arange(len(bars) + 1) - 0.5) / unit
        ax.stairs(shares, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
        ax.stairs(shares, edges, color=colour, linewidth=0.8, linestyle=dash, label=pairs)
        ax.axvline(bars["mean_distance"].iloc[0] / unit, color=colour, linewidth=1.2, linestyle=dash)
    for overlap in panel["overlap"].dropna().unique():
        ax.text(0.98, 0.9, short(overlap, 2), ha="right", va="top", fontsize=NOTE, transform=ax.transAxes)
    ax.grid(visible=False, axis="y")


def _broken(name: str) -> str:
    return wrapped(name.replace(" bits", "\u00a0bits"), NAME)


def _columns(tasks: Collection[str]) -> int:
    return 1 if len(tasks) % 2 else 2


def _of_run(store: Store, record: Record) -> Iterator[dict[str, Any]]:
    """Task, kind of pairs, distance, share of the pairs at that distance, their mean distance, overlap of both."""
    dataset, codes = stored(store, record)
    for task in record.metrics:
        asking, _, answering = task.partition("->")
        query, database = codes[f"query/{asking}"], codes[f"database/{answering}"]
        if not isinstance(query, PackedCodes) or not isinstance(database, PackedCodes):
            continue
        searched = dataset.split.searched("query")[dataset.present(answering)[dataset.split.database]]
        labels = [dataset.labels[rows_with(dataset, *side)] for side in (("query", asking), ("database", answering))]
        shares = distance_shares(query, database.take(searched), labels[0], labels[1][searched])
        overlap = np.minimum(*shares).sum()
        for pairs, share in zip(PAIRS, shares, strict=True):
            far = np.arange(len(share)) @ share
            for distance, height in enumerate(share):
                yield {"task": task, "pairs": pairs, "distance": distance, "share": height, "mean_distance": far,
                       "overlap": overlap}  # fmt: skip


def distance_shares(
    query: PackedCodes, database: PackedCodes, query_labels: NDArray[np.uint8], database_labels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """(2, bits + 1): shares of the pairs that have a label in common, and of those that have none, at each distance.

    Each row sums to 1; it is NaN where there is no such pair.
    """
    graded = sum(block.sum(axis=0) for block in histograms(query, database, query_labels, database_labels))
    counts = np.stack([graded[:, 1:].sum(axis=1), graded[:, 0]])
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares
