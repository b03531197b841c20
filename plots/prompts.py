"""What the prompts that make the label modality are worth: MAP of each, and against how many directions they span.

The effective rank of the class embeddings is exp(H) of their squared singular values, as the method logged it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import Columns, caption, diagnostic, known, measured, over_seeds, told
from .style import MARKERS, arrow, bar_heights, bars, canvas, legend, part_colour, styled

if TYPE_CHECKING:
    from hashbench.store import Record


class Prompts(Plot):
    """Bars of MAP for each label modality; effective rank of the prompts against MAP."""

    description = "MAP of each label modality (prompt), and effective rank of the prompts against MAP"
    kinds = ("bars",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        modalities = [known(record).get("label_modality") for record in records]
        without = sorted({r.spec.method for r, modality in zip(records, modalities, strict=True) if modality is None})
        if without:
            raise UsageError(
                f"prompts: needs runs of a method with label_modality, {', '.join(without)} has none; for example "
                "hashbench run --method soda --set label_modality=onehot, and --where method=soda here"
            )
        columns: Columns = {
            "arm": told(records, apart=("label_modality",)),
            "label_modality": modalities,
            "effective_rank": [diagnostic(record, "prompts/effective_rank") for record in records],
        }
        return over_seeds(measured(records, columns), ["arm", "label_modality", "task"], ["effective_rank"])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names, tasks = list(dict.fromkeys(table["label_modality"])), list(dict.fromkeys(table["task"]))
        panels, ranked = list(dict.fromkeys(table["arm"])), table[table["effective_rank"].notna()]
        heights = [sum(bar_heights(names, [len(tasks)] * len(names))) + 0.45, *([1.7] if len(ranked) else [])]
        words = [arrow(task) for task in tasks]
        without = [name for name in names if len(ranked) and name not in set(ranked["label_modality"])]
        said = [f"no effective rank: {', '.join(without)}"] if without else []
        entries = [*words, *dict.fromkeys(ranked["label_modality"])]
        with styled():
            figure, axes = canvas(
                len(heights), len(panels), sum(heights) / len(heights), caption(table, *said, dotted=True), entries,
                height_ratios=heights, sharey="row",
            )  # fmt: skip
            for column, panel in enumerate(panels):
                ax, of = axes[0, column], table[table["arm"] == panel]
                cells = {(r.label_modality, r.task): (r.mean, r.deviation, r.chance) for r in of.itertuples()}
                bars(ax, names, tasks, cells)
                ax.set(title=panel, xlabel="MAP")
                if len(ranked):
                    self._scatter(axes[1, column], ranked[ranked["arm"] == panel], names, tasks)
            if len(ranked):
                axes[1, 0].set_ylabel("MAP")
            legend(figure, entries)
        return figure

    def _scatter(self, ax: Axes, points: pd.DataFrame, names: Sequence[str], tasks: Sequence[str]) -> None:
        """A marker a prompt in its task's colour."""
        markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}
        for point in points.itertuples():
            ax.errorbar(
                point.effective_rank, point.mean, point.deviation, marker=markers[point.label_modality], markersize=4.5,
                color=part_colour(tasks.index(point.task)), elinewidth=0.8, markeredgecolor="k", markeredgewidth=0.4,
            )  # fmt: skip
        for name in dict.fromkeys(points["label_modality"]):
            ax.plot([], [], markers[name], color="0.6", markeredgecolor="k", markeredgewidth=0.4, label=name)
        ax.margins(0.1, 0.15)
        ax.set_xlabel("effective rank")
