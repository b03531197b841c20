"""SODA against its equations, written out, and every switch against the law that tells it from its neighbours."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, get_args, get_type_hints

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.errors import Diverged
from hashbench.losses import sign
from hashbench.method import Hasher, Items, Run, Stage, View
from hashbench.nn import Standardise
from hashbench.registry import methods
from hashbench.testing.toy import toy_items, toy_prompts

from .watched import WatchedRun, encoder_moved, raw_items

SODA = methods.get("soda")
DEFAULT = replace(SODA.config_class(), hidden=32, probe_every=0, batch_size=32, lr=5e-3)
CHOICES = {
    name: get_args(get_type_hints(type(DEFAULT))[name])
    for name in ("label_modality", "pair_loss", "inner", "similarity", "reduction", "pairs", "bank_start", "heads",
                 "optimiser", "teacher", "teacher_codes", "stage2_image")
}  # fmt: skip
TEACHERS = CHOICES["teacher"]


def method(**settings: Any) -> Any:
    return SODA(replace(DEFAULT, **settings))


def outputs(hasher: Hasher, items: Items) -> dict[str, Tensor]:
    """Real outputs of every hash function on its view's training rows."""
    with torch.no_grad():
        return {name: net.eval()(items.views[name].features()) for name, net in hasher.modules.items()}


def train(items: Items, epochs: int = 2, bits: int = 16, **settings: Any) -> dict[str, Tensor]:
    return outputs(method(**settings).train(items, WatchedRun(bits, max_epochs=epochs)), items)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor], *names: str) -> bool:
    return all(torch.equal(a[name], b[name]) for name in names or a)


@pytest.fixture(scope="module")
def items() -> Items:
    return toy_items(96)


@pytest.fixture(scope="module")
def default(items: Items) -> dict[str, Tensor]:
    return train(items)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def coin(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed)).double()


# ---------------------------------------------------------------- the equations


def l_t(f: Tensor, h: Tensor, s: Tensor, b: Tensor, kappa: float, alpha: float, eta: float) -> Tensor:
    """L_T = Σ softplus(θ) - S θ + α (||B - F||² + ||B - H||²) + η (||Fᵀ1||² + ||Hᵀ1||²), term by term."""
    total = f.new_zeros(())
    for i, j in product(range(len(f)), range(len(h))):
        theta = kappa * (f[i] * h[j]).sum()
        total = total + torch.log(1 + torch.exp(theta)) - s[i, j] * theta
    for outputs_ in (f, h):
        total = total + alpha * (b - outputs_).pow(2).sum() + eta * outputs_.sum(0).pow(2).sum()
    return total


def soda_l_t(f: Tensor, h: Tensor, s: Tensor, b: Tensor, **settings: Any) -> Tensor:
    """The same from the method's own pieces."""
    own = method(**settings)
    pair, _ = own._pair_loss(f, h, s)
    penalty = (b - f).pow(2).mean() + (b - h).pow(2).mean()
    return own._loss(pair, penalty, [f.mean(0), h.mean(0)], own.config.alpha, s.shape)[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kappa", "alpha", "eta"), [(0.5, 0.0, 0.0), (0.5, 0.7, 0.0), (0.25, 1.3, 0.4)])
def test_the_author_s_reduction_is_l_t_over_the_number_of_pairs(
    seed: int, kappa: float, alpha: float, eta: float
) -> None:
    n, k = 7, 5
    f, h, s = normal(n, k, seed=seed), normal(n, k, seed=seed + 10), coin(n, n, seed=seed)
    b = sign(f + h)
    found = soda_l_t(f, h, s, b, reduction="author_sum", kappa=kappa, alpha=alpha, eta=eta)
    assert (found * n * n).item() == pytest.approx(l_t(f, h, s, b, kappa, alpha, eta).item(), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reduction", CHOICES["reduction"])
def test_the_gradient_of_l_t(reduction: str, seed: int) -> None:
    """dL/df_i = κ Σ_j (sigmoid(θ_ij) - S_ij) h_j + 2 α (f_i - b_i), up to the mean; and finite differences agree."""
    n, k, kappa, alpha = 6, 4, 0.5, 0.7
    f, h, s = normal(n, k, seed=seed).requires_grad_(), normal(n, k, seed=seed + 10), coin(n, n, seed=seed)
    b = sign(f + h)
    loss = soda_l_t(f, h, s, b, reduction=reduction, kappa=kappa, alpha=alpha)
    (gradient,) = torch.autograd.grad(loss, f)
    at = f.detach()
    entries = n * n if reduction == "author_sum" else n * k  # what the penalty is divided by
    by_hand = kappa * ((kappa * at @ h.T).sigmoid() - s) @ h / (n * n) + 2 * alpha * (at - b) / entries
    assert torch.allclose(gradient, by_hand, atol=1e-12)
    step = 1e-6
    for i, bit in product(range(n), range(k)):
        ends = []
        for way in (step, -step):
            moved = at.clone()
            moved[i, bit] += way
            ends.append(soda_l_t(moved, h, s, b, reduction=reduction, kappa=kappa, alpha=alpha).item())
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient[i, bit].item(), abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_b_is_the_nearest_code_to_both_outputs(seed: int) -> None:
    f, h = normal(3, 4, seed=seed), normal(3, 4, seed=seed + 10)

    def phi2(b: Tensor) -> float:
        return float((b - f).pow(2).sum() + (b - h).pow(2).sum())

    every = [torch.tensor(bits, dtype=torch.float64).reshape(3, 4) for bits in product((-1.0, 1.0), repeat=12)]
    assert torch.equal(min(every, key=phi2), sign(f + h))


def phi(theta: float, s: float) -> float:
    return math.log(1 + math.exp(theta)) - s * theta


@pytest.mark.parametrize("s", [0.0, 1.0])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, lambda dot, cos, k, s: phi(dot / 2, s)),
        ({"kappa": 0.1}, lambda dot, cos, k, s: phi(0.1 * dot, s)),
        ({"kappa": "8/bits"}, lambda dot, cos, k, s: phi(8 / k * dot, s)),
        ({"inner": "cosine"}, lambda dot, cos, k, s: phi(k * cos / 2, s)),
        ({"pair_loss": "ssah_mse"}, lambda dot, cos, k, s: phi(dot / 2, s) ** 2),
        ({"pair_loss": "mse_cos"}, lambda dot, cos, k, s: (cos - (2 * s - 1)) ** 2),
    ],
)
def test_the_pair_losses_of_one_pair(settings: dict[str, Any], expected: Any, s: float) -> None:
    a, b = torch.tensor([[0.5, -0.25, 0.75]]), torch.tensor([[1.0, 0.5, 0.25]])
    dot = 0.5 - 0.125 + 0.1875
    cos = dot / math.sqrt((0.25 + 0.0625 + 0.5625) * (1 + 0.25 + 0.0625))
    found = method(**settings)._pair_loss(a, b, torch.tensor([[s]]))[0].item()
    assert found == pytest.approx(expected(dot, cos, 3, s), rel=1e-5)


def test_theta_is_measured_on_every_16th_column() -> None:
    others = torch.zeros(33, 2)
    others[[0, 16, 32], 0] = torch.tensor([10.0, 30.0, -50.0])
    others[1:16] = 1e3
    _, (size, saturated) = method()._pair_loss(torch.tensor([[1.0, 0.0]]), others, torch.zeros(1, 33))
    assert size.item() == pytest.approx((5 + 15 + 25) / 3)
    assert saturated.item() == pytest.approx(2 / 3)


def test_balanced_nll_weighs_similar_and_dissimilar_pairs_alike() -> None:
    f, h = normal(4, 3), normal(5, 3, seed=1)
    s = torch.zeros(4, 5, dtype=torch.float64)
    s[0, :3] = 1  # 3 similar pairs among 20
    each = nnf.softplus(f @ h.T / 2) - s * (f @ h.T / 2)
    expected = (each[s == 1].mean() + each[s == 0].mean()) / 2
    assert method(pair_loss="balanced_nll")._pair_loss(f, h, s)[0].item() == pytest.approx(expected.item())


def test_bidirectional_similarity_is_the_mean_agreement_on_labels_had_and_lacked() -> None:
    labels = coin(12, 5, seed=3).float()
    labels[0], labels[1] = 0, 1  # nothing and everything
    some = Items({"image": View(torch.zeros(12, 1), 1)}, labels)
    rows, columns = torch.arange(12), torch.tensor([0, 1, 5, 3])
    found = method(similarity="bidirectional")._similarity(some, rows, columns)
    has = [{c for c in range(5) if row[c]} for row in labels.tolist()]

    def jaccard(a: set[int], b: set[int]) -> float:
        return len(a & b) / len(a | b) if a | b else 0.0

    for i, (j, column) in product(range(12), enumerate(columns.tolist())):
        lacks = (set(range(5)) - has[i], set(range(5)) - has[column])
        assert found[i, j].item() == pytest.approx((jaccard(has[i], has[column]) + jaccard(*lacks)) / 2)
    shared = method()._similarity(some, rows, None)
    assert shared.tolist() == [[float(bool(a & b)) for b in has] for a in has]


# ---------------------------------------------------------------- the loop, written a second time


def head(d: int, bits: int) -> nn.Sequential:
    standardise = nn.Sequential(nn.Identity(), Standardise(torch.zeros(2, d)))
    return nn.Sequential(standardise, nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, bits), nn.Tanh())


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


class Remembering(WatchedRun):
    """Keeps what the teacher left behind."""

    def stage(self, name: str, settings: Any, make: Any) -> dict[str, Tensor]:
        self.state = super().stage(name, settings, make)
        return self.state


@pytest.mark.parametrize(
    ("pairs", "teacher_codes"), [("batch", "sign_f"), *(("bank", codes) for codes in CHOICES["teacher_codes"])]
)
def test_training_is_the_published_loop(items: Items, pairs: str, teacher_codes: str) -> None:
    """Both stages from the same start, in plain code; every output agrees."""
    alpha, beta, epochs, size, bits = 0.2, 0.3, 3, 32, 8
    soda = method(alpha=alpha, beta=beta, epochs=epochs, pairs=pairs, teacher_codes=teacher_codes)
    run, start = Remembering(bits), Remembering(bits, max_epochs=0)
    hasher, untrained = soda.train(items, run), soda.train(items, start)

    x, y, label = items.image.features(), items.text.features(), items.label_view("set_mean").features()
    f, h, g = head(24, bits), head(32, bits), head(20, bits)
    f.load_state_dict(part(start.state, "net."))
    h.load_state_dict(part(start.state, "label_net."))
    g.load_state_dict(untrained.modules["text"].state_dict())
    adams = {net: torch.optim.Adam(net.parameters(), 5e-3) for net in (f, h, g)}
    s = (items.labels @ items.labels.T > 0).float()

    def pair(theta: Tensor, rows: Tensor) -> Tensor:
        return (nnf.softplus(theta) - rows * theta).mean()

    def descend(loss: Tensor, *nets: nn.Module) -> None:
        for net in nets:
            adams[net].zero_grad()
        loss.backward()
        for net in nets:
            adams[net].step()

    n = len(items)
    with torch.no_grad():
        fs, hs = f(x), h(label)
    for epoch in range(epochs):
        b = sign(fs + hs)
        if pairs == "bank":
            for net, rows, own, other, stream in ((f, x, fs, hs, "image"), (h, label, hs, fs, "label")):
                for i in run.batches(n, size, stream, epoch):
                    out = net(rows[i])
                    own[i] = out.detach()
                    descend(pair(out @ other.T / 2, s[i]) + alpha * (b[i] - out).pow(2).mean(), net)
        else:
            for i in run.batches(n, size, "pairs", epoch):
                u, v = f(x[i]), h(label[i])
                c = sign(u + v)
                penalty = (c - u).pow(2).mean() + (c - v).pow(2).mean()
                descend(pair(u @ v.T / 2, s[i][:, i]) + alpha * penalty, f, h)
    with torch.no_grad():
        taught = {"sign_f": sign(f(x)), "unified": sign(f(x) + h(label)), "label": sign(h(label)), "continuous": f(x)}
    codes = taught[teacher_codes]
    for epoch in range(epochs):
        for i in run.batches(n, size, "student", epoch):
            out = g(y[i])
            others, rows = (codes, s[i]) if pairs == "bank" else (codes[i], s[i][:, i])
            descend(pair(out @ others.T / 2, rows) + beta * (codes[i] - out).pow(2).mean(), g)

    found = outputs(hasher, items)
    with torch.no_grad():
        assert torch.allclose(found["image"], f(x), atol=1e-4)
        assert torch.allclose(found["text"], g(y), atol=1e-4)
    moved = outputs(untrained, items)
    assert all((moved[name] - found[name]).abs().mean() > 0.01 for name in found), "nothing was trained"


@pytest.mark.parametrize("coupled", [False, True])
def test_joint_students_follow_the_codes_of_the_moving_image_head(items: Items, coupled: bool) -> None:
    """Φ4 has b = sgn(f); Φ3 pairs with those codes, or when coupled with f itself, which then hears of it too."""
    banks: dict[str, list[Tensor]] = {"image": [], "student": []}

    class Watched(SODA):
        def _pass(
            self, train: Items, run: Run, stream: str, own: Any, others: list[Tensor], codes: Tensor, *rest: Any
        ) -> Any:
            yield from super()._pass(train, run, stream, own, others, codes, *rest)
            if stream in banks:
                banks[stream].append(own.bank.clone())
            if stream == "image":
                assert len(others) == 1 + coupled
            if stream == "image" and coupled and banks["student"]:
                assert torch.equal(others[1], banks["student"][-1])
            if stream == "student":
                image = banks["image"][-1]
                assert torch.equal(codes, sign(image))
                assert len(others) == 1
                assert torch.equal(others[0], image if coupled else codes)

    config = replace(DEFAULT, teacher="joint_coupled" if coupled else "joint", epochs=2, teacher_epochs=1)
    Watched(config).train(items, Run(8))
    assert len(banks["student"]) == 3, "the epochs of both stages"
    assert not torch.equal(sign(banks["image"][0]), sign(banks["image"][2]))


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("pairs", CHOICES["pairs"])
def test_one_alpha_in_two_reductions(items: Items, pairs: str, teacher: str) -> None:
    """alpha_mean = alpha_sum · k/N with a bank of N, alpha_sum · k/b inside a batch; eta_mean = eta_sum · k · N/b."""
    n, b, k = 96, 32, 8
    columns = n if pairs == "bank" else b
    shared = {"pairs": pairs, "teacher": teacher, "batch_size": b}
    author = train(items, bits=k, reduction="author_sum", alpha=3.0, beta=1.5, eta=0.25, **shared)
    mean = train(
        items, bits=k, reduction="mean", alpha=3.0 * k / columns, beta=1.5 * k / columns, eta=0.25 * k * columns / b,
        **shared,
    )  # fmt: skip
    other = train(items, bits=k, reduction="mean", alpha=3.0, beta=1.5, eta=0.25, **shared)
    for name in ("image", "text"):
        assert torch.allclose(author[name], mean[name], atol=1e-5)
        assert not torch.allclose(author[name], other[name], atol=1e-3)


# ---------------------------------------------------------------- the hand-over


@pytest.mark.parametrize("raw", [False, True])
def test_frozen_means_bit_for_bit(raw: bool) -> None:
    """With stage2_image=frozen the image head and its codes are the teacher's, to the last bit."""
    some, stages = (raw_items(False) if raw else toy_items(64)), dict[str, Stage]()
    hasher = method().train(some, Run(8, max_epochs=3, stages=stages))
    ((_, stage),) = stages.items()
    state = hasher.modules["image"].state_dict()
    taught = part(stage.tensors, "net.")
    assert state.keys() == taught.keys()
    assert all(torch.equal(state[name], taught[name]) for name in state)
    codes = torch.from_numpy(hasher.encode("image", some.image))
    assert torch.equal(codes.float(), sign(stage.tensors["outputs"]))


@pytest.mark.parametrize(
    ("settings", "independent"),
    [
        ({}, ("image", "text")),
        ({"teacher_codes": "unified"}, ("image", "text")),
        ({"stage2_image": "refresh", "refresh_every": 1}, ("image", "text")),
        ({"stage2_image": "ema"}, ("image", "text")),
        ({"teacher": "joint"}, ("image", "text")),
        ({"teacher": "swap"}, ("text", "image")),
        ({"stage2_image": "finetune"}, None),
        ({"teacher": "joint_coupled"}, None),
        ({"teacher": "none"}, None),
    ],
)
def test_which_head_hears_of_the_other_view(items: Items, settings: dict[str, Any], independent: Any) -> None:
    """The leading head does not depend on the following view, except where a gradient is meant to flow back."""
    lead, follower = independent or ("image", "text")
    shuffled = copy.copy(items.views[follower])
    shuffled = replace(shuffled, rows=shuffled.features().flip(0))
    other = replace(items, views={**items.views, follower: shuffled})
    first, second = train(items, 3, **settings), train(other, 3, **settings)
    assert not torch.equal(first[follower], second[follower].flip(0))
    assert torch.equal(first[lead], second[lead]) == (independent is not None)


def nll(f: Tensor, h: Tensor, items: Items) -> float:
    theta, every = f @ h.T / 2, torch.arange(len(items))
    return (nnf.softplus(theta) - items.similarity(every) * theta).mean().item()


@pytest.mark.parametrize("stage2_image", ["refresh", "ema"])
def test_the_teacher_goes_on_from_where_it_stopped(items: Items, stage2_image: str) -> None:
    run = Remembering(16, max_epochs=2)
    method(stage2_image=stage2_image, finetune_rate=0.0).train(items, run)  # a step of nothing: it stays there
    expected = nll(run.state["outputs"], run.state["label_outputs"], items)
    phi1 = [event["phi1"] for event in run.events if event.get("phase") == "student"]
    assert phi1 == pytest.approx([expected] * 2, rel=1e-4)


def test_a_teacher_serves_two_students(items: Items) -> None:
    class Counting(dict[str, Stage]):
        made = 0

        def __setitem__(self, key: str, stage: Stage) -> None:
            Counting.made += 1
            super().__setitem__(key, stage)

    stages, found = Counting(), []
    student: list[dict[str, Any]] = [
        {},
        {"beta": 1.0},
        {"teacher_codes": "label"},
        {"stage2_image": "finetune", "finetune_rate": 1.0},
        {"stage2_image": "ema", "ema_decay": 0.5},
        {"epochs": 7, "teacher_epochs": 30},
    ]
    for settings in student:
        lent = Run(16, max_epochs=2, stages=stages)
        fresh = Run(16, max_epochs=2)
        found.append(outputs(method(**settings).train(items, lent), items))
        assert same(found[-1], outputs(method(**settings).train(items, fresh), items))
        assert lent.events == fresh.events, "a lent teacher tells the same story"
    assert Counting.made == 1
    assert not any(same(found[0], other) for other in found[1:-1])
    method(teacher="swap").train(items, Run(16, max_epochs=2, stages=stages))
    method(alpha=1.0).train(items, Run(16, max_epochs=2, stages=stages))
    assert Counting.made == 3


def test_a_falling_step_belongs_to_the_teacher_alone(items: Items) -> None:
    """A teacher of 3 epochs is the same teacher whether its student takes 3 epochs or 6."""
    stages: dict[str, Stage] = {}
    for epochs in (3, 6):
        settings = {"optimiser": "sgd", "lr": 0.1, "teacher_epochs": 3, "epochs": epochs}
        lent = outputs(method(**settings).train(items, Run(16, stages=stages)), items)
        fresh = outputs(method(**settings).train(items, Run(16)), items)
        assert same(lent, fresh)
    assert len(stages) == 1


# ---------------------------------------------------------------- a part of the items, a part of the loss


def test_stage_1_sees_its_share_and_teaches_on_all(items: Items) -> None:
    """The teacher of a share is the teacher trained on those items alone; its codes of all items teach the text."""
    soda, run = method(teacher_share=0.5), Remembering(16, max_epochs=3)
    hasher = soda.train(items, run)
    seen = soda._seen(items, Run(16))
    assert seen is not None and len(seen) == 48
    views = {name: replace(view, rows=view.features()[seen]) for name, view in items.views.items()}
    labels = items.need_labels()[seen]
    rows = items.label_view("set_mean").features()[seen]
    some = Items(views, labels, prompts=lambda _: View(rows, rows.shape[1]))
    alone = Remembering(16, max_epochs=3)
    method().train(some, alone)
    assert same(part(run.state, "net."), part(alone.state, "net."))
    assert same(part(run.state, "label_net."), part(alone.state, "label_net."))
    with torch.no_grad():
        assert torch.equal(run.state["outputs"], hasher.modules["image"].eval()(items.image.features()))
    assert torch.equal(run.state["outputs"][seen], alone.state["outputs"])
    assert run.state["label_outputs"].shape == (96, 16)


def test_a_larger_share_sees_what_a_smaller_one_does(items: Items) -> None:
    seen = [method(teacher_share=share)._seen(items, Run(8, seed=3)) for share in (0.001, 0.25, 0.5)]
    assert [len(rows) for rows in seen] == [2, 24, 48], "two at least, or there would be no pair"
    assert set(seen[0].tolist()) < set(seen[1].tolist()) < set(seen[2].tolist())
    assert method()._seen(items, Run(8)) is None
    assert set(method(teacher_share=0.5)._seen(items, Run(8, seed=4)).tolist()) != set(seen[2].tolist())


def test_the_teacher_of_a_share_is_measured_against_all_items(items: Items) -> None:
    held = toy_items(40, seed=1)
    run = Remembering(16, max_epochs=1, validation=held)
    method(teacher_share=0.25, probe_every=1).train(items, run)
    h = head(32, 16)
    h.load_state_dict(part(run.state, "label_net."))
    f = head(24, 16)
    f.load_state_dict(part(run.state, "net."))
    with torch.no_grad():
        asked = f.eval()(held.image.features())
    expected = run.mean_average_precision(asked, run.state["label_outputs"], held.need_labels(), items.need_labels())
    (event,) = (event for event in run.events if event.get("phase") == "teacher")
    assert event["map_image_label"] == pytest.approx(expected)


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("bank_start", CHOICES["bank_start"])
def test_a_teacher_of_no_epochs_is_measured_as_it_is(items: Items, share: float, bank_start: str) -> None:
    held = toy_items(40, seed=1)
    run = Remembering(16, validation=held)
    settings = {"teacher_epochs": 0, "epochs": 1, "probe_every": 5, "bank_start": bank_start}
    hasher = method(teacher_share=share, **settings).train(items, run)
    (event,) = (event for event in run.events if event.get("phase") == "teacher")
    assert event["epoch"] == -1
    with torch.no_grad():
        asked = hasher.modules["image"].eval()(held.image.features())
    for other in ("label", "image"):
        found = run.state["label_outputs" if other == "label" else "outputs"]
        expected = run.mean_average_precision(asked, found, held.need_labels(), items.need_labels())
        assert event[f"map_image_{other}"] == pytest.approx(expected)


def test_a_raw_view_can_be_seen_in_part() -> None:
    some = raw_items(False)
    hasher = method(teacher_share=0.5, batch_size=6).train(some, Run(8, max_epochs=2))
    assert batches_seen(hasher.modules["image"]) == 2 * 2, "12 of 24 pictures, in two batches an epoch"
    assert batches_seen(hasher.modules["text"]) == 2 * 4


def test_without_phi3_the_text_head_only_copies_the_codes(items: Items) -> None:
    """Its loss is β Φ4, whatever the pairs are: other labels, same text head."""
    config = {"phi3_weight": 0.0, "beta": 0.7, "epochs": 3}
    run = WatchedRun(8)
    method(**config).train(items, run)
    logged_ = [event for event in run.events if event.get("phase") == "student"]
    for epoch, event in enumerate(logged_):
        losses = [step.loss for step in run.steps if (step.phase, step.epoch) == ("student", epoch)]
        assert sum(losses) / len(losses) == pytest.approx(0.7 * event["phi4"], rel=1e-5)
    both = WatchedRun(8)
    method(beta=0.7, epochs=3).train(items, both)
    first = next(step.loss for step in both.steps if step.phase == "student")
    alone = next(step.loss for step in run.steps if step.phase == "student")
    half = WatchedRun(8)
    method(beta=0.7, epochs=3, phi3_weight=0.5).train(items, half)
    middle = next(step.loss for step in half.steps if step.phase == "student")
    assert middle == pytest.approx((first + alone) / 2, rel=1e-5)


def test_later_settings_leave_old_keys_as_they_were(items: Items) -> None:
    later = {"teacher_share", "phi3_weight"}
    assert not later & SODA.config_class().key_fields().keys()
    assert later <= SODA.config_class(teacher_share=0.5, phi3_weight=0.0).key_fields().keys()

    class Asked(Run):
        settings: Mapping[str, Any]

        def stage(self, name: str, settings: Mapping[str, Any], make: Any) -> dict[str, Tensor]:
            type(self).settings = settings
            return super().stage(name, settings, make)

    method().train(items, Asked(8, max_epochs=0))
    assert "teacher_share" not in Asked.settings, "a teacher made before it came is still lent"
    method(teacher_share=0.5).train(items, Asked(8, max_epochs=0))
    assert Asked.settings["teacher_share"] == 0.5


# ---------------------------------------------------------------- the switches

STUDENT_ONLY = [
    *({"teacher_codes": value} for value in CHOICES["teacher_codes"][1:]),
    {"beta": 1.0},
    {"phi3_weight": 0.0},
]
OTHERS = [
    *({"teacher": value} for value in TEACHERS[1:]),
    *({"stage2_image": value, "refresh_every": 1, "finetune_rate": 1.0} for value in CHOICES["stage2_image"][1:]),
    *({"label_modality": value} for value in CHOICES["label_modality"][1:]),
    *({"pair_loss": value} for value in CHOICES["pair_loss"][1:]),
    *({name: CHOICES[name][1]} for name in ("inner", "similarity", "reduction", "pairs", "heads", "bank_start")),
    {"kappa": 0.25},
    {"alpha": 1.0},
    {"eta": 0.5},
    {"hidden": 16},
    {"batch_size": 48},
    {"optimiser": "sgd", "lr": 0.1},
    {"lr": 1e-2},
    {"teacher_epochs": 1},
    {"teacher_share": 0.5},
]


@pytest.mark.parametrize("settings", STUDENT_ONLY, ids=str)
def test_student_switches_change_the_text_head_alone(
    items: Items, default: dict[str, Tensor], settings: dict[str, Any]
) -> None:
    found = train(items, **settings)
    assert same(found, default, "image")
    assert not same(found, default, "text")


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_every_switch_does_something(items: Items, default: dict[str, Tensor], settings: dict[str, Any]) -> None:
    found = train(items, **settings)
    assert set(found) == {"image", "text"}
    for name, out in found.items():
        assert out.shape == (96, 16)
        assert bool((out.abs() <= 1).all())
        assert len(torch.unique(sign(out), dim=0)) > 1
        assert not torch.equal(out, default[name]), f"the {name} head is that of the default"


def test_no_two_choices_of_a_switch_are_the_same(items: Items) -> None:
    """Three epochs from one start; every choice must lead elsewhere."""
    for name in ("teacher", "teacher_codes", "stage2_image", "pair_loss", "label_modality"):
        texts = [train(items, 3, **{name: choice}, refresh_every=3)["text"] for choice in CHOICES[name]]
        for i in range(len(texts)):
            for j in range(i):
                assert not torch.equal(texts[i], texts[j]), f"{name}: {CHOICES[name][i]} is {CHOICES[name][j]}"


@pytest.mark.parametrize(
    ("settings", "twin"),
    [
        ({"kappa": "8/bits"}, {"kappa": 0.5}),  # at 16 bits
        ({"teacher_epochs": 30}, {"teacher_epochs": None}),
        ({"pair_loss": "mse_cos", "kappa": 3.0, "inner": "cosine"}, {"pair_loss": "mse_cos"}),
        ({"stage2_image": "ema", "ema_decay": 0.0}, {"stage2_image": "refresh", "refresh_every": 1}),
        ({"stage2_image": "finetune", "finetune_rate": 0.0}, {}),
        ({"heads": "author", "hidden": 7}, {"heads": "author"}),
        ({"finetune_rate": 1.0, "refresh_every": 1, "ema_decay": 0.0}, {}),
        ({"probe_every": 1}, {}),
    ],
    ids=str,
)
def test_where_two_settings_mean_the_same(items: Items, settings: dict[str, Any], twin: dict[str, Any]) -> None:
    assert same(train(items, 3, **settings), train(items, 3, **twin))


@pytest.mark.parametrize(
    "settings",
    [{"stage2_image": "ema", "ema_decay": 1.0}, {"stage2_image": "refresh", "refresh_every": 9}],
    ids=str,
)
def test_codes_that_are_never_renewed_teach_as_frozen_ones_do(
    items: Items, default: dict[str, Tensor], settings: dict[str, Any]
) -> None:
    found = train(items, **settings)
    assert same(found, default, "text")
    assert not same(found, default, "image"), "the image head goes on"


@pytest.mark.parametrize("preset", ["default", "author"])
def test_presets_train(items: Items, preset: str) -> None:
    hasher = SODA(with_preset(SODA.config_class, preset)).train(items, Run(16, max_epochs=2))
    for out in outputs(hasher, items).values():
        assert bool(torch.isfinite(out).all())
        assert len(torch.unique(sign(out), dim=0)) > 1


def test_heads(items: Items) -> None:
    def widths(**settings: Any) -> dict[str, list[int]]:
        hasher = method(**settings).train(items, Run(16, max_epochs=0))
        assert all(isinstance(net[-1], nn.Tanh) for net in hasher.modules.values())
        return {
            name: [layer.out_features for layer in net if isinstance(layer, nn.Linear)]
            for name, net in hasher.modules.items()
        }

    assert widths(hidden=11) == {"image": [11, 16], "text": [11, 16]}
    assert widths(heads="author") == {"image": [16], "text": [8192, 16]}
    author = method(heads="author").train(items, Run(16, max_epochs=0))
    for net in author.modules.values():
        weights = torch.cat([p.flatten() for p in net.parameters()])
        assert weights.std().item() == pytest.approx(0.01, rel=0.1)
        assert weights.mean().item() == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("label_modality", CHOICES["label_modality"])
def test_the_label_modality_is_the_prompt_that_is_asked_for(items: Items, label_modality: str) -> None:
    asked: list[str] = []

    def prompts(prompt: str) -> View:
        asked.append(prompt)
        return toy_prompts(items.need_labels())(prompt)

    method(label_modality=label_modality).train(replace(items, prompts=prompts), Run(8, max_epochs=1))
    assert set(asked) == {label_modality}


def test_without_a_teacher_no_prompt_is_read(items: Items) -> None:
    def prompts(prompt: str) -> View:
        raise AssertionError("a prompt was read")

    with pytest.raises(AssertionError, match="a prompt was read"):
        method().train(replace(items, prompts=prompts), Run(8, max_epochs=1))
    hasher = method(teacher="none").train(replace(items, prompts=prompts), Run(8, max_epochs=1))
    assert set(hasher.modules) == {"image", "text"}


# ---------------------------------------------------------------- what may not leak


@pytest.mark.parametrize("teacher", TEACHERS)
def test_neither_labels_nor_prompts_are_used_at_encoding(items: Items, teacher: str) -> None:
    asked: list[str] = []

    def prompts(prompt: str) -> View:
        asked.append(prompt)
        return toy_prompts(items.need_labels())(prompt)

    labels = items.need_labels().clone()
    trained_on = replace(items, labels=labels, prompts=prompts)
    hasher = method(teacher=teacher).train(trained_on, Run(16, max_epochs=2))
    assert set(hasher.modules) == {"image", "text"}, "there is no hash function of labels"
    before, asked_before = {name: hasher.encode(name, items.views[name]) for name in hasher.modules}, len(asked)
    labels.fill_(math.nan)
    after = {name: hasher.encode(name, items.views[name]) for name in hasher.modules}
    assert all((before[name] == after[name]).all() for name in before)
    assert len(asked) == asked_before


@pytest.mark.parametrize("teacher", TEACHERS)
def test_validation_items_are_measured_and_never_learned_from(items: Items, teacher: str) -> None:
    found = []
    for validation in (None, toy_items(40, seed=1), toy_items(30, seed=2)):
        run = Run(16, max_epochs=2, validation=validation)
        found.append(outputs(method(teacher=teacher, probe_every=1).train(items, run), items))
    assert same(found[0], found[1])
    assert same(found[0], found[2])


# ---------------------------------------------------------------- what is logged


def logged(items: Items, epochs: int = 2, **settings: Any) -> list[dict[str, Any]]:
    run = Run(16, max_epochs=epochs, validation=toy_items(40, seed=1))
    method(probe_every=1, **settings).train(items, run)
    for event in run.events:
        for name, value in event.items():
            assert not isinstance(value, float) or math.isfinite(value), f"{name} is {value}"
    return [event for event in run.events if "warning" not in event]


def warnings(items: Items, epochs: int, **settings: Any) -> list[str]:
    run = Run(16, max_epochs=epochs)
    method(**settings).train(items, run)
    return [event["warning"] for event in run.events if "warning" in event]


BITS = {"balance", "dead", "correlation", "distinct", "quantisation"}
TEACHER = {"phi1", "phi2", "weighted_phi2", "phi1_over_entropy", "similar_rate", "theta", "saturated",
           "gradient_norm", "gradient_norm_other"}  # fmt: skip
STUDENT = {"phi3", "phi4", "weighted_phi4", "phi3_over_entropy", "gradient_norm_student"}
PROBE = {"map_image_label", "map_label_image", "map_image_image"}


def test_diagnostics_of_the_two_stages(items: Items) -> None:
    events = logged(items)
    assert [event["phase"] for event in events] == ["teacher", "teacher", "student", "student", "end"]
    for event in events[:2]:
        assert event.keys() >= TEACHER | BITS | PROBE
    for event in events[2:4]:
        assert event.keys() >= STUDENT | BITS
        assert "drift" not in event
    assert {f"map_{a}_{b}" for a, b in product(("image", "text"), repeat=2)} <= events[4].keys()
    assert all(event[name] > 0 for event in events[:2] for name in TEACHER - {"saturated"})


def test_probes_are_the_maps_they_say(items: Items) -> None:
    held = toy_items(40, seed=1)
    run = Remembering(16, max_epochs=1, validation=held)
    hasher = method(lr=0.0, probe_every=1).train(items, run)  # a step of nothing: the outputs are known
    h = head(32, 16)
    h.load_state_dict(part(run.state, "label_net."))
    with torch.no_grad():
        validation = outputs(hasher, held) | {"label": h(held.label_view("set_mean").features())}
        trained = outputs(hasher, items) | {"label": run.state["label_outputs"]}
    teacher, *_, end = (event for event in run.events if "warning" not in event)
    for event, names in ((teacher, ("image", "label")), (end, ("image", "text"))):
        for a, b in set(product(names, repeat=2)) - {("label", "label")}:
            expected = run.mean_average_precision(validation[a], trained[b], held.need_labels(), items.need_labels())
            assert event[f"map_{a}_{b}"] == pytest.approx(expected), f"{a} to {b}"


@pytest.mark.parametrize("pairs", CHOICES["pairs"])
@pytest.mark.parametrize("reduction", CHOICES["reduction"])
def test_the_weighted_penalty_is_what_enters_the_loss(items: Items, reduction: str, pairs: str) -> None:
    alpha, beta, n, b, k = 0.7, 0.3, 96, 32, 16
    count = (k / (n if pairs == "bank" else b)) if reduction == "author_sum" else 1.0
    events = logged(items, alpha=alpha, beta=beta, reduction=reduction, pairs=pairs, batch_size=b)
    for event in events[:2]:
        assert event["weighted_phi2"] == pytest.approx(alpha * count * event["phi2"], rel=1e-4)
    for event in events[2:4]:
        assert event["weighted_phi4"] == pytest.approx(beta * count * event["phi4"], rel=1e-4)


@pytest.mark.parametrize("similarity", CHOICES["similarity"])
def test_a_constant_theta_has_the_entropy_as_its_loss(items: Items, similarity: str) -> None:
    soda = method(similarity=similarity)
    every = torch.arange(len(items))
    s = soda._similarity(items, every, every)
    p = s.mean()
    constant = torch.log(p / (1 - p)).expand(s.shape)
    entropy, rate = soda._entropy(items)
    assert rate == pytest.approx(p.item(), rel=1e-5)
    assert entropy == pytest.approx((nnf.softplus(constant) - s * constant).mean().item(), rel=1e-4)


def test_what_is_no_likelihood_is_not_measured_against_entropy(items: Items) -> None:
    for pair_loss in ("balanced_nll", "ssah_mse", "mse_cos"):
        assert not any("phi1_over_entropy" in event for event in logged(items, pair_loss=pair_loss))
        assert not any("hardly learned" in warning for warning in warnings(items, 1, pair_loss=pair_loss, lr=0.0))


@pytest.mark.parametrize("stage2_image", ["finetune", "refresh", "ema"])
def test_drift_is_logged_where_the_image_head_moves(items: Items, stage2_image: str) -> None:
    events = logged(items, 4, stage2_image=stage2_image, finetune_rate=1.0, lr=1e-2)
    drift = [event["drift"] for event in events if event["phase"] == "student"]
    assert len(drift) == 4
    assert all(0 <= share <= 1 for share in drift)
    assert max(drift) > 0
    still = logged(items, 4, stage2_image=stage2_image, finetune_rate=0.0)
    assert [event["drift"] for event in still if event["phase"] == "student"] == [0.0] * 4


@pytest.mark.parametrize("teacher", ["joint", "joint_coupled", "none", "swap"])
def test_diagnostics_of_the_other_ways_to_train(items: Items, teacher: str) -> None:
    events = logged(items, teacher=teacher)
    phases = [event["phase"] for event in events]
    if teacher == "swap":
        assert phases == ["teacher", "teacher", "student", "student", "end"]
        assert {"map_text_label", "map_label_text", "map_text_text"} | TEACHER <= events[0].keys()
        return
    phase = "direct" if teacher == "none" else "joint"
    assert phases == [phase, phase, "end"]
    assert events[0].keys() >= TEACHER | BITS
    if teacher != "none":
        assert events[0].keys() >= STUDENT | PROBE | {"drift"}


def test_the_moving_image_head_logs_its_own_losses(items: Items) -> None:
    event = logged(items, beta=0.5, stage2_image="finetune")[2]
    assert event["weighted_phi4_image"] == pytest.approx(0.5 * event["phi4_image"], rel=1e-4)
    assert event["phi3_image"] > 0


def test_a_teacher_that_cannot_learn_is_warned_of(items: Items) -> None:
    (hardly, *_) = warnings(items, 1, lr=0.0, heads="author")
    assert "stage 1 hardly learned" in hardly
    assert not any("hardly learned" in warning for warning in warnings(items, 20))


def test_dead_bits_are_warned_of(items: Items) -> None:
    assert "of the bits are dead after stage 1; try pair_loss=balanced_nll" in warnings(items, 20, alpha=50.0)[-1]
    assert warnings(items, 20, eta=1.0) == []


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("teacher", TEACHERS)
def test_the_author_s_step_falls_linearly_over_each_stage(items: Items, teacher: str) -> None:
    run = WatchedRun(8)
    author = replace(with_preset(SODA.config_class, "author"), epochs=4, teacher_epochs=6, teacher=teacher)
    SODA(replace(author, heads="mlp", hidden=8, probe_every=0)).train(items, run)
    lengths = {"teacher": 6, "student": 4, "direct": 10, "joint": 10}
    phases = dict.fromkeys(step.phase for step in run.steps)
    assert phases
    for phase in phases:
        length = lengths[phase]
        for epoch in range(length):
            rates = {rate for step in run.steps if (step.phase, step.epoch) == (phase, epoch) for rate in step.rates}
            expected = 0.1 + (1e-5 - 0.1) * epoch / (length - 1)
            assert [*rates] == pytest.approx([expected], rel=1e-9)


@pytest.mark.parametrize("stage2_image", ["finetune", "refresh", "ema"])
@pytest.mark.parametrize("optimiser", CHOICES["optimiser"])
def test_the_image_head_goes_on_with_a_share_of_the_step(items: Items, stage2_image: str, optimiser: str) -> None:
    run = WatchedRun(8)
    config = {"stage2_image": stage2_image, "finetune_rate": 0.25, "optimiser": optimiser, "lr": 0.01, "epochs": 3}
    method(**config).train(items, run)
    first = {rate for step in run.steps if (step.phase, step.epoch) == ("student", 0) for rate in step.rates}
    last = {rate for step in run.steps if (step.phase, step.epoch) == ("student", 2) for rate in step.rates}
    assert sorted(first) == pytest.approx([0.0025, 0.01])
    assert sorted(last) == pytest.approx([0.0025, 0.01] if optimiser == "adam" else [1e-5])


def batches_seen(net: nn.Module) -> int:
    """How many batches the running statistics of a raw view have seen: none in evaluation mode."""
    (norm,) = (module for module in net.modules() if isinstance(module, nn.BatchNorm1d))
    return int(norm.num_batches_tracked)


def test_batches_are_seen_in_training_mode_whichever_way_they_are_paired() -> None:
    for pairs in CHOICES["pairs"]:
        hasher = method(teacher="none", pairs=pairs, batch_size=12).train(raw_items(False), Run(8, max_epochs=3))
        for net in hasher.modules.values():
            assert batches_seen(net) == 3 * 2


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("teacher", TEACHERS)
def test_raw_views_train_their_encoders(teacher: str, pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=2)
    hasher = method(teacher=teacher, lr=1e-3, encoder_lr=1e-4).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    assert all(batches_seen(net) > 0 for net in hasher.modules.values())
    labels_only = (1e-3,)  # the label view is made of cached vectors
    assert {step.rates for step in run.steps} - {labels_only} == {(1e-3, 1e-4 if pretrained else 1e-3)}


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("view", ["image", "text"])
def test_nan_diverges(view: str, teacher: str) -> None:
    items = toy_items(40)
    items.views[view].rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        method(teacher=teacher).train(items, Run(8, max_epochs=2))


# ---------------------------------------------------------------- it works


@pytest.mark.parametrize("teacher", TEACHERS)
def test_it_learns(teacher: str) -> None:
    items, test = toy_items(200), toy_items(100, seed=1)
    run = Run(16)
    hasher = method(teacher=teacher, epochs=15).train(items, run)
    codes = {name: torch.from_numpy(hasher.encode(name, test.views[name])) for name in ("image", "text")}
    labels = test.need_labels()
    chance = float(test.similarity(torch.arange(100)).mean())
    for query, database in (("image", "text"), ("text", "image")):
        assert run.mean_average_precision(codes[query], codes[database], labels, labels) > chance + 0.35
