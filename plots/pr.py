"""Precision against recall, one panel a task and code length.

Three kinds, because the field draws all of them under one name:

    radius        Hamming lookup: all items within radius r = 0 .. k; hits and items summed over queries (micro)
    radius-macro  the same, precision and recall averaged over queries; an empty ball has precision 0
    rank          ranking: the first N items, N from 1 to the whole database; averaged over queries
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import arms
from .style import arrow, canvas, legend, looks, short, styled

if TYPE_CHECKING:
    from hashbench.store import Record

CURVES = {
    "radius": ("radius/radius", "radius/micro_precision", "radius/micro_recall"),
    "radius-macro": ("radius/radius", "radius/macro_precision", "radius/macro_recall"),
    "rank": ("rank/rank", "rank/precision", "rank/recall"),
}


class PrecisionRecall(Plot):
    """Precision-recall curves by Hamming radius or by rank."""

    description = "precision against recall by Hamming radius or by rank"
    kinds = tuple(CURVES)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        at, precision, recall = CURVES[kind]
        rows = [
            {
                "method": arm,
                "task": task,
                "bits": record.spec.bits,
                "seed": record.spec.seed,
                "at": point,
                "precision": p,
                "recall": r,
                "chance": record.metrics[task]["chance"],
                "protocol": record.spec.protocol,
            }
            for record, arm in zip(records, arms(records, apart=("bits",)), strict=True)
            for task, curves in record.curves.items()
            if at in curves  # real-valued references have no Hamming distance
            for point, p, r in zip(curves[at], curves[precision], curves[recall], strict=True)
        ]
        if not rows:
            raise UsageError(f"--kind {kind}: none of these runs has such a curve; take --kind rank")
        return pd.DataFrame(rows)

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        tasks, lengths = list(dict.fromkeys(table["task"])), sorted(table["bits"].unique())
        methods, seeds = list(dict.fromkeys(table["method"])), table["seed"].nunique()
        style = looks(methods)
        mean = table.groupby(["task", "bits", "method", "at"], as_index=False)[["precision", "recall"]].mean()
        levels = ", ".join(dict.fromkeys(short(chance, 4) for chance in table["chance"]))
        named = "1 seed" if seeds == 1 else f"mean of {seeds} seeds"
        said = f"{table['protocol'].iloc[0]}, {kind}, {named}, chance {levels}"
        with styled():
            figure, axes = canvas(
                len(tasks), len(lengths), 1.9, said, [*methods, "chance"],
                sharex=True, sharey=True,
            )  # fmt: skip
            for row, task in enumerate(tasks):
                for column, bits in enumerate(lengths):
                    ax = axes[row][column]
                    panel = mean[(mean["task"] == task) & (mean["bits"] == bits)]
                    for method, line in panel.groupby("method"):
                        ordered = line.sort_values("at")
                        ordered = ordered[(ordered["recall"] > 0) | (ordered["precision"] > 0)]
                        ax.plot(
                            ordered["recall"], ordered["precision"], label=method, markevery=0.15, **style[str(method)]
                        )
                    chance = table.loc[table["task"] == task, "chance"].iloc[0]
                    ax.axhline(chance, color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), label="chance")
                    ax.set(xlim=(0, 1), ylim=(0, 1))
                    if row == 0:
                        ax.set_title(f"{bits} bits")
                    if column == 0:
                        ax.set_ylabel(f"{arrow(task)}\nprecision")
                    if row == len(tasks) - 1:
                        ax.set_xlabel("recall")
            legend(figure, [*methods, "chance"])
        return figure
