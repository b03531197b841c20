"""Setup: what a run sees of the world, and how it is told in words, on the command line and in studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, get_args

from hashbench.backbone import choose
from hashbench.conditions import Conditions
from hashbench.config import digest
from hashbench.errors import UsageError
from hashbench.spec import Precision, Tuning


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run sees of the world: data, protocol, backbones."""

    dataset: str = "pictograms"
    protocol: str | None = None
    """None: the data set's first."""
    views: tuple[str, ...] = ()
    """The views that take part; empty: all that the data set has."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """View name to backbone name, ``lite`` where none is named; ``label`` is what reads label prompts, the text
    view's own where none is named. A view of vectors has none."""
    tuning: Tuning = "frozen"
    precision: Precision = "fp32"
    conditions: Conditions = field(default_factory=Conditions)
    """What is done to the training items."""

    @cached_property
    def digest(self) -> str:
        """Equal for equal setups."""
        return digest(asdict(self))


CONDITIONS = tuple(f.name for f in fields(Conditions))

WORDS = (
    "dataset", "protocol", "views", "backbone", "image_backbone", "text_backbone", "label_backbone", "tuning",
    "precision", *CONDITIONS,
)  # fmt: skip
"""What a setup can be told by; the flags of ``hashbench run`` with underscores."""


def setup_of(words: Mapping[str, Any]) -> Setup:
    """The setup that words describe; a word that is left out or None has its default.

    Args:
        words: Some of :data:`WORDS`. ``views`` is ``"image,text"`` or a list.

    Raises:
        UsageError: an unknown backbone, or a value that a word cannot have.
    """
    told = {name: value for name, value in words.items() if value is not None}
    image, text = told.get("image_backbone"), told.get("text_backbone")
    if "backbone" in told:
        image, text = choose(told["backbone"], image, text)
    views: str | Sequence[str] = told.get("views", ())
    named = {"image": image, "text": text, "label": told.get("label_backbone")}
    return Setup(
        dataset=told.get("dataset", "pictograms"),
        protocol=told.get("protocol"),
        views=tuple(view.strip() for view in (views.split(",") if isinstance(views, str) else views)),
        backbones={view: name for view, name in named.items() if name},
        tuning=_one_of("tuning", told.get("tuning", "frozen"), get_args(Tuning)),
        precision=_one_of("precision", told.get("precision", "fp32"), get_args(Precision)),
        conditions=Conditions(**{name: told[name] for name in CONDITIONS if name in told}),
    )


def _one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise UsageError(f"{name} {value!r}: expected {' or '.join(choices)}")
    return value
