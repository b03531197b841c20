"""The real-valued reference: directions of CCA, or a space that both views share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hashbench.method import Incompatible, Items, Run, View
from hashbench.nn import Standardise
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

REAL, CCAITQ = methods.get("real"), methods.get("cca-itq")
DEFAULT = REAL.config_class()


def test_it_is_cca_itq_without_its_bits() -> None:
    """Inner products do not see a rotation, so both project alike."""
    items = toy_items(96)
    real, itq = (method(method.config_class()).train(items, Run(6)) for method in (REAL, CCAITQ))
    for view in ("image", "text"):
        a, b = (hasher.outputs(view, items.views[view]).double().numpy() for hasher in (real, itq))
        assert np.allclose(a @ a.T, b @ b.T, atol=1e-4)
    assert isinstance(real.modules["image"][0], Standardise)


def test_a_shared_space_is_taken_as_it_is() -> None:
    view = View(torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), 5)
    items = Items({"image": view, "text": view})
    method = REAL(replace(DEFAULT, space="shared"))
    hasher = method.train(items, Run(5))
    assert torch.equal(hasher.outputs("image", view), view.features())
    with pytest.raises(Incompatible, match="shared space of 4 dimensions"):
        method.train(items, Run(4))
    with pytest.raises(Incompatible, match="shared space"):
        method.train(toy_items(20), Run(24))
