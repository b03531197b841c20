"""The contract of a figure: records in, a matplotlib figure and the table it shows out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from hashbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from hashbench.store import Record, Store


class Plot(abc.ABC):
    """One figure. It knows records and what is stored beside them, and never torch."""

    description: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    """Variants of the figure that ``--kind`` chooses from; the first is the default."""
    several_protocols: ClassVar[bool] = False
    """Whether runs of several data sets and protocols may stand in one figure."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        """Where the runs lie, for what a record leaves out: logs, codes, the average precision of every query.

        Raises:
            UsageError: the figure was made without one.
        """
        if self._store is None:
            raise UsageError(
                f"{type(self).__name__}: reads files beside the records, so it needs their store; "
                "hashbench plot gives it, and so does draw(..., store=Store(folder))"
            )
        return self._store

    @abc.abstractmethod
    def table(self, records: Sequence[Record], kind: str) -> DataFrame:
        """Every number that the figure shows, one row a point; written beside it as CSV."""

    @abc.abstractmethod
    def draw(self, table: DataFrame, kind: str) -> Figure:
        """The figure of a table that :meth:`table` made."""
