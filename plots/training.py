"""The ways to train SODA, from staged to joint: MAP of each, and how far the image codes moved after the hand-over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import Columns, caption, diagnostic, known, measured, over_seeds, told
from .style import arrow, bar_heights, canvas, legend, looks, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record

WAYS = ("none", "two_stage", "finetune", "refresh", "ema", "swap", "joint", "joint_coupled")
"""Values of ``teacher``, and of ``stage2_image`` where the teacher comes first, from separate to coupled."""

SAID = {"none": "no teacher"}


class Training(Plot):
    """Dots of MAP for each way to train, with slopes from one to the next."""

    description = "MAP of each way to train, staged to joint, and drift of the image codes"
    kinds = ("dots",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        facts = [known(record) for record in records]
        without = sorted({of["method"] for of in facts if not {"teacher", "stage2_image"} <= of.keys()})
        if without:
            raise UsageError(
                f"training: needs runs of a method with teacher and stage2_image, {', '.join(without)} has not both; "
                "for example hashbench run --method soda --set teacher=joint, and --where method=soda here"
            )
        ways = [of["stage2_image"] if of["teacher"] == "two_stage" else of["teacher"] for of in facts]
        ways = ["two_stage" if way == "frozen" else way for way in ways]
        words = told(records, apart=("teacher", "stage2_image"))
        of_run: Columns = {
            "way": ways,
            "arm": [f"{SAID.get(way, way)} {word}".strip() for way, word in zip(ways, words, strict=True)],
            "drift": [diagnostic(record, "student/drift") for record in records],
        }
        found = over_seeds(measured(records, of_run), ["way", "arm", "task"], ["drift"])
        place = {way: i for i, way in enumerate([*WAYS, *ways][::-1])}
        return found.sort_values(
            "way", key=lambda way: way.map(place), ascending=False, kind="stable", ignore_index=True
        )

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names, tasks = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["task"]))
        words, drifted = [arrow(task) for task in tasks], table.drop_duplicates("arm").dropna(subset="drift")
        style = looks(words)
        height = sum(bar_heights(names, [len(tasks)] * len(names))) + 0.5
        with styled():
            figure, axes = canvas(
                1, 2 if len(drifted) else 1, height, caption(table), words, sharey=True,
                width_ratios=[2.4, 1] if len(drifted) else [1],
            )  # fmt: skip
            ax = axes[0, 0]
            for i, task in enumerate(tasks):
                line = table[table["task"] == task]
                shift = 0.22 * (i / max(1, len(tasks) - 1) - 0.5)
                rows = [names.index(arm) + shift for arm in line["arm"]]
                look = style[words[i]] | {"linestyle": "-"}
                ax.plot(line["mean"], rows, color=look["color"], linewidth=0.6, alpha=0.6)
                ax.errorbar(
                    line["mean"], rows, xerr=line["deviation"], fmt=look["marker"], color=look["color"],
                    elinewidth=0.8, label=words[i],
                )  # fmt: skip
            ax.set(xlabel="MAP", ylim=(len(names) - 0.5, -0.5))
            ax.set_yticks(range(len(names)), [wrapped(name) for name in names])
            ax.margins(x=0.08)
            if len(drifted):
                rows = [names.index(arm) for arm in drifted["arm"]]
                axes[0, 1].barh(rows, drifted["drift"], 0.5, color="0.55")
                axes[0, 1].set_xlabel("image bits\nchanged")
                axes[0, 1].set_xlim(0, None)
            legend(figure, words)
        return figure
