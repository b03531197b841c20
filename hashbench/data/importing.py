"""From the field's files, or one's own, to a prepared data set under a name of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hashbench import checksum
from hashbench.data import families, prepared
from hashbench.data.imported import recipe_like
from hashbench.data.prepare import Progress, check_pictures, picture_digest
from hashbench.data.prepared import Manifest
from hashbench.data.sources import Sources
from hashbench.data.table import Table
from hashbench.errors import DataError, UsageError
from hashbench.paths import data_dir


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What becomes of imported files."""

    name: str
    images: Path | None = None
    """Folder of the pictures that the files name."""
    like: str = ""
    """The data set of the field whose protocols and class names it borrows."""
    class_names: Path | None = None
    """Text file with one label name a line."""
    ignore: tuple[str, ...] = ()
    """Variables to leave out."""
    bad_images: Literal["error", "skip"] = "error"


def import_files(files: Sequence[Path], wanted: Wanted, progress: Progress) -> Path:
    """Read files of any family that is known, and keep them as a data set; returns its folder.

    Raises:
        DataError: a file is missing, damaged or of no known family, or does not fit the others.
        UsageError: ``like`` names a data set with another number of items or classes.
    """
    paths = [path for given in files for path in (sorted(given.iterdir()) if given.is_dir() else [given])]
    names = _class_names(wanted)
    table = families.import_files(paths, wanted.images, class_names=names, ignore=wanted.ignore)
    table = replace(table, class_names=tuple(_plain(name) for name in table.class_names))
    notes: list[str] = []
    if wanted.like:
        recipe = recipe_like(wanted.like, len(table), len(table.class_names))
        if recipe is None:
            raise UsageError(
                f"--like {wanted.like}: none of its item sets has {len(table):,} items and "
                f"{len(table.class_names)} classes"
            )
        if recipe.classes and not names and table.class_names[0] == "class 1":
            table = replace(table, class_names=recipe.classes)
            notes.append(f"class names in the order of {wanted.like}; the files do not say them")
    bad: dict[str, str] = {}
    digests: dict[str, str] = {}
    if wanted.images is not None and table.images:
        sources = Sources(wanted.images)
        bad = check_pictures(sources, table, progress)
        if bad and wanted.bad_images == "error":
            first = "; ".join(f"{path}: {why}" for path, why in sorted(bad.items())[:3])
            raise DataError(
                f"{len(bad)} pictures cannot be used: {first}. Get them again, or leave their items out with "
                "--bad-images skip"
            )
        digests = picture_digest(sources, table, bad)
    elif table.images:
        table = _without_pictures(table)
    manifest = Manifest(
        name=wanted.name,
        of="imported",
        root=str((wanted.images or paths[0].parent).resolve()),
        like=wanted.like,
        sources={str(path): {"bytes": path.stat().st_size, "sha256": checksum.sha256(path)} for path in paths},
        digests=digests,
        bad=bad,
        decoded=bool(digests),
        notes=tuple(notes),
    )
    folder = data_dir() / wanted.name
    prepared.write(folder, table, manifest)
    return folder


def _class_names(wanted: Wanted) -> Sequence[str]:
    if wanted.class_names is None:
        return ()
    try:
        lines = wanted.class_names.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--class-names {wanted.class_names}: cannot be read ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


def _without_pictures(table: Table) -> Table:
    """Picture files are named, and nobody said where they are: fine where vectors stand in for them."""
    if len({*table.vectors, *(["text"] if table.captions else [])}) < 2:
        raise UsageError("--images: the files name pictures; say which folder has them")
    return replace(table, images=())
