"""shapes: 240 drawn discs, squares and bars in red, green and blue; small enough to train on in a second."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from hashbench.dataset import Dataset, Rules, Sizes, Source, Split, Texts, split_by_group
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FORMS, COLOURS = ("disc", "square", "bar"), ("red", "green", "blue")
WORDS = {"disc": "round ball", "square": "box block", "bar": "stick line",
         "red": "tomato fire", "green": "grass leaf", "blue": "sky water"}  # fmt: skip


@dataclass(frozen=True)
class Drawings:
    labels: NDArray[np.uint8]
    modality: Literal["image", "text"] = "image"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int, /) -> Image.Image:
        form, colour = np.flatnonzero(self.labels[row])
        picture = Image.new("RGB", (32, 32), "white")
        draw, at = ImageDraw.Draw(picture), int(row) % 7
        box = (4 + at, 4, 20 + at, 20) if form < 2 else (4 + at, 2, 9 + at, 30)
        (draw.ellipse if form == 0 else draw.rectangle)(box, fill=COLOURS[colour - 3])
        return picture


class Shapes(Dataset):
    name = "shapes"
    licence = "made by this test"
    protocols: ClassVar = {
        "shapes@1": Rules(id="shapes@1", items="240 drawings", split="by id", text="four words"),
        "shapes-swapped@1": Rules(id="shapes-swapped@1", items="240 drawings", split="another seed", text="four words"),
    }

    @property
    def revision(self) -> str:
        return hashlib.sha256(self.labels.tobytes()).hexdigest()[:16]

    @property
    def ids(self) -> Sequence[str]:
        return [f"shape{row}" for row in range(240)]

    @property
    def class_names(self) -> tuple[str, ...]:
        return FORMS + COLOURS

    @property
    def labels(self) -> NDArray[np.uint8]:
        rows = np.arange(240)
        labels = np.zeros((240, 6), np.uint8)
        labels[rows, rows % 3] = 1
        labels[rows, 3 + rows // 3 % 3] = 1
        return labels

    @property
    def views(self) -> Mapping[str, Source]:
        texts = [" ".join(WORDS[self.class_names[c]] for c in np.flatnonzero(row)) for row in self.labels]
        return {"image": Drawings(self.labels), "text": Texts(texts)}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*self.class_names, *(word for words in WORDS.values() for word in words.split()))

    @property
    def split(self) -> Split:
        return split_by_group(self.ids, Sizes(40, 120, 20), seed=1 if self.rules.id == "shapes@1" else 2)
