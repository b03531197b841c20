"""``hashbench data``: other people's data sets, from whatever form of them there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hashbench.cli.browse import JsonOption
from hashbench.cli.output import complain, print_json, print_table
from hashbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from hashbench.data.prepared import Prepared

data = typer.Typer(no_args_is_help=True, help="Prepare, verify and import data sets; HASHBENCH_DATA is where they go.")

RootOption = Annotated[Path, typer.Option("--root", help="Folder of the official files: zips or unpacked folders.")]
NameArgument = Annotated[str, typer.Argument(help="mirflickr25k, nuswide, coco, iaprtc12, wikipedia, xmedia.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@data.command("prepare")
def prepare(
    name: NameArgument,
    root: RootOption,
    as_name: Annotated[str | None, typer.Option("--as", help="Name to keep it under; its own.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch what the official place serves.")] = False,
    verify: Annotated[
        bool, typer.Option(help="Refuse archives, counts and digests that are not the published ones.")
    ] = True,
    bad_images: Annotated[
        Literal["error", "skip"], typer.Option(help="What missing and damaged pictures mean; skip leaves them out.")
    ] = "error",
    any_encoding: Annotated[
        bool, typer.Option("--any-encoding", help="Read text in a wrong encoding as Latin-1, and count it.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read an official data set, check every number that is known of it, decode every picture, and keep it."""
    from hashbench.cli.progress import Meter
    from hashbench.data import catalogue
    from hashbench.data.prepare import Choices
    from hashbench.data.prepare import prepare as prepare_

    cls = catalogue.official(name)
    if as_name is not None:
        _require_name("--as", as_name)
    choices = Choices(name=as_name, download=download, verify=verify, bad_images=bad_images, any_encoding=any_encoding)
    try:
        with Meter(quiet or json) as meter:
            manifest, folder = prepare_(cls, root, choices, lambda what, n, of: meter.show(what, what, n, of))
    except KeyboardInterrupt:
        complain("interrupted; checked pictures are remembered, and the same command goes on from there")
        raise typer.Exit(130) from None
    _tell(manifest.name, json)
    if not json:
        typer.echo(f"kept in {folder}; hashbench run --dataset {manifest.name}")


@data.command("verify")
def verify(
    name: Annotated[str, typer.Argument(help="A prepared data set.")],
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read the official files of a prepared data set again, and say what is no longer what it was."""
    from hashbench.cli.progress import Meter
    from hashbench.data import catalogue
    from hashbench.data.prepare import verify as verify_
    from hashbench.data.prepared import read_manifest

    folder = _folder(name)
    manifest = read_manifest(folder)
    cls = None if manifest.of == "imported" else catalogue.official(manifest.of)
    with Meter(quiet or json) as meter:
        changed = verify_(cls, folder, lambda what, n, of: meter.show(what, what, n, of))
    if json:
        print_json({"name": name, "changed": changed})
    elif not changed:
        typer.echo(f"{name}: {manifest.items:,} items, {len(manifest.sources)} source files, all as prepared")
    for line in () if json else changed:
        complain(line)
    raise typer.Exit(DataError.exit_code if changed else 0)


@data.command("info")
def info(
    name: Annotated[str | None, typer.Argument(help="A data set; all when nothing is said.")] = None,
    json: JsonOption = False,
) -> None:
    """Say what is prepared here: source, counts, protocols with their splits and chance level, bad pictures."""
    if name is not None:
        _folder(name)
        _tell(name, json)
        return
    from hashbench.data import catalogue
    from hashbench.data.prepared import read_manifest
    from hashbench.paths import data_dir

    found = [read_manifest(folder) for folder in catalogue.here().values()]
    if json:
        print_json([{"name": m.name, "of": m.of, "items": m.items, "root": m.root, "time": m.time} for m in found])
        return
    if not found:
        typer.echo(f"nothing is prepared in {data_dir()}; hashbench data prepare or import makes a data set")
        return
    rows = [[m.name, m.of, f"{m.items:,}", m.root, m.time] for m in found]
    print_table(f"prepared in {data_dir()}", ["name", "of", "items", "files", "when"], rows)


@data.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="The .mat, .npz and list files that belong together.")],
    name: Annotated[str, typer.Option("--name", help="Name to keep it under.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures that the files name.")] = None,
    like: Annotated[
        str, typer.Option(help="Data set of the field whose protocols and class names fit, such as mirflickr25k.")
    ] = "",
    class_names: Annotated[Path | None, typer.Option(help="Text file with the label names, one a line.")] = None,
    ignore: Annotated[str, typer.Option(help="Variables to leave out, where two are the same view: a,b.")] = "",
    bad_images: Annotated[Literal["error", "skip"], typer.Option(help="What damaged pictures mean.")] = "error",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a data set of .mat or .npz files: any family of the field, or two or more named views of your own."""
    from hashbench.cli.progress import Meter
    from hashbench.data.importing import Wanted
    from hashbench.data.importing import import_files as import_files_

    _require_name("--name", name)
    wanted = Wanted(
        name=name, images=images, like=like, class_names=class_names, bad_images=bad_images,
        ignore=tuple(filter(None, (part.strip() for part in ignore.split(",")))),
    )  # fmt: skip
    with Meter(quiet or json) as meter:
        folder = import_files_(files, wanted, lambda what, n, of: meter.show(what, what, n, of))
    _tell(name, json)
    if not json:
        typer.echo(f"kept in {folder}; hashbench run --dataset {name}")


@data.command("make-tiny")
def make_tiny(
    name: NameArgument,
    root: Annotated[Path, typer.Option("--root", help="Empty folder to write it into.")],
    items: Annotated[int, typer.Option(min=60, max=5000, help="How many items.")] = 240,
) -> None:
    """Write a small synthetic stand-in in the official layout, to try everything without anybody's data."""
    from hashbench.data import catalogue
    from hashbench.data.prepare import make_tiny as make_tiny_

    make_tiny_(catalogue.official(name), root, items)
    typer.echo(f"{items} synthetic items in {root}; hashbench data prepare {name} --root {root}")


def _folder(name: str) -> Path:
    from hashbench.config import did_you_mean
    from hashbench.data import catalogue

    found = catalogue.here()
    if name not in found:
        guess = did_you_mean(name, found) if found else "Nothing is; hashbench data prepare or import makes one"
        raise UsageError(f"{name!r} is not prepared here. {guess}")
    return found[name]


def _require_name(flag: str, name: str) -> None:
    import re

    from hashbench import registry

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UsageError(f"{flag} {name!r}: expected lower-case letters, digits, '.', '_' and '-'")
    if name in registry.datasets.entries():
        raise UsageError(f"{flag} {name!r}: an installed data set is called that; take another")


def _tell(name: str, json: bool) -> None:
    """Everything about a prepared data set."""
    from hashbench.data import catalogue
    from hashbench.data.prepared import Prepared

    first = catalogue.open_dataset(name)
    assert isinstance(first, Prepared)
    manifest, protocols = first.manifest, []
    for protocol in first.protocols:
        try:
            opened = catalogue.open_dataset(name, protocol)
            assert isinstance(opened, Prepared)
            protocols.append(_protocol(opened))
        except DataError as error:
            protocols.append({"id": protocol, "problem": str(error)})
    sizes = dict(zip(first.table.class_names, first.table.labels.sum(0, dtype=int).tolist(), strict=True))
    if json:
        print_json({"name": name, "of": manifest.of, "root": manifest.root, "items": manifest.items, "classes": sizes,
                    "bad": manifest.bad, "digests": manifest.digests, "notes": manifest.notes, "tiny": manifest.tiny,
                    "verified": manifest.verified, "licence": first.licence, "protocols": protocols})  # fmt: skip
        return
    like = "a tiny synthetic stand-in for " if manifest.tiny else ""
    typer.echo(f"{name}: {manifest.items:,} items, {like}{manifest.of}, files in {manifest.root}")
    if manifest.bad:
        some = "; ".join(f"{path}: {why}" for path, why in list(manifest.bad.items())[:3])
        typer.echo(f"{len(manifest.bad):,} pictures left out: {some}")
    for part in dict.fromkeys(p["subset"] for p in protocols if p.get("subset")):
        typer.echo(f"pictures are missing: {part}")
    if blank := sum(not any(texts) for texts in first.table.captions):
        typer.echo(f"{blank:,} items have an empty text")
    for note in manifest.notes:
        typer.echo(note)
    rows = [
        [p["id"], p["problem"], "", "", "", "", "", ""] if "problem" in p else
        [p["id"], p["items"].partition(":")[0], f"{p['count']:,}", p["query"], p["database"], p["train"],
         p["validation"], p["chance"]]
        for p in protocols
    ]  # fmt: skip
    print_table("protocols", ["id", "item set", "items", "query", "database", "train", "validation", "chance"], rows)
    most = sorted(sizes.items(), key=lambda of: -of[1])
    typer.echo(f"{len(sizes)} classes: " + ", ".join(f"{label} {count:,}" for label, count in most[:12])
               + (", ..." if len(most) > 12 else ""))  # fmt: skip
    typer.echo(f"licence: {first.licence}")


def _protocol(opened: Prepared) -> dict[str, Any]:
    from hashbench.dataset import SIDES
    from hashbench.retrieval import chance_level

    split = opened.split
    missing = opened.listed - len(opened)
    return {
        "id": opened.rules.id,
        "items": opened.rules.items,
        "count": len(opened),
        "subset": f"{len(opened):,} of {opened.listed:,} items of {opened.subset}" if missing else "",
        "split": opened.split_digest,
        "rule": opened.rules.split,
        "text": opened.rules.text,
        **{side: len(getattr(split, side)) for side in SIDES},
        "chance": f"{chance_level(opened.labels[split.query], opened.labels[split.database]):.4f}",
    }
