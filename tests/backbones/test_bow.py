"""The bag of words counts nothing but presence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashbench.backbone import open_backbone
from hashbench.errors import UsageError

VOCABULARY = ("sea", "sunset", "new", "york", "Été")


@given(st.lists(st.lists(st.sampled_from([*VOCABULARY, "SEA", "unknown", "seas"]), max_size=8), min_size=1, max_size=5))
def test_a_column_says_whether_its_word_is_there(words: list[list[str]]) -> None:
    bag = open_backbone("text", "bow", VOCABULARY)
    rows = bag.prepare(["  ".join(item) for item in words])
    assert rows.dtype == torch.float32
    assert rows.tolist() == [
        [float(word.lower() in {w.lower() for w in item}) for word in VOCABULARY] for item in words
    ]
    assert bag.encoder()(rows) is rows


def test_it_has_nothing_to_train_and_its_vocabulary_tells_it_apart() -> None:
    bag = open_backbone("text", "bow", VOCABULARY)
    assert (bag.name, bag.weights, bag.dim, bag.trainable, bag.pretrained) == ("bow", "none", 5, False, False)
    assert bag.identity == open_backbone("text", "bow", VOCABULARY).identity
    assert bag.identity != open_backbone("text", "bow", VOCABULARY[::-1]).identity
    assert bag.identity != open_backbone("text", "bow", VOCABULARY[1:]).identity


def test_it_needs_a_vocabulary_and_takes_nothing_else() -> None:
    with pytest.raises(UsageError, match="no tag vocabulary"):
        open_backbone("text", "bow")
    with pytest.raises(UsageError, match="no arguments"):
        open_backbone("text", "bow:scratch", VOCABULARY)
