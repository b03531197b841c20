"""Text encoders of sentence-transformers: ``sentence:all-mpnet-base-v2``, ``sentence:/path/to/folder``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashbench import checksum
from hashbench.backbone import Backbone, Family, Modality, Request, WeightsUnavailable
from hashbench.errors import DataError, UsageError

from .resources import UNTRAINED, WEIGHT_FILES, Unreachable, hub_folder, library, looks_like_path

if TYPE_CHECKING:
    from torch import Tensor, nn

TOKENS = 128
"""Tokens a text is cut to, with the marks around it; what most of these models were trained with."""

MARKER = "modules.json"
"""Every sentence-transformers folder has one."""

FIRST_NAMES = ("all-", "paraphrase-", "multi-qa-", "msmarco-", "distiluse-", "gtr-", "sentence-t5-")
"""How the models begin that sentence-transformers itself gives out, and that may be named without their owner."""


class SentenceText(Backbone):
    """One sentence-transformers model: strings to (b, 128) int64 token ids, these to its sentence embeddings.

    Ids are padded to one length with the pad id, from which the encoder tells the mask.
    """

    modality = "text"

    def __init__(self, name: str, folder: Path, *, scratch: bool = False) -> None:
        """Settle the digest; loads nothing.

        Args:
            name: Canonical name.
            folder: A sentence-transformers model.
            scratch: Whether every weight is drawn anew; architecture and tokeniser stay.
        """
        self.name, self.folder, self.scratch = name, folder, scratch
        self.weights = UNTRAINED if scratch else checksum.of_files(_telling(folder), folder)[:16]
        self.transform = f"own tokeniser, first {TOKENS} tokens"

    @cached_property
    def dim(self) -> int:
        import torch

        with torch.inference_mode():
            return int(self.encoder().eval()(self.prepare(["word"])).shape[1])

    def prepare(self, items: Sequence[Any]) -> Tensor:
        tokenizer, lower, length = self._tokenizer
        texts = [text.lower() if lower else text for text in items]
        tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: Tensor = tokens["input_ids"]
        return ids

    def encoder(self) -> nn.Module:
        from .tokens import OnTokens

        return OnTokens(self._model(), self._pad)

    def _model(self) -> Any:
        """The whole model, in float32 on the CPU."""
        model = self._load()
        if self.scratch:
            _draw_anew(model)
        return model

    @property
    def _pad(self) -> int:
        """The id that texts are padded with."""
        return int(self._tokenizer[0].pad_token_id)

    @cached_property
    def _tokenizer(self) -> tuple[Any, bool, int]:
        model = self._load()
        if model.tokenizer.pad_token_id is None:
            raise DataError(f"backbone {self.name!r}: its tokeniser has no token to pad with")
        return model.tokenizer, getattr(model[0], "do_lower_case", False), min(model.max_seq_length or TOKENS, TOKENS)

    def _load(self) -> Any:
        sentence_transformers = library("sentence_transformers", "hashbench[offline]")
        with _no_progress_bars():
            try:
                return sentence_transformers.SentenceTransformer(str(self.folder), device="cpu", local_files_only=True)
            except Exception as error:  # whatever damaged files make the readers raise
                said = " ".join(str(error).split())[:300]
                raise DataError(f"{self.folder}: no working sentence-transformers model: {said}") from error


class Sentence(Family):
    """``sentence:MODEL`` or ``sentence:/path/to/folder``; with ``:scratch`` after it, untrained."""

    modalities = ("text",)
    description = "any model of sentence-transformers, e.g. sentence:all-mpnet-base-v2"

    def open(self, modality: Modality, request: Request) -> SentenceText:
        arguments = list(request.arguments)
        scratch = arguments[1:] and arguments[-1] == "scratch" and bool(arguments.pop())
        model = ":".join(arguments)  # a path may hold colons
        if not model or request.size:
            raise UsageError(f"backbone {request.name!r}: expected sentence:MODEL or sentence:/path/to/folder")
        ending = ":scratch" if scratch else ""
        if looks_like_path(model) or Path(model).is_dir():
            folder = Path(model).expanduser()
            if not (folder / MARKER).is_file():
                raise DataError(f"backbone {request.name!r}: {model} is no sentence-transformers folder (no {MARKER})")
            return SentenceText(f"sentence:folder{ending}", folder, scratch=bool(scratch))
        repo = model if "/" in model else f"sentence-transformers/{model}"
        try:
            folder = hub_folder(repo, MARKER)
        except Unreachable as why:
            raise WeightsUnavailable(request.name, str(why), local="sentence:/path/to/folder") from why
        short = repo.removeprefix("sentence-transformers/")
        return SentenceText(f"sentence:{short}{ending}", folder, scratch=bool(scratch))

    @classmethod
    def knows(cls, model: str) -> bool:
        return "/" in model or model.startswith(FIRST_NAMES) or (Path(model) / MARKER).is_file()


def _telling(folder: Path) -> list[Path]:
    """Files that decide an embedding: weights, tokeniser and settings."""
    weights = {path for path in folder.rglob("*") if path.suffix in WEIGHT_FILES and path.parent.name != "onnx"}
    safe = {path.parent for path in weights if path.suffix == ".safetensors"}
    weights = {path for path in weights if path.suffix == ".safetensors" or path.parent not in safe}
    if not weights:
        raise DataError(f"{folder}: no weights in this folder (none of {', '.join(WEIGHT_FILES)})")
    settings = {path for suffix in (".json", ".txt", ".model") for path in folder.rglob(f"*{suffix}")}
    return sorted(weights | settings)


def _draw_anew(model: Any) -> None:
    """Put freshly drawn weights in every module."""
    first, *others = model
    transformer = first.auto_model
    transformer.load_state_dict(type(transformer)(transformer.config).state_dict())
    for module in (part for other in others for part in other.modules()):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Without the bars that transformers draws while it reads a file."""
    logging = library("transformers.utils.logging", "hashbench[offline]")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
