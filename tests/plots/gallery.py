"""A small data set with pictures and texts, and runs on it with chosen codes, as the store keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashbench import retrieval
from hashbench.dataset import Dataset, Rules, Source, Split, Texts
from hashbench.measuring import (
    ENCODED_SIDES,
    code_digest,
    evaluate_codes,
    packed,
    query_precisions,
    rows_with,
    with_evaluations,
)
from hashbench.retrieval import AnyCodes
from hashbench.store import Record, Store

from .records import record

ITEMS = 72
CLASSES = ("animal", "a class with a long name", "tool", "sky", "rare")
TEXTS = (
    "a cat",
    "price in $ and $",
    "donaudampfschifffahrtsgesellschaft " * 4,
    "two <b>words</b>",
    "many " * 30,
    "Größe",
)


class Pictures:
    """Pictures of every shape; those of odd rows have a transparent half."""

    modality = "image"

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, row: int) -> Image.Image:
        size = (40 + row, 300 - 4 * row)
        if row % 2 == 0:
            return Image.new("RGB", size, (row * 3, 90, 200))
        picture = Image.new("RGBA", size, (200, 0, row * 3, 255))
        picture.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
        return picture


class Gallery(Dataset):
    """72 items; every fifth has no text, every seventh no picture; the validation items stand in the database, too."""

    name = "gallery"
    licence = "none"
    protocols = {"gallery@1": Rules(id="gallery@1", items="all", split="by number", text="a line")}  # noqa: RUF012
    revision = "1"

    @property
    def ids(self) -> Sequence[str]:
        return [f"item {row}" for row in range(ITEMS)]

    @property
    def class_names(self) -> tuple[str, ...]:
        return CLASSES

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """The last class is on two items only; the last three items have none."""
        labels = (np.random.default_rng(3).random((ITEMS, len(CLASSES))) < 0.3).astype(np.uint8)
        labels[:, -1] = 0
        labels[[0, 40], -1] = 1
        labels[-3:] = 0
        return labels

    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": Pictures(), "text": Texts([TEXTS[row % len(TEXTS)] for row in range(ITEMS)])}  # type: ignore[dict-item]

    @property
    def split(self) -> Split:
        rows = np.arange(ITEMS)
        return Split(np.r_[0:20, 69:72], rows[20:69], rows[20:50], rows[20:24])

    def present(self, view: str) -> NDArray[np.bool_]:
        return np.arange(ITEMS) % {"text": 5, "image": 7}[view] != 1


def keep(
    store: Store,
    *,
    dataset: Dataset | None = None,
    codes: Mapping[str, NDArray[Any]] | None = None,
    log: Iterable[Mapping[str, Any]] = (),
    bits: int = 8,
    seed: int = 0,
    **settings: Any,
) -> Record:
    """A run as it is stored: measured codes (random ones where none are given) and a log."""
    dataset = dataset or Gallery()
    rng = np.random.default_rng([seed, bits, len(str(settings))])
    kept: dict[str, AnyCodes] = {}
    for side in ENCODED_SIDES:
        for view in dataset.views:
            name = f"{side}/{view}"
            rows = rows_with(dataset, side, view)
            signs = codes[name] if codes else rng.random((len(rows), bits)) < 0.5
            kept[name] = retrieval.pack(signs) if signs.dtype == bool else retrieval.RealCodes(signs)
    base = record(0.0, bits=bits, seed=seed, **settings)
    of_data = {
        "dataset": dataset.name, "dataset_revision": dataset.revision, "protocol": dataset.rules.id,
        "split": dataset.split_digest,
    }  # fmt: skip
    digests = {name: code_digest(each) for name, each in kept.items()}
    base = replace(base, spec=replace(base.spec, **of_data), code_digests=digests, rules=vars(dataset.rules))
    evaluations = evaluate_codes(dataset, kept)
    found = with_evaluations(base, dataset, evaluations)
    store.save(found, {name: packed(each) for name, each in kept.items()}, query_precisions(evaluations), log)
    return found
