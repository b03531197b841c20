"""Data sets by name: installed ones, and those that were prepared or imported under a name of their own."""

from __future__ import annotations

from pathlib import Path

from hashbench import registry
from hashbench.config import did_you_mean
from hashbench.data.imported import Imported
from hashbench.data.official import Official
from hashbench.data.prepared import read_manifest
from hashbench.dataset import Dataset
from hashbench.errors import UsageError
from hashbench.paths import data_dir


def open_dataset(name: str, protocol: str | None = None) -> Dataset:
    """A data set under one of its protocols (None: its first).

    Raises:
        UsageError: no such data set, or no such protocol.
        DataError: it is damaged.
    """
    if name in registry.datasets.entries():
        return registry.datasets.get(name)(protocol)
    folders = here()
    if name not in folders:
        known = [*registry.datasets.entries(), *folders]
        raise UsageError(f"no data set {name!r}. {did_you_mean(name, known)}; hashbench data import makes one of files")
    manifest = read_manifest(folders[name])
    if manifest.of == "imported":
        return Imported(protocol, folders[name])
    return official(manifest.of)(protocol, folders[name])


def here() -> dict[str, Path]:
    """Name to folder of everything that was prepared or imported on this machine."""
    return {path.parent.name: path.parent for path in sorted(data_dir().glob("[!.]*/manifest.json"))}


def official(name: str) -> type[Official]:
    """A data set of the field by name.

    Raises:
        UsageError: there is none of that name.
    """
    found = registry.datasets.get(name)
    if not issubclass(found, Official):
        raise UsageError(f"{name} needs no preparation; hashbench run --dataset {name}")
    return found
