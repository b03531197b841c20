"""Label prompts: every sentence spelled out, the mean, the joined grammar, the controls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench import prompts
from hashbench.errors import Incompatible, UsageError
from hashbench.prompts import (
    PROMPTS,
    Prompt,
    Vectors,
    class_vectors,
    joined_sentence,
    label_vectors,
    sentences,
    spread,
    text_digest,
)

CLASSES = ["cat", "Plant_life", "tree"]
DEFINITIONS = {"cat": "a small animal", "Plant_life": "things that grow", "tree": "a tall plant", "unused": "nothing"}
LABELS = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]], dtype=np.uint8)


def encode(texts: Sequence[str]) -> Vectors:
    """A text encoder that tells all sentences apart: eight numbers from each one's hash, not of unit length."""
    rows = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)[:8] for text in texts]
    return np.array(rows, dtype=np.float32) - 127.5


def unit(x: Vectors) -> Vectors:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("set_mean", ["An image of cat", "An image of plant life", "An image of tree"]),
        ("set_max", ["An image of cat", "An image of plant life", "An image of tree"]),
        ("joined", ["An image of cat", "An image of plant life", "An image of tree"]),
        ("bare", ["cat", "plant life", "tree"]),
        ("photo", ["a photo of a cat.", "a photo of a plant life.", "a photo of a tree."]),
        (
            "flickr",
            [
                "This is a Flickr photo showing cat.",
                "This is a Flickr photo showing plant life.",
                "This is a Flickr photo showing tree.",
            ],
        ),
        ("dictionary", ["a small animal", "things that grow", "a tall plant"]),
        ("permuted", ["An image of cat", "An image of plant life", "An image of tree"]),
    ],
)
def test_sentences(prompt: str, expected: list[str]) -> None:
    assert sentences(prompt, CLASSES, DEFINITIONS) == expected


def test_every_prompt_is_among_the_golden_ones_or_has_no_words() -> None:
    worded = {"set_mean", "set_max", "joined", "bare", "photo", "flickr", "dictionary", "permuted"}
    assert {name for name, prompt in PROMPTS.items() if prompt.kind not in ("onehot", "random")} == worded


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat"], "An image of cat"),
        (["cat", "bird"], "An image of cat and bird"),
        (["cat", "Bird", "plant_life"], "An image of cat, bird and plant life"),
        (["a", "b", "c", "d"], "An image of a, b, c and d"),
    ],
)
def test_joined_grammar(names: list[str], expected: str) -> None:
    assert joined_sentence(names) == expected


def test_set_mean_is_the_normalised_mean_of_unit_class_embeddings() -> None:
    e = unit(encode([f"An image of {name}" for name in ("cat", "plant life", "tree")]))
    found = label_vectors("set_mean", LABELS, CLASSES, encode)
    for row, labels in zip(found, LABELS, strict=True):
        expected = unit((labels @ e) / labels.sum()) if labels.any() else np.zeros(8)
        assert np.allclose(row, expected, atol=1e-6)


def test_set_max_is_the_normalised_largest_number_of_each_dimension() -> None:
    e = unit(encode([f"An image of {name}" for name in ("cat", "plant life", "tree")]))
    found = label_vectors("set_max", LABELS, CLASSES, encode)
    for row, labels in zip(found, LABELS, strict=True):
        of = [vector for vector, has in zip(e, labels, strict=True) if has]
        expected = unit(np.array([max(column) for column in zip(*of, strict=True)])) if of else np.zeros(8)
        assert np.allclose(row, expected, atol=1e-6)


def test_a_new_prompt_leaves_the_keys_of_older_runs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    before = text_digest(CLASSES, DEFINITIONS)
    monkeypatch.setattr(prompts, "PROMPTS", {**PROMPTS, "new": Prompt("template", "the {}", "another", since=2)})
    assert text_digest(CLASSES, DEFINITIONS) == before == "dec18c75f03344c6"
    monkeypatch.setattr(prompts, "PROMPTS", {**PROMPTS, "bare": Prompt("template", "the {}", "another text")})
    assert text_digest(CLASSES, DEFINITIONS) != before != text_digest(CLASSES)


def test_joined_encodes_the_sentence_of_each_item_in_class_order() -> None:
    found = label_vectors("joined", LABELS, CLASSES, encode)
    said = {
        0: "An image of cat",
        1: "An image of cat and tree",
        3: "An image of cat, plant life and tree",
        4: "An image of plant life",
        5: "An image of cat and tree",
    }
    for row, sentence in said.items():
        assert np.allclose(found[row], unit(encode([sentence]))[0], atol=1e-6)


def test_onehot_is_the_labels() -> None:
    assert np.array_equal(label_vectors("onehot", LABELS, CLASSES, encode), LABELS)
    assert np.array_equal(class_vectors("onehot", CLASSES, encode), np.eye(3))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_prompt_gives_float32_rows_of_unit_length_and_zeros_without_labels(prompt: str) -> None:
    found = label_vectors(prompt, LABELS, CLASSES, encode, DEFINITIONS)
    assert found.dtype == np.float32
    assert found.shape[0] == len(LABELS)
    assert np.array_equal(found[2], np.zeros(found.shape[1]))
    if prompt != "onehot":
        assert np.allclose(np.linalg.norm(np.delete(found, 2, 0), axis=1), 1, atol=1e-5)
    assert np.array_equal(found[1], found[5]), "equal labels, equal rows"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_prompt_is_the_same_every_time(prompt: str) -> None:
    first, second = (label_vectors(prompt, LABELS, CLASSES, encode, DEFINITIONS) for _ in range(2))
    assert np.array_equal(first, second)


@given(c=st.integers(2, 40))
def test_permuted_gives_no_class_its_own_sentence_and_loses_none(c: int) -> None:
    classes = [f"class {i}" for i in range(c)]
    right, wrong = class_vectors("set_mean", classes, encode), class_vectors("permuted", classes, encode)
    source = [int(np.flatnonzero((right == row).all(1))[0]) for row in wrong]
    assert sorted(source) == list(range(c))
    assert all(mine != given for mine, given in enumerate(source))


def test_random_has_no_words_in_it() -> None:
    def deaf(texts: Sequence[str]) -> Vectors:
        raise AssertionError("the control must not read the class names")

    found = class_vectors("random", CLASSES, deaf)
    assert np.array_equal(found, class_vectors("random", ["a", "b", "c"], deaf))
    assert np.abs(found @ found.T - np.eye(3)).max() < 0.25


@pytest.mark.parametrize("prompt", ["set_mean", "set_max", "joined", "bare", "photo", "flickr", "permuted"])
def test_classes_that_the_encoder_cannot_tell_apart_are_refused(prompt: str) -> None:
    def half_deaf(texts: Sequence[str]) -> Vectors:
        return encode([text.replace("tree", "cat") for text in texts])

    with pytest.raises(Incompatible, match="same vector"):
        label_vectors(prompt, LABELS, CLASSES, half_deaf)


def test_dictionary_wants_every_class_defined() -> None:
    with pytest.raises(Incompatible, match="tree"):
        sentences("dictionary", CLASSES, {"cat": "a small animal", "Plant_life": "things that grow"})


def test_an_unknown_prompt_is_told_the_nearest() -> None:
    for ask in (sentences, lambda prompt, names: class_vectors(prompt, names, encode)):
        with pytest.raises(UsageError, match="Did you mean 'joined'"):
            ask("joned", CLASSES)


def test_spread_of_orthogonal_and_of_equal_vectors() -> None:
    assert spread(np.eye(5, dtype=np.float32)) == pytest.approx({"mean_cosine": 0, "effective_rank": 5}, abs=1e-5)
    assert spread(np.ones((4, 6), np.float32)) == pytest.approx({"mean_cosine": 1, "effective_rank": 1}, abs=1e-4)
