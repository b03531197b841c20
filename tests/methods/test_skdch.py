"""SKDCH against its losses and votes, written out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.method import Incompatible, Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

SKDCH = methods.get("skdch")
DEFAULT = SKDCH.config_class()
MODULE = __import__(SKDCH.__module__, fromlist=["pick", "triplets", "vote"])
QUICK = replace(DEFAULT, hidden=16, teacher_epochs=2, adversarial_epochs=1, student_epochs=2, epochs=1, neighbours=5)


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _hide(items: Items, known: Tensor) -> Items:
    return replace(items, labels=items.need_labels() * known[:, None], labelled=known, prompts=None)


def _one_label(items: Items) -> Items:
    labels = items.need_labels()
    return replace(items, labels=torch.eye(labels.shape[1])[labels.argmax(1)])


def _bce(logit: float, truth: float) -> float:
    return -(truth * math.log(1 / (1 + math.exp(-logit))) + (1 - truth) * math.log(1 / (1 + math.exp(logit))))


# ---------------------------------------------------------------- triplets


@pytest.mark.parametrize(("w", "pull"), [(0.0, 0.0), (0.5, 0.02), (1.0, 0.3)])
@pytest.mark.parametrize("margin", [1.0, "bits/8", "bits/4"])
def test_the_triplet_loss_is_the_sum_written_out(w: float, pull: float, margin: float | str) -> None:
    u, v = torch.rand(4, 6, generator=_stream(1)), torch.rand(5, 6, generator=_stream(2))
    own = torch.zeros(4, 5, dtype=torch.bool)
    own[0, 2] = own[1, 1] = own[2, 0] = True  # the last query has no partner
    drawn = torch.tensor([[0, 0, 1, 2, 3, 3], [2, 1, 0, 0, 4, 2], [3, 0, 1, 3, 0, 1]])
    gamma, beta = 0.7, {"bits/8": 6 / 8, "bits/4": 6 / 4}.get(margin, margin)

    def d(a: Tensor, b: Tensor) -> float:
        return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))

    total, at_rest = 0.0, []
    for q, p, n in drawn.T.tolist():
        near, far, beside = d(u[q], v[p]), d(u[q], v[n]), d(v[p], v[n])
        hinge = max(0.0, beta + near - (1 - w) * far - w * beside)
        at_rest.append(float(hinge == 0))
        total += hinge + pull * near
        if q != 3:
            total += gamma * (_bce(-near, float(own[q, p])) + _bce(-far, float(own[q, n])))
    method = SKDCH(replace(DEFAULT, margin=margin, gamma=gamma))
    loss, resting = method._triplet_loss(u, v, own, drawn, w, pull)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)
    assert resting.tolist() == at_rest


def test_triplets_have_a_positive_that_is_similar_and_a_negative_that_is_not() -> None:
    similar = torch.rand(40, 30, generator=_stream()) < 0.2
    similar[3], similar[7] = True, False  # these two have no negative, or no positive
    q, p, n = MODULE.triplets(similar, 3, _stream())
    assert bool(similar[q, p].all()) and not bool(similar[q, n].any())
    assert sorted(q.tolist()) == sorted(3 * [i for i in range(40) if i not in (3, 7)])


def test_draws_are_even_among_what_is_allowed() -> None:
    allowed = torch.tensor([[True, False, True, False, True, True]])
    counts = Counter(MODULE.pick(allowed, 40_000, _stream())[0].tolist())
    assert set(counts) == {0, 2, 4, 5}
    assert all(abs(count - 10_000) < 500 for count in counts.values())  # five standard deviations


@pytest.mark.parametrize("redraw", [True, False])
def test_the_released_code_draws_its_triplets_once(redraw: bool) -> None:
    items, method = toy_items(30), SKDCH(replace(DEFAULT, redraw=redraw))

    def drawn(epoch: int) -> list[list[int]]:
        return [
            [*rows["image"].tolist(), *torch.randint(100, (5,), generator=draw).tolist()]
            for rows, draw in method._batches(items, Run(8), "teacher", epoch)
        ]

    assert (drawn(0) != drawn(3)) == redraw


def test_few_labels_mean_more_passes_and_not_fewer_steps() -> None:
    items, method = toy_items(96), SKDCH(replace(DEFAULT, batch_size=8))
    few = _hide(items, torch.arange(96) % 8 == 0)
    batches = {name: list(method._batches(i, Run(8), "teacher", 0)) for name, i in (("all", items), ("few", few))}
    seen = Counter(int(i) for rows, _ in batches["few"] for i in rows["image"])
    assert sum(seen.values()) == 96 == sum(len(rows["image"]) for rows, _ in batches["all"])
    assert set(seen) == set(range(0, 96, 8)) and set(seen.values()) == {8}


def test_a_batch_is_filled_up_with_labelled_items_that_have_the_view() -> None:
    items = _hide(toy_items(40, views=("image", "sound"), lacking="sound"), torch.arange(40) < 20)
    for rows, _ in SKDCH(replace(DEFAULT, batch_size=10))._batches(items, Run(8), "teacher", 0):
        owners = items.views["sound"].of(rows["sound"])
        assert len(owners) == len(rows["image"])
        assert set(owners.tolist()) <= set(range(0, 20, 2))
        assert {i for i in rows["image"].tolist() if i % 2 == 0} <= set(owners.tolist())


# ---------------------------------------------------------------- the generator


def _linear(outputs: list[list[float]]) -> nn.Linear:
    """A network that gives ``outputs`` for the rows of a unit matrix."""
    net = nn.Linear(len(outputs), len(outputs[0]), bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(outputs).T)
    return net


def test_the_generator_s_loss_and_reward_written_out() -> None:
    """Items 0 and 1 are labelled and have no label in common; item 2, unlabelled, is all there is to draw."""
    view = View(torch.eye(3), 3)
    known = torch.tensor([True, True, False])
    items = Items({"image": view, "text": view}, torch.tensor([[1.0, 0], [0, 1], [0, 0]]), known)
    f, g = [[0.5, -1.0], [2.0, 0.3], [-0.8, 1.5]], [[1.0, -0.5], [0.5, 0.4], [-1.0, 2.0]]
    teacher = {"image": _linear(f), "text": _linear(g)}
    heads = {"image": _linear([[0, 0, 0.4, -1], [0, 0, 2, 1], [0, 0, 9, 9]]), "text": _linear([[0, 0, 1, -2]] * 3)}
    rows, pool = ({name: torch.tensor(r) for name in ("image", "text")} for r in ([0, 1], [2]))
    method = SKDCH(replace(DEFAULT, margin=0.5, reward_base=3.0))
    found = method._duel(items, 2, teacher, heads, rows, pool, _stream(), teacher=False)

    def u(out: list[float]) -> list[float]:
        return [1 / (1 + math.exp(-x)) for x in out]

    for (loss, reward), (own, other), scores in zip(
        found, ((f, g), (g, f)), ([[0.4, -1.0], [2.0, 1.0]], [[1.0, -2.0]] * 2), strict=True
    ):
        expected = []
        for q in (0, 1):
            near = sum((a - b) ** 2 for a, b in zip(u(own[q]), u(other[q]), strict=True))
            far = sum((a - b) ** 2 for a, b in zip(u(own[q]), u(other[2]), strict=True))
            expected += 2 * [3.0 ** -abs(0.5 + near - far)]
        assert reward.tolist() == pytest.approx(expected, rel=1e-5)
        classes = sum(_bce(scores[q][j], float(q == j)) for q, j in product((0, 1), repeat=2)) / 4
        share = sum(abs(0.5 - r) for r in expected) / 4  # the same item twice: each has half of the probability
        assert loss.item() == pytest.approx(share + classes, rel=1e-5)


def test_only_one_side_moves_in_a_turn() -> None:
    items, method = toy_items(24), SKDCH(QUICK)
    teacher, generator = (
        {name: method._network(view, width) for name, view in items.views.items()} for width in (8, 12)
    )
    rows = {name: torch.arange(24) for name in items.views}
    for turn in (True, False):
        found = method._duel(items, 8, teacher, generator, rows, rows, _stream(), teacher=turn)
        torch.stack([loss for loss, _ in found]).sum().backward()
        moved, still = (teacher, generator) if turn else (generator, teacher)
        assert all(p.grad is not None and bool(p.grad.any()) for net in moved.values() for p in net.parameters())
        assert all(p.grad is None for net in still.values() for p in net.parameters())
        for net in moved.values():
            net.zero_grad()


def test_known_positives_are_never_drawn_as_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    items = _hide(toy_items(60), torch.arange(60) % 3 > 0)
    method, seen = SKDCH(QUICK), []
    nets = {name: method._network(view, 8) for name, view in items.views.items()}
    generator = {name: method._network(view, 12) for name, view in items.views.items()}
    rows = {name: torch.arange(60)[items.labelled] for name in items.views}
    pool = {name: torch.arange(60) for name in items.views}

    def watch(queries: Tensor, candidates: Tensor, own: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(drawn)
        return queries.sum(), queries

    monkeypatch.setattr(method, "_triplet_loss", watch)
    method._duel(items, 8, nets, generator, rows, pool, _stream(), teacher=True)
    labels, owners = items.labels, torch.cat([rows["image"], pool["image"]])
    assert labels is not None and items.labelled is not None
    unlabelled = 0
    for q, p, n in seen:
        assert bool(((labels[owners[q]] * labels[owners[p]]).sum(1) > 0).all())
        assert not bool(((labels[owners[q]] * labels[owners[n]]).sum(1) > 0).any())
        unlabelled += int((~items.labelled[owners[n]]).sum())
    assert unlabelled, "the generator draws from unlabelled items too"


# ---------------------------------------------------------------- votes


def _released_vote(neighbours: list[int], labels: list[str], labelled: list[bool]) -> str:
    """The shape of the released code: its counter is made anew inside the loop."""
    winner = ""
    for j in sorted(neighbours):
        if labelled[j]:
            counter = {labels[j]: 1}
            winner = max(counter, key=lambda name: counter[name])
    return winner


def test_votes_against_a_counter() -> None:
    stream = _stream(3)
    labels = (torch.rand(30, 4, generator=stream) < 0.4).float()
    weights = (torch.rand(50, 30, generator=stream) < 0.3).float()
    weights[5] = 0
    words = ["".join(str(int(x)) for x in row) for row in labels]
    for how in ("majority", "last", "labels"):
        voted, share = MODULE.vote(weights, labels, how)
        assert not bool(voted[5].any()) and share[5] == 0
        for i in (i for i in range(50) if i != 5):
            voters = weights[i].nonzero()[:, 0].tolist()
            found = "".join(str(int(x)) for x in voted[i])
            counts = Counter(words[j] for j in voters)
            if how == "majority":
                assert counts[found] == max(counts.values())
                assert share[i].item() == pytest.approx(counts[found] / len(voters))
            elif how == "last":
                assert found == _released_vote(voters, words, [True] * 30)
            else:
                part = [sum(float(labels[j, c]) for j in voters) / len(voters) for c in range(4)]
                assert {c for c in range(4) if part[c] > 0.5} <= {c for c in range(4) if voted[i, c]}
                assert all(part[c] > 0.5 or part[c] == max(part) for c in range(4) if voted[i, c])
                assert share[i].item() == pytest.approx(max(part))


def test_on_single_labels_counting_labels_is_counting_vectors() -> None:
    labels = torch.eye(5)[torch.randint(5, (40,), generator=_stream())]
    weights = torch.rand(200, 40, generator=_stream(1))  # no ties
    assert torch.equal(MODULE.vote(weights, labels, "labels")[0], MODULE.vote(weights, labels, "majority")[0])


@pytest.mark.parametrize("combine", ["union", "intersection"])
@pytest.mark.parametrize("weighted", [False, True])
def test_neighbours_are_the_nearest_in_each_view_that_an_item_has(combine: str, weighted: bool) -> None:
    items = _hide(toy_items(40, views=("image", "sound"), lacking="sound"), torch.arange(40) % 4 > 0)
    codes = {name: torch.rand(len(view), 6, generator=_stream(7)) for name, view in items.views.items()}
    method = SKDCH(replace(DEFAULT, neighbours=7, combine=combine, weighted=weighted))
    which = torch.tensor([0, 5, 8, 12, 13])
    found = method._neighbours(items, codes, items, codes, which)
    for place, i in enumerate(which.tolist()):
        near, weight = [], Counter[int]()
        for name, view in items.views.items():
            owners = view.of(torch.arange(len(view))).tolist()
            if i not in owners:
                continue
            distance = {
                j: float((codes[name][owners.index(i)] - codes[name][row]).pow(2).sum()) for row, j in enumerate(owners)
            }
            nearest = sorted(distance, key=lambda j: distance[j])[:7]
            near.append(set(nearest))
            for j in nearest:
                weight[j] += 1 / (1 + distance[j]) if weighted else 1
        inside = set.union(*near) if combine == "union" else set.intersection(*near)
        for j in range(40):
            expected = 0.0 if j not in inside or j % 4 == 0 else weight[j] if weighted else 1.0
            assert found[place, j].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("view", ["image", "text"])
def test_neighbours_in_one_view_alone_are_those_of_that_view(view: str) -> None:
    items = _hide(toy_items(40), torch.arange(40) % 4 > 0)
    codes = {name: torch.rand(40, 6, generator=_stream(len(name))) for name in items.views}
    which, one = torch.tensor([0, 4, 8]), {view: codes[view]}
    alone = SKDCH(replace(DEFAULT, neighbours=7, combine=view))._neighbours(items, codes, items, codes, which)
    union = SKDCH(replace(DEFAULT, neighbours=7))
    assert torch.equal(alone, union._neighbours(items, one, items, one, which))
    assert not torch.equal(alone, union._neighbours(items, codes, items, codes, which))


def test_a_view_that_is_not_there_cannot_vote() -> None:
    items = _hide(toy_items(40, views=("image", "sound")), torch.arange(40) % 4 > 0)
    with pytest.raises(Incompatible, match="combine=text"):
        SKDCH(replace(QUICK, combine="text")).train(items, Run(8))


def test_pseudo_labels_fill_what_is_hidden_and_leave_the_rest() -> None:
    items, held_items = (_one_label(toy_items(n, seed=n)) for n in (96, 48))
    hidden = _hide(items, torch.arange(96) % 6 == 0)
    truth, run = items.need_labels(), Run(8, validation=held_items)
    codes = {name: truth + 0.1 * torch.rand(96, 4, generator=_stream()) for name in items.views}  # a perfect teacher
    held = held_items.need_labels()
    taught = SKDCH(replace(DEFAULT, neighbours=12, vote="majority"))._distil(
        hidden, run, codes, {name: held.clone() for name in items.views}
    )
    (logged,) = run.events
    filled = taught.labelled & ~hidden.labelled
    assert torch.equal(taught.labels[hidden.labelled], truth[hidden.labelled])
    assert not bool(taught.labels[~taught.labelled].any())
    assert torch.equal(taught.labels[filled], truth[filled])
    assert logged["coverage"] == pytest.approx((filled.sum() / 80).item())
    assert logged["validation_exact"] == logged["validation_coverage"] > 0.5, "who is voted on is voted right"
    careful = SKDCH(replace(DEFAULT, neighbours=40, abstain=1.0))._distil(hidden, Run(8), codes, {})
    assert int(careful.labelled.sum()) < int(taught.labelled.sum()), "who abstains stays unlabelled"


def _noisy(n: int, seed: int) -> Items:
    items, stream = _one_label(toy_items(n, classes=6, seed=seed)), _stream(seed)
    views = {
        name: View(v.rows + 1.5 * torch.randn(len(v), v.dim, generator=stream), v.dim)
        for name, v in items.views.items()
    }
    return replace(items, views=views)


def test_the_student_does_better_than_a_teacher_of_few_labels() -> None:
    run = Run(16, validation=_noisy(150, 2))
    few = _hide(_noisy(400, 0), torch.arange(400) % 20 == 0)
    config = replace(
        QUICK, hidden=64, neighbours=20, teacher_epochs=8, adversarial_epochs=0, student_epochs=8, batch_size=64
    )
    SKDCH(config).train(few, run)
    score = {e["phase"]: e["map_image_text"] + e["map_text_image"] for e in run.events if "measured" in e}
    assert score["student"] > score["teacher"] + 0.03


# ---------------------------------------------------------------- rounds


def test_a_student_is_the_next_one_s_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round votes in the codes of the student before, by the labels that were known at first."""
    items, held = _hide(toy_items(60), torch.arange(60) % 3 == 0), toy_items(20, seed=1)
    method, students, handed = SKDCH(replace(QUICK, rounds=3)), [], []
    student, distil = method._student, method._distil

    def watched_student(items: Items, run: Run, turn: str = "") -> dict[str, nn.Module]:
        students.append((items, student(items, run, turn)))
        return students[-1][1]

    def watched_distil(train: Items, run: Run, codes: object, held_codes: object, turn: str = "") -> Items:
        assert train is items
        handed.append((codes, held_codes, distil(train, run, codes, held_codes, turn)))
        return handed[-1][2]

    monkeypatch.setattr(method, "_student", watched_student)
    monkeypatch.setattr(method, "_distil", watched_distil)
    run = Run(8, validation=held)
    hasher = method.train(items, run)
    assert len(students) == len(handed) == 3
    assert all(taught is given for (taught, _), (*_, given) in zip(students, handed, strict=True))
    assert hasher.modules == students[-1][1]
    for (_, nets), (codes, held_codes, _) in zip(students, handed[1:], strict=False):
        for name, net in nets.items():
            with torch.no_grad():
                assert torch.equal(codes[name], net.eval()(items.views[name].features()).sigmoid())
                assert torch.equal(held_codes[name], net(held.views[name].features()).sigmoid())
    phases = dict.fromkeys(event["phase"] for event in run.events)
    assert [phase for phase in phases if not phase.startswith("teacher")] == [
        "distil", "student plain", "student", "distil 2", "student plain 2", "student 2",
        "distil 3", "student plain 3", "student 3",
    ]  # fmt: skip


def test_the_first_round_is_the_same_however_many_follow() -> None:
    items, found = _hide(toy_items(48), torch.arange(48) < 16), []
    for rounds in (1, 2):
        run = Run(8)
        SKDCH(replace(QUICK, rounds=rounds)).train(items, run)
        found.append(run.events)
    assert found[1][: len(found[0])] == found[0]
    assert len(found[1]) > len(found[0])


def test_no_round_is_a_student_of_the_known_labels_alone() -> None:
    items, run = _hide(toy_items(48), torch.arange(48) < 16), Run(8)
    hasher = SKDCH(replace(QUICK, rounds=0)).train(items, run)
    assert {event["phase"] for event in run.events} == {"student plain", "student"}
    assert not run.stages, "no teacher is made"
    unsure = SKDCH(replace(QUICK, neighbours=1, abstain=1.0))
    unsure._distil = lambda train, *_: train  # type: ignore[method-assign]
    other = unsure.train(items, Run(8))
    for name, net in hasher.modules.items():
        state = other.modules[name].state_dict()
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("rounds", [0, 3])
def test_where_every_label_is_known_rounds_change_nothing(rounds: int) -> None:
    items = toy_items(48)
    once, other = (SKDCH(replace(QUICK, rounds=r)).train(items, Run(8)) for r in (1, rounds))
    for name, net in once.modules.items():
        state = other.modules[name].state_dict()
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_rounds_leave_old_keys_as_they_were() -> None:
    assert "rounds" not in DEFAULT.key_fields()
    assert replace(DEFAULT, rounds=2).key_fields()["rounds"] == 2


# ---------------------------------------------------------------- the whole


def test_all_labels_leave_nothing_to_distil() -> None:
    run = Run(8)
    SKDCH(QUICK).train(toy_items(48), run)
    assert "distil" not in {event["phase"] for event in run.events}


def test_steps_and_their_rates() -> None:
    run = WatchedRun(8)
    SKDCH(replace(QUICK, lr=0.01, fine_lr=0.002, generator_lr=0.05)).train(
        _hide(toy_items(48), torch.arange(48) < 24), run
    )
    rates = {
        phase: {r for s in run.steps if s.phase == phase for r in s.rates} for phase in {s.phase for s in run.steps}
    }
    assert rates == {
        "teacher": {0.01}, "teacher adversarial": {0.05, 0.002}, "student plain": {0.01}, "student": {0.002},
    }  # fmt: skip


def test_a_student_s_settings_share_one_teacher() -> None:
    items, run = _hide(toy_items(48), torch.arange(48) < 24), Run(8)
    SKDCH(QUICK).train(items, run)
    SKDCH(replace(QUICK, neighbours=9, intra=0.1, vote="last")).train(items, run)
    assert len(run.stages) == 1


def test_presets_are_the_code_s_values() -> None:
    paper, released = (with_preset(SKDCH.config_class, name) for name in ("paper", "released"))
    assert (paper.margin, paper.gamma, paper.intra, paper.pull) == (5.0, 0.1, 0.5, 0.02)
    assert (paper.hidden, paper.neighbours, paper.weight_decay, paper.spread) == (8192, 250, 0.01, 0.1)
    assert released == replace(paper, vote="last", redraw=False)


def test_first_weights_are_a_cut_normal() -> None:
    view = View(torch.randn(20, 50, generator=_stream()), 50)
    net = SKDCH(replace(DEFAULT, spread=0.1, hidden=400))._network(view, 8)
    weights = net[1].weight.detach()
    assert float(weights.abs().max()) <= 0.2 and float(weights.std()) == pytest.approx(0.088, abs=0.002)
    assert not bool(net[1].bias.any())


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    hasher = SKDCH(QUICK).train(raw_items(pretrained), Run(8))
    assert all(encoder_moved(net) for net in hasher.modules.values())


def test_refused_where_labels_are_missing() -> None:
    items = toy_items(20, views=("image", "sound"), lacking="sound")
    with pytest.raises(Incompatible, match="sound"):
        SKDCH(QUICK).train(_hide(items, torch.arange(20) % 2 == 1), Run(8))
    with pytest.raises(Incompatible, match="labels"):
        SKDCH(QUICK).train(replace(items, labels=None, prompts=None), Run(8))
