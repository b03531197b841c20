"""Precision at N against N, one panel a task and code length: what a user sees who reads the first N items.

Mean over queries of the share of relevant items among the first N, expected over all orders of ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator

from hashbench.plot import Plot

from ._arms import arms, caption, over_seeds
from .style import arrow, canvas, legend, looks, styled

if TYPE_CHECKING:
    from hashbench.store import Record


class TopN(Plot):
    """Precision at N over N, with a band of one deviation over seeds."""

    description = "precision among the first N items against N"
    kinds = ("lines",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        rows = [
            {
                "arm": arm,
                "task": task,
                "bits": record.spec.bits,
                "n": int(n),
                "seed": record.spec.seed,
                "map": precision,
                "metric": "precision at N",
                "chance": record.metrics[task]["chance"],
                "protocol": record.spec.protocol,
            }
            for record, arm in zip(records, arms(records, apart=("bits",)), strict=True)
            for task, curves in record.curves.items()
            for n, precision in zip(curves["rank/rank"], curves["rank/precision"], strict=True)
        ]
        return over_seeds(pd.DataFrame(rows), ["arm", "task", "bits", "n"])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        tasks, lengths = list(dict.fromkeys(table["task"])), sorted(table["bits"].unique())
        names = list(dict.fromkeys(table["arm"]))
        style = looks(names)
        with styled():
            figure, axes = canvas(
                len(tasks), len(lengths), 1.7, caption(table, dotted=True), names, sharex=True, sharey=True
            )
            for row, task in enumerate(tasks):
                for column, bits in enumerate(lengths):
                    ax = axes[row][column]
                    panel = table[(table["task"] == task) & (table["bits"] == bits)]
                    for name, line in panel.groupby("arm", sort=False):
                        look = style[str(name)]
                        ax.plot(line["n"], line["mean"], label=name, markevery=0.15, **look)
                        low, high = line["mean"] - line["deviation"], line["mean"] + line["deviation"]
                        ax.fill_between(line["n"], low, high, color=look["color"], alpha=0.2, linewidth=0)
                    chance = table.loc[table["task"] == task, "chance"].mean()
                    ax.axhline(chance, color="0.5", linewidth=0.9, linestyle=":")
                    if row == 0:
                        ax.set_title(f"{bits} bits")
                    if column == 0:
                        ax.set_ylabel(f"{arrow(task)}\nprecision at N")
                    if row == len(tasks) - 1:
                        ax.set_xlabel("N")
            axes[0, 0].set_xscale("log")
            axes[0, 0].xaxis.set_major_locator(LogLocator(numticks=9))
            axes[0, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
            axes[0, 0].set_ylim(bottom=0)
            legend(figure, names)
        return figure
