"""MAP of every view that asks against every view that answers, as heat maps of a model a pair and of shared models.

The first panel is of runs that were trained on the two views of the cell and no others; each larger set of views has
one of its own. All panels have one scale of colours, so that a cell can be compared with its place in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from hashbench.errors import UsageError
from hashbench.measuring import in_order
from hashbench.plot import Plot

from ._arms import Columns, arms, caption, measured, over_seeds
from .style import NOTE, SMALL, canvas, short, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record

PAIRS = "a model a pair"

PANELS = 12
"""That a page holds."""

NAME = 12
"""Characters of a view's name in a line."""


class Views(Plot):
    """Heat maps of asking against answering views."""

    description = "MAP of every view asking every other, trained in pairs and together, as heat maps"
    kinds = ("map",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        trained = [in_order(record.spec.views) for record in records]
        columns: Columns = {
            "arm": arms(records, apart=("views",)),
            "bits": [record.spec.bits for record in records],
            "size": [len(views) for views in trained],
            "panel": [PAIRS if len(views) == 2 else ", ".join(views) for views in trained],
        }
        rows = measured(records, columns)
        found = over_seeds(rows, [*columns, "task"]).sort_values(
            ["bits", "arm", "size"], kind="stable", ignore_index=True
        )
        panels = len(found[["arm", "panel"]].drop_duplicates())
        if panels > PANELS:
            raise UsageError(
                f"views: these runs need {panels} panels, in every arm one of pairs and one a larger set of views, and "
                f"a page has room for {PANELS}; choose arms with --where name=value"
            )
        asking, answering = zip(*(task.split("->") for task in found["task"]), strict=True)
        return found.drop(columns="size").assign(asking=asking, answering=answering)

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        places = list(table[["arm", "panel"]].drop_duplicates().itertuples(index=False, name=None))
        several = table["arm"].nunique() > 1
        views = in_order([*table["asking"], *table["answering"]])
        longest = max(len(line) for view in views for line in wrapped(view, NAME).split("\n"))
        columns = 1 if len(views) > 3 or longest > 8 else min(2, len(places))
        upright = longest > (5 if columns == 2 else 8)
        titles = [
            "\n".join(wrapped(each, 44 if columns == 1 else 20) for each in ((arm, panel) if several else (panel,)))
            for arm, panel in places
        ]
        lines = max(title.count("\n") + 1 for title in titles)
        low, high, spread = table["mean"].min(), table["mean"].max(), table["deviation"].max()
        largest = [] if np.isnan(spread) else [f"deviation at most {short(spread)}"]
        with styled():
            height = 0.26 * max(3, len(views)) + 0.14 * lines + 0.4 + (0.05 * longest if upright else 0)
            figure, axes = canvas(-(-len(places) // columns), columns, height, caption(table, *largest))
            for ax in axes.flat[len(places) :]:
                ax.set_axis_off()
            for ax, (arm, panel), title in zip(axes.flat, places, titles, strict=False):
                cells = table[(table["arm"] == arm) & (table["panel"] == panel)]
                image = _heat(ax, cells, views, low, high)
                ax.set_title(title, fontsize=SMALL)
                ax.tick_params(axis="x", rotation=90 if upright else 0)
                ax.set_xlabel("answers")
            for row in axes:
                row[0].set_ylabel("asks")
                for ax in row[1:]:
                    ax.tick_params(axis="y", labelleft=False)
            figure.colorbar(image, ax=axes, label="MAP", pad=0.02, aspect=18 * len(axes))
        return figure


def _heat(ax: Axes, table: pd.DataFrame, views: Sequence[str], low: float, high: float) -> AxesImage:
    """One heat map; a cell that no run measured is hatched, the diagonal is empty."""
    cells = np.full((len(views), len(views)), np.nan)
    for row in table.itertuples():
        cells[views.index(row.asking), views.index(row.answering)] = row.mean
    image = ax.imshow(cells, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    for y, x in np.argwhere(np.isfinite(cells)):
        dark = cells[y, x] < (low + high) / 2
        ax.text(x, y, short(cells[y, x]), ha="center", va="center", fontsize=NOTE, color="w" if dark else "k")
    for y, x in np.argwhere(np.isnan(cells)):
        if y != x:
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="none", edgecolor="0.7", hatch="////", lw=0))
    names = [wrapped(view, NAME) for view in views]
    ax.set_xticks(range(len(views)), names)
    ax.set_yticks(range(len(views)), names)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return image
