"""Average ranks of methods over protocols, tasks and code lengths, as a critical-difference diagram.

Demšar. *Statistical Comparisons of Classifiers over Multiple Data Sets*. JMLR 7, 2006. A block is one protocol, task
and code length; in it the k arms are ranked by MAP (mean over seeds; 1 is best, ties share their mean rank).
Friedman's test asks whether the arms differ at all. Two of them differ by Nemenyi's test where their average ranks
over the N blocks are at least

    CD = q √(k (k + 1) / 6 N)

apart, with q the .95 quantile of the studentized range for k groups, divided by √2. A thick line joins arms that are
closer than that; all of them, where Friedman's p is .05 or more. Both tests take the blocks as independent. Tasks, code
lengths and folds of one data set are not, so that p and CD come out too small; the caption says it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import blocks, caption, seeds_averaged
from .style import SMALL, canvas, short, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record

LEVEL = 0.05
BLOCK = ["dataset", "protocol", "task", "bits"]


class Ranks(Plot):
    """Demšar's diagram of average ranks."""

    description = "average ranks over protocols, tasks and code lengths, with their critical difference"
    kinds = ("nemenyi",)
    several_protocols = True

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        found = blocks(records)
        cells = found.pivot(index=BLOCK, columns="arm", values="mean")
        n, k = cells.shape
        if k < 3 or n < 2:
            raise UsageError(
                f"ranks: needs at least three arms on two blocks (protocol, task and code length), these runs are "
                f"{k} on {n}; hashbench compare is for two arms, --where name=value chooses runs"
            )
        if cells.isna().any(axis=None):
            block, arm = next((block, arm) for block in cells.index for arm in cells if np.isnan(cells.loc[block, arm]))
            raise UsageError(
                f"ranks: {arm} has no run on {block[1]}, {block[2]}, {block[3]} bits; every arm is ranked on every "
                "block: run it, or leave out arms or blocks with --where name=value"
            )
        ranks = cells.rank(axis=1, ascending=False)
        chi, p = friedman(ranks.to_numpy())
        found["rank"] = [ranks.loc[tuple(row[BLOCK]), row["arm"]] for _, row in found.iterrows()]
        found["average_rank"] = found["arm"].map(ranks.mean())
        found = found.assign(blocks=n, friedman_chi2=chi, friedman_p=p, critical_difference=critical_difference(k, n))
        return found.sort_values(["average_rank", "arm"], kind="stable", ignore_index=True)

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        first = table.iloc[0]
        average = table.drop_duplicates("arm").set_index("arm")["average_rank"]
        apart, p = first["critical_difference"], first["friedman_p"]
        groups = joined(average.to_numpy(), apart if p < LEVEL else math.inf)
        said = [f"Friedman's p {'below .001' if p < 0.001 else short(p)} over {_blocks(table)}"]
        said.append(f"thick: {'closer than CD' if p < LEVEL else 'no difference between any'}")
        if table["dataset"].nunique() < first["blocks"]:
            said.append("blocks of one data set are not independent, so p and CD are too small")
        if moved := list(dict.fromkeys(table.loc[table["settings"] > 1, "arm"])):
            said.append(f"settings differ between blocks: {', '.join(moved)}")
        k = len(average)
        names = [wrapped(str(name), 15) for name in average.index]
        right = -(-k // 2)  # the best stand on the right, where their ranks are
        top = 0.3 + 0.07 * len(groups)
        heights = [_heights(names[:right]), _heights(names[: right - 1 : -1])]
        bottom = top + max(map(sum, heights))
        with styled():
            figure, axes = canvas(1, 1, bottom + 0.1, caption(table, *said, seeds=seeds_averaged(table)))
            ax = axes[0, 0]
            ax.set_axis_off()
            ax.set(xlim=(k, 1), ylim=(bottom, 0))
            _scale(ax, k, apart)
            for i, (name, rank) in enumerate(zip(names, average, strict=True)):
                side, row = (0, i) if i < right else (1, k - 1 - i)
                _name(ax, name, rank, top + sum(heights[side][:row]) + heights[side][row] / 2, k if side else 1)
            for i, (low, high) in enumerate(groups):
                at, beyond = 0.3 + 0.07 * i, 0.006 * k
                ax.plot(
                    [low - beyond, high + beyond], [at, at], color="black", linewidth=2.2, clip_on=False,
                    solid_capstyle="butt",
                )  # fmt: skip
        return figure


def friedman(ranks: NDArray[np.float64]) -> tuple[float, float]:
    """χ² of Friedman's test and its p value, from ranks (blocks, arms); 0 and 1 where nothing but ties is there."""
    from scipy.stats import friedmanchisquare

    if (ranks == ranks[:, :1]).all():
        return 0.0, 1.0
    found = friedmanchisquare(*ranks.T)
    return float(found.statistic), float(found.pvalue)


def critical_difference(arms: int, blocks: int, level: float = LEVEL) -> float:
    """Nemenyi's: average ranks over so many blocks that differ by it or more are of arms that differ."""
    from scipy.stats import studentized_range

    q = studentized_range.ppf(1 - level, arms, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(arms * (arms + 1) / (6 * blocks)))


def joined(ranks: NDArray[np.float64], apart: float) -> list[tuple[float, float]]:
    """Lowest and highest rank of each largest group whose members are all closer than ``apart``; no group of one."""
    ordered = np.sort(ranks)
    ends = [int(np.flatnonzero(ordered - low < apart)[-1]) for low in ordered]
    return [
        (float(ordered[i]), float(ordered[end]))
        for i, end in enumerate(ends)
        if end > i and (i == 0 or end > ends[i - 1])
    ]


def _blocks(table: pd.DataFrame) -> str:
    """``20 blocks (5 protocols × 2 tasks × 2 code lengths)``."""
    counts = [
        (table[["dataset", "protocol"]].drop_duplicates().shape[0], "protocol"),
        (table["task"].nunique(), "task"),
        (table["bits"].nunique(), "code length"),
    ]
    product = " × ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts)
    whole = math.prod(count for count, _ in counts) == table["blocks"].iloc[0]
    return f"{table['blocks'].iloc[0]} blocks ({product})" if whole else f"{table['blocks'].iloc[0]} blocks"


def _scale(ax: Axes, k: int, apart: float) -> None:
    """The axis of ranks, the best on the right, and above it the length of the critical difference."""
    ax.plot([1, k], [0.25, 0.25], color="black", linewidth=0.9, clip_on=False)
    step = -(-(k - 1) // 8)
    for rank in range(1, k + 1):
        labelled = (rank - 1) % step == 0
        ax.plot([rank, rank], [0.25, 0.21 if labelled else 0.23], color="black", linewidth=0.7, clip_on=False)
        if labelled:
            ax.text(rank, 0.2, str(rank), ha="center", va="bottom", fontsize=SMALL)
    if apart > k - 1:
        ax.text(k, 0.02, f"CD = {apart:.2f}, longer than the axis", ha="left", va="center", fontsize=SMALL)
    else:
        ax.plot([k, k - apart], [0.02, 0.02], color="black", linewidth=1.2, marker="|", markersize=4, clip_on=False)
        ax.text(k - apart, 0.02, f"  CD = {apart:.2f}", ha="left", va="center", fontsize=SMALL)


def _heights(names: Sequence[str]) -> list[float]:
    """Inches that names need below each other."""
    return [0.115 * (name.count("\n") + 1) + 0.03 for name in names]


def _name(ax: Axes, name: str, rank: float, y: float, edge: float) -> None:
    """An elbow from a rank on the axis to its name beside the diagram."""
    ax.plot([rank, rank, edge], [0.25, y, y], color="0.35", linewidth=0.7, clip_on=False)
    right = edge == 1
    ax.annotate(
        f"{name} {rank:.2f}" if right else f"{rank:.2f} {name}", (edge, y), (4 if right else -4, 0),
        textcoords="offset points", ha="left" if right else "right", va="center", fontsize=SMALL,
        annotation_clip=False,
    )  # fmt: skip
