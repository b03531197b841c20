"""``hashbench score``, ``export``: codes in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hashbench.cli.browse import JsonOption, ResultsOption
from hashbench.cli.output import complain, print_json, print_results, print_table


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
    out: Annotated[Path, typer.Option(help="File to write: .mat, .npz or .safetensors.")],
    results: ResultsOption = None,
    json: JsonOption = False,
) -> None:
    """Write a run's codes and labels as the field's toolkits do: q_img q_txt r_img r_txt q_l r_l."""
    from hashbench import exchange
    from hashbench.paths import results_dir
    from hashbench.store import Store

    store = Store(results or results_dir())
    record = store.by_prefix(run)
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
