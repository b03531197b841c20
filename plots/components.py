"""MAP of every arm as horizontal bars, whatever tells the arms apart; the best on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.plot import Plot

from ._arms import arms, caption, measured, over_seeds
from .style import arrow, bar_heights, bars, canvas, legend, styled

if TYPE_CHECKING:
    from hashbench.store import Record


class Components(Plot):
    """Horizontal bars with intervals, one group an arm."""

    description = "MAP of every arm as bars, whatever tells the arms apart"
    kinds = ("bars",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        found = over_seeds(measured(records, {"arm": arms(records)}), ["arm", "task"])
        rank = found.groupby("arm")["mean"].mean()
        return found.sort_values(
            "arm", key=lambda arm: arm.map(rank), ascending=False, kind="stable", ignore_index=True
        )

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names, tasks = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["task"]))
        cells = {(row.arm, row.task): (row.mean, row.deviation, row.chance) for row in table.itertuples()}
        counts = [sum(arm == name for arm, _ in cells) for name in names]
        words = [arrow(task) for task in tasks]
        with styled():
            height = sum(bar_heights(names, counts)) + 0.4
            figure, axes = canvas(1, 1, height, caption(table, dotted=True), words)
            ax = axes[0, 0]
            bars(ax, names, tasks, cells)
            ax.set_xlabel("MAP")
            legend(figure, words)
        return figure
