"""MAP against a training condition or any one numeric setting: lines, with a band of one deviation over seeds.

Where several conditions vary, each has its own column, in which a line stands for runs that differ in it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import CONDITIONS, Columns, arms, caption, known, measured, one_number, over_seeds, varying
from .style import arrow, canvas, legend, looks, number_axis, styled

if TYPE_CHECKING:
    from hashbench.store import Record

EXAMPLE = "hashbench run --method soda --label-drop 0.3"


class Labels(Plot):
    """Curves over label and text conditions, or over a setting."""

    description = "MAP against label or text noise, or any one numeric setting"
    kinds = ("bands",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        facts = [known(record) for record in records]
        conditions = [name for name in varying(records) if name in CONDITIONS]
        names = conditions or [one_number(records, "labels", EXAMPLE)]
        shown: set[str] = set()
        panels = []
        for name in names:
            others = [other for other in conditions if other != name]
            of_run: Columns = {
                "condition": [name] * len(records),
                "arm": arms(records, apart=(name,)),
                "value": [of[name] for of in facts],
                "key": [record.key for record in records],
                "disturbed": [any(of[other] != CONDITIONS[other] for other in others) for of in facts],
            }
            rows = measured(records, of_run)
            lengths = rows.groupby("arm")["value"].transform("nunique")
            rows = rows[(lengths > 1) | ~rows["disturbed"]]  # a run that only another column varies stands there
            shown |= set(rows["key"])
            panels.append(rows)
        lonely = len({record.key for record in records} - shown)
        if lonely:
            raise UsageError(
                f"labels: {lonely} of these runs differ from all others in several of {', '.join(conditions)} at once; "
                f"choose runs with --where name=value; a line is made of runs like {EXAMPLE}"
            )
        return over_seeds(pd.concat(panels), ["condition", "arm", "task", "value"])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        conditions, tasks = list(dict.fromkeys(table["condition"])), list(dict.fromkeys(table["task"]))
        names = list(dict.fromkeys(table["arm"]))
        style = looks(names)
        # One condition: the tasks stand beside each other, as there is room. Several: each task is a row.
        places = [(task, condition) for task in tasks for condition in conditions]
        columns = len(conditions) if len(conditions) > 1 else min(len(tasks), 2)
        with styled():
            figure, axes = canvas(
                -(-len(places) // columns), columns, 1.75, caption(table, dotted=True), names, sharex="col", sharey=True
            )
            for ax in axes.flat[len(places) :]:
                ax.set_axis_off()
            for ax, (task, condition) in zip(axes.flat, places, strict=False):
                panel = table[(table["task"] == task) & (table["condition"] == condition)]
                for name in names:
                    line = panel[panel["arm"] == name].sort_values("value")
                    if len(line):
                        ax.plot(line["value"], line["mean"], label=name, **style[name])
                        low, high = line["mean"] - line["deviation"], line["mean"] + line["deviation"]
                        ax.fill_between(line["value"], low, high, color=style[name]["color"], alpha=0.2, linewidth=0)
                ax.axhline(panel["chance"].mean(), color="0.5", linewidth=0.9, linestyle=":")
                ax.set(title=arrow(task), xlabel=condition)
                number_axis(ax, panel["value"])
                ax.label_outer()
            axes[0, 0].set_ylim(bottom=0)
            for ax in axes[:, 0]:
                ax.set_ylabel("MAP")
            legend(figure, names)
        return figure
