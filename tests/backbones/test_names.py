"""Names are taken apart, chosen for both sides, and refused with a hint."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hashbench.backbone import WeightsUnavailable, choose, open_backbone, parse
from hashbench.errors import UsageError

from .conftest import needs_wheels


@pytest.mark.parametrize(
    ("name", "head", "arguments", "size"),
    [
        ("lite", "lite", (), None),
        ("lite@96", "lite", (), 96),
        ("resnet18:scratch@64", "resnet18", ("scratch",), 64),
        ("clip:ViT-B-16:openai", "clip", ("ViT-B-16", "openai"), None),
        ("resnet50:/home/me@work/w.pth", "resnet50", ("/home/me@work/w.pth",), None),
        ("resnet50:/home/me@work/w.pth@128", "resnet50", ("/home/me@work/w.pth",), 128),
    ],
)
def test_parse(name: str, head: str, arguments: tuple[str, ...], size: int | None) -> None:
    found, request = parse(name)
    assert (found, request.arguments, request.size, request.name) == (head, arguments, size, name)


@pytest.mark.parametrize(
    "name", ["", ":", "lite:", "clip::openai", "lite@", "lite@big", "lite@15", "lite@1025", "lite@-64"]
)
def test_parse_refuses(name: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse(name)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (("lite",), ("lite", "lite")),
        (("clip-vit-b16",), ("clip-vit-b16", "clip-vit-b16")),
        (("clip:ViT-B-32:openai",), ("clip:ViT-B-32:openai", "clip:ViT-B-32:openai")),
        (("resnet50",), ("resnet50", "minilm")),
        (("resnet18:scratch@64",), ("resnet18:scratch@64", "minilm")),
        (("resnet50", None, "bow"), ("resnet50", "bow")),
        (("lite", "resnet50"), ("resnet50", "lite")),
        (("lite", "resnet50", "bow"), ("resnet50", "bow")),
    ],
)
def test_choose(asked: tuple[str, ...], chosen: tuple[str, str]) -> None:
    assert choose(*asked) == chosen


@pytest.mark.parametrize("name", ["bow", "minilm", "all-mpnet-base-v2", "sentence:x"])
def test_a_text_encoder_is_no_choice_for_both_sides(name: str) -> None:
    with pytest.raises(UsageError, match=f"--text-backbone {name}"):
        choose(name)


def test_each_side_refuses_the_other() -> None:
    with pytest.raises(UsageError, match=r"--text-backbone 'resnet50' reads pictures only.*minilm"):
        open_backbone("text", "resnet50")
    with pytest.raises(UsageError, match=r"--image-backbone 'bow' reads text only.*lite"):
        open_backbone("image", "bow", ["a"])


@pytest.mark.parametrize(("name", "meant"), [("resnet5o", "resnet50"), ("lit", "lite"), ("minlm", "minilm")])
def test_unknown_names_are_guessed(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean .*'{meant}'.*Known: bow, clip"):
        open_backbone("image", name)


def test_the_three_ways_out() -> None:
    for untrained in (None, "x:scratch"):
        said = str(WeightsUnavailable("x", "no network", local="x:/path/to/weights.safetensors", untrained=untrained))
        assert [f"({i})" in said for i in range(1, 5)] == [True, True, True, False]
        assert "network" in said
        assert "'x:/path/to/weights.safetensors'" in said
        assert "pip install 'hashbench[offline]'" in said
        assert ("x:scratch" in said) == bool(untrained)
        assert "\n" not in said


@needs_wheels
def test_identities_of_lite_need_no_heavy_library() -> None:
    """A repeated run reads identities only, so these must not wait for torch or timm."""
    code = """
import sys, time
from hashbench.backbone import open_backbone
started = time.perf_counter()
for side, name in [("image", "lite"), ("text", "lite"), ("text", "minilm")]:
    print(open_backbone(side, name).identity)
assert time.perf_counter() - started < 1, "slow"
print([name for name in ("torch", "timm", "open_clip", "sentence_transformers", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    image, text, minilm, loaded = done.stdout.splitlines()
    assert image.startswith("lite weights=579344248a93e230 ")
    assert text == minilm
    assert loaded == "[]"
