"""One finished run with its model, made once for all that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hashbench import grid
from hashbench.registry import methods
from hashbench.search import Search
from hashbench.setup import Setup
from hashbench.store import Record, Store

Made = tuple[Store, Record]
SETUP = Setup(dataset="shapes", backbones={"image": "lite@32", "text": "bow"})


@pytest.fixture(scope="package", autouse=True)
def _stranger(stranger: Path) -> Iterator[None]:
    """The data set ``shapes`` can be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(stranger)
        yield


def make(folder: Path, method: str = "dcmh", setup: Setup = SETUP, bits: int = 16) -> Made:
    """Carry out a short run, with its model."""
    config = methods.get(method).config_class()
    config = replace(config, epochs=2) if hasattr(config, "epochs") else config  # type: ignore[type-var]
    (record,) = grid.run(method, setup=setup, config=config, bits=[bits], results=folder)
    assert record.status == "done", record.reason
    return Store(folder), record


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory, _stranger: None) -> Made:
    return make(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="package")
def search(made: Made) -> Search:
    return Search(*made)
