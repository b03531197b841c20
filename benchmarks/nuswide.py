"""nuswide: 269,648 Flickr pictures with their tags and 81 concepts, of which the field uses 21 or 10.

T.-S. Chua et al., "NUS-WIDE: A Real-World Web Image Database from National University of Singapore", CIVR 2009.

Nobody serves the pictures: copies go round, most of them with some missing, and what is there is used. The row order
is that of ``Imagelist.txt``; label files have no ids, so only ``AllLabels`` is read (one line of ``TrainTestLabels``
is -1130179), and ``AllTags81.txt``, which are users' tags, is not. Six Flickr photos stand there twice, some with
other labels; both are kept. "At least one of the 1,000 tags" is asked of ``All_Tags.txt`` and ``TagList1k.txt``:
``AllTags1k.txt``, which DCMH uses, has other tags for 16 items, but leads to the same 190,421 and 181,365 items, so
its half gigabyte is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hashbench.data import tiny
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan, Recipe, Words
from hashbench.data.sources import Sources
from hashbench.data.splits import ById, InOrder, PerClass, Permuted
from hashbench.data.table import Table
from hashbench.errors import DataError

# fmt: off
COUNTS = {
    "airport": 864, "animal": 33887, "beach": 5239, "bear": 1271, "birds": 3780, "boats": 4038, "book": 338,
    "bridge": 2337, "buildings": 17835, "cars": 1612, "castle": 537, "cat": 2376, "cityscape": 2236, "clouds": 54087,
    "computer": 591, "coral": 1601, "cow": 830, "dancing": 841, "dog": 2504, "earthquake": 63, "elk": 832,
    "fire": 1114, "fish": 1681, "flags": 386, "flowers": 8605, "food": 2685, "fox": 668, "frost": 1149,
    "garden": 2929, "glacier": 504, "grass": 22561, "harbor": 541, "horses": 1748, "house": 3916, "lake": 13392,
    "leaf": 1821, "map": 60, "military": 3340, "moon": 941, "mountain": 5099, "nighttime": 3925, "ocean": 11307,
    "person": 51577, "plane": 2663, "plants": 14345, "police": 1392, "protest": 845, "railroad": 1023, "rainbow": 420,
    "reflection": 7875, "road": 9524, "rocks": 6327, "running": 484, "sand": 2114, "sign": 1483, "sky": 74190,
    "snow": 5404, "soccer": 152, "sports": 1810, "statue": 995, "street": 2556, "sun": 3645, "sunset": 8418,
    "surf": 193, "swimmers": 495, "tattoo": 426, "temple": 1666, "tiger": 710, "tower": 2683, "town": 2344,
    "toy": 2770, "train": 951, "tree": 5352, "valley": 3843, "vehicle": 6099, "water": 35264, "waterfall": 627,
    "wedding": 1353, "whales": 399, "window": 15051, "zebra": 309,
}
# fmt: on
"""Concept to its number of items in ``AllLabels``."""

TC10 = ("animal", "buildings", "clouds", "grass", "lake", "person", "plants", "sky", "water", "window")
"""The field's ten concepts."""
_MORE = ("beach", "flowers", "mountain", "ocean", "reflection", "road", "rocks", "snow", "sunset", "tree", "vehicle")
TC21 = tuple(sorted(TC10 + _MORE))
"""The field's 21."""
COMMON_TAGS = 1_000

NUS21_195834 = Recipe(name="nus21-195834", items=195_834, classes=TC21)
NUS21_190421 = Recipe(name="nus21-190421", items=190_421, classes=TC21, tagged=True)
NUS10_186577 = Recipe(name="nus10-186577", items=186_577, classes=TC10)
NUS10_181365 = Recipe(name="nus10-181365", items=181_365, classes=TC10, tagged=True)
NUS81_209347 = Recipe(name="nus81-209347", items=209_347)

COMMON = Words(rule="vocabulary")
RAW = Words(rule="tags")
_AS_LISTED = "rows in the order of Imagelist.txt is assumed"

_PICTURE = re.compile(r"(?:.*[\\/])?([^\\/]+)[\\/]([0-9]+_([0-9]+))\.jpg\s*")
"""Folder, stem and Flickr id of ``actor\\0001_2124494179.jpg``, with ``C:\\ImageData\\Flickr\\`` before it or not."""


class NusWide(Official):
    """Pictures, tags and 81 concepts; five item sets and the protocols that the field measures on them."""

    name = "nuswide"
    licence = "for research; the pictures belong to their authors on Flickr, under the terms of each"
    title = "NUS-WIDE (Chua et al., CIVR 2009)"
    layout = (
        "Below the root, in folders or zips: ImageList/Imagelist.txt, Groundtruth/AllLabels/Labels_<concept>.txt (81), "
        "ConceptsList/Concepts81.txt, NUS_WID_Tags/All_Tags.txt, NUS_WID_Tags/TagList1k.txt; and pictures such as "
        "Flickr/actor/0001_2124494179.jpg in any folder, with or without that of the concept. Its page "
        "(lms.comp.nus.edu.sg, NUS-WIDE.html) gives the lists and the form by which the pictures are asked for"
    )
    expected = Expected(items=269_648, classes=COUNTS)
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(
            id="nuswide@1",
            recipe=NUS21_195834,
            split=ById(query=2_100, validation=2_000, train=10_500),
            words=COMMON,
            note="our own: the field's items and sizes, drawn by id so that they survive any order of rows",
        ),
        Plan(
            id="nus-a-dcmh@1",
            recipe=NUS21_195834,
            split=InOrder(query=2_100, train=10_500),
            words=COMMON,
            note=f"DCMH in Python and its descendants; {_AS_LISTED}",
        ),
        Plan(
            id="nus-a-wang@1",
            recipe=NUS21_195834,
            split=Permuted(seed=7, query=2_100, train=10_500),
            words=COMMON,
            fingerprint="487115b8f734678c",
            note=f"WangGodder's deep-cross-modal-hashing; its number of items is assumed, and {_AS_LISTED}",
        ),
        Plan(
            id="nus-a-mith@1",
            recipe=NUS21_190421,
            split=Permuted(seed=1, query=2_100, train=10_500),
            words=COMMON,
            fingerprint="0406dccd25a1438d",
            note=f"MITH; the strings that it gives to CLIP hold common tags alone; {_AS_LISTED}",
        ),
        Plan(
            id="nus-b-dchmt@1",
            recipe=NUS21_195834,
            split=Permuted(seed=1814, query=2_100, train=10_500),
            words=RAW,
            fingerprint="b9383635beb9a69a",
            note=f"DCHMT; its number of items is assumed, and {_AS_LISTED}",
        ),
        Plan(
            id="nus-b-dsph@1",
            recipe=NUS21_195834,
            split=Permuted(seed=1814, query=5_000, train=10_000),
            words=RAW,
            note=f"DSPH, DNPH and TwDH; {_AS_LISTED}",
        ),
        Plan(
            id="nus-c-djsrh@1",
            recipe=NUS10_186577,
            split=PerClass(query=(200, 200), train=(500, 500), query_total=2_000, train_total=5_000),
            words=COMMON,
            metric="map@50/hits",
            note="DJSRH, JDSH, DGCPN and CIRH; they draw without a seed, anew in every run, and this is one such draw",
        ),
        Plan(
            id="nus-d-ucch@1",
            recipe=NUS10_186577,
            split=InOrder(query=2_100, train=None, queries="last"),
            words=COMMON,
            note=f"UCCH, which trains on the whole database; {_AS_LISTED}",
        ),
        Plan(
            id="nus-e-deephash@1",
            recipe=NUS21_195834,
            split=Permuted(seed=1, query=2_100, train=10_500),
            words=RAW,
            metric="map@5000/hits",
            note="the sizes of DeepHash-pytorch, for pictures alone; its own lists, which lack items, are not used",
        ),
        Plan(
            id="nuswide-10-tagged@1",
            recipe=NUS10_181365,
            split=ById(query=2_000, validation=2_000, train=5_000),
            words=COMMON,
            note="our own, on ten concepts: every item has a label and a common tag",
        ),
        Plan(
            id="nuswide-81@1",
            recipe=NUS81_209347,
            split=ById(query=5_000, validation=2_000, train=10_000),
            words=COMMON,
            note="our own, on all 81 concepts",
        ),
    )

    @classmethod
    def read(cls, sources: Sources, items: int) -> Table:
        """See :meth:`Official.read`. Ids are stems, ``0001_2124494179``; one that comes again ends with ``-2``."""
        path = sources.need("Imagelist.txt", "ImageList.txt", hint=cls.layout)
        listed = [_PICTURE.fullmatch(line) for line in _lines(sources, path, items)]
        if None in listed:
            line = listed.index(None) + 1
            raise DataError(f"{sources.named(path)} line {line}: expected a picture such as actor\\0001_2124494179.jpg")
        entries = [entry.groups() for entry in listed if entry]
        images = tuple(sources.find(f"{folder}/{stem}.jpg", f"{stem}.jpg") or "" for folder, stem, _ in entries)
        if not any(images):
            raise DataError(f"{sources.root}: found no picture such as {entries[0][1]}.jpg. {cls.layout}")
        names = _concepts(sources, cls.layout)
        seen: Counter[str] = Counter()
        ids = []
        for _, stem, _ in entries:
            seen[stem] += 1
            ids.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
        common = sources.need("TagList1k.txt", hint=cls.layout)
        count = COMMON_TAGS if items == cls.expected.items else None
        return Table(
            ids=tuple(ids),
            class_names=names,
            labels=_labels(sources, names, items, cls.layout),
            images=images,
            captions=_captions(sources, [flickr for _, _, flickr in entries], cls.layout),
            vocabulary=tuple(line.strip() for line in _lines(sources, common, count)),
        )

    @classmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """See :meth:`Official.make_tiny`. Items lack a label, a tag, a common tag or a picture; one is there twice."""
        names = tuple(COUNTS)
        labels = tiny.labels(items, len(names))
        labels[:, [names.index(name) for name in TC21]] |= tiny.labels(items, len(TC21), seed=1)
        labels[11::13] *= ~np.isin(names, TC21)
        labels[18::19] = 0
        lists, truth = root / "ImageList", root / "Groundtruth" / "AllLabels"
        concepts, tagged = root / "ConceptsList", root / "NUS_WID_Tags"
        for folder in (lists, truth, concepts, tagged):
            folder.mkdir(parents=True)
        _write_lines(concepts / "Concepts81.txt", list(names))
        for column, name in enumerate(names):
            _write_lines(truth / f"Labels_{name}.txt", [str(value) for value in labels[:, column].tolist()])
        listed, lines = [], []
        counts: Counter[str] = Counter()
        for row in range(items):
            group, flickr = ("actor", "zoo")[row % 2], 2_124_494_179 + 7 * (row % (items - 1))
            name = f"{row // 2 + 1:04}_{flickr}.jpg"
            listed.append(f"{group}\\{name}")
            words = list(dict.fromkeys(tiny.words(labels[row], names, row, ("köln", "explore", "nature"))))
            words = [] if row % 23 == 22 else [f"rare{row}"] if row % 29 == 28 else words
            counts.update(words)
            lines.append(" ".join([str(flickr), *words]))
            if row % 10 != 9:
                (root / "Flickr" / group).mkdir(parents=True, exist_ok=True)
                (root / "Flickr" / group / name).write_bytes(tiny.jpeg(labels[row], row))
        _write_lines(lists / "Imagelist.txt", listed)
        _write_lines(tagged / "All_Tags.txt", lines)
        _write_lines(tagged / "TagList1k.txt", [word for word, count in counts.most_common() if count > 1])


def _lines(sources: Sources, path: str, count: int | None) -> list[str]:
    """All lines of a file that must have so many, where that is known."""
    lines = sources.lines(path)
    if count is not None and len(lines) != count:
        raise _miscounted(sources, path, len(lines), count)
    return lines


def _miscounted(sources: Sources, path: str, found: int, count: int) -> DataError:
    line = min(found, count) + 1
    return DataError(
        f"{sources.named(path)} line {line}: expected {count:,} lines, found {found:,}; get the file again"
    )


def _concepts(sources: Sources, hint: str) -> tuple[str, ...]:
    path = sources.need("Concepts81.txt", hint=hint)
    names = tuple(line.strip() for line in _lines(sources, path, len(COUNTS)))
    for number, name in enumerate(names, 1):
        if name not in COUNTS or name in names[: number - 1]:
            raise DataError(f"{sources.named(path)} line {number}: expected the 81 concepts, each once, found {name!r}")
    return names


def _labels(sources: Sources, names: tuple[str, ...], items: int, hint: str) -> NDArray[np.uint8]:
    """(items, 81), one file a column."""
    labels = np.empty((items, len(names)), np.uint8)
    for column, name in enumerate(names):
        path = sources.need(f"AllLabels/Labels_{name}.txt", hint=hint)
        values = sources.numbers(path, low=0, high=1)
        if len(values) != items:
            raise _miscounted(sources, path, len(values), items)
        labels[:, column] = values
    return labels


def _captions(sources: Sources, flickr: list[str], hint: str) -> tuple[tuple[str, ...], ...]:
    """The tags of every item, as one text; lines begin with its Flickr id, which shows where rows are out of order."""
    path = sources.need("All_Tags.txt", hint=hint)
    captions: list[tuple[str, ...]] = []
    for number, (line, expected) in enumerate(zip(_lines(sources, path, len(flickr)), flickr, strict=True), 1):
        found, *words = line.split() or [""]
        if found != expected:
            raise DataError(
                f"{sources.named(path)} line {number}: expected the tags of {expected}, which Imagelist.txt has there, "
                f"found {found!r}: rows out of order; get both files again"
            )
        captions.append((" ".join(words),) if words else ())
    return tuple(captions)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="")
