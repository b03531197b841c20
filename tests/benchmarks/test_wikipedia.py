"""wikipedia: lists, vectors, pictures and texts of one pair stay together; the real lists and vectors are known."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hashbench.data.prepare import Choices, make_tiny, prepare, verify
from hashbench.data.prepared import Manifest
from hashbench.data.sources import Sources
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.registry import datasets
from hashbench.testing import check_dataset

Wikipedia: Any = datasets.get("wikipedia")
module: Any = sys.modules[Wikipedia.__module__]
REAL = Path(__file__).parents[2] / "../shared/data/wikipedia_raw"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the lists and vectors of Wikipedia are not on this machine")
ITEMS = 120
TRAIN, TEST, FEATURES = "trainset_txt_img_cat.list", "testset_txt_img_cat.list", "raw_features.mat"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def root(data: Path, tmp_path: Path) -> Path:
    make_tiny(Wikipedia, tmp_path / "wikipedia", ITEMS)
    return tmp_path / "wikipedia"


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    """The real lists and vectors, to be changed."""
    shutil.copytree(REAL, tmp_path / "real", copy_function=shutil.copyfile)
    (tmp_path / "real").chmod(0o755)
    return tmp_path / "real"


def _read(root: Path) -> Table:
    return Wikipedia.read(Sources(root), ITEMS)


def _prepared(root: Path) -> Manifest:
    return prepare(Wikipedia, root, Choices(name="wikipedia"), lambda *_: None)[0]


def test_what_is_read_is_what_was_drawn(root: Path) -> None:
    table = _read(root)
    items = [int(item.split("-")[0], 16) for item in table.ids]
    train, test = [i for i in range(ITEMS) if i % 4 < 3], [i for i in range(ITEMS) if i % 4 == 3]
    assert items == train + test
    assert [items[row] for row in table.sides["query"]] == test
    assert [items[row] for row in table.sides["database"]] == [items[row] for row in table.sides["train"]] == train
    assert table.labels.argmax(1).tolist() == [item // 4 % 10 for item in items] and (table.labels.sum(1) == 1).all()
    content = loadmat(root / FEATURES)
    for view, letter in (("image", "I"), ("text", "T")):
        assert np.array_equal(table.vectors[view], np.concatenate([content[f"{letter}_tr"], content[f"{letter}_te"]]))
    for item, row, picture in zip(items, table.labels, table.images, strict=True):
        category = table.class_names[row.argmax()]
        assert picture == f"images/{category}/{7 * item + 1:032x}.jpg" and (root / picture).is_file()
    assert table.captions[items.index(module.BLANK)] == ()
    assert table.captions[items.index(module.NOT_ASCII)][0].startswith("Café & bar, ")


@pytest.mark.parametrize("protocol", Wikipedia.protocols)
def test_every_protocol_keeps_the_contract(root: Path, protocol: str) -> None:
    _prepared(root)
    assert check_dataset(Wikipedia, protocol).failures == {}


def test_the_archive_itself_is_read_as_it_is(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zipped"
    folder.mkdir()
    with zipfile.ZipFile(folder / "wikipedia_dataset.zip", "w") as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            archive.write(path, f"wikipedia_dataset/{path.relative_to(root)}")
    assert _read(folder).digests() == _read(root).digests()


def test_validation_items_are_taken_from_the_database(root: Path) -> None:
    _prepared(root)
    plain, chosen = Wikipedia().split, Wikipedia("wikipedia-validation@1").split
    assert not len(plain.validation) and np.array_equal(plain.query, chosen.query)
    assert 0 < len(chosen.validation) < 20 and np.array_equal(chosen.database, chosen.train)
    assert sorted([*chosen.database, *chosen.validation]) == plain.database.tolist()


def test_lists_and_vectors_are_enough_but_not_for_the_raw_protocol(root: Path) -> None:
    shutil.rmtree(root / "texts")
    shutil.rmtree(root / "images")
    _prepared(root)
    assert Wikipedia().views["image"].matrix.shape == (ITEMS, 128)
    with pytest.raises(
        DataError, match=r"wikipedia-raw@1: wikipedia was prepared without pictures.*--protocol wikipedia@1"
    ):
        _ = Wikipedia("wikipedia-raw@1").views


def test_one_missing_text_or_picture_is_named(root: Path) -> None:
    picture = next((root / "images").glob("*/*.jpg"))
    content = picture.read_bytes()
    picture.unlink()
    with pytest.raises(DataError, match=f"{picture.relative_to(root)}: missing"):
        _prepared(root)
    picture.write_bytes(content)
    text = next((root / "texts").iterdir())
    text.unlink()
    with pytest.raises(DataError, match=rf"found no texts/{text.name}.*unpack wikipedia_dataset\.zip again"):
        _read(root)


def _line(number: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        lines = content.split(b"\n")
        return b"\n".join([*lines[: number - 1], change(lines[number - 1]), *lines[number:]])

    return changed


TAMPERED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "a category from 0": (
        TRAIN,
        _line(3, lambda x: x[:-1] + b"0"),
        f"{TRAIN} line 3: expected a category from 1 to 10",
    ),
    "an eleventh": (TEST, _line(1, lambda x: x.rsplit(b"\t", 1)[0] + b"\t11"), f"{TEST} line 1: .*found '11'"),
    "a category in words": (TEST, _line(2, lambda x: x.rsplit(b"\t", 1)[0] + b"\tart"), "line 2: .*found 'art'"),
    "two fields": (TRAIN, _line(7, lambda x: x.rsplit(b"\t", 1)[0]), f"{TRAIN} line 7: expected text id, image id and"),
    "blanks for tabs": (TRAIN, _line(7, lambda x: x.replace(b"\t", b" ")), f"{TRAIN} line 7: expected text id"),
    "an empty line": (TRAIN, _line(5, lambda _: b""), f"{TRAIN} line 5: expected text id"),
    "a step out of the folder": (TRAIN, _line(1, lambda x: b"../" + x), f"{TRAIN} line 1: expected text id"),
    "a pair twice": (
        TRAIN,
        lambda b: b.split(b"\n")[0] + b"\n" + b,
        f"{TRAIN} line 2: text .* stands in the lists twice",
    ),
    "a line short": (TRAIN, lambda b: b[: b[:-1].rindex(b"\n") + 1], f"{TRAIN} line 89: expected 90 lines.*I_tr"),
    "a line more": (TEST, lambda b: b + b"x-1\ty\t2\n", f"{TEST} line 31: expected 30 lines.*I_te.*found 31"),
    "UTF-16": (TRAIN, lambda b: b.decode().encode("utf-16"), f"{TRAIN} line 1: UTF-16"),
    "half the vectors": (FEATURES, lambda b: b[: len(b) // 2], f"{FEATURES}: damaged, or no .mat file"),
    "a page for the vectors": (FEATURES, lambda _: b"<html>404</html>", f"{FEATURES}: damaged, or no .mat file"),
    "other categories": (
        "categories.list",
        lambda b: b.replace(b"media", b"maths"),
        "line 6: expected 'media', found 'maths'",
    ),
    "nine categories": (
        "categories.list",
        lambda b: b.replace(b"warfare\n", b""),
        "line 10: expected 'warfare', found ''",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_files_are_refused_with_their_line(root: Path, case: str) -> None:
    name, change, message = TAMPERED[case]
    (root / name).write_bytes(change((root / name).read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        _read(root)
    assert "\n" not in str(caught.value)


def test_vectors_that_lack_a_part_or_have_a_hole_are_refused(root: Path) -> None:
    content = {name: value for name, value in loadmat(root / FEATURES).items() if not name.startswith("__")}
    savemat(root / FEATURES, {name: value for name, value in content.items() if name != "T_te"})
    with pytest.raises(DataError, match=r"raw_features\.mat: T_te: expected .*, found nothing"):
        _read(root)
    holed = content["I_tr"].copy()
    holed[3, 5] = np.nan
    savemat(root / FEATURES, {**content, "I_tr": holed})
    with pytest.raises(DataError, match=r"raw_features\.mat: I_tr: expected .* all finite"):
        _read(root)
    savemat(root / FEATURES, {**content, "I_te": content["I_te"][:, :-1]})
    with pytest.raises(DataError, match="I_tr and I_te: expected as many numbers an item"):
        _read(root)


def test_a_text_that_was_cut_is_refused(root: Path) -> None:
    text = sorted((root / "texts").iterdir())[0]
    text.write_bytes(text.read_bytes().split(b"</text>")[0])
    with pytest.raises(DataError, match=rf"{text.name} line 3: expected <text> and </text>"):
        _read(root)


@real
def test_the_real_lists_and_vectors_are_prepared(data: Path) -> None:
    manifest = _prepared(REAL)
    assert not manifest.tiny and verify(Wikipedia, data / "wikipedia", lambda *_: None) == []
    for protocol, sizes in (("wikipedia@1", (693, 2173, 2173, 0)), ("wikipedia-validation@1", (693, 1973, 1973, 200))):
        opened = Wikipedia(protocol)
        split = opened.split
        assert sizes == (len(split.query), len(split.database), len(split.train), len(split.validation))
        assert opened.labels.shape == (2866, 10) and len(opened.class_names) == 10
        assert {view: source.matrix.shape for view, source in opened.views.items()} == {
            "image": (2866, 128),
            "text": (2866, 10),
        }
        assert np.allclose([source.matrix.sum(1) for source in opened.views.values()], 1, atol=1e-6)


@real
def test_the_real_categories_are_those_of_another_copy() -> None:
    table = Wikipedia.read(Sources(REAL), 2866)
    other = loadmat(REAL / "WikiData.mat")
    for side, part in (("train", "tr"), ("query", "te")):
        assert np.array_equal(table.labels[table.sides[side]], other[f"L_{part}"])
        assert np.array_equal(np.asarray(table.vectors["image"][:])[table.sides[side]], other[f"I_{part}"])


@real
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[1], lines[0], *lines[2:]], "ids: expected .*, found .*out of order"),
        (lambda lines: [lines[0].replace("\t6", "\t7"), *lines[1:]], "class 'media': expected 236 items, found 235"),
        (lambda lines: lines[:-1], r"trainset_txt_img_cat\.list line 2172: expected 2,173 lines"),
    ],
    ids=["two lines swapped", "one category changed", "one line short"],
)
def test_a_changed_real_list_is_noticed(copy: Path, change: Callable[[list[str]], list[str]], message: str) -> None:
    lines = (copy / TRAIN).read_text().splitlines()
    (copy / TRAIN).write_text("".join(f"{line}\n" for line in change(lines)))
    with pytest.raises(DataError, match=message):
        _prepared(copy)


@real
def test_swapped_real_rows_of_the_vectors_are_noticed(copy: Path) -> None:
    content = {name: value for name, value in loadmat(copy / FEATURES).items() if not name.startswith("__")}
    content["T_tr"][[0, 1]] = content["T_tr"][[1, 0]]
    savemat(copy / FEATURES, content)
    with pytest.raises(DataError, match=r"view text: expected .*, found .*rows or columns are out of order"):
        _prepared(copy)
