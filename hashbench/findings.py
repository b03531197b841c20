"""What a study found: its table, its comparisons, and in words what they allow to say."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hashbench.conducting import Result
from hashbench.significance import Difference, compare, corrected
from hashbench.store import Record, Store, own_metric
from hashbench.studies import Study


@dataclass(frozen=True)
class Comparison:
    """One arm against the arm that its study compares it with, in one task."""

    result: Result
    partner: Result
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the records of a study say, worked out once."""

    study: Study
    results: Sequence[Result]
    metric: str
    """That of the protocol which the runs follow."""
    comparisons: Sequence[Comparison]
    """Empty where the study compares nothing."""
    untuned: Sequence[Comparison]
    """The same under each arm's own settings; empty where nothing is tuned."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """The study's table in long form: one row an arm and task.

        Columns: ``dataset`` and ``protocol``, what the study varies, ``bits``, ``task``, ``metric``, ``mean`` and
        ``deviation`` over ``seeds``, and ``chance``; where the study tunes, the same of the arm's own settings as
        ``untuned_...`` and what ``won``.
        """
        for result in self.results:
            for task in dict.fromkeys(task for record in result.done for task in record.metrics):
                spec = result.done[0].spec
                row = {"dataset": spec.dataset, "protocol": spec.protocol, **result.arm.choice}
                row |= {"bits": result.arm.bits, "task": task, "metric": self.metric}
                row |= _over_seeds(result.done, task, self.metric)
                row["chance"] = result.done[0].metrics[task]["chance"]
                if self.study.tune:
                    own = _over_seeds([r for r in result.untuned if r.status == "done"], task, self.metric)
                    row |= {f"untuned_{name}": value for name, value in own.items()}
                    row["won"] = in_settings(result.won) if result.tuned else "not tuned yet"
                yield row

    def comparison_rows(self) -> Iterator[dict[str, Any]]:
        """The comparisons as a table: one row each, with everything that :class:`Difference` has."""
        for each in self.comparisons:
            difference = each.difference
            yield {
                "arm": each.result.arm.label, "against": each.partner.arm.label, "bits": each.result.arm.bits,
                **{name: value for name, value in vars(difference).items() if name != "seeds"},
                "seeds_agree": difference.agreeing, "seeds": len(difference.seeds),
            }  # fmt: skip

    def in_words(self) -> list[str]:
        """What the comparisons allow to say, tuned and untuned, and what ``[report]`` asks for: a line each."""
        lines = in_words(self.study, self.comparisons)
        if self.untuned:
            lines += ["the same under each arm's own settings:"]
            lines += [f"  {line}" for line in in_words(self.study, self.untuned)]
        return lines + list(reports(self.study, self.results, self.metric))


def findings(study: Study, results: Sequence[Result], store: Store) -> Findings:
    """What the records of a study say.

    Args:
        study: The study.
        results: Its results.
        store: Where the runs lie; their queries are read.
    """
    return Findings(
        study=study,
        results=results,
        metric=own_metric([record for result in results for record in result.done]),
        comparisons=comparisons(study, results, store),
        untuned=comparisons(study, results, store, untuned=True) if study.tune else (),
    )


def in_settings(changes: Mapping[str, Any]) -> str:
    """``alpha=0.01 lr=0.0001``; ``its own`` where nothing changed."""
    return " ".join(f"{name}={value}" for name, value in changes.items()) or "its own"


def _over_seeds(records: Sequence[Record], task: str, metric: str) -> dict[str, Any]:
    values = [record.metrics[task][metric] for record in records if task in record.metrics]
    return {
        "mean": statistics.fmean(values) if values else None,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "seeds": len(values),
    }


def comparisons(study: Study, results: Sequence[Result], store: Store, *, untuned: bool = False) -> list[Comparison]:
    """Every arm against its partner, by :func:`hashbench.significance.compare`, corrected over all of them.

    Args:
        study: The study; without ``[compare]`` there is nothing to compare.
        results: Its results.
        store: Where the runs lie.
        untuned: Compare the arms under their own settings, where the study tunes.
    """
    by_arm = {result.arm: result for result in results} if study.against else {}
    arms = [result.arm for result in results]
    found = []
    for result in by_arm.values():
        partner = study.partner(result.arm, arms)
        if partner is None:
            continue
        sides = [_side(of, untuned) for of in (result, by_arm[partner])]
        if all(sides) and {r.key for r in sides[0]}.isdisjoint(r.key for r in sides[1]):
            across = result.arm.bits != partner.bits
            differences = compare(store, *sides, across_bits=across)
            found += [Comparison(result, by_arm[partner], difference) for difference in differences]
    family = corrected([comparison.difference for comparison in found])
    return [replace(comparison, difference=each) for comparison, each in zip(found, family, strict=True)]


def _side(result: Result, untuned: bool) -> list[Record]:
    records = result.untuned if untuned else result.records
    return [record for record in records if record.status == "done"]


def in_words(study: Study, found: Sequence[Comparison]) -> list[str]:
    """What the comparisons allow to say: a line for each task and code length, and one on what they rest on."""
    if not found:
        return []
    lines = []
    places = dict.fromkeys((each.result.arm.bits, each.difference.task) for each in found)
    lengths = {bits for bits, _ in places}
    for bits, task in places:
        here = [each for each in found if (each.result.arm.bits, each.difference.task) == (bits, task)]
        where = f"{task}, {bits} bits" if len(lengths) > 1 else task
        partners = {each.partner.arm.label for each in here}
        against = f" than {partners.pop()}" if len(partners) == 1 else ""
        groups = {
            f"higher{against}": [e for e in here if e.difference.shown and e.difference.mean > 0],
            f"lower{against}": [e for e in here if e.difference.shown and e.difference.mean < 0],
            "no difference shown": [e for e in here if not e.difference.shown],
        }
        said = [f"{name}: {', '.join(map(_named, of))}" for name, of in groups.items() if of]
        lines.append(f"{where}: {'; '.join(said)}.")
    seeds = len(study.seeds)
    covered = "one seed, so what another would change is not covered" if seeds == 1 else f"{seeds} seeds"
    lines.append(
        f"{len(found)} paired randomisations over queries, AP averaged over {covered}, Holm over all; "
        "* marks a difference that the seeds do not bear out."
    )
    return lines


def _named(comparison: Comparison) -> str:
    difference = comparison.difference
    doubt = "*" if difference.shown and difference.beyond_seeds is False else ""
    partner = comparison.partner.arm.choice
    own = {name: value for name, value in comparison.result.arm.choice.items() if name != "bits"}
    changed = {name: value for name, value in own.items() if partner.get(name) != value}
    same = {name: value for name, value in own.items() if name not in changed}
    label = in_settings(changed) if len(changed) > 1 else " ".join(map(str, changed.values()))
    label += f" ({in_settings(same)})" if same else ""
    return f"{label} {difference.mean:+.4f}{doubt}".replace("+0.", "+.").replace("-0.", "-.")


def reports(study: Study, results: Sequence[Result], metric: str) -> Iterator[str]:
    """What ``[report]`` asks for, a line each."""
    for diagnostic in study.correlate:
        yield correlation(diagnostic, [record for result in results for record in result.done], metric)
    if study.select:
        yield from selection(study.select, results, metric)
    if study.gap:
        yield from gaps(study, results, metric)


KEPT = 0.95
"""Share of the best MAP that counts as kept."""


def correlation(diagnostic: str, records: Sequence[Record], metric: str) -> str:
    """Spearman's rank correlation of a diagnostic with the mean MAP of all tasks, over runs, and the smallest value
    that keeps 95 % of the best run's MAP."""
    from scipy.stats import spearmanr

    both = [(r.diagnostics[diagnostic], _mean(r.metrics, metric)) for r in records if diagnostic in r.diagnostics]
    if len({value for value, _ in both}) < 3:
        return f"{diagnostic} against {metric}: too few runs have it ({len(both)})"
    rho = float(spearmanr(*zip(*both, strict=True)).statistic)
    best = max(score for _, score in both)
    enough = min(value for value, score in both if score >= KEPT * best)
    return (
        f"{diagnostic} against {metric} (mean over tasks): Spearman {rho:.2f} over {len(both)} runs; the smallest "
        f"value that keeps {KEPT:.0%} of the best {best:.4f} is {enough:.4f}"
    )


def selection(axis: str, results: Sequence[Result], metric: str) -> Iterator[str]:
    """What choosing an axis on test queries gains over choosing it on validation queries, for each other choice.

    Both are averaged over seeds; the gain is bias, no improvement, and never below 0.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        rest = {name: value for name, value in result.arm.choice.items() if name != axis}
        groups.setdefault(" ".join(f"{name}={value}" for name, value in rest.items()), []).append(result)
    for label, of in groups.items():
        gains, honest = [], []
        for seed in sorted({record.spec.seed for result in of for record in result.done}):
            runs = [record for result in of for record in result.done if record.spec.seed == seed and record.validation]
            if len(runs) > 1:
                chosen = max(runs, key=lambda record: _mean(record.validation, metric))
                best = max(_mean(record.metrics, metric) for record in runs)
                honest.append(_mean(chosen.metrics, metric))
                gains.append(best - honest[-1])
        if gains:
            yield (
                f"{label + ': ' if label else ''}choosing {axis} on test queries would print "
                f"{statistics.fmean(gains):.4f} more than choosing on validation queries "
                f"({statistics.fmean(honest):.4f}), mean of {len(gains)} seeds"
            )


def gaps(study: Study, results: Sequence[Result], metric: str) -> Iterator[str]:
    """Which share of the way from its partner to the best to be had each arm goes, means over tasks and seeds.

    (MAP - partner's) / (MAP of the arm with the values of ``gap`` - partner's); no share where that way is not up.
    """
    arms = {result.arm: result for result in results if result.done}
    best_to_be_had = " ".join(f"{name}={value}" for name, value in study.gap.items())
    for result in arms.values():
        partner = study.partner(result.arm, list(arms))
        wanted = {**result.arm.choice, **study.gap}
        oracle = next((other for other in arms if other.choice == wanted), None)
        if partner is None or oracle is None or oracle is result.arm:
            continue
        here, start, end = (
            statistics.fmean(_mean(record.metrics, metric) for record in arms[arm].done)
            for arm in (result.arm, partner, oracle)
        )
        share = f"{(here - start) / (end - start):.0%}" if end > start else "no share"
        yield (
            f"{result.arm.label}: {share} of the way from {partner.label} ({start:.4f}) to {best_to_be_had} "
            f"({end:.4f}), {metric}, mean over tasks"
        )


def _mean(tasks: Mapping[str, Mapping[str, float]], metric: str) -> float:
    return statistics.fmean(values[metric] for values in tasks.values())
