"""Pieces of synthetic stand-ins: labels, pictures and words that go together, drawn here and nobody's property."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def labels(items: int, classes: int, seed: int = 0) -> NDArray[np.uint8]:
    """(items, classes) of 0 and 1: every class occurs, an item has one to three."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((items, classes), np.uint8)
    drawn[np.arange(items), np.arange(items) % classes] = 1
    for row in range(items):
        drawn[row, rng.integers(classes, size=rng.integers(3))] = 1
    return drawn


def jpeg(row: NDArray[np.uint8], seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A picture of an item: one patch a label, its colour and place the class's own, on grey noise."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    noise = rng.integers(96, 160, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    draw = ImageDraw.Draw(picture)
    for label in np.flatnonzero(row).tolist():
        own = np.random.default_rng(label)
        x, y = own.integers(size[0] - 20), own.integers(size[1] - 20)
        box = (int(x), int(y), int(x) + 20, int(y) + 20)
        (draw.ellipse if label % 2 else draw.rectangle)(box, fill=tuple(map(int, own.integers(256, size=3))))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def words(row: NDArray[np.uint8], names: Sequence[str], seed: int, filler: Sequence[str]) -> list[str]:
    """Words of an item: most of its class names, and one or two that say nothing."""
    rng = np.random.default_rng(seed)
    own = [names[label] for label in np.flatnonzero(row).tolist() if rng.random() < 0.8]
    return [*own, *(filler[i] for i in rng.integers(len(filler), size=rng.integers(1, 3)).tolist())]
