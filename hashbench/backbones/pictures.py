"""What every picture encoder shares: drawings laid on white, and pixels normalised inside the module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Tensor, nn


def on_white(picture: Image.Image) -> Image.Image:
    """The picture in RGB of 8 bits; what is transparent in it becomes white."""
    if picture.mode.startswith("I;16"):  # which convert() would cut at 255: all white
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")


class OnPixels(nn.Module):
    """An encoder of normalised pictures, made to eat (b, 3, h, w) uint8 pixels: ``encoder((x / 255 - mean) / std)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.float() / 255 - self.mean) / self.std
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)  # convolutions take two thirds of the time
        found: Tensor = self.encoder(x)
        return found


class Regions(nn.Module):
    """A convolutional network of timm without its classifier, giving its vector and the means of its last feature map
    in g x g regions, row by row: pictures to (b, 1 + g², d)."""

    def __init__(self, network: nn.Module, grid: int) -> None:
        super().__init__()
        self.network, self.grid = network, grid

    def forward(self, pictures: Tensor) -> Tensor:
        maps: Tensor = self.network.forward_features(pictures)  # type: ignore[operator]
        vectors: Tensor = self.network.forward_head(maps)  # type: ignore[operator]
        regions = nnf.adaptive_avg_pool2d(maps, self.grid).flatten(2).transpose(1, 2)
        return torch.cat([vectors[:, None], regions], 1)
