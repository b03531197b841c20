"""MAP of every arm over several protocols of one data set, such as its folds: a box, and a point a fold.

The box goes from the first to the third quartile with the median inside, the whiskers to the farthest fold. In the
table stands the place of each arm within its fold and task: whether the order survives other queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import blocks, caption, seeds_averaged
from .style import BAR, COLOURS, arrow, canvas, part_colour, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record


class Folds(Plot):
    """Box plot of MAP over folds."""

    description = "MAP over the folds of a data set: a box an arm, a point a fold"
    kinds = ("boxes",)
    several_protocols = True

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        datasets = list(dict.fromkeys(record.spec.dataset for record in records))
        protocols = {record.spec.protocol for record in records}
        if len(datasets) > 1:
            raise UsageError(
                f"folds: shows one data set, these runs are of {', '.join(datasets)}; "
                f"choose one with --where dataset={datasets[0]}"
            )
        if len(protocols) < 2:
            raise UsageError(
                f"folds: needs runs under several protocols of {datasets[0]}, these follow {', '.join(protocols)}; "
                "hashbench ablate folds makes such, and so does hashbench run --protocol pictograms-fold1@1"
            )
        found = blocks(records)
        if found["bits"].nunique() > 1:
            found["arm"] += " " + found["bits"].astype(str) + " bits"
        within = found.groupby(["protocol", "task", "bits"])["mean"]
        found["rank"], found["of"] = within.rank(ascending=False), within.transform("size")
        place = found.groupby("arm")["mean"].median()
        return found.sort_values(
            "arm", key=lambda arm: arm.map(place), ascending=False, kind="stable", ignore_index=True
        )

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        tasks, names = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["arm"]))
        labels = [wrapped(name, 16) for name in names]
        heights = np.array([0.12 * (label.count("\n") + 1) + 0.08 for label in labels])
        centres, height = np.cumsum(heights) - heights / 2, heights.sum()
        with styled():
            figure, axes = canvas(1, len(tasks), height + 0.65, _said(table), sharey=True, sharex=True)
            for i, (ax, task) in enumerate(zip(axes[0], tasks, strict=True)):
                panel = table[table["task"] == task]
                folds = [panel.loc[panel["arm"] == name, "mean"].to_numpy() for name in names]
                ax.boxplot(
                    folds, orientation="horizontal", positions=centres, widths=BAR, whis=(0, 100),
                    patch_artist=True, showcaps=False, showfliers=False,
                    boxprops={"facecolor": part_colour(i), "alpha": 0.35, "linewidth": 0.6},
                    medianprops={"color": COLOURS[6], "linewidth": 1.3}, whiskerprops={"linewidth": 0.6},
                )  # fmt: skip
                for at, values in zip(centres, folds, strict=True):
                    ax.plot(values, [at] * len(values), "o", color="black", markersize=2.2, markeredgewidth=0)
                ax.set(title=arrow(task), xlabel="MAP", ylim=(height, 0))
                ax.tick_params(axis="y", length=0)
                ax.grid(visible=False, axis="y")
            axes[0, 0].set_yticks(centres, labels)
        return figure


def _said(table: pd.DataFrame) -> str:
    count = table["protocol"].nunique()
    said = [f"a point a fold ({seeds_averaged(table)}), {count} folds; box: quartiles and median, whiskers to the ends"]
    short = [name for name, folds in table.groupby("arm")["protocol"].nunique().items() if folds < count]
    if short:
        said.append(f"not on every fold: {', '.join(short)}")
    return caption(table, seeds="; ".join(said))
