"""A view that is vectors already: nothing reads it, nothing is trained, nothing is cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hashbench.backbone import Backbone

if TYPE_CHECKING:
    from torch import Tensor, nn


class Given(Backbone):
    """The encoder of a view of vectors: the identity."""

    name = "given"
    weights = "none"
    transform = "as they are"

    def __init__(self, width: int) -> None:
        self._width = width

    @property
    def dim(self) -> int:
        return self._width

    def prepare(self, items: Sequence[Any]) -> Tensor:
        import numpy as np
        import torch

        return torch.from_numpy(np.stack(items).astype(np.float32))

    def encoder(self) -> nn.Module:
        from torch import nn

        return nn.Identity()
