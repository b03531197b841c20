"""What training is of every method with one step size for its heads and one for pre-trained encoders."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from hashbench import registry
from hashbench.errors import Diverged
from hashbench.method import Method, Run
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

CRITIC = 0.02
QUICK: dict[str, dict[str, Any]] = {
    "agah": {"width": 12, "hidden": 10, "critic_lr": CRITIC},
    "cpah": {"width": 16, "critic_lr": CRITIC},
    "dadh": {"hidden": 16, "critic_lr": CRITIC},
    "ssah": {"width": 12, "hidden": 10, "critic_lr": CRITIC},
    "dcmh": {},
    "hichnet": {"hidden": 10},
    "dchmt": {},
    "dnph": {},
    "dsph": {},
    "twdh": {"long_bits": 32, "hidden": 16},
    "jdsh": {},
    "ucch": {},
    "djsrh": {},
}


def method(name: str, **settings: Any) -> Method[Any]:
    found = registry.methods.get(name)
    return found(replace(found.config_class(), **QUICK[name], **settings))


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("name", QUICK)
def test_raw_views_train_their_encoders(name: str, pretrained: bool) -> None:
    """Encoders that know something step a tenth as far here; those that know nothing, as far as heads."""
    run = WatchedRun(8, max_epochs=2)
    hasher = method(name, lr=1e-2, encoder_lr=1e-3).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[view]) for view in ("image", "text"))
    proxies = {getattr(method(name).config, "proxy_lr", None), CRITIC}
    sizes = [{rate for rate in step.rates if rate not in proxies} for step in run.steps]
    pairs = [sorted(rates) for rates in sizes if len(rates) > 1]  # networks without an encoder step in between
    assert bool(pairs) == pretrained
    assert all(pair == pytest.approx([pair[-1] / 10, pair[-1]], rel=1e-3) for pair in pairs)


@pytest.mark.parametrize("view", ["image", "text"])
@pytest.mark.parametrize("name", QUICK)
def test_nan_diverges(name: str, view: str) -> None:
    items = toy_items(40)
    items.views[view].rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        method(name).train(items, Run(8, max_epochs=2))


@pytest.mark.parametrize(("at_once", "drops"), [(False, [0, 0, 1, 1, 2]), (True, [0, 1, 1, 2, 2])])
@pytest.mark.parametrize(("name", "factor"), [("agah", 0.6), ("cpah", 0.2), ("dadh", 0.8)])
def test_the_step_size_falls(name: str, factor: float, at_once: bool, drops: list[int]) -> None:
    run = WatchedRun(4)
    method(name, epochs=5, decay_every=2, decay_at_once=at_once).train(toy_items(20), run)
    found = [{rate for s in run.steps if s.epoch == epoch for rate in s.rates} - {CRITIC} for epoch in range(5)]
    assert [len(rates) for rates in found] == [1] * 5
    assert [max(rates) for rates in found] == pytest.approx([1e-3 * factor**drop for drop in drops])
