"""Bag of words: which words of the data set's tag vocabulary a text has. The field's oldest text features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hashbench.backbone import Backbone, Family, Modality, Request
from hashbench.config import digest
from hashbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Bag(Backbone):
    """Strings to (b, d) float32 rows of 0 and 1, one column a word of the vocabulary; the encoder is the identity."""

    modality = "text"
    name = "bow"
    weights = "none"

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Make the bag.

        Args:
            vocabulary: (d,) different single words, in column order; case does not matter.
        """
        self.words = tuple(word.lower() for word in vocabulary)
        self.transform = f"split on white space, lower case, binary, vocabulary {digest(self.words)[:16]}"

    @property
    def dim(self) -> int:
        return len(self.words)

    @cached_property
    def _column(self) -> dict[str, int]:
        return {word: column for column, word in enumerate(self.words)}

    def prepare(self, items: Sequence[Any]) -> Tensor:
        import torch

        rows = torch.zeros(len(items), self.dim)
        for row, text in zip(rows, items, strict=True):
            row[[self._column[word] for word in text.lower().split() if word in self._column]] = 1
        return rows

    def encoder(self) -> nn.Module:
        from torch import nn

        return nn.Identity()


class BagOfWords(Family):
    """``bow``: no weights, no arguments."""

    modalities = ("text",)
    description = "binary bag of the data set's tag words"

    def open(self, modality: Modality, request: Request) -> Bag:
        if request.arguments or request.size:
            raise UsageError(f"backbone {request.name!r}: bow takes no arguments")
        if not request.vocabulary:
            raise UsageError(
                "backbone 'bow': this data set has no tag vocabulary; take minilm, or another text encoder"
            )
        return Bag(request.vocabulary)
