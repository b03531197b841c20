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
    return plus_minus(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def plus_minus(mean: float, deviation: float | None) -> str:
    """``.6217 ± .0031``; the mean alone where there is no deviation."""
    return decimals(mean) if deviation is None else f"{decimals(mean)} ± {decimals(deviation)}"
