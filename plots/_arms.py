"""What figures read from records: what tells their arms apart, and MAP over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hashbench.conditions import Conditions
from hashbench.errors import UsageError
from hashbench.store import ARM, facts, telling

from .style import short

if TYPE_CHECKING:
    from hashbench.store import Record

CONDITIONS: dict[str, Any] = {f.name: f.default for f in fields(Conditions)}
"""Training conditions with the values that disturb nothing, which a record leaves out."""

Columns = Mapping[str, Sequence[Any]]
"""Name to one value a record."""

COMMON = ("views", "backbone", "tuning", "precision", *CONDITIONS)
"""Facts that mean the same for every method."""


KINDS = ("mean", "image-to-text", "text-to-image")
"""Of figures with one number a run: what it is. Words, because a shell takes the > of a task for itself."""


def known(record: Record) -> dict[str, Any]:
    """The facts of a record, conditions at their defaults and the encoders of its views among them."""
    found = CONDITIONS | facts(record)
    encoders = dict.fromkeys(str(found[view]) for view in record.spec.views)
    return found | {"backbone": " + ".join(encoders) or "unknown"}


def varying(records: Sequence[Record]) -> list[str]:
    """Names of the facts in which these records differ, seeds apart, and that a reader needs to tell them apart.

    Every setting and every common fact that differs is named; a digest, a version or a part of a backbone's
    identity only where it tells apart what those do not.
    """
    values = [known(record) for record in records]
    settings = {name for record in records for name in record.spec.config}
    within = telling(records)

    def groups(names: Sequence[str]) -> int:
        return len({tuple(_word(of.get(name)) for name in names) for of in values})

    candidates = ["method", *(name for name in within if name in settings), "bits", *COMMON]
    named = [name for name in candidates if groups([name]) > 1]
    encoders: dict[str, set[str]] = {}
    for of, record in zip(values, records, strict=True):
        for view in record.spec.views:
            encoders.setdefault(view, set()).add(of[view])
    if "backbone" in named and all(len(names) == 1 for names in encoders.values()):
        named.remove("backbone")  # the views say it
    for name in within:
        if name not in named and groups([*named, name]) > groups(named):
            named.append(name)
    return named


def told(records: Sequence[Record], apart: Collection[str] = ()) -> list[str]:
    """What tells each record's arm from the others, as words; nothing where an arm has only usual values.

    A setting is left out where it has the value of most arms of its method, the backbone where it is that of most
    arms, a condition where it disturbs nothing: the arms of an ablation are named by what was changed.

    Args:
        records: All records of a figure.
        apart: Facts that the figure shows in another way, on an axis or as panels.
    """
    names = varying(records)
    values = [known(record) for record in records]
    distinct = list({tuple(_word(of.get(name)) for name in names): of for of in values}.values())
    usual = {(of["method"], name): _word(CONDITIONS[name]) for of in distinct for name in names if name in CONDITIONS}
    backbone, count = Counter(_word(of["backbone"]) for of in distinct).most_common(1)[0]
    if count * 2 > len(distinct):
        usual |= {(of["method"], "backbone"): backbone for of in distinct}
    for method in {of["method"] for of in distinct}:
        words = {name: [_word(of.get(name)) for of in distinct if of["method"] == method] for name in names}
        for name in set(names) - {"bits", *COMMON}:
            value, count = Counter(words[name]).most_common(1)[0]
            if count * 2 > len(words[name]):
                usual[method, name] = value
    said = [name for name in names if name not in ("method", *apart)]
    return [
        " ".join(
            _said(name, of[name]) for name in said if name in of and _word(of[name]) != usual.get((of["method"], name))
        )
        for of in values
    ]


def arms(records: Sequence[Record], apart: Collection[str] = ()) -> list[str]:
    """A short name of each record's arm; records that only seeds tell apart share one."""
    values = [known(record) for record in records]
    if all(ARM in of for of in values):
        return _named(records, values, apart)
    several = len({record.spec.method for record in records}) > 1 and "method" not in apart
    words = told(records, apart)
    return [
        f"{record.spec.method} {text}".strip() if several or not text else text
        for record, text in zip(records, words, strict=True)
    ]


def _named(records: Sequence[Record], values: Sequence[Mapping[str, Any]], apart: Collection[str]) -> list[str]:
    """The names that a study gave, which stand for all that an arm has one value of at each code length, tuned
    settings among them; behind them what else differs."""

    def groups(*names: str) -> int:
        return len({tuple(_word(of.get(name)) for name in names) for of in values})

    rest = [
        name
        for name in varying(records)
        if name not in apart and (name == "bits" or groups(ARM, "bits", name) > groups(ARM, "bits"))
    ]
    return [
        " ".join([of[ARM], *(_said(n, of[n]) for n in rest if n in of and _word(of[n]) != _word(CONDITIONS.get(n)))])
        for of in values
    ]


def one_number(records: Sequence[Record], figure: str, example: str) -> str:
    """The one fact with a number, code lengths apart, in which the records differ.

    Raises:
        UsageError: there is not exactly one.
    """
    values = [known(record) for record in records]
    found = [
        name
        for name in varying(records)
        if name not in ("bits", "key") and all(is_number(of[name]) for of in values if name in of)
    ]
    if len(found) != 1:
        raise UsageError(
            f"{figure}: needs runs that differ in exactly one numeric setting, these differ in "
            f"{', '.join(found) or 'none'}; for example {example}; --where name=value leaves runs out"
        )
    if any(found[0] not in of for of in values):
        raise UsageError(
            f"{figure}: {found[0]} is not written in every run; leave out those without with --where {found[0]}=..."
        )
    return found[0]


def measured(records: Sequence[Record], columns: Columns) -> pd.DataFrame:
    """One row a record and task: ``columns`` (one value a record), task, seed, and MAP as the protocol counts it."""
    metric = _metric(records)
    return pd.DataFrame(
        [
            {
                **{name: values[i] for name, values in columns.items()},
                "task": task,
                "seed": record.spec.seed,
                "map": metrics[metric],
                "metric": metric,
                "chance": metrics["chance"],
                "protocol": record.spec.protocol,
            }
            for i, record in enumerate(records)
            for task, metrics in record.metrics.items()
        ]
    )


def logged(records: Sequence[Record], columns: Columns, places: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Like :func:`measured` for what the method logged: each name stands as the task, its value as ``map``.

    Args:
        records: As there.
        columns: As there.
        places: Name to the diagnostics that may hold it, of which the first found counts.
    """
    return pd.DataFrame(
        [
            {
                **{column: values[i] for column, values in columns.items()},
                "task": name,
                "seed": record.spec.seed,
                "map": diagnostic(record, *where),
                "metric": name,
                "chance": np.nan,
                "protocol": record.spec.protocol,
            }
            for name, where in places.items()
            for i, record in enumerate(records)
        ]
    ).dropna(subset="map")


def of_kind(rows: pd.DataFrame, kind: str, figure: str) -> pd.DataFrame:
    """The rows of the task that ``kind`` of :data:`KINDS` names, or the mean of all tasks of a run in their place.

    Raises:
        UsageError: no run has that task.
    """
    if kind == "mean":
        by = [name for name in rows if name not in ("task", "map", "chance")]
        means = rows.groupby(by, sort=False, dropna=False, as_index=False)[["map", "chance"]].mean()
        return means.assign(task="mean of " + ", ".join(dict.fromkeys(rows["task"])))
    task = kind.replace("-to-", "->")
    if task not in set(rows["task"]):
        raise UsageError(
            f"{figure}: --kind {kind}: these runs measured {', '.join(dict.fromkeys(rows['task']))}; take --kind mean"
        )
    return rows[rows["task"] == task]


def over_seeds(rows: pd.DataFrame, by: Sequence[str], others: Sequence[str] = ()) -> pd.DataFrame:
    """Mean and standard deviation over seeds (n - 1; NaN for one seed), and how many seeds there are.

    Args:
        rows: Of :func:`measured`.
        by: Columns that tell the points apart, the task among them.
        others: Columns of which the mean stands beside.
    """
    keep = [*by, "metric", "protocol"]
    found = rows.groupby(keep, sort=False, dropna=False, as_index=False).agg(
        mean=("map", "mean"), deviation=("map", "std"), seeds=("seed", "count"), chance=("chance", "mean"),
        **{name: (name, "mean") for name in others},
    )  # fmt: skip
    return found[[*by, "mean", "deviation", *others, "seeds", "chance", "metric", "protocol"]]


def blocks(records: Sequence[Record]) -> pd.DataFrame:
    """MAP over seeds of every arm on every protocol, task and code length, for figures of several protocols.

    Arms are named within their protocol and code length, so that settings chosen on each do not tear a method apart;
    ``settings`` says under how many an arm ran in all.

    Raises:
        UsageError: runs of one protocol were made on several splits.
    """
    groups: dict[tuple[str, str, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record.spec.dataset, record.spec.protocol, record.spec.bits), []).append(record)
    tables = []
    for (dataset, protocol, bits), of in sorted(groups.items(), key=lambda group: group[0]):
        if len(splits := {record.spec.split for record in of}) > 1:
            raise UsageError(f"{protocol}: runs of {len(splits)} splits; choose one with --where split={min(splits)}")
        of_run: Columns = {
            "dataset": [dataset] * len(of),
            "arm": arms(of),
            "bits": [bits] * len(of),
            "config": [str(sorted(record.spec.config.items())) for record in of],
        }
        tables.append(over_seeds(measured(of, of_run), ["dataset", "arm", "task", "bits", "config"]))
    found = pd.concat(tables, ignore_index=True)
    settings = found.groupby("arm")["config"].nunique()
    return found.drop(columns="config").assign(settings=found["arm"].map(settings))


def caption(table: pd.DataFrame, *more: str, dotted: bool = False, seeds: str = "") -> str:
    """The line under a figure: protocol, metric, seeds and what the bars are, chance.

    Args:
        table: Of :func:`over_seeds`, or with its columns.
        more: What else is to be said.
        dotted: Whether a dotted line shows chance.
        seeds: In place of mean and deviation, where the figure shows neither.
    """
    levels = sorted({short(chance, 4) for chance in table["chance"]})
    return "; ".join(
        [
            ", ".join(dict.fromkeys(table["protocol"])),
            ", ".join(dict.fromkeys(table["metric"])),
            seeds or seeds_said(table),
            f"{'dotted: ' if dotted else ''}chance {' to '.join(dict.fromkeys([levels[0], levels[-1]]))}",
            *more,
        ]
    )


def seeds_said(table: pd.DataFrame) -> str:
    """How many seeds the points of a table have, and what a bar or band is."""
    return "1 seed, no deviation" if table["seeds"].max() == 1 else f"mean ± standard deviation over {_seeds(table)}"


def seeds_averaged(table: pd.DataFrame) -> str:
    """How many seeds the points of a table have, where the figure shows no deviation."""
    return "1 seed" if table["seeds"].max() == 1 else f"mean of {_seeds(table)}"


def _seeds(table: pd.DataFrame) -> str:
    low, high = table["seeds"].min(), table["seeds"].max()
    return f"{'' if low == high else f'{low} to '}{high} seeds"


def diagnostic(record: Record, *names: str) -> float:
    """The first of these numbers that the method logged; NaN where it logged none of them."""
    return next((record.diagnostics[name] for name in names if name in record.diagnostics), np.nan)


def is_number(value: Any) -> bool:
    """Whether a fact is a number; a truth is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_order(values: Collection[Any]) -> list[Any]:
    """Distinct values, numbers first and by size, then words as they come."""
    distinct = list(dict.fromkeys(values))
    return sorted([v for v in distinct if is_number(v)]) + [v for v in distinct if not is_number(v)]


def _metric(records: Sequence[Record]) -> str:
    """What the protocol's users print, where every record has it."""
    own = records[0].rules.get("metric", "map@all")
    everywhere = all(own in metrics for record in records for metrics in record.metrics.values())
    return own if everywhere else "map@all"


def _word(value: Any) -> Hashable:
    """A value that can be compared: 1 is 1.0, a list is its words."""
    return repr(float(value)) if is_number(value) else str(value)


def _said(name: str, value: Any) -> str:
    match name:
        case "bits":
            return f"{value} bits"
        case "backbone":
            return str(value)
        case _:
            return f"{name}={value}"
