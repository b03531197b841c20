"""Training conditions: rates that hold, streams that do not move, and a truth that stays clean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench import registry
from hashbench.conditions import Conditions, Reworded, disturb
from hashbench.dataset import Dataset, Index
from hashbench.errors import UsageError


@pytest.fixture(scope="module")
def data() -> Dataset:
    return registry.datasets.get("pictograms")()


@pytest.fixture(scope="module")
def train(data: Dataset) -> Index:
    return data.split.train


def test_no_condition_changes_nothing(data: Dataset, train: Index) -> None:
    found = disturb(data, train, Conditions(), seed=3)
    assert np.array_equal(found.labels, data.labels[train]) and found.labelled.all() and found.text is None
    assert Conditions().set() == {}
    assert Conditions(labelled=0.5, text_junk=2).set() == {"labelled": 0.5, "text_junk": 2}


def test_rates_hold(data: Dataset, train: Index) -> None:
    clean = data.labels[train]
    found = disturb(data, train, Conditions(label_drop=0.3, label_spurious=0.2, labelled=0.25), seed=0)
    dropped = (clean == 1) & (found.labels == 0)
    added = (clean == 0) & (found.labels == 1)
    true = clean.sum()
    deviation = 4 / np.sqrt(true)  # several standard deviations of a share
    assert abs(dropped.sum() / true - 0.3) < deviation
    assert abs(added.sum() / true - 0.2) < deviation  # two labels of an item seldom bring the same false one
    assert found.labelled.sum() == round(0.25 * len(train))


def test_a_higher_rate_disturbs_what_a_lower_one_does_and_more(data: Dataset, train: Index) -> None:
    clean, rows = data.labels[train[:500]], train[:500]
    low, high = (disturb(data, rows, Conditions(label_drop=r, label_spurious=r), seed=1).labels for r in (0.2, 0.5))
    assert ((clean == 1) & (low == 0) <= ((clean == 1) & (high == 0))).all()
    assert ((clean == 0) & (low == 1) <= ((clean == 0) & (high == 1))).all()
    few, more = (disturb(data, rows, Conditions(labelled=share), seed=1).labelled for share in (0.1, 0.4))
    assert (few <= more).all()


def test_what_happens_to_an_item_does_not_depend_on_the_others(data: Dataset, train: Index) -> None:
    conditions = Conditions(label_drop=0.4, label_spurious=0.4, text_keep=0.5)
    whole = disturb(data, train[:300], conditions, seed=7)
    some = np.random.default_rng(0).permutation(300)[:100]
    part = disturb(data, train[:300][some], conditions, seed=7)
    assert np.array_equal(part.labels, whole.labels[some])
    assert whole.text is not None and part.text is not None
    assert list(part.text.strings) == [whole.text.strings[row] for row in some]


def test_seeds_differ(data: Dataset, train: Index) -> None:
    conditions = Conditions(label_drop=0.4, labelled=0.5, text_keep=0.5)
    one, two = (disturb(data, train[:300], conditions, seed=seed) for seed in (0, 1))
    assert (one.labels != two.labels).any() and (one.labelled != two.labelled).any()
    assert one.text and two.text and one.text.strings != two.text.strings


def test_words_go_and_come(data: Dataset, train: Index) -> None:
    rows = train[:400]
    texts = [str(data.raw("text")[row]).split() for row in rows.tolist()]
    known = {word for text in texts for word in text}
    found = disturb(data, rows, Conditions(text_keep=0.5, text_junk=3), seed=0).text
    assert found is not None
    kept = 0
    for text, now in zip(texts, (string.split() for string in found.strings), strict=True):
        own, junk = now[:-3], now[-3:]
        assert set(own) <= set(text) and set(junk) <= known
        kept += len(own)
    assert abs(kept / sum(map(len, texts)) - 0.5) < 0.05


@given(st.sampled_from(["label_drop", "label_spurious", "labelled", "text_keep"]), st.sampled_from([-0.1, 1.1]))
def test_rates_outside_0_to_1_are_refused_by_flag(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}"):
        Conditions(**{name: value})


def test_no_labels_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match="--labelled 0"):
        Conditions(labelled=0)


def test_other_words_are_another_view_with_features_of_its_own(data: Dataset, train: Index) -> None:
    found = disturb(data, train[:50], Conditions(text_keep=0.5), seed=0).text
    assert found is not None
    other = Reworded(data, train[:50], found)
    assert other.view_digest("text") != data.view_digest("text")
    assert list(other.ids) == [data.ids[row] for row in train[:50].tolist()] and len(other.split.train) == 50
