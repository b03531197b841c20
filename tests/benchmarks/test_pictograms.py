"""The protocols of pictograms: what is on which side, and what the views hold."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from hashbench.dataset import SIDES, Raw
from hashbench.registry import datasets

Pictograms = datasets.get("pictograms")
FOLDS = [f"pictograms-fold{fold}@1" for fold in range(1, 6)]


def strings(data: Any, view: str) -> list[str]:
    source: Raw = data.views[view]
    return [str(source[row]) for row in range(len(source))]


@pytest.mark.parametrize(
    ("protocol", "split", "text"),
    [
        ("pictograms@1", "8ac44c7fce6984a8", "1d6138f64d2b76bc"),
        ("pictograms-all-words@1", "8ac44c7fce6984a8", "67d38135e756b1be"),
        ("pictograms-three-views@1", "8ac44c7fce6984a8", "058e89956e1df2b0"),
        ("pictograms-fold1@1", "5ebfa9211398c14b", "1d6138f64d2b76bc"),
        ("pictograms-fold2@1", "85108fd74d3eb226", "1d6138f64d2b76bc"),
        ("pictograms-fold3@1", "569b0054825d2960", "1d6138f64d2b76bc"),
        ("pictograms-fold4@1", "74501084579045a8", "1d6138f64d2b76bc"),
        ("pictograms-fold5@1", "4b0fec20f0d60d08", "1d6138f64d2b76bc"),
    ],
)
def test_published_protocols_do_not_change(protocol: str, split: str, text: str) -> None:
    data = Pictograms(protocol)
    assert (data.split_digest, data.view_digest("text")) == (split, text), "give the protocol another version"


def test_every_protocol_is_published() -> None:
    others = {"pictograms@1", "pictograms-all-words@1", "pictograms-three-views@1"}
    assert set(Pictograms.protocols) == others | set(FOLDS)
    assert next(iter(Pictograms.protocols)) == "pictograms@1"


def test_every_concept_asks_in_one_fold() -> None:
    asked: Counter[str] = Counter()
    items: Counter[int] = Counter()
    for protocol in FOLDS:
        data = Pictograms(protocol)
        asked.update({data.groups[row] for row in data.split.query.tolist()})
        items.update(data.split.query.tolist())
    data = Pictograms()
    assert asked == Counter(set(data.groups))
    assert items == Counter(range(len(data)))


@pytest.mark.parametrize("protocol", FOLDS)
def test_a_fold_has_a_fifth_of_the_concepts_and_sides_of_the_usual_size(protocol: str) -> None:
    data, usual = Pictograms(protocol), Pictograms()
    concepts = {side: {data.groups[row] for row in getattr(data.split, side).tolist()} for side in SIDES}
    assert len(concepts["query"]) == pytest.approx(len(set(data.groups)) / 5, abs=1)
    for side in ("train", "validation"):
        assert len(getattr(data.split, side)) == pytest.approx(len(getattr(usual.split, side)), abs=10)
    assert not any(concepts[a] & concepts[b] for a, b in combinations(("query", "database", "validation"), 2))
    assert concepts["train"] < concepts["database"]
    assert len(data) == sum(len(getattr(data.split, side)) for side in ("query", "database", "validation"))
    assert set(data.views) == {"image", "text"}


def test_titles_and_tags_are_views_of_their_own() -> None:
    data, whole = Pictograms("pictograms-three-views@1"), Pictograms()
    assert tuple(data.views) == ("image", "text", "tags")
    title, tags, both = strings(data, "text"), strings(data, "tags"), strings(whole, "text")
    for row in range(len(data)):
        assert both[row].split() == list(dict.fromkeys([*title[row].split(), *tags[row].split()]))
    assert data.vocabulary == whole.vocabulary
    assert np.array_equal(data.split.query, whole.split.query)


def test_an_item_lacks_a_view_of_which_no_word_is_left() -> None:
    data = Pictograms("pictograms-three-views@1")
    assert data.present("image").all()
    for view in ("text", "tags"):
        assert data.present(view).tolist() == [bool(text) for text in strings(data, view)]
        assert not data.present(view).all()
    empty = [not text for text in strings(Pictograms(), "text")]
    assert any(empty) and Pictograms().present("text").all(), "under the usual protocol an empty text is a text"
