"""From official files to a prepared data set: find, check, read, compare, decode, keep. And the way back: verify."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from hashbench.config import digest
from hashbench.data import fetch, pictures, prepared
from hashbench.data.official import TINY_MARK, Official
from hashbench.data.prepared import Manifest
from hashbench.data.sources import Sources, Used
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.paths import cache_dir, data_dir

Progress = Callable[[str, int, int], None]
"""Called as (what is being done, done, total)."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a data set is prepared."""

    name: str | None = None
    """Under which name; its own where None, ``NAME-tiny`` for a stand-in."""
    download: bool = False
    """Whether what is missing is fetched, where the official place serves files."""
    verify: bool = True
    """Whether archives and contents must be what is known of the official ones; otherwise differences are noted."""
    bad_images: Literal["error", "skip"] = "error"
    """What missing and damaged pictures mean: an error, or items that take no part."""
    any_encoding: bool = False
    """Whether text that is not in the official encoding is read as Latin-1, and counted."""


def prepare(cls: type[Official], root: Path, choices: Choices, progress: Progress) -> tuple[Manifest, Path]:
    """Read an official data set and keep it in the data folder.

    Returns:
        Its manifest and its folder.

    Raises:
        DataError: something is missing, damaged, or not what the official files come to.
    """
    if choices.download:
        download(cls, root, progress)
    sources = Sources(root, any_encoding=choices.any_encoding)
    tiny = _tiny(root, cls)
    items = tiny or cls.expected.items
    verified = bool(not tiny and choices.verify and _verify_archives(cls, root, progress))
    table = cls.read(sources, items)
    if tiny and len(table) != tiny:
        raise DataError(f"{root / TINY_MARK}: expected {tiny} items, found {len(table)}; make the stand-in again")
    odd = [] if tiny else list(dict.fromkeys(surprises(cls, table)))
    if odd and choices.verify:
        raise DataError(f"{cls.name}: {odd[0]}; where your files are right, prepare them with --no-verify")
    bad = check_pictures(sources, table, progress)
    if bad and choices.bad_images == "error":
        raise bad_pictures(cls.name, bad)
    name = choices.name or (f"{cls.name}-tiny" if tiny else cls.name)
    folder = data_dir() / name
    notes = [f"not as published: {surprise}" for surprise in odd]
    if sources.fallbacks:
        notes.append(f"{len(sources.fallbacks)} texts were read as Latin-1")
    manifest = Manifest(
        name=name,
        of=cls.name,
        root=str(root.resolve()),
        tiny=bool(tiny),
        sources={path: {"bytes": used.bytes, "sha256": used.sha256} for path, used in sorted(sources.used.items())},
        digests=picture_digest(sources, table, bad),
        bad=dict(sorted(bad.items())),
        verified=verified,
        notes=tuple(notes),
    )
    return prepared.write(folder, table, manifest), folder


def verify(cls: type[Official] | None, folder: Path, progress: Progress) -> list[str]:
    """What has changed since a data set was prepared, one line each; empty: nothing.

    Every source file is hashed again, the official layout (of ``cls``; None where it was imported) is read again and
    compared item by item, and pictures that changed are decoded again.

    Raises:
        DataError: the prepared files or the official ones cannot be read at all.
    """
    table, manifest = prepared.read(folder)
    sources = Sources(Path(manifest.root), any_encoding=True)
    changed = []
    for done, (path, known) in enumerate(manifest.sources.items()):
        progress("files", done + 1, len(manifest.sources))
        found = _used(sources, path)
        if found is None:
            changed.append(f"{path}: missing")
        elif found.sha256 != known["sha256"]:
            changed.append(
                f"{path}: changed since it was prepared: expected {known['bytes']} bytes, sha256 "
                f"{known['sha256'][:16]}, found {found.bytes} bytes, {found.sha256[:16]}"
            )
    if cls is not None and not changed:
        changed += differences(table, cls.read(sources, len(table) if manifest.tiny else cls.expected.items))
    bad = check_pictures(sources, table, progress)
    changed += [f"{path}: {why}" for path, why in sorted(bad.items()) if path not in manifest.bad]
    if not changed and picture_digest(sources, table, bad).get("pictures") != manifest.digests.get("pictures"):
        changed.append(f"{manifest.root}: pictures have other sizes than when they were prepared")
    return changed


def _used(sources: Sources, path: str) -> Used | None:
    """What a source file holds now; None: it is gone. Those of an import have whole paths, below no root."""
    if sources.exists(path):
        sources.read(path)
        return sources.used[path]
    if not Path(path).is_absolute():
        return None
    try:
        with Path(path).open("rb") as file:
            return Used(Path(path).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        return None


def differences(before: Table, now: Table) -> list[str]:
    """Where two readings of the same files differ: the first item of each kind."""
    if before.ids != now.ids:
        at = next((i for i, (a, b) in enumerate(zip(before.ids, now.ids, strict=False)) if a != b), len(now.ids))
        return [f"item {at + 1}: expected {len(before)} items as prepared, found {len(now)}; ids differ from here"]
    found = []
    for row, item in enumerate(before.ids):
        if (before.labels[row] != now.labels[row]).any():
            found.append(f"item {item} (line {row + 1}): its labels differ")
            break
    for row, item in enumerate(before.ids if before.captions else ()):
        if tuple(before.captions[row]) != tuple(now.captions[row]):
            found.append(f"item {item} (line {row + 1}): its text differs")
            break
    return found


def check_pictures(sources: Sources, table: Table, progress: Progress) -> dict[str, str]:
    """Picture to what is wrong with it; each is decoded in full, once, and remembered across attempts."""
    paths = [path for path in table.images if path]
    if not paths:
        return {}
    memory = cache_dir() / "pictures" / f"{digest(str(sources.root.resolve()))[:16]}.jsonl"
    return dict(pictures.check(sources, paths, memory, lambda done, total: progress("pictures", done, total)))


def picture_digest(sources: Sources, table: Table, bad: dict[str, str]) -> dict[str, str]:
    """Which pictures there are and how long their files; the same for a folder and for the zip it came from."""
    sizes = {
        item: sources.state(path)[0]
        for item, path in zip(table.ids, table.images, strict=False)
        if path and path not in bad
    }
    return {"pictures": digest(sizes)[:16]} if sizes else {}


def download(cls: type[Official], root: Path, progress: Progress) -> None:
    """Fetch the archives that the official place serves, where they are not there yet.

    Raises:
        DataError: it serves none, or a download fails.
    """
    served = [each for each in cls.downloads if each.url]
    if not served:
        raise DataError(f"--download: nobody serves {cls.name} directly. {cls.layout}")
    for each in served:
        fetch.fetch(each, root, partial(_bytes, progress, each.name))


def _bytes(progress: Progress, name: str, done: int, total: int | None) -> None:
    progress(name, done, total or 0)


def _verify_archives(cls: type[Official], root: Path, progress: Progress) -> bool:
    """Compare the archives in the root with what is known of them; whether any was there to compare."""
    known = [each for each in cls.downloads if (root / each.name).is_file() and each.md5]
    for done, each in enumerate(known):
        progress("checksums", done, len(known))
        if wrong := fetch.wrong(root / each.name, each):
            raise DataError(f"{root / each.name}: {wrong}; get it again, or go on unverified with --no-verify")
    return bool(known)


def _tiny(root: Path, cls: type[Official]) -> int:
    """Items of a stand-in; 0 for real files."""
    mark = root / TINY_MARK
    if not mark.is_file():
        return 0
    try:
        found = json.loads(mark.read_text("utf-8"))
        of, items = str(found["of"]), int(found["items"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{mark}: damaged ({error}); make the stand-in again") from error
    if of != cls.name:
        raise DataError(f"{mark}: a stand-in for {of}, not for {cls.name}; hashbench data prepare {of}")
    return items


def make_tiny(cls: type[Official], root: Path, items: int) -> None:
    """Write a stand-in into an empty folder, marked as one.

    Raises:
        DataError: something is there already, or the folder cannot be written.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        found = "files" if root.is_dir() else "a file"
        raise DataError(f"--root {root}: expected an empty folder for the stand-in, found {found}; name another one")
    try:
        root.mkdir(parents=True, exist_ok=True)
        cls.make_tiny(root, items)
        (root / TINY_MARK).write_text(json.dumps({"of": cls.name, "items": items}) + "\n", "utf-8")
    except BaseException as error:  # an interruption, too: half a stand-in is none
        for path in root.iterdir() if root.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            raise DataError(f"--root {root}: cannot be written ({error.strerror}); make room there") from error
        raise


def surprises(cls: type[Official], table: Table) -> Iterator[str]:
    """Every number that is not the official one, the most telling first."""
    expected = cls.expected
    if len(table) != expected.items:
        yield f"expected {expected.items:,} items, found {len(table):,}"
    if expected.class_count not in (0, len(table.class_names)):
        yield f"expected {expected.class_count} classes, found {len(table.class_names)}"
    sums = dict(zip(table.class_names, table.labels.sum(0, dtype=int).tolist(), strict=True))
    for name, count in expected.classes.items():
        if sums.get(name) != count:
            yield (
                f"class {name!r}: expected {count:,} items, found {sums.get(name, 0):,}; "
                "a label file is damaged or of another version"
            )
    columns = [table.class_names.index(name) for name in cls.plans[0].recipe.classes or table.class_names]
    found = hashlib.sha256(np.asarray(table.labels[:, columns], np.uint8).tobytes()).hexdigest()
    if expected.labels_sha256 not in ("", found):
        yield (
            f"labels: expected sha256 {expected.labels_sha256[:16]}, found {found[:16]}: "
            "a label stands at the wrong item, such as one counted from 0"
        )
    digests = table.digests()
    for part, value in expected.digests.items():
        if digests[part] != value:
            yield f"{part}: expected {value}, found {digests[part]}; rows or columns are out of order"
    for plan in cls.plans:
        if set(plan.recipe.lists) - table.sides.keys():
            continue  # a protocol that stands on the lists of another release of the data set
        rows, _, _ = plan.recipe.select(table)
        if plan.recipe.items not in (None, len(rows)):
            yield f"item set {plan.recipe.name}: expected {plan.recipe.items:,} items, found {len(rows):,}"


def bad_pictures(name: str, bad: Mapping[str, str]) -> DataError:
    """The error that says which pictures of a data set cannot be used."""
    named = "; ".join(f"{path}: {why}" for path, why in sorted(bad.items())[:3])
    return DataError(
        f"{name}: {len(bad)} pictures cannot be used: {named}. Get them again, "
        "or leave their items out with --bad-images skip"
    )
