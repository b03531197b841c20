"""What the field's scripts got wrong, and must not go wrong here: each test is one defect found in public code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from hashbench import exchange
from hashbench.data import catalogue, importing, prepare
from hashbench.data.sources import Sources
from hashbench.dataset import Dataset
from hashbench.errors import DataError, UsageError
from hashbench.retrieval import Evaluation, distances, evaluate, pack


def ranked(relevant: list[int], items: int) -> Evaluation:
    """One query and ``items`` items at the distances 1, 2, .., the relevant ones at these ranks; no ties."""
    database = np.where(np.arange(items) <= np.arange(items)[:, None], -1, 1)
    labels = np.isin(np.arange(1, items + 1), relevant)[:, None]
    return evaluate(pack(np.ones((1, items), np.int8)), pack(database), np.ones((1, 1)), labels, (1, 3, items))


def collapsed(query_labels: np.ndarray, database_labels: np.ndarray) -> dict[str, float]:
    """The metrics of codes that are all the same: nothing but ties."""
    codes = [pack(np.ones((len(labels), 16), np.int8)) for labels in (query_labels, database_labels)]
    return evaluate(*codes, query_labels, database_labels).metrics


def scored(folder: Path, **arrays: np.ndarray) -> dict[str, float]:
    """``image->text`` of the file that a toolkit of the field would have left."""
    path = folder / "codes.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return exchange.score(path, results=folder / "results").metrics["image->text"]


@pytest.fixture(scope="module")
def many_labels() -> tuple[np.ndarray, np.ndarray]:
    """Labels as unevenly given as MIRFLICKR's, where an item with many labels is relevant to most queries."""
    rng = np.random.default_rng(0)
    eagerness = rng.beta(1, 4, size=(2000, 1))
    labels = (rng.random((2000, 24)) < eagerness).astype(np.uint8)
    labels[labels.sum(axis=1) == 0, 0] = 1
    return labels[:100], labels[100:]


# --- queries without a relevant item: NaN for the whole table (DCHMT's matrix version, kalenforn) ------------


def test_queries_without_relevant_items_are_counted_and_never_nan(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"{letter}_{view}": rng.choice([-1, 1], (n, 8)) for letter, n in (("q", 5), ("r", 30))
              for view in ("img", "txt")}  # fmt: skip
    q_l, r_l = np.eye(3, dtype=np.uint8)[[0, 1, 2, 0, 1]], np.eye(3, dtype=np.uint8)[rng.integers(0, 2, 30)]
    np.savez(tmp_path / "codes.npz", **arrays, q_l=q_l, r_l=r_l)  # type: ignore[arg-type]
    record = exchange.score(tmp_path / "codes.npz", results=tmp_path / "results")
    assert record.counts["queries_without_relevant"] == 1
    kept = [0, 1, 3, 4]
    query, database = pack(arrays["q_img"][kept]), pack(arrays["r_txt"])
    assert record.metrics["image->text"] == evaluate(query, database, q_l[kept], r_l).metrics
    for metrics in record.metrics.values():
        assert np.isfinite(list(metrics.values())).all()
    for curves in record.curves.values():
        assert all(np.isfinite(points).all() for points in curves.values())


def test_no_query_has_a_relevant_item() -> None:
    metrics = collapsed(np.array([[1, 0]] * 3), np.array([[0, 1]] * 5))
    assert set(metrics.values()) == {0.0}


# --- one query: scripts squeeze its axis away ----------------------------------------------------------------


def test_a_single_query_is_a_query(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    q, r = rng.choice([-1, 1], (1, 8)), rng.choice([-1, 1], (40, 8))
    q_l, r_l = np.array([[1, 0, 1]]), rng.integers(0, 2, (40, 3))
    alone = scored(tmp_path, q_img=q, r_txt=r, q_l=q_l, r_l=r_l)
    thrice = scored(tmp_path, q_img=q.repeat(3, 0), r_txt=r, q_l=q_l.repeat(3, 0), r_l=r_l)
    assert alone == pytest.approx(thrice, abs=1e-15)


# --- sign(0) = 0: half a bit in every distance ---------------------------------------------------------------


def test_a_zero_of_sign_is_a_whole_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    outputs = {"q_img": rng.normal(size=(6, 8)), "r_txt": rng.normal(size=(30, 8))}
    for values in outputs.values():
        values[::2, 3] = 0
    labels = {"q_l": rng.integers(0, 2, (6, 3)), "r_l": rng.integers(0, 2, (30, 3))}
    signs = {key: np.sign(values) for key, values in outputs.items()}
    halves = 0.5 * (8 - signs["q_img"] @ signs["r_txt"].T)
    assert (halves % 1 == 0.5).any(), "the field's own formula gives half distances here"
    codes = exchange.read_codes(_saved(tmp_path, **signs, **labels)).codes
    decided = distances(codes["query/image"], codes["database/text"])
    ones = {key: np.where(values == 0, 1, values) for key, values in signs.items()}
    assert np.array_equal(decided, (8 - ones["q_img"] @ ones["r_txt"].T) / 2)


def _saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "signs.npz", **arrays)  # type: ignore[arg-type]
    return folder / "signs.npz"


# --- ties in the order of the database: harmless when shuffled, a score of its own when sorted ---------------


def test_collapsed_codes_score_by_the_order_of_the_database(many_labels: tuple[np.ndarray, np.ndarray]) -> None:
    """All codes the same, database sorted by number of labels: .677 with most first and .469 with fewest first
    were measured on MIRFLICKR, where chance is .558. The expected value knows no order."""
    query, database = many_labels
    by_count = np.argsort(-database.sum(axis=1), kind="stable")
    most_first, fewest_first = (collapsed(query, database[order]) for order in (by_count, by_count[::-1]))
    shuffled = collapsed(query, database)
    chance = shuffled["chance"]
    stable = "map@all/stable-order"
    assert most_first[stable] > chance + 0.1 > chance - 0.05 > fewest_first[stable]
    assert abs(shuffled[stable] - chance) < 0.02
    for ordered in (most_first, fewest_first):
        for metric in shuffled.keys() - {stable}:
            assert ordered[metric] == pytest.approx(shuffled[metric], abs=1e-12), metric
    assert abs(shuffled["map@all"] - chance) < 0.01


def test_every_order_lies_between_the_bounds(many_labels: tuple[np.ndarray, np.ndarray]) -> None:
    query, database = many_labels
    for order in (np.lexsort(database.T), np.lexsort(database.T)[::-1], np.argsort(database.sum(axis=1))):
        found = collapsed(query, database[order])
        assert found["map@all/pessimistic"] <= found["map@all/stable-order"] <= found["map@all/optimistic"]
    assert found["map@all/optimistic"] == 1, "all ties, relevant items first: as good as perfect codes"


# --- four numbers under the one name MAP@K -------------------------------------------------------------------


def test_one_ranking_four_definitions() -> None:
    found = ranked([1, 3, 8, 9], items=12).metrics
    expected = {
        "hits": (1 + 2 / 3) / 2,
        "total": (1 + 2 / 3) / 4,
        "standard": (1 + 2 / 3) / 3,
        "first": (1 + 2 / 3 + 3 / 8) / 3,
    }
    assert {name: found[f"map@3/{name}"] for name in expected} == pytest.approx(expected)
    assert [round(expected[name], 3) for name in ("hits", "total", "standard", "first")] == [0.833, 0.417, 0.556, 0.681]


def test_one_hit_at_the_first_rank_is_everything_only_where_hits_divide() -> None:
    found = ranked([1, 10, 11, 12], items=12).metrics
    assert found["map@3/hits"] == 1
    assert found["map@3/standard"] == pytest.approx(1 / 3) and found["map@3/total"] == pytest.approx(1 / 4)


# --- "recall" that reached 2.14 (DCHMT, torchcmh: retrieved items over relevant ones) ------------------------


def test_recall_never_exceeds_one_and_reaches_it(many_labels: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    query, database = (pack(rng.random((len(labels), 16)) < 0.5) for labels in many_labels)
    found = evaluate(query, database, *many_labels, (1, 50, len(database)))
    for recall in (found.radius.micro_recall, found.radius.macro_recall, found.rank.recall):
        assert (np.diff(recall) >= -1e-12).all()
        assert recall.max() == pytest.approx(1) and recall[-1] == pytest.approx(1)
        assert (recall <= 1 + 1e-12).all()
    assert found.metrics[f"recall@{len(database)}"] == pytest.approx(1)


# --- queries whose ball is empty, left out of the mean (AGAH) ------------------------------------------------


def test_an_empty_ball_has_precision_zero_and_stays_in_the_mean() -> None:
    query = np.array([[1] * 8, [-1] * 8])
    database = np.ones((3, 8), np.int8)
    labels = np.ones((2, 1)), np.ones((3, 1))
    found = evaluate(pack(query), pack(database), *labels)
    assert found.metrics["precision@radius2"] == 0.5
    assert found.radius.macro_precision[:8] == pytest.approx([0.5] * 8)
    assert found.radius.empty[:8] == pytest.approx([0.5] * 8) and found.radius.empty[8] == 0
    assert found.radius.micro_precision[0] == 1, "all balls together: the empty one adds nothing"


# --- topK = -1 as "everything", which as a slice drops the last item -----------------------------------------


@pytest.mark.parametrize("items", [1, 2, 12])
def test_the_last_item_counts(items: int) -> None:
    found = ranked([items], items=items).metrics
    for metric in ("map@all", f"map@{items}/hits", f"map@{items}/standard", f"map@{items}/total"):
        assert found[metric] == pytest.approx(1 / items)
    assert found[f"recall@{items}"] == 1


def test_minus_one_is_no_cut_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    arrays = {"q_img": rng.choice([-1, 1], (3, 8)), "r_txt": rng.choice([-1, 1], (9, 8))}
    path = _saved(tmp_path, **arrays, q_l=rng.integers(0, 2, (3, 2)), r_l=rng.integers(0, 2, (9, 2)))
    with pytest.raises(UsageError, match="cut-offs"):
        exchange.score(path, cutoffs=[-1], results=tmp_path / "results")


# --- columns in the order in which the disk lists the label files (os.listdir), another on every machine --------


@pytest.mark.parametrize("name", ["mirflickr25k", "nuswide", "coco", "iaprtc12", "wikipedia"])
def test_nothing_depends_on_the_order_of_a_listing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, listing = catalogue.official(name), os.scandir
    prepare.make_tiny(cls, tmp_path / "root", 60)
    before = cls.read(Sources(tmp_path / "root"), 60)

    @contextmanager
    def backwards(folder: Path) -> Iterator[list[os.DirEntry[str]]]:
        with listing(folder) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, "scandir", backwards)
    after = cls.read(Sources(tmp_path / "root"), 60)
    assert after.digests() == before.digests() and after.images == before.images
    assert after.class_names == before.class_names


# --- ids sorted as strings: im1, im10, im100, so that labels, tags and pictures part ----------------------------


@pytest.mark.parametrize(("name", "number"), [("mirflickr25k", lambda item: int(item[2:])), ("iaprtc12", int)])
def test_items_stand_in_the_order_of_their_numbers(name: str, number: Callable[[str], int], tmp_path: Path) -> None:
    cls = catalogue.official(name)
    prepare.make_tiny(cls, tmp_path / "root", 60)
    table = cls.read(Sources(tmp_path / "root"), 60)
    numbers = [number(item) for item in table.ids]
    assert numbers == sorted(numbers) != [number(item) for item in sorted(table.ids)]
    assert all(path.endswith(f"{item}.jpg") for path, item in zip(table.images, table.ids, strict=True))


def test_a_line_of_a_label_file_is_the_number_of_a_picture(tmp_path: Path) -> None:
    cls = catalogue.official("mirflickr25k")
    prepare.make_tiny(cls, tmp_path / "root", 60)
    table = cls.read(Sources(tmp_path / "root"), 60)
    for column, label in enumerate(table.class_names):
        listed = next((tmp_path / "root").rglob(f"{label.replace(' ', '_')}.txt")).read_text().split()
        assert [table.ids[row] for row in np.flatnonzero(table.labels[:, column])] == [f"im{one}" for one in listed]


# --- blank captions: "123456" in their place (DCHMT), or dropped, so that every later text moves up --------------


@pytest.mark.parametrize("form", ["lines", "cells", "strings"])
def test_a_blank_caption_stays_blank_and_moves_no_other(form: str, tmp_path: Path) -> None:
    captions = [f"words of {row}" if row % 4 else "" for row in range(40)]
    arrays = {"image": np.random.default_rng(0).normal(size=(40, 7)), "label": np.eye(4, dtype=int)[np.arange(40) % 4]}
    files = [tmp_path / "arrays.mat"]
    if form == "lines":
        files.append(tmp_path / "caption.txt")
        files[1].write_text("".join(f"{caption}\n" for caption in captions))
    if form == "cells":
        arrays["caption"] = np.array([[caption] for caption in captions], object)
    if form == "strings":
        files[0] = tmp_path / "arrays.npz"
        arrays = {"image": arrays["image"], "labels": arrays["label"], "text": np.array(captions)}
    if form == "strings":
        np.savez(files[0], **arrays)  # type: ignore[arg-type]
    else:
        savemat(files[0], arrays)
    dataset = imported(files, tmp_path)
    assert [str(dataset.raw("text")[row]) for row in range(40)] == captions
    assert dataset.ids == [f"row{row}" for row in range(40)]


@pytest.mark.parametrize("name", ["mirflickr25k", "nuswide", "iaprtc12", "wikipedia"])
def test_an_item_without_text_is_there_with_an_empty_one(name: str, tmp_path: Path) -> None:
    cls = catalogue.official(name)
    prepare.make_tiny(cls, tmp_path / "root", 60)
    table = cls.read(Sources(tmp_path / "root"), 60)
    blank = [row for row, captions in enumerate(table.captions) if not captions]
    assert blank and len(table.captions) == 60
    for plan in cls.plans:
        assert {plan.words.text(table.ids[row], table.captions[row], frozenset()) for row in blank} == {""}


# --- a caption drawn anew at every access, also of queries and at evaluation (DCHMT, QinLab): no number twice ----


def test_the_text_of_an_item_is_the_same_whenever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    cls = catalogue.official("coco")
    prepare.make_tiny(cls, tmp_path / "root", 60)
    prepare.prepare(cls, tmp_path / "root", prepare.Choices(), lambda *_: None)

    def texts(state: int) -> dict[str, str]:
        np.random.seed(state)  # what the field's loaders draw with
        dataset = catalogue.open_dataset("coco-tiny", "coco-b-dchmt@1")
        rows = np.random.default_rng(state).permutation(len(dataset)).tolist()
        return {dataset.ids[row]: str(dataset.raw("text")[row]) for row in rows}

    drawn = texts(0)
    assert texts(1) == texts(2) == drawn
    first = catalogue.open_dataset("coco-tiny", "coco@1")
    assert any(drawn[item] != first.raw("text")[row] for row, item in enumerate(first.ids)), "not only first captions"


# --- queries that the database or the training set also holds -----------------------------------------------------


@pytest.mark.parametrize("side", ["database", "train"])
def test_a_query_is_on_no_other_side(side: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = {"query": np.arange(8), "database": np.arange(8, 40), "train": np.arange(20, 40)}
    rows[side] = np.append(rows[side], 3)
    views = {"image": rng.normal(size=(40, 7)), "text": rng.normal(size=(40, 5)), "labels": np.eye(40, dtype=int)}
    np.savez(tmp_path / "own.npz", **views, **rows)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"row3: expected on one side, found among the query and the {side} items"):
        imported([tmp_path / "own.npz"], tmp_path)


def test_lists_that_name_a_picture_as_query_and_in_the_database(tmp_path: Path) -> None:
    for name, rows in (("test", range(5)), ("database", range(4, 30))):
        (tmp_path / f"{name}.txt").write_text("".join(f"val/im{row}.jpg 0 1\n" for row in rows))
    with pytest.raises(DataError, match="im4: expected on one side, found among the query and the database items"):
        imported([tmp_path / "test.txt", tmp_path / "database.txt"], tmp_path)


def imported(files: list[Path], folder: Path) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASHBENCH_DATA", str(folder / "data"))
        importing.import_files(files, importing.Wanted(name="own"), lambda *_: None)
        return catalogue.open_dataset("own")
