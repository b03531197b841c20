"""Losses against their formulas written out."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hashbench.losses import cosines, cross_entropy_with, gradient_penalty, pair_likelihood, sign, triplets


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_sign_is_never_zero_and_keeps_dtype(dtype: torch.dtype) -> None:
    reals = torch.tensor([[-2.0, -0.0, 0.0], [1e-7, -1e-7, 3.0]], dtype=dtype, requires_grad=True)
    signs = sign(reals)
    assert signs.dtype == dtype
    assert not signs.requires_grad
    assert signs.tolist() == [[-1, 1, 1], [1, -1, 1]]


@given(theta=st.floats(-30, 30), s=st.floats(0, 1))
def test_pair_likelihood_is_the_negative_log_likelihood(theta: float, s: float) -> None:
    p = 1 / (1 + math.exp(-theta))
    expected = -(s * math.log(p) + (1 - s) * math.log1p(-p)) if theta < 0 else math.log1p(math.exp(theta)) - s * theta
    found = pair_likelihood(torch.tensor([[theta]], dtype=torch.float64), torch.tensor([[s]], dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("theta", "s", "expected"), [(1e4, 0.0, 1e4), (1e4, 1.0, 0.0), (-1e4, 1.0, 1e4), (0.0, 0.0, math.log(2))]
)
def test_pair_likelihood_does_not_overflow(theta: float, s: float, expected: float) -> None:
    found = pair_likelihood(torch.tensor([[theta]]), torch.tensor([[s]]))
    assert found.item() == pytest.approx(expected)


def test_pair_likelihood_keeps_every_entry_and_has_the_published_gradient() -> None:
    stream = torch.Generator().manual_seed(0)
    theta = torch.randn(5, 7, generator=stream, dtype=torch.float64, requires_grad=True)
    s = torch.randint(2, (5, 7), generator=stream).double()
    loss = pair_likelihood(theta, s)
    assert loss.shape == (5, 7)
    loss.sum().backward()
    assert torch.allclose(theta.grad, theta.detach().sigmoid() - s)


def test_cosines_are_those_of_every_pair_of_rows_and_0_where_a_row_is_zero() -> None:
    a, b = [[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [-6.0, -8.0], [4.0, -3.0]]
    assert torch.allclose(cosines(torch.tensor(a), torch.tensor(b)), torch.tensor([[0.6, -1.0, 0.0], [0.0, 0.0, 0.0]]))


@given(seed=st.integers(0, 2**32 - 1), margin=st.floats(0, 2), share=st.floats(0, 1))
def test_triplets_are_those_of_every_anchor_positive_and_negative(seed: int, margin: float, share: float) -> None:
    stream = torch.Generator().manual_seed(seed)
    distances = (2 * torch.rand(4, 5, generator=stream, dtype=torch.float64)).requires_grad_()
    similar = torch.rand(4, 5, generator=stream, dtype=torch.float64) * (torch.rand(4, 5, generator=stream) < share)
    expected = sum(
        (
            similar[i, p] * (distances[i, p] - distances[i, n] + margin).relu()
            for i, p, n in product(range(4), range(5), range(5))
            if similar[i, p] > 0 and similar[i, n] == 0
        ),
        0 * distances.sum(),
    )
    found = triplets(distances, similar, margin)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    (slope,), (expected_slope,) = (torch.autograd.grad(loss, distances) for loss in (found, expected))
    assert torch.allclose(slope, expected_slope)


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_cross_entropy_with_one_truth(truth: float) -> None:
    odds = torch.tensor([[-1.5], [0.25], [3.0]], dtype=torch.float64)
    p = [1 / (1 + math.exp(-z)) for z in odds.flatten().tolist()]
    expected = -sum(math.log(q if truth else 1 - q) for q in p) / 3
    assert cross_entropy_with(odds, truth).item() == pytest.approx(expected)
    assert cross_entropy_with(torch.tensor([[1e4]]), 1 - truth).isfinite()


def test_the_gradient_penalty_is_that_of_the_slopes_between_real_and_fake() -> None:
    """The slope of x·x is 2x: with real = fake it is known, and between 0 and 1 it lies between 0 and 2."""

    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * x).sum(1, keepdim=True)

    real = torch.tensor([[0.3, -0.4], [1.5, 2.0]], dtype=torch.float64)
    assert gradient_penalty(Square(), real, real).item() == pytest.approx(((1 - 1) ** 2 + (5 - 1) ** 2) / 2)
    ones = torch.ones(1000, 1, dtype=torch.float64)
    torch.manual_seed(0)
    assert gradient_penalty(Square(), ones, 0 * ones).item() == pytest.approx(
        1 / 3, abs=0.05
    )  # of (2u - 1)², u in [0, 1]


def test_the_gradient_penalty_trains_the_critic_and_nothing_else() -> None:
    critic, real = nn.Linear(3, 1), torch.ones(4, 3, requires_grad=True)
    gradient_penalty(critic, real, torch.zeros(4, 3)).backward()
    assert real.grad is None and critic.weight.grad is not None
    w = critic.weight.detach().flatten()
    assert torch.allclose(critic.weight.grad.flatten(), 2 * (w.norm() - 1) * w / w.norm(), atol=1e-6)
