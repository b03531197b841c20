"""Records as a run leaves them, with numbers chosen here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hashbench.spec import Spec
from hashbench.store import Record

CHANCE = 0.08
SODA = {
    "label_modality": "set_mean", "alpha": 0.05, "teacher": "two_stage", "teacher_epochs": None,
    "stage2_image": "frozen", "finetune_rate": 0.1, "beta": 0.05, "epochs": 30,
}  # fmt: skip


def record(
    image_to_text: float,
    text_to_image: float | None = None,
    *,
    method: str = "soda",
    bits: int = 16,
    seed: int = 0,
    backbone: str = "lite",
    tuning: Any = "frozen",
    conditions: Mapping[str, Any] | None = None,
    diagnostics: Mapping[str, float] | None = None,
    prompts: str | None = None,
    protocol: str = "pictograms@1",
    speed: float | None = None,
    **settings: Any,
) -> Record:
    """A finished run with these two MAPs; everything else as usual."""
    text_to_image = image_to_text if text_to_image is None else text_to_image
    return Record(
        spec=Spec(
            method=method,
            method_version=1,
            config={**(SODA if method == "soda" else {"epochs": 30}), **settings},
            dataset="pictograms",
            dataset_revision="r1",
            protocol=protocol,
            split=f"0123abcd {protocol}",
            views={"image": f"{backbone} weights=1 transform=224 px", "text": "minilm weights=2 transform=tokens"},
            prompts=prompts,
            tuning=tuning,
            bits=bits,
            seed=seed,
            conditions=dict(conditions or {}),
        ),
        status="done",
        rules={"metric": "map@all"},
        metrics={
            "image->text": {"map@all": image_to_text, "chance": CHANCE},
            "text->image": {"map@all": text_to_image, "chance": CHANCE},
        },
        curves={
            task: {
                **{f"radius/{name}": [0.9, 0.5, CHANCE] for name in ("micro_precision", "macro_precision")},
                **{f"radius/{name}": [0.1, 0.6, 1.0] for name in ("micro_recall", "macro_recall")},
                "radius/radius": [0.0, 8.0, 16.0],
                "rank/rank": [1, 10, 100, 1000],
                "rank/precision": [image_to_text, image_to_text / 2, 0.1, CHANCE],
                "rank/recall": [0.01, 0.1, 0.5, 1.0],
            }
            for task in ("image->text", "text->image")
        },
        diagnostics=dict(diagnostics or {}),
        cost={} if speed is None else {"items_per_second": speed},
        provenance={"device": "cpu"},
    )
