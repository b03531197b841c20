"""Pixels without an encoder: what a picture's colours alone are worth, the floor under every image backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hashbench.backbone import Backbone, Family, Modality, Request
from hashbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 16


class PixelImage(Backbone):
    """Small pictures as vectors (b, 3 s²) float32 in [0, 1]; the encoder is the identity.

    A random projection of pixels keeps no more than the pixels do, and a method's first layer is a projection anyway.
    """

    modality = "image"
    weights = "none"

    def __init__(self, side: int = SIDE) -> None:
        self.side = side
        self.name = "pixels" if side == SIDE else f"pixels@{side}"
        self.transform = f"RGB on white, middle square to {side} px by area means, / 255"

    @property
    def dim(self) -> int:
        return 3 * self.side**2

    def prepare(self, items: Sequence[Any]) -> Tensor:
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        from .pictures import on_white

        size, area = (self.side, self.side), Image.Resampling.BOX
        pictures = np.stack([np.asarray(ImageOps.fit(on_white(item), size, area)) for item in items])
        return torch.from_numpy(pictures.astype(np.float32) / 255).flatten(1)

    def encoder(self) -> nn.Module:
        from torch import nn

        return nn.Identity()


class Pixels(Family):
    """``pixels``, or ``pixels@SIDE``: no weights, no arguments."""

    modalities = ("image",)
    companion = "minilm"
    description = "the pixels of a small picture, with no encoder: a floor"

    def open(self, modality: Modality, request: Request) -> PixelImage:
        if request.arguments:
            raise UsageError(f"backbone {request.name!r}: pixels takes no arguments, only a side as in pixels@32")
        return PixelImage(request.size or SIDE)
