"""Data sets by name: installed ones, and those that were imported on this machine."""

from __future__ import annotations

from hashbench import registry
from hashbench.dataset import Dataset


def open_dataset(name: str, protocol: str | None = None) -> Dataset:
    """A data set under one of its protocols (None: its first).

    Raises:
        UsageError: no such data set, or no such protocol.
        DataError: it is not prepared on this machine, or damaged.
    """
    return registry.datasets.get(name)(protocol)
