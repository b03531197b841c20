"""mirflickr25k: 25,000 Flickr pictures with their tags and 24 labels; the field's first data set.

M. J. Huiskes, M. S. Lew, "The MIR Flickr Retrieval Evaluation", MIR 2008; https://press.liacs.nl/mirflickr.

The official place serves two zips, which may stay packed. Of the 38 label files 24 are "potential" labels, which
the field calls the labels of this data set, and 14 (``_r1``) are "relevant" ones, contained in them but for four
people. Files count images from 1, rows from 0. Lines end with CR LF as they were packed; LF is read as well. Half of
all pairs share a label: the mean average precision of random codes is 0.55.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hashbench.data import tiny
from hashbench.data.fetch import Download
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan, Recipe, Words
from hashbench.data.sources import Sources
from hashbench.data.splits import Apart, ById, InOrder, PerClass, Permuted
from hashbench.data.table import Table
from hashbench.errors import DataError

# fmt: off
COUNTS = {
    "animals": 3216, "baby": 259, "baby_r1": 116, "bird": 742, "bird_r1": 484, "car": 1177, "car_r1": 380,
    "clouds": 3700, "clouds_r1": 1350, "dog": 684, "dog_r1": 590, "female": 6184, "female_r1": 3982, "flower": 1823,
    "flower_r1": 1077, "food": 990, "indoor": 8313, "lake": 791, "male": 6081, "male_r1": 3647, "night": 2711,
    "night_r1": 669, "people": 10373, "people_r1": 7849, "plant_life": 8763, "portrait": 3931, "portrait_r1": 3829,
    "river": 894, "river_r1": 149, "sea": 1322, "sea_r1": 214, "sky": 7912, "structures": 9992, "sunset": 2135,
    "transport": 2895, "tree": 4683, "tree_r1": 668, "water": 3331,
}
# fmt: on
"""Label file to its number of images, in the order of the file names, which is the order of the columns."""


def class_name(file: str) -> str:
    """The class in words: ``plant_life`` is "plant life", ``baby_r1`` is "baby r1"."""
    return file.replace("_", " ")


CLASSES = tuple(class_name(file) for file in COUNTS if not file.endswith("_r1"))
COMMON_TAGS = 1_386

MIR_20015 = Recipe(name="mir-20015", items=20_015, classes=CLASSES, tagged=True)
MIR_24581 = Recipe(name="mir-24581", items=24_581, classes=CLASSES, order="by id as text")
MIR_25000_38 = Recipe(name="mir-25000-38", items=25_000, labelled=False)

COMMON = Words(rule="vocabulary")
RAW = Words(rule="tags")
_NO_TAGS = 'an item without tags has an empty text here, "123456" there'


class Mirflickr25k(Official):
    """Pictures, tags and 24 labels; three item sets and the protocols that the field measures on them."""

    name = "mirflickr25k"
    licence = "Creative Commons, another one for each picture: meta/license names it and the author"
    title = "MIRFLICKR-25K (Huiskes and Lew, MIR 2008)"
    layout = (
        "Below the root, in folders or in the two zips of https://press.liacs.nl/mirflickr: "
        "mirflickr25k.zip (mirflickr/im1.jpg to im25000.jpg, mirflickr/meta/tags/tags1.txt to tags25000.txt, "
        "mirflickr/doc/common_tags.txt) and mirflickr25k_annotations_v080.zip (animals.txt, baby.txt, baby_r1.txt "
        "and 35 more)"
    )
    downloads = (
        Download(
            url=(
                "https://press.liacs.nl/mirflickr/mirflickr25k.v3b/mirflickr25k.zip",
                "http://press.liacs.nl:8080/mirflickr/mirflickr25k.v3/mirflickr25k.zip",
            ),
            name="mirflickr25k.zip",
            bytes=3_069_184_257,
            md5="a23d0a8564ee84cda5622a6c2f947785",
        ),
        Download(
            url=(
                "https://press.liacs.nl/mirflickr/mirflickr25k.v3b/mirflickr25k_annotations_v080.zip",
                "http://press.liacs.nl:8080/mirflickr/mirflickr25k.v3/mirflickr25k_annotations_v080.zip",
            ),
            name="mirflickr25k_annotations_v080.zip",
            bytes=207_220,
            md5="aa0138c79892b1b670184d142380948f",
        ),
    )
    expected = Expected(
        items=25_000,
        classes={class_name(file): count for file, count in COUNTS.items()},
        labels_sha256="3732883de82ef30baddee13d6b91f37245eb2b88efc393d329ed346deb2dd5c3",
    )
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(
            id="mirflickr25k@1",
            recipe=MIR_20015,
            split=ById(query=2_000, validation=1_000, train=10_000),
            words=COMMON,
            note="our own: the field's items and sizes, drawn by id so that they survive any order of rows",
        ),
        Plan(
            id="mir-a-dcmh@1",
            recipe=MIR_20015,
            split=InOrder(query=2_000, train=10_000),
            words=COMMON,
            note="DCMH in Python, AGAH and their descendants",
        ),
        Plan(
            id="mir-a-dadh@1",
            recipe=MIR_20015,
            split=InOrder(query=2_000, train=10_000, queries="last"),
            words=COMMON,
            note="DADH; rows in the order of the image numbers is assumed",
        ),
        Plan(
            id="mir-a-wang@1",
            recipe=MIR_20015,
            split=Permuted(seed=6, query=2_000, train=10_000),
            words=COMMON,
            fingerprint="b02722922c124584",
            note="WangGodder's deep-cross-modal-hashing; its 20,015 rows in the order of the image numbers is assumed",
        ),
        Plan(
            id="mir-a-mith@1",
            recipe=MIR_20015,
            split=Permuted(seed=1, query=2_000, train=10_000),
            words=COMMON,
            fingerprint="6b67a8811182cee6",
            note="MITH; the strings that it gives to CLIP hold common tags alone",
        ),
        Plan(
            id="mir-b-dchmt@1",
            recipe=MIR_24581,
            split=Permuted(seed=1814, query=2_000, train=10_000),
            words=RAW,
            fingerprint="4aa9f39e510320fd",
            note=f"DCHMT as its paper has it; {_NO_TAGS}",
        ),
        Plan(
            id="mir-b-dchmt-5120@1",
            recipe=MIR_24581,
            split=Permuted(seed=1814, query=5_120, train=10_240),
            words=RAW,
            fingerprint="84d2687993684f80",
            note=f"DCHMT as its code has it by default; {_NO_TAGS}",
        ),
        Plan(
            id="mir-b-dsph@1",
            recipe=MIR_24581,
            split=Permuted(seed=1814, query=5_000, train=10_000),
            words=RAW,
            note=f"DSPH, DNPH and TwDH; {_NO_TAGS}",
        ),
        Plan(
            id="mir-c-djsrh@1",
            recipe=MIR_20015,
            split=PerClass(query=(160, 80), train=(400, 200), query_total=2_000, train_total=5_000),
            words=COMMON,
            metric="map@50/hits",
            note="DJSRH, JDSH, DGCPN and CIRH; they draw without a seed, anew in every run, and this is one such draw",
        ),
        Plan(
            id="mir-d-ucch@1",
            recipe=MIR_20015,
            split=InOrder(query=2_000, train=None, queries="last"),
            words=COMMON,
            note="UCCH, which trains on the whole database; rows in the order of the image numbers is assumed",
        ),
        Plan(
            id="mir-e-deephash@1",
            recipe=MIR_25000_38,
            split=Apart(query=1_000, train=4_000),
            words=RAW,
            metric="map@5000/hits",
            note="DeepHash-pytorch, for pictures alone, all 38 columns; its own lists of files are not used",
        ),
    )

    @classmethod
    def read(cls, sources: Sources, items: int) -> Table:
        """See :meth:`Official.read`. Ids are ``im1``, ``im2``, ...; pictures lie where ``doc`` and ``meta`` do."""
        common = sources.need("doc/common_tags.txt", hint=cls.layout)
        home = common.removesuffix("doc/common_tags.txt")
        numbers = range(1, items + 1)
        if lost := [number for number in numbers if not sources.exists(f"{home}meta/tags/tags{number}.txt")]:
            raise DataError(
                f"{sources.named(home)}meta/tags: expected tags1.txt to tags{items}.txt, found no tags{lost[0]}.txt "
                f"({len(lost):,} are missing); unpack mirflickr25k.zip again"
            )
        tags = [" ".join(sources.lines(f"{home}meta/tags/tags{number}.txt")).split() for number in numbers]
        return Table(
            ids=tuple(f"im{number}" for number in numbers),
            class_names=tuple(map(class_name, COUNTS)),
            labels=_labels(sources, items, cls.layout),
            images=tuple(f"{home}im{number}.jpg" for number in numbers),
            captions=tuple((" ".join(words),) if words else () for words in tags),
            vocabulary=_vocabulary(sources, common, COMMON_TAGS if items == cls.expected.items else None),
        )

    @classmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """See :meth:`Official.make_tiny`. Every 19th item has no label, every 23rd no tag, every 29th a rare one."""
        labels = tiny.labels(items, len(CLASSES))
        labels[18::19] = 0
        home, annotations = root / "mirflickr", root / "mirflickr25k_annotations_v080"
        for folder in (home / "doc", home / "meta" / "tags", annotations):
            folder.mkdir(parents=True)
        (annotations / "README.txt").write_text("A synthetic stand-in; nothing here is MIRFLICKR-25K.\r\n", newline="")
        relevant = labels & np.random.default_rng(1).integers(2, size=labels.shape, dtype=np.uint8)
        for file in COUNTS:
            of = labels if class_name(file) in CLASSES else relevant
            column = of[:, CLASSES.index(class_name(file.removesuffix("_r1")))]
            _write_lines(annotations / f"{file}.txt", [str(row + 1) for row in np.flatnonzero(column).tolist()])
        counts: Counter[str] = Counter()
        names = [name.replace(" ", "") for name in CLASSES]
        for row in range(items):
            words = list(dict.fromkeys(tiny.words(labels[row], names, row, ("köln", "explore", "2007"))))
            words = [] if row % 23 == 22 else [f"rare{row}"] if row % 29 == 28 else words
            counts.update(words)
            _write_lines(home / "meta" / "tags" / f"tags{row + 1}.txt", words)
            (home / f"im{row + 1}.jpg").write_bytes(tiny.jpeg(labels[row], row))
        common = [f"{word} {count}" for word, count in counts.most_common() if count > 1]
        _write_lines(home / "doc" / "common_tags.txt", common)


def _labels(sources: Sources, items: int, hint: str) -> NDArray[np.uint8]:
    """(items, 38); every file lists the numbers of its images, from 1, each once and ascending."""
    first = sources.need("animals.txt", hint=hint)
    folder = first.removesuffix("animals.txt")
    found = {path.removeprefix(folder).removesuffix(".txt"): path for path in sources.match(f"/{folder}*.txt")}
    found.pop("README", None)
    for file in COUNTS:
        if file not in found:
            raise DataError(
                f"{sources.named(folder)}: expected {len(COUNTS)} label files, found no {file}.txt; "
                "unpack mirflickr25k_annotations_v080.zip again"
            )
    for file, path in found.items():
        if file not in COUNTS:
            raise DataError(f"{sources.named(path)}: expected the label files of MIRFLICKR-25K alone; take it away")
    labels = np.zeros((items, len(COUNTS)), np.uint8)
    for column, file in enumerate(COUNTS):
        numbers = sources.numbers(found[file], low=1, high=items)
        if (backward := np.flatnonzero(np.diff(numbers) <= 0)).size:
            line = int(backward[0]) + 1
            raise DataError(
                f"{sources.named(found[file])} line {line + 1}: expected a number above {numbers[line - 1]}, "
                f"found {numbers[line]}: rows out of order; unpack the archive again"
            )
        labels[numbers - 1, column] = 1
    return labels


def _vocabulary(sources: Sources, path: str, count: int | None) -> tuple[str, ...]:
    """Words of lines "tag count", in their order."""
    lines = sources.lines(path)
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if len(parts) != 2 or not parts[1].isdecimal():
            raise DataError(f"{sources.named(path)} line {number}: expected a tag and a count, found {line!r}")
    if count not in (None, len(lines)):
        raise DataError(f"{sources.named(path)}: expected {count:,} lines, found {len(lines):,}")
    return tuple(line.split()[0] for line in lines)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\r\n" for line in lines), "utf-8", newline="")
