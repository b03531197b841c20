"""What MAP costs, one panel a task: the line is the front, which no other run beats in both; hollow points are beaten.

speed  items encoded per second, from their features: a network that made the features is not counted
size   bytes of an item in the database: a bit takes an eighth, a real number four
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from hashbench.errors import UsageError
from hashbench.plot import Plot
from hashbench.store import bytes_of_a_code

from ._arms import Columns, arms, caption, measured, over_seeds
from .style import arrow, canvas, legend, looks, name_points, styled

if TYPE_CHECKING:
    from hashbench.store import Record


class Pareto(Plot):
    """MAP against the speed of encoding or the size of a code."""

    description = "MAP against encoding speed or code size, with the front of what none beats in both"
    kinds = ("speed", "size")

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        timed = [record for record in records if kind == "size" or record.cost.get("items_per_second")]
        if not timed:
            raise UsageError(
                "pareto: none of these runs was timed, as codes from files are not; take --kind size, "
                "or runs of hashbench run"
            )
        of_run: Columns = {
            "arm": arms(timed, apart=("bits",) if kind == "size" else ()),
            "bits": [record.spec.bits for record in timed],
            "items_per_second": [record.cost.get("items_per_second", np.nan) for record in timed],
            "bytes": [float(bytes_of_a_code(record)) for record in timed],
            "machine": [str(record.provenance.get("device", "unknown")) for record in timed],
        }
        devices = ", ".join(dict.fromkeys(of_run["machine"]))
        by = ["arm", "task", "bits", "machine"]
        rows = measured(timed, {**of_run, "machine": [devices] * len(timed)})
        found = over_seeds(rows, by, ["items_per_second", "bytes"])
        found["speed_deviation"] = rows.groupby(by, sort=False)["items_per_second"].std().to_numpy()
        found["left_out"] = len(records) - len(timed)
        cost = found["bytes"] if kind == "size" else -found["items_per_second"]
        for _, of in found.groupby("task"):
            found.loc[of.index, "front"] = front(cost[of.index], of["mean"])
        return found

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        tasks, names = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["arm"]))
        style, x = looks(names), "bytes" if kind == "size" else "items_per_second"
        said = ["filled: on the front"]
        if kind == "speed":
            said.append(f"encoding measured on {table['machine'].iloc[0]}, features of frozen encoders not counted")
        if missing := int(table["left_out"].iloc[0]):
            said.append(f"{missing} without a time left out")
        with styled():
            figure, axes = canvas(len(tasks), 1, 1.9, caption(table, *said, dotted=True), names, sharex=True)
            for ax, task in zip(axes[:, 0], tasks, strict=True):
                panel = table[table["task"] == task]
                best = panel[panel["front"].astype(bool)].sort_values([x, "mean"])
                ax.plot(best[x], best["mean"], color="0.4", linewidth=0.9, zorder=1)
                for row in panel.itertuples():
                    look, at = style[row.arm], getattr(row, x)
                    if kind == "speed":
                        ax.hlines(row.mean, *_speeds(row), look["color"], linewidth=0.7)
                    ax.vlines(at, row.mean - row.deviation, row.mean + row.deviation, look["color"], linewidth=0.7)
                    ax.plot(
                        at, row.mean, look["marker"], color=look["color"], zorder=3,
                        markerfacecolor=look["color"] if row.front else "white",
                    )  # fmt: skip
                ax.axhline(panel["chance"].mean(), color="0.5", linewidth=0.9, linestyle=":")
                ax.set_title(arrow(task))
                ax.set_ylabel("MAP")
                ax.set_xscale("log", base=2 if kind == "size" else 10)
                ax.set_ylim(bottom=0)
            ax = axes[-1, 0]
            for name in names:
                ax.plot([], [], style[name]["marker"], color=style[name]["color"], label=name)
            if kind == "size":
                sizes = sorted(set(table["bytes"]))
                ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
                ax.xaxis.set_minor_locator(NullLocator())
                ax.set_xlabel("bytes of an item")
            else:
                low, high = ax.get_xlim()
                wide = high / low
                ax.xaxis.set_major_locator(
                    LogLocator(subs=(1,) if wide > 50 else (1, 2, 5) if wide > 6 else range(1, 10))
                )
                ax.xaxis.set_major_formatter(EngFormatter(sep=""))
                ax.xaxis.set_minor_formatter(NullFormatter())
                ax.set_xlabel("items encoded per second")
            legend(figure, names)
            figure.draw_without_rendering()
            for ax, task in zip(axes[:, 0], tasks, strict=True):
                panel = table[table["task"] == task]
                best = panel[panel["front"].astype(bool)].sort_values([x, "mean"])
                at = dict(zip(zip(best[x], best["mean"], strict=True), best["arm"], strict=True))
                points = [*zip(panel[x], panel["mean"], strict=True)]
                if kind == "speed":
                    points += [
                        (end, row.mean)
                        for row in panel.dropna().itertuples()
                        for end in np.geomspace(*_speeds(row), 15)
                    ]
                name_points(ax, at, points)
        return figure


def front(cost: ArrayLike, gain: ArrayLike) -> NDArray[np.bool_]:
    """(n,) which points no other beats: none has at most their cost and at least their gain, and one of them better."""
    c, g = np.asarray(cost, float), np.asarray(gain, float)
    no_worse = (c[:, None] <= c) & (g[:, None] >= g)
    better = (c[:, None] < c) | (g[:, None] > g)
    return np.asarray(~(no_worse & better).any(axis=0), np.bool_)


def _speeds(row: Any) -> tuple[float, float]:
    """One deviation to each side, on a logarithmic axis no farther down than to a tenth."""
    at, deviation = row.items_per_second, row.speed_deviation
    return max(at - deviation, at / 10), at + deviation
