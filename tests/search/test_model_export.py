"""Models for elsewhere: an ONNX file computes the stored codes, or there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open

from hashbench import model_export
from hashbench.errors import DataError, UsageError
from hashbench.model_export import export_model
from hashbench.models import Model
from hashbench.retrieval import unpack
from hashbench.search import Search

from .conftest import SETUP, Made, make


def test_onnx_gives_the_stored_codes_one_by_one_and_all_at_once(made: Made, search: Search, tmp_path: Path) -> None:
    files = export_model(*made, tmp_path / "model.onnx")
    assert [each.file.name for each in files] == ["model.image.onnx", "model.text.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.image.onnx", "model.text.onnx"]
    for each, view in zip(files, ("image", "text"), strict=True):
        session = onnxruntime.InferenceSession(each.file)
        for side in ("query", "database"):
            rows = search.side(side, view)
            wanted = unpack(search.codes[f"{side}/{view}"])  # type: ignore[arg-type]
            for count in (1, 3, len(rows)):
                (outputs,) = session.run(None, {"rows": rows[torch.arange(count)].numpy()})
                assert np.array_equal(np.where(outputs >= 0, 1, -1), wanted[:count])
        assert (each.views, each.tried, each.differ) == ((view,), len(search.dataset.split.query) * 16, 0)
        facts = session.get_modelmeta().custom_metadata_map
        assert facts["key"] == search.record.key and facts["bits"] == "16"


def test_onnx_that_computes_something_else_is_not_written(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = model_export._computed

    def flipped(content: bytes, rows: object) -> np.ndarray:
        outputs = right(content, rows)  # type: ignore[arg-type]
        outputs[0, :3] *= -1
        return outputs

    monkeypatch.setattr(model_export, "_computed", flipped)
    with pytest.raises(DataError, match=r"not written: ONNX gives 3 of \d+ stored image bits the other way, 3 of them"):
        export_model(*made, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_what_onnx_cannot_say_is_told_in_one_line(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **more: object) -> None:
        raise RuntimeError("no such operator\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(DataError, match=r"^the image model cannot be written as ONNX: no such operator$"):
        export_model(*made, tmp_path / "model.onnx")


def test_weights_are_named_and_say_what_they_are(made: Made, search: Search, tmp_path: Path) -> None:
    (written,) = export_model(*made, tmp_path / "model.safetensors")
    assert set(written.views) == {"image", "text"} and written.tried == 0
    with safe_open(written.file, "pt") as file:
        names, about = set(file.keys()), file.metadata()
    assert {name.partition("/")[0] for name in names} == {"image", "text"}
    record = search.record
    assert (about["method"], about["bits"], about["key"], about["views"]) == ("dcmh", "16", record.key, "image,text")
    assert len(about["sha256"]) == 64 and about["identity/text"] == record.spec.views["text"]
    assert not [name for name in about if name.startswith("backbone/")], "names that only this machine knows"
    rows = search.side("query", "image")[torch.arange(5)]
    again = Model.read(written.file)
    assert torch.equal(again.outputs("image", rows), search.model.outputs("image", rows))


def test_real_values_are_exported_too(tmp_path: Path) -> None:
    files = export_model(*make(tmp_path, "real", SETUP, bits=8), tmp_path / "real.onnx")
    assert [each.differ for each in files] == [0, 0]


def test_what_cannot_be_exported(made: Made, tmp_path: Path) -> None:
    store, record = made
    with pytest.raises(UsageError, match=r"ends in \.safetensors or \.onnx"):
        export_model(store, record, tmp_path / "model.pt")
    with pytest.raises(UsageError, match="failed, so that it has no model: because"):
        export_model(store, replace(record, status="failed", reason="because"), tmp_path / "m.onnx")
    (tmp_path / "file").touch()
    for name in ("m.safetensors", "m.onnx"):
        with pytest.raises(DataError, match=r"--out .* cannot be written"):
            export_model(store, record, tmp_path / "file" / name)
