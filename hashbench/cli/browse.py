"""``hashbench list``, ``show``, ``results``, ``check``: what there is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hashbench import registry
from hashbench.cli.output import matching, print_json, print_results, print_table
from hashbench.errors import HashbenchError, UsageError

KINDS: dict[str, registry.Registry[Any]] = {
    "method": registry.methods,
    "data set": registry.datasets,
    "backbone": registry.backbones,
    "plot": registry.plots,
}

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="name=value[,value]; repeat it for more conditions.")
]
ResultsOption = Annotated[Path | None, typer.Option("--results", help="Folder of the records.")]


def list_(json: JsonOption = False) -> None:
    """List the installed methods, data sets, backbones and plots, and the packages they come from."""
    rows = [
        {"kind": kind, "name": name, "from": entry.value, "package": _package(entry)}
        for kind, found in KINDS.items()
        for name, entry in found.entries().items()
    ]
    from hashbench.data import catalogue

    rows += [
        {"kind": "data set", "name": name, "from": str(folder), "package": "prepared here"}
        for name, folder in catalogue.here().items()
        if name not in registry.datasets.entries()
    ]
    if json:
        print_json(rows)
        return
    print_table("installed", ["kind", "name", "from", "package"], [list(row.values()) for row in rows])
    typer.echo("Any timm model (resnet50), open_clip model (clip:ViT-B-16:openai) or sentence-transformers model is a")
    typer.echo("backbone too; NAME:scratch trains one from scratch. hashbench show NAME says more.")


def show(
    name: Annotated[str, typer.Argument(help="A method, a data set, a backbone, or the beginning of a run's key.")],
    results: ResultsOption = None,
    json: JsonOption = False,
) -> None:
    """Show a method's settings, a data set's protocols, a backbone's identity, or one run."""
    shower = {"method": _show_method, "data set": _show_dataset, "backbone": _show_backbone, "plot": _show_plot}
    for kind, found in KINDS.items():
        if name in found.entries():
            shower[kind](name, json)
            return
    from hashbench.data import catalogue

    if name in catalogue.here():
        _show_dataset(name, json)
        return
    if name.isalnum() and len(name) >= 4 and all(c in "0123456789abcdef" for c in name):
        _show_run(name, results, json)
        return
    _show_backbone(name, json)


def results(
    where: WhereOption = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric of the table, such as map@50/standard; the protocol's own.")
    ] = None,
    results: ResultsOption = None,
    runs: Annotated[bool, typer.Option("--runs", help="One row a run instead of a summary over seeds.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the table of stored runs, one for each protocol."""
    from hashbench.config import did_you_mean
    from hashbench.paths import results_dir
    from hashbench.store import Store, facts

    store = Store(results or results_dir())
    found = matching(store, where or [])
    if json:
        print_json([record.to_json() for record in found])
        return
    if not found:
        raise UsageError(f"no such run in {store.root}; hashbench run makes one")
    known = {name for record in found for metrics in record.metrics.values() for name in metrics}
    if known and metric and metric not in known:
        raise UsageError(f"--metric {metric!r}: no run has it. {did_you_mean(metric, sorted(known))}")
    if runs:
        metric = metric or "map@all"
        views = list(dict.fromkeys(view for record in found for view in record.spec.views))
        columns = ["key", "method", *views, "bits", "seed", "status"]
        tasks = list(dict.fromkeys(task for record in found for task in record.metrics))
        print_table(
            f"runs in {store.root}",
            [*columns, *(f"{task} {metric}" for task in tasks)],
            [
                [
                    *(facts(record).get(column, "") for column in columns),
                    *(f"{m[metric]:.4f}" if metric in (m := record.metrics.get(task, {})) else "" for task in tasks),
                ]
                for record in found
            ],
        )
        return
    print_results(found, store, metric)


def check(
    name: Annotated[str, typer.Argument(help="A method, a data set or a backbone.")],
    json: JsonOption = False,
) -> None:
    """Check that a plug-in keeps its contract; says what was checked and how many checks ran."""
    from hashbench import testing
    from hashbench.backbone import open_backbone
    from hashbench.data import catalogue

    if name in registry.methods.entries():
        reports = [testing.check_method(registry.methods.get(name))]
    elif name in {**registry.datasets.entries(), **catalogue.here()}:
        opened = catalogue.open_dataset(name)
        len(opened)  # one line where it is not prepared, instead of one a law
        here = name in catalogue.here()
        reports = [testing.check_dataset(type(opened), name=name if here else None)]
    else:
        reports = [
            testing.check_backbone(open_backbone(modality, name, vocabulary=("red", "round", "tree")))
            for modality in _modalities(name)
        ]
    if json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            rows = [[r.name, r.verdict, r.reason or r.law] for r in report.results]
            print_table(f"{name}: {report.subject}", ["check", "verdict", "law, or what went wrong"], rows)
            typer.echo(f"{report.ran} checks ran, {len(report.failures)} failed")
    raise typer.Exit(0 if all(report.ok for report in reports) else 1)


def _modalities(name: str) -> tuple[Any, ...]:
    from hashbench.backbone import parse

    head, _ = parse(name)
    if head in registry.backbones.entries():
        return registry.backbones.get(head).modalities
    return ("image",)


def _package(entry: Any) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""


def _show_method(name: str, json: bool) -> None:
    from hashbench.config import describe

    method = registry.methods.get(name)
    settings, presets = describe(method.config_class), method.config_class.presets()
    if json:
        print_json({"name": name, "version": method.version, "kind": method.kind, "paper": vars(method.paper),
                    "needs": vars(method.needs), "settings": [vars(s) for s in settings],
                    "presets": {k: dict(v) for k, v in presets.items()}})  # fmt: skip
        return
    paper, needs = method.paper, method.needs
    typer.echo(f"{name}: {paper.title}. {paper.venue} {paper.year}. {paper.url}")
    typer.echo(f"{method.kind}; labels: {needs.labels}; views: {', '.join(needs.views)}"
               + (", or any others" if needs.more_views else "") + ("; cached features only" if needs.cached else "")
               + ("; reads label prompts" if needs.prompts else "") + f"; version {method.version}")  # fmt: skip
    print_table(
        "settings (--set name=value)",
        ["name", "default", "values", "worth trying", "what it is"],
        [[s.name, s.default, s.type, ", ".join(map(str, s.sweep)), s.help] for s in settings],
    )
    for preset, values in presets.items():
        if values:
            typer.echo(f"--preset {preset}: " + " ".join(f"{key}={value}" for key, value in values.items()))


def _show_dataset(name: str, json: bool) -> None:
    from hashbench.data import catalogue
    from hashbench.dataset import SIDES
    from hashbench.retrieval import chance_level

    first = catalogue.open_dataset(name)
    rows: list[dict[str, Any]] = []
    for protocol in first.protocols:
        data = catalogue.open_dataset(name, protocol)
        split = data.split
        counts = {side: len(getattr(split, side)) for side in SIDES}
        chance = chance_level(data.labels[split.query], data.labels[split.database])
        rows.append({"rules": vars(data.rules), "counts": counts, "split": data.split_digest, "chance": chance})
    sizes = {label: int(n) for label, n in zip(data.class_names, data.labels.sum(0), strict=True)}
    if json:
        print_json({"name": name, "revision": data.revision, "licence": data.licence, "items": len(data),
                    "protocols": rows, "classes": sizes})  # fmt: skip
        return
    typer.echo(f"{name}: {len(data)} items, revision {data.revision}; licence: {data.licence}")
    for row in rows:
        print_table(
            row["rules"]["id"],
            ["what", "how"],
            [*((k, v) for k, v in row["rules"].items() if k != "id"), *row["counts"].items(),
             ("split digest", row["split"]), ("chance", f"{row['chance']:.4f}")],
        )  # fmt: skip
    typer.echo("classes: " + ", ".join(f"{label} {n}" for label, n in sizes.items()))


def _show_plot(name: str, json: bool) -> None:
    figure = registry.plots.get(name)
    fact = {"name": name, "description": figure.description, "kinds": list(figure.kinds)}
    if json:
        print_json(fact)
        return
    typer.echo(f"{name}: {figure.description}; --kind {', '.join(figure.kinds)}")


MODALITIES: tuple[Literal["image", "text"], ...] = ("image", "text")


def _show_backbone(name: str, json: bool) -> None:
    from hashbench.backbone import open_backbone

    facts, problems = [], []
    for modality in MODALITIES:
        try:
            found = open_backbone(modality, name, vocabulary=())
        except HashbenchError as error:
            problems.append(error)
            continue
        facts.append({"modality": modality, "name": found.name, "width": found.dim, "weights": found.weights,
                      "transform": found.transform})  # fmt: skip
    if not facts:
        raise problems[0]
    if json:
        print_json(facts)
        return
    if name in registry.backbones.entries():
        typer.echo(f"{name}: {registry.backbones.get(name).description}")
    for fact in facts:
        print_table(name, ["what", "value"], list(fact.items()))


def _show_run(key: str, results: Path | None, json: bool) -> None:
    from hashbench.paths import results_dir
    from hashbench.retrieval import definition
    from hashbench.store import Store

    store = Store(results or results_dir())
    record = store.by_prefix(key)
    if json:
        print_json(record.to_json())
        return
    typer.echo(f"{record.key}: {record.status} {record.reason}".rstrip())
    typer.echo(f"folder: {store.folder(record.spec)}")
    typer.echo(f"made by: {record.provenance.get('command', '')} ({record.provenance.get('time', '')})")
    print_table("spec", ["what", "value"], [[k, v] for k, v in record.spec.key_fields().items()])
    for task, metrics in record.metrics.items():
        rows = [[name, f"{value:.4f}", definition(name)] for name, value in metrics.items()]
        print_table(task, ["metric", "value", "definition"], rows)
    print_table("cost", ["what", "value"], [[k, f"{v:,.1f}"] for k, v in record.cost.items()])
