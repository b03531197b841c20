"""Training conditions: what is done to the training items before anything is made from them.

Labels are disturbed before prompts and similarity are made of them; queries, database and validation items stay
clean, so that every number is measured on the truth. What happens to an item follows from the seed and the item's
id alone: it does not move when items are reordered or missing, and a higher rate disturbs what a lower one does
and more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench.dataset import Dataset, Index, Source, Split, Texts, Vectors, rank_by_id
from hashbench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Rates of disturbance; the defaults disturb nothing."""

    label_drop: float = 0.0
    """Probability that a true label is missing, 0..1."""
    label_spurious: float = 0.0
    """Probability that a true label brings a false one with it, drawn evenly from the item's absent classes, 0..1."""
    labelled: float = 1.0
    """Share of the training items whose labels are known, 0..1."""
    text_keep: float = 1.0
    """Probability that a word of a text stays, 0..1."""
    text_junk: int = 0
    """Words added to each text, drawn evenly from all distinct words of the training texts."""

    def __post_init__(self) -> None:
        for name in ("label_drop", "label_spurious", "labelled", "text_keep"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: expected a share from 0 to 1")
        if self.labelled == 0:
            raise UsageError("--labelled 0: expected at least some labels; an unsupervised method needs none")
        if self.text_junk < 0:
            raise UsageError(f"--text-junk {self.text_junk}: expected a number of words, 0 or more")

    def set(self) -> dict[str, Any]:
        """The conditions that are not at their defaults, by name."""
        return {f.name: value for f in fields(self) if (value := asdict(self)[f.name]) != f.default}


@dataclass(frozen=True, eq=False)
class Disturbed:
    """Training items as a method gets them."""

    labels: NDArray[np.uint8]
    """(m, c); rows that are not labelled still have theirs here, and the bench hides them."""
    labelled: NDArray[np.bool_]
    """(m,) whose labels are known."""
    text: Texts | None
    """(m,) other words; None: the texts are as they were."""


class Reworded(Dataset):
    """Training items of a data set with other words: their texts are another view, with features of its own."""

    def __init__(self, original: Dataset, rows: Index, texts: Texts) -> None:
        self.name, self.rules = original.name, original.rules  # type: ignore[misc]
        self._original, self._rows, self._texts = original, rows, texts

    @property
    def revision(self) -> str:
        return self._original.revision

    @property
    def ids(self) -> Sequence[str]:
        return [self._original.ids[row] for row in self._rows.tolist()]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._original.class_names

    @property
    def labels(self) -> NDArray[np.uint8]:
        return self._original.labels[self._rows]

    @property
    def views(self) -> Mapping[str, Source]:
        return {"text": self._texts}

    @property
    def split(self) -> Split:
        everything, nothing = np.arange(len(self._rows)), np.arange(0)
        return Split(nothing, everything, everything, nothing)


def disturb(dataset: Dataset, rows: Index, conditions: Conditions, seed: int) -> Disturbed:
    """Apply conditions to some items of a data set.

    Raises:
        UsageError: words are to be disturbed, and the data has no text view of words.
    """
    ids = [dataset.ids[row] for row in rows.tolist()]
    labels = dataset.labels[rows]
    if conditions.label_drop or conditions.label_spurious:
        labels = _disturb_labels(labels, ids, conditions, seed)
    labelled = np.ones(len(rows), np.bool_)
    if conditions.labelled < 1:
        known = max(1, round(conditions.labelled * len(rows)))
        labelled[rank_by_id([f"labelled/{item}" for item in ids], seed)[known:]] = False
    text = None
    if conditions.text_keep < 1 or conditions.text_junk:
        source = dataset.views.get("text")
        if source is None or isinstance(source, Vectors) or source.modality != "text":
            raise UsageError(f"--text-keep and --text-junk: {dataset.name} has no text view made of words")
        text = _disturb_texts([str(source[row]) for row in rows.tolist()], ids, conditions, seed)
    return Disturbed(labels, labelled, text)


def _disturb_labels(
    labels: NDArray[np.uint8], ids: Sequence[str], conditions: Conditions, seed: int
) -> NDArray[np.uint8]:
    disturbed = labels.copy()
    for row, item in enumerate(ids):
        stream, spurious = _stream(seed, "labels", item), _stream(seed, "spurious labels", item)
        absent = np.flatnonzero(labels[row] == 0)
        for label in np.flatnonzero(labels[row]):
            if stream.random() < conditions.label_drop:
                disturbed[row, label] = 0
            brings, which = spurious.random(), spurious.random()
            if brings < conditions.label_spurious and len(absent):
                disturbed[row, absent[int(which * len(absent))]] = 1
    return disturbed


def _disturb_texts(texts: Sequence[str], ids: Sequence[str], conditions: Conditions, seed: int) -> Texts:
    words = sorted({word for text in texts for word in text.split()})
    disturbed = []
    for text, item in zip(texts, ids, strict=True):
        stream, junk = _stream(seed, "words", item), _stream(seed, "junk", item)
        kept = [word for word in text.split() if stream.random() < conditions.text_keep]
        added = [words[int(junk.random() * len(words))] for _ in range(conditions.text_junk)]
        disturbed.append(" ".join([*kept, *added]))
    return Texts(disturbed)


def _stream(seed: int, what: str, item: str) -> np.random.Generator:
    name = hashlib.sha256(f"{seed}/{what}/{item}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(name[:16], "little")))
