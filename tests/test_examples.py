"""Which queries are shown and what is found for them, against the definition written out in loops."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hashbench.data import catalogue
from hashbench.dataset import Vectors, rank_by_id
from hashbench.errors import UsageError
from hashbench.examples import SEED, examples, thumbnail, words
from hashbench.measuring import rows_with
from hashbench.store import Store

from .plots.gallery import CLASSES, ITEMS, TEXTS, Gallery, keep

TASKS = ("image->text", "text->image")


@pytest.fixture(autouse=True)
def _gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "open_dataset", lambda name, protocol=None: Gallery())


def coded(bits: int, seed: int, real: bool = False) -> dict[str, Any]:
    rng, data = np.random.default_rng(seed), Gallery()
    shapes = {f"{side}/{view}": (len(rows_with(data, side, view)), bits)
              for side in ("query", "database", "validation") for view in data.views}  # fmt: skip
    if real:
        return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: rng.random(shape) < 0.5 for name, shape in shapes.items()}


@pytest.mark.parametrize("task", TASKS)
def test_hits_are_the_nearest_and_ties_stand_in_the_databases_order(tmp_path: Path, task: str) -> None:
    codes = coded(3, 1)  # three bits: nearly everything is tied
    store = Store(tmp_path)
    data, found = examples(store, keep(store, codes=codes, bits=3), task, queries=6, top=12)
    asking, answering = task.split("->")
    ask, database = rows_with(data, "query", asking), rows_with(data, "database", answering)
    assert len(found) == 6
    for example in found:
        of_query = codes[f"query/{asking}"][list(ask).index(example.row)]
        far = [int(np.sum(of_query != each)) for each in codes[f"database/{answering}"]]
        nearest = sorted(range(len(database)), key=lambda place: (far[place], place))[:12]
        assert [hit.row for hit in example.hits] == [database[place] for place in nearest]
        assert [hit.distance for hit in example.hits] == [far[place] for place in nearest]


def test_real_valued_codes_are_ranked_by_their_cosine(tmp_path: Path) -> None:
    codes = coded(4, 2, real=True)
    store = Store(tmp_path)
    data, found = examples(store, keep(store, codes=codes, bits=4), TASKS[0], queries=3, top=5)
    for example in found:
        q = codes["query/image"][list(rows_with(data, "query", "image")).index(example.row)]
        every = codes["database/text"]
        far = 1 - every @ q / np.linalg.norm(every, axis=1) / np.linalg.norm(q)
        assert [hit.distance for hit in example.hits] == pytest.approx(np.sort(far)[:5], abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_shared_is_what_both_have(tmp_path: Path, task: str) -> None:
    store = Store(tmp_path)
    data, found = examples(store, keep(store), task, queries=100, top=100)
    asking, answering = task.split("->")
    assert {example.row for example in found} == set(rows_with(data, "query", asking))
    for example in found:
        own = {name for name, has in zip(CLASSES, data.labels[example.row], strict=True) if has}
        assert set(example.labels) == own and example.task == task
        assert {hit.row for hit in example.hits} == set(rows_with(data, "database", answering))
        for hit in example.hits:
            theirs = {name for name, has in zip(CLASSES, data.labels[hit.row], strict=True) if has}
            assert set(hit.shared) == own & theirs


def test_every_run_is_seen_on_the_same_queries_chosen_by_their_ids(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [keep(store, seed=0), keep(store, seed=1, bits=16, method="dcmh"), keep(store, codes=coded(4, 5), bits=4)]
    seen = [[example.row for example in examples(store, run, TASKS[0], queries=5)[1]] for run in runs]
    assert seen[0] == seen[1] == seen[2]
    rows = rows_with(Gallery(), "query", "image")
    first = rank_by_id([f"item {row}" for row in rows], SEED)[:5]
    assert seen[0] == rows[first].tolist() and seen[0] != rows[:5].tolist()
    fewer = examples(store, runs[0], TASKS[0], queries=2)[1]
    assert [example.row for example in fewer] == seen[0][:2]


def test_a_run_without_the_task_says_which_it_has(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match=r"'image->audio': run [0-9a-f]{16} has image->text, text->image"):
        examples(store, keep(store), "image->audio")


@pytest.mark.parametrize("row", [0, 3, 70])
@pytest.mark.parametrize("side", [16, 96])
def test_a_thumbnail_keeps_the_shape_within_its_side(row: int, side: int) -> None:
    data = thumbnail(Gallery(), row, side)
    assert data is not None
    picture, whole = Image.open(io.BytesIO(data)), Gallery().raw("image")[row]
    assert not isinstance(whole, str)
    assert picture.format == "JPEG" and max(picture.size) == side
    exact = [length * side / max(whole.size) for length in whole.size]
    assert picture.size == pytest.approx(exact, abs=0.51)


def test_what_is_transparent_is_white() -> None:
    data = thumbnail(Gallery(), 3)
    assert data is not None
    picture = Image.open(io.BytesIO(data))
    left, right = picture.getpixel((1, 10)), picture.getpixel((picture.size[0] - 2, 10))
    assert isinstance(left, tuple) and min(left) > 240
    assert isinstance(right, tuple) and min(right) < 60


def test_a_small_picture_is_not_blown_up() -> None:
    data = thumbnail(Gallery(), 0, 1000)
    assert data is not None and Image.open(io.BytesIO(data)).size == (40, 300)


def test_items_without_a_view_have_neither_picture_nor_words(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Gallery()
    for row in range(ITEMS):
        assert (thumbnail(data, row) is None) == (row % 7 == 1)
        assert words(data, row) == ("" if row % 5 == 1 else TEXTS[row % len(TEXTS)])
    numbers = {view: Vectors(np.zeros((ITEMS, 2))) for view in ("image", "text")}
    monkeypatch.setattr(Gallery, "views", numbers)
    assert thumbnail(data, 0) is None and words(data, 0) == ""
    monkeypatch.setattr(Gallery, "views", {})
    assert thumbnail(data, 0) is None and words(data, 0) == ""
