"""One look for all figures: safe for colour-blind readers and for a column's width in print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Okabe and Ito's palette."""
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@contextmanager
def styled() -> Iterator[None]:
    """Draw inside with the house style; matplotlib's settings are put back after."""
    settings: Any = {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "grid.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.4,
        "lines.markersize": 3,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "svg.hashsalt": "hashbench",
    }
    with mpl.rc_context(settings):
        yield


def looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour, dash and marker of each name; the first eight differ in all three."""
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, name in enumerate(names)
    }
