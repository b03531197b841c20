"""Figures of SKDCH's studies: distances, views, selection."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashbench import findings, retrieval
from hashbench.data import catalogue
from hashbench.errors import UsageError
from hashbench.measuring import rows_with
from hashbench.store import Record, Store

from . import test_figures
from .gallery import Gallery, keep
from .records import CHANCE, record
from .test_figures import LONG, SEEDS, figure, table

CODES = ("query/image", "query/text", "database/image", "database/text", "validation/image", "validation/text")


def of_views(names: str, value: float, seed: int = 0, **settings: Any) -> Record:
    """A run on these views; the task of the views a and b has the value + its place / 100."""
    base, views = record(value, seed=seed, method="skdch", **settings), names.split(",")
    tasks = [f"{a}->{b}" for a, b in permutations(views, 2)]
    return replace(
        base,
        spec=replace(base.spec, views=dict.fromkeys(views, "minilm weights=2 transform=tokens")),
        metrics={task: {"map@all": value + i / 100, "chance": CHANCE + i / 1000} for i, task in enumerate(tasks)},
    )


def in_pairs(views: Sequence[str], value: float = 0.4, **settings: Any) -> list[Record]:
    pairs = [",".join(pair) for pair in combinations(views, 2)]
    return [
        of_views(of, value + i / 50, s, **settings) for i, of in enumerate([*pairs, ",".join(views)]) for s in SEEDS
    ]


def chosen(epochs: int, test: float, validation: float | None, seed: int = 0, **settings: Any) -> Record:
    """MAP on test and on validation queries; from text to image twice as far from one half."""
    run = record(test, 2 * test - 0.5, epochs=epochs, seed=seed, **settings)
    if validation is None:
        return run
    values = {"image->text": validation, "text->image": 2 * validation - 0.5}
    return replace(run, validation={task: {"map@all": value} for task, value in values.items()})


def schedules(**settings: Any) -> list[Record]:
    """The longer the better on validation queries, and on test queries from 8 epochs on the worse."""
    return [
        chosen(e, 0.5 - abs(np.log2(e) - 3) / 50 + s / 100, 0.3 + e / 100, s, **settings)
        for e in (1, 2, 4, 8, 16, 24) for s in SEEDS
    ]  # fmt: skip


FIVE = ("image", "text", "audio", "video", "d3")
SCENES: dict[str, tuple[str, list[Record]]] = {
    "views": ("views", in_pairs(FIVE[:3])),
    "views of five": ("views", [*in_pairs(FIVE), of_views("image,text,video", 0.4)]),
    "views at two lengths": ("views", [run for bits in (8, 64) for run in in_pairs(FIVE[:3], bits=bits)]),
    "views of a pair": ("views", [of_views("image,text", 0.5)]),
    "views of a shared model": ("views", [of_views("image,text,transcript of speech", 0.5)]),
    "selection": ("selection", schedules()),
    "selection at three lengths": ("selection", [run for b in (16, 64, 128) for run in schedules(bits=b)]),
    "selection of long names": ("selection", [run for b in (LONG, "lite") for run in schedules(backbone=b)]),
    "selection of three views": (
        "selection",
        [
            replace(run, validation=run.metrics)
            for e in (1, 2)
            for run in (of_views("image,text,audio", e / 5, epochs=e),)
        ],
    ),
    "selection of a seed": ("selection", [chosen(e, 0.3 * e, 0.2 / e) for e in (1, 2)]),
}
KEPT: dict[str, tuple[str, str, Callable[[Store], list[Record]]]] = {
    "distances": ("distances", "shares", lambda store: [keep(store, seed=s, bits=32) for s in SEEDS]),
    "distances of arms": ("distances", "shares", lambda store: [
        keep(store, intra=i, pull=p) for i in (0.0, 0.5, 1.0) for p in (0.0, 0.02)]),
    "distances of lengths": ("distances", "shares", lambda store: [
        keep(store, margin=m, bits=b) for m in (1.0, "bits/8") for b in (8, 64)]),
    "distances of long names": ("distances", "shares", lambda store: [
        keep(store, backbone=b) for b in (LONG, "lite", "resnet18:scratch")]),
    "selection of tasks": ("selection", "tasks", lambda store: schedules()),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "open_dataset", lambda name, protocol=None: Gallery())
    monkeypatch.setattr(test_figures, "SCENES", SCENES)
    monkeypatch.setattr(test_figures, "KEPT", KEPT)


@pytest.mark.parametrize("scene", [*SCENES, *KEPT])
def test_nothing_is_cut_or_covered(scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_figures.test_nothing_is_cut_or_covered(scene, tmp_path, monkeypatch)


@pytest.mark.parametrize("scene", [*SCENES, *KEPT])
def test_the_csv_beside_it_draws_the_same_figure(scene: str, tmp_path: Path) -> None:
    test_figures.test_the_csv_beside_it_draws_the_same_figure(scene, tmp_path)


def test_distances_are_those_of_all_pairs(tmp_path: Path) -> None:
    """Counted pair by pair, with the queries and items of the evaluation."""
    store, data = Store(tmp_path), Gallery()
    runs = [keep(store, seed=s, bits=8) for s in (0, 1)]
    rows = figure("distances", store).table(runs, "shares").set_index(["task", "pairs", "distance"])
    for task in ("image->text", "text->image"):
        asking, answering = task.split("->")
        ask, answer = rows_with(data, "query", asking), rows_with(data, "database", answering)
        related = (data.labels[ask].astype(int) @ data.labels[answer].T) > 0
        far = []
        for run in runs:
            codes = {name: retrieval.unpack(retrieval.from_bytes(raw, 8)) for name, raw in store.codes(run).items()}
            assert set(codes) == set(CODES)
            far.append((codes[f"query/{asking}"][:, None] != codes[f"database/{answering}"]).sum(axis=2))
        shares = {}
        for pairs, these in (("share a label", related), ("share none", ~related)):
            shares[pairs] = [np.bincount(each[these], minlength=9) / these.sum() for each in far]
            found = rows.loc[(task, pairs)]
            assert found["share"].tolist() == pytest.approx(np.mean(shares[pairs], axis=0).tolist())
            assert found["share"].sum() == pytest.approx(1)
            assert found["mean_distance"].tolist() == pytest.approx([np.mean([each[these].mean() for each in far])] * 9)
        overlap = np.mean([np.minimum(a, b).sum() for a, b in zip(*shares.values(), strict=True)])
        assert rows.loc[task, "overlap"].tolist() == pytest.approx([overlap] * 18)
    assert set(rows["seeds"]) == {2}


def test_distances_of_codes_that_tell_labels_apart_do_not_overlap(tmp_path: Path) -> None:
    """Codes of one class each: 0 bits apart within it, all between classes. The arm with less overlap is on top."""
    store, data = Store(tmp_path), OneLabel()
    apart = {name: np.repeat(data.labels[rows_with(data, *name.split("/"))][:, :1], 8, axis=1) == 1 for name in CODES}
    runs = [
        keep(store, dataset=data, method="all alike", codes={name: np.ones_like(of) for name, of in apart.items()}),
        keep(store, dataset=data, method="told apart", codes=apart),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "open_dataset", lambda name, protocol=None: data)
        rows = figure("distances", store).table(runs, "shares")
    assert list(dict.fromkeys(rows["arm"])) == ["told apart", "all alike"]
    means = rows.groupby(["arm", "pairs"])[["mean_distance", "overlap"]].first()
    assert means.loc[("told apart", "share a label")].tolist() == [0, 0]
    assert means.loc[("told apart", "share none")].tolist() == [8, 0]
    assert means.loc[("all alike", "share none")].tolist() == [0, 1]


class OneLabel(Gallery):
    @property
    def labels(self) -> Any:
        first = np.arange(len(self.ids)) % 2
        return np.stack([first, 1 - first, *[0 * first] * 3], axis=1).astype(np.uint8)


def test_codes_of_two_lengths_share_an_axis(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plot = figure("distances", store)
    shown = plot.table([keep(store, bits=b) for b in (8, 64)], "shares")
    drawn = plot.draw(shown, "shares")
    assert drawn.axes[0].get_xlim() == (-1 / 16, 1 + 1 / 16) and drawn.axes[-1].get_xlabel() == "distance / bits"
    for patch in (patch for ax in drawn.axes for patch in ax.patches):
        values, edges, _ = patch.get_data()
        assert (values * np.diff(edges)).sum() == pytest.approx(1)


def test_views_have_a_cell_a_task_and_a_panel_a_set() -> None:
    rows = table("views", in_pairs(FIVE[:3]))
    assert list(dict.fromkeys(rows["panel"])) == ["a model a pair", "image, text, audio"]
    cells = rows.set_index(["panel", "asking", "answering"])["mean"].to_dict()
    pairs = {("image", "text"): 0.40, ("image", "audio"): 0.42, ("text", "audio"): 0.44}
    for (a, b), value in pairs.items():
        assert cells["a model a pair", a, b] == pytest.approx(value)
        assert cells["a model a pair", b, a] == pytest.approx(value + 0.01)
    shared = [cells["image, text, audio", a, b] for a, b in permutations(FIVE[:3], 2)]
    assert shared == pytest.approx([0.46 + i / 100 for i in range(6)]) and len(cells) == 12
    assert set(rows["seeds"]) == {len(SEEDS)} and set(rows["arm"]) == {"skdch"}
    assert rows["chance"].min() == CHANCE and rows["chance"].max() == pytest.approx(CHANCE + 0.005)


def test_the_diagonal_of_views_is_empty_and_what_is_missing_is_hatched() -> None:
    runs = [of_views("image,text", 0.3), of_views("text,audio", 0.5)]
    ax = figure("views").draw(table("views", runs), "map").axes[0]
    cells = ax.images[0].get_array().filled(np.nan)
    assert np.isnan(np.diag(cells)).all() and np.isfinite(cells).sum() == 4
    assert sorted((p.get_x() + 0.5, p.get_y() + 0.5) for p in ax.patches) == [(0, 2), (2, 0)]
    assert cells[1, 2] == 0.5 and cells[1, 0] == 0.31  # text asks


def test_views_of_several_lengths_are_in_their_order() -> None:
    rows = table("views", [of_views("image,text", 0.3, bits=b) for b in (128, 16)])
    assert list(dict.fromkeys(rows["arm"])) == ["16 bits", "128 bits"]


def test_selection_is_what_either_side_chooses() -> None:
    runs = [chosen(e, t, v, s) for s in (0, 1) for e, t, v in ((1, 0.5, 0.6), (2, 0.7 + s / 10, 0.4), (4, 0.6, 0.5))]
    rows = table("selection", runs)
    assert rows["chosen_on_validation"].tolist() == [1, 1] and rows["chosen_on_test"].tolist() == [2, 2]
    assert rows["validation"].tolist() == pytest.approx([0.5, 0.5])
    assert rows["test"].tolist() == pytest.approx([0.8, 0.95])  # the mean of x and 2 x - .5
    assert rows["bias"].tolist() == pytest.approx([0.375] * 2) and set(rows["setting"]) == {"epochs"}
    by_task = table("selection", runs, "tasks").set_index(["task", "seed"])
    assert by_task.loc[("image->text", 1), "gap"] == pytest.approx(0.3)
    assert by_task.loc[("text->image", 1), "gap"] == pytest.approx(0.6)


def test_a_task_without_validation_items_counts_on_test_queries_alone() -> None:
    runs = [chosen(e, t, v) for e, t, v in ((1, 0.5, 0.6), (2, 0.7, 0.4))]
    for run in runs:
        del run.validation["text->image"]
    assert table("selection", runs)["gap"].tolist() == pytest.approx([0.8 - 0.5])
    assert table("selection", runs, "tasks")["task"].tolist() == ["image->text"]


def test_either_side_takes_the_smaller_of_two_that_are_equal() -> None:
    rows = table("selection", [chosen(e, 0.5, 0.5) for e in (16, 2, 4)])
    assert rows[["chosen_on_validation", "chosen_on_test"]].to_numpy().tolist() == [[2, 2]]


def test_a_seed_with_one_run_has_no_choice() -> None:
    assert set(table("selection", [chosen(1, 0.3, 0.3), chosen(2, 0.4, 0.2), chosen(1, 0.9, 0.1, seed=1)])["seed"]) == {
        0
    }


SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=4)


@settings(max_examples=25)
@given(st.lists(SCORES, min_size=1, max_size=3), st.lists(SCORES, min_size=1, max_size=3))
def test_selection_agrees_with_the_finding_of_the_study(short: list[Any], long: list[Any]) -> None:
    """``short`` and ``long`` codes: for every seed, MAP on test and validation queries after 1, 2, ... epochs."""
    runs = {
        (bits, epochs): [chosen(epochs, *of[epochs-1], s, bits=bits) for s, of in enumerate(seeds) if len(of) >= epochs]
        for bits, seeds in ((16, short), (64, long)) for epochs in (1, 2, 3, 4)
    }  # fmt: skip
    results: Any = [
        SimpleNamespace(arm=SimpleNamespace(choice={"bits": bits, "epochs": epochs}), done=of)
        for (bits, epochs), of in runs.items()
    ]
    rows = table("selection", [run for of in runs.values() for run in of])
    said = [re.findall(r"bits=(\d+): .* ([\d.-]+) more .*\(([\d.-]+)\), mean of (\d)", line)[0]
            for line in findings.selection("epochs", results, "map@all")]  # fmt: skip
    assert len(said) == 2
    for bits, bias, honest, seeds in said:
        here = rows[rows["arm"] == f"{bits} bits"]
        assert float(bias) == pytest.approx(here["bias"].iloc[0], abs=6e-5)
        assert float(honest) == pytest.approx(here["validation"].mean(), abs=6e-5)
        assert [int(seeds)] * len(here) == here["seeds"].tolist()


@pytest.mark.parametrize(
    ("name", "records", "needs"),
    [
        ("distances", [record(0.5, alpha=float(a)) for a in range(21)], "21 arms with 2 tasks need 21 rows"),
        ("views", [of_views("image,text", 0.5, bits=b) for b in range(1, 14)], "13 panels"),
        ("selection", [chosen(1, 0.5, 0.5), chosen(2, 0.5, None)], "1 of 2 runs have no numbers of validation queries"),
        ("selection", [chosen(1, 0.5, 0.5), chosen(1, 0.5, 0.5, seed=1)], "exactly one numeric setting"),
        ("selection", [chosen(1, 0.5, 0.5), chosen(2, 0.5, 0.5, seed=1)], "no arm has runs of one seed"),
    ],
)
def test_a_figure_says_in_one_line_what_it_needs(name: str, records: list[Record], needs: str) -> None:
    test_figures.test_a_figure_says_in_one_line_what_it_needs(name, records, None, needs)


def test_real_valued_codes_have_no_distances(tmp_path: Path) -> None:
    data, rng, store = Gallery(), np.random.default_rng(0), Store(tmp_path)
    real: Mapping[str, Any] = {
        name: rng.normal(size=(len(rows_with(data, *name.split("/"))), 8)).astype(np.float32) for name in CODES
    }
    runs = [keep(store, method="real", codes=real), keep(store, method="dcmh")]
    shown: pd.DataFrame = figure("distances", store).table(runs, "shares")
    assert set(shown["arm"]) == {"dcmh"}
    with pytest.raises(UsageError, match=r"^distances: real-valued codes have no Hamming distance"):
        figure("distances", store).table(runs[:1], "shares")
