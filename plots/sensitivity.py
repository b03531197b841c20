"""MAP over two numeric settings: a heat map with one cell a pair of values, the best one framed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import KINDS, caption, in_order, is_number, known, measured, of_kind, over_seeds, varying
from .style import NOTE, arrow, canvas, short, styled

if TYPE_CHECKING:
    from hashbench.store import Record

EXAMPLE = "hashbench run --method soda --set alpha=0.2 --set beta=1"


class Sensitivity(Plot):
    """A heat map of the two numeric settings in which the records differ."""

    description = "MAP over the two numeric settings in which the runs differ, as a heat map"
    kinds = KINDS

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        facts = [known(record) for record in records]
        names = varying(records)
        numeric = [name for name in names if any(is_number(of.get(name)) for of in facts)]
        if len(numeric) != 2 or len(names) != 2:
            others = [name for name in names if name not in numeric]
            raise UsageError(
                "sensitivity: needs runs that differ in exactly two numeric settings and in nothing else; numeric ones "
                f"here: {', '.join(numeric) or 'none'}, others: {', '.join(others) or 'none'}; for example {EXAMPLE}; "
                "--where name=value leaves runs out"
            )
        columns: dict[str, list[Any]] = {}
        for axis, name in zip(("x", "y"), numeric, strict=True):
            columns |= {axis: [name] * len(records), f"{axis}_value": [of.get(name, "as before") for of in facts]}
        return over_seeds(of_kind(measured(records, columns), kind, "sensitivity"), [*columns, "task"])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        across, down = in_order(table["x_value"]), in_order(table["y_value"])
        cells = np.full((len(down), len(across)), np.nan)
        for row in table.itertuples():
            cells[down.index(row.y_value), across.index(row.x_value)] = row.mean
        low, high = np.nanmin(cells), np.nanmax(cells)
        spread = table["deviation"].max()
        largest = [] if np.isnan(spread) else [f"deviation at most {short(spread)}"]
        with styled():
            title = f"{arrow(table['task'].iloc[0])}, best framed"
            figure, axes = canvas(1, 1, max(1.2, 0.3 * len(down)) + 0.7, caption(table, title, *largest))
            ax = axes[0, 0]
            image = ax.imshow(cells, cmap="cividis", aspect="auto", origin="lower", vmin=low, vmax=high)
            numbers = len(across) <= 8
            for y, x in np.argwhere(np.isfinite(cells)) if numbers else ():
                dark = cells[y, x] < (low + high) / 2
                ax.text(x, y, short(cells[y, x]), ha="center", va="center", fontsize=NOTE, color="w" if dark else "k")
            for y, x in np.argwhere(np.isnan(cells)):
                ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="none", edgecolor="0.7", hatch="////", lw=0))
            y, x = np.unravel_index(np.nanargmax(cells), cells.shape)
            ax.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor="#D55E00", linewidth=1.5))
            ax.set_xticks(range(len(across)), [_tick(v) for v in across])
            ax.set_yticks(range(len(down)), [_tick(v) for v in down])
            ax.set(xlabel=table["x"].iloc[0], ylabel=table["y"].iloc[0])
            ax.tick_params(length=0)
            ax.grid(visible=False)
            figure.colorbar(image, ax=ax, label="MAP", pad=0.02, aspect=25)
        return figure


def _tick(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
