"""A prepared data set: one folder that holds what was read from the official files, and the Dataset made of it.

    manifest.json       where it came from, what was measured, which pictures are bad; written last
    items.jsonl         one line an item: id, picture, captions
    labels.npy          (n, c) uint8
    vectors/VIEW.npy    (n, d) numbers or (n, h, w, 3) pixels; present/VIEW.npy, sides/SIDE.npy likewise
    classes.txt, vocabulary.txt

Pictures stay where they are. The folder holds all items; a protocol's recipe chooses among them when it is opened.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from hashbench import checksum
from hashbench.config import digest
from hashbench.data.recipes import Plan
from hashbench.data.sources import Sources
from hashbench.data.splits import Drawn, Items
from hashbench.data.table import Numbers, Table, blocks
from hashbench.dataset import SIDES, Dataset, Index, Rules, Source, Split, Texts, Vectors
from hashbench.errors import DataError
from hashbench.files import replacing, write_text
from hashbench.paths import data_dir

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of a prepared data set."""

    name: str
    of: str
    """The data set of the field whose layout it has, or ``imported``."""
    root: str
    """Folder below which its pictures lie."""
    tiny: bool = False
    """Whether it is a synthetic stand-in in the official layout."""
    items: int = 0
    sides: dict[str, int] = field(default_factory=dict)
    """Sides that the files themselves name, to their number of items."""
    like: str = ""
    """The data set whose protocols an imported one borrows."""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Path below the root to ``bytes`` and ``sha256`` of every file that was read."""
    digests: dict[str, str] = field(default_factory=dict)
    """What every part of the content is (:meth:`Table.digests`)."""
    bad: dict[str, str] = field(default_factory=dict)
    """Picture to what is wrong with it; its item takes no part."""
    verified: bool = False
    """Whether archives were compared with their known sizes and checksums."""
    notes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    """File of this folder to its sha256."""
    time: str = ""
    schema: int = SCHEMA


def write(folder: Path, table: Table, manifest: Manifest) -> Manifest:
    """Keep a table; whatever stood there before is replaced as a whole, or not at all.

    Raises:
        DataError: the disk is full or the folder cannot be written.
    """
    try:
        with _replacing_folder(folder) as partial:
            lines = (
                json.dumps(
                    {
                        "id": item,
                        **({"image": table.images[row]} if table.images else {}),
                        **({"captions": table.captions[row]} if table.captions else {}),
                    },
                    ensure_ascii=False,
                )
                for row, item in enumerate(table.ids)
            )
            write_text(partial / "items.jsonl", "".join(line + "\n" for line in lines))
            write_text(partial / "classes.txt", "".join(name + "\n" for name in table.class_names))
            write_text(partial / "vocabulary.txt", "".join(word + "\n" for word in table.vocabulary))
            arrays: dict[str, Numbers] = {"labels": table.labels}
            for group, content in (("vectors", table.vectors), ("present", table.present), ("sides", table.sides)):
                arrays |= {f"{group}/{name}": array for name, array in content.items()}
            for name, array in arrays.items():
                _write_array(partial / f"{name}.npy", array)
            files = sorted(path for path in partial.rglob("*") if path.is_file())
            manifest = replace(
                manifest,
                items=len(table),
                sides={side: len(rows) for side, rows in table.sides.items()},
                digests={**table.digests(), **manifest.digests},
                files={path.relative_to(partial).as_posix(): checksum.sha256(path) for path in files},
                time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            )
            write_text(partial / "manifest.json", json.dumps(asdict(manifest), indent=1) + "\n")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error}); make room there") from error
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared folder.

    Raises:
        DataError: there is none, it is damaged, or a newer hashbench wrote it.
    """
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["schema"] > SCHEMA:
            raise DataError(f"{path}: written by a newer hashbench (schema {found['schema']})")
        return Manifest(**{**found, "notes": tuple(found["notes"])})
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no prepared data set there") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error}); prepare the data set again") from error


def read(folder: Path) -> tuple[Table, Manifest]:
    """A prepared data set as it was written; arrays are memory maps.

    Raises:
        DataError: a file is missing or not as it was written.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        try:
            same = checksum.sha256(folder / name) == expected
        except OSError:
            same = False
        if not same:
            raise DataError(f"{folder / name}: missing or changed since it was prepared; prepare the data set again")
    return _table(folder, tuple(sorted(manifest.files.items()))), manifest


@lru_cache(maxsize=4)
def _table(folder: Path, files: tuple[tuple[str, str], ...]) -> Table:
    """What the files of a folder say, read once for all of its protocols; ``files`` are their names and digests."""

    def group(of: str) -> dict[str, NDArray[Any]]:
        names = [name for name, _ in files if name.startswith(f"{of}/")]
        return {Path(name).stem: _read_array(folder / name) for name in names}

    items = [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").split("\n")[:-1]]
    return Table(
        ids=tuple(item["id"] for item in items),
        class_names=_lines(folder / "classes.txt"),
        labels=_read_array(folder / "labels.npy"),
        images=tuple(item["image"] for item in items if "image" in item),
        captions=tuple(tuple(item["captions"]) for item in items if "captions" in item),
        vectors=group("vectors"),
        present=group("present"),
        vocabulary=_lines(folder / "vocabulary.txt"),
        sides=group("sides"),
    )


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of official files, decoded when asked for."""

    sources: Sources
    paths: Sequence[str]
    modality: Literal["image", "text"] = "image"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int, /) -> Image:
        return self.sources.picture(self.paths[row])


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pictures that are an array (n, h, w, 3) of uint8."""

    array: NDArray[np.uint8]
    rows: Index
    modality: Literal["image", "text"] = "image"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int, /) -> Image:
        from PIL import Image

        return Image.fromarray(np.array(self.array[self.rows[row]]))


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The items of a protocol that are there, and how they fall on the sides."""

    rows: Index
    """Of the table."""
    labels: NDArray[np.uint8]
    class_names: tuple[str, ...]
    split: Split
    listed: int
    """Items of the recipe, whether their pictures are there or not."""


class Prepared(Dataset):
    """A data set that was prepared or imported on this machine, under one of its protocols.

    Subclasses list their :class:`Plan`; the first is the default. ``rules`` gain what only the data can tell (items
    that are missing, sizes that were scaled) when the split is first asked for.
    """

    plans: ClassVar[tuple[Plan, ...]] = ()
    protocols: ClassVar[Mapping[str, Rules]] = {}

    def __init_subclass__(cls) -> None:
        cls.protocols = rules_of(cls.plans)

    def __init__(self, protocol: str | None = None, folder: Path | None = None) -> None:
        """Open it; ``folder`` is where it was prepared, its own place in the data folder where None.

        Raises:
            UsageError: no such protocol.
        """
        super().__init__(protocol)
        if folder is not None:
            self.name = folder.name  # type: ignore[misc]
        self.folder = folder or data_dir() / self.name
        self._plan = next(plan for plan in self.plans if plan.id == self.rules.id)

    @cached_property
    def _read(self) -> tuple[Table, Manifest]:
        if not (self.folder / "manifest.json").exists():
            raise DataError(
                f"{self.name} is not prepared here ({self.folder}); "
                f"hashbench data prepare {self.name} --root FOLDER reads its official files"
            )
        return read(self.folder)

    @property
    def table(self) -> Table:
        """All items, before any protocol chooses."""
        return self._read[0]

    @property
    def manifest(self) -> Manifest:
        """Where they came from."""
        return self._read[1]

    @cached_property
    def _chosen(self) -> _Chosen:
        table, plan = self.table, self._plan
        rows, labels, names = plan.recipe.select(table)
        position = {row: at for at, row in enumerate(rows.tolist())}
        given = {
            side: np.array([position[row] for row in of.tolist() if row in position], np.int64)
            for side, of in table.sides.items()
        }
        rule, complete = plan.split, plan.recipe.items in (None, len(rows))
        if plan.recipe.items and not complete:
            rule = rule.scaled(len(rows) / plan.recipe.items)
        drawn = rule.draw(Items(ids=[table.ids[row] for row in rows.tolist()], labels=labels, given=given))
        if plan.fingerprint and complete and drawn.fingerprint() != plan.fingerprint:
            raise DataError(
                f"{plan.id}: expected the split {plan.fingerprint}, found {drawn.fingerprint()}: "
                "this NumPy permutes otherwise than the one that the presets were made with"
            )
        there = np.flatnonzero(self._usable(rows))
        self.rules = replace(
            self.rules,
            items=f"{plan.recipe}; {self._coverage(rows, there)}",
            split=_noted(f"{rule}" + ("" if complete else " (sizes scaled to this item set)"), plan),
        )
        return _Chosen(rows[there], labels[there], names, _split(drawn, there), len(rows))

    def _usable(self, rows: Index) -> NDArray[np.bool_]:
        """Which items take part: those whose picture is there and sound, where pictures are a view."""
        table, bad = self.table, self.manifest.bad
        if not table.images or (self._plan.vectors and "image" in table.vectors):
            return np.ones(len(rows), np.bool_)
        return np.array([(path := table.images[row]) != "" and path not in bad for row in rows.tolist()], np.bool_)

    def _coverage(self, rows: Index, there: Index) -> str:
        count = f"{len(rows):,} items"
        if self._plan.recipe.items and len(rows) != self._plan.recipe.items:
            count += f" (the complete set has {self._plan.recipe.items:,})"
        if len(there) < len(rows):
            count += f", {len(there):,} of them with a picture: subset {self._subset(rows[there])}"
        return count + (", a tiny synthetic stand-in" if self.manifest.tiny else "")

    @cached_property
    def revision(self) -> str:
        content = {name: part for name, part in self.manifest.digests.items() if not name.startswith("side ")}
        return digest([content, list(self.ids), list(self.class_names)])[:16]

    @cached_property
    def ids(self) -> Sequence[str]:
        return [self.table.ids[row] for row in self._chosen.rows.tolist()]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._chosen.class_names

    @property
    def labels(self) -> NDArray[np.uint8]:
        return self._chosen.labels

    @property
    def split(self) -> Split:
        return self._chosen.split

    @property
    def listed(self) -> int:
        """Items of the protocol's item set, with or without a picture on this machine."""
        return self._chosen.listed

    @property
    def subset(self) -> str:
        """``item set/digest`` of the items that are there, a name that no other subset has."""
        return self._subset(self._chosen.rows)

    def _subset(self, rows: Index) -> str:
        return f"{self._plan.recipe.name}/{digest([self.table.ids[row] for row in rows.tolist()])[:8]}"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.table.vocabulary

    @cached_property
    def views(self) -> Mapping[str, Source]:
        table, rows = self.table, self._chosen.rows
        raw: dict[str, Source] = {}
        if table.images:
            raw["image"] = Pictures(self._sources(), [table.images[row] for row in rows.tolist()])
        if table.captions:
            words, known = self._plan.words, frozenset(table.vocabulary)
            raw["text"] = Texts([words.text(table.ids[r], table.captions[r], known) for r in rows.tolist()])
        given: dict[str, Source] = {}
        for name, array in table.vectors.items():
            held = np.asarray(array)
            given[name] = Pixels(held, rows) if held.ndim == 4 else Vectors(held if _all(rows, held) else held[rows])
        first, second = (raw, given) if self._plan.vectors else (given, raw)
        return dict(sorted({**first, **second}.items(), key=_in_order))

    def _sources(self) -> Sources:
        root = Path(self.manifest.root)
        if not root.is_dir():
            raise DataError(f"{self.name}: its pictures lay below {root}, which is gone; put them back there, or "
                            "prepare it again from where they are now")  # fmt: skip
        return Sources(root)

    def present(self, view: str) -> NDArray[np.bool_]:
        has = self.table.present.get(view)
        return np.ones(len(self), np.bool_) if has is None else np.asarray(has)[self._chosen.rows]


def rules_of(plans: Sequence[Plan]) -> dict[str, Rules]:
    """The rules in words, by protocol id, as far as they are known without the data."""
    return {
        plan.id: Rules(
            id=plan.id,
            items=str(plan.recipe),
            split=_noted(str(plan.split), plan),
            text="vectors that come with the data set" if plan.vectors else str(plan.words),
            metric=plan.metric,
        )
        for plan in plans
    }


def _noted(rule: str, plan: Plan) -> str:
    return f"{rule}; {plan.note}" if plan.note else rule


def _in_order(named: tuple[str, Source]) -> tuple[int, str]:
    first = ("image", "text")
    return (first.index(named[0]) if named[0] in first else len(first), named[0])


def _all(rows: Index, array: NDArray[Any]) -> bool:
    return len(rows) == len(array) and bool((rows == np.arange(len(rows))).all())


def _split(drawn: Drawn, there: Index) -> Split:
    """Positions among the items that are there, ascending on every side."""
    sides = {side: np.flatnonzero(np.isin(there, getattr(drawn, side))) for side in SIDES}
    return Split(**sides)


def _write_array(path: Path, array: Numbers) -> None:
    """A .npy file, block by block, so that what does not fit in memory can be written.

    Not through a memory map: on a full disk that is a signal, which no program survives, and no error.
    """
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with replacing(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks(array):
            file.write(block.astype(array.dtype, copy=False).tobytes())


def _read_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
    return array


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text("utf-8").split("\n")[:-1])


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Lend an empty folder beside ``folder``; when the block ends well, it takes its place.

    One process at a time: another waits, and removes what one that was killed has left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock, partial, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("lock", "partial", "old"))
    with FileLock(lock):
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            if folder.exists():
                folder.replace(old)
            partial.replace(folder)
        finally:
            for left in (partial, old):
                shutil.rmtree(left, ignore_errors=True)
