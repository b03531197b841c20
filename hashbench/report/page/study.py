"""What a study says of its runs. The one place of the report that knows how studies are carried out and read."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hashbench.errors import UsageError
from hashbench.report.page.model import Chosen, Delta, StudyPart
from hashbench.store import Record, Store

if TYPE_CHECKING:
    from hashbench.conducting import Result
    from hashbench.findings import Comparison, Findings
    from hashbench.studies import Arm, Study


def of_study(study: Study, store: Store) -> tuple[list[Record], StudyPart]:
    """The runs of a study, whatever their status, and what they allow to say.

    Raises:
        UsageError: none of its runs is finished, or an arm makes no sense.
    """
    from hashbench import conducting, findings

    planned = conducting.trials(study)
    results = conducting.results(study, planned, store)
    outlook = conducting.outlook(study, planned, store)
    if not any(result.done for result in results):
        raise UsageError(
            f"study {study.name}, {study.size}: no finished run in {store.root}; hashbench ablate makes them"
        )
    found = findings.findings(study, results, store)
    part = StudyPart(
        name=study.name,
        size=study.size,
        question=study.question,
        about=study.about,
        answers=tuple(found.in_words()),
        deltas=tuple(_delta(each) for each in found.comparisons),
        chosen=tuple(_chosen(found)) if study.tune else (),
        names=_names(results),
        partners=dict(_partners(found)),
        statuses={status: count for status, count in outlook.statuses.items() if count},
        problems=dict(outlook.problems),
    )
    records = {record.key: record for result in results for record in result.records}
    return list((records | {record.key: record for record in outlook.unfinished}).values()), part


def _names(results: Sequence[Result]) -> dict[str, str]:
    """Key of a run to the arms that it is of: tuning may choose one and the same for several."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for record in result.records:
            found.setdefault(record.key, {})[_name(result.arm)] = None
    return {key: " = ".join(names) for key, names in found.items()}


def _partners(found: Findings) -> Iterator[tuple[str, str]]:
    for comparison in found.comparisons:
        for record in comparison.result.done:
            yield record.key, comparison.partner.done[0].key


def _name(arm: Arm) -> str:
    """What the study varies, code lengths apart; they are columns."""
    choice = {name: value for name, value in arm.choice.items() if name != "bits"}
    return replace(arm, choice=choice).label or arm.method


def _chosen(found: Findings) -> Iterator[Chosen]:
    from hashbench.findings import in_settings

    for result in found.results:
        for task in dict.fromkeys(task for record in result.done for task in record.metrics):
            both = [
                [record.metrics[task][found.metric] for record in records if task in record.metrics]
                for records in (result.tuned, result.untuned)
            ]
            tuned, untuned = (statistics.fmean(values) if values else None for values in both)
            won = in_settings(result.won) if result.tuned else "not tuned yet"
            yield Chosen(
                arm=_name(result.arm), bits=result.arm.bits, task=task, untuned=untuned, tuned=tuned, settings=won
            )


def _delta(comparison: Comparison) -> Delta:
    found = comparison.difference
    arm, partner = comparison.result.arm, comparison.partner.arm
    verdict = (
        ("higher" if found.mean > 0 else "lower") + "*" * (found.beyond_seeds is False) if found.shown else "not shown"
    )
    return Delta(
        arm=arm.label, against=partner.label, bits=arm.bits, task=found.task, mean=found.mean, low=found.low,
        high=found.high, p=found.p if found.p_holm is None else found.p_holm, effect=found.effect,
        seeds=_agreement(found.agreeing, found.seeds), verdict=verdict,
    )  # fmt: skip


def _agreement(agreeing: int, seeds: Sequence[float]) -> str:
    return f"{agreeing} of {len(seeds)}" if seeds else "differ"
