"""Studies carried out: every arm gets its result, tuning reads validation queries alone, and words say what holds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench import findings
from hashbench.conducting import Result, conduct, outlook, trials
from hashbench.errors import UsageError
from hashbench.significance import Difference
from hashbench.spec import Execution
from hashbench.store import Record, Store
from hashbench.studies import Study, read
from hashbench.worker import Plan

BASE = """
question = "Does the value matter?"
[fixed]
method = "counted"
dataset = "shapes"
image_backbone = "lite@32"
text_backbone = "bow"
bits = 16
[axes]
value = [0, 1, 2]
seed = [0, 1]
[compare]
against = {value = 0}
"""
TUNE = BASE.replace("value = [0, 1, 2]", "bits = [8, 16]").partition("[compare]")[0] + (
    "[tune]\nbudget = 3\nseeds = [0]\nparameters = {value = [0, 1], spoilt = [false, true]}\n"
)


@pytest.fixture(autouse=True)
def diary(stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(stranger)
    monkeypatch.setenv("COUNTED_DIARY", str(tmp_path / "diary"))
    return tmp_path / "diary"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are tested with the grid; here one process is quicker."""
    from hashbench import grid

    def alone(plan: Plan, execution: Execution, reporter: Any, known: Any) -> Any:
        return grid._alone(plan, replace(execution, devices=("cpu",)), reporter)

    monkeypatch.setattr(grid, "_together", alone)


def study(tmp_path: Path, text: str = BASE) -> Study:
    file = tmp_path / "own.toml"
    file.write_text(text)
    return read(file)


def values_of(found: list[Result], store: Store) -> list[list[float]]:
    return [[record.metrics["image->text"]["map@all"] for record in result.records] for result in found]


def test_every_arm_gets_its_runs(tmp_path: Path, diary: Path) -> None:
    store, own = Store(tmp_path / "results"), study(tmp_path)
    found = conduct(own, trials(own), store)
    assert [result.arm.choice for result in found] == [{"value": 0}, {"value": 1}, {"value": 2}]
    assert [[record.spec.seed for record in result.done] for result in found] == [[0, 1]] * 3
    begun = diary.read_text()
    assert values_of(conduct(own, trials(own), store), store) == values_of(found, store) and diary.read_text() == begun


def test_only_some_arms_and_only_so_many_runs(tmp_path: Path, diary: Path) -> None:
    store, own = Store(tmp_path / "results"), study(tmp_path)
    assert len(conduct(own, trials(own, only=["value=1,2"]), store, limit=3)) == 2
    assert len(diary.read_text().splitlines()) == 3
    conduct(own, trials(own), store, limit=0)
    assert len(diary.read_text().splitlines()) == 3
    with pytest.raises(UsageError, match="--only 'value=9': no arm"):
        trials(own, only=["value=9"])
    with pytest.raises(UsageError, match="Did you mean 'value'"):
        trials(own, only=["vale=1"])


def test_an_arm_that_cannot_be_run_stops_no_other(tmp_path: Path) -> None:
    text = BASE.replace("value = [0, 1, 2]", "value = [0]").partition("[compare]")[0]
    text = text.replace('image_backbone = "lite@32"\n', "").replace(
        "[axes]", '[axes]\nimage_backbone = ["lite:/gone@32", "lite@32"]'
    )
    own = study(tmp_path, text)
    found = conduct(own, trials(own), Store(tmp_path / "results"))
    assert "gone" in found[0].trial.problem and found[0].records == ()
    assert [record.status for record in found[1].records] == ["done", "done"]


def test_tuning_keeps_its_budget_and_tells_what_won(tmp_path: Path, diary: Path) -> None:
    store, own = Store(tmp_path / "results"), study(tmp_path, TUNE)
    found = conduct(own, trials(own), store)
    assert [len(result.trial.candidates) for result in found] == [3, 3]
    for result in found:
        tried = {config: store.find(cells[0].spec) for config, cells in result.trial.candidates.items()}
        scores = {config: np.mean([of["map@all"] for of in r.validation.values()]) for config, r in tried.items() if r}
        best = max(scores, key=lambda config: scores[config])
        assert [record.spec.config for record in result.tuned] == [best.key_fields()] * 2
        assert [record.spec.config for record in result.untuned] == [result.arm.config.key_fields()] * 2
        assert result.won == dict(best.key_fields().items() - result.arm.config.key_fields().items())


def _edit(store: Store, result: Result, part: str) -> None:
    """Turn the order of the candidates around, in what was measured on test or on validation queries."""
    for cells in result.trial.candidates.values():
        record = store.find(cells[0].spec)
        assert record
        turned = {task: {name: 1 - value for name, value in of.items()} for task, of in getattr(record, part).items()}
        store.rewrite(replace(record, **{part: turned}), {})


@pytest.mark.parametrize(("part", "moves"), [("metrics", False), ("validation", True)])
def test_a_choice_never_sees_a_test_query(tmp_path: Path, part: str, moves: bool) -> None:
    """Whatever test queries say, even the contrary, the same settings win; validation queries decide alone."""
    from hashbench.conducting import results

    store, own = Store(tmp_path / "results"), study(tmp_path, TUNE)
    before = conduct(own, trials(own), store)
    for result in before:
        _edit(store, result, part)
    after = results(own, [result.trial for result in before], store)
    assert any(one.won != other.won for one, other in zip(before, after, strict=True)) == moves


def test_where_a_study_stands(tmp_path: Path) -> None:
    store, own = Store(tmp_path / "results"), study(tmp_path, BASE + "[settings.counted]\nspoilt = false\n")
    fresh = outlook(own, trials(own), store)
    assert fresh.statuses == {"at work": 0, "to run": 6} and fresh.seconds is None
    conduct(own, trials(own), store, limit=2)
    begun = outlook(own, trials(own), store)
    assert begun.statuses == {"done": 2, "at work": 0, "to run": 4}
    assert begun.seconds and begun.peak_bytes and begun.bytes > 4 * 1000
    claim = store.folder(trials(own)[2].own[0].spec)
    claim.mkdir(parents=True)
    (claim / "claim.0").write_text(f'{{"host": "elsewhere", "pid": {os.getpid()}, "since": 0, "doing": "train 2/9"}}')
    at_work = outlook(own, trials(own), store)
    assert at_work.statuses == {"done": 2, "at work": 1, "to run": 3} and at_work.at_work[0][1].doing == "train 2/9"


def test_a_tuned_study_is_done_when_its_winners_are(tmp_path: Path) -> None:
    store, own = Store(tmp_path / "results"), study(tmp_path, TUNE)
    before = outlook(own, trials(own), store)
    conduct(own, trials(own), store, limit=before.statuses["to run"])
    chosen = outlook(own, trials(own), store)
    assert before.after_tuning == 4 and chosen.after_tuning == 0
    conduct(own, trials(own), store)
    after = outlook(own, trials(own), store)
    records = store.read_all()[0]
    assert after.statuses == {"done": len(records), "at work": 0, "to run": 0} and after.after_tuning == 0
    assert len(records) - before.statuses["to run"] == chosen.statuses["to run"]


def test_the_table_and_the_comparisons_are_those_of_the_records(tmp_path: Path) -> None:
    store, own = Store(tmp_path / "results"), study(tmp_path)
    found = conduct(own, trials(own), store)
    said = findings.findings(own, found, store)
    rows = list(said.rows())
    assert len(rows) == 6 and {row["seeds"] for row in rows} == {2}
    first = next(row for row in rows if row["value"] == 1 and row["task"] == "image->text")
    values = values_of(found, store)[1]
    assert first["mean"] == pytest.approx(np.mean(values))
    assert first["deviation"] == pytest.approx(np.std(values, ddof=1))
    compared = said.comparisons
    assert [(each.result.arm.choice["value"], each.partner.arm.choice["value"]) for each in compared] == [
        (1, 0), (1, 0), (2, 0), (2, 0),
    ]  # fmt: skip
    # the same random state gives the same codes whatever the value is, so nothing differs, and that is what is said
    assert all(each.difference.mean == 0 and not each.difference.shown for each in compared)
    words = " ".join(said.in_words())
    assert "no difference shown" in words and "higher" not in words and "Holm" in words


def test_words_tell_higher_lower_and_doubtful_apart(tmp_path: Path) -> None:
    own = study(tmp_path)
    arms = [Result(trial) for trial in trials(own)]

    def difference(mean: float, seeds: tuple[float, ...]) -> Difference:
        return Difference(task="image->text", queries=99, mean=mean, low=mean - 0.01, high=mean + 0.01, p=0.001,
                          p_holm=0.001, effect=1.0, better=0.6, worse=0.4, seeds=seeds)  # fmt: skip

    found = [
        findings.Comparison(arms[1], arms[0], difference(0.05, (0.05, 0.05))),
        findings.Comparison(arms[2], arms[0], difference(-0.05, (-0.3, 0.2))),
    ]
    line, rest = findings.in_words(own, found)
    assert line == "image->text: higher than value=0: 1 +.0500; lower than value=0: 2 -.0500*."
    assert "the seeds do not bear out" in rest


def _run(value: float, score: float, seed: int = 0, validation: float = 0.0) -> Record:
    from tests.test_store import RECORD

    return replace(
        RECORD, spec=replace(RECORD.spec, seed=seed, config={"value": value}), diagnostics={"quality": value},
        metrics={"image->text": {"map@all": score}}, validation={"image->text": {"map@all": validation}},
    )  # fmt: skip


def test_a_diagnostic_is_held_against_map() -> None:
    records = [_run(value, score) for value, score in ((0.1, 0.2), (0.2, 0.5), (0.3, 0.58), (0.4, 0.6))]
    said = findings.correlation("quality", records, "map@all")
    assert "Spearman 1.00 over 4 runs" in said and "0.3000" in said  # .58 is the first above .95 x .60
    assert "too few" in findings.correlation("nothing", records, "map@all")


def test_choosing_on_test_queries_never_loses_and_is_told(tmp_path: Path) -> None:
    arms = trials(study(tmp_path))
    found = [
        Result(arm, tuple(_run(at, test, seed, validation) for seed in (0, 1)))
        for at, (arm, test, validation) in enumerate(zip(arms, (0.5, 0.7, 0.6), (0.9, 0.1, 0.2), strict=True))
    ]
    (said,) = findings.selection("value", found, "map@all")
    assert "0.2000 more" in said and "(0.5000)" in said and "2 seeds" in said


def test_the_share_of_the_gap_that_is_closed(tmp_path: Path) -> None:
    text = BASE.replace("value = [0, 1, 2]", "value = [0, 1]\nbits = [8, 16]").replace("bits = 16\n", "")
    own = study(tmp_path, text + "[report]\ngap = {bits = 16}\n")
    scores = {(0, 8): 0.2, (0, 16): 0.5, (1, 8): 0.3, (1, 16): 0.6}
    found = [Result(arm, (_run(0, scores[arm.arm.choice["value"], arm.arm.bits]),)) for arm in trials(own)]
    (said,) = findings.reports(own, found, "map@all")
    assert said.startswith("value=1 bits=8: 25% of the way from value=0 bits=8 (0.2000) to bits=16 (0.6000)")
