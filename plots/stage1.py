"""Does a better teacher make a better student? Image->Label MAP after stage 1 against MAP at the end, one dot a run.

The line is the monotone fit with the smallest squared error (isotonic regression); ρ is Spearman's rank correlation.
The dashed line stands at the smallest stage-1 MAP whose fit reaches 95 % of the fit's highest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import KINDS, Columns, caption, diagnostic, is_number, known, measured, of_kind, told, varying
from .style import arrow, canvas, legend, looks, short, styled

if TYPE_CHECKING:
    from hashbench.store import Record

KEPT = 0.95
NEEDED = ("teacher/map_image_label", "joint/map_image_label")


class Stage1(Plot):
    """Scatter of stage-1 quality against final MAP."""

    description = "Image->Label MAP of stage 1 against final MAP, with a monotone fit"
    kinds = KINDS

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        quality = [diagnostic(record, *NEEDED) for record in records]
        missing = int(np.isnan(quality).sum())
        if missing == len(records):
            raise UsageError(
                f"stage1: none of these runs logged {NEEDED[0]}; soda does, for example "
                "hashbench run --method soda --set teacher_epochs=8 --set probe_every=1"
            )
        facts = [known(record) for record in records]
        dials = [name for name in varying(records) if name != "bits" and any(is_number(of.get(name)) for of in facts)]
        of_run: Columns = {
            "arm": told(records, apart=dials),
            "run": [record.key[:16] for record in records],
            "stage1": quality,
            "left_out": [missing] * len(records),
        }
        rows = of_kind(measured(records, of_run), kind, "stage1").dropna(subset="stage1")
        rows = rows.rename(columns={"map": "final"}).sort_values("stage1", kind="stable", ignore_index=True)
        for _, points in rows.groupby("arm"):
            rows.loc[points.index, "fit"] = monotone(points["stage1"], points["final"])
        return rows

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names = list(dict.fromkeys(table["arm"]))
        style, missing = looks(names), table["left_out"].iloc[0]
        said = [
            arrow(table["task"].iloc[0]),
            f"line: monotone fit, dashed: smallest stage-1 MAP with {KEPT:.0%} of its best",
        ]
        if len(names) == 1:
            said.append(_correlation(table))
        if missing:
            said.append(f"{missing} without a measure of stage 1 left out")
        entries = {name: f"{name}: {_correlation(table[table['arm'] == name])}" for name in names}
        with styled():
            figure, axes = canvas(
                1, 1, 2.2, caption(table, *said, seeds=f"{len(table)} run{'s' * (len(table) > 1)}, a dot each"),
                list(entries.values()) if len(names) > 1 else (),
            )  # fmt: skip
            ax = axes[0, 0]
            for name, points in table.groupby("arm", sort=False):
                look = style[str(name)]
                ax.plot(
                    points["stage1"], points["final"], look["marker"], color=look["color"], alpha=0.75,
                    markeredgewidth=0, label=entries[str(name)],
                )  # fmt: skip
                ax.plot(points["stage1"], points["fit"], color=look["color"], linewidth=1.1)
                enough = points.loc[points["fit"] >= KEPT * points["fit"].max(), "stage1"].min()
                ax.axvline(enough, color=look["color"], linewidth=0.8, linestyle="--")
            ax.margins(0.06)
            ax.set(xlabel="Image → Label MAP after stage 1", ylabel="MAP at the end")
            if len(names) > 1:
                legend(figure, list(entries.values()))
        return figure


def monotone(x: Sequence[float], y: Sequence[float]) -> NDArray[np.float64]:
    """(n,) least-squares fit of y that never falls as x grows; points of equal x share one value."""
    from scipy.optimize import isotonic_regression

    _, place, count = np.unique(np.asarray(x, float), return_inverse=True, return_counts=True)
    means = np.bincount(place, np.asarray(y, float)) / count
    fit: NDArray[np.float64] = isotonic_regression(means, weights=count).x
    return fit[place]


def _correlation(points: pd.DataFrame) -> str:
    from scipy.stats import rankdata

    if len(points) < 3 or points["stage1"].nunique() < 2 or points["final"].nunique() < 2:
        return "too few runs for a rank correlation"
    ranks = np.corrcoef(rankdata(points["stage1"]), rankdata(points["final"]))
    return f"Spearman ρ = {short(ranks[0, 1], 2)}"
