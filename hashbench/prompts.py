"""Prompt templates: labels to sentences, sentences to one vector an item.

SODA writes "An image of [label]" for every positive label (sec. 4.1). How the *set* of prompts becomes one
vector is not said in what we hold of the paper; the mean of the class embeddings is our inference, their maximum
and one sentence an item are the other ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hashbench.config import did_you_mean, digest
from hashbench.errors import Incompatible, UsageError

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
"""(m strings) to (m, d) vectors, as the run's text backbone sees them."""

CONTROL_SEED = 20251001
"""Seeds the controls ``random`` and ``permuted``; fixed, because a prompt is data and not part of a seed."""


@dataclass(frozen=True)
class Prompt:
    """One way to turn an item's labels into a vector."""

    kind: Literal["template", "largest", "joined", "dictionary", "onehot", "random", "permuted"]
    template: str
    help: str
    since: int | None = None
    """Raised with every prompt that was added later: the digest leaves those out, so that older runs keep their key."""


PAPER_TEMPLATE = "An image of {}"

PROMPTS: Mapping[str, Prompt] = {
    "set_mean": Prompt("template", PAPER_TEMPLATE, "the paper's template, one sentence a label, averaged"),
    "set_max": Prompt("largest", PAPER_TEMPLATE, "the same sentences, the largest number of each dimension", since=1),
    "joined": Prompt("joined", PAPER_TEMPLATE, "one sentence an item: An image of cat, bird and tree"),
    "bare": Prompt("template", "{}", "the class name alone"),
    "photo": Prompt("template", "a photo of a {}.", "CLIP's usual template"),
    "flickr": Prompt("template", "This is a Flickr photo showing {}.", "names the source"),
    "dictionary": Prompt("dictionary", "{}", "a dictionary sentence about each class"),
    "onehot": Prompt("onehot", "", "control: the label vector itself, no words"),
    "random": Prompt("random", "", "control: a random Gaussian vector a class"),
    "permuted": Prompt("permuted", PAPER_TEMPLATE, "control: the paper's sentences, each for another class"),
}


def named(prompt: str) -> Prompt:
    """The prompt of that name; UsageError with the known names otherwise."""
    if prompt not in PROMPTS:
        raise UsageError(f"no prompt {prompt!r}. {did_you_mean(prompt, PROMPTS)}")
    return PROMPTS[prompt]


def sentences(prompt: str, class_names: Sequence[str], definitions: Mapping[str, str] = {}) -> list[str]:
    """One sentence a class, in class order; for ``joined``, the sentence of an item with that label alone.

    Raises:
        Incompatible: ``dictionary`` where the data set defines not every class.
    """
    chosen = named(prompt)
    names = [name.lower().replace("_", " ") for name in class_names]
    if chosen.kind == "dictionary":
        missing = [name for name in class_names if name not in definitions]
        if missing:
            raise Incompatible(f"the dictionary prompt needs a sentence for every class; none for {missing[0]!r}")
        return [definitions[name] for name in class_names]
    return [chosen.template.format(name) for name in names]


def joined_sentence(names: Sequence[str]) -> str:
    """``An image of cat, bird and tree``: the names in class order."""
    words = [name.lower().replace("_", " ") for name in names]
    listing = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return PROMPTS["joined"].template.format(listing)


def class_vectors(
    prompt: str, class_names: Sequence[str], encode: Encode, definitions: Mapping[str, str] = {}
) -> Vectors:
    """(c, d) unit vectors e_c, one a class; for ``onehot`` the identity matrix.

    Raises:
        Incompatible: the text encoder cannot tell two classes apart (a bag of words without the class names).
    """
    kind, c = named(prompt).kind, len(class_names)
    if kind == "onehot":
        return np.eye(c, dtype=np.float32)
    if kind == "random":
        return _unit(np.random.default_rng(CONTROL_SEED).normal(size=(c, 512)))
    vectors = _unit(encode(sentences(prompt, class_names, definitions)))
    if len(np.unique(vectors.round(6), axis=0)) < c:
        raise Incompatible(
            f"the text encoder gives several classes the same vector under the prompt {prompt!r}; "
            "take a text encoder that reads sentences, or --set label_modality=onehot"
        )
    if kind == "permuted":  # a shift by one after shuffling: no class keeps its own sentence
        order = np.random.default_rng(CONTROL_SEED).permutation(c)
        shifted = np.empty_like(vectors)
        shifted[order] = vectors[np.roll(order, 1)]
        return shifted
    return vectors


def label_vectors(
    prompt: str,
    labels: NDArray[np.uint8],
    class_names: Sequence[str],
    encode: Encode,
    definitions: Mapping[str, str] = {},
) -> Vectors:
    """The label modality: (n, d) float32, one row an item.

    One sentence a class: x_i = norm(Σ_c y_ic e_c / Σ_c y_ic), or for ``set_max`` norm(max_{c: y_ic = 1} e_c) in each
    dimension. ``onehot``: x_i = y_i. ``joined``: x_i = norm(encode(joined sentence of the item's labels)).
    An item without labels gets zeros.

    Args:
        prompt: A name of :data:`PROMPTS`.
        labels: (n, c) of 0 and 1.
        class_names: (c,) names in column order.
        encode: The text backbone.
        definitions: Class name to sentence, for ``dictionary``.
    """
    kind = named(prompt).kind
    if kind == "onehot":
        return labels.astype(np.float32)
    classes = class_vectors(prompt, class_names, encode, definitions)  # refuses an encoder that cannot tell them apart
    combinations, row_of = np.unique(labels, axis=0, return_inverse=True)
    if kind == "largest":
        largest = [classes[row.astype(bool)].max(axis=0, initial=-1) * row.any() for row in combinations]
        return _unit(np.stack(largest))[row_of.ravel()]
    if kind != "joined":
        return _unit(labels.astype(np.float32) @ classes)
    texts = [
        joined_sentence([name for name, has in zip(class_names, row, strict=True) if has]) if row.any() else ""
        for row in combinations
    ]
    vectors = _unit(encode(texts))
    vectors[~combinations.any(axis=1)] = 0
    return vectors[row_of.ravel()]


def text_digest(class_names: Sequence[str], definitions: Mapping[str, str] = {}) -> str:
    """What decides the sentences of a data set; which prompt makes them is a setting of the method."""
    first = {name: (prompt.kind, prompt.template) for name, prompt in PROMPTS.items() if prompt.since is None}
    return digest([class_names, dict(definitions), first])[:16]


def spread(vectors: Vectors) -> dict[str, float]:
    """How distinct class embeddings are: mean pairwise cosine, and effective rank exp(H) of the singular values.

    A mean cosine near 1 says that the encoder hardly tells the prompts apart.
    """
    unit = _unit(vectors)
    c = len(unit)
    cosines = unit @ unit.T
    share = np.linalg.svd(unit, compute_uv=False) ** 2
    share = share[share > 0] / share.sum()
    return {
        "mean_cosine": float((cosines.sum() - np.trace(cosines)) / max(c * (c - 1), 1)),
        "effective_rank": float(np.exp(-(share * np.log(share)).sum())),
    }


def _unit(vectors: NDArray[np.floating]) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
