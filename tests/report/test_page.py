"""The model of the report: what stands in it is what the records say, and what is copied is the formats' own text."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench.dataset import rank_by_id
from hashbench.errors import UsageError
from hashbench.examples import examples
from hashbench.report import formats
from hashbench.report.page import html, page_of
from hashbench.report.page.html import as_data, client, duration, intervals, signed, size
from hashbench.report.page.making import copies, short_settings
from hashbench.report.page.model import Chosen, Delta, Page, Section, StudyPart
from hashbench.report.stored import table_of
from hashbench.store import Record, Store

from .made import TASKS, golden, hostile, stored
from .paged import NAMES, Nasty, failed, made, nasty

__all__ = ["nasty"]


@pytest.fixture(scope="module")
def store(nasty: None, tmp_path_factory: pytest.TempPathFactory) -> Store:
    found = Store(tmp_path_factory.mktemp("report") / "results")
    for bits in (8, 16):
        for seed in (0, 1):
            made(found, "soda", bits=bits, seed=seed, noise=0.2, config={"alpha": 0.1})
        made(found, "soda", bits=bits, noise=1.0, config={"alpha": 0.2}, warnings=["<b>dead bits</b>"])
        made(found, "cvh", bits=bits, noise=2.0)
    made(found, "real", bits=16, noise=0.5, real=True)
    other = made(found, "cvh", bits=8, protocol="nasty-other@1")
    failed(found, other, "RuntimeError: <script>alert(1)</script>")
    return found


@pytest.fixture(scope="module")
def records(store: Store) -> list[Record]:
    return store.read_all()[0]


@pytest.fixture(scope="module")
def page(store: Store, records: list[Record]) -> Page:
    return page_of(records, store, command="hashbench report", damaged=["r.json: damaged"])


@pytest.fixture(scope="module")
def section(page: Page) -> Section:
    return next(each for each in page.sections if "nasty@1" in each.title)


def _by_seed(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.spec.seed)


def test_protocols_are_sections_of_their_own(page: Page) -> None:
    assert {each.title: len(each.arms) for each in page.sections} == {"nasty, nasty-other@1": 1, "nasty, nasty@1": 4}
    assert len({each.id for each in page.sections}) == len(page.sections) == 2


def test_splits_of_one_protocol_are_told_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    records = [stored(store), stored(store, evaluation_version=2, method="dcmh")]
    titles = {each.title for each in page_of(records, store, command="").sections}
    assert titles == {f"mirflickr25k, mir-a-mith@1, split 0123abcd, evaluation {version}" for version in (1, 2)}


def test_every_number_of_the_table_is_that_of_the_records(section: Section, records: list[Record]) -> None:
    alone = {arm.name: at for at, arm in enumerate(section.arms)}
    assert set(alone) == {"soda alpha=0.1", "soda alpha=0.2", "cvh", "real"}
    lines = {line.arm: line for _, lines in section.groups for line in lines}
    columns = [(task, bits) for task in TASKS for bits in (8, 16)]
    for task, bits in columns:
        of = _by_seed(r for r in records if r.spec.config == {"alpha": 0.1} and r.spec.bits == bits)
        values = [r.metrics[task]["map@all"] for r in of]
        cell = lines[alone["soda alpha=0.1"]].cells[columns.index((task, bits))]
        assert cell.value == pytest.approx(statistics.fmean(values)) and len(values) == 2
        assert cell.mean == f"{statistics.fmean(values):.4f}".removeprefix("0")
        assert cell.deviation == f"{statistics.stdev(values):.4f}".removeprefix("0")
        assert cell.each.split() == [f"{value:.4f}".removeprefix("0") for value in values]
    assert [cell.mean for cell in lines[alone["real"]].cells].count("–") == 3  # both tasks of 8 bits, and the mean
    assert section.chance == tuple(
        f"{next(r for r in records if r.spec.protocol == 'nasty@1').metrics[task]['chance']:.4f}".removeprefix("0")
        for task in TASKS
    )


def test_points_are_means_over_seeds_with_their_runs(section: Section, records: list[Record]) -> None:
    arm = next(at for at, each in enumerate(section.arms) if each.name == "soda alpha=0.1")
    point = next(p for p in section.points if (p.arm, p.task, p.bits) == (arm, 0, 16))
    of = _by_seed(r for r in records if r.spec.config == {"alpha": 0.1} and r.spec.bits == 16)
    assert point.seeds == (0, 1) and point.keys == tuple(r.key[:16] for r in of)
    for name, line in point.curves.items():
        mean = np.mean([r.curves[TASKS[0]][name] for r in of], axis=0)
        assert line == pytest.approx(mean, abs=6e-5)
    assert len(point.curves["rank/precision"]) == len(section.ranks[0])
    real = next(at for at, each in enumerate(section.arms) if each.name == "real")
    assert set(next(p for p in section.points if p.arm == real).curves) == {"rank/precision", "rank/recall"}


def test_classes_are_means_over_their_queries(section: Section, records: list[Record], store: Store) -> None:
    dataset = Nasty()
    labels = dataset.labels[dataset.split.query]
    assert section.class_sizes[0] == labels.sum(axis=0).tolist()
    arm = next(at for at, each in enumerate(section.arms) if each.name == "soda alpha=0.1")
    point = next(p for p in section.points if (p.arm, p.task, p.bits) == (arm, 1, 8))
    of = [r for r in records if r.spec.config == {"alpha": 0.1} and r.spec.bits == 8]
    mean = np.mean([store.queries(r)[TASKS[1]] for r in of], axis=0)
    for at in range(3):
        assert point.classes[at] == pytest.approx(mean[labels[:, at] > 0].mean(), abs=6e-5)
    assert point.classes[3] is None  # no query has it


def test_examples_are_the_same_queries_for_every_arm(section: Section, records: list[Record], store: Store) -> None:
    dataset = Nasty()
    chosen = [
        int(dataset.split.query[at]) for at in rank_by_id([dataset.ids[row] for row in dataset.split.query], 1)[:6]
    ]
    asked = [example for example in section.examples if example.task == 1]
    texts = dataset.views["text"]
    assert [example.query.words for example in asked] == [texts[row] for row in chosen]  # type: ignore[index]
    assert all([answer.arm for answer in example.answers] == [a.arm for a in asked[0].answers] for example in asked)
    answer = asked[0].answers[0]
    record = store.by_prefix(answer.key)
    _, expected = examples(store, record, TASKS[1], 6, 10)
    shown = [(hit.distance, hit.labels) for hit in answer.hits]
    is_real = record.spec.method == "real"
    assert shown == [
        (f"{h.distance:.3f}".removeprefix("0") if is_real else f"{h.distance:.0f}", ", ".join(h.shared))
        for h in expected[0].hits
    ]
    assert {hit.picture for hit in answer.hits} <= {picture.id for picture in section.pictures}
    assert record.spec.bits == 16 and record.spec.seed == 0


def test_without_images_there_are_words_and_no_credits(store: Store, records: list[Record]) -> None:
    found = page_of(records, store, command="", images=False)
    assert all(not each.pictures and not each.credits for each in found.sections)
    assert all(
        hit.words for each in found.sections for example in each.examples for a in example.answers for hit in a.hits
    )
    assert "data:image" not in html(found) and "data:image/jpeg" in html(page_of(records, store, command=""))


def test_places_follow_the_mean_and_what_is_missing_comes_last(section: Section) -> None:
    by_place = [arm.name for arm in sorted(section.arms, key=lambda arm: arm.place)]
    means = {section.arms[line.arm].name: line.cells[-1].value for _, lines in section.groups for line in lines}
    assert means[by_place[0]] == max(value for value in means.values() if value is not None)
    assert by_place[-1] == "real" and means["real"] is None


@pytest.mark.parametrize("kind", ["golden", *range(len(NAMES))])
def test_what_is_copied_whole_is_what_the_formats_write(kind: Any) -> None:
    table = golden() if kind == "golden" else hostile(NAMES[kind])
    found = copies(table)
    assert all(len(copy.rows) == len(table.rows) for copy in found.values())
    assert _joined(found["CSV"]) == formats.csv_text([table]).splitlines()
    for name, whole in (("LaTeX", formats.latex(table)), ("Markdown", formats.markdown(table))):
        lines, joined = whole.splitlines(), _joined(found[name])
        left_out = [line for line in lines if line not in joined]
        assert [line for line in joined if line not in lines] == []
        assert len(left_out) == len({row.group for row in table.rows if formats.clean(row.group)}), left_out  # headings
        assert [line for line in joined if line in lines and line != r"\midrule"] == [
            line for line in lines if line not in left_out and line != r"\midrule"
        ]


def _joined(copy: Any) -> list[str]:
    return [*copy.head, *(line for lines in copy.rows for line in lines), *copy.tail]


def test_settings_are_told_where_runs_of_one_method_differ(store: Store, records: list[Record]) -> None:
    mine = [r for r in records if r.spec.protocol == "nasty@1" and r.status == "done"]
    found = {(method, short) for (method, _, _), short in short_settings(mine).items()}
    assert found == {("soda", "alpha=0.1"), ("soda", "alpha=0.2"), ("cvh", ""), ("real", "")}
    assert len(table_of(mine, store).rows) == 4


def test_runs_that_are_not_done_and_warnings_are_told(page: Page) -> None:
    assert page.statuses == {"done": 10, "failed": 1}
    assert [(run.name, run.status, run.seed) for run in page.unfinished] == [("cvh", "failed", 9)]
    assert page.warnings[0][0] == "<b>dead bits</b>" and page.warnings[0][1].count("soda") == 2
    assert page.damaged == ("r.json: damaged",)
    known = dict(page.environment)
    assert known["made"] == "2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z" and known["hashbench"] == "0.1.0"
    assert "git" not in known and "command" not in known


def test_cost_is_the_mean_of_the_runs(section: Section) -> None:
    costs = {(section.arms[cost.arm].name, cost.bits): cost for cost in section.cost}
    cost = costs["soda alpha=0.1", 16]
    assert (cost.runs, cost.fit_seconds, cost.peak_bytes) == (2, pytest.approx(3.2), 2e9)
    database = len(Nasty().split.database)
    assert cost.index_bytes == 2 * database and costs["real", 16].index_bytes == 64 * database


def test_the_data_is_opened_once_and_then_once_for_each_arm_with_examples(
    store: Store, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    codes = Store.codes
    monkeypatch.setattr(Store, "codes", lambda self, record: read.append(record.key) or codes(self, record))
    mine = [record for record in records if record.spec.protocol == "nasty@1"]
    (found,) = page_of(mine, store, command="").sections
    answering = {(answer.arm, answer.key) for example in found.examples for answer in example.answers}
    assert {example.task for example in found.examples} == {0, 1}
    assert sorted(key[:16] for key in read[1:]) == sorted(key for _, key in answering)


def test_nothing_to_report_is_said(store: Store, records: list[Record]) -> None:
    with pytest.raises(UsageError, match=r"no finished run like that in .*; hashbench run makes one"):
        page_of([record for record in records if record.status == "failed"], store, command="")


def test_data_that_is_gone_leaves_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    store = Store(tmp_path)
    found = page_of([stored(store, seed=seed) for seed in (0, 1)], store, command="").sections[0]
    assert not found.classes and not found.examples and found.problem
    assert found.points[0].classes == [] and found.groups


def test_what_the_best_are_compared_with_stands_beside_them(tmp_path: Path, nasty: None) -> None:
    """Nine arms, the better the less noise; those of even places are compared with the worst, the others with none."""
    store = Store(tmp_path)
    records = [
        made(store, "soda", bits=32, noise=0.3 * at + (40.0 if at == 8 else 0.0), config={"alpha": at})
        for at in range(9)
    ]
    partners = {record.key: records[8].key for record in records[:8:2]}
    part = StudyPart(
        name="mine", size="quick", question="", about="", answers=(), deltas=(), chosen=(),
        names={record.key: f"arm {at}" for at, record in enumerate(records)}, partners=partners, statuses={},
        problems={},
    )  # fmt: skip
    (found,) = page_of(records, store, command="", study=part).sections
    names = [found.arms[arm].name for arm in found.lead]
    by_place = [arm.name for arm in sorted(found.arms, key=lambda arm: arm.place)]
    assert by_place[-1] == "arm 8" and sorted(names) == sorted(by_place)
    assert [name for name in names if name != "arm 8"] == by_place[:-1]
    first = next(at for at, name in enumerate(by_place) if name in ("arm 0", "arm 2", "arm 4", "arm 6"))
    assert names[first + 1] == "arm 8"
    assert {answer.arm for example in found.examples for answer in example.answers} == set(found.lead[:4])
    (alone,) = page_of(records, store, command="").sections
    assert [alone.arms[arm].place for arm in alone.lead] == list(range(9))


# the file


class Read(HTMLParser):
    """What a browser would make of the page, roughly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = "data" if tag == "script" and ("id", "data") in attrs else ""

    def handle_data(self, data: str) -> None:
        self.data += data if self._in == "data" else ""

    def handle_endtag(self, tag: str) -> None:
        self._in = ""


def test_names_and_words_are_never_markup(page: Page) -> None:
    found = Read(html(page))
    assert [tag for tag, _ in found.tags].count("script") == 2 and "img" not in dict(found.tags)
    assert {tag for tag, _ in found.tags} & {"b", "iframe", "object", "link", "base", "form"} == set()
    for _, attributes in found.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert all((value or "#").startswith(("#", "data:image/jpeg")) for name, value in attributes.items()
                   if name in ("href", "src"))  # fmt: skip
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert json.loads(found.data) == json.loads(json.dumps(client(page)))
    assert not any(mark in html(page) for mark in formats.DIRECTIONS)


def test_the_policy_names_the_script_and_nothing_is_fetched(page: Page) -> None:
    import base64
    import hashlib

    text = html(page)
    policy = next(a["content"] for tag, a in Read(text).tags if tag == "meta" and "http-equiv" in a) or ""
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and not re.search(r"(?:src|href)=\"?(?:https?:)?//", text)


def test_the_script_never_parses_data_as_markup() -> None:
    script = (Path(__file__).parents[2] / "hashbench/report/page/report.js").read_text()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "</script"):
        assert forbidden not in script


def test_a_page_of_many_curves_stays_below_two_megabytes(page: Page, section: Section) -> None:
    """40 methods at 4 lengths of up to 128 bits in 2 tasks, with 80 classes."""
    curves = {name: [0.1234] * (50 if name.startswith("rank") else 129) for name in section.points[0].curves}
    points = tuple(
        replace(section.points[0], arm=arm, task=task, bits=bits, curves=curves, classes=[0.1234] * 80)
        for arm in range(40) for task in range(2) for bits in (16, 32, 64, 128)
    )  # fmt: skip
    assert len(as_data(client(replace(page, sections=(replace(section, points=points),))))) < 1_900_000


def test_what_a_study_says_stands_in_its_report(store: Store, records: list[Record]) -> None:
    deltas = tuple(
        Delta(arm="<i>", against="b", bits=8, task=TASKS[0], mean=mean, low=mean - 0.02, high=mean + 0.02, p=0.001,
              effect=None, seeds="2 of 2", verdict="higher*")
        for mean in (0.05, -0.01)
    )  # fmt: skip
    chosen = (Chosen(arm="one", bits=8, task=TASKS[0], untuned=0.25, tuned=None, settings="not tuned yet"),)
    names = {record.key: "mild" for record in records if record.spec.config == {"alpha": 0.2}}
    part = StudyPart(
        name="mine", size="quick", question="Does <b> matter?", about="", answers=("a<b",), deltas=deltas,
        chosen=chosen, names=names, partners={}, statuses={"done": 3, "to run": 2}, problems={"arm": "no weights"},
    )  # fmt: skip
    text = html(page_of(records, store, command="hashbench report mine", study=part, repeat="hashbench ablate mine"))
    found = page_of(records, store, command="", study=part).sections[0]
    assert {arm.name for arm in found.arms} == {"soda alpha=0.1", "mild", "cvh", "real"}
    for said in ("not tuned yet", ".2500"):
        assert said in text
    for said in ("Does &lt;b&gt; matter?", "a&lt;b", "+.0500", "-.0100", "higher*", "no weights", "2 to run",
                 "hashbench ablate mine"):  # fmt: skip
        assert said in text
    bars = intervals(deltas)
    assert [bar["zero"] for bar in bars] == [bars[0]["zero"]] * 2 and bars[1]["mean"] < bars[0]["zero"] < bars[0][
        "mean"
    ]
    assert all(0 <= place <= 200 for bar in bars for place in bar.values())


def test_numbers_in_words() -> None:
    assert [duration(s) for s in (None, 0.24, 59.9, 61, 3700)] == ["–", "0.2 s", "1 min 0 s", "1 min 1 s", "1 h 1 min"]
    assert [size(b) for b in (None, 12, 1500, 2.5e6, 3e9)] == ["–", "12 B", "1.5 kB", "2.5 MB", "3.0 GB"]
    assert [signed(v) for v in (0.1, 0.0, -0.1)] == ["+.1000", ".0000", "-.1000"]
    assert as_data({"a": "</script>"}) == '{"a":"\\u003c/script>"}'


def test_the_model_is_plain_data(page: Page) -> None:
    assert json.loads(json.dumps(asdict(page), allow_nan=False))["statuses"] == page.statuses
