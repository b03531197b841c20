"""coco: what the annotation files say is what is read, whichever year lies there; damaged files are refused by name."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench.data import tiny
from hashbench.data.prepare import Choices, make_tiny, prepare, verify
from hashbench.data.sources import Sources
from hashbench.data.splits import Items
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.registry import datasets
from hashbench.testing import check_dataset

Coco: Any = datasets.get("coco")
module: Any = sys.modules[Coco.__module__]
LISTS = Path(__file__).parents[2] / "../shared/data/coco_hashnet_lists"
ITEMS = 120


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    make_tiny(Coco, tmp_path / "coco", ITEMS)
    return tmp_path / "coco"


def _read(root: Path) -> Table:
    return Coco.read(Sources(root), ITEMS)


def _prepared(root: Path) -> None:
    prepare(Coco, root, Choices(name="coco"), lambda *_: None)


def _change(root: Path, name: str, change: Callable[[Any], object]) -> None:
    path = root / "annotations" / name
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _as_2014(root: Path) -> None:
    """The same pictures under the names of 2014, and every third of them in val."""
    for kind in ("instances", "captions"):
        old = [root / "annotations" / f"{kind}_{part}2017.json" for part in ("train", "val")]
        documents = [json.loads(path.read_text()) for path in old]
        for path in old:
            path.unlink()
        for part in ("train", "val"):
            new: dict[str, Any] = {"categories": documents[0].get("categories", [])}
            for key, image in (("images", "id"), ("annotations", "image_id")):
                entries = [entry for document in documents for entry in document[key]]
                new[key] = [entry for entry in entries if (entry[image] % 3 == 0) == (part == "val")]
            for entry in new["images"]:
                entry["file_name"] = f"COCO_{part}2014_{entry['id']:012d}.jpg"
            (root / "annotations" / f"{kind}_{part}2014.json").write_text(json.dumps(new))
    for picture in sorted(root.glob("*2017/*.jpg")):
        part = "val" if int(picture.stem) % 3 == 0 else "train"
        (root / f"{part}2014").mkdir(exist_ok=True)
        picture.rename(root / f"{part}2014" / f"COCO_{part}2014_{picture.name}")


def test_what_is_read_is_what_was_drawn(root: Path) -> None:
    table = _read(root)
    labels = tiny.labels(ITEMS, len(module.TINY))
    labels[module.NO_OBJECT] = 0
    assert list(table.ids) == [f"{9 + 7 * item:012d}" for item in range(ITEMS)] == sorted(table.ids)
    assert table.class_names == tuple(module.TINY.values()) and "street light" in table.class_names
    assert np.array_equal(table.labels, labels)
    for item, picture in zip(table.ids, table.images, strict=True):
        assert (root / picture).is_file() and picture.endswith(f"{item}.jpg")


def test_captions_stand_in_the_order_of_their_ids_without_blank_ones(root: Path) -> None:
    table = _read(root)
    raw = [json.loads((root / f"annotations/captions_{part}2017.json").read_text()) for part in ("train", "val")]
    for row, item in enumerate(table.ids):
        own = [each for document in raw for each in document["annotations"] if each["image_id"] == int(item)]
        texts = [" ".join(each["caption"].split()) for each in sorted(own, key=lambda each: each["id"])]
        assert list(table.captions[row]) == [text for text in texts if text]
    assert table.captions[module.NO_CAPTION] == ()
    assert table.captions[module.ODD_CAPTIONS][0] == "A café at the corner."
    assert len(table.captions[module.ODD_CAPTIONS]) == 4


def test_both_years_are_the_same_items_and_the_same_default_split(root: Path, tmp_path: Path) -> None:
    now, folder = _read(root), tmp_path / "data" / "coco"
    _prepared(root)
    new = Coco()
    digests = new.split_digest, new.revision, [new.views["text"][row] for row in range(len(new))]
    listed = Coco("coco-a-mith@1")
    assert len(listed.split.query)
    _as_2014(root)
    old = _read(root)
    assert (old.ids, old.captions, old.class_names) == (now.ids, now.captions, now.class_names)
    assert np.array_equal(old.labels, now.labels)
    assert not any("2017" in picture for picture in old.images) and all((root / p).is_file() for p in old.images)
    _prepared(root)
    again = Coco(folder=folder)
    assert (again.split_digest, again.revision, [again.views["text"][row] for row in range(len(again))]) == digests
    for protocol in ("coco-a-mith@1", "coco-b-dchmt@1"):
        with pytest.raises(DataError, match=r"do not say which items are train2017.*row order is not known"):
            _ = Coco(protocol).split


def test_pictures_of_the_other_year_and_in_zips_serve_as_well(root: Path) -> None:
    before = _read(root)
    for part in ("train", "val"):
        with zipfile.ZipFile(root / f"{part}2014.zip", "w") as archive:
            for picture in sorted((root / f"{part}2017").iterdir()):
                archive.write(picture, f"{part}2014/COCO_{part}2014_{picture.name}")
                picture.unlink()
    with zipfile.ZipFile(root / "annotations_trainval2017.zip", "w") as archive:
        for path in sorted((root / "annotations").iterdir()):
            archive.write(path, f"annotations/{path.name}")
            path.unlink()
    after = _read(root)
    assert after.digests() == before.digests()
    assert all(".zip!/" in picture for picture in after.images)
    _prepared(root)
    assert Coco().views["image"][0].size == (64, 48)


@pytest.mark.parametrize("protocol", Coco.protocols)
def test_every_protocol_keeps_the_contract(root: Path, protocol: str) -> None:
    _prepared(root)
    assert check_dataset(Coco, protocol).failures == {}


def test_nothing_has_changed_until_something_has(root: Path, tmp_path: Path) -> None:
    _prepared(root)
    assert verify(Coco, tmp_path / "data" / "coco", lambda *_: None) == []
    _change(root, "captions_val2017.json", lambda d: d["annotations"][0].update(caption="Another one."))
    changed = verify(Coco, tmp_path / "data" / "coco", lambda *_: None)
    assert len(changed) == 1 and "captions_val2017.json: changed since" in changed[0]


INSTANCES, CAPTIONS = "instances_train2017.json", "captions_train2017.json"
TAMPERED: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "no list": (INSTANCES, lambda d: d.pop("annotations"), "expected a list 'annotations'"),
    "a category from 0": (
        INSTANCES,
        lambda d: d["categories"][0].update(id=0),
        "categories 1: .*from 1, found 'person'",
    ),
    "a category twice": (
        INSTANCES,
        lambda d: d["categories"][1].update(name="Person"),
        "categories 2: expected another",
    ),
    "an image twice": (INSTANCES, lambda d: d["images"].append(d["images"][0]), "image 9 stands there twice"),
    "an image id in words": (INSTANCES, lambda d: d["images"][2].update(id="23"), r"images 3: expected id \(int\)"),
    "another picture's file": (
        INSTANCES,
        lambda d: d["images"][0].update(file_name="000000000016.jpg"),
        "images 1: expected the file of image 9, found '000000000016.jpg'",
    ),
    "an unknown image": (
        INSTANCES,
        lambda d: d["annotations"][1].update(image_id=8),
        "annotations 2: image 8 is not among its images",
    ),
    "an unknown category": (
        INSTANCES,
        lambda d: d["annotations"][0].update(category_id=4),
        "annotations 1, image 9: there is no category 4",
    ),
    "no category": (INSTANCES, lambda d: d["annotations"][0].pop("category_id"), "annotations 1: expected image_id"),
    "a caption of an unknown image": (
        CAPTIONS,
        lambda d: d["annotations"][4].update(image_id=37),
        f"annotations 5: image 37 is not in {INSTANCES}",
    ),
    "a caption that is no text": (CAPTIONS, lambda d: d["annotations"][0].update(caption=None), r"caption \(str\)"),
    "an image in both parts": (
        "instances_val2017.json",
        lambda d: d["images"].append({"id": 9, "file_name": "000000000009.jpg"}),
        "image 9 is in the other file, too",
    ),
    "other categories in val": (
        "instances_val2017.json",
        lambda d: d["categories"].pop(),
        "its categories differ|no cat",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_files_are_refused_by_name(root: Path, case: str) -> None:
    name, change, message = TAMPERED[case]
    _change(root, name, change)
    with pytest.raises(DataError, match=message) as caught:
        _read(root)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [INSTANCES, CAPTIONS])
def test_half_a_file_and_another_encoding_are_refused(root: Path, name: str) -> None:
    path = root / "annotations" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{name} line 1 column \d+: damaged JSON"):
        _read(root)
    path.write_bytes(whole.replace(b"a", "é".encode("latin-1"), 1))
    with pytest.raises(DataError, match=f"{name}: no JSON in UTF-8"):
        _read(root)


def test_a_missing_file_is_named_with_where_it_comes_from(root: Path) -> None:
    (root / "annotations" / "captions_val2017.json").unlink()
    with pytest.raises(DataError, match=r"found no captions_val2017.json.*cocodataset.org"):
        _read(root)


def test_a_missing_picture_is_named(root: Path) -> None:
    (root / "train2017" / "000000000016.jpg").unlink()
    with pytest.raises(DataError, match=r"1 pictures cannot be used: train2017/000000000016.jpg: missing"):
        _prepared(root)


def test_presets_draw_the_rows_of_the_field() -> None:
    found = {}
    for plan in Coco.plans:
        if plan.fingerprint:
            n = plan.recipe.items
            labels = np.zeros((n, 1), np.uint8)
            drawn = plan.split.draw(Items(ids=[str(row) for row in range(n)], labels=labels, given={}))
            assert (len(drawn.query), len(drawn.train), len(drawn.database)) == (5000, 10_000, 117_218)
            found[plan.id] = drawn.fingerprint()
            assert plan.fingerprint == found[plan.id]
    assert found == {"coco-a-mith@1": "2faac8207c275838", "coco-b-dchmt@1": "cf656a0dd1b37d4e"}


def test_rows_of_the_presets_are_train2017_and_then_val2017(root: Path) -> None:
    table = _read(root)
    rows, labels, _ = module.IN_TWO_LISTS.select(table)
    ids = [table.ids[row] for row in rows]
    parts = {part: sorted(path.stem for path in (root / f"{part}2017").iterdir()) for part in ("train", "val")}
    assert ids == [item for item in [*parts["train"], *parts["val"]] if item != table.ids[module.NO_OBJECT]]
    assert np.array_equal(labels, table.labels[rows])


@pytest.mark.skipif(not LISTS.is_dir(), reason="the HashNet lists of COCO are not on this machine")
def test_real_labels_of_15000_pictures_survive_the_layout_of_2014(tmp_path: Path) -> None:
    """HashNet's lists name pictures of 2014 with 80 labels; written as annotations they come back as they were."""
    wanted: dict[int, list[int]] = {}
    instances: dict[str, Any] = {part: {"images": [], "annotations": []} for part in ("train", "val")}
    for name, count in (("train.txt", 10_000), ("test.txt", 5000)):
        lines = (LISTS / name).read_text().splitlines()
        assert len(lines) == count
        for line in lines:
            picture, *values = line.split()
            image = int(picture[-16:-4])
            assert image not in wanted and len(values) == 80 and re.fullmatch(r"(train|val)2014/COCO_.*", picture)
            wanted[image] = [at for at, value in enumerate(values) if value == "1"]
            document = instances[picture.split("2014/")[0]]
            document["images"].append({"id": image, "file_name": picture.split("/")[1]})
            for label in wanted[image]:
                document["annotations"].append({"image_id": image, "category_id": label + 1 + (label > 10)})
    (tmp_path / "annotations").mkdir()
    for part, document in instances.items():
        document["categories"] = [{"id": at + 1 + (at > 10), "name": f"kind {at}"} for at in range(80)][::-1]
        (tmp_path / f"annotations/instances_{part}2014.json").write_text(json.dumps(document))
        caption = {"id": 1, "image_id": document["images"][0]["id"], "caption": "One."}
        (tmp_path / f"annotations/captions_{part}2014.json").write_text(json.dumps({"annotations": [caption]}))
    table = Coco.read(Sources(tmp_path), 15_000)
    assert table.labels.shape == (15_000, 80) and table.class_names == tuple(f"kind {at}" for at in range(80))
    assert [np.flatnonzero(row).tolist() for row in table.labels] == [wanted[int(item)] for item in table.ids]
    assert table.labels.any(axis=1).all() and 2.8 < table.labels.sum(axis=1).mean() < 3.1
    assert table.images[0].startswith(("train2014/COCO_train2014_", "val2014/COCO_val2014_"))
