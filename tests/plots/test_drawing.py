"""Drawing into files: who may mix protocols, who gets the store, and figures that were written for records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from hashbench import registry
from hashbench.cli.plot import plot
from hashbench.data import catalogue
from hashbench.drawing import draw
from hashbench.errors import UsageError
from hashbench.plot import Plot
from hashbench.store import Record, Store

from .gallery import Gallery, keep
from .records import record


class Bits(Plot):
    """As a stranger writes one: records alone."""

    description = "an example"
    kinds = ("dots",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        return pd.DataFrame([{"bits": of.spec.bits, "seed": of.spec.seed} for of in records])

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        figure = Figure()
        figure.subplots().plot(table["bits"], table["seed"], "o")
        return figure


class Every(Bits):
    """One that takes several protocols and looks at what is stored."""

    several_protocols = True

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        return super().table(records, kind).assign(root=str(self.store.root))


@pytest.fixture(autouse=True)
def _figures(monkeypatch: pytest.MonkeyPatch) -> None:
    own: dict[str, type[Plot]] = {"bits": Bits, "every": Every}
    known = registry.plots.get
    monkeypatch.setattr(registry.plots, "get", lambda name: own.get(name) or known(name))
    monkeypatch.setattr(catalogue, "open_dataset", lambda name, protocol=None: Gallery())


def test_a_figure_without_a_constructor_of_its_own_is_drawn(tmp_path: Path) -> None:
    files = [tmp_path / "a.pdf", tmp_path / "a.svg"]
    for store in (None, Store(tmp_path)):
        written = draw("bits", [record(0.5)], files, store=store)
        assert written == [*files, tmp_path / "a.csv"] and all(file.stat().st_size for file in written)
    assert pd.read_csv(tmp_path / "a.csv").to_dict("list") == {"bits": [16], "seed": [0]}
    assert Bits().table([record(0.5)], "dots").equals(Bits(None).table([record(0.5)], "dots"))


def test_only_a_figure_that_takes_several_protocols_gets_them(tmp_path: Path) -> None:
    runs = [record(0.5, protocol=f"pictograms-fold{i}@1") for i in (1, 2)]
    with pytest.raises(UsageError, match=r"different protocols: .*choose one with --where protocol="):
        draw("bits", runs, [tmp_path / "a.png"])
    draw("every", runs, [tmp_path / "a.png"], store=Store(tmp_path))
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2
    for name, several in {"folds": True, "ranks": True, "pr": False, "topn": False, "classes": False}.items():
        assert registry.plots.get(name).several_protocols == several


def test_a_figure_that_needs_the_store_says_so_before_it_writes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Every: reads files beside the records, so it needs their store"):
        draw("every", [record(0.5)], [tmp_path / "a.png"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "kind"), [("curves", "bits"), ("classes", None), ("examples", "text-to-image")])
def test_the_command_hands_the_store_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: Any
) -> None:
    keep(Store(tmp_path / "results"), log=[{"epoch": i, "dead": 0.1 * i} for i in range(3)])
    plot(name, kind, None, tmp_path / "a.pdf", tmp_path / "results")
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "a.pdf"), str(tmp_path / "a.csv")]
    assert len(pd.read_csv(tmp_path / "a.csv"))
