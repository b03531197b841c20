"""Numbers as the field prints them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def decimals(value: float, digits: int = 4) -> str:
    """``.6217``: without the leading zero."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.removeprefix("-").startswith("0.") else text


def mean_and_deviation(values: Sequence[float]) -> str:
    """``.6217 ± .0031`` over seeds; the mean alone for one seed."""
    mean = decimals(statistics.fmean(values))
    return f"{mean} ± {decimals(statistics.stdev(values))}" if len(values) > 1 else mean
