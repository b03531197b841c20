"""Models of timm, from a file, the hub's cache or scratch, on pictures transformed as timm transforms them."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from torch import Tensor

from hashbench.backbone import WeightsUnavailable, open_backbone
from hashbench.backbones.resources import Unreachable, hub_file
from hashbench.errors import DataError, UsageError

from .conftest import Publish

RESNET, VIT = "test_resnet", "test_vit"  # timm's smallest


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    model = timm.create_model(RESNET).eval()
    for module in model.modules():  # as if trained: no statistic is what a fresh module has
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def features(model: Any, pixels: Tensor) -> Tensor:
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    return model.forward_head(model.forward_features((pixels / 255 - mean) / std), pre_logits=True)


@torch.inference_mode()
def encode(name: str, pixels: Tensor) -> Tensor:
    return open_backbone("image", name).encoder().eval()(pixels)


def test_a_file_gives_the_weights_it_holds(model: Any, pixels: Tensor, tmp_path: Path) -> None:
    state = model.state_dict()
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    files = {
        "whole.safetensors": lambda path: safetensors.torch.save_file(state, path),
        "headless.safetensors": lambda path: safetensors.torch.save_file(headless, path),
        "plain.pth": lambda path: torch.save(state, path),
        "wrapped.pth": lambda path: torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path),
        "ten-classes.pt": lambda path: torch.save(
            {**state, "fc.weight": state["fc.weight"][:10].clone(), "fc.bias": state["fc.bias"][:10].clone()}, path
        ),
    }
    expected = features(model, pixels)
    for name, save in files.items():
        save(tmp_path / name)
        assert torch.allclose(encode(f"{RESNET}:{tmp_path / name}", pixels), expected, atol=1e-5), name
    backbone = open_backbone("image", f"{RESNET}:{tmp_path / 'whole.safetensors'}")
    assert (backbone.name, backbone.dim) == (f"{RESNET}:file", expected.shape[1])
    assert str(tmp_path) not in backbone.identity
    assert backbone.weights != open_backbone("image", f"{RESNET}:{tmp_path / 'plain.pth'}").weights


def test_other_weights_are_refused_with_their_names(model: Any, tmp_path: Path) -> None:
    state = model.state_dict()
    missing = {name: tensor for name, tensor in state.items() if name != "layer1.0.conv1.weight"}
    for name, weights, said in [
        ("missing", missing, "layer1.0.conv1.weight"),
        ("more", {**state, "surplus.weight": torch.zeros(1)}, "surplus.weight"),
        ("another", timm.create_model(VIT).state_dict(), "no weights of test_resnet"),
    ]:
        safetensors.torch.save_file(weights, tmp_path / f"{name}.safetensors")
        with pytest.raises(DataError, match=said) as found:
            open_backbone("image", f"{RESNET}:{tmp_path / name}.safetensors").encoder()
        assert "\n" not in str(found.value)


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (mark,)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    with pytest.raises(DataError, match="cannot be read as weights"):
        open_backbone("image", f"{RESNET}:{tmp_path}/evil.pth").encoder()
    assert not mark.exists()
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match="cannot be read as weights"):
        open_backbone("image", f"{RESNET}:{tmp_path}/junk.safetensors").encoder()
    with pytest.raises(DataError, match="no weights file"):
        open_backbone("image", f"{RESNET}:/nowhere/w.pth")


def test_weights_come_from_the_hubs_cache(model: Any, pixels: Tensor, tmp_path: Path, offline: Publish) -> None:
    file = tmp_path / "w.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    offline(f"timm/{RESNET}.r160_in1k", "model.safetensors", file)
    expected = features(model, pixels)
    for name in (RESNET, f"{RESNET}:r160_in1k", f"{RESNET}.r160_in1k", f"timm:{RESNET}"):
        backbone = open_backbone("image", name)
        assert backbone.name == f"{RESNET}:r160_in1k"
        assert backbone.pretrained
        assert torch.allclose(encode(name, pixels), expected, atol=1e-5)


def test_no_weights_are_said_before_any_work(offline: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked although HF_HUB_OFFLINE is set")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", network)
    monkeypatch.setattr(timm, "create_model", network)
    started = time.perf_counter()
    with pytest.raises(WeightsUnavailable, match=r"HF_HUB_OFFLINE.*'resnet50:/path.*'resnet50:scratch'.*lite"):
        open_backbone("image", "resnet50")
    assert time.perf_counter() - started < 3


def test_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch, offline: Publish, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    asked: list[str] = []

    def metadata(url: str) -> None:
        asked.append(url.rpartition("/")[2])
        if len(asked) == 1:
            raise huggingface_hub.errors.EntryNotFoundError("no such file")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, revision: str(tmp_path / name))
    assert hub_file("a/b", ["first", "second"]) == tmp_path / "second"
    assert asked == ["first", "second"]

    def no_network(url: str) -> None:
        asked.append(url)
        raise ConnectionError("[Errno -2] Name or service not known")

    asked.clear()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_network)
    with pytest.raises(Unreachable, match=r"could not be fetched .*Name or service not known"):
        hub_file("a/b", ["first", "second"])
    assert len(asked) == 1


@pytest.mark.parametrize(
    "name", ["resnet50:scratch", "resnet18:scratch@64", "coat_lite_medium_384:scratch", f"{VIT}:scratch"]
)
def test_pictures_are_transformed_as_timm_does(name: str) -> None:
    backbone: Any = open_backbone("image", name)
    whole = timm.data.create_transform(**backbone.data_config)
    rng = np.random.default_rng(0)
    for h, w in [(96, 96), (301, 200), (40, 500)]:
        picture = Image.fromarray(rng.integers(256, size=(h, w, 3), dtype=np.uint8)).resize((w, h))
        row = backbone.prepare([picture])
        module = backbone.encoder()
        ours = (row.float() / 255 - module.mean) / module.std
        theirs = whole(picture)
        levels = float(((ours[0] - theirs) * module.std * 255).abs().max())
        assert row.dtype == torch.uint8
        assert levels < 1e-3  # the same grey levels: only the arithmetic after them may round


@torch.inference_mode()
def test_the_side_of_the_picture_can_be_set(pixels: Tensor, tmp_path: Path) -> None:
    for name in (RESNET, VIT):
        backbone = open_backbone("image", f"{name}:scratch@64")
        row = backbone.prepare([Image.new("RGB", (100, 80))])
        assert row.shape == (1, 3, 64, 64)
        assert backbone.encoder().eval()(row).shape == (1, backbone.dim)
        assert backbone.identity != open_backbone("image", f"{name}:scratch").identity
    file = tmp_path / "vit.safetensors"
    safetensors.torch.save_file(timm.create_model(VIT).state_dict(), file)
    assert encode(f"{VIT}:{file}@64", pixels[..., :64, :64]).isfinite().all()  # its position table is resampled


def test_misspelt_models_and_tags() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*'resnet50'"):
        open_backbone("image", "timm:resnet5o")
    with pytest.raises(UsageError, match=r"there are .*a1_in1k"):
        open_backbone("image", "resnet50:a1_ink")
    with pytest.raises(UsageError, match="given twice"):
        open_backbone("image", "resnet50.a1_in1k:scratch")
    with pytest.raises(UsageError, match="say which model"):
        open_backbone("image", "timm")
    with pytest.raises(UsageError, match="no trained weights of it on the hub; say gcvit_base:scratch"):
        open_backbone("image", "gcvit_base")
