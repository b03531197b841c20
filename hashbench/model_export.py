"""A run's model in files for elsewhere: all weights as safetensors, or one ONNX file a view."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hashbench.errors import DataError, UsageError
from hashbench.files import replacing
from hashbench.method import Rows
from hashbench.models import Model, disagreement
from hashbench.search import Search, model_of
from hashbench.store import Record, Store

BATCH = 512
ENDINGS = (".safetensors", ".onnx")


@dataclass(frozen=True)
class Written:
    """A file of a model."""

    file: Path
    views: tuple[str, ...]
    tried: int
    """Bits of stored query codes that the file was tried on; 0 for weights, which nothing can change."""
    differ: int
    """Those among them that fell the other way, where the output is 0 but for rounding."""


def export_model(store: Store, record: Record, path: Path) -> list[Written]:
    """Write the hash functions of a run.

    ``.safetensors``: one file, as :class:`hashbench.models.Model` reads it, without names that mean something on this
    machine alone. ``.onnx``: one file a view, ``NAME.VIEW.onnx``, from what its backbone gives (for a raw view, from
    what that prepares) to k reals, whose signs are the code; 0 counts as +1. Each is tried on all queries before it
    takes its place.

    Raises:
        UsageError: another kind of file, or a run without a model.
        DataError: a file cannot be written, or what it computes is not what was stored.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {path}: expected a name that ends in {' or '.join(ENDINGS)}")
    if path.suffix.lower() == ".onnx":
        _libraries()
        opened = Search(store, record)
        return [_onnx(opened, view, path.with_suffix(f".{view}.onnx")) for view in opened.model.programs]
    model = model_of(store, record)
    about = {name: value for name, value in model.about.items() if not name.startswith("backbone/")}
    try:
        with replacing(path) as partial:
            replace(model, about=about).write(partial)
    except OSError as error:
        raise DataError(f"--out {path}: cannot be written: {error}") from error
    return [Written(path, tuple(model.programs), 0, 0)]


def _onnx(opened: Search, view: str, path: Path) -> Written:
    side = "query" if f"query/{view}" in opened.codes else "database"
    rows, codes = opened.side(side, view), opened.codes[f"{side}/{view}"]
    content = _converted(opened.model, view, rows)
    differ, beyond = disagreement(_computed(content, rows), codes, opened.record.spec.precision)
    tried = len(codes) * codes.bits
    if beyond:
        raise DataError(
            f"--out {path}: not written: ONNX gives {differ} of {tried} stored {view} bits the other way, {beyond} of "
            "them by more than rounding; take .safetensors"
        )
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise DataError(f"--out {path}: cannot be written: {error}") from error
    return Written(path, (view,), tried, differ)


def _converted(model: Model, view: str, rows: Rows) -> bytes:
    """The program of a view as ONNX with its weights inside, for any number of rows."""
    example = rows[torch.tensor([0, 0])]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            made: Any = torch.onnx.export(
                model.programs[view].eval(), (example,), dynamo=True, verbose=False, input_names=["rows"],
                output_names=["outputs"], dynamic_shapes=({0: torch.export.Dim("items")},),
            )  # fmt: skip
    except Exception as error:  # whatever torch or onnxscript raise
        said = str(error).strip().splitlines()
        raise DataError(
            f"the {view} model cannot be written as ONNX: {said[0] if said else 'no reason given'}"
        ) from error
    assert made is not None
    made.model.metadata_props.update({name: of for name, of in model.about.items() if not name.startswith("backbone/")})
    content: bytes = made.model_proto.SerializeToString()
    return content


def _computed(content: bytes, rows: Rows) -> NDArray[np.float32]:
    """What an ONNX file gives for rows, by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = torch.arange(len(rows)).split(BATCH)
    return np.concatenate([session.run(None, {"rows": rows[part].numpy()})[0] for part in parts])


def _libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DataError("ONNX needs libraries of its own: pip install 'hashbench[onnx]'") from error
