"""``hashbench ablate``, ``grid``, ``status``: studies, carried out and told."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hashbench import registry
from hashbench.cli.browse import JsonOption, ResultsOption
from hashbench.cli.output import complain, print_json, print_table, protocol_lines
from hashbench.errors import CELLS_FAILED, UsageError
from hashbench.printing import decimals, plus_minus

if TYPE_CHECKING:
    from hashbench.conducting import Outlook, Result, Trial
    from hashbench.findings import Findings
    from hashbench.spec import Execution
    from hashbench.store import Record, Store
    from hashbench.studies import Study

Full = Annotated[bool, typer.Option("--full", help="The size for a GPU and the field's data; quick otherwise.")]
Workers = Annotated[int, typer.Option(min=0, help="Runs at the same time; 0: one a core, or one a device.")]
Devices = Annotated[str | None, typer.Option(help="cuda:0,cuda:1; auto when nothing is said.")]
PerDevice = Annotated[int, typer.Option(min=1, help="Workers on each of --devices.")]
EngineName = Annotated[Literal["local", "ray", "slurm"], typer.Option(help="What starts workers.")]
EngineOptions = Annotated[
    list[str] | None, typer.Option("--engine-option", help="name=value, passed through to the engine; repeat it.")
]
Retry = Annotated[str | None, typer.Option(help="Run again what ended so: failed, diverged, skipped.")]
Only = Annotated[list[str] | None, typer.Option(help="name=value[,value]: only these arms; repeat it.")]
Limit = Annotated[int | None, typer.Option(min=0, help="Make no more runs than that this time.")]
Models = Annotated[bool, typer.Option("--models", help="Keep the models of what runs now, for search and export.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run and what it takes, and stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder of table and figures; studies/NAME-SIZE in the results.")]


StudyArgument = Annotated[str | None, typer.Argument(help="Name of a built-in study, or a TOML file; none lists them.")]


def study(
    name: StudyArgument = None, full: Full = False, workers: Workers = 0, devices: Devices = None,
    per_device: PerDevice = 1, engine: EngineName = "local", engine_option: EngineOptions = None, retry: Retry = None,
    only: Only = None, limit: Limit = None, models: Models = False, dry_run: DryRun = False,
    results: ResultsOption = None, out: OutOption = None, json: JsonOption = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Answer a question: run what is not done of a study, print its table, draw it, say what it shows.

    Exit codes: 0 done, 2 usage, 3 data, 5 some runs are not done, 130 interrupted; a repeat goes on.
    """
    from hashbench import studies

    if name is None:
        print_table("studies", ["study", "question"], [[n, studies.question(f)] for n, f in studies.names().items()])
        return
    from hashbench.conducting import conduct, outlook, trials
    from hashbench.paths import results_dir
    from hashbench.store import Store

    found = studies.find(name, "full" if full else "quick")
    for figure in found.figures:
        registry.plots.get(figure)
    records = Store(results or results_dir())
    planned = trials(found, only=only or [])
    if dry_run:
        _tell(outlook(found, planned, records), found, json)
        return
    again = _statuses(retry)
    execution = replace(_execution(planned, workers, devices, per_device, engine, engine_option), models=models)
    from hashbench.cli.progress import Progress

    if not (quiet or json):
        complain(f"{found.name}, {found.size}: {found.question}")
    labels = {cell.spec.key: label for trial in planned for label, cell in trial.named()}
    try:
        with Progress(quiet or json, labels) as progress:
            ended = conduct(found, planned, records, execution, progress, limit=limit, retry=again)
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept, and the same command goes on from there")
        raise typer.Exit(130) from None
    from hashbench.findings import findings

    said = findings(found, ended, records)
    files = _write(said, records, out or records.root / "studies" / f"{found.name}-{found.size}")
    if json:
        _print_as_json(said, files)
    else:
        _print(said, records, files)
        if found.size == "quick" and studies.has_sizes(name):
            typer.echo(_what_full_takes(studies.find(name, "full")))
    if any(len(result.done) < len(found.seeds) for result in ended):
        raise typer.Exit(CELLS_FAILED)


def status(
    name: Annotated[str, typer.Argument(help="Name of a built-in study, or a TOML file.")],
    full: Full = False, only: Only = None, results: ResultsOption = None, json: JsonOption = False,
) -> None:  # fmt: skip
    """Say where a study stands: what is done, at work, failed and to come; on any machine that sees its results."""
    from hashbench import studies
    from hashbench.conducting import outlook, trials
    from hashbench.paths import results_dir
    from hashbench.store import Store

    found = studies.find(name, "full" if full else "quick")
    _tell(outlook(found, trials(found, only=only or []), Store(results or results_dir())), found, json)


def _statuses(retry: str | None) -> list[str]:
    known = ("failed", "diverged", "skipped")
    found = [status.strip() for status in retry.split(",")] if retry else []
    for status in found:
        if status not in known:
            raise UsageError(f"--retry {status!r}: expected {', '.join(known)}")
    return found


def _execution(
    planned: Sequence[Trial], workers: int, devices: str | None, per_device: int, engine: str,
    options: Sequence[str] | None,
) -> Execution:  # fmt: skip
    from hashbench.runner import resolve_device
    from hashbench.spec import Execution

    passed = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--engine-option {option!r}: expected name=value")
        passed[name.strip()] = value.strip()
    if devices:
        names = [resolve_device(name.strip()) if engine == "local" else name.strip() for name in devices.split(",")]
        places = tuple(name for name in names for _ in range(per_device))
        return Execution(devices=places, engine=engine, engine_options=passed)
    device = resolve_device("auto")
    alone = device != "cpu" or any(trial.arm.setup.tuning == "full" for trial in planned)
    return Execution(
        device=device, workers=workers or (1 if alone else os.cpu_count() or 1), engine=engine, engine_options=passed
    )


def _tell(outlook: Outlook, study: Study, json: bool) -> None:
    from hashbench.cli.progress import duration

    if json:
        print_json({
            "study": study.name, "size": study.size, "statuses": outlook.statuses, "problems": outlook.problems,
            "seconds": outlook.seconds, "bytes": outlook.bytes, "after_tuning": outlook.after_tuning,
            "unfinished": [{"key": r.key, "status": r.status, "reason": r.reason} for r in outlook.unfinished],
            "at_work": [{"key": spec.key, **vars(holder)} for spec, holder in outlook.at_work],
        })  # fmt: skip
        return
    typer.echo(f"{study.name}, {study.size}: {study.question}")
    typer.echo("runs: " + ", ".join(f"{number} {status}" for status, number in outlook.statuses.items()))
    for spec, now in outlook.at_work:
        where = f"{now.host}, process {now.pid}"
        typer.echo(f"at work: {spec.method} {spec.bits} bits seed {spec.seed}: {now.doing or 'starting'} ({where})")
    for record in outlook.unfinished:
        spec = record.spec
        typer.echo(
            f"{record.status}: {spec.method} {spec.bits} bits seed {spec.seed}: {record.reason} ({spec.key[:16]})"
        )
    for label, problem in outlook.problems.items():
        typer.echo(f"cannot run: {label}: {problem}")
    if outlook.statuses.get("to run") or outlook.after_tuning:
        unknown = "unknown, no run like these was measured here yet"
        took = unknown if outlook.seconds is None else f"{duration(outlook.seconds)} of one worker"
        memory = f"; memory: {outlook.peak_bytes / 1e9:.1f} GB a worker" if outlook.peak_bytes else ""
        typer.echo(f"time for the rest: {took}; disk: about {max(outlook.bytes / 1e6, 0.1):.1f} MB{memory}")
    if outlook.after_tuning:
        typer.echo(f"tuning: then up to {outlook.after_tuning} more with the settings that are chosen")


def _what_full_takes(study: Study) -> str:
    """One line on the full size; it opens nothing, since its data may not be here."""
    arms, tune = study.arms(), study.tune
    runs = len(arms) * len(study.seeds)
    if tune:
        runs += runs + len(arms) * (tune.budget - 1) * len(tune.seeds)
    data = ", ".join(dict.fromkeys(arm.setup.dataset for arm in arms))
    return f"this was the quick size; --full makes {'up to ' if tune else ''}{runs} runs on {data}"


def _write(said: Findings, records: Store, folder: Path) -> list[Path]:
    """Table, comparisons and figures of a study, as files."""
    import pandas as pd

    from hashbench import drawing
    from hashbench.files import write_text

    written = []
    for name, rows in (("table", said.rows()), ("comparisons", said.comparison_rows())):
        table = pd.DataFrame(list(rows))
        if len(table):
            written.append(folder / f"{name}.csv")
            write_text(written[-1], table.to_csv(index=False))
    protocols = _by_protocol(said.results)
    together = [record for of in protocols.values() for record in of]
    for figure in said.study.figures:
        several = len(protocols) > 1 and not registry.plots.get(figure).several_protocols
        for (_, protocol, split), of in protocols.items() if several else [(("", "", ""), together)]:
            name = f"{figure}-{protocol}-{split[:6]}" if several else figure
            try:
                files = [folder / f"{name}.pdf", folder / f"{name}.png"]
                written += drawing.draw(figure, of, files, store=records)
            except UsageError as error:  # too few arms are done, or --only took what the figure shows
                complain(f"no figure {figure}: {error}")
    return written


def _by_protocol(results: Sequence[Result]) -> dict[tuple[str, str, str], list[Record]]:
    """Data set, protocol and split to the finished runs under them, which know the names that the study gave."""
    from hashbench.store import ARM

    found: dict[tuple[str, str, str], list[Record]] = {}
    for result in results:
        name = {ARM: result.arm.choice[ARM]} if ARM in result.arm.choice else {}
        for record in result.done:
            spec = record.spec
            named = replace(record, settings={**record.settings, **name})
            found.setdefault((spec.dataset, spec.protocol, spec.split), []).append(named)
    return found


def _print(said: Findings, records: Store, files: Sequence[Path]) -> None:
    rows = list(said.rows())
    varied = [name for name in dict.fromkeys(n for result in said.results for n in result.arm.choice) if name != "bits"]
    for (dataset, protocol, _), done in _by_protocol(said.results).items():
        here = [row for row in rows if (row["dataset"], row["protocol"]) == (dataset, protocol)]
        tasks = list(dict.fromkeys(row["task"] for row in here))
        arms: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
        for row in here:
            arms.setdefault((*(row.get(name, "") for name in varied), row["bits"]), {})[row["task"]] = row
        columns = [*varied, "bits", *tasks, "seeds", *(["untuned", "won"] if said.study.tune else [])]
        print_table(f"{said.metric} on {dataset}", columns, [_row(arm, of, tasks) for arm, of in arms.items()])
        for line in protocol_lines(done, said.metric):
            typer.echo(line)
    for line in said.in_words():
        typer.echo(line)
    for file in files:
        typer.echo(file)
    for result in said.results:
        if result.trial.problem:
            complain(f"cannot run {result.arm.label}: {result.trial.problem}")
        for record in result.records:
            if record.status != "done":
                complain(f"{result.arm.label} seed {record.spec.seed}: {record.status}: {record.reason} "
                         f"({records.folder(record.spec)})")  # fmt: skip


def _row(arm: Sequence[Any], by_task: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> list[Any]:
    """One arm's line of the printed table, from its rows of the long one."""
    of = [by_task[task] for task in tasks if task in by_task]
    row = [*arm, *(plus_minus(by_task[task]["mean"], by_task[task]["deviation"]) if task in by_task else ""
                   for task in tasks), max(each["seeds"] for each in of)]  # fmt: skip
    if "won" in of[0]:
        own = [each["untuned_mean"] for each in of if each["untuned_mean"] is not None]
        row += [" / ".join(map(decimals, own)), of[0]["won"]]
    return row


def _print_as_json(said: Findings, files: Sequence[Path]) -> None:
    study = said.study
    print_json({
        "study": study.name, "size": study.size, "question": study.question,
        "rows": list(said.rows()),
        "comparisons": list(said.comparison_rows()),
        "words": said.in_words(),
        "problems": {result.arm.label: result.trial.problem for result in said.results if result.trial.problem},
        "runs": {result.arm.label: [record.key for record in result.records] for result in said.results},
        "files": list(map(str, files)),
    })  # fmt: skip
