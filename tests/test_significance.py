"""Statistics between runs: against all sign flips written out, the step-down procedure, and normal theory."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashbench.errors import DataError, UsageError
from hashbench.significance import Difference, bootstrap, compare, corrected, holm, in_words, randomisation
from hashbench.store import Record, Store

from .test_store import RECORD, SPEC

TASK = "image->text"
Floats = NDArray[np.float64]

scores = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=1, max_size=9)
many = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(0.05, 1, (2, 60)))
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def all_flips(differences: Sequence[float]) -> float:
    """The share of all 2^q sums of ±d_i that are at least as far from 0 as the one observed."""
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(abs(each) >= abs(sum(differences)) - 1e-9 for each in sums) / len(sums)


@given(scores, st.randoms())
def test_few_queries_count_every_flip(a: list[float], random: Any) -> None:
    b = random.sample(a, len(a))
    assert randomisation(a, b) == pytest.approx(all_flips([x - y for x, y in zip(a, b, strict=True)]))


def test_a_worked_example() -> None:
    """Six differences, all positive: only all signs as they are, and all turned, lie as far out: 2 / 2^6."""
    assert randomisation([2, 3, 5, 7, 9, 11], [1, 1, 1, 1, 1, 1]) == 2 / 64


def test_many_queries_come_near_to_every_flip() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, 0.6):
        differences = rng.normal(shift, 1, 16)  # 65,536 flips, so 9,999 are drawn
        exact = all_flips(differences.tolist())
        drawn = randomisation(differences, np.zeros(16))
        assert abs(drawn - exact) < 4 * np.sqrt(exact * (1 - exact) / 9_999) + 1e-4


@given(many, st.randoms())
def test_p_knows_neither_sides_nor_order(pair: Floats, random: Any) -> None:
    a, b = pair
    order = random.sample(range(60), 60)
    p = randomisation(a, b, resamples=99)
    assert 0 < p <= 1
    assert p == randomisation(b, a, resamples=99) == randomisation(a[order], b[order], resamples=99)
    few = slice(0, 7)
    assert randomisation(a[few], b[few]) == randomisation(b[few][::-1], a[few][::-1])


@given(many)
def test_queries_without_a_difference_decide_nothing(pair: Floats) -> None:
    a, b = pair
    padded = (np.concatenate([side, np.full(40, 0.5)]) for side in pair)
    assert randomisation(*padded, resamples=99) == randomisation(a, b, resamples=99)


def test_p_is_never_zero_and_one_where_nothing_differs() -> None:
    assert randomisation(np.ones(1000), np.zeros(1000)) == 1 / 10_000
    assert randomisation(np.full(50, 0.3), np.full(50, 0.3)) == 1


def test_p_is_uniform_where_the_sides_are_alike() -> None:
    """Over flips drawn anew each time: under one seed, all trials share the luck of its few flips."""
    rng = np.random.default_rng(1)
    for queries, resamples in ((10, 9_999), (40, 199)):  # every flip, and drawn ones
        trials = [randomisation(*rng.normal(size=(2, queries)), resamples=resamples, seed=n) for n in range(400)]
        found = np.sort(trials)
        distance = np.abs(found - (np.arange(400) + 0.5) / 400).max()
        assert distance < 0.081  # Kolmogorov's bound at 1 %, 1.63 / sqrt(400)


def test_memory_is_bounded() -> None:
    queries = np.random.default_rng(0).normal(size=300_000)
    tracemalloc.start()
    try:
        randomisation(queries, np.zeros_like(queries), resamples=49)
        bootstrap(queries, resamples=49)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6, "49 x 300,000 numbers of 8 bytes at once would be 118 MB"


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_sides_that_are_not_pairs_are_refused(a: Any, b: Any) -> None:
    with pytest.raises(UsageError, match="one a query"):
        randomisation(a, b)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.randoms())
def test_the_interval_holds_the_mean_in_any_order(values: list[float], random: Any) -> None:
    low, high = bootstrap(values, resamples=499)
    assert low - 1e-12 <= np.mean(values) <= high + 1e-12
    assert min(values) - 1e-12 <= low and high <= max(values) + 1e-12
    assert bootstrap(random.sample(values, len(values)), resamples=499) == (low, high)


def test_the_interval_is_that_of_normal_theory_where_there_are_many() -> None:
    values = np.random.default_rng(0).normal(0.1, 0.5, 2_000)
    low, high = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [bootstrap(rng.exponential(1, 80) - 1, resamples=399) for _ in range(300)]
    assert 0.90 < np.mean([low <= 0 <= high for low, high in intervals]) < 0.98


def test_holm_on_values_from_a_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@given(p_values, st.floats(0.001, 0.999))
def test_holm_is_the_step_down_procedure(found: list[float], level: float) -> None:
    """From the smallest p on, each is held against level / (number left); the first that fails ends it."""
    rejected = set()
    for rank, place in enumerate(sorted(range(len(found)), key=lambda i: found[i])):
        if (len(found) - rank) * found[place] > level:
            break
        rejected.add(place)
    adjusted = holm(found)
    assert {place for place, p in enumerate(adjusted) if p <= level} == rejected
    assert all(p <= a <= min(1, len(found) * p) for p, a in zip(found, adjusted, strict=True))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def run(store: Store, precisions: Sequence[float], **changed: Any) -> Record:
    """A stored run with these AP, whose spec is SPEC but for what is said."""
    queries = np.array(precisions, np.float32)
    spec = replace(SPEC, **changed)
    metrics = {TASK: {"map@all": float(queries[queries > 0].mean()), "chance": 0.1}}
    record = replace(RECORD, spec=spec, metrics=metrics)
    store.save(record, {}, {TASK: queries}, [])
    return record


def runs(store: Store, shift: float, seeds: Sequence[int], **changed: Any) -> list[Record]:
    """One run a seed of 200 queries, the third of which has no relevant item."""
    found = []
    for seed in seeds:
        precisions = np.random.default_rng(seed).uniform(0.2, 0.6, 200) + shift * (1 + 0.1 * seed)
        precisions[2] = 0
        found.append(run(store, precisions, seed=seed, **changed))
    return found


def map_of(record: Record) -> float:
    return record.metrics[TASK]["map@all"]


def test_a_difference_is_the_difference_in_map(store: Store) -> None:
    a, b = runs(store, 0.1, (0, 1, 2)), runs(store, 0.0, (2, 1, 0), method="dcmh")
    (found,) = compare(store, a, b)
    assert found.task == TASK and found.queries == 199, "the query without a relevant item is left out, as in MAP"
    assert found.mean == pytest.approx(np.mean([*map(map_of, a)]) - np.mean([*map(map_of, b)]), abs=1e-7)
    assert found.seeds == pytest.approx([map_of(x) - map_of(y) for x, y in zip(a, reversed(b), strict=True)], abs=1e-7)
    assert found.low < found.mean < found.high and (found.better, found.worse) == (1, 0)
    assert found.p == 1 / 10_000 and found.p_holm is None


def test_exchanged_sides_turn_the_difference_round(store: Store) -> None:
    rng = np.random.default_rng(3)
    a = [run(store, rng.uniform(0.1, 0.9, 50), seed=seed) for seed in (0, 1)]
    b = [run(store, rng.uniform(0.1, 0.9, 50), seed=seed, method="dcmh") for seed in (0, 1)]
    (one,), (other,) = compare(store, a, b), compare(store, list(reversed(b)), a)
    assert (one.mean, one.p, one.better) == (-other.mean, other.p, other.worse)
    assert one.seeds == tuple(-seed for seed in other.seeds)
    assert one.effect is not None and other.effect is not None and one.effect == pytest.approx(-other.effect)
    averaged = [np.mean([store.queries(r)[TASK] for r in side], axis=0, dtype=np.float64) for side in (a, b)]
    differences = averaged[0] - averaged[1]
    assert one.effect == pytest.approx(differences.mean() / differences.std(ddof=1))


def test_seeds_are_paired_only_where_they_are_the_same(store: Store) -> None:
    a, b = runs(store, 0.1, (0, 1, 2)), runs(store, 0.0, (0, 1), method="dcmh")
    (found,) = compare(store, a, b)
    assert found.seeds == () and found.beyond_seeds is None
    assert found.mean == pytest.approx(np.mean([*map(map_of, a)]) - np.mean([*map(map_of, b)]), abs=1e-7)


def test_equal_runs_differ_in_nothing(store: Store) -> None:
    a, b = runs(store, 0.1, (0, 1)), runs(store, 0.1, (0, 1), method="dcmh")
    (found,) = compare(store, a, b)
    assert (found.mean, found.low, found.high, found.p, found.effect) == (0, 0, 0, 1, None)
    assert not found.shown and (found.better, found.worse, found.agreeing) == (0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"dataset": "wikipedia"}, "differ in dataset .pictograms and wikipedia"),
        ({"dataset_revision": "r2"}, "differ in dataset_revision"),
        ({"protocol": "items@1"}, "differ in protocol"),
        ({"split": "ffff"}, "differ in split"),
        ({"bits": 16}, "codes of 12 and of 16 bits"),
        ({}, "both hold run"),
    ],
)
def test_sides_that_cannot_be_compared_are_refused(store: Store, changed: dict[str, Any], expected: str) -> None:
    a, b = runs(store, 0.1, (0, 1)), runs(store, 0.0, (0, 1), **changed)
    with pytest.raises(UsageError, match=rf"^A and B: .*{expected}"):
        compare(store, a, b)


def test_code_lengths_may_differ_where_asked(store: Store) -> None:
    a, b = runs(store, 0.1, (0,)), runs(store, 0.0, (0,), bits=16)
    (found,) = compare(store, a, b, across_bits=True)
    assert found.mean == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"method": "dcmh"}, r"method \(dcmh, soda\)"),
        ({"bits": 16}, r"bits \(12, 16\).*as with bits=12$"),
        ({"config": {**SPEC.config, "alpha": 1.0}}, r"alpha \(0.05, 1.0\)"),
        ({"protocol": "items@1"}, "protocol"),
    ],
)
def test_a_side_is_one_setting(store: Store, changed: dict[str, Any], expected: str) -> None:
    side = runs(store, 0.1, (0,)) + runs(store, 0.1, (1,), **changed)
    other = runs(store, 0.0, (0, 1), method="cca-itq")
    with pytest.raises(UsageError, match=f"^A: runs of several settings.*{expected}"):
        compare(store, side, other)
    with pytest.raises(UsageError, match=f"^B: runs of several settings.*{expected}"):
        compare(store, other, side)


def test_more_that_is_refused(store: Store) -> None:
    a, b = runs(store, 0.1, (0,)), runs(store, 0.0, (0,), method="dcmh")
    with pytest.raises(UsageError, match=r"^B: holds no run"):
        compare(store, a, [])
    with pytest.raises(UsageError, match=r"^B: run .*dcmh, 12 bits, seed 0.*expected done, found diverged \(nan\)"):
        compare(store, a, [replace(b[0], status="diverged", reason="nan")])
    with pytest.raises(UsageError, match="hashbench eval"):
        compare(store, a, [replace(b[0], evaluation_version=0)])
    with pytest.raises(UsageError, match="no task in common"):
        compare(store, a, [replace(b[0], metrics={"audio->text": {"map@all": 0.5}})])
    silent = [replace(RECORD, spec=replace(SPEC, method=name)) for name in ("mute", "dumb")]
    for record in silent:
        store.save(record, {}, {TASK: np.zeros(3, np.float32)}, [])
    with pytest.raises(UsageError, match="no query has a relevant item"):
        compare(store, silent[:1], silent[1:])
    short = run(store, [0.1, 0.2, 0.3], method="dcmh")
    with pytest.raises(DataError, match="3 and 200 queries"):
        compare(store, a, [short])


def difference(**changed: Any) -> Difference:
    kept: dict[str, Any] = {
        "task": TASK, "queries": 2000, "mean": 0.02, "low": 0.01, "high": 0.03, "p": 0.0004, "effect": 0.3,
        "better": 0.6, "worse": 0.4, "seeds": (0.021, 0.02, 0.019),
    }  # fmt: skip
    return Difference(**{**kept, **changed})


def test_holm_is_over_the_whole_table() -> None:
    table = [difference(p=p) for p in (0.01, 0.04, 0.03, 0.005)]
    assert [of.p_holm for of in corrected(table)] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [of.shown for of in table] == [True] * 4
    assert [of.shown for of in corrected(table)] == [True, False, False, True]
    assert [replace(of, p_holm=None) for of in corrected(table)] == table


@pytest.mark.parametrize(
    ("changed", "said", "unsaid"),
    [
        ({"p_holm": 0.0008}, ["SODA is .0200 higher in MAP than DCMH", ".0100 to .0300 over 2,000 queries",
                              "p after Holm .0008", "all 3 seeds agree"], ["no difference"]),
        ({"mean": -0.02, "low": -0.03, "high": -0.01, "seeds": (-0.02,)},
         ["SODA is .0200 lower", "-.0300 to -.0100", "uncorrected p .0004", "one seed"], ["no difference", "agree"]),
        ({"p_holm": 0.05}, ["no difference shown between SODA and DCMH", "p after Holm .0500"], ["higher", "agree"]),
        ({"low": -0.001}, ["no difference shown"], ["higher"]),
        ({"seeds": (0.07, 0.01, -0.02)}, ["higher", "seeds move it as much", "2 of 3 agree", ".0458"], ["no diff"]),
        ({"seeds": (0.055, 0.001, 0.004)}, ["higher", "seeds move it as much", "3 of 3 agree"], ["no difference"]),
        ({"seeds": (0.03, 0.03, 0.03, 0.03, -0.001)}, ["higher", "seeds move it as much", "4 of 5 agree"], ["no diff"]),
        ({"seeds": ()}, ["different seeds", "not covered"], ["agree"]),
        ({"p": 0.5, "seeds": (0.02,)}, ["no difference shown", "one seed"], ["higher"]),
    ],
)  # fmt: skip
def test_the_sentence_says_what_the_numbers_allow(changed: dict[str, Any], said: list[str], unsaid: list[str]) -> None:
    sentence = in_words(difference(**changed), "SODA", "DCMH")
    assert sentence.startswith("image->text: ") and sentence.endswith(".") and "\n" not in sentence
    assert all(words in sentence for words in said), sentence
    assert not any(words in sentence for words in unsaid), sentence
