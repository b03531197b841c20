"""CVH against generalised eigenproblems that SciPy solves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from hashbench.method import Incompatible, Items, Run, View
from hashbench.registry import methods

from .pairs import Matrix, pairs, standardised, up_to_sign

CVH = methods.get("cvh")
DEFAULT = CVH.config_class()


def _ridged(x: Matrix, ridge: float) -> Matrix:
    c = x.T @ x / len(x)
    return c + ridge * np.trace(c) / len(c) * np.eye(len(c))


def _found(views: dict[str, Matrix], items: dict[str, list[int]], n: int, k: int, ridge: float) -> dict[str, Matrix]:
    found = CVH(replace(DEFAULT, ridge=ridge))._directions(
        {name: torch.from_numpy(x) for name, x in views.items()},
        {name: torch.tensor(index) for name, index in items.items()}, n, k,
    )  # fmt: skip
    return {name: a.numpy() for name, a in found.items()}


@pytest.mark.parametrize("ridge", [1e-4, 0.1, 1.0])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_two_views_are_canonical_correlation_analysis(ridge: float, k: int) -> None:
    items = pairs()
    x, y = (standardised(items, name) for name in ("image", "text"))
    cxx, cyy, cxy = _ridged(x, ridge), _ridged(y, ridge), x.T @ y / len(x)
    squares, w = scipy.linalg.eigh(cxy @ np.linalg.inv(cyy) @ cxy.T, cxx)
    wx, correlation = w[:, ::-1][:, :k], np.sqrt(squares[::-1][:k])
    wy = np.linalg.inv(cyy) @ cxy.T @ wx / correlation
    whole = list(range(len(x)))
    found = _found({"image": x, "text": y}, {"image": whole, "text": whole}, len(x), k, ridge)
    expected = np.vstack([wx, wy]) / np.sqrt(2)  # the constraint is Σ_v A_vᵀ C_vv A_v = I
    assert np.allclose(up_to_sign(np.vstack([found["image"], found["text"]]), expected), expected, atol=1e-6)


def test_three_views_of_which_items_lack_one_solve_the_joint_problem() -> None:
    items, rng = pairs(n=50), np.random.default_rng(3)
    owners = list(range(0, 50, 2))
    sound = items.need_labels().numpy()[owners] @ rng.normal(size=(3, 4)) + rng.normal(size=(25, 4))
    views = {name: standardised(items, name) for name in ("image", "text")}
    views["sound"] = (sound - sound.mean(0)) / sound.std(0)
    index = {"image": list(range(50)), "text": list(range(50)), "sound": owners}
    names, k = list(views), 4
    blocks = []
    for v in names:
        row = []
        for w in names:
            both = [i for i in range(50) if i in index[v] and i in index[w]]
            left, right = (view[[index[name].index(i) for i in both]] for name, view in ((v, views[v]), (w, views[w])))
            row.append(np.zeros((left.shape[1],) * 2) if v == w else left.T @ right / len(both))
        blocks.append(row)
    values, vectors = scipy.linalg.eigh(
        np.block(blocks), scipy.linalg.block_diag(*(_ridged(views[name], 0.1) for name in names))
    )
    expected = vectors[:, ::-1][:, :k]
    found = _found(views, index, 50, k, 0.1)
    assert (np.diff(values[::-1][: k + 1]) < -1e-6).all(), "distinct eigenvalues, or directions are not unique"
    assert np.allclose(up_to_sign(np.vstack([found[name] for name in names]), expected), expected, atol=1e-6)


def test_codes_are_the_signs_of_the_directions() -> None:
    items, k = pairs(), 4
    whole = list(range(60))
    views = {name: standardised(items, name) for name in ("image", "text")}
    found = _found(views, {"image": whole, "text": whole}, 60, k, DEFAULT.ridge)
    hasher = CVH(DEFAULT).train(items, Run(k))
    for name, x in views.items():
        assert np.allclose(hasher.modules[name](items.views[name].features()).numpy(), x @ found[name], atol=1e-4)


def test_more_bits_than_common_directions_are_refused() -> None:
    CVH(DEFAULT).train(pairs(dy=5), Run(5))
    with pytest.raises(Incompatible, match="6 bits, but the views have only 5 directions in common"):
        CVH(DEFAULT).train(pairs(dy=5), Run(6))


def test_a_constant_dimension_does_no_harm() -> None:
    items = pairs()
    rows = items.image.features().clone()
    rows[:, 2] = 4.0
    hasher = CVH(DEFAULT).train(Items({"image": View(rows, 7), "text": items.text}), Run(4))
    assert bool(torch.isfinite(hasher.modules["image"](rows)).all())
