"""Random is a floor: what a view's own angles give, and nothing between views."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hashbench.method import Items, Run, View
from hashbench.registry import methods

from .pairs import pairs

Random = methods.get("random")


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _planes(items: Items, name: str, seed: int = 0) -> torch.Tensor:
    hasher = Random(Random.config_class()).train(items, Run(16, seed=seed))
    (layer,) = (module for module in hasher.modules[name].modules() if isinstance(module, nn.Linear))
    return layer.weight


def test_views_of_one_width_get_projections_of_their_own() -> None:
    view = View(_normal(20, 6), 6)
    items = Items({"image": view, "text": view})
    image, text = _planes(items, "image"), _planes(items, "text")
    assert abs(torch.corrcoef(torch.stack([image.flatten(), text.flatten()]))[0, 1]) < 0.4
    assert torch.equal(image, _planes(items, "image")), "a seed draws the same again"
    assert not torch.equal(image, _planes(items, "image", seed=1))


def test_differing_bits_measure_the_angle_inside_a_view() -> None:
    items, k = pairs(n=12), 20_000
    module = Random(Random.config_class()).train(items, Run(k)).modules["image"]
    x = nn.Sequential(*list(module.children())[:-1])(items.image.features())
    codes = module(items.image.features()) >= 0
    for i, j in ((0, 1), (2, 7), (5, 11)):
        angle = torch.acos(torch.cosine_similarity(x[i], x[j], dim=0)).item()
        assert (codes[i] != codes[j]).float().mean().item() == pytest.approx(angle / math.pi, abs=0.02)


def test_between_views_it_is_at_chance_where_items_are_spread_evenly() -> None:
    labels = torch.eye(5)[torch.arange(200) % 5]
    scores = []
    for seed in range(5):
        views = {"image": View(_normal(200, 8, seed=2 * seed), 8), "text": View(_normal(200, 9, seed=2 * seed + 1), 9)}
        run = Run(32, seed=seed)
        hasher = Random(Random.config_class()).train(Items(views), run)
        image, text = (torch.from_numpy(hasher.encode(name, views[name])) for name in ("image", "text"))
        scores.append(run.mean_average_precision(image, text, labels, labels))
    assert sum(scores) / 5 == pytest.approx(0.2, abs=0.02)
