"""Item sets and text rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hashbench.data.recipes import Recipe, Words
from hashbench.data.table import Table
from hashbench.errors import DataError


def table(**changes: Any) -> Table:
    facts: dict[str, Any] = {
        "ids": ("im1", "im2", "im10", "im3"),
        "class_names": ("bird", "car", "sky"),
        "labels": np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 1]], np.uint8),
        "captions": (("blue bird",), ("up",), ("sea",), ("",)),
        "vocabulary": ("blue", "sea"),
    }
    return Table(**{**facts, **changes})


def chosen(**recipe: Any) -> list[str]:
    found = table()
    return [found.ids[row] for row in Recipe(name="r", **recipe).select(found)[0].tolist()]


def test_items_are_chosen_by_label_and_by_vocabulary_word() -> None:
    assert chosen(labelled=False) == ["im1", "im2", "im10", "im3"]
    assert chosen() == ["im1", "im2", "im3"]
    assert chosen(tagged=True) == ["im1"]
    assert chosen(labelled=False, tagged=True) == ["im1", "im10"]
    assert chosen(classes=("car", "bird")) == ["im1", "im3"]


def test_columns_stand_in_the_order_of_the_recipe() -> None:
    rows, labels, names = Recipe(name="r", classes=("car", "bird")).select(table())
    assert names == ("car", "bird") and labels.tolist() == [[0, 1], [1, 0]] and rows.tolist() == [0, 3]


def test_rows_may_be_ordered_by_id_as_text() -> None:
    """The order of a directory listing sorted as strings, which some permutations of the field stand on."""
    assert chosen(labelled=False, order="by id as text") == ["im1", "im10", "im2", "im3"]


def test_an_unknown_class_is_told() -> None:
    with pytest.raises(DataError, match="'tree'"):
        Recipe(name="r", classes=("tree",)).select(table())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (Words(rule="first"), "a red car"),
        (Words(rule="all"), "a red car a car"),
        (Words(rule="tags"), "a red car a car"),
        (Words(rule="vocabulary"), "car car"),
    ],
)
def test_text_rules(words: Words, text: str) -> None:
    assert words.text("im1", ["a red car", "a car"], frozenset({"car"})) == text
    assert words.text("im1", [], frozenset()) == "", "an item without captions has an empty text, and keeps its row"


def test_a_random_caption_is_drawn_once_and_for_all() -> None:
    captions = [f"caption {at}" for at in range(5)]
    drawn = [Words(rule="random", seed=3).text(f"im{at}", captions, frozenset()) for at in range(200)]
    assert drawn == [Words(rule="random", seed=3).text(f"im{at}", captions, frozenset()) for at in range(200)]
    assert drawn != [Words(rule="random", seed=4).text(f"im{at}", captions, frozenset()) for at in range(200)]
    assert set(drawn) == set(captions)


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": ("im1", "im1", "im10", "im3")},
        {"labels": np.zeros((3, 3), np.uint8)},
        {"labels": np.zeros((4, 2), np.uint8)},
        {"captions": (("a",),)},
        {"vectors": {"image": np.zeros((5, 2))}},
        {"present": {"image": np.ones(3, np.bool_)}},
    ],
)
def test_a_table_whose_rows_disagree_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="expected"):
        table(**changes)


def test_digests_tell_every_part() -> None:
    one = table().digests()
    other = table(captions=(("blue bird",), ("up",), ("sea",), ("x",))).digests()
    assert {name for name in one if one[name] != other[name]} == {"captions"}
