"""Image encoders of timm by name: ``resnet50``, ``vit_base_patch16_224:augreg_in21k``, ``resnet18:scratch@64``."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashbench import checksum
from hashbench.backbone import Backbone, Family, Modality, Request, WeightsUnavailable
from hashbench.errors import DataError, UsageError

from .resources import UNTRAINED, Unreachable, hub_file, library, local_file, looks_like_path

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB_NAMES = ("model.safetensors", "pytorch_model.bin")


class TimmImage(Backbone):
    """One timm model without its classifier, on pictures transformed as its weights were evaluated.

    ``prepare`` is timm's own evaluation transform up to the normalisation, whose only rounding, to whole grey
    levels, timm's has too: ``(prepare / 255 - mean) / std`` equals it exactly.
    """

    modality = "image"

    def __init__(self, architecture: str, source: str, file: Path | None, cfg: Any, size: int | None) -> None:
        """Settle the transform and the digest; builds no network.

        Args:
            architecture: timm's name without a tag.
            source: Where the weights come from, for the name: a tag, ``file`` or ``scratch``.
            file: The weights; None: untrained.
            cfg: timm's PretrainedCfg, which says how its pictures are transformed.
            size: Side of the pictures; None: the cfg's.
        """
        data = library("timm.data", "timm")
        self.architecture, self.file, self.cfg, self.size = architecture, file, cfg, size
        at = "" if size is None or cfg.input_size[1:] == (size, size) else f"@{size}"
        self.name = f"{architecture}:{source}{at}"
        self.weights = checksum.sha256(file)[:16] if file else UNTRAINED
        overrides = {"input_size": (3, size, size)} if size else {}
        self.data_config = data.resolve_data_config(overrides, pretrained_cfg=cfg.to_dict())
        self.transform = "RGB on white, timm eval " + " ".join(
            f"{key}={value}".replace(" ", "") for key, value in sorted(self.data_config.items())
        )

    @cached_property
    def dim(self) -> int:
        import torch

        with torch.device("meta"):  # shapes alone, no numbers
            width: int = self._build(num_classes=0).eval()(torch.empty(2, *self.data_config["input_size"])).shape[-1]
        return width

    @cached_property
    def _to_pixels(self) -> Any:
        return library("timm.data", "timm").create_transform(**self.data_config, normalize=False)

    def prepare(self, items: Sequence[Any]) -> Tensor:
        import torch

        from .pictures import on_white

        return torch.stack([self._to_pixels(on_white(picture)) for picture in items])

    def encoder(self) -> nn.Module:
        from .pictures import OnPixels

        model = self._build(num_classes=0) if self.file is None else self._trained(self.file)
        return OnPixels(model, self.data_config["mean"], self.data_config["std"])

    def _build(self, **arguments: Any) -> Any:
        if self.size and self.cfg.fixed_input_size:
            arguments["img_size"] = self.size
        try:
            return library("timm", "timm").create_model(self._timm_name, **arguments)
        except (AssertionError, TypeError, ValueError) as error:
            if not self.size:
                raise
            raise UsageError(f"backbone {self.name!r}: {self.architecture} cannot take this size: {error}") from error

    @property
    def _timm_name(self) -> str:
        return f"{self.architecture}.{self.cfg.tag}" if self.cfg.tag else self.architecture

    def _trained(self, file: Path) -> Any:
        """The model with every one of its weights from the file, the classifier taken off afterwards."""
        state = self._read(file)
        classifier = self.cfg.classifier if isinstance(self.cfg.classifier, str) else (self.cfg.classifier or [""])[0]
        weight = state.get(f"{classifier}.weight")
        classes = 0 if weight is None else len(weight)
        # with as many classes as the file, timm loads strictly, and remaps names and sizes as the model needs
        overlay = {"state_dict": state, "num_classes": classes, "label_offset": 0, "custom_load": False}
        try:
            model = self._build(pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
        except (RuntimeError, KeyError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{file}: these are no weights of {self.architecture}: {said[:400]}") from error
        model.pretrained_cfg.pop("state_dict", None)  # or it would hold the weights twice
        if classes:
            model.reset_classifier(0)
        return model

    def _read(self, file: Path) -> dict[str, Tensor]:
        models = library("timm.models", "timm")
        try:
            state = models.load_state_dict(str(file), weights_only=True)
            return {str(name): tensor for name, tensor in state.items() if hasattr(tensor, "shape")}
        except Exception as error:  # whatever a damaged or hostile file makes the readers raise
            said = str(error).splitlines() or [""]
            raise DataError(f"{file}: cannot be read as weights: {type(error).__name__}: {said[0]}") from error


class Timm(Family):
    """``MODEL``, ``MODEL:TAG``, ``MODEL:scratch`` or ``MODEL:/path/to/weights``, each with ``@SIDE`` if need be."""

    modalities = ("image",)
    companion = "minilm"
    description = "any image model of timm, e.g. resnet50 or resnet18:scratch@64"

    def open(self, modality: Modality, request: Request) -> TimmImage:
        if not request.arguments:
            raise UsageError(f"backbone {request.name!r}: say which model of timm, for example timm:resnet50")
        architecture, _, dotted_tag = request.arguments[0].partition(".")
        if not self.knows(architecture):
            near = difflib.get_close_matches(architecture, self.models(), n=3)
            raise UsageError(
                f"backbone {request.name!r}: timm has no model {architecture!r}"
                + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")
            )
        source = ":".join(request.arguments[1:])  # a path may hold colons
        if source and dotted_tag:
            raise UsageError(f"backbone {request.name!r}: weights are given twice, {dotted_tag!r} and {source!r}")
        source = source or dotted_tag
        if source == "scratch":
            return TimmImage(architecture, source, None, _cfg(architecture), request.size)
        if looks_like_path(source):
            return TimmImage(architecture, "file", local_file(source), _cfg(architecture), request.size)
        tags = _tags(architecture)
        if source and source not in tags:
            near = difflib.get_close_matches(source, tags, n=3) or tags
            raise UsageError(f"backbone {request.name!r}: no weights {source!r}; there are {', '.join(near)}")
        cfg = _cfg(f"{architecture}.{source}" if source else architecture)
        return TimmImage(architecture, cfg.tag, self._fetch(request, architecture, cfg), cfg, request.size)

    @classmethod
    def knows(cls, model: str) -> bool:
        return bool(library("timm", "timm").is_model(model))

    @classmethod
    def models(cls) -> Collection[str]:
        names: list[str] = library("timm", "timm").list_models()
        return names

    def _fetch(self, request: Request, architecture: str, cfg: Any) -> Path:
        if not cfg.hf_hub_id:
            raise UsageError(
                f"backbone {request.name!r}: timm has no trained weights of it on the hub; say {architecture}:scratch, "
                f"or {architecture}:/path/to/weights.safetensors"
            )
        repo, _, revision = cfg.hf_hub_id.partition("@")
        try:
            return hub_file(repo, (cfg.hf_hub_filename,) if cfg.hf_hub_filename else HUB_NAMES, revision or None)
        except Unreachable as why:
            raise WeightsUnavailable(
                request.name,
                str(why),
                local=f"{architecture}:/path/to/weights.safetensors",
                untrained=f"{architecture}:scratch",
            ) from why


def _cfg(name: str) -> Any:
    """timm's PretrainedCfg of a model, or the default one where the model has none."""
    models = library("timm.models", "timm")
    return models.get_pretrained_cfg(name) or library("timm.models._pretrained", "timm").PretrainedCfg()


def _tags(architecture: str) -> list[str]:
    names: list[str] = library("timm", "timm").list_pretrained(f"{architecture}.*")
    return [name.partition(".")[2] for name in names]
