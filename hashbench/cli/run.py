"""``hashbench run``: train, encode, measure, keep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hashbench.cli.output import complain, print_json, print_results

if TYPE_CHECKING:
    from hashbench.runner import Bench
    from hashbench.spec import Spec
    from hashbench.store import Store


def run(
    method: Annotated[str, typer.Option("--method", "-m", help="Hashing method; hashbench list names them.")],
    dataset: Annotated[str, typer.Option(help="Data set.")] = "pictograms",
    protocol: Annotated[str | None, typer.Option(help="Protocol, name@version; the data set's first.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Encoders of both sides; lite when nothing is said.")] = None,
    image_backbone: Annotated[str | None, typer.Option(help="Encoder of the image side alone.")] = None,
    text_backbone: Annotated[str | None, typer.Option(help="Encoder of the text side alone.")] = None,
    label_backbone: Annotated[
        str | None, typer.Option(help="Reader of label prompts; the text side's own when nothing is said.")
    ] = None,
    views: Annotated[str | None, typer.Option(help="Views that take part, image,text,audio; all there are.")] = None,
    tuning: Annotated[
        Literal["frozen", "full"], typer.Option(help="full: trained encoders are fine-tuned with the method.")
    ] = "frozen",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Arithmetic of encoders and training.")] = "fp32",
    preset: Annotated[str, typer.Option(help="Named settings of the method, before --set.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", "-s", help="name=value; repeat it for more.")] = None,
    label_drop: Annotated[float, typer.Option(help="Share of true training labels to remove.")] = 0.0,
    label_spurious: Annotated[float, typer.Option(help="False labels to add, as a share of the true ones.")] = 0.0,
    labelled: Annotated[float, typer.Option(help="Share of the training items whose labels are known.")] = 1.0,
    text_keep: Annotated[float, typer.Option(help="Share of the words of training texts to keep.")] = 1.0,
    text_junk: Annotated[int, typer.Option(help="Words of other texts to add to each training text.")] = 0,
    bits: Annotated[str, typer.Option(help="Code lengths: 16,32,64.")] = "64",
    seeds: Annotated[str, typer.Option(help="Seeds: 0-4 or 0,7.")] = "0",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Runs at the same time; 0: as many as there are cores.")] = 0,
    results: Annotated[Path | None, typer.Option(help="Folder of the records.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done.")] = False,
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Keep the codes alone; search and export of models need the model.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a method, encode queries and database, measure both tasks, keep the record.

    What is done already is reused. Exit codes: 0 done, 2 usage, 3 data or weights, 4 diverged, 5 some runs
    are not done, 130 interrupted.
    """
    from hashbench.spec import Execution, parse_numbers

    lengths, chosen_seeds = parse_numbers("--bits", bits), parse_numbers("--seeds", seeds)
    from hashbench import registry
    from hashbench.config import override, with_preset
    from hashbench.grid import carry_out, exit_code, specs_of
    from hashbench.paths import results_dir
    from hashbench.runner import Bench, resolve_device
    from hashbench.setup import setup_of
    from hashbench.store import Store
    from hashbench.worker import Cell

    config = override(with_preset(registry.methods.get(method).config_class, preset), settings or [])
    setup = setup_of({
        "dataset": dataset, "protocol": protocol, "views": views, "backbone": backbone,
        "image_backbone": image_backbone, "text_backbone": text_backbone, "label_backbone": label_backbone,
        "tuning": tuning, "precision": precision, "label_drop": label_drop, "label_spurious": label_spurious,
        "labelled": labelled, "text_keep": text_keep, "text_junk": text_junk,
    })  # fmt: skip
    bench = Bench(setup, device=resolve_device(device))
    specs = specs_of(bench, method, config, lengths, chosen_seeds)
    records = Store(results or results_dir())
    if dry_run:
        _print_plan(bench, specs, records, json)
        return
    execution = Execution(device=bench.device, workers=workers or _fitting_workers(bench), force=force,
                          models=not no_model)  # fmt: skip
    from hashbench.cli.progress import Progress

    try:
        with Progress(quiet or json) as progress:
            done = carry_out([Cell(setup, spec) for spec in specs], records, execution, progress)
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept, and the same command goes on from there")
        raise typer.Exit(130) from None
    if json:
        print_json([record.to_json() for record in done])
    else:
        print_results(done, records)
        typer.echo(f"records: {records.root / dataset / method}")
    raise typer.Exit(exit_code(done))


def _fitting_workers(bench: Bench) -> int:
    """One run a core on cached features; one at a time where a run uses the whole machine."""
    alone = bench.device != "cpu" or any(map(bench.is_raw, bench.backbones))
    return 1 if alone else os.cpu_count() or 1


def _print_plan(bench: Bench, specs: list[Spec], records: Store, json: bool) -> None:
    from hashbench import registry
    from hashbench.cli.output import print_table

    found = {spec.key: records.find(spec) for spec in specs}
    states = {key: record.status if record else "to run" for key, record in found.items()}
    method = registry.methods.get(specs[0].method)
    features = {
        view: "raw items, trained with the method"
        if bench.is_raw(view)
        else ("cached" if bench.has_features(view, method) else "to compute")
        for view in bench.views_of(method)
    }
    if json:
        print_json({"runs": [{"key": s.key, "state": states[s.key], "spec": s.key_fields()} for s in specs],
                    "features": features})  # fmt: skip
        return
    first = specs[0]
    print_table("would run", ["key", "method", "bits", "seed", "state"],
                [[s.key[:16], s.method, s.bits, s.seed, states[s.key]] for s in specs])  # fmt: skip
    typer.echo(f"protocol {first.protocol}, split {first.split}, device {bench.device}")
    for view, identity in first.views.items():
        typer.echo(f"{view}: {identity}: {features.get(view, 'reads label prompts')}")
    typer.echo("settings: " + " ".join(f"{name}={value}" for name, value in first.config.items()))
