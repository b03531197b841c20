"""Pixels are means of areas, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hashbench.backbone import choose, open_backbone
from hashbench.errors import UsageError


def test_a_row_holds_the_means_of_areas() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rows = open_backbone("image", "pixels").prepare([Image.fromarray(noise), Image.new("L", (40, 90), 51)])
    means = noise.reshape(16, 4, 16, 4, 3).mean((1, 3)) / 255
    assert rows.shape == (2, 16 * 16 * 3) and rows.dtype == torch.float32
    assert np.abs(rows[0].numpy() - means.reshape(-1)).max() <= 1 / 255
    assert torch.equal(rows[1], torch.full((768,), 0.2))


def test_its_side_is_part_of_its_name_and_text_needs_another() -> None:
    small, large = open_backbone("image", "pixels"), open_backbone("image", "pixels@32")
    assert (small.dim, large.dim) == (768, 3072) and small.identity != large.identity
    assert not small.trainable and choose("pixels") == ("pixels", "minilm")
    with pytest.raises(UsageError, match="takes no arguments"):
        open_backbone("image", "pixels:scratch")
