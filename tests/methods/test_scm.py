"""SCM against SciPy's generalised eigenproblem, with the n x n similarities that it never makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from hashbench.method import Incompatible, Items, Run
from hashbench.registry import methods

from .pairs import Matrix, pairs, standardised, up_to_sign

SCM = methods.get("scm")
DEFAULT = SCM.config_class()


def _similarity(items: Items) -> Matrix:
    """S, from labels one pair at a time."""
    y = items.need_labels().double().numpy()
    n = len(y)
    s = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            s[i, j] = 2 * (y[i] @ y[j]) / (np.linalg.norm(y[i]) * np.linalg.norm(y[j])) - 1
    return s


def _ridged(x: Matrix, ridge: float) -> Matrix:
    gram = x.T @ x
    return gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram))


def _oracle(x: Matrix, y: Matrix, target: Matrix, k: int, ridge: float) -> tuple[Matrix, Matrix]:
    """The k leading solutions of C C_yy⁻¹ Cᵀ w = λ² C_xx w with C = Xᵀ target Y."""
    c, cxx, cyy = x.T @ target @ y, _ridged(x, ridge), _ridged(y, ridge)
    squares, w = scipy.linalg.eigh(c @ np.linalg.inv(cyy) @ c.T, cxx)
    wx = w[:, ::-1][:, :k]
    return wx, np.linalg.inv(cyy) @ c.T @ wx / np.sqrt(squares[::-1][:k])


def _found(items: Items, k: int, **settings: Any) -> tuple[Matrix, Matrix]:
    hasher = SCM(replace(DEFAULT, **settings)).train(items, Run(k))
    layers = (list(hasher.modules[name].modules())[-1] for name in ("image", "text"))
    wx, wy = (layer.weight.double().numpy().T for layer in layers if isinstance(layer, nn.Linear))
    return wx, wy


@pytest.mark.parametrize("ridge", [1e-6, 0.1])
def test_orthogonal_bits_solve_the_generalised_eigenproblem(ridge: float) -> None:
    items = pairs()
    x, y = (standardised(items, name) for name in ("image", "text"))
    expected = _oracle(x, y, 3 * _similarity(items), 3, ridge)
    found = _found(items, 3, solution="orthogonal", ridge=ridge)
    both = up_to_sign(np.vstack(found), np.vstack(expected))
    assert np.allclose(both, np.vstack(expected), rtol=1e-3, atol=1e-6)


def test_each_sequential_bit_solves_the_residue_that_the_ones_before_it_left() -> None:
    items, k = pairs(), 6
    x, y = (standardised(items, name) for name in ("image", "text"))
    target = k * _similarity(items)
    for wx, wy in zip(*(w.T for w in _found(items, k)), strict=True):
        expected = _oracle(x, y, target, 1, DEFAULT.ridge)
        both = np.concatenate([wx, wy])[:, None]
        assert np.allclose(up_to_sign(both, np.vstack(expected)), np.vstack(expected), rtol=1e-3, atol=1e-6)
        target = target - np.outer(np.sign(x @ wx), np.sign(y @ wy))


def test_sequential_bits_approach_the_similarities() -> None:
    items = pairs(n=200, classes=4)
    x, y = (standardised(items, name) for name in ("image", "text"))
    s, errors = _similarity(items), []
    for solution in ("sequential", "orthogonal"):
        wx, wy = _found(items, 4, solution=solution)
        errors.append(np.mean((s - np.sign(x @ wx) @ np.sign(y @ wy).T / 4) ** 2))
    assert errors[0] < errors[1]
    assert errors[0] < np.mean(s**2)


def test_orthogonal_bits_are_bounded_by_the_labels_and_sequential_ones_are_not() -> None:
    items = pairs(classes=3)
    with pytest.raises(Incompatible, match="4 bits, but labels and views leave 3 orthogonal directions"):
        _found(items, 4, solution="orthogonal")
    assert _found(items, 16)[0].shape == (7, 16)


def test_items_without_labels_do_no_harm() -> None:
    items = pairs()
    labels = items.need_labels().clone()
    labels[:5] = 0
    hasher = SCM(DEFAULT).train(replace(items, labels=labels), Run(4))
    assert bool(torch.isfinite(hasher.modules["text"](items.text.features())).all())
