"""Losses against their formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashbench.losses import cosines, pair_likelihood, sign


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
