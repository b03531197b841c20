"""The contract of a data set as laws, under one protocol."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from hashbench.data import catalogue
from hashbench.dataset import SIDES, Dataset, Raw, Rules, Vectors
from hashbench.errors import UsageError
from hashbench.testing.fresh import Fresh, fresh, require_light_import
from hashbench.testing.report import Broken, NotApplicable, Report, bind, judge, require

SAMPLE = 16
"""Pictures decoded of every view, unless all are."""


@dataclass(frozen=True)
class Opening:
    """A data set under one protocol; calling it opens it anew."""

    cls: type[Dataset]
    protocol: str | None = None
    """None: the default."""
    thorough: bool = False
    """Whether all pictures are decoded."""
    name: str | None = None
    """Under which name it was prepared or imported, if it has to be."""

    def __call__(self) -> Dataset:
        return self.under(self.protocol)

    def under(self, protocol: str | None) -> Dataset:
        """It under another protocol."""
        return catalogue.open_dataset(self.name, protocol) if self.name else self.cls(protocol)

    @property
    def protocols(self) -> Mapping[str, Rules]:
        return self().protocols if self.name else self.cls.protocols

    def __str__(self) -> str:
        return f"{self.cls.__name__}({self.protocol})" if self.protocol else self.cls.__name__


def check_dataset(
    cls: type[Dataset],
    protocol: str | None = None,
    expected_failures: Mapping[str, str] = {},
    *,
    thorough: bool = False,
    name: str | None = None,
) -> Report:
    """Check that a data set keeps the contract under a protocol.

    Args:
        cls: The data set.
        protocol: Its id; None: the default.
        expected_failures: Check name to the reason why it is known to fail.
        thorough: Decode all pictures, not a sample.
        name: Under which name it was prepared or imported on this machine, if it has to be.
    """
    opening = Opening(cls, protocol, thorough, name)
    return judge(str(opening), bind(LAWS, opening, str(opening)), expected_failures)


def check_declared(opening: Opening) -> None:
    """Name and licence are declared, and the name can be a folder."""
    name, licence = getattr(opening.cls, "name", None), getattr(opening.cls, "licence", None)
    require(
        isinstance(name, str) and re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) is not None,
        f"name: expected lower case letters, digits, '.', '_' and '-', found {name!r}",
    )
    require(isinstance(licence, str) and bool(licence.strip()), "licence: say under which terms the data comes")


def check_protocols(opening: Opening) -> None:
    """Every protocol opens and has complete rules under its own id, ``name@version``."""
    require(len(opening.protocols) > 0, "there is no protocol")
    for key, rules in opening.protocols.items():
        require(rules.id == key, f"protocol {key!r} calls itself {rules.id!r}")
        require(re.fullmatch(r"[a-z0-9][a-z0-9.+_-]*@\d+", key) is not None, f"{key!r}: expected name@version")
        for f in fields(rules):
            value = getattr(rules, f.name)
            require(isinstance(value, str) and bool(value.strip()), f"protocol {key!r}: {f.name} is empty")
        data = opening.under(key)
        require(data.rules == rules, f"opened as {key!r}, it has the rules of {data.rules.id!r}")
        require(len(data.split.query) > 0, f"protocol {key!r} has no queries")


def check_unknown_protocol(opening: Opening) -> None:
    """An unknown protocol is refused with UsageError, and the known ones are named."""
    try:
        opening.under("no-such-protocol@0")
    except UsageError as error:
        missing = [key for key in opening.protocols if key not in str(error)]
        require(not missing, f"the refusal does not name {', '.join(missing)}")
    else:
        raise Broken("an unknown protocol is accepted")


def check_import_is_light(opening: Opening) -> None:
    """Importing the data set prints nothing, touches no GPU and loads no plotting, model or table package."""
    require_light_import(_fresh(opening))


def check_opening_is_light(opening: Opening) -> None:
    """Opening it, and reading everything but the pictures themselves, opens and decodes no picture."""
    from PIL import Image
    from PIL.ImageFile import ImageFile

    with (
        mock.patch.object(Image, "open", side_effect=Image.open) as opened,
        mock.patch.object(ImageFile, "load", autospec=True, side_effect=ImageFile.load) as decoded,
    ):
        data = opening()
        for part in ("ids", "class_names", "labels", "views", "split", "revision", "vocabulary", "definitions"):
            getattr(data, part)
            touched = opened.call_count + decoded.call_count
            require(not touched, f"opening it, up to {part}, opens pictures; open each when it is asked for")


def check_ids(opening: Opening) -> None:
    """Ids are unique, printable strings without spaces, quotes, angle brackets or steps out of a folder."""
    data = opening()
    ids = list(data.ids)
    require(len(data) == len(ids) > 0, f"len is {len(data)}, and there are {len(ids)} ids")
    for row, item in enumerate(ids):
        require(isinstance(item, str), f"id {row}: expected a string, found {type(item).__name__}")
        safe = item.isprintable() and item and not re.search(r"""[\s"'<>\\]|^/|(^|/)\.\.(/|$)""", item)
        require(bool(safe), f"id {row}: {item!r} is not safe")
    twice = [item for item, count in Counter(ids).items() if count > 1]
    require(not twice, f"ids that stand twice: {', '.join(twice[:3])}")


def check_labels(opening: Opening) -> None:
    """Labels are (n, c) uint8 of 0 and 1; class names are c distinct lower-case words."""
    data = opening()
    labels, names = data.labels, data.class_names
    require(labels.dtype == np.uint8, f"labels: expected uint8, found {labels.dtype}")
    require(
        labels.shape == (len(data), len(names)),
        f"labels: expected {(len(data), len(names))} for {len(data)} ids and {len(names)} class names, "
        f"found {labels.shape}",
    )
    require(bool((labels <= 1).all()), "labels: expected 0 and 1 only")
    require(isinstance(names, tuple) and len(set(names)) == len(names), "class_names: expected distinct names")
    for name in names:
        require(bool(name) and name == name.lower().strip(), f"class name {name!r}: expected lower-case words")


def check_train_labels(opening: Opening) -> str | None:
    """Training items have labels; classes that none of them has are reported."""
    data = opening()
    counts = data.labels[data.split.train].sum(0)
    empty = [name for name, count in zip(data.class_names, counts, strict=True) if not count]
    require(len(empty) < len(counts), "no training item has a label")
    return f"no training item is labelled {', '.join(empty[:5])} ({len(empty)} such classes)" if empty else None


def check_words(opening: Opening) -> None:
    """Definitions are about known classes; vocabulary words are distinct and none is empty."""
    data = opening()
    unknown = sorted(set(data.definitions) - set(data.class_names))
    require(not unknown, f"definitions of no class: {', '.join(unknown)}")
    require(all(text.strip() for text in data.definitions.values()), "a definition is empty")
    words = data.vocabulary
    require(len(set(words)) == len(words) and all(w.strip() for w in words), "vocabulary: expected distinct words")


def check_views(opening: Opening) -> None:
    """There are at least two views, each of a known modality and as long as the ids."""
    data = opening()
    require(len(data.views) >= 2, f"expected two views or more, found {', '.join(data.views) or 'none'}")
    for name, source in data.views.items():
        require(name.isidentifier(), f"view {name!r}: expected a plain name")
        require(len(source) == len(data), f"view {name!r}: {len(source)} items for {len(data)} ids")
        has = data.present(name)
        require(has.dtype == np.bool_ and has.shape == (len(data),), f"present({name!r}): expected (n,) bool")
        require(bool(has.any()), f"no item has the view {name!r}")
        if not isinstance(source, Vectors):
            require(source.modality in ("image", "text"), f"view {name!r}: unknown modality {source.modality!r}")


def check_vectors(opening: Opening) -> None:
    """Views of vectors are (n, d) finite numbers that differ between items."""
    data = opening()
    matrices = {name: source.matrix for name, source in data.views.items() if isinstance(source, Vectors)}
    if not matrices:
        raise NotApplicable("every view is of raw items")
    for name, matrix in matrices.items():
        require(matrix.ndim == 2 and matrix.shape[1] > 0, f"view {name!r}: expected (n, d), found {matrix.shape}")
        require(matrix.dtype.kind in "biuf", f"view {name!r}: expected numbers, found {matrix.dtype}")
        rows = np.asarray(matrix[data.present(name)][:1000], np.float64)
        require(bool(np.isfinite(rows).all()), f"view {name!r}: a number is not finite")
        require(len(rows) < 2 or bool((rows != rows[0]).any()), f"view {name!r}: every item is the same")


def check_texts(opening: Opening) -> None:
    """Texts are strings that can be written as UTF-8, and not all are empty."""
    data = opening()
    sources = _raw_views(data, "text")
    if not sources:
        raise NotApplicable("it has no text view")
    for name, source in sources.items():
        filled = False
        for row in range(len(source)):
            text = source[row]
            if not isinstance(text, str):
                raise Broken(f"{name} {row}: expected a string, found {type(text).__name__}")
            text.encode()  # a lone surrogate raises
            filled = filled or bool(text)
        require(filled, f"every text of {name!r} is empty")


def check_pictures(opening: Opening) -> None:
    """Pictures decode to RGB, and a row gives the same picture each time."""
    data = opening()
    sources = _raw_views(data, "image")
    if not sources:
        raise NotApplicable("it has no image view")
    wanted = len(data) if opening.thorough else min(SAMPLE, len(data))
    for name, source in sources.items():
        for row in np.linspace(0, len(data) - 1, wanted).astype(int).tolist():
            where = f"{name} {row} ({data.ids[row]})"
            first, second = (_pixels(source[row], where) for _ in range(2))
            require(first.size > 0, f"{where} has no pixels")
            require(np.array_equal(first, second), f"{where} is another picture the second time")


def check_split(opening: Opening) -> None:
    """Queries are on no other side, validation items are not trained on; rows ascend, and only validation may be
    empty or lie in the database."""
    data = opening()
    split = data.split
    for side in SIDES:
        rows = getattr(split, side)
        require(rows.dtype == np.int64 and rows.ndim == 1, f"{side}: expected (m,) int64, found {rows.dtype}")
        if side == "validation" and not len(rows):
            continue
        require(len(rows) > 0, f"{side} is empty")
        require(bool((np.diff(rows) > 0).all()), f"{side}: rows do not ascend, or one stands twice")
        require(rows[0] >= 0 and rows[-1] < len(data), f"{side}: rows outside 0..{len(data) - 1}")
    for a, b in _apart():
        shared = np.intersect1d(getattr(split, a), getattr(split, b))
        require(not len(shared), f"{a} and {b} share {len(shared)} items, first {_first(data, shared)}")


def check_groups(opening: Opening) -> None:
    """Items of one group (concept, scene, author) are never on two of query, database and validation."""
    data = opening()
    groups = getattr(data, "groups", None)
    if groups is None:
        raise NotApplicable("it has no attribute 'groups': one name an item, of what must stay together")
    require(len(groups) == len(data), f"{len(groups)} groups for {len(data)} ids")
    sides = {side: {groups[row] for row in getattr(data.split, side).tolist()} for side in SIDES}
    for a, b in _apart():
        shared = sorted(sides[a] & sides[b])
        require(not shared, f"{len(shared)} groups are in both {a} and {b}, first {shared[:1]}")


def check_relevant(opening: Opening) -> str | None:
    """Queries have relevant items in the database; how many have none is reported."""
    data = opening()
    present = data.labels[data.split.database].any(0)
    queries = data.labels[data.split.query]
    without = int((~(queries & present).any(1)).sum())
    require(without < len(queries), "no query has a relevant item in the database")
    return f"{without} of {len(queries)} queries have no relevant item" if without else None


def check_stable(opening: Opening) -> None:
    """Revision, split and views have the same digests in every opening and in every process."""
    first, second = _digests(opening()), _digests(opening())
    elsewhere = dict(_fresh(opening).answer)
    for name, value in first.items():
        require(isinstance(value, str) and bool(value), f"{name}: expected a digest, found {value!r}")
        require(value == second[name], f"{name} changes from opening to opening")
        require(value == elsewhere[name], f"{name} changes from process to process")


LAWS = (
    check_declared,
    check_protocols,
    check_unknown_protocol,
    check_import_is_light,
    check_opening_is_light,
    check_ids,
    check_labels,
    check_train_labels,
    check_words,
    check_views,
    check_vectors,
    check_texts,
    check_pictures,
    check_split,
    check_groups,
    check_relevant,
    check_stable,
)


def _raw_views(data: Dataset, modality: str) -> dict[str, Raw]:
    return {
        name: source
        for name, source in data.views.items()
        if not isinstance(source, Vectors) and source.modality == modality
    }


def _pixels(picture: object, where: str) -> NDArray[np.uint8]:
    from PIL.Image import Image

    if not isinstance(picture, Image):
        raise Broken(f"{where}: expected a picture, found {type(picture).__name__}")
    try:
        return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise Broken(f"{where} does not decode: {error}") from error


def _apart() -> list[tuple[str, str]]:
    return [("query", "database"), ("query", "train"), ("query", "validation"), ("train", "validation")]


def _first(data: Dataset, rows: Any) -> str:
    return repr(data.ids[rows[0]]) if len(rows) else ""


def _digests(data: Dataset) -> dict[str, Any]:
    views = {f"view {name}": data.view_digest(name) for name in data.views}
    return {"revision": data.revision, "split": data.split_digest, **views}


def _fresh(opening: Opening) -> Fresh:
    prepared = "importlib.import_module('hashbench.data.catalogue').open_dataset"
    opened = f"{prepared}({opening.name!r}, {opening.protocol!r})" if opening.name else f"cls({opening.protocol!r})"
    expression = (
        "(lambda d: {'revision': d.revision, 'split': d.split_digest, "
        f"**{{'view ' + v: d.view_digest(v) for v in d.views}}}})({opened})"
    )
    return fresh(opening.cls, expression)
