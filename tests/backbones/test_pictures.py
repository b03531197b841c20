"""Pictures of any mode are laid on white; pixels are normalised inside the module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hashbench.backbones.pictures import OnPixels, on_white

RED = (200, 10, 10)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I", "F", "RGBX", "YCbCr"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    grey = Image.fromarray(np.array([[0, 255, 255], [0, 0, 255]], np.uint8)).convert(mode)
    out = on_white(grey)
    assert (out.mode, out.size) == ("RGB", (3, 2))
    assert np.abs(np.asarray(out) / 255 - np.array([[0, 1, 1], [0, 0, 1]])[..., None]).max() < 0.02


def test_sixteen_bits_become_eight() -> None:
    deep = np.array([[0, 255, 32768, 65535]], np.uint16)
    assert np.asarray(on_white(Image.fromarray(deep)))[0, :, 1].tolist() == [0, 0, 128, 255]


def test_transparency_becomes_white_in_proportion() -> None:
    drawing = Image.new("RGBA", (3, 1), (*RED, 255))
    drawing.putpixel((1, 0), (*RED, 128))
    drawing.putpixel((2, 0), (*RED, 0))
    opaque, half, clear = (on_white(drawing).getpixel((x, 0)) for x in range(3))
    assert opaque == RED
    assert clear == (255, 255, 255)
    expected = [round(c * 128 / 255 + 255 * 127 / 255) for c in RED]
    assert np.abs(np.subtract(half, expected)).max() <= 1


def test_a_transparent_palette_colour_becomes_white() -> None:
    drawing = Image.new("P", (2, 1))
    drawing.putpalette([*RED, 0, 0, 0])
    drawing.putpixel((1, 0), 1)
    drawing.info["transparency"] = 1
    out = on_white(drawing)
    assert [out.getpixel((0, 0)), out.getpixel((1, 0))] == [RED, (255, 255, 255)]


def test_normalising_is_the_first_layer() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    module = OnPixels(nn.Identity(), mean, std)
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = (pixels.numpy() / 255.0 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(module(pixels).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not list(module.parameters())
    assert module.state_dict() == {}
