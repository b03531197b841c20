"""Loss components and MAP against one numeric setting, such as the binarisation penalty of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import Columns, caption, known, logged, measured, one_number, over_seeds, told
from .style import arrow, canvas, legend, looks, number_axis, styled

if TYPE_CHECKING:
    from hashbench.store import Record

PHASES = ("teacher", "joint", "direct")
LOSSES = {
    "teacher": {name: [f"{phase}/{name}" for phase in PHASES] for name in ("phi1", "phi2")},
    "student": {name: [f"{phase}/{name}" for phase in ("student", "joint")] for name in ("phi3", "phi4")},
}
PROBE = {"image->label": [f"{phase}/map_image_label" for phase in PHASES]}
"""MAP of validation images against the labels of training items, after stage 1."""


class Alpha(Plot):
    """Two panels over one setting: the parts of the loss, and MAP."""

    description = "loss components and MAP against one numeric setting (--kind student: of stage 2)"
    kinds = tuple(LOSSES)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        name = one_number(records, "alpha", "hashbench run --method soda --set alpha=0.2")
        of_run: Columns = {
            "arm": told(records, apart=(name,)),
            "setting": [name] * len(records),
            "value": [known(record)[name] for record in records],
        }
        parts = logged(records, of_run, LOSSES[kind]).assign(panel="loss")
        if parts.empty:
            raise UsageError(
                f"alpha: none of these runs logged {' or '.join(LOSSES[kind])}; soda does, for example "
                "hashbench run --method soda --set alpha=0.2"
            )
        quality = [logged(records, of_run, PROBE), measured(records, of_run)]
        rows = pd.concat([parts, *(rows.assign(panel="MAP") for rows in quality if len(rows))])
        return over_seeds(rows, ["arm", "setting", "value", "panel", "task"])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        quality = table[table["panel"] == "MAP"].dropna(subset="chance")
        panels, names = list(dict.fromkeys(table["arm"])), [arrow(task) for task in dict.fromkeys(table["task"])]
        style = looks(names)
        said = ["image → label: after stage 1, on validation items"] if set(PROBE) & set(table["task"]) else []
        with styled():
            figure, axes = canvas(
                2, len(panels), 1.45, caption(quality, *said, dotted=True), names, sharex=True, sharey="row"
            )
            for column, arm in enumerate(panels):
                for ax, quantity in zip(axes[:, column], ("loss", "MAP"), strict=True):
                    of = table[(table["arm"] == arm) & (table["panel"] == quantity)]
                    for task, line in of.sort_values("value").groupby("task", sort=False):
                        ax.errorbar(
                            line["value"], line["mean"], line["deviation"], label=arrow(str(task)), elinewidth=0.8,
                            **style[arrow(str(task))],
                        )  # fmt: skip
                axes[1, column].axhline(quality["chance"].mean(), color="0.5", linewidth=0.9, linestyle=":")
                axes[0, column].set_title(arm)
                number_axis(axes[1, column], table["value"])
                axes[1, column].set_xlabel(table["setting"].iloc[0])
            for ax in axes[:, 0]:
                ax.set_ylim(bottom=0)
            axes[0, 0].set_ylabel("loss, mean")
            axes[1, 0].set_ylabel("MAP")
            legend(figure, names)
        return figure
