"""Network pieces: standardisation, optimiser groups and the diagnostics of codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hashbench.method import View
from hashbench.nn import (
    AnchorKernel,
    LogOdds,
    Standardise,
    code_statistics,
    gradient_norm,
    hash_network,
    linear,
    parameter_groups,
    perceptron,
    ridge_factor,
    ridge_regression,
    set_dropping_step,
    set_warm_up_cosine,
    standardised_encoder,
)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_training_features_come_out_with_mean_0_and_deviation_1() -> None:
    features = 1e3 + 5 * _normal(200, 6)
    out = Standardise(features)(features).double()
    assert torch.allclose(out.mean(0), torch.zeros(6, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(out.std(0, correction=0), torch.ones(6, dtype=torch.float64), atol=1e-4)


def test_new_rows_use_the_statistics_of_the_training_rows() -> None:
    train, new = _normal(50, 3), _normal(4, 3, seed=1)
    expected = (new.numpy() - train.numpy().mean(0)) / train.numpy().std(0)
    assert np.allclose(Standardise(train)(new).numpy(), expected, atol=1e-5)


def test_a_constant_dimension_gives_0() -> None:
    features = torch.cat([_normal(30, 2), torch.full((30, 1), 7.7)], 1)
    out = Standardise(features)(features)
    assert torch.equal(out[:, 2], torch.zeros(30))
    assert bool(torch.isfinite(out).all())


def test_a_cached_view_has_fixed_statistics_and_a_raw_one_running_ones() -> None:
    features = 3 + 2 * _normal(64, 5)
    cached = standardised_encoder(View(features, 5))
    raw = standardised_encoder(View(features, 5, lambda: nn.Linear(5, 5), raw=True))
    assert not list(cached.parameters())
    assert torch.allclose(cached.train()(features[:8]), cached.eval()(features[:8]))
    out = raw.train()(features)
    assert torch.allclose(out.mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(out.var(0, correction=0), torch.ones(5), atol=1e-3)
    assert len(list(raw.parameters())) == 2, "the encoder is trained, the standardisation has no weights"


@pytest.mark.parametrize(("pretrained", "expected"), [(True, [0.1, 0.001]), (False, [0.1, 0.1])])
def test_only_a_pretrained_encoder_takes_small_steps(pretrained: bool, expected: list[float]) -> None:
    view = View(_normal(8, 5), 5, lambda: nn.Linear(5, 4), raw=True, pretrained=pretrained)
    net = nn.Sequential(standardised_encoder(view), nn.Linear(4, 3))
    groups = list(parameter_groups(net, view, lr=0.1, encoder_lr=0.001))
    assert [group["lr"] for group in groups] == expected
    head, encoder = (group["params"] for group in groups)
    assert {id(p) for p in head} == {id(p) for p in net[1].parameters()}
    assert {id(p) for p in encoder} == {id(p) for p in net[0].parameters()}


def test_cached_features_have_no_encoder_group() -> None:
    view = View(_normal(8, 5), 5)
    net = nn.Sequential(standardised_encoder(view), nn.Linear(5, 3))
    (group,) = parameter_groups(net, view, lr=0.1, encoder_lr=0.001)
    assert len(group["params"]) == 2


def test_code_statistics_of_a_small_example() -> None:
    outputs = torch.tensor([[0.5, -0.5, 0.9], [0.5, 0.5, -0.9], [0.5, -0.5, 0.9], [0.5, 0.5, 0.9]])
    found = code_statistics(outputs)  # bit means 1, 0, 1/2
    assert found["balance"] == pytest.approx(0.5)
    assert found["dead"] == pytest.approx(1 / 3)
    assert found["distinct"] == pytest.approx(3 / 4)
    assert found["quantisation"] == pytest.approx((0.5 + 0.5 + 0.1) / 3)
    assert found["correlation"] == pytest.approx(abs(np.corrcoef([-1, 1, -1, 1], [1, -1, 1, 1])[0, 1]), abs=1e-6)


def test_code_statistics_agree_with_numpy_on_many_bits() -> None:
    outputs = _normal(100, 12).tanh()
    outputs[:, 7] = -outputs[:, 2]
    signs = np.where(outputs.numpy() >= 0, 1.0, -1.0)
    expected = np.abs(np.corrcoef(signs.T) - np.eye(12)).max()
    found = code_statistics(outputs)
    assert expected == pytest.approx(1)
    assert found["correlation"] == pytest.approx(expected, abs=1e-5)
    assert found["balance"] == pytest.approx(np.abs(signs.mean(0)).mean(), abs=1e-6)


def test_code_statistics_of_dead_bits_are_finite() -> None:
    found = code_statistics(torch.ones(10, 4))
    assert found == {"balance": 1.0, "dead": 1.0, "correlation": 0.0, "distinct": 0.1, "quantisation": 0.0}


def test_gradient_norm_is_the_norm_of_the_whole_gradient() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert gradient_norm(net) == 0
    net(_normal(5, 3)).pow(2).sum().backward()
    whole = torch.cat([p.grad.flatten() for p in net.parameters()])
    assert gradient_norm(net) == pytest.approx(whole.norm().item(), rel=1e-5)


def test_a_linear_layer_is_the_solution_it_was_made_of() -> None:
    x, weight, bias = _normal(5, 3), _normal(3, 4, seed=1), _normal(4, seed=2)
    assert torch.allclose(linear(weight)(x), x @ weight, atol=1e-6)
    layer = linear(weight.double(), bias.double())
    assert torch.allclose(layer(x), x @ weight + bias, atol=1e-6)
    assert not any(p.requires_grad for p in layer.parameters())


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 3.0])
def test_ridge_regression_is_least_squares_on_rows_that_hold_the_ridge(ridge: float) -> None:
    x, y = _normal(30, 4).double(), _normal(30, 2, seed=1).double()
    share = ridge * x.pow(2).sum() / 4
    rows = torch.cat([x, share.sqrt() * torch.eye(4, dtype=torch.float64)])
    expected = np.linalg.lstsq(rows.numpy(), torch.cat([y, torch.zeros(4, 2).double()]).numpy(), rcond=None)[0]
    assert np.allclose(ridge_regression(x, y, ridge).numpy(), expected, atol=1e-9)
    factor = ridge_factor(x, ridge)
    assert torch.allclose(factor @ factor.T, x.T @ x + share * torch.eye(4, dtype=torch.float64), atol=1e-9)


def test_the_anchor_kernel_has_the_mean_squared_distance_as_its_width() -> None:
    x, anchors, new = _normal(20, 3), _normal(5, 3, seed=1), _normal(4, 3, seed=2)
    width = sum(float((a - b).pow(2).sum()) for a in x for b in anchors) / 100
    out = AnchorKernel(x, anchors)(new)
    for i in range(4):
        for j in range(5):
            expected = np.exp(-float((new[i] - anchors[j]).pow(2).sum()) / (2 * width))
            assert out[i, j].item() == pytest.approx(expected, rel=1e-4)


def test_a_hash_network_without_a_hidden_layer_is_linear() -> None:
    net = hash_network(View(_normal(9, 3), 3), 4, hidden=0).eval()
    a, b = _normal(5, 3, seed=1), _normal(5, 3, seed=2)
    assert torch.allclose(net((a + b) / 2), (net(a) + net(b)) / 2, atol=1e-5)


def test_log_odds_are_those_of_two_way_softmaxes() -> None:
    pairs = _normal(5, 6)
    p = pairs.view(5, 3, 2).softmax(-1)
    assert torch.allclose(LogOdds()(pairs), (p[..., 1] / p[..., 0]).log(), atol=1e-5)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.05, 0.5), (0.1, 0.9755283), (0.5, 0.5), (1.0, 0.0)])
def test_the_warm_up_rises_and_the_cosine_falls(progress: float, share: float) -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.SGD([{"params": weights[:1], "lr": 0.2}, {"params": weights[1:], "lr": 0.01}])
    for _ in range(2):
        set_warm_up_cosine(optimiser, progress, 0.1)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.2 * share, 0.01 * share])


def test_a_perceptron_rectifies_between_its_layers_and_not_after_the_last() -> None:
    torch.manual_seed(0)
    net, x = perceptron(4, 3, 5, 2), _normal(60, 4)
    first, second, third = (layer for layer in net if isinstance(layer, nn.Linear))
    expected = third(second(first(x).clamp_min(0)).clamp_min(0))
    assert torch.equal(net(x), expected) and (expected < 0).any()
    assert [type(layer) for layer in perceptron(4, 1)] == [nn.Linear]


@pytest.mark.parametrize(("at_once", "drops"), [(False, [0, 0, 0, 1, 1, 1, 2]), (True, [0, 1, 1, 1, 2, 2, 2])])
def test_a_dropping_step_drops_after_so_many_epochs(at_once: bool, drops: list[int]) -> None:
    """The released loops multiply the step where epoch % every == 0, after that epoch: so after the first one, too."""
    optimiser = torch.optim.SGD([{"params": [_normal(2)], "lr": 0.4}, {"params": [_normal(3)], "lr": 2e-6}])
    seen = []
    for epoch in range(7):
        set_dropping_step(optimiser, epoch, 3, 0.5, at_once)
        seen.append([group["lr"] for group in optimiser.param_groups])
    assert seen == [pytest.approx([0.4 * 0.5**n, max(2e-6 * 0.5**n, 1e-6)]) for n in drops]


def test_a_dropping_step_never_raises_one_that_is_smaller_than_its_least() -> None:
    optimiser = torch.optim.SGD([_normal(2)], lr=1e-8)
    set_dropping_step(optimiser, 50, 10, 0.5)
    assert optimiser.param_groups[0]["lr"] == 1e-8
