"""CLIP of open_clip: each side is its tower, whole and alone. The architecture is a tiny one made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image

from hashbench.backbone import WeightsUnavailable, choose, open_backbone
from hashbench.errors import DataError, Incompatible, UsageError
from hashbench.testing import check_backbone

from .conftest import Publish

TEXTS = ["a cat", "", "a dog on a red chair " * 40]


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factory: Any = open_clip.factory
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)
    pretrained = {**open_clip.pretrained._PRETRAINED, "tiny": {"quick": open_clip.pretrained._pcfg(hf_hub="me/tiny/")}}
    pretrained["tiny"]["quick"]["quick_gelu"] = True
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", pretrained)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A whole model whose activation is QuickGELU, and its file."""
    torch.manual_seed(0)
    model = open_clip.create_model("tiny", force_quick_gelu=True).eval()
    file = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    return model, file


@torch.inference_mode()
def test_each_side_is_its_tower(saved: tuple[Any, Path], offline: Publish) -> None:
    model, file = saved
    offline("me/tiny", "open_clip_model.safetensors", file)
    image, text = (open_backbone(side, "clip:tiny:quick") for side in ("image", "text"))  # type: ignore[arg-type]
    pixels = image.prepare([Image.new("RGB", (50, 40), "red"), Image.new("L", (5, 5), 9)])
    tokens = text.prepare(TEXTS)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 32, 32), torch.uint8)
    assert (tokens.shape, tokens.dtype) == ((3, 77), torch.int64)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    eye, ear = image.encoder().eval(), text.encoder().eval()
    assert torch.allclose(eye(pixels), model.encode_image((pixels / 255 - mean) / std), atol=1e-6)
    assert torch.equal(ear(tokens), model.encode_text(tokens))
    assert image.dim == text.dim == 24
    counts = [sum(p.numel() for p in module.parameters()) for module in (eye, ear, model)]
    assert counts[0] + counts[1] == counts[2] - 1  # all but the temperature, and nothing twice


def test_a_tag_decides_the_activation(saved: tuple[Any, Path], offline: Publish) -> None:
    """open_clip only warns when OpenAI's weights run with another activation than they were trained with."""
    offline("me/tiny", "open_clip_model.safetensors", saved[1])
    by_tag, by_file = open_backbone("image", "clip:tiny:quick"), open_backbone("image", f"clip:tiny:{saved[1]}")
    assert (by_tag.name, by_file.name) == ("clip:tiny-quickgelu:quick", "clip:tiny:file")
    assert by_tag.weights == by_file.weights
    assert "QuickGELU" in repr(by_tag.encoder())
    assert "QuickGELU" not in repr(by_file.encoder())


def test_pictures_are_transformed_as_open_clip_does() -> None:
    backbone: Any = open_backbone("image", "clip:tiny:scratch")
    whole = open_clip.image_transform(32, is_train=False)
    rng = np.random.default_rng(0)
    for h, w in [(96, 96), (301, 200), (20, 25)]:
        picture = Image.fromarray(rng.integers(256, size=(h, w, 3), dtype=np.uint8))
        module = backbone.encoder()
        ours = (backbone.prepare([picture]).float() / 255 - module.mean) / module.std
        assert float(((ours[0] - whole(picture)) * module.std * 255).abs().max()) < 1e-3


@torch.inference_mode()
def test_tokens_are_the_projected_states_of_patches_and_words(saved: tuple[Any, Path], offline: Publish) -> None:
    model, file = saved
    offline("me/tiny", "open_clip_model.safetensors", file)
    image, text = (open_backbone(side, "clip:tiny:quick") for side in ("image", "text"))  # type: ignore[arg-type]
    eye, ear = image.tokens(), text.tokens()
    assert (eye.name, ear.name) == ("clip:tiny-quickgelu:quick+tokens",) * 2
    assert (eye.length, ear.length, eye.dim, ear.dim) == (1 + 16, 31, 24, 24)

    pixels = image.prepare([Image.new("RGB", (50, 40), "red"), Image.new("L", (5, 5), 9)])
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    model.visual.output_tokens = True
    pooled, patches = model.visual((pixels / 255 - mean) / std)
    expected = torch.cat([pooled[:, None], patches @ model.visual.proj], 1)
    assert torch.allclose(eye.encoder().eval()(pixels), expected, atol=1e-6)

    ids = text.prepare(TEXTS)
    x = model.transformer(model.token_embedding(ids) + model.positional_embedding, attn_mask=model.attn_mask)
    states = model.ln_final(x) @ model.text_projection
    found = ear.encoder().eval()(ids)
    assert torch.allclose(found[:, 0], model.encode_text(ids), atol=1e-6)
    for row, words in enumerate((2, 0, 30)):  # of the long text, the first thirty
        assert torch.allclose(found[row, 1 : 1 + words], states[row, 1 : 1 + words], atol=1e-6)
        assert not found[row, 1 + words :].any()


def test_a_clip_whose_states_are_no_tokens_says_so() -> None:
    pooled = open_backbone("image", "clip:RN50:scratch")
    with pytest.raises(Incompatible, match="RN50:scratch gives one vector an item; take lite"):
        pooled.tokens()
    with pytest.raises(Incompatible, match="one vector an item"):
        open_backbone("text", "clip:coca_ViT-B-32:scratch").tokens()
    assert open_backbone("text", "clip:RN50:scratch").tokens().length == 31


@pytest.mark.parametrize("side", ["image", "text"])
def test_contract(side: Any) -> None:
    report = check_backbone(open_backbone(side, "clip:tiny:scratch"))
    assert report.ok and "check_tokens" not in report.skipped, str(report)


def test_the_side_of_the_picture_can_be_set(saved: tuple[Any, Path]) -> None:
    backbone = open_backbone("image", f"clip:tiny:{saved[1]}@48")
    assert backbone.name == "clip:tiny:file@48"
    assert backbone.encoder()(backbone.prepare([Image.new("RGB", (9, 9))])).shape == (1, 24)
    tokens = backbone.tokens()
    assert tokens.encoder()(tokens.prepare([Image.new("RGB", (9, 9))])).shape == (1, tokens.length, 24) == (1, 37, 24)


def test_other_weights_are_refused(saved: tuple[Any, Path], tmp_path: Path) -> None:
    state = saved[0].state_dict()
    state.pop("visual.proj")
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(DataError, match=r"visual\.proj"):
        open_backbone("image", f"clip:tiny:{tmp_path}/less.pt").encoder()
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(DataError, match="cannot be used"):
        open_backbone("text", f"clip:tiny:{tmp_path}/junk.pt").encoder()


def test_names_that_open_clip_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"no architecture 'ViT-B-61'; there are .*ViT-B-16"):
        open_backbone("image", "clip:ViT-B-61:openai")
    with pytest.raises(UsageError, match="no weights for ViT-B-16 'opena'; there are openai"):
        open_backbone("text", "clip:ViT-B-16:opena")
    with pytest.raises(UsageError, match="expected clip:ARCHITECTURE"):
        open_backbone("image", "clip:ViT-B-16")


@pytest.mark.parametrize(("name", "quick"), [("clip-vit-b16", "ViT-B-16"), ("clip-vit-b32", "ViT-B-32")])
def test_short_names_are_openais(name: str, quick: str, offline: Publish, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=f"'clip:{quick}-quickgelu:/path"):
        open_backbone("image", name)
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"stand-in")
    long = f"timm/vit_base_patch{quick[-2:]}_clip_224.openai"
    offline(long, "open_clip_model.safetensors", weights)
    short = open_backbone("text", name)
    assert short.identity == open_backbone("text", f"clip:{quick}:openai").identity
    assert short.name == f"clip:{quick}-quickgelu:openai"
    assert open_backbone("text", f"{name}:scratch").weights == "untrained"
    assert choose(name) == (name, name)
