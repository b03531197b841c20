"""What choosing on test queries pretends: MAP of the run that they choose beside that of the run validation chooses.

Among runs of an arm and a seed that differ in one numeric setting, usually the epochs, either side chooses the run with
its own best MAP, the smaller value where two are equal; both dots are MAP on test queries. The bias is the mean gap
over seeds, never below 0 and no improvement. ``mean`` chooses by the mean MAP of all tasks, one run for all of them, as
``hashbench.findings.selection`` does; ``tasks`` by the MAP of each task alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hashbench.errors import UsageError
from hashbench.plot import Plot
from hashbench.store import own_metric

from ._arms import arms, caption, known, one_number, seeds_averaged
from .style import BAR, COLOURS, NOTE, arrow, canvas, legend, short, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record

EXAMPLE = "hashbench run --method skdch --set epochs=8"

CHOSEN: dict[str, dict[str, Any]] = {
    "by validation queries": {"marker": "o", "color": COLOURS[0], "markerfacecolor": "white"},
    "by test queries": {"marker": "D", "color": COLOURS[1]},
}


class Selection(Plot):
    """Paired dots, a line a seed; arms below each other, with the bias of each."""

    description = "MAP of runs chosen on validation and on test queries, paired, and the bias"
    kinds = ("mean", "tasks")

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        setting = one_number(records, "selection", EXAMPLE)
        without = sum(not record.validation for record in records)
        if without:
            raise UsageError(
                f"selection: {without} of {len(records)} runs have no numbers of validation queries; leave them out "
                "with --where, or run under a protocol with validation items"
            )
        metric = own_metric(records)
        groups: dict[tuple[int, str, int], list[tuple[float, Record]]] = {}
        for arm, record in zip(arms(records, apart=(setting,)), records, strict=True):
            groups.setdefault((record.spec.bits, arm, record.spec.seed), []).append((known(record)[setting], record))
        rows = [
            {
                "arm": arm,
                "bits": bits,
                **row,
                "setting": setting,
                "seed": seed,
                "metric": metric,
                "protocol": of[0][1].spec.protocol,
            }
            for (bits, arm, seed), of in sorted(groups.items())
            if len(of) > 1
            for row in _choices(sorted(of, key=lambda pair: pair[0]), metric, kind)
        ]
        if not rows:
            raise UsageError(
                f"selection: no arm has runs of one seed that differ in {setting}; for example {EXAMPLE}, and again "
                "with other epochs"
            )
        found = pd.DataFrame(rows)
        found["bias"] = found.groupby(["arm", "task"])["gap"].transform("mean")
        found["seeds"] = found.groupby(["arm", "task"])["seed"].transform("count")
        return found

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        names, tasks = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["task"]))
        columns = 1 if len(tasks) % 2 else 2
        seeds = {name: sorted(table.loc[table["arm"] == name, "seed"].unique()) for name in names}
        heights = [
            max(BAR * len(seeds[name]) + 0.14, 0.125 * (wrapped(name).count("\n") + 1) + 0.04, 0.2) for name in names
        ]
        bottoms = [sum(heights[: i + 1]) for i in range(len(names))]
        titles = {task: wrapped(arrow(task), 52 // columns) for task in tasks}
        lines = max(title.count("\n") for title in titles.values())
        said = f"a line a seed, {seeds_averaged(table)}"
        chosen = f"dots: {table['setting'].iloc[0]} chosen by either; numbers: bias, the mean gap"
        with styled():
            figure, axes = canvas(
                len(tasks) // columns, columns, bottoms[-1] + 0.55 + 0.14 * lines,
                caption(table, chosen, seeds=said), list(CHOSEN), sharey=True,
            )  # fmt: skip
            for ax, task in zip(axes.flat, tasks, strict=True):
                for name, height, bottom in zip(names, heights, bottoms, strict=True):
                    rows = table[(table["arm"] == name) & (table["task"] == task)]
                    _pairs(ax, rows, bottom - height / 2, [seeds[name].index(seed) for seed in rows["seed"]])
                ax.set(title=titles[task], ylim=(bottoms[-1], 0))
                ax.set_yticks(
                    [b - h / 2 for b, h in zip(bottoms, heights, strict=True)], [wrapped(name) for name in names]
                )
                ax.tick_params(axis="y", length=0)
                ax.grid(visible=False, axis="y")
                ax.margins(x=0.06)
                ax.xaxis.set_major_locator(MaxNLocator(3))
                ax.label_outer()
                ax.set_xlabel("MAP on test queries")
            legend(figure, list(CHOSEN))
        return figure


def _pairs(ax: Axes, rows: pd.DataFrame, centre: float, places: Sequence[int]) -> None:
    """The dots of one arm, a row a seed, and its bias at the right end of the panel."""
    if rows.empty:
        return
    at = [centre + BAR * (place - max(places) / 2) for place in places]
    ax.hlines(at, rows["validation"], rows["test"], color="0.4", linewidth=1.0, zorder=1.5)
    for side, (label, look) in zip(("validation", "test"), CHOSEN.items(), strict=True):
        large = side == "validation"  # a dot on a dot: both are seen
        ax.plot(
            rows[side], at, linestyle="", label=label, markersize=5 if large else 2.6, zorder=2 if large else 3, **look
        )
    ax.annotate(
        f"+{short(rows['bias'].iloc[0], 4)}", (1, centre), (3, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center_baseline", fontsize=NOTE, annotation_clip=False,
    )  # fmt: skip


def _choices(runs: Sequence[tuple[float, Record]], metric: str, kind: str) -> Iterator[dict[str, Any]]:
    """For the mean of all tasks, or for each: what either side chooses, and its MAP on test queries."""
    tasks = list(runs[0][1].metrics)
    both = [task for task in tasks if task in runs[0][1].validation]  # a view may have no validation items
    for name, of in [(f"mean of {', '.join(tasks)}", tasks)] if kind == "mean" else [(task, [task]) for task in both]:
        honest, best = (
            max(runs, key=lambda run: _mean(getattr(run[1], side), of, metric)) for side in ("validation", "metrics")
        )
        validation, test = (_mean(record.metrics, of, metric) for _, record in (honest, best))
        yield {
            "task": name, "validation": validation, "test": test, "gap": test - validation,
            "chosen_on_validation": honest[0], "chosen_on_test": best[0], "runs": len(runs),
            "chance": fmean(honest[1].metrics[task]["chance"] for task in of),
        }  # fmt: skip


def _mean(tasks: Mapping[str, Mapping[str, float]], of: Sequence[str], metric: str) -> float:
    return fmean(tasks[task][metric] for task in of if task in tasks)
