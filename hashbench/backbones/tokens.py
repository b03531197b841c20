"""What a sentence encoder needs around it to eat padded token ids alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUP = 32
"""Texts of like length that go through the encoder together."""


class OnTokens(nn.Module):
    """A sentence-transformers model, made to eat (b, l) int64 ids padded with one id, and to give embeddings (b, d)."""

    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model, self.pad = model, pad

    def forward(self, ids: Tensor) -> Tensor:
        if self.training or len(ids) <= GROUP:
            return self._embed(ids)
        order = (ids != self.pad).sum(1).argsort(stable=True)  # like lengths together: less padding
        return torch.cat([self._embed(ids[rows]) for rows in order.split(GROUP)])[order.argsort()]

    def _embed(self, ids: Tensor) -> Tensor:
        mask = ids != self.pad
        longest = int(mask.sum(1).max())  # no text of the group is longer; what is cut off is padding alone
        ids, mask = ids[:, :longest], mask[:, :longest]
        vectors: Tensor = self.model({"input_ids": ids, "attention_mask": mask.long()})["sentence_embedding"]
        return vectors


class ClipTokens(nn.Module):
    """A CLIP model without its image tower: (b, l) int64 ids to projected vectors (b, d), not normalised."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.model.encode_text(ids, normalize=False)  # type: ignore[operator]
        return vectors
