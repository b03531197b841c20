"""Which classes gain: AP of each class under one setting, or its difference between two.

    AP of a class = mean of AP(q) over the queries q that have the class and a relevant item

AP(q) is averaged over the seeds of a setting first. A query with several labels counts in each of its classes, so that
classes are not independent. The bars are sorted by their mean over tasks; classes of fewer than 20 queries are grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.measuring import rows_with, stored
from hashbench.plot import Plot
from hashbench.retrieval import chance_level

from ._arms import arms, caption, seeds_averaged
from .style import NOTE, arrow, canvas, part_colour, styled, wrapped

if TYPE_CHECKING:
    from hashbench.dataset import Dataset
    from hashbench.store import Record

FEW = 20
"""Queries of a class below which its mean says little."""

ROW = 0.125
"""Inches of a class."""


class Classes(Plot):
    """Sorted bars, one a class."""

    description = "AP of every class, or its difference between two arms"
    kinds = ("bars",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        names = arms(records)
        compared = list(dict.fromkeys(names))
        if len(compared) > 2:
            shown = ", ".join(compared[:4]) + (", ..." if len(compared) > 4 else "")
            raise UsageError(
                f"classes: shows one arm or the difference between two, these runs have {len(compared)} ({shown}); "
                "choose with --where, for example --where method=soda,dcmh"
            )
        dataset, _ = stored(self.store, records[0])
        sides: list[dict[int, Mapping[str, NDArray[np.float32]]]] = [
            {of.spec.seed: self.store.queries(of) for of, name in zip(records, names, strict=True) if name == arm}
            for arm in compared
        ]
        rows = [
            {
                "class": label,
                "task": task,
                **_of_class([{seed: of[task][has] for seed, of in side.items()} for side in sides]),
                "chance_of_class": chance_level(asking[has], searched),
                "chance": records[0].metrics[task]["chance"],
                "arm": compared[0],
                "against": " ".join(compared[1:]),
                "metric": "AP of a class",
                "protocol": records[0].spec.protocol,
            }
            for task in records[0].metrics
            if all(task in record.metrics for record in records)
            for asking, searched in [_labels(dataset, task)]
            for counted in [np.max([of[task] for side in sides for of in side.values()], axis=0) > 0]
            for label, has in zip(dataset.class_names, (asking > 0).T & counted, strict=True)
            if has.any()
        ]
        if not rows:
            raise UsageError("classes: these runs share no task; choose runs with --where")
        table = pd.DataFrame(rows)
        rank = table.groupby("class")["difference" if len(compared) > 1 else "ap"].mean()
        return table.sort_values(
            "class", key=lambda name: name.map(rank), ascending=False, kind="stable", ignore_index=True
        )

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        tasks, classes = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["class"]))
        arm, against = table["arm"].iloc[0], table["against"].iloc[0]
        value = "difference" if against else "ap"
        place = {name: i for i, name in enumerate(classes)}
        sizes = table.groupby("class")["queries"].agg(["min", "max"])
        said = [f"in brackets: queries, grey below {FEW}", "a query counts in each of its classes"]
        if not against:
            said.append("dotted: chance of each class")
        unpaired = table["deviation"].isna().all() and table["seeds"].max() > 1
        seeds = f"{seeds_averaged(table)}, not the same in both arms, so no deviation" if unpaired else ""
        with styled():
            figure, axes = canvas(
                1, len(tasks), ROW * len(classes) + 0.75,
                caption(table, *said, seeds=seeds), sharey=True, sharex=True,
            )  # fmt: skip
            for ax, task in zip(axes[0], tasks, strict=True):
                panel = table[table["task"] == task]
                at = panel["class"].map(place)
                colours = [
                    "0.72" if few else part_colour(0 if gain >= 0 else 1)
                    for few, gain in zip(panel["queries"] < FEW, panel[value], strict=True)
                ]
                ax.barh(
                    at, panel[value], 0.8, xerr=panel["deviation"], color=colours,
                    error_kw={"elinewidth": 0.6, "ecolor": "black", "capsize": 0},
                )  # fmt: skip
                if against:
                    ax.axvline(0, color="black", linewidth=0.6)
                else:
                    ax.vlines(
                        panel["chance_of_class"], at - 0.4, at + 0.4, color="black", linewidth=0.9,
                        linestyle=(0, (1, 1)),
                    )  # fmt: skip
                ax.set_title(arrow(task))
                ax.set_ylim(len(classes) - 0.4, -0.6)
                ax.tick_params(axis="y", length=0)
                ax.grid(visible=False, axis="y")
            axes[0, 0].set_yticks(
                range(len(classes)),
                [f"{name} ({_between(*sizes.loc[name])})" for name in classes],
                fontsize=NOTE,
            )
            what = f"AP of {arm} minus AP of {against}" if against else f"AP of {arm}"
            figure.suptitle(wrapped(what, 44), fontsize=8)
        return figure


def _labels(dataset: Dataset, task: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels of the queries (q, c) and of the items that they search (n, c)."""
    asking, _, answering = task.partition("->")
    keep = dataset.split.searched("query")[dataset.present(answering)[dataset.split.database]]
    searched = dataset.labels[rows_with(dataset, "database", answering)][keep]
    return dataset.labels[rows_with(dataset, "query", asking)], searched


def _of_class(sides: Sequence[Mapping[int, NDArray[np.float32]]]) -> dict[str, float]:
    """The row of a class from one or two arms: seed to the AP of its queries (q,)."""
    means = [{seed: float(of.mean(dtype=np.float64)) for seed, of in side.items()} for side in sides]
    ap, *others = (float(np.mean(list(of.values()))) for of in means)
    against = others[0] if others else np.nan
    if all(of.keys() == means[0].keys() for of in means):
        by_seed = [means[0][seed] - (means[1][seed] if others else 0.0) for seed in means[0]]
    else:
        by_seed = []
    return {
        "queries": len(next(iter(sides[0].values()))),
        "ap": ap,
        "against_ap": against,
        "difference": ap - against,
        "deviation": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else np.nan,
        "seeds": min(map(len, means)),
    }


def _between(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"
