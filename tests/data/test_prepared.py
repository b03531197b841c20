"""What a prepared or imported data set promises, whatever of it is missing on a machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from hashbench.data import catalogue, prepared
from hashbench.data.imported import Imported
from hashbench.data.importing import FEWEST, Wanted, import_files
from hashbench.data.prepare import verify
from hashbench.data.prepared import Manifest, Prepared
from hashbench.data.recipes import Plan, Recipe, Words
from hashbench.data.splits import ById, InOrder, PerClass, Permuted
from hashbench.data.table import Table
from hashbench.dataset import SIDES
from hashbench.errors import DataError, UsageError
from hashbench.paths import data_dir

SHARED = Path(__file__).parents[2] / "../shared/data"
N = 60


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "cache"))


class Small(Prepared):
    """Sixty items under one protocol of each kind."""

    name = "small"
    licence = "none"
    plans = tuple(
        Plan(id=f"{name}@1", recipe=Recipe(name="small-60", items=N), split=split, words=Words(rule="random"))
        for name, split in {
            "by-id": ById(query=10, validation=5, train=20),
            "permuted": Permuted(seed=3, query=10, train=20),
            "last": InOrder(query=10, train=20, queries="last"),
            "per-class": PerClass(query=(4, 2), train=(6, 4), query_total=10, train_total=20),
        }.items()
    )


def small(folder: Path, bad: frozenset[int] = frozenset(), order: list[int] | None = None) -> None:
    """Write its items; the pictures of some are bad."""
    rows = order or list(range(N))
    table = Table(
        ids=tuple(f"item{row}" for row in rows),
        class_names=("a", "b", "c"),
        labels=np.eye(3, dtype=np.uint8)[[row % 3 for row in rows]],
        images=tuple(f"{row}.jpg" for row in rows),
        captions=tuple((f"first of {row}", f"second of {row}", f"third of {row}") for row in rows),
    )
    manifest = Manifest(
        name="small", of="small", root=str(folder.parent), bad={f"{row}.jpg": "missing" for row in sorted(bad)}
    )
    prepared.write(folder, table, manifest)


def sides(dataset: Prepared) -> dict[str, set[str]]:
    return {side: {dataset.ids[row] for row in getattr(dataset.split, side)} for side in SIDES}


@settings(max_examples=20)  # each writes two folders to the disk
@given(bad=st.frozensets(st.integers(0, N - 1), max_size=20), plan=st.sampled_from(Small.plans))
def test_a_missing_picture_moves_no_other_item(
    tmp_path_factory: pytest.TempPathFactory, bad: frozenset[int], plan: Plan
) -> None:
    folder = tmp_path_factory.mktemp("data") / "small"
    small(folder)
    whole = Small(plan.id, folder)
    before, texts = sides(whole), dict(zip(whole.ids, _texts(whole), strict=True))
    small(folder, bad)
    partial = Small(plan.id, folder)
    lost = {f"item{row}" for row in bad}
    assert sides(partial) == {side: items - lost for side, items in before.items()}
    assert {*partial.ids} == {*whole.ids} - lost and partial.listed == N
    assert dict(zip(partial.ids, _texts(partial), strict=True)) == {i: t for i, t in texts.items() if i not in lost}
    for row, item in enumerate(partial.ids):
        assert partial.labels[row].argmax() == int(item[4:]) % 3
    if bad:
        assert partial.revision != whole.revision and partial.split_digest != whole.split_digest
        assert partial.subset in partial.rules.items and f"{N - len(bad)} of them with a picture" in partial.rules.items


def _texts(dataset: Prepared) -> list[str]:
    return [str(dataset.raw("text")[row]) for row in range(len(dataset))]


@settings(max_examples=10)
@given(order=st.permutations(range(N)))
def test_a_split_by_id_survives_another_order_of_rows(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("data") / "small"
    small(folder)
    before = Small("by-id@1", folder)
    small(folder, order=order)
    after = Small("by-id@1", folder)
    assert sides(after) == sides(before)
    assert dict(zip(after.ids, _texts(after), strict=True)) == dict(zip(before.ids, _texts(before), strict=True))


def test_pictures_that_were_moved_away_are_told_with_what_to_do(tmp_path: Path) -> None:
    small(tmp_path / "gone" / "small")
    folder = tmp_path / "small"
    (tmp_path / "gone" / "small").rename(folder)
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(DataError, match=r"its pictures lay below .*gone, which is gone; put them back there, or"):
        _ = Small(None, folder).views


# --- imported ---------------------------------------------------------------------------------------------------


def own(path: Path, n: int = N, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {
        "image": rng.normal(size=(n, 6)),
        "text": rng.normal(size=(n, 5)),
        "labels": np.eye(3, dtype=np.uint8)[np.arange(n) % 3],
    }
    np.savez(path, **{name: value for name, value in (content | changes).items() if value is not None})
    return path


def imported(files: list[Path], **wanted: Any) -> Path:
    return import_files(files, Wanted(name="own", **wanted), lambda *_: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "expected two views or more, found image alone"),
        ({"n": FEWEST - 1}, f"expected at least {FEWEST} items"),
        ({"labels": np.zeros((N, 3), np.uint8)}, "expected items with labels, found 60 without any"),
        ({"text": np.full((N, 5), np.nan)}, "text: expected finite numbers, found nan at item 0, number 0"),
        ({"class_names": np.array(["a", "b", "a"])}, "expected 3 different ones, none empty, found 'a'"),
        ({"class_names": np.array(["a", "", "b"])}, "expected 3 different ones, none empty, found ''"),
        (
            {"query": np.arange(10), "database": np.arange(9, N)},
            "row9: expected on one side, found among the query and the database items, as 1 items",
        ),
        (
            {"query": np.arange(10), "database": np.arange(10, N), "train": np.arange(8, 30)},
            "row8: expected on one side, found among the query and the train items, as 2 items",
        ),
    ],
)
def test_what_makes_no_data_set_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        imported([own(tmp_path / "x.npz", **changes)])
    assert not data_dir().exists()


def test_a_folder_stands_for_the_files_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    with pytest.raises(DataError, match=r"files: expected files that end in \.mat.*found none"):
        imported([folder])
    (folder / "README.md").write_text("About these files.")
    rng = np.random.default_rng(0)
    savemat(folder / "mirflickr25k-iall.mat", {"FAll": rng.normal(size=(N, 6))})
    savemat(folder / "mirflickr25k-yall.mat", {"YAll": rng.normal(size=(N, 5))})
    savemat(folder / "mirflickr25k-lall.mat", {"LAll": np.eye(3)[np.arange(N) % 3]})
    assert sorted(catalogue.open_dataset(imported([folder]).name).views) == ["image", "text"]


def test_what_was_imported_is_verified_against_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own(tmp_path / "x.npz")
    folder = imported([Path("x.npz")])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verify(None, folder, lambda *_: None) == []
    own(tmp_path / "x.npz", n=N + 1)
    (changed,) = verify(None, folder, lambda *_: None)
    assert changed.startswith(f"{tmp_path}/x.npz: changed since it was prepared")
    (tmp_path / "x.npz").unlink()
    assert verify(None, folder, lambda *_: None) == [f"{tmp_path}/x.npz: missing"]


@pytest.fixture
def like_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of the field with sixty items and three classes."""
    monkeypatch.setattr("hashbench.registry.datasets.get", lambda name: Small)


@pytest.mark.usefixtures("like_small")
def test_protocols_of_the_field_are_borrowed_with_their_rows(tmp_path: Path) -> None:
    strings = np.array([f"words of {row}" for row in range(N)])
    folder = imported([own(tmp_path / "x.npz", text=strings)], like="small")
    opened = Imported(None, folder)
    assert list(opened.protocols) == ["own@1", "permuted@1", "last@1", "per-class@1"], "ids are others here: none by id"
    for plan in Small.plans[1:3]:
        small(tmp_path / "small")
        field, ours = Small(plan.id, tmp_path / "small"), Imported(plan.id, folder)
        for side in ("query", "database", "train"):
            assert np.array_equal(getattr(ours.split, side), getattr(field.split, side))
    with pytest.raises(UsageError, match="--like small: none of its item sets has 61 items and 3 classes"):
        imported([own(tmp_path / "x.npz", n=N + 1)], like="small")


def test_protocols_that_differ_by_their_words_are_one_where_texts_are_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twice(Prepared):
        name = "twice"
        plans = tuple(
            Plan(id=f"{rule}@1", recipe=Small.plans[0].recipe, split=Small.plans[1].split, words=Words(rule=rule))
            for rule in ("first", "all")
        )

    monkeypatch.setattr("hashbench.registry.datasets.get", lambda name: Twice)
    assert list(Imported(None, imported([own(tmp_path / "x.npz")], like="twice")).protocols) == ["own@1", "first@1"]
    strings = np.array([f"words of {row}" for row in range(N)])
    folder = imported([own(tmp_path / "x.npz", text=strings)], like="twice")
    assert list(Imported(None, folder).protocols) == ["own@1", "first@1", "all@1"]


def test_sides_of_the_files_come_first(tmp_path: Path) -> None:
    query, database = np.arange(10), np.arange(10, N)
    opened = Imported(None, imported([own(tmp_path / "x.npz", query=query, database=database)]))
    assert list(opened.protocols) == ["own-as-given@1", "own-validation@1", "own@1"]
    assert opened.split.query.tolist() == query.tolist() and opened.split.train.tolist() == database.tolist()


@pytest.mark.skipif(not (SHARED / "mirflickr25k_dcmh_mat").is_dir(), reason="the field's .mat files are not here")
def test_labels_and_tags_alone_are_one_view() -> None:
    files = [SHARED / "mirflickr25k_dcmh_mat" / f"mirflickr25k-{of}all.mat" for of in "ly"]
    with pytest.raises(DataError, match=r"found text alone; name the file that has the other, too .*FAll, IAll or im"):
        imported(files, like="mirflickr25k")
