"""wikipedia: 2,866 sections of Wikipedia's featured articles, each with a picture, in ten categories.

Rasiwasia et al., "A New Approach to Cross-Modal Multimedia Retrieval", ACM Multimedia 2010. ``wikipedia_dataset.zip``
from svcl.ucsd.edu. The lists and ``raw_features.mat`` alone are enough for the protocols that use its vectors, which
are what the field measures: 128-d bags of SIFT words for images, 10-d topics (LDA) for texts.

Traps:

- Items have one category only, so relevant means: of the same category.
- Lines of the two lists are the rows of ``raw_features.mat``: nothing in it says so but their number.
- Categories are counted from 1.
- The train and test items are fixed, 2,173 and 693, and training items are the database; nothing is left for
  choosing settings, except in ``wikipedia-validation``.
- Some take 10-d topics for the text, some 3,000-d words or their own doc2vec: tables do not always say which.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hashbench.data import tiny
from hashbench.data.fetch import Download
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan, Recipe
from hashbench.data.sources import Sources
from hashbench.data.splits import AsGiven
from hashbench.data.table import Table
from hashbench.dataset import Source
from hashbench.errors import DataError

WHOLE = Recipe(name="wikipedia-2866", items=2866)
CATEGORIES = (
    "art",
    "biology",
    "geography",
    "history",
    "literature",
    "media",
    "music",
    "royalty",
    "sport",
    "warfare",
)
LISTS = {"tr": "trainset_txt_img_cat.list", "te": "testset_txt_img_cat.list"}
FEATURES = "raw_features.mat"
VIEWS = {"image": "I", "text": "T"}


class Wikipedia(Official):
    """Sections of articles and their pictures, as vectors or as they are."""

    name = "wikipedia"
    title = "Wikipedia (Rasiwasia et al., ACM Multimedia 2010)"
    licence = "texts and pictures of Wikipedia under its terms; the vectors for research"
    layout = (
        f"Expected wikipedia_dataset.zip from svcl.ucsd.edu/projects/crossmodal, as it is or unpacked: "
        f"{LISTS['tr']}, {LISTS['te']} and {FEATURES}, and, for pictures and texts, images/CATEGORY/ID.jpg and "
        "texts/ID.xml"
    )
    downloads = (
        Download(("http://www.svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip",), "wikipedia_dataset.zip"),
    )
    expected = Expected(
        items=2866,
        classes={
            "art": 172,
            "biology": 360,
            "geography": 340,
            "history": 333,
            "literature": 267,
            "media": 236,
            "music": 237,
            "royalty": 185,
            "sport": 285,
            "warfare": 451,
        },
        digests={
            "ids": "adfe66ad60898c81",
            "labels": "e11980c0d71b876f",
            "view image": "561b79d3e1509e1c",
            "view text": "f9bcb221d93a514f",
            "side query": "f050a8d6d43a8683",
        },
    )
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(
            id="wikipedia@1",
            recipe=WHOLE,
            split=AsGiven(),
            vectors=True,
            note="693 test items ask 2,173 training items",
        ),
        Plan(
            id="wikipedia-validation@1",
            recipe=WHOLE,
            split=AsGiven(validation=200),
            vectors=True,
            note="for choosing settings",
        ),
        Plan(
            id="wikipedia-raw@1",
            recipe=WHOLE,
            split=AsGiven(),
            note="the pictures, and the whole text of each section",
        ),
    )

    @classmethod
    def read(cls, sources: Sources, items: int) -> Table:
        _check_categories(sources)
        rows: list[tuple[str, str, int]] = []
        sides: dict[str, NDArray[np.int64]] = {}
        arrays = _features(sources, cls.layout)
        for side, name in LISTS.items():
            path = sources.need(name, hint=cls.layout)
            own = _rows(sources, path, {row[0] for row in rows})
            for view, letter in VIEWS.items():
                if (count := len(arrays[f"{letter}_{side}"])) != len(own):
                    raise DataError(
                        f"{sources.named(path)} line {len(own)}: expected {count:,} lines, one a row of the {view} "
                        f"vectors {letter}_{side} in {FEATURES}, found {len(own):,}"
                    )
            sides[side] = np.arange(len(rows), len(rows) + len(own), dtype=np.int64)
            rows += own
        numbers = np.array([category for _, _, category in rows])
        vectors = {
            view: np.concatenate([arrays[f"{letter}_{side}"] for side in LISTS]) for view, letter in VIEWS.items()
        }
        return Table(
            ids=tuple(text for text, _, _ in rows),
            class_names=CATEGORIES,
            labels=(numbers[:, None] == np.arange(1, len(CATEGORIES) + 1)).astype(np.uint8),
            images=_pictures(sources, rows),
            captions=_texts(sources, rows),
            vectors=vectors,
            sides={"query": sides["te"], "database": sides["tr"], "train": sides["tr"]},
        )

    @classmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """Three training items to a test item; one text is blank, one has letters that are not ASCII."""
        from scipy.io import savemat

        rng = np.random.default_rng(0)
        content: dict[str, object] = {}
        for side, name in LISTS.items():
            chosen = [item for item in range(items) if (item % 4 == 3) == (side == "te")]
            lines = []
            for item in chosen:
                category = item // 4 % len(CATEGORIES)
                text, image = f"{item:032x}-{item % 9 + 1}", f"{7 * item + 1:032x}"
                lines.append(f"{text}\t{image}\t{category + 1}\n")
                label = (np.arange(len(CATEGORIES)) == category).astype(np.uint8)
                words = " ".join(tiny.words(label, CATEGORIES, item, FILLER))
                words = {BLANK: " \n", NOT_ASCII: f"Café &amp; bar,\n{words} – naïve"}.get(item, words)
                document = TINY_DOCUMENT.format(name=f"Item {item}", words=words, image=image)
                _write(root / "texts" / f"{text}.xml", document.encode())
                _write(root / "images" / CATEGORIES[category] / f"{image}.jpg", tiny.jpeg(label, item))
            for letter, size in (("I", 128), ("T", 10)):
                own = np.random.default_rng(size).random((len(CATEGORIES), size))
                shares = own[[item // 4 % len(CATEGORIES) for item in chosen]] + 0.1 * rng.random((len(chosen), size))
                content[f"{letter}_{side}"] = shares / shares.sum(1, keepdims=True)
            _write(root / name, "".join(lines).encode())
        _write(root / "categories.list", "".join(f"{name}\n" for name in CATEGORIES).encode())
        savemat(root / FEATURES, content)

    @cached_property
    def views(self) -> Mapping[str, Source]:
        if not self._plan.vectors and not (self.table.images and self.table.captions):
            raise DataError(
                f"{self.rules.id}: {self.folder.name} was prepared without pictures or without texts; prepare it "
                f"again from the whole wikipedia_dataset.zip, or choose --protocol {self.plans[0].id}"
            )
        return super().views


FILLER = ("early", "a century", "the north", "two brothers", "first")
BLANK, NOT_ASCII = 4, 5
TINY_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<document name="{name}">
<text>
{words}
</text>
<imageset>
<image id="{image}" />
</imageset>
</document>
"""


def _check_categories(sources: Sources) -> None:
    path = sources.find("categories.list")
    names = [line.strip() for line in sources.lines(path)] if path else list(CATEGORIES)
    for number, (expected, found) in enumerate(zip_longest(CATEGORIES, names, fillvalue=""), 1):
        if found != expected:
            raise DataError(f"{sources.named(path or '')} line {number}: expected {expected!r}, found {found!r}")


def _rows(sources: Sources, path: str, known: set[str]) -> list[tuple[str, str, int]]:
    """Text id, image id and category from 1 of every line."""
    rows: list[tuple[str, str, int]] = []
    for number, line in enumerate(sources.lines(path), 1):
        where, fields = f"{sources.named(path)} line {number}", line.split("\t")
        if len(fields) != 3 or not all(re.fullmatch(r"[\w.-]+", field) for field in fields[:2]):
            raise DataError(f"{where}: expected text id, image id and category between tabs, found {line[:100]!r}")
        if not re.fullmatch("[0-9]{1,4}", fields[2]) or not 1 <= int(fields[2]) <= len(CATEGORIES):
            raise DataError(f"{where}: expected a category from 1 to {len(CATEGORIES)}, found {fields[2]!r}")
        if fields[0] in known:
            raise DataError(f"{where}: text {fields[0]} stands in the lists twice")
        known.add(fields[0])
        rows.append((fields[0], fields[1], int(fields[2])))
    return rows


def _features(sources: Sources, hint: str) -> dict[str, NDArray[Any]]:
    """``I_tr``, ``T_tr``, ``I_te`` and ``T_te``, (rows, numbers)."""
    from scipy.io import loadmat

    path = sources.need(FEATURES, hint=hint)
    names = [f"{letter}_{side}" for letter in VIEWS.values() for side in LISTS]
    content = io.BytesIO(sources.read(path))
    try:
        found = loadmat(content, variable_names=names)
    except Exception as error:  # a damaged file makes scipy raise anything at all
        raise DataError(
            f"{sources.named(path)}: damaged, or no .mat file of MATLAB v5 ({error}); get it again"
        ) from error
    arrays = {name: np.asarray(found[name]) for name in names if name in found}
    for name in names:
        array = arrays.get(name)
        if array is None or array.ndim != 2 or array.dtype.kind != "f" or not np.isfinite(array).all():
            what = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise DataError(f"{sources.named(path)}: {name}: expected (rows, numbers), all finite, found {what}")
    for letter in VIEWS.values():
        if arrays[f"{letter}_tr"].shape[1] != arrays[f"{letter}_te"].shape[1]:
            raise DataError(f"{sources.named(path)}: {letter}_tr and {letter}_te: expected as many numbers an item")
    return arrays


def _pictures(sources: Sources, rows: list[tuple[str, str, int]]) -> tuple[str, ...]:
    """Nothing where there is not one picture."""
    wanted = [f"images/{CATEGORIES[category - 1]}/{image}.jpg" for _, image, category in rows]
    found = [sources.find(path) for path in wanted]
    return tuple(path or tail for path, tail in zip(found, wanted, strict=True)) if any(found) else ()


def _texts(sources: Sources, rows: list[tuple[str, str, int]]) -> tuple[tuple[str, ...], ...]:
    """Nothing where there is not one text."""
    if not any(sources.find(f"texts/{text}.xml") for text, _, _ in rows):
        return ()
    texts = []
    for text, _, _ in rows:
        path = sources.need(f"texts/{text}.xml", hint="the other texts are there; unpack wikipedia_dataset.zip again")
        content = "\n".join(sources.lines(path))
        inside = re.search("<text>(.*)</text>", content, re.DOTALL)
        if not inside:
            line = content[: max(content.find("<text>"), 0)].count("\n") + 1
            raise DataError(f"{sources.named(path)} line {line}: expected <text> and </text>, found not both")
        words = " ".join(html.unescape(inside[1]).split())
        texts.append((words,) if words else ())
    return tuple(texts)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
