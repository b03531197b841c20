"""CCA-ITQ against the generalised eigenproblem and the laws of its rotation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from hashbench.method import Incompatible, Items, Run, View
from hashbench.nn import canonical_directions
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

CCAITQ = methods.get("cca-itq")
DEFAULT = CCAITQ.config_class()

Matrix = NDArray[np.float64]


def _items(n: int = 200, dx: int = 9, dy: int = 7, seed: int = 0) -> Items:
    """Two views of a shared signal, in unequal scales and far from zero."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 5))
    views = {}
    for name, d in (("image", dx), ("text", dy)):
        features = 10 * rng.random(d) + (shared @ rng.normal(size=(5, d)) + rng.normal(size=(n, d))) * rng.uniform(
            1, 5, d
        )
        views[name] = View(torch.tensor(features, dtype=torch.float32), d)
    return Items(views)


def _standardised(items: Items, name: str) -> Matrix:
    x = items.views[name].features().double().numpy()
    return (x - x.mean(0)) / x.std(0)


def _oracle(x: Matrix, y: Matrix, ridge: float, k: int) -> tuple[Matrix, Matrix, Matrix]:
    """Directions of unit regularised variance, weighted by their correlation, from Cxy Cyy⁻¹ Cyx w = λ² Cxx w."""
    n = len(x)
    cxx, cyy = (z.T @ z / n + ridge * np.trace(z.T @ z / n) / z.shape[1] * np.eye(z.shape[1]) for z in (x, y))
    cxy = x.T @ y / n
    squares, w = scipy.linalg.eigh(cxy @ np.linalg.inv(cyy) @ cxy.T, cxx)
    wx, correlation = w[:, ::-1][:, :k], np.sqrt(squares[::-1][:k])  # eigh gives wᵀ Cxx w = 1
    wy = np.linalg.inv(cyy) @ cxy.T @ wx / correlation
    return wx * correlation, wy * correlation, correlation


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.1, 1.0])
@pytest.mark.parametrize("k", [1, 4, 7])
def test_directions_solve_the_generalised_eigenproblem(ridge: float, k: int) -> None:
    items = _items()
    x, y = (_standardised(items, name) for name in ("image", "text"))
    wx, wy, correlation = _oracle(x, y, ridge, k)
    found_x, found_y = (w.numpy() for w in canonical_directions(torch.from_numpy(x), torch.from_numpy(y), k, ridge))
    signs = np.sign((found_x * wx).sum(0))  # an eigenvector is known up to its sign, the same in both views
    assert np.allclose(found_x * signs, wx, atol=1e-6)
    assert np.allclose(found_y * signs, wy, atol=1e-6)
    assert (np.diff(correlation) <= 1e-12).all()


def test_hash_functions_are_the_rotated_directions() -> None:
    """Inner products between the views do not depend on the rotation nor on the signs of the directions."""
    items, k = _items(), 5
    x, y = (_standardised(items, name) for name in ("image", "text"))
    wx, wy, _ = _oracle(x, y, DEFAULT.ridge, k)
    hasher = CCAITQ(DEFAULT).train(items, Run(k))
    f, g = (hasher.modules[name](items.views[name].features()).double().numpy() for name in ("image", "text"))
    for a, b, expected in ((f, g, x @ wx @ (y @ wy).T), (f, f, x @ wx @ (x @ wx).T), (g, g, y @ wy @ (y @ wy).T)):
        assert np.allclose(a @ b.T, expected, atol=1e-3)


@pytest.mark.parametrize("rotations", [0, 1, 50])
def test_the_rotation_is_orthogonal(rotations: int) -> None:
    v = torch.randn(60, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    r = CCAITQ(replace(DEFAULT, rotations=rotations))._rotate(v, Run(6))
    assert torch.allclose(r.T @ r, torch.eye(6, dtype=torch.float64), atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_the_quantisation_error_never_rises(seed: int) -> None:
    run = Run(6, seed=seed)
    CCAITQ(DEFAULT).train(_items(seed=seed), run)
    errors = [event["quantisation"] for event in run.events]
    assert len(errors) == 50
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))
    assert errors[-1] < errors[0]


def test_each_rotation_is_the_best_for_its_codes() -> None:
    """Orthogonal Procrustes: no small turn brings VR nearer to the codes it was fitted to."""
    v = torch.randn(80, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    start = CCAITQ(replace(DEFAULT, rotations=0))._rotate(v, Run(5))
    codes = torch.where(v @ start >= 0, 1.0, -1.0).double()
    best = CCAITQ(replace(DEFAULT, rotations=1))._rotate(v, Run(5))
    error = (codes - v @ best).pow(2).sum()
    for trial in range(50):
        turn = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(trial))
        turned = best @ torch.linalg.matrix_exp(0.1 * (turn - turn.T))
        assert (codes - v @ turned).pow(2).sum() > error


def test_more_bits_than_directions_are_refused() -> None:
    items = _items(dx=9, dy=7)
    CCAITQ(DEFAULT).train(items, Run(7))
    with pytest.raises(Incompatible, match="8 bits, but CCA gives at most 7 directions"):
        CCAITQ(DEFAULT).train(items, Run(8))
    with pytest.raises(Incompatible, match="at most 4 directions"):
        CCAITQ(DEFAULT).train(_items(n=5), Run(5))


def test_constant_dimensions_do_no_harm() -> None:
    items = toy_items(60)
    items.image.rows[:, 3] = 5.0
    hasher = CCAITQ(DEFAULT).train(items, Run(8))
    assert bool(torch.isfinite(hasher.modules["image"](items.image.features())).all())
