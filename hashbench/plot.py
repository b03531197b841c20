"""The contract of a figure: records in, a matplotlib figure and the table it shows out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from hashbench.store import Record


class Plot(abc.ABC):
    """One figure. It knows records, and neither torch nor the data."""

    description: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    """Variants of the figure that ``--kind`` chooses from; the first is the default."""

    @abc.abstractmethod
    def table(self, records: Sequence[Record], kind: str) -> DataFrame:
        """Every number that the figure shows, one row a point; written beside it as CSV."""

    @abc.abstractmethod
    def draw(self, table: DataFrame, kind: str) -> Figure:
        """The figure of a table that :meth:`table` made."""
