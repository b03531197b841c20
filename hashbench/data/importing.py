"""From the field's files, or one's own, to a prepared data set under a name of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hashbench import checksum
from hashbench.data import families, prepared
from hashbench.data.imported import recipe_like
from hashbench.data.prepare import Progress, bad_pictures, check_pictures, picture_digest
from hashbench.data.prepared import Manifest
from hashbench.data.sources import Sources
from hashbench.data.table import Table
from hashbench.errors import DataError, UsageError
from hashbench.paths import data_dir

ENDINGS = (".mat", ".npz", ".h5", ".hdf5", ".txt", ".list")
"""Which files of a folder are taken."""

FEWEST = 10


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
    paths = [path for given in files for path in (_inside(given) if given.is_dir() else [given])]
    names = _class_names(wanted)
    table = families.import_files(paths, wanted.images, class_names=names, ignore=wanted.ignore)
    if len(table) < FEWEST:
        raise DataError(f"{paths[0]}: expected at least {FEWEST} items, of which a tenth asks, found {len(table)}")
    if not table.labels.any():
        raise DataError(f"{paths[0]}: expected items with labels, found {len(table):,} without any; mend the labels")
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
            raise bad_pictures(wanted.name, bad)
        digests = picture_digest(sources, table, bad)
    elif table.images:
        table = _without_pictures(table)
    _require_two_views(table, paths)
    manifest = Manifest(
        name=wanted.name,
        of="imported",
        root=str((wanted.images or paths[0].parent).resolve()),
        like=wanted.like,
        sources={
            str(path.resolve()): {"bytes": path.stat().st_size, "sha256": checksum.sha256(path)} for path in paths
        },
        digests=digests,
        bad=bad,
        notes=tuple(notes),
    )
    folder = data_dir() / wanted.name
    prepared.write(folder, table, manifest)
    return folder


def _inside(folder: Path) -> list[Path]:
    """The files of a folder that can be imported; whatever else lies there is left alone."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS and path.is_file()]
    if not found:
        raise DataError(f"{folder}: expected files that end in {', '.join(ENDINGS)}, found none; name another folder")
    return found


def _require_two_views(table: Table, paths: Sequence[Path]) -> None:
    views = {*table.vectors, *(["image"] if table.images else []), *(["text"] if table.captions else [])}
    if len(views) < 2:
        raise DataError(
            f"{', '.join(map(str, paths))}: expected two views or more, found {', '.join(views)} alone; name the file "
            "that has the other, too (the field calls it FAll, IAll or images, and YAll, tags or caption), or save "
            "your own views as variables named in lower case: image, text, audio"
        )


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
