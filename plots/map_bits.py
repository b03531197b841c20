"""MAP against the code length, one line a method or arm, one panel a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.plot import Plot

from ._arms import Columns, arms, caption, measured, over_seeds
from .style import arrow, canvas, legend, looks, number_ticks, styled

if TYPE_CHECKING:
    from hashbench.store import Record


class MapBits(Plot):
    """MAP against the code length."""

    description = "MAP against the code length, one line a method or arm"
    kinds = ("lines",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        columns: Columns = {"arm": arms(records, apart=("bits",)), "bits": [record.spec.bits for record in records]}
        return over_seeds(measured(records, columns), ["arm", "task", "bits"])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names, tasks = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["task"]))
        style, columns = looks(names), min(len(tasks), 2)
        with styled():
            figure, axes = canvas(
                -(-len(tasks) // columns), columns, 1.9, caption(table, dotted=True), names, sharex=True, sharey=True
            )
            for ax in axes.flat[len(tasks) :]:
                ax.set_axis_off()
            for ax, task in zip(axes.flat, tasks, strict=False):
                panel = table[table["task"] == task]
                for name in names:
                    line = panel[panel["arm"] == name].sort_values("bits")
                    ax.errorbar(
                        line["bits"], line["mean"], line["deviation"], label=name, elinewidth=0.8, **style[name]
                    )
                ax.axhline(panel["chance"].mean(), color="0.5", linewidth=0.9, linestyle=":")
                ax.set(title=arrow(task), xlabel="bits")
                ax.set_xscale("log", base=2)
                number_ticks(ax, table["bits"])
                ax.label_outer()
            axes[0, 0].set_ylim(bottom=0)
            for ax in axes[:, 0]:
                ax.set_ylabel("MAP")
            legend(figure, names)
        return figure
