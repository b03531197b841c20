"""UKD: an unsupervised teacher says which items are similar, and a supervised student believes it.

Hu, Xie, Hong, Tian. *Creating Something from Nothing: Unsupervised Knowledge Distillation for Cross-Modal Hashing*.
CVPR 2020. https://arxiv.org/abs/2004.00280   Details from the authors' code (huhengtong/UKD_CVPR2020).

    graph     c+ of item i: its 5 nearest items by image features, and its 5 nearest by text features, itself included
    teacher   UGACH, L bits: u(x) = sigmoid(W2 tanh(W1 x)) in (0, 1)^L, d(a, b) = ||u_a - u_b||², margin β = L / 8
              first     mean [β + d(q,c+) - d(q,c-)]_+ in both directions, and γ times the same within each view
              then      c- drawn by a generator, P(c-) = softmax_c(-d_G(q,c)), in turn with the generator's step
                        L_G = -mean r log P_G(c-),   r = sigmoid([β + d(q,c+) - d(q,c-)]_+)
    distil    S_ij = 1[j among the K nearest of i by u, by image or by text]
    student   θ = ½ F Gᵀ,   image: mean ℓ(θ_ij, S_ij) + mean (sgn(f) - f)²,  G from a bank; text likewise, with F
              ℓ = softplus(θ) - S θ; the code has its square, which is no likelihood (``pair_loss="square"``)

K is a share of the training items here: 10,000 of 18,015 (.555) on MIRFlickr, where that is about how many items are
similar; elsewhere it must be chosen. An item is its own neighbour, so S_ii = 1.

Differs from the code: features are standardised; Adam with a lasting step; one hidden layer on the chosen backbone;
hidden 512 (the code: 8192 in the teacher); the generator's candidates are drawn once a batch, both directions step
together, P_G is taken over all candidates and not over the drawn two; S is exactly 1 and not .999; every item is
visited once an epoch. A second round of distillation, .33 points in the paper, is left out.

Measured on pictograms, lite, 32 bits, 2 seeds, MAP image->text / text->image: .366 / .365. The defaults of K / n and of
the quantisation weight were chosen by the MAP of validation items, hence with labels, at one seed. There (other
settings equal within a row): weight .1 gives .352 / .332 and the code's 1 gives .108 / .113, chance: tanh saturates
before codes separate. The generator costs the teacher a point (.369 / .359 to .359 / .346).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import permutations
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import pair_likelihood, sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import code_statistics, groups_of_all, hash_network, standardised_encoder, untrained_features

Nets = Mapping[str, nn.Sequential]


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Config):
    """Everything that the teacher depends on; two students with the same of these share one teacher."""

    teacher_bits: int = hp(128, "code length of the teacher (L)", sweep=(64, 128), low=1)
    teacher_hidden: int = hp(512, "width of the teacher's hidden layer (the code: 8192)", low=1)
    margin: float = hp(0.125, "margin as a share of the teacher's bits (β / L)", sweep=(0.05, 0.125), low=0.0)
    gamma: float = hp(0.1, "weight of triplets within a view (γ)", sweep=(0.0, 0.1, 1.0), low=0.0)
    graph: int = hp(5, "nearest items by the features of each view that are positives", sweep=(5, 10), low=1)
    draws: int = hp(2, "triplets a query", sweep=(2, 4), low=1)
    pool: int = hp(256, "candidates of the generator, a batch (the code: a fiftieth, a query)", low=1)
    teacher_epochs: int = hp(10, "epochs of the teacher on random negatives", low=0)
    adversarial_epochs: int = hp(
        3, "epochs against the generator: two passes of it, one of the teacher (the code: 30)", low=0
    )
    teacher_lr: float = hp(1e-3, "step of the teacher on random negatives, and of the generator", low=0.0)
    fine_lr: float = hp(1e-4, "step of the teacher against the generator", low=0.0)
    batch_size: int = hp(128, "items a step (the code: 512 teacher, 256 student)", sweep=(128, 256), low=2)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)


@dataclass(frozen=True, kw_only=True)
class UKDConfig(TeacherConfig):
    neighbours: float = hp(
        0.05, "neighbours in each view, as a share of the training items (K / n; MIRFlickr: .555)",
        sweep=(0.01, 0.02, 0.05, 0.1, 0.2), low=0.0, high=1.0,
    )  # fmt: skip
    pair_loss: Literal["likelihood", "square"] = hp("likelihood", "likelihood, or its square as in the code")
    quantisation: float = hp(
        0.05, "weight of the quantisation loss (the code: 1)", sweep=(0.01, 0.05, 0.2, 1.0), low=0.0
    )
    epochs: int = hp(30, "passes of the student (the code: 60)", low=1)
    lr: float = hp(1e-3, "step of the student (the code: 1e-4)", sweep=(1e-4, 1e-3), low=0.0)
    hidden: int = hp(512, "width of the student's hidden layers", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the code's choice for MIRFlickr."""
        paper = {
            "teacher_hidden": 8192, "adversarial_epochs": 30, "neighbours": 0.555, "pair_loss": "square",
            "quantisation": 1.0, "epochs": 60, "lr": 1e-4, "batch_size": 256,
        }  # fmt: skip
        return {"default": {}, "paper": paper}


class UKD(Method[UKDConfig]):
    paper = Paper(
        "Creating Something from Nothing: Unsupervised Knowledge Distillation for Cross-Modal Hashing",
        "CVPR", 2020, "https://arxiv.org/abs/2004.00280",
    )  # fmt: skip
    kind = "distilled"
    needs = Needs(labels="none")
    version = 1
    config_class = UKDConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        settings = {f.name: getattr(self.config, f.name) for f in fields(TeacherConfig)}
        teacher = run.stage("ukd/teacher", settings, lambda: self._teacher(train, run))
        count = max(1, round(self.config.neighbours * len(train)))
        near = {name: nearest(teacher[name], count) for name in train.views}  # (n, K) each
        return Hasher(self._student(train, run, near))

    # ---------------------------------------------------------------- the student

    def _student(self, train: Items, run: Run, near: Mapping[str, Tensor]) -> dict[str, nn.Module]:
        cfg, n = self.config, len(train)
        nets = {
            v: nn.Sequential(*hash_network(view, run.bits, cfg.hidden), nn.Tanh()) for v, view in train.views.items()
        }
        optimisers = {v: self._optimiser({v: nets[v]}, train, cfg.lr) for v in nets}
        bank = {v: torch.randn(n, run.bits, device=run.device) for v in nets}  # F and G
        for epoch in run.epochs(cfg.epochs, "student"):
            losses: dict[str, float] = {}
            for own, other in permutations(nets, 2):
                net, view, total, steps = nets[own].train(), train.views[own], 0.0, 0
                for i in run.batches(n, cfg.batch_size, f"student/{own}", epoch):
                    f = net(view.batch(i)).float()  # (b, k)
                    bank[own][i] = f.detach()
                    loss = self._student_loss(f, bank[other], similarity(near, i, n))
                    run.descend(loss, optimisers[own])
                    total, steps = total + loss.item(), steps + 1
                losses[f"loss_{own}"] = total / max(steps, 1)
            run.log(phase="student", epoch=epoch, **losses, **code_statistics(bank["image"]))
        return dict(nets)

    def _student_loss(self, f: Tensor, bank: Tensor, similar: Tensor) -> Tensor:
        """Pair loss of outputs (b, k) with the other view's bank (n, k) under S (b, n), and the quantisation loss."""
        pair = pair_likelihood(f @ bank.T / 2, similar)
        pair = pair.square() if self.config.pair_loss == "square" else pair
        return pair.mean() + self.config.quantisation * (sign(f) - f).pow(2).mean()

    # ---------------------------------------------------------------- the teacher

    def _teacher(self, train: Items, run: Run) -> dict[str, Tensor]:
        """UGACH; returns its relaxed codes (n, L) of all training items in each view."""
        cfg, n = self.config, len(train)
        features = [untrained_features(view) for view in train.views.values()]
        graph = torch.cat([nearest(x.float(), min(cfg.graph, n)) for x in features], 1).cpu()  # (n, 10)
        nets, generator = ({v: self._network(view) for v, view in train.views.items()} for _ in range(2))
        coarse, fast = (self._optimiser(some, train, cfg.teacher_lr) for some in (nets, generator))
        for epoch in run.epochs(cfg.teacher_epochs, "teacher"):
            seen = []
            draw = run.generator(f"teacher/{epoch}")
            for q in run.batches(n, cfg.batch_size, "teacher", epoch):
                q = q.repeat_interleave(cfg.draws)
                positive, negative = _chosen(graph, q, draw), torch.randint(n, (len(q),), generator=draw)
                keep = ~(graph[q] == negative[:, None]).any(1)
                if bool(keep.any()):
                    triplet = (q[keep], positive[keep], negative[keep])
                    seen.append(self._first_loss(_outputs(nets, train, torch.cat(triplet))))
                    run.descend(seen[-1], coarse)
            run.log(phase="teacher", epoch=epoch, loss=_mean(seen))
        self._measure(run, nets, "teacher")
        fine = self._optimiser(nets, train, cfg.fine_lr)
        for epoch in run.epochs(cfg.adversarial_epochs, "teacher adversarial"):
            turns: dict[str, list[Tensor]] = {}
            for turn in ("teacher", "generator", "generator again"):
                draw = run.generator(f"adversarial {turn}/{epoch}")
                turns[turn] = []
                for q in run.batches(n, cfg.batch_size, f"adversarial {turn}", epoch):
                    pool = torch.randint(n, (cfg.pool,), generator=draw)
                    loss = self._duel(train, nets, generator, graph, q, pool, draw, turn == "teacher")
                    if loss is not None:
                        run.descend(loss, fine if turn == "teacher" else fast)
                        turns[turn].append(loss)
            run.log(
                phase="teacher adversarial", epoch=epoch, loss=_mean(turns["teacher"]),
                loss_generator=_mean(turns["generator again"]),
            )  # fmt: skip
        self._measure(run, nets, "teacher adversarial")
        return _codes(nets, train)

    def _hinge(self, query: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """[β + d(q,c+) - d(q,c-)]_+ over the last dimension."""
        margin = self.config.margin * query.shape[-1]
        return (margin + _distance(query, positive) - _distance(query, negative)).clamp_min(0)

    def _first_loss(self, codes: Mapping[str, Tensor]) -> Tensor:
        """The teacher's loss from codes (3t, L) of queries, positives and negatives, one after the other."""
        parts = {v: u.chunk(3) for v, u in codes.items()}
        across = [self._hinge(parts[a][0], *parts[c][1:]).mean() for a, c in permutations(parts, 2)]
        within = [self._hinge(*part).mean() for part in parts.values()]
        return torch.stack(across).sum() + self.config.gamma * torch.stack(within).sum()

    def _duel(
        self, train: Items, nets: Nets, generator: Nets, graph: Tensor, q: Tensor, pool: Tensor,
        draw: torch.Generator, teacher: bool,
    ) -> Tensor | None:  # fmt: skip
        """The teacher's loss on negatives that the generator draws from ``pool`` for items ``q`` (b,), or L_G.

        None where every candidate is a positive of every query.
        """
        taboo = (graph[q][:, :, None] == pool).any(1)  # (b, pool)
        q, taboo = q[~taboo.all(1)], taboo[~taboo.all(1)]
        if not len(q):
            return None
        every, b = torch.cat([q, pool, _chosen(graph, q, draw)]), len(q)
        with torch.set_grad_enabled(teacher):
            u = {v: code.split([b, len(pool), b]) for v, code in _outputs(nets, train, every).items()}
        with torch.set_grad_enabled(not teacher):
            g = {v: code.split([b, len(pool)]) for v, code in _outputs(generator, train, every[:-b]).items()}
        losses = []
        for a, c in permutations(u, 2):
            scores = -torch.cdist(g[a][0], g[c][1]).square().masked_fill(taboo.to(g[a][0].device), torch.inf)
            chances = scores.detach().softmax(1).cpu()
            hard = torch.multinomial(chances, self.config.draws, True, generator=draw).to(scores.device)  # (b, draws)
            hinge = self._hinge(u[a][0][:, None], u[c][2][:, None], u[c][1][hard])
            losses.append(
                hinge.mean() if teacher else -(hinge.sigmoid() * scores.log_softmax(1).gather(1, hard)).mean()
            )
        return torch.stack(losses).sum()

    def _network(self, view: View) -> nn.Sequential:
        """Encoder, one hidden layer, and L values in (0, 1)."""
        cfg = self.config
        return nn.Sequential(
            standardised_encoder(view), nn.Linear(view.dim, cfg.teacher_hidden), nn.Tanh(),
            nn.Linear(cfg.teacher_hidden, cfg.teacher_bits), nn.Sigmoid(),
        ).to(view.device)  # fmt: skip

    def _optimiser(self, nets: Nets, train: Items, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(groups_of_all(nets, train.views, lr, self.config.encoder_lr))

    def _measure(self, run: Run, nets: Nets, phase: str) -> None:
        """Among validation items: the teacher's MAP, and how many of its neighbours are truly similar."""
        if run.validation is None or run.validation.labels is None:
            return
        labels, codes = run.validation.labels, _codes(nets, run.validation)
        n = len(labels)
        near = {v: nearest(u, max(1, round(0.05 * n))) for v, u in codes.items()}
        said, truth = similarity(near, torch.arange(n), n), run.validation.similarity(torch.arange(n))
        score = run.mean_average_precision
        run.log(
            phase=phase, measured="validation", neighbours_similar=float((said * truth).sum() / said.sum()),
            map_image_text=score(codes["image"] - 0.5, codes["text"] - 0.5, labels, labels),
            map_text_image=score(codes["text"] - 0.5, codes["image"] - 0.5, labels, labels),
        )  # fmt: skip


# ---------------------------------------------------------------- neighbours


def nearest(points: Tensor, count: int) -> Tensor:
    """(n, count) the nearest of n points (n, d) to each of them, itself among them, in Euclidean distance."""
    parts = (torch.cdist(part, points).topk(count, largest=False).indices for part in points.split(512))
    return torch.cat(list(parts))


def similarity(near: Mapping[str, Tensor], rows: Tensor, n: int) -> Tensor:
    """S (b, n): 1 where an item is among the neighbours of rows (b,) in any view."""
    similar = next(iter(near.values())).new_zeros(len(rows), n, dtype=torch.float32)
    for neighbours in near.values():
        similar.scatter_(1, neighbours[rows], 1.0)
    return similar


def _chosen(graph: Tensor, q: Tensor, draw: torch.Generator) -> Tensor:
    """A positive (b,) of each of the items q (b,)."""
    return graph[q, torch.randint(graph.shape[1], (len(q),), generator=draw)]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """d(a, b) = ||u_a - u_b||² over the last dimension."""
    return (a - b).pow(2).sum(-1)


def _outputs(nets: Nets, items: Items, rows: Tensor) -> dict[str, Tensor]:
    """What every network gives for the same items, in training mode."""
    return {v: net.train()(items.views[v].batch(rows)).float() for v, net in nets.items()}


@torch.no_grad()
def _codes(nets: Nets, items: Items) -> dict[str, Tensor]:
    """What every network gives for all items, in evaluation mode."""
    chunks = torch.arange(len(items)).split(512)
    return {v: torch.cat([net.eval()(items.views[v].batch(i)).float() for i in chunks]) for v, net in nets.items()}


def _mean(losses: list[Tensor]) -> float:
    return torch.stack(losses).mean().item() if losses else 0.0
