"""coco: MS-COCO, photographs of everyday scenes with five or more captions each and 80 kinds of objects.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; captions: Chen et al., "Microsoft COCO Captions",
2015. Served by images.cocodataset.org. Annotations are CC BY 4.0, the pictures are under Flickr's terms of use.

Traps:

- 2014 and 2017 are the same 123,287 pictures, dealt otherwise to train and val. Ids here are the bare numbers, rows
  ascend, and both years come to the same items and the same default split.
- 1,069 pictures show none of the 80 objects; the field leaves them out, which gives 122,218. Crowds count as objects.
- Category ids run to 90 with gaps; columns are in ascending order of the ids.
- The field permutes row numbers. Its rows are train2017 by ascending id, then val2017 likewise: the same seed over
  one ascending list is another split. Only the annotations of 2017 say which item stands where.
- The captions of an item stand in no fixed order; here they are ordered by their own ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hashbench.data import tiny
from hashbench.data.fetch import Download
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan, Recipe, Words
from hashbench.data.sources import Sources
from hashbench.data.splits import ById, Permuted
from hashbench.data.table import Table
from hashbench.errors import DataError

ALL = Recipe(name="coco-123287", items=123_287, labelled=False)
WITH_OBJECT = Recipe(name="coco-122218", items=122_218)
IN_TWO_LISTS = Recipe(name="coco-122218-two-lists", items=122_218, lists=("train2017", "val2017"))
OURS = ById(query=5000, validation=2000, train=10_000)

HOST = "http://images.cocodataset.org"
PARTS = ("train", "val")
KEYS = {"images", "annotations", "categories", "id", "image_id", "category_id", "name", "caption", "file_name"}
"""What is looked at; outlines and all else are dropped while a file is read, which would take gigabytes."""


class Coco(Official):
    """Photographs, their captions, and which of 80 kinds of objects they show."""

    name = "coco"
    title = "MS-COCO (Lin et al., ECCV 2014)"
    licence = "annotations CC BY 4.0; pictures under the terms of use of Flickr"
    layout = (
        "Expected annotations/{instances,captions}_{train,val}2017.json from annotations_trainval2017.zip and the "
        "pictures from train2017.zip and val2017.zip, or the same of 2014, unpacked or as zips, from cocodataset.org"
    )
    downloads = (
        Download(
            (f"{HOST}/annotations/annotations_trainval2017.zip",),
            "annotations_trainval2017.zip",
            md5="f4bbac642086de4f52a3fdda2de5fa2c",
        ),
        Download((f"{HOST}/zips/val2017.zip",), "val2017.zip", md5="442b8da7639aecaf257c1dceb8ba8c80"),
        Download((f"{HOST}/zips/train2017.zip",), "train2017.zip", md5="cced6f7f71b7629ddf16f17bbcfab6b2"),
        # 2014 holds the same once more: compared where it lies, never fetched. Its checksums have a single source.
        Download((), "annotations_trainval2014.zip", md5="0a379cfc70b0e71301e0f377548639bd"),
        Download((), "val2014.zip", md5="a3d79f5ed8d289b7a7554ce06a5782b3"),
        Download((), "train2014.zip", md5="0da8cfa0e090c266b78f30e2d2874f1a"),
    )
    expected = Expected(items=123_287, class_count=80)
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(id="coco@1", recipe=WITH_OBJECT, split=OURS),
        Plan(id="coco-all@1", recipe=WITH_OBJECT, split=OURS, words=Words(rule="all")),
        Plan(id="coco-random@1", recipe=WITH_OBJECT, split=OURS, words=Words(rule="random")),
        Plan(
            id="coco-123287@1",
            recipe=ALL,
            split=OURS,
            note="keeps the 1,069 pictures without an object, which are relevant to nothing",
        ),
        Plan(
            id="coco-a-mith@1",
            recipe=IN_TWO_LISTS,
            split=Permuted(seed=1, query=5000, train=10_000),
            note="MITH; the row order is assumed to be that of DCHMT's files, and which caption it fixed is not known",
            fingerprint="2faac8207c275838",
        ),
        Plan(
            id="coco-b-dchmt@1",
            recipe=IN_TWO_LISTS,
            split=Permuted(seed=1814, query=5000, train=10_000),
            words=Words(rule="random"),
            note="DCHMT, QinLab, DSPH; they draw a caption anew at every access, here each item keeps one",
            fingerprint="cf656a0dd1b37d4e",
        ),
        Plan(
            id="coco-e-deephash@1",
            recipe=WITH_OBJECT,
            split=ById(query=5000, validation=0, train=10_000),
            metric="map@5000/hits",
            note="counts and metric of HashNet and DeepHash; their lists name other items, and there is no validation",
        ),
    )

    @classmethod
    def read(cls, sources: Sources, items: int) -> Table:
        there = [year for year in (2017, 2014) if sources.find(_file("instances", "train", year))]
        year = there[0] if there else 2017  # 2017 also says in which rows the field permutes
        names: dict[int, str] = {}
        lists: dict[str, list[int]] = {}
        objects: dict[int, set[int]] = {}
        captions: dict[int, list[tuple[int, str]]] = {}
        for part in PARTS:
            own, shown = _instances(sources, part, year, cls.layout)
            if names and own != names:
                raise DataError(f"{_file('instances', part, year)}: its categories differ from those of the other file")
            if twice := objects.keys() & shown.keys():
                raise DataError(f"{_file('instances', part, year)}: image {min(twice)} is in the other file, too")
            names = own
            lists[f"{part}{year}"] = sorted(shown)
            objects |= shown
            captions |= _captions(sources, part, year, cls.layout, shown)
        ids = sorted(objects)
        row = {image: at for at, image in enumerate(ids)}
        column = {category: at for at, category in enumerate(sorted(names))}
        labels = np.zeros((len(ids), len(names)), np.uint8)
        for image, found in objects.items():
            labels[row[image], [column[category] for category in found]] = 1
        part_of = {image: part for part, images in lists.items() for image in images}
        return Table(
            ids=tuple(f"{image:012d}" for image in ids),
            class_names=tuple(names[category] for category in column),
            labels=labels,
            images=tuple(_picture(sources, image, part_of[image]) for image in ids),
            captions=tuple(tuple(text for _, text in sorted(captions.get(image, ()))) for image in ids),
            sides={part: np.array([row[image] for image in images], np.int64) for part, images in lists.items()},
        )

    @classmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """The layout of 2017; among the first items one shows no object, one a crowd, two have odd captions."""
        labels = tiny.labels(items, len(TINY))
        labels[NO_OBJECT] = 0
        categories = [{"id": category, "name": name, "supercategory": "thing"} for category, name in TINY.items()]
        instances, captions = ({part: _document() for part in PARTS} for _ in range(2))
        for document in instances.values():
            document["categories"] = categories
        for item in range(items):
            image = 9 + 7 * item
            part = "val" if item % 5 == 4 else "train"
            picture = {"id": image, "file_name": f"{image:012d}.jpg", "height": 48, "width": 64, "license": 1}
            instances[part]["images"].append(picture)
            captions[part]["images"].append(picture)
            for column in np.flatnonzero(labels[item]).tolist():
                instances[part]["annotations"].append(
                    {
                        "id": 100 * image + column,
                        "image_id": image,
                        "category_id": list(TINY)[column],
                        "segmentation": [[1.0, 1.0, 20.0, 1.0, 20.0, 20.0]],
                        "bbox": [1.0, 1.0, 19.0, 19.0],
                        "area": 180.5,
                        "iscrowd": int(item == CROWD),
                    }
                )
            words = [tiny.words(labels[item], list(TINY.values()), 10 * item + k, FILLER) for k in range(5)]
            texts = [f"A picture of {' and '.join(some)}." for some in words]
            if item == ODD_CAPTIONS:
                texts = [" \n", "A café  at\nthe corner. ", *texts[2:]]
            for k, text in reversed(list(enumerate([] if item == NO_CAPTION else texts))):
                captions[part]["annotations"].append({"id": 100 * image + k, "image_id": image, "caption": text})
            path = root / f"{part}2017" / f"{image:012d}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tiny.jpeg(labels[item], item))
        (root / "annotations").mkdir()
        for kind, documents in (("instances", instances), ("captions", captions)):
            for part, document in documents.items():
                (root / "annotations" / _file(kind, part, 2017)).write_text(json.dumps(document), "utf-8")


TINY = {1: "person", 2: "kite", 3: "rowing boat", 5: "lamp", 8: "street light", 13: "drum", 21: "goat", 90: "tea pot"}
FILLER = ("a hill", "the sea", "some rain", "a wall", "two birds")
NO_OBJECT, CROWD, NO_CAPTION, ODD_CAPTIONS = range(3, 7)


def _file(kind: str, part: str, year: int) -> str:
    return f"{kind}_{part}{year}.json"


def _document() -> dict[str, list[Any]]:
    return {"images": [], "annotations": []}


def _picture(sources: Sources, image: int, part: str) -> str:
    """The picture, whichever year lies there; where none does, the path it should have."""
    names = {f"{side}2017": f"{side}2017/{image:012d}.jpg" for side in PARTS}
    names |= {f"{side}2014": f"{side}2014/COCO_{side}2014_{image:012d}.jpg" for side in PARTS}
    return sources.find(*names.values()) or names[part]


def _instances(sources: Sources, part: str, year: int, hint: str) -> tuple[dict[int, str], dict[int, set[int]]]:
    """Category id to name, and image to the categories of its objects."""
    where, document = _load(sources, _file("instances", part, year), hint)
    names: dict[int, str] = {}
    for at, (category, name) in _entries(document, where, "categories", id=int, name=str):
        if category < 1 or category in names or name.strip().lower() in names.values() or not name.strip():
            raise DataError(f"{where}: {at}: expected another name and id, from 1, found {name!r} and {category}")
        names[category] = name.strip().lower()
    objects: dict[int, set[int]] = {}
    for at, (image, file) in _entries(document, where, "images", id=int, file_name=str):
        if image in objects:
            raise DataError(f"{where}: {at}: image {image} stands there twice")
        if not file.endswith(f"{image:012d}.jpg"):
            raise DataError(f"{where}: {at}: expected the file of image {image}, found {file!r}; the file was changed")
        objects[image] = set()
    for at, (image, category) in _entries(document, where, "annotations", image_id=int, category_id=int):
        if image not in objects:
            raise DataError(f"{where}: {at}: image {image} is not among its images; get the file again")
        if category not in names:
            raise DataError(f"{where}: {at}, image {image}: there is no category {category}; get the file again")
        objects[image].add(category)
    return names, objects


def _captions(
    sources: Sources, part: str, year: int, hint: str, images: dict[int, set[int]]
) -> dict[int, list[tuple[int, str]]]:
    """Image to the ids and texts of its captions, blank ones left out, white space made one space."""
    where, document = _load(sources, _file("captions", part, year), hint)
    captions: dict[int, list[tuple[int, str]]] = {}
    for at, (number, image, text) in _entries(document, where, "annotations", id=int, image_id=int, caption=str):
        if image not in images:
            raise DataError(f"{where}: {at}: image {image} is not in {_file('instances', part, year)}; get both again")
        if words := " ".join(text.split()):
            captions.setdefault(image, []).append((number, words))
    return captions


def _load(sources: Sources, name: str, hint: str) -> tuple[str, object]:
    """A JSON file and what it is called in messages."""
    path = sources.need(name, hint=hint)
    where = sources.named(path)
    try:
        return where, json.loads(sources.read(path), object_hook=_slim)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise DataError(f"{where} {place}: damaged JSON ({error.msg}); unpack or download it again") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{where}: no JSON in UTF-8 ({error}); unpack or download it again") from error


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key in KEYS}


def _entries(document: object, where: str, key: str, **kinds: type) -> Iterator[tuple[str, Sequence[Any]]]:
    """Where each entry of a list stands, and its values of the given names and types."""
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{where}: expected a list {key!r}, found none; it is not the official file")
    for number, entry in enumerate(entries, 1):
        values = [entry.get(name) for name in kinds] if isinstance(entry, dict) else []
        if [type(value) for value in values] != list(kinds.values()):
            wanted = ", ".join(f"{name} ({kind.__name__})" for name, kind in kinds.items())
            raise DataError(f"{where}: {key} {number}: expected {wanted}, found {str(entry)[:80]}")
        yield f"{key} {number}", values
