"""One look for all figures: safe for colour-blind readers, legible in grey and at a column's width in print."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

WIDTH = 3.3
"""Inches: one column of a two-column page, the width of every figure whose panels fit into it."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette without its yellow, which is hardly seen on white."""
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
HATCHES = ("", "/////", ".....", "xxxxx")

BAR = 0.13
"""Inches of a bar."""

SMALL, NOTE = 7, 6
"""Points: of ticks and legends, and of the line underneath."""

LONG = 10
"""Names above which a legend is long."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw inside with the house style; matplotlib's settings are put back after."""
    settings: Any = {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "grid.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.fontsize": SMALL,
        "lines.linewidth": 1.4,
        "lines.markersize": 3.5,
        "errorbar.capsize": 1.5,
        "hatch.linewidth": 0.5,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "svg.hashsalt": "hashbench",
    }
    with mpl.rc_context(settings):
        yield


def looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour, dash and marker of each name; the first seven differ in colour, the first 70 in colour or marker."""
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, name in enumerate(names)
    }


def canvas(
    rows: int, columns: int, height: float, caption: str, names: Sequence[str] = (), **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """An empty figure and its (rows, columns) axes, one column of print wide or as wide as its panels need.

    Args:
        rows: Rows of panels.
        columns: Columns of panels.
        height: Inches of each row.
        caption: What stands underneath, broken into lines.
        names: Of the legend, which gets room of its own above the panels; :func:`legend` fills it.
        options: For ``Figure.subplots``.
    """
    width = max(WIDTH, 1.6 * columns)
    lines = _fitting(caption, width, NOTE)
    room = sum(_lines(chunk, _entry(names, width)) for chunk in _rows(names, width)) * SMALL * 1.35 / 72 + (
        0.1 if names else 0
    )
    size = (width, rows * height + room + len(lines) * NOTE * 1.25 / 72 + 0.1)
    figure = Figure(figsize=size, layout="constrained")
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False, **options)
    figure.supxlabel("\n".join(lines), fontsize=NOTE, color="0.35")
    return figure, axes


def legend(figure: Figure, names: Sequence[str]) -> None:
    """A legend outside the panels of whatever carries one of the names, in their order."""
    handles = {
        label: handle for ax in figure.axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    shown, width = [name for name in names if name in handles], figure.get_size_inches()[0]
    figure.legend(
        [handles[name] for name in shown],
        ["\n".join(_fitting(name, _entry(shown, width) + 0.1, SMALL)) for name in shown],
        loc="outside upper center",
        ncols=_abreast(shown, width),
        handlelength=2.2,
        columnspacing=1.2,
        labelspacing=0.3,
    )


def wrapped(text: str, characters: int = 20) -> str:
    """A text in lines of about so many characters at most, broken at spaces, and inside a long word at = _ : / + -."""
    words = [
        part
        for word in text.split(" ")
        for part in ([f"{word} "] if len(word) <= characters else re.findall(r".+?(?:[=_:/+-]|$)", f"{word} "))
    ]
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1] + word.rstrip()) > characters:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip(" ") for line in lines)


def arrow(task: str) -> str:
    """``image → text``."""
    return task.replace("->", "\u00a0→\u00a0")  # never broken between lines


def short(value: float, places: int = 3) -> str:
    """``.622``: without the leading zero, as the field prints MAP."""
    text = f"{value:.{places}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def number_axis(ax: Axes, values: Iterable[float]) -> None:
    """An x axis for these values: linear, or where they span much logarithmic with a place for 0."""
    positive = sorted(value for value in values if value > 0)
    if positive and min(values) >= 0 and positive[-1] > 20 * positive[0]:
        ax.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    number_ticks(ax, values)


def number_ticks(ax: Axes, values: Iterable[float]) -> None:
    """Ticks of the x axis at these values and nowhere else, labelled where there is room."""
    ticks = np.unique(np.asarray(list(values), float))
    places = ax.xaxis.get_transform().transform(ticks)
    room = 0.06 * ((places[-1] - places[0]) or 1)
    ax.set_xlim(*ax.xaxis.get_transform().inverted().transform([places[0] - room, places[-1] + room]))
    near = 0.19 / (ax.bbox.width / ax.figure.dpi) * (places[-1] - places[0])
    labelled = {0, len(ticks) - 1}
    for i in range(1, len(ticks) - 1):
        if places[i] - places[max(j for j in labelled if j < i)] >= near and places[-1] - places[i] >= near:
            labelled.add(i)
    ax.set_xticks(ticks, [f"{tick:g}" if i in labelled else "" for i, tick in enumerate(ticks)])
    ax.set_xticks([], minor=True)


def bars(
    ax: Axes, groups: Sequence[str], parts: Sequence[str], cells: Mapping[tuple[str, str], tuple[float, float, float]]
) -> None:
    """Horizontal bars from 0, one group a row and one bar a part that it has, with numbers, intervals and chance.

    Args:
        ax: Where; one unit of its y axis is an inch of a figure whose rows are :func:`bar_heights`.
        groups: From top to bottom.
        parts: Of the groups, such as the tasks.
        cells: (group, part) to mean, deviation and chance; a deviation may be NaN.
    """
    counts = [sum((group, part) in cells for part in parts) for group in groups]
    heights = bar_heights(groups, counts)
    bottoms = np.cumsum(heights)
    centres = bottoms - np.asarray(heights) / 2
    for i, part in enumerate(parts):
        of = [g for g, group in enumerate(groups) if (group, part) in cells]
        place = [sum((groups[g], before) in cells for before in parts[:i]) - (counts[g] - 1) / 2 for g in of]
        at = centres[of] + BAR * np.asarray(place)
        means, deviations, chances = np.array([cells[groups[g], part] for g in of], float).T
        ax.barh(
            at, means, BAR * 0.92, xerr=deviations, label=arrow(part), color=part_colour(i),
            hatch=HATCHES[i % len(HATCHES)], edgecolor="white", linewidth=0.3,
            error_kw={"elinewidth": 0.8, "ecolor": "black"},
        )  # fmt: skip
        ax.vlines(chances, at - BAR / 2, at + BAR / 2, color="black", linewidth=0.9, linestyle=(0, (1, 1)))
        for y, mean, end in zip(at, means, means + np.nan_to_num(deviations), strict=True):
            ax.annotate(
                short(mean), (end, y), (3, 0), textcoords="offset points", va="center_baseline", fontsize=NOTE
            )  # fmt: skip
    longest = max(mean + np.nan_to_num(deviation) for mean, deviation, _ in cells.values())
    ax.set(xlim=(0, longest * 1.22), ylim=(bottoms[-1], 0))
    ax.set_yticks(centres, [wrapped(group) for group in groups])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")


def bar_heights(groups: Sequence[str], counts: Sequence[int]) -> list[float]:
    """Inches that rows with these names need when each has so many bars."""
    return [
        max(BAR * count + 0.06, 0.125 * (wrapped(group).count("\n") + 1) + 0.04)
        for group, count in zip(groups, counts, strict=True)
    ]


def name_points(ax: Axes, named: Mapping[tuple[float, float], str], points: Iterable[tuple[float, float]]) -> None:
    """Names beside points where there is room for them; a name without room is left to the legend.

    Args:
        ax: Where, with everything else in place and its figure's layout settled (``draw_without_rendering``).
        named: Point to name, in the order of the line through them.
        points: All points of the panel; no name covers one of them, or the line.
    """
    corners = ax.transData.transform(list(named))
    line = [a + (b - a) * part for a, b in pairwise(corners) for part in np.linspace(0, 1, 40)]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in ax.transData.transform(list(points))]
    taken += [Bbox.from_bounds(x - 1, y - 1, 2, 2) for x, y in line]
    room = ax.get_window_extent()
    for point, name in named.items():
        for dx, dy in ((0, 1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (1, -1), (-1, -1)):
            text = ax.annotate(
                name, point, (5 * dx, 5 * dy), textcoords="offset points", fontsize=NOTE, in_layout=False,
                ha=("right", "center", "left")[dx + 1], va=("top", "center", "bottom")[dy + 1],
            )  # fmt: skip
            box = text.get_window_extent()
            fits = room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
            if fits and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def part_colour(i: int) -> str:
    """The colour of the i-th part of a group: neighbours are dark and light, so that they differ in grey."""
    return COLOURS[(0, 4, 2, 5, 6, 3, 1)[i % 7]]


def _character(points: float) -> float:
    """Inches of an average character."""
    return points * 0.57 / 72


def _fitting(text: str, width: float, points: float) -> list[str]:
    return wrapped(text, int((width - 0.1) / _character(points))).split("\n")


def _entry(names: Sequence[str], width: float) -> float:
    """Inches for a name in a legend: as the longest needs, in a long legend as most need; the others are broken."""
    lengths = sorted(map(len, names)) or [1]
    length = lengths[-1] if len(names) <= LONG else max(lengths[len(names) * 9 // 10], 12)
    return min(length * _character(SMALL), width - 0.6)


def _abreast(names: Sequence[str], width: float) -> int:
    """How many of these names fit beside each other in a legend."""
    return max(1, min(len(names), int(width / (_entry(names, width) + 0.42))))


def _rows(names: Sequence[str], width: float) -> list[Sequence[str]]:
    abreast = _abreast(names, width)
    return [names[i : i + abreast] for i in range(0, len(names), abreast)]


def _lines(names: Sequence[str], entry: float) -> int:
    return max(len(_fitting(name, entry + 0.1, SMALL)) for name in names)
