"""What every data set of the field says about itself, so that one command prepares them all."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hashbench.data.fetch import Download
from hashbench.data.prepared import Prepared
from hashbench.data.sources import Sources
from hashbench.data.table import Table

TINY_MARK = "hashbench-tiny.json"
"""Stands in the root of a synthetic stand-in, with ``of`` and ``items``; no official data set has such a file."""

TINY_ITEMS = 240


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the complete official files come to; a difference means that they are damaged or something else."""

    items: int
    classes: Mapping[str, int] = field(default_factory=dict)
    """Class name to its number of items; empty: not known."""
    class_count: int = 0
    """How many classes, where no more is known of them."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Part of :meth:`Table.digests` to its value."""
    labels_sha256: str = ""
    """Of all items' labels, row after row as uint8, the first protocol's classes alone; empty: not known."""


class Official(Prepared):
    """A data set of the field: its official layout, what it should come to, and its protocols."""

    title: ClassVar[str]
    """Its full name, and where it was published."""
    layout: ClassVar[str]
    """What must lie below the root, and where it comes from; printed when something is missing."""
    downloads: ClassVar[tuple[Download, ...]] = ()
    """Archives with known size and checksum. Only those with an address are fetched."""
    expected: ClassVar[Expected]

    @classmethod
    @abc.abstractmethod
    def read(cls, sources: Sources, items: int) -> Table:
        """Everything that the official files say, all items, all labels; pictures by path, none opened.

        Args:
            sources: The files below the root.
            items: How many items there should be: the official number, or a stand-in's.

        Raises:
            DataError: a file is missing, or a line of it is not what it should be; names file and line.
        """

    @classmethod
    @abc.abstractmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """Write a synthetic stand-in in the official layout: other pictures, other words, the same files."""
