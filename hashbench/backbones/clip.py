"""CLIP encoders of open_clip: ``clip:ViT-B-16:openai``, ``clip:ViT-B-32:scratch``, ``clip:ViT-L-14:/path``."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from hashbench import checksum
from hashbench.backbone import Backbone, Family, Modality, Request, Tokens, WeightsUnavailable
from hashbench.errors import DataError, UsageError

from .resources import UNTRAINED, Unreachable, hub_file, library, local_file, looks_like_path

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
QUICK = "-quickgelu"
UNUSED = ("visual", "text_decoder", "logit_scale", "logit_bias")
"""Parts of a CLIP model that reading text does not need, and that would be trained for nothing."""
WORDS = 30
"""Words that make a text's tokens: MITH's 32 ids without the marks at both ends."""


class Clip(Family):
    """``clip:ARCHITECTURE:TAG``, ``clip:ARCHITECTURE:scratch`` or ``clip:ARCHITECTURE:/path/to/weights``.

    A tag decides the activation its weights were trained with (open_clip itself only warns). For a file the name of
    the architecture does: OpenAI's weights need ``clip:ViT-B-16-quickgelu:/path``.
    """

    modalities = ("image", "text")
    description = "any CLIP of open_clip, e.g. clip:ViT-B-16:openai"
    default: ClassVar[tuple[str, ...]] = ()
    """Architecture and weights of a short name."""

    def open(self, modality: Modality, request: Request) -> Backbone:
        arguments = request.arguments
        if self.default:
            arguments = (self.default[0], *(arguments or self.default[1:]))
        if len(arguments) < 2:
            raise UsageError(
                f"backbone {request.name!r}: expected clip:ARCHITECTURE:TAG, clip:ARCHITECTURE:scratch or "
                "clip:ARCHITECTURE:/path/to/weights, for example clip:ViT-B-16:openai"
            )
        architecture, source = arguments[0], ":".join(arguments[1:])  # a path may hold colons
        open_clip = library("open_clip", "open_clip_torch")
        if open_clip.get_model_config(architecture) is None:
            raise UsageError(_near(request, "architecture", architecture, open_clip.list_models()))
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        file, tag = None, {}
        if looks_like_path(source):
            file, source = local_file(source), "file"
        elif source != "scratch":
            tag = open_clip.get_pretrained_cfg(architecture, source)
            if not tag:
                raise UsageError(_near(request, f"weights for {architecture}", source, [*tags, "scratch"]))
            file = _fetch(request, architecture, tag)
        return (ClipImage if modality == "image" else ClipText)(_Model(architecture, source, file, tag, request.size))


class ClipViTB16(Clip):
    """OpenAI's ViT-B/16, the usual encoder of recent work; ``:scratch`` and ``:/path`` as for ``clip``."""

    description = "CLIP ViT-B/16 by OpenAI"
    default = (f"ViT-B-16{QUICK}", "openai")


class ClipViTB32(Clip):
    """OpenAI's ViT-B/32; ``:scratch`` and ``:/path`` as for ``clip``."""

    description = "CLIP ViT-B/32 by OpenAI"
    default = (f"ViT-B-32{QUICK}", "openai")


class _Model:
    """What both sides of one CLIP share: name, digest, and how it is built."""

    def __init__(
        self, architecture: str, source: str, file: Path | None, tag: Mapping[str, Any], size: int | None
    ) -> None:
        open_clip = library("open_clip", "open_clip_torch")
        self.config = open_clip.get_model_config(architecture)
        quick = bool(tag.get("quick_gelu", self.config.get("quick_gelu", False)))
        self.config["quick_gelu"] = quick
        self.architecture, self.file, self.size = architecture, file, size
        self.dim = int(self.config["embed_dim"])
        native = self.config["vision_cfg"].get("image_size", 224)
        at = "" if size is None or native == size else f"@{size}"
        self.name = f"clip:{architecture.removesuffix(QUICK)}{QUICK if quick else ''}:{source}{at}"
        self.weights = checksum.sha256(file)[:16] if file else UNTRAINED
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        usual = open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}
        transform = library("open_clip.transform", "open_clip_torch")
        self.preprocess = transform.PreprocessCfg(
            **transform.merge_preprocess_dict(transform.PreprocessCfg(size=size or native), tag or usual)
        )

    def build(self) -> Any:
        """The whole model, in float32 on the CPU."""
        open_clip = library("open_clip", "open_clip_torch")
        try:
            with _quietly():
                model = open_clip.create_model(
                    self.architecture, load_weights=False, pretrained_text=False,
                    force_quick_gelu=self.config["quick_gelu"], force_image_size=self.size,
                )  # fmt: skip
                if self.file is not None:
                    open_clip.load_checkpoint(model, str(self.file), strict=True, weights_only=True)
        except Exception as error:  # whatever damaged or other weights make the readers raise
            said = " ".join(str(error).split())[:400]
            raise DataError(f"{self.name}: {self.file or 'the architecture'} cannot be used: {said}") from error
        return model


class ClipImage(Backbone):
    """The image tower: its projected vectors, as they are (not normalised).

    ``prepare`` is open_clip's own transform up to the normalisation, whose only rounding, to whole grey levels,
    open_clip's has too: ``(prepare / 255 - mean) / std`` equals it exactly.
    """

    modality = "image"

    def __init__(self, model: _Model) -> None:
        self.model, self.name, self.weights = model, model.name, model.weights
        p = model.preprocess
        self.transform = (
            f"RGB on white, open_clip size={p.size} resize={p.resize_mode} interpolation={p.interpolation} "
            f"fill={p.fill_color} mean={tuple(p.mean)} std={tuple(p.std)}"
        ).replace(", ", ",")

    @property
    def dim(self) -> int:
        return self.model.dim

    @cached_property
    def _to_pixels(self) -> Any:
        transforms = library("torchvision.transforms", "torchvision")
        open_clip = library("open_clip.transform", "open_clip_torch")
        *steps, _to_float, _normalise = open_clip.image_transform_v2(self.model.preprocess, is_train=False).transforms
        return transforms.Compose([*steps, transforms.PILToTensor()])

    def prepare(self, items: Sequence[Any]) -> Tensor:
        import torch

        from .pictures import on_white

        return torch.stack([self._to_pixels(on_white(picture)) for picture in items])

    def encoder(self) -> nn.Module:
        return self._on_pixels(self.model.build().visual)

    def tokens(self) -> Backbone:
        vision = self.model.config["vision_cfg"]
        plain = isinstance(vision.get("layers"), int) and vision.get("pool_type", "tok") == "tok"
        if not plain or vision.get("attentional_pool"):
            return super().tokens()

        def encoder() -> nn.Module:
            visual = self.model.build().visual
            visual.pool_type = "none"  # it then projects every state, not the first alone
            return self._on_pixels(visual)

        side = self.model.size or vision.get("image_size", 224)
        return Tokens(self, "tokens: projected patches", 1 + (side // vision["patch_size"]) ** 2, encoder)

    def _on_pixels(self, visual: nn.Module) -> nn.Module:
        from .pictures import OnPixels

        return OnPixels(visual, self.model.preprocess.mean, self.model.preprocess.std)


class ClipText(Backbone):
    """The text tower: strings to (b, 77) int64 ids, these to its projected vectors, as they are (not normalised)."""

    modality = "text"

    def __init__(self, model: _Model) -> None:
        self.model, self.name, self.weights = model, model.name, model.weights
        self.transform = f"own tokeniser, first {model.config['text_cfg'].get('context_length', 77)} tokens"

    @property
    def dim(self) -> int:
        return self.model.dim

    @cached_property
    def _tokenizer(self) -> Any:
        return library("open_clip", "open_clip_torch").get_tokenizer(self.model.architecture)

    def prepare(self, items: Sequence[Any]) -> Tensor:
        ids: Tensor = self._tokenizer(list(items))
        return ids

    def encoder(self) -> nn.Module:
        from .tokens import ClipTokens

        return ClipTokens(self._reader())

    def tokens(self) -> Backbone:
        text = self.model.config["text_cfg"]
        other = {"custom_text", "multimodal_cfg"} & {name for name, value in self.model.config.items() if value}
        if other or "hf_model_name" in text or text.get("pool_type", "argmax") != "argmax":
            return super().tokens()

        def encoder() -> nn.Module:
            from .tokens import ClipWordTokens

            return ClipWordTokens(self._reader(), WORDS)

        return Tokens(self, f"tokens: projected states of the first {WORDS} words", 1 + WORDS, encoder)

    def _reader(self) -> Any:
        model = self.model.build()
        for part in UNUSED:
            if hasattr(model, part):
                delattr(model, part)
        return model


def _fetch(request: Request, architecture: str, tag: Mapping[str, Any]) -> Path:
    try:
        place = PurePosixPath(tag.get("hf_hub") or "")
        if not place.name:
            raise Unreachable("open_clip keeps these on no hub")
        if str(tag["hf_hub"]).endswith("/"):
            return hub_file(str(place), HUB_NAMES)
        return hub_file(str(place.parent), (str(PurePosixPath(place.name).with_suffix(".safetensors")), place.name))
    except Unreachable as why:
        quick = QUICK if tag.get("quick_gelu") and not architecture.endswith(QUICK) else ""
        raise WeightsUnavailable(
            request.name,
            str(why),
            local=f"clip:{architecture}{quick}:/path/to/weights.safetensors",
            untrained=f"clip:{architecture}:scratch",
        ) from why


def _near(request: Request, what: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3) or list(known)[:8]
    return f"backbone {request.name!r}: open_clip has no {what} {name!r}; there are {', '.join(near)}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings open_clip gives for what was asked of it, such as an untrained model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
