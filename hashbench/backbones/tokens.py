"""What a sentence encoder needs around it to eat padded token ids alone."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.compiler import is_exporting

GROUP = 32
"""Texts of like length that go through the encoder together."""


class OnTokens(nn.Module):
    """A sentence-transformers model, made to eat (b, l) int64 ids padded with one id, and to give embeddings (b, d)."""

    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model, self.pad = model, pad

    def forward(self, ids: Tensor) -> Tensor:
        if self.training or is_exporting() or len(ids) <= GROUP:
            return self._embed(ids)
        order = (ids != self.pad).sum(1).argsort(stable=True)  # like lengths together: less padding
        return torch.cat([self._embed(ids[rows]) for rows in order.split(GROUP)])[order.argsort()]

    def _embed(self, ids: Tensor) -> Tensor:
        mask = ids != self.pad
        if not is_exporting():  # which cannot follow numbers
            longest = int(mask.sum(1).max())  # no text of the group is longer; what is cut off is padding alone
            ids, mask = ids[:, :longest], mask[:, :longest]
        return self._read(self.model({"input_ids": ids, "attention_mask": mask.long()}), mask)

    def _read(self, found: dict[str, Tensor], mask: Tensor) -> Tensor:
        return found["sentence_embedding"]


class WordTokens(OnTokens):
    """A sentence-transformers model of BERT's kind: ids (b, l) to the embedding and its words' last states,
    (b, 1 + words, d). The marks at both ends are no words."""

    def __init__(self, model: nn.Module, pad: int, words: int) -> None:
        super().__init__(model, pad)
        self.words = words

    def _read(self, found: dict[str, Tensor], mask: Tensor) -> Tensor:
        states = found["token_embeddings"][:, 1:]
        return sequences(found["sentence_embedding"], states, mask.sum(1) - 2, self.words)


class ClipTokens(nn.Module):
    """A CLIP model without its image tower: (b, l) int64 ids to projected vectors (b, d), not normalised."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.model.encode_text(ids, normalize=False)  # type: ignore[operator]
        return vectors


class ClipWordTokens(nn.Module):
    """The same, giving the text's vector and the states of its words, projected alike, (b, 1 + words, d).

    The states of the marks are left out: nothing stands before the first, so that it is the same in every text, and
    the last is the vector.
    """

    def __init__(self, model: nn.Module, words: int) -> None:
        super().__init__()
        model.text_pool_type = "none"  # type: ignore[assignment]  # then encode_text gives the states of all ids
        self.model, self.words = model, words

    def forward(self, ids: Tensor) -> Tensor:
        states: Tensor = self.model.encode_text(ids, normalize=False)  # type: ignore[operator]
        end = ids.argmax(1)  # the mark at the end has the largest id of all
        vectors = states[torch.arange(ids.shape[0], device=ids.device), end]
        return sequences(vectors, states[:, 1:], end - 1, self.words)


def sequences(vectors: Tensor, states: Tensor, counts: Tensor, tokens: int) -> Tensor:
    """Vectors (b, d) before the first states of (b, l, d), of which ``counts`` (b,) are tokens: (b, 1 + tokens, d).

    What is missing to the full number is zero.
    """
    states = nnf.pad(states, (0, 0, 0, tokens - states.shape[1]))  # or cuts off what is too many
    missing = torch.arange(tokens, device=states.device) >= counts[:, None]
    return torch.cat([vectors[:, None], states.masked_fill(missing[..., None], 0)], 1)
