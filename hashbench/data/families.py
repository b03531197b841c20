"""The field's data files, family by family, brought to a :class:`~hashbench.data.table.Table`.

A family is data, not code: which variable names stand for which view, which side of the split their rows are on.
:data:`FAMILIES` is the whole list; the code below it knows views, labels, ids and sides, and no paper by name.

The form of our own, for any data set with two or more views, is one .npz, .mat or HDF5 file with

    image, text, audio, ...   (n, d) numbers, one a view, rows are items; names are lower-case words. Pictures may be
                              (n, h, w, 3) or (n, 3, h, w) uint8 pixels, or n file names; a text view may be n strings
    labels                    (n, c) of 0 and 1, or (n,) class numbers counted from 0 or from 1
    ids                       n official ids (optional)
    class_names               c names (optional)
    present_image, ...        (n,) of 0 and 1: which items have that view (optional)
    query, database, train    row numbers, counted from 0 (optional)

Ids are official ones where the files give them: file names without folder and ending, or with the folders where they
alone are not unique. Otherwise an id is the item's position counted from zero: ``row17``, or ``db-17`` where the files
are split already.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hashbench.config import did_you_mean
from hashbench.data import matlab
from hashbench.data.matlab import Array, Value
from hashbench.data.table import BLOCK, Index, Numbers, Table, blocks
from hashbench.errors import DataError, UsageError

# ------------------------------------------------------------------------------------- what the families look like


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that belong together. Names are alternatives, separated by spaces; the files hold any of them."""

    id: str
    """What the ids of its rows begin with, where there are no official ones."""
    views: Mapping[str, str]
    """View to names. A variable of strings is file names in the view ``image`` and captions in ``text``."""
    labels: str
    sides: tuple[str, ...] = ()
    """The sides of the split that all its rows are on."""
    ids: str = ""
    keep: str = ""
    """Row numbers to which the files restrict the items."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """Side to names of row numbers."""
    present: Mapping[str, str] = field(default_factory=dict)
    """View to names of the mask of rows that have it."""
    optional: bool = False
    inside: str = ""
    """The part that these rows may be copies of: they are, when every one of them is found there."""


@dataclass(frozen=True, kw_only=True)
class Family:
    name: str
    parts: tuple[Part, ...]
    first_class: tuple[int, ...] = ()
    """What class numbers may be counted from, where labels may be one class number an item."""
    rows_first: bool = False
    """Rows are items by definition; otherwise the common number of rows tells which axis has the items."""
    hint: str = ""
    """What to do where something is missing."""


POOL = Part(
    id="row",
    views={
        "image": "images IAll XAll FAll imgs index image",
        "text": "YAll tags caption caption_one_hot text texts",
    },
    labels="LAll labels category label",
    keep="clean_id",
    rows={"query": "idx_test", "database": "idx_ret", "train": "idx_labeled"},
)


def _xmedia(cnn: str, bow: str) -> tuple[Part, ...]:
    """Images and texts are pairs; videos, sounds and 3D models stand alone, tied to the rest by their class only."""
    kinds: tuple[tuple[str, dict[str, str], str], ...] = (
        ("pair", {"image": f"I_%s{cnn}", "text": f"T_%s{bow}"}, "%sImgCat %sTxtCat"),
        ("video", {"video": f"V_%s{cnn}"}, "%sVidCat"),
        ("audio", {"audio": "A_%s"}, "%sAudCat"),
        ("3d", {"d3": "d3_%s"}, "%s3dCat"),
    )
    return tuple(
        Part(
            id=f"{kind}-{side}-",
            views={view: name.replace("%s", side) for view, name in views.items()},
            labels=labels.replace("%s", side),
            sides=sides,
            optional=kind != "pair",
        )
        for kind, views, labels in kinds
        for side, sides in (("tr", ("database", "train")), ("te", ("query",)))
    )


FAMILIES = (
    Family(
        name="one pool of items (DCMH, AGAH, DJSRH, UCCH, WangGodder, DCHMT, QinLab, MITH, DADH, iTomxy)",
        parts=(POOL,),
        hint="every view and the labels may lie in a file of their own: name all of them",
    ),
    Family(
        name="query and database (DLFH, UCCH's IAPR TC-12)",
        parts=(
            Part(
                id="test-",
                views={"image": "XTest VTest", "text": "YTest"},
                labels="testL",
                sides=("query",),
            ),
            Part(
                id="database-",
                views={"image": "XDatabase VDatabase", "text": "YDatabase"},
                labels="databaseL",
                sides=("database",),
            ),
        ),
    ),
    Family(
        name="training, query and database (BMC-SDNU)",
        parts=(
            Part(id="te-", views={"image": "I_te", "text": "T_te"}, labels="L_te", sides=("query",)),
            Part(id="db-", views={"image": "I_db", "text": "T_db"}, labels="L_db", sides=("database",)),
            Part(id="tr-", views={"image": "I_tr", "text": "T_tr"}, labels="L_tr", sides=("train",), inside="db-"),
        ),
    ),
    Family(
        name="training and query (Wikipedia)",
        parts=(
            Part(
                id="tr-",
                views={"image": "I_tr tr_pictures", "text": "T_tr"},
                labels="L_tr tr_categories",
                sides=("database", "train"),
                ids="tr_ids",
            ),
            Part(
                id="te-",
                views={"image": "I_te te_pictures", "text": "T_te"},
                labels="L_te te_categories",
                sides=("query",),
                ids="te_ids",
            ),
        ),
        first_class=(1,),
        hint="raw_features.mat has no labels: name trainset_txt_img_cat.list and testset_txt_img_cat.list beside it",
    ),
    Family(name="XMedia, deep features", parts=_xmedia("_CNN", "_BOW"), first_class=(1,)),
    Family(name="XMedia, older features", parts=_xmedia("", ""), first_class=(1,)),
    Family(
        name="lists of pictures with labels (HashNet, DeepHash)",
        parts=tuple(
            Part(
                id=f"{part}-",
                views={"image": f"{part}_pictures"},
                labels=f"{part}_list",
                sides=sides,
                optional=True,
            )
            for part, sides in (
                ("query", ("query",)),
                ("database", ("database",)),
                ("train", ("train",)),
                ("all", ()),
            )
        ),
        rows_first=True,
    ),
)

RESERVED = {"labels", "ids", "class_names", "query", "database", "train"}
"""Names of the generic form that are no views."""

TAKEN = set(" ".join([*POOL.views.values(), POOL.labels, *POOL.rows.values(), POOL.keep]).split())
"""Names that mean something in the pools; ``image`` and ``text`` mean the same in both."""


def _generic(names: Collection[str]) -> Family | None:
    """The family of our own form, made for the views that these names are; None where they are not that form."""
    views = [name for name in names if name not in RESERVED and not name.startswith("present_")]
    plain = all(re.fullmatch("[a-z][a-z0-9_]*", view) and view not in TAKEN - {"image", "text"} for view in views)
    if "labels" not in names or len(views) < 2 or not plain:
        return None
    part = Part(
        id="row",
        views={view: view for view in views},
        labels="labels",
        ids="ids",
        rows={side: side for side in ("query", "database", "train")},
        present={view: f"present_{view}" for view in views},
    )
    return Family(name="our own form", parts=(part,), first_class=(0, 1), rows_first=True)


# -------------------------------------------------------------------------------------------- what the files hold


@dataclass(frozen=True, eq=False)
class Variable:
    """One named value, read when it is asked for, and the file it is in."""

    name: str
    path: Path
    source: Mapping[str, Value]

    @cached_property
    def value(self) -> Value:
        return self.source[self.name]

    @cached_property
    def vector(self) -> NDArray[Any] | None:
        """(n,) where the value is numbers in one row or one column."""
        value = self.value
        if isinstance(value, list) or not (len(value.shape) == 1 or (len(value.shape) == 2 and 1 in value.shape)):
            return None
        return np.asarray(value[0 : len(value)]).ravel()

    def __str__(self) -> str:
        value = self.value
        size = f"{len(value)} strings" if isinstance(value, list) else " x ".join(map(str, value.shape))
        return f"{self.name} in {self.path}: {size}"

    def refused(self, expected: str, found: str, then: str) -> DataError:
        return DataError(f"{self.path}: {self.name}: expected {expected}, found {found}; {then}")


def import_files(
    paths: Sequence[Path],
    images: Path | None = None,
    *,
    class_names: Sequence[str] = (),
    ignore: Collection[str] = (),
) -> Table:
    """One data set out of one or several files of a family of :data:`FAMILIES`, or of our own form (see above).

    Besides .mat, .npz and HDF5: ``*caption*.txt``, one caption a line, an empty line being an empty caption;
    ``*.txt`` lists of ``path 0 1 0 ...``, a side of the split where the name has train, test, query or database in
    it; Wikipedia's ``*_txt_img_cat.list`` and ``categories.list``.

    Items of files that are split already come in the order of the family's parts. A training row that is a copy of a
    database row is that item, not a second one. ``sides`` says no more than the files do: ``train`` is absent where
    they name no training rows. Variables that no family knows are left alone.

    Args:
        images: the folder that has the pictures, or zips of them. File names are looked up in it by their longest
            matching tail, whatever folder of another machine they begin with. Without it they are kept as they are.
        class_names: (c,) names of the label columns; otherwise those in the files, or ``class 1``, ``class 2``, ...
        ignore: names of variables to leave out, where two of them are the same view.

    Raises:
        DataError: a file is damaged, the names belong to no family, counts disagree, the orientation of an array
            cannot be told, labels are not 0 and 1 (or -1 and 1), an id occurs twice or a picture is not there.
        UsageError: an ignored name is not in the files, or absolute file names need ``images``.
    """
    found = _load(paths, ignore)
    family = _match(found)
    parts = [_rows(part, family, found) for part in family.parts if _known(part) & found.keys()]
    items = _Items.of(parts)
    names = class_names or (_strings(found["class_names"]) if "class_names" in found else ())
    labels, classes = _labels(parts, family, names)
    return Table(
        ids=items.ids,
        class_names=classes,
        labels=labels[items.part_row(parts)],
        images=_pictures(items, parts, images),
        captions=_captions(items, parts),
        vectors=_vectors(items, parts),
        present=_present(items, parts, found),
        sides=_sides(items, parts, found),
    )


def _load(paths: Sequence[Path], ignore: Collection[str]) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    for path in paths:
        reader = next((read for pattern, read in TEXTS if fnmatch(path.name.lower(), pattern)), matlab.read)
        source = reader(path)
        for name in source:
            if name in found:
                raise DataError(f"{name}: expected once, found in {found[name].path} and in {path}; name one of them")
            found[name] = Variable(name, path, source)
    for name in ignore:
        if name not in found:
            raise UsageError(f"ignore {name!r}: the files have no such variable. {did_you_mean(name, found)}")
        del found[name]
    return found


def _known(part: Part) -> set[str]:
    """The names that make a part be there."""
    return {name for names in (*part.views.values(), part.labels) for name in names.split()}


def _missing(family: Family, names: Collection[str]) -> list[str]:
    """What the names lack to be this family."""
    lacking = []
    for part in family.parts:
        if part.optional and _known(part).isdisjoint(names):
            continue
        for needed in (part.labels.split(), " ".join(part.views.values()).split()):
            if not set(needed) & set(names):
                lacking.append("one of " + ", ".join(needed))
    nothing = all(_known(part).isdisjoint(names) for part in family.parts)
    return lacking or (["one of " + ", ".join(sorted(_known(part))) for part in family.parts] if nothing else [])


def _match(found: Mapping[str, Variable]) -> Family:
    """The family with most of these names, among those that lack nothing."""
    if ours := _generic(found):
        return ours

    def known(family: Family) -> set[str]:
        return set().union(*(_known(part) for part in family.parts))

    complete = [family for family in FAMILIES if not _missing(family, found)]
    if complete:
        return max(complete, key=lambda family: len(known(family) & found.keys()))

    def nearness(family: Family) -> tuple[float, int]:
        ratios = (max(difflib.SequenceMatcher(None, a, b).ratio() for b in known(family)) for a in found)
        return sum(ratios), -len(_missing(family, found))

    nearest = max(FAMILIES, key=nearness)
    files = ", ".join(dict.fromkeys(str(variable.path) for variable in found.values())) or "the files"
    raise DataError(
        f"{files}: expected the variables of a known family, found {', '.join(sorted(found)) or 'none'}; "
        f"the nearest is {nearest.name}, which also needs {' and '.join(_missing(nearest, found))}"
        + (f"; {nearest.hint}" if nearest.hint else "")
    )


# ------------------------------------------------------------------------------------- one part, rows first, checked


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    part: Part
    n: int
    numbers: Mapping[str, Array]
    """View to (n, d), or to (n, h, w, 3) pixels."""
    strings: Mapping[str, Sequence[Sequence[str]]]
    """View to (n,) lists of strings: the folders and the name of a picture, the captions of an item."""
    labels: NDArray[Any]
    """(n, c) of 0 and 1, or (n,) class numbers."""
    ids: Sequence[str] | None
    """(n,) where the files name the items; pictures name them too."""
    keep: Index
    where: str
    """The variable that the labels are from, for messages."""

    @cached_property
    def pictures(self) -> Sequence[str] | None:
        """(n,) file names with forward slashes."""
        names = self.strings.get("image")
        return None if names is None else ["/".join(name).replace("\\", "/") for name in names]


def _rows(part: Part, family: Family, found: Mapping[str, Variable]) -> _Rows:
    def have(names: str) -> list[Variable]:
        return [found[name] for name in names.split() if name in found]

    labels = have(part.labels)
    views = {view: have(names) for view, names in part.views.items()}
    n = _count(labels, [one for several in views.values() for one in several], family)
    numbers: dict[str, Array] = {}
    strings: dict[str, Sequence[Sequence[str]]] = {}
    for view, variables in views.items():
        for variable in variables:
            value = variable.value
            if view in (strings if isinstance(value, list) else numbers):
                names = " and ".join(str(one) for one in variables)
                raise DataError(f"view {view}: expected one variable, found {names}; leave one out (ignore)")
            if not isinstance(value, list):
                numbers[view] = _finite(variable, _oriented(variable, value, n, family))
            elif view in ("image", "text"):
                strings[view] = [[one] if isinstance(one, str) else one for one in value]
            else:
                raise variable.refused("numbers", "strings", "only image and text views may be strings")
    checked = [_label_values(variable, n, family) for variable in labels]
    for variable, others in zip(labels[1:], checked[1:], strict=True):
        if not np.array_equal(checked[0], others):
            raise DataError(f"labels: {labels[0]} and {variable} disagree; leave one out (ignore)")
    keep = have(part.keep)
    return _Rows(
        part=part,
        n=n,
        numbers=numbers,
        strings=strings,
        labels=checked[0],
        ids=_strings(found[part.ids], n) if part.ids in found else None,
        keep=_row_numbers(keep[0], n) if keep else np.arange(n, dtype=np.int64),
        where=str(labels[0]),
    )


def _count(labels: Sequence[Variable], views: Sequence[Variable], family: Family) -> int:
    """The number of items: the one size that all variables of a part have."""

    def sizes(variable: Variable) -> set[int]:
        value = variable.value
        if isinstance(value, list):
            return {len(value)}
        if family.rows_first:  # MATLAB lays a vector of class numbers down as one row
            lying = variable in labels and variable.vector is not None
            return {*value.shape} if lying else {*value.shape[:1]}
        return {value.shape[0], value.shape[3]} if len(value.shape) == 4 else {*value.shape}

    common = set.intersection(*(sizes(variable) for variable in [*labels, *views]))
    if len(common) == 1 and common != {0}:
        return common.pop()
    what = "; ".join(str(one) for one in [*labels, *views])
    if not common - {0}:
        raise DataError(f"expected as many items everywhere, found {what}; name files of one version of the data set")
    raise _ambiguous(what)


def _ambiguous(what: str) -> DataError:
    return DataError(
        f"expected to tell items from columns by their number, found {what}; "
        "save it as .npz with image, text and labels, where rows are items"
    )


def _oriented(variable: Variable, value: Array, n: int, family: Family) -> Array:
    """(n, d), or pixels (n, h, w, 3)."""
    shape = value.shape
    if len(shape) == 4:
        return _pixels(variable, value, n, family)
    if len(shape) != 2:
        raise variable.refused("two axes, or four for pixels", f"shape {shape}", "save it with items as rows")
    if shape == (n, n) and not family.rows_first:
        raise _ambiguous(str(variable))
    return value if shape[0] == n else value.transpose((1, 0))


def _finite(variable: Variable, rows: Array) -> Array:
    start = 0
    for block in blocks(rows) if rows.dtype.kind == "f" else ():
        wrong = np.argwhere(~np.isfinite(block))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise variable.refused(
                "finite numbers",
                f"{block[row, column]} at item {start + row}, number {column} (both counted from 0)",
                "mend or replace the file",
            )
        start += len(block)
    return rows


def _pixels(variable: Variable, value: Array, n: int, family: Family) -> Array:
    """Items first, channels last, and between them height and width in the order they are stored in."""
    items = [axis for axis in ((0,) if family.rows_first else (0, 3)) if value.shape[axis] == n]
    if len(items) != 1:
        raise _ambiguous(str(variable))
    rest = [axis for axis in range(4) if axis != items[0]]
    channels = [axis for axis in rest if value.shape[axis] == 3]
    if len(channels) != 1:
        raise variable.refused("one axis of 3 colours", f"shape {value.shape}", "save it as (n, h, w, 3)")
    if value.dtype != np.uint8:
        raise variable.refused("pixels of type uint8", str(value.dtype), "save the pictures as they were, 0 to 255")
    return value.transpose((items[0], *(axis for axis in rest if axis != channels[0]), channels[0]))


def _label_values(variable: Variable, n: int, family: Family) -> NDArray[Any]:
    """(n, c) uint8 of 0 and 1, or (n,) int64 class numbers where the family may have them."""
    value = variable.value
    if isinstance(value, list):
        raise variable.refused("numbers", "strings", "save the labels as 0 and 1, one column a class")
    if family.first_class and variable.vector is not None and len(variable.vector) == n:
        numbers = _whole(variable, variable.vector)
        low = np.flatnonzero(numbers < min(family.first_class))
        if len(low):
            raise variable.refused(
                f"class numbers from {min(family.first_class)}",
                f"{numbers[low[0]]} at item {low[0]} (counted from 0)",
                "mend or replace the file",
            )
        return numbers
    if len(value.shape) != 2:
        raise variable.refused("items x classes", f"shape {value.shape}", "save the labels with items as rows")
    matrix: NDArray[Any] = _oriented(variable, value, n, family)[0:n]
    minus = np.count_nonzero(matrix == -1) > np.count_nonzero(matrix == 0)
    wrong = np.argwhere((matrix != 1) & (matrix != (-1 if minus else 0)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise variable.refused(
            "only -1 and 1" if minus else "only 0 and 1 (or -1 and 1)",
            f"{matrix[row, column]} in row {row}, column {column} (counted from 0)",
            "mend or replace the file",
        )
    return np.asarray(matrix == 1, np.uint8)


def _whole(variable: Variable, vector: NDArray[Any]) -> Index:
    wrong = np.flatnonzero(~(np.isfinite(vector) & (vector == np.floor(vector))))
    if len(wrong):
        raise variable.refused("whole numbers", f"{vector[wrong[0]]} at place {wrong[0]} (counted from 0)", "mend it")
    return vector.astype(np.int64)


def _row_numbers(variable: Variable, n: int) -> Index:
    """(m,) different rows, counted from 0."""
    if variable.vector is None:
        raise variable.refused("row numbers", str(variable), "save them as one vector")
    rows = _whole(variable, variable.vector)
    wrong = rows[(rows < 0) | (rows >= n)]
    if len(wrong):
        raise variable.refused(f"rows from 0 to {n - 1}", str(wrong[0]), "row numbers are counted from 0")
    if len(np.unique(rows)) < len(rows):
        values, counts = np.unique(rows, return_counts=True)
        raise variable.refused("every row once", f"row {values[counts > 1][0]} twice", "mend or replace the file")
    return rows


def _strings(variable: Variable, n: int | None = None) -> list[str]:
    """(n,) strings; whole numbers count as such."""
    value = variable.value
    if not isinstance(value, list):
        vector = variable.vector
        words = [] if vector is None else [str(number) for number in _whole(variable, vector).tolist()]
    else:
        words = [one if isinstance(one, str) else "/".join(one) for one in value]
    if n not in (None, len(words)):
        raise variable.refused(f"{n} names", f"{len(words)}", "there is one an item")
    return words


# ------------------------------------------------------------------------------------------- from parts to one table


@dataclass(frozen=True, kw_only=True, eq=False)
class _Items:
    """Which row of which part every item is, and where the rows of the parts went."""

    ids: tuple[str, ...]
    part: Index
    row: Index
    place: Sequence[Index]
    """For each part, (n,) the item of each row; -1 where the files leave it out."""

    @classmethod
    def of(cls, parts: Sequence[_Rows]) -> _Items:
        ids: list[str] = []
        origin: list[tuple[int, int]] = []
        place: list[Index] = []
        names = _official(parts)
        known: dict[str, int] = {}
        for p, rows in enumerate(parts):
            home = next((h for h, other in enumerate(parts[:p]) if other.part.id == rows.part.inside), None)
            copies = None if home is None else _copies(rows, parts[home])
            if home is not None and copies is not None:
                place.append(place[home][copies])
                continue
            where = np.full(rows.n, -1, np.int64)
            for row in rows.keep.tolist():
                official = names[p]
                name = official[row] if official else f"{rows.part.id}{row}"
                item = known.setdefault(name, len(ids))
                if item == len(ids):
                    ids.append(name)
                    origin.append((p, row))
                elif origin[item][0] == p:
                    raise DataError(
                        f"{rows.where}: expected every id once, found {name} in rows {origin[item][1]} and {row}; "
                        "mend or replace the file"
                    )
                elif not np.array_equal(parts[origin[item][0]].labels[origin[item][1]], rows.labels[row]):
                    raise DataError(
                        f"{name}: expected the same labels everywhere, found others in {rows.where} than in "
                        f"{parts[origin[item][0]].where}; mend or replace the files"
                    )
                where[row] = item
            place.append(where)
        part, row_of = np.array(origin, np.int64).reshape(-1, 2).T
        return cls(ids=tuple(ids), part=part, row=row_of, place=place)

    def part_row(self, parts: Sequence[_Rows]) -> Index:
        """(n,) the rows of the items when the parts lie under one another."""
        starts = np.cumsum([0, *(rows.n for rows in parts)])
        return cast(Index, starts[self.part] + self.row)


SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def _official(parts: Sequence[_Rows]) -> list[Sequence[str] | None]:
    """The ids that the files give: those they state, or the names of the pictures as short as they stay different."""
    pictures = dict.fromkeys(name for rows in parts if not rows.ids for name in rows.pictures or ())
    endings = {name: PurePosixPath(name).suffix for name in pictures}
    bare = {name: name.removesuffix(end) if end.lower() in SUFFIXES else name for name, end in endings.items()}
    short = {name: PurePosixPath(long).name for name, long in bare.items()}
    if len(set(short.values())) < len(short):
        split = [name.split("/")[:-1] for name in pictures]
        common = next((i for i, level in enumerate(zip(*split, strict=False)) if len(set(level)) > 1), 0)
        short = {name: "/".join(long.split("/")[common:]) for name, long in bare.items()}
    return [rows.ids or (rows.pictures and [short[name] for name in rows.pictures]) for rows in parts]


def _copies(rows: _Rows, home: _Rows) -> Index | None:
    """(n,) for every row the row of ``home`` with the same content, each used once; None where one has none."""
    if rows.strings or home.strings or rows.numbers.keys() != home.numbers.keys():
        return None
    places: dict[bytes, list[int]] = {}
    for row, content in reversed(list(enumerate(_contents(home)))):
        places.setdefault(content, []).append(row)
    copies = [same.pop() if (same := places.get(content)) else None for content in _contents(rows)]
    return None if None in copies else np.array(copies, np.int64)


def _contents(rows: _Rows) -> Iterator[bytes]:
    """A digest for each row: of its labels and of all its views."""
    for start in range(0, rows.n, BLOCK):
        stop = min(start + BLOCK, rows.n)
        parts = [rows.labels[start:stop], *(rows.numbers[view][start:stop] for view in sorted(rows.numbers))]
        lines = [[np.ascontiguousarray(line) for line in block] for block in parts]
        for i in range(stop - start):
            content = hashlib.sha256()
            for block in lines:
                content.update(block[i].tobytes())
            yield content.digest()


def _labels(parts: Sequence[_Rows], family: Family, names: Sequence[str]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """All rows of all parts under one another, and the names of the columns."""
    first = parts[0]
    for rows in parts:
        if rows.labels.shape[1:] != first.labels.shape[1:]:
            raise DataError(f"labels: expected as many classes everywhere, found {first.where} and {rows.where}")
    labels = np.concatenate([rows.labels for rows in parts])
    if labels.ndim == 1:
        labels = _one_hot(labels, family, len(names), first.where)
    if names and len(names) != labels.shape[1]:
        raise DataError(f"class names: expected {labels.shape[1]}, one a column of {first.where}, found {len(names)}")
    words = tuple(name.strip().lower() for name in names)
    return labels, words or tuple(f"class {column + 1}" for column in range(labels.shape[1]))


def _one_hot(numbers: Index, family: Family, classes: int, where: str) -> NDArray[np.uint8]:
    """Columns for class numbers; without names every class between the first and the last must occur."""
    kinds = np.unique(numbers)
    starts = [first for first in family.first_class if kinds[0] >= first]
    if classes:
        starts = [first for first in starts if kinds[-1] < first + classes]
    else:
        starts = [first for first in starts if kinds[0] == first and kinds[-1] == first + len(kinds) - 1]
    if len(starts) == 2 and kinds[0] == 1:
        raise DataError(
            f"{where}: cannot tell whether class numbers {kinds[0]} to {kinds[-1]} of {classes} names are counted "
            "from 0 or from 1; save the labels as 0 and 1, one column a class"
        )
    if not starts:
        counted = " or ".join(map(str, family.first_class))
        raise DataError(
            f"{where}: expected class numbers counted from {counted} without gaps, found {_brief(kinds)}; "
            "mend the file, or name all classes"
        )
    columns = np.arange(starts[0], starts[0] + (classes or len(kinds)))
    return np.asarray(numbers[:, None] == columns, np.uint8)


def _brief(numbers: NDArray[Any]) -> str:
    words = [str(number) for number in numbers.tolist()]
    return ", ".join(words if len(words) < 8 else [*words[:3], "...", *words[-3:]])


@dataclass(frozen=True, eq=False)
class Gathered:
    """Rows from several arrays in a given order, read when they are asked for; zeros where there is none."""

    sources: tuple[Numbers, ...]
    source: Index
    """(n,) which array; -1 is none."""
    row: Index

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.row), *self.sources[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(source.dtype for source in self.sources))

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        source, row = self.source[rows], self.row[rows]
        out = np.zeros((len(row), *self.shape[1:]), self.dtype)
        breaks = np.flatnonzero((np.diff(source) != 0) | (np.diff(row) != 1)) + 1
        for start, stop in pairwise([0, *breaks.tolist(), len(row)]):
            if stop > start and source[start] >= 0:
                out[start:stop] = self.sources[source[start]][int(row[start]) : int(row[stop - 1]) + 1]
        return out


def _vectors(items: _Items, parts: Sequence[_Rows]) -> dict[str, Numbers]:
    vectors: dict[str, Numbers] = {}
    for view in dict.fromkeys(view for rows in parts for view in rows.numbers):
        having = [p for p, rows in enumerate(parts) if view in rows.numbers]
        sources = tuple(parts[p].numbers[view] for p in having)
        for p, source in zip(having, sources, strict=True):
            if source.shape[1:] != sources[0].shape[1:]:
                raise DataError(
                    f"view {view}: expected {sources[0].shape[1:]} numbers an item in every part, as in "
                    f"{parts[having[0]].where}, found {source.shape[1:]} beside {parts[p].where}"
                )
        index = np.full(len(parts), -1, np.int64)
        index[having] = range(len(having))
        whole = len(sources) == 1 and np.array_equal(items.row, np.arange(sources[0].shape[0]))
        vectors[view] = sources[0] if whole else Gathered(sources, index[items.part], items.row)
    return vectors


def _captions(items: _Items, parts: Sequence[_Rows]) -> tuple[tuple[str, ...], ...]:
    if not any("text" in rows.strings for rows in parts):
        return ()
    return tuple(
        tuple(parts[p].strings["text"][row]) if "text" in parts[p].strings else ()
        for p, row in zip(items.part.tolist(), items.row.tolist(), strict=True)
    )


def _pictures(items: _Items, parts: Sequence[_Rows], images: Path | None) -> tuple[str, ...]:
    names = [
        pictures[row] if (pictures := parts[p].pictures) else ""
        for p, row in zip(items.part.tolist(), items.row.tolist(), strict=True)
    ]
    if not any(names):
        return ()
    if images is not None:
        return _located(names, images)
    if absolute := next((name for name in names if re.match("/|[A-Za-z]:", name)), None):
        raise UsageError(f"{absolute}: a picture on another machine; name the folder that has the pictures (--images)")
    return tuple(names)


def _present(items: _Items, parts: Sequence[_Rows], found: Mapping[str, Variable]) -> dict[str, NDArray[np.bool_]]:
    present: dict[str, NDArray[np.bool_]] = {}
    for view in dict.fromkeys(view for rows in parts for view in (*rows.numbers, *rows.strings)):
        masks = []
        for rows in parts:
            has = np.full(rows.n, view in rows.numbers or view in rows.strings)
            mask = found.get(rows.part.present.get(view, ""))
            if mask is not None:
                if mask.vector is None or len(mask.vector) != rows.n or not np.isin(mask.vector, (0, 1)).all():
                    raise mask.refused(f"{rows.n} of 0 and 1", str(mask), "it says which items have the view")
                has &= mask.vector == 1
            masks.append(has)
        which = np.concatenate(masks)[items.part_row(parts)]
        if not which.all():
            present[view] = which
    return present


def _sides(items: _Items, parts: Sequence[_Rows], found: Mapping[str, Variable]) -> dict[str, Index]:
    sides: dict[str, list[Index]] = {}
    for rows, place in zip(parts, items.place, strict=True):
        for side in rows.part.sides:
            sides.setdefault(side, []).append(place)
        for side, name in rows.part.rows.items():
            if name in found:
                numbers = _row_numbers(found[name], rows.n)
                if (place[numbers] < 0).any():
                    lost = numbers[place[numbers] < 0][0]
                    raise found[name].refused(
                        f"rows of {rows.part.keep}", f"row {lost}", "name files that belong together"
                    )
                sides.setdefault(side, []).append(place[numbers])
    joined = {side: np.concatenate(rows) for side, rows in sides.items()}
    if {"query", "database"} <= joined.keys():
        for side in ("database", "train"):
            both = np.intersect1d(joined["query"], joined.get(side, []))
            if len(both):
                raise DataError(
                    f"{items.ids[both[0]]}: expected on one side, found among the query and the {side} items, "
                    f"as {len(both)} items are; mend the lists"
                )
    return joined


def _located(names: Sequence[str], root: Path) -> tuple[str, ...]:
    """The file below ``root`` for each name: the one that shares the longest tail with it."""
    by_name: dict[str, list[str]] = {}
    for path in _files_below(root):
        by_name.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    lost = [name for name in names if name and name.rsplit("/", 1)[-1] not in by_name]
    if lost:
        raise DataError(
            f"{root}: expected {sum(map(bool, names))} pictures, found none for {len(lost)} of them, the first "
            f"{', '.join(lost[:3])}; name the folder that has them (--images)"
        )
    return tuple(_nearest(name, by_name[name.rsplit("/", 1)[-1]], root) if name else "" for name in names)


def _files_below(root: Path) -> Iterator[str]:
    if not root.is_dir():
        raise UsageError(f"--images {root}: expected a folder with the pictures, found none")
    for path in sorted(root.rglob("*")):
        below = path.relative_to(root).as_posix()
        if path.suffix.lower() == ".zip":
            try:
                with zipfile.ZipFile(path) as archive:
                    yield from (f"{below}!/{member}" for member in archive.namelist() if not member.endswith("/"))
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{path}: expected a zip, found a damaged one ({error}); get it again") from None
        elif path.is_file():
            yield below


def _nearest(name: str, candidates: Sequence[str], root: Path) -> str:
    def shared(candidate: str) -> int:
        pairs = zip(reversed(name.split("/")), reversed(candidate.replace("!/", "/").split("/")), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    if name in candidates or len(candidates) == 1:
        return name if name in candidates else candidates[0]
    best = sorted(candidates, key=shared, reverse=True)
    if shared(best[0]) == shared(best[1]):
        raise DataError(
            f"{root}: expected one file for {name}, found {best[0]} and {best[1]}; "
            "name a folder that has it once (--images)"
        )
    return best[0]


# ------------------------------------------------------------------------------------------------------- text files


def _lines(path: Path) -> list[str]:
    """Lines as they are, the empty ones too: line i belongs to item i."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected lines of UTF-8 text, found none to read ({error}); get it again") from None
    if not text.strip():
        raise DataError(f"{path}: expected lines of text, found an empty file; get it again")
    return text.removesuffix("\n").split("\n")


def _fields(path: Path, number: int, line: str, count: int, separator: str | None) -> list[str]:
    fields = line.split(separator)
    if len(fields) != count:
        raise DataError(f"{path}:{number}: expected {count} columns, found {len(fields)}; mend the line")
    return fields


def _side(path: Path) -> str:
    found = set(re.findall("train|test|query|database", path.name.lower()))
    side = found.pop() if len(found) == 1 else "all"
    return "query" if side == "test" else side


def _caption_file(path: Path) -> dict[str, Value]:
    return {"caption": _lines(path)}


def _class_file(path: Path) -> dict[str, Value]:
    return {"class_names": [line.strip() for line in _lines(path) if line.strip()]}


def _label_list(path: Path) -> dict[str, Value]:
    lines = _lines(path)
    count = len(lines[0].split())
    if count < 2 or lines[0].split()[0] in ("0", "1", "-1"):
        raise DataError(f"{path}:1: expected a picture and its labels, as in 'path 0 1 0', found {lines[0][:60]!r}")
    rows = [_fields(path, number, line, count, None) for number, line in enumerate(lines, 1)]
    for number, (_, *row) in enumerate(rows, 1):
        if not {*row} <= {"0", "1", "-1"}:
            odd = next(word for word in row if word not in ("0", "1", "-1"))
            raise DataError(f"{path}:{number}: expected labels 0 and 1 (or -1 and 1), found {odd!r}; mend the line")
    side = _side(path)
    pictures = [row[0] for row in rows]
    return {f"{side}_pictures": pictures, f"{side}_list": np.array([row[1:] for row in rows]).astype(np.int8)}


def _wikipedia_list(path: Path) -> dict[str, Value]:
    side = "te" if _side(path) == "query" else "tr"
    rows = [_fields(path, number, line, 3, "\t") for number, line in enumerate(_lines(path), 1)]
    for number, row in enumerate(rows, 1):
        if not row[2].strip().isdecimal():
            raise DataError(f"{path}:{number}: expected a category number, found {row[2]!r}; mend the line")
    return {
        f"{side}_ids": [row[0] for row in rows],
        f"{side}_pictures": [f"{row[1]}.jpg" for row in rows],
        f"{side}_categories": np.array([int(row[2]) for row in rows]),
    }


TEXTS: Iterable[tuple[str, Callable[[Path], Mapping[str, Value]]]] = (
    ("*_txt_img_cat.list", _wikipedia_list),
    ("categories.list", _class_file),
    ("*caption*.txt", _caption_file),
    ("*.txt", _label_list),
)
"""How text files are read, by name; the first pattern that fits."""
