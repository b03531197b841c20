"""``hashbench score``, ``export``: codes in files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from hashbench.cli.browse import JsonOption, ResultsOption
from hashbench.cli.output import complain, print_json, print_results, print_table
from hashbench.errors import UsageError


def score(
    file: Annotated[Path, typer.Argument(help="Codes and labels: .mat, .npz or .safetensors.")],
    labels: Annotated[Path | None, typer.Option(help="File whose labels (q_l, r_l) are taken instead.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the method; by default, the file's name.")] = None,
    dataset: Annotated[str, typer.Option(help="What to call the data set; the file's labels are measured.")] = "codes",
    seed: Annotated[int, typer.Option(help="Seed of the run that made the codes.", min=0)] = 0,
    cutoffs: Annotated[str | None, typer.Option(help="More ranks for the metrics at K, such as 50,5000.")] = None,
    binarise: Annotated[bool, typer.Option("--binarise", help="Take the sign of real values; 0 is +1.")] = False,
    items: Annotated[
        Literal["rows", "columns"] | None, typer.Option(help="Which way items lie, where the shapes do not tell.")
    ] = None,
    results: ResultsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure codes that any toolkit made: every metric, its definition, and what ties can change."""
    from hashbench import exchange
    from hashbench.paths import results_dir
    from hashbench.retrieval import definition
    from hashbench.spec import parse_numbers
    from hashbench.store import Store

    store = Store(results or results_dir())
    record = exchange.score(
        file, labels=labels, name=name, dataset=dataset, seed=seed, binarise=binarise, items=items,
        cutoffs=parse_numbers("--cutoffs", cutoffs) if cutoffs else (), results=store.root,
    )  # fmt: skip
    for warning in record.warnings:
        complain(warning)
    if json:
        print_json(record.to_json())
        return
    print_results([record], store)
    tasks = list(record.metrics)
    print_table(
        f"{record.spec.bits} bits: every metric",
        ["metric", *tasks, "definition"],
        [
            [metric, *(f"{record.metrics[task][metric]:.4f}" for task in tasks), definition(metric)]
            for metric in _in_reading_order(record.metrics[tasks[0]])
        ],
    )
    typer.echo(f"record: {store.folder(record.spec)}")


def export(
    run: Annotated[str, typer.Argument(help="The beginning of a run's key.")],
    out: Annotated[
        Path,
        typer.Option(help="File to write. Codes: .mat, .npz, .safetensors or .faiss; a model: .safetensors or .onnx."),
    ],
    what: Annotated[Literal["codes", "model"], typer.Option(help="Codes with their labels, or the model.")] = "codes",
    view: Annotated[str | None, typer.Option(help="Whose codes a FAISS index holds; the first view's.")] = None,
    results: ResultsOption = None,
    json: JsonOption = False,
) -> None:
    """Write a run's codes as the field's toolkits do (q_img q_txt r_img r_txt q_l r_l), as an index, or its model."""
    from hashbench import exchange
    from hashbench.paths import results_dir
    from hashbench.store import Store

    store = Store(results or results_dir())
    record = store.by_prefix(run)
    is_index = what == "codes" and out.suffix.lower() == ".faiss"
    if view and not is_index:
        raise UsageError(f"--view {view}: only a FAISS index holds one view; all of them go into {out.name}")
    if what == "model":
        from hashbench.model_export import export_model

        files = export_model(store, record, out)
        if json:
            print_json([{**asdict(each), "key": record.key} for each in files])
            return
        for each in files:
            typer.echo(f"{each.file}: {', '.join(each.views)}")
            if each.tried:
                near = f"; at the other {each.differ} its output is 0 but for rounding" if each.differ else ""
                typer.echo(f"  gives {each.tried - each.differ} of {each.tried} stored bits again{near}")
    elif is_index:
        held, items = exchange.export_index(store, record, out, view)
        if json:
            print_json({"file": str(out), "key": record.key, "view": held, "items": items, "bits": record.spec.bits})
            return
        typer.echo(f"{out}: {items} codes of {record.spec.bits} bits, {held}; ids are rows of {record.spec.dataset}")
    else:
        shapes = exchange.export(store, record, out)
        if json:
            print_json({"file": str(out), "key": record.key, "arrays": shapes})
            return
        print_table(str(out), ["name", "shape"], list(shapes.items()))


def _in_reading_order(metrics: dict[str, float]) -> list[str]:
    """MAP over everything with its bounds, chance, then each cut-off with its definitions side by side."""

    def place(metric: str) -> tuple[int, int]:
        rank = metric.partition("@")[2].partition("/")[0]
        return (2, int(rank)) if rank.isdecimal() else (0 if rank == "all" else 1, 0)

    return sorted(metrics, key=place)
