"""``hashbench eval``, ``cache``, ``doctor``: keeping what there is in order."""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated

import typer

from hashbench.cli.browse import MODALITIES, JsonOption, ResultsOption, WhereOption
from hashbench.cli.output import matching, print_json, print_results, print_table
from hashbench.errors import UsageError

cache = typer.Typer(no_args_is_help=True, help="Computed features and stages: where, what, how big.")


def evaluate(where: WhereOption = None, results: ResultsOption = None, json: JsonOption = False) -> None:
    """Measure stored codes again, after a definition changed; needs neither model nor GPU."""
    from hashbench.measuring import evaluate_again
    from hashbench.paths import results_dir
    from hashbench.store import Store

    store = Store(results or results_dir())
    found = matching(store, where or [])
    if not found:
        raise UsageError(f"no such run in {store.root}; hashbench run makes one")
    again = [evaluate_again(store, record) for record in found]
    if json:
        print_json([record.to_json() for record in again])
    else:
        print_results(again, store)


@cache.command("path")
def cache_path() -> None:
    """Print the cache folder (HASHBENCH_CACHE overrides it)."""
    from hashbench.paths import cache_dir

    typer.echo(cache_dir())


@cache.command("ls")
def cache_ls(json: JsonOption = False) -> None:
    """List what is kept."""
    from datetime import datetime

    from hashbench.features import FeatureCache
    from hashbench.paths import cache_dir
    from hashbench.stages import StageFiles

    entries = FeatureCache().ls()
    stages = StageFiles(cache_dir() / "stages")
    if json:
        print_json({"features": [vars(entry) for entry in entries], "stages": len(stages), "stage_bytes": stages.bytes})
        return
    columns = ["key", "data set", "view", "backbone", "rows", "width", "MB", "last used"]
    rows = [
        [e.key[:12], e.dataset, e.view, e.backbone.partition(" ")[0],
         str(e.rows) if e.complete else f"{e.rows} of {e.total}", e.width, f"{e.bytes / 1e6:.1f}",
         datetime.fromtimestamp(e.last_used).strftime("%Y-%m-%d %H:%M")]
        for e in entries
    ]  # fmt: skip
    print_table(f"features in {cache_dir()}", columns, rows)
    typer.echo(f"stages: {len(stages)}, {stages.bytes / 1e6:.1f} MB")


@cache.command("clean")
def cache_clean(
    older: Annotated[int | None, typer.Option(help="Only what was not used for this many days.", min=0)] = None,
) -> None:
    """Delete features and stages; they are computed again when needed. Records are not touched."""
    from hashbench.features import FeatureCache
    from hashbench.paths import cache_dir
    from hashbench.stages import StageFiles

    freed = FeatureCache().clean(older) + StageFiles(cache_dir() / "stages").clean(older)
    typer.echo(f"freed {freed / 1e6:.1f} MB in {cache_dir()}")


def doctor(json: JsonOption = False) -> None:
    """Say what works on this machine, and how to mend what does not."""
    from importlib.metadata import PackageNotFoundError, version

    from hashbench import registry
    from hashbench.errors import HashbenchError

    rows: list[tuple[str, str, str]] = [("python", "ok", f"{platform.python_version()} at {sys.executable}")]
    for package in ("hashbench", "torch", "torchvision", "timm", "open_clip_torch", "numpy"):
        try:
            rows.append((package, "ok", version(package)))
        except PackageNotFoundError:
            rows.append((package, "missing", f"pip install {package}"))
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows.append(("devices", "ok", ", ".join(["cpu", *gpus])))
    from hashbench.backbone import open_backbone

    try:
        for modality in MODALITIES:
            found = open_backbone(modality, "lite")
            rows.append((f"offline {modality} weights", "ok", f"{found.name} {found.weights}"))
    except HashbenchError as error:
        rows.append(("offline weights", "missing", str(error)))
    rows.append(_writable("cache", "HASHBENCH_CACHE"))
    rows.append(_writable("results", "HASHBENCH_RESULTS"))
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    rows.append(("hubs", "ok", "HF_HUB_OFFLINE is set: only weights kept on this machine" if offline else "allowed"))
    for registered in (registry.methods, registry.datasets, registry.backbones, registry.plots):
        for name in registered.entries():
            try:
                registered.get(name)
            except HashbenchError as error:
                rows.append((f"{registered.kind} {name}", "broken", str(error)))
    if json:
        print_json([dict(zip(("what", "state", "detail"), row, strict=True)) for row in rows])
    else:
        print_table("doctor", ["what", "state", "detail"], rows)
    raise typer.Exit(0 if all(state == "ok" for _, state, _ in rows) else 1)


def _writable(what: str, variable: str) -> tuple[str, str, str]:
    from hashbench.paths import cache_dir, results_dir

    folder = {"cache": cache_dir, "results": results_dir}[what]()
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if os.access(existing, os.W_OK):
        return what, "ok", str(folder)
    return what, "not writable", f"{folder}: set {variable} to a folder of yours"
