"""A small data set whose names and words are hostile, and runs on it with real codes, for tests of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hashbench.data import catalogue
from hashbench.dataset import Dataset, Rules, Sizes, Source, Split, Texts, split_by_group
from hashbench.measuring import code_digest, evaluate_codes, packed, query_precisions, rows_with, with_evaluations
from hashbench.retrieval import AnyCodes, RealCodes, pack
from hashbench.spec import Spec
from hashbench.store import Record, Store

from .made import HOSTILE

MORE = (
    '</script><script>document.title="owned"</script>', '"><img src=x onerror="document.title=\'owned\'">',
    "<style>*{display:none}</style>", "{{ 7*7 }}{% raw %}", "<!--", "]]>", "\u2028\u2029", "javascript:alert(1)",
    "\u202e\u2066gnp.exe", "<svg onload=document.title='owned'>", "' onmouseover='document.title=1", "\\u003cscript>",
)  # fmt: skip
NAMES = (*HOSTILE, *MORE)
ITEMS = 90


@dataclass(frozen=True)
class Squares:
    """Pictures of one colour each."""

    modality: Literal["image", "text"] = "image"

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, row: int, /) -> Image.Image:
        return Image.new("RGB", (40, 20 + row % 3), ((row * 37) % 256, 90, (row * 11) % 256))


class Nasty(Dataset):
    """90 items of three classes, with words that try to be markup."""

    name: ClassVar[str] = "nasty"
    licence: ClassVar[str] = "<b>nobody's</b>"
    protocols: ClassVar[Mapping[str, Rules]] = {
        id: Rules(id=id, items=NAMES[0], split=NAMES[1], text=NAMES[2]) for id in ("nasty@1", "nasty-other@1")
    }

    @property
    def revision(self) -> str:
        return "r1"

    @property
    def ids(self) -> Sequence[str]:
        return [f"item{row}" for row in range(ITEMS)]

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("<script>alert(1)</script>", 'a "class"', "plain", "of no item")

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        return np.stack([*(np.arange(ITEMS) % 3 == at for at in range(3)), np.zeros(ITEMS)], axis=1).astype(np.uint8)

    @cached_property
    def views(self) -> Mapping[str, Source]:
        return {"image": Squares(), "text": Texts([NAMES[row % len(NAMES)] for row in range(ITEMS)])}

    @cached_property
    def split(self) -> Split:
        return split_by_group(self.ids, Sizes(query=21, train=30, validation=12), seed=len(self.rules.id))


@pytest.fixture(scope="module")
def nasty() -> Any:
    """Makes the data set known for a module's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "open_dataset", lambda name, protocol=None: Nasty(protocol))
        yield


def made(
    store: Store, method: str, *, bits: int = 16, seed: int = 0, noise: float = 1.0, protocol: str = "nasty@1",
    config: Mapping[str, Any] | None = None, real: bool = False, cost: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> Record:  # fmt: skip
    """Keep a finished run whose codes know the labels as well as ``noise`` lets them."""
    dataset = Nasty(protocol)
    draw = np.random.default_rng([seed, bits])
    projection = draw.normal(size=(4, bits))
    codes: dict[str, AnyCodes] = {}
    for side in ("query", "database", "validation"):
        for view in ("image", "text"):
            rows = dataset.labels[rows_with(dataset, side, view)] @ projection
            rows = rows + noise * draw.normal(size=rows.shape)
            codes[f"{side}/{view}"] = RealCodes(rows.astype(np.float32)) if real else pack(rows > 0)
    spec = Spec(
        method=method, method_version=1, config=dict(config or {}), dataset="nasty", dataset_revision="r1",
        protocol=protocol, split=dataset.split_digest, views={"image": "lite w t", "text": "bow w t"}, bits=bits,
        seed=seed,
    )  # fmt: skip
    record = Record(
        spec=spec, status="done", rules={name: str(value) for name, value in vars(dataset.rules).items()},
        code_digests={name: code_digest(each) for name, each in codes.items()}, warnings=list(warnings),
        cost=dict(cost or {"fit_seconds": 3.0 + noise, "items_per_second": 1234.5, "peak_bytes": 2e9}),
        provenance={
            "hashbench": "0.1.0", "time": f"2026-01-0{seed + 1}T00:00:00Z", "command": "hashbench x", "git": None,
        },
    )  # fmt: skip
    evaluations = evaluate_codes(dataset, codes)
    record = with_evaluations(record, dataset, evaluations)
    store.save(record, {name: packed(each) for name, each in codes.items()}, query_precisions(evaluations), [])
    return record


def failed(store: Store, like: Record, reason: str, seed: int = 9) -> Record:
    """Keep a run that has no numbers."""
    record = replace(
        like, spec=replace(like.spec, seed=seed), status="failed", reason=reason, metrics={}, curves={}, validation={}
    )
    store.save(record, {}, {}, [])
    return record
