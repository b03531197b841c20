"""SKDCH: a semi-supervised teacher labels what is unlabelled, a supervised student learns from all of it.

Su, Gu, Ren, Fu, Zhao. *Semi-Supervised Knowledge Distillation for Cross-Modal Hashing*. IEEE TMM 25, 2023.
https://doi.org/10.1109/TMM.2021.3129623   Equations from the authors' code (YSU-ISU-Lab/SKDCH_TMM2023).

Every view has a network u(x) = sigmoid(W2 tanh(W1 x)) in (0, 1)^k; d(a, b) = ||u_a - u_b||²; the bit is 1[u >= ½].
Query q of one view, c+ of the other view with a label in common, c- with none; p = 1[c is q's own partner]:

    1a  teacher   L_D = mean [β + d(q,c+) - d(q,c-)]_+ + γ BCE(-d(q,c+), p+) + γ BCE(-d(q,c-), p-) + λ_w ½||W||²
    1b  SCH-GAN   a generator with networks of its own draws hard c- from labelled and unlabelled items,
                  P(c-) = softmax_c(-d_G(q,c)), and is rewarded where they lie on the teacher's margin:
                  r = 10^-|β + d(q,c+) - d(q,c-)|
                  L_G = mean |P_G(c-) - r| + BCE(classes of q) + BCE(classes of c-) + λ_w ½||W||²
                  the teacher goes on with L_D: half of its c- drawn by the generator, half at random
    2   distil    N(i) = union over views of the K nearest items of i in the teacher's u; the label vector of an
                  unlabelled i is voted by the labelled items in N(i), one for all views of i
    3a  student   L_D with labels and pseudo-labels, from the start
    3b            mean [β + d(q,c+) - (1-w) d(q,c-) - w d(c+,c-)]_+ + λ d(q,c+), and the BCE terms as in L_D
                  (code: λ [μ + d]_+; distances are never negative, so μ is a constant and is left out)

Multi-label data: similar means sharing a label. ``vote="majority"`` is the code's intention: whole label vectors
are counted. ``vote="labels"`` (default) counts each label for itself and keeps those of more than half of the
votes, and always the first; on single-label data the two are the same.

More than two views, of which items may lack some [inferred]: one network a view, the losses summed over all ordered
pairs of views, N(i) united over the views of i, no BCE term where q has no partner. The released code trains one
model for every pair of views; that is ``--views image,text`` and so on, and those codes are not comparable.

Differs from the code, and why: the student has no generator, whose draws never reach it there. Features are
standardised; Adam; steps that do not decay; all directions step together. Candidates are drawn among the items of
a batch, so an item is encoded once a step, and its own partner is a positive more often. An epoch is as many
queries as there are training items, labelled or not. Faults of the code: ``last`` (the counter of votes is emptied
inside its loop, so that the labelled neighbour of highest index decides) and triplets that are drawn only once;
preset ``released`` has both. It also gives the generator the true labels of unlabelled items and picks epochs on
the test queries; neither can be had here.

``rounds`` is ours (UKD has such rounds): known labels alone vote, in the codes of the student before, and the next
student starts anew.

Measured on pictograms, lite, 32 bits, 2 seeds, MAP image->text / text->image: .444 / .417 with 10 % of the labels,
.539 / .588 with all. Among validation items the student gains on its teacher where labels are few (.309 / .297 to
.370 / .359 at 10 %; trained alike on the labels alone it has .304 / .304) and nothing with all (.435 / .428 both). With
``last`` at K = 250 it loses (.302 / .297). K = 100 (of four by MAP) and ``labels`` (of three) were chosen there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import permutations
from typing import Any, Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import pair_likelihood
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run, View
from hashbench.nn import groups_of_all, standardised_encoder

ByView = Mapping[str, Tensor]
Nets = Mapping[str, nn.Module]
Found = list[tuple[Tensor, Tensor]]
"""For every ordered pair of views that has triplets: their mean loss, and a measure of each of them (t,)."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Config):
    """Everything that the teacher depends on; two students with the same of these share one teacher."""

    margin: float | Literal["bits/8", "bits/4"] = hp(
        5.0, "margin (β); UKD and UGACH: bits/8", sweep=(1.0, 5.0, "bits/8"), low=0.0
    )
    gamma: float = hp(0.1, "weight of the terms on own partners (γ)", sweep=(0.0, 0.1, 1.0), low=0.0)
    weight_decay: float = hp(0.0, "weight decay (λ_w; the code: .01)", sweep=(0.0, 0.01), low=0.0)
    hidden: int = hp(512, "width of the hidden layer (the code: 8192)", sweep=(512, 1024), low=1)
    spread: float = hp(0.0, "deviation of the first weights, a cut normal (the code: .1); 0: PyTorch's own", low=0.0)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the code's sgd")
    lr: float = hp(1e-3, "step of both pre-trainings (the code: .01)", sweep=(3e-4, 1e-3, 3e-3), low=0.0)
    fine_lr: float = hp(1e-4, "step of the teacher in 1b and of the student in 3b", sweep=(1e-4, 1e-3), low=0.0)
    generator_lr: float = hp(1e-3, "step of the generator (the code: .01)", low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)
    batch_size: int = hp(256, "queries a step", sweep=(128, 256), low=2)
    draws: int = hp(4, "triplets a query; in 1b half of their negatives come from the generator", low=2)
    redraw: bool = hp(True, "whether triplets are drawn anew each epoch; the code draws them once")
    teacher_epochs: int = hp(15, "epochs of 1a (the code: 1000)", low=0)
    adversarial_epochs: int = hp(
        5, "epochs of 1b: two passes of the generator, one of the teacher (the code: 30)", low=0
    )
    pool: int = hp(256, "candidates of the generator's draws, a batch (the code: a twentieth, a query)", low=1)
    reward_base: float = hp(10.0, "base of the reward", sweep=(2.0, 10.0), low=1.0)
    reward_share: Literal["pair", "pool"] = hp("pair", "P_G in L_G is renormalised over the two that are drawn, or not")


@dataclass(frozen=True, kw_only=True)
class SKDCHConfig(TeacherConfig):
    neighbours: int = hp(
        100, "nearest neighbours in each view (K; the code: 250 of 4,000)", sweep=(25, 50, 100, 250), low=1
    )
    combine: Literal["union", "intersection", "image", "text"] = hp(
        "union", "neighbours in any view, in every view of the item, or in that view alone"
    )
    vote: Literal["labels", "majority", "last"] = hp("labels", "how neighbours vote; see above. last: the code's fault")
    weighted: bool = hp(False, "whether a vote weighs 1 / (1 + d), summed over views (ours)")
    abstain: float = hp(
        0.0, "share of the votes below which an item stays unlabelled (ours)", sweep=(0.0, 0.3, 0.5), low=0.0, high=1.0
    )
    student_epochs: int = hp(15, "epochs of 3a (the code: 1000)", low=0)
    epochs: int = hp(15, "epochs of 3b (the code: 1000)", low=0)
    intra: float = hp(
        0.5, "weight of the negative within a view (w; the code: ½)", sweep=(0.0, 0.5, 1.0), low=0.0, high=1.0
    )
    pull: float = hp(0.02, "weight of the positive's own distance (λ)", sweep=(0.0, 0.02, 0.1), low=0.0)
    rounds: int = hp(
        1, "times that labels are handed on, each student being the next one's teacher; 0: a student of the known "
        "labels alone, without a teacher (ours; the code: 1)", low=0, since=1,
    )  # fmt: skip

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the code's schedule; ``released`` has its faults too."""
        paper = {
            "weight_decay": 0.01, "hidden": 8192, "spread": 0.1, "optimiser": "sgd", "lr": 0.01, "generator_lr": 0.01,
            "teacher_epochs": 1000, "adversarial_epochs": 30, "student_epochs": 1000, "epochs": 1000,
            "neighbours": 250, "vote": "majority",
        }  # fmt: skip
        return {"default": {}, "paper": paper, "released": paper | {"vote": "last", "redraw": False}}


class SKDCH(Method[SKDCHConfig]):
    paper = Paper(
        "Semi-Supervised Knowledge Distillation for Cross-Modal Hashing", "IEEE TMM", 2023,
        "https://doi.org/10.1109/TMM.2021.3129623",
    )  # fmt: skip
    kind = "semi-supervised"
    needs = Needs(labels="some", more_views=True)
    version = 1
    config_class = SKDCHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg = self.config
        _require_labels(train)
        if cfg.combine not in ("union", "intersection", *train.views):
            raise Incompatible(f"combine={cfg.combine} asks for a view that is not there: {', '.join(train.views)}")
        if not cfg.rounds:
            return Hasher(self._student(train, run))
        settings = {f.name: getattr(cfg, f.name) for f in fields(TeacherConfig)}
        teacher = run.stage("skdch/teacher", settings, lambda: self._teacher(train, run))
        codes, held_codes = _part(teacher, "train."), _part(teacher, "validation.")
        items = self._distil(train, run, codes, held_codes)
        nets = self._student(items, run)
        rounds = 1 if items is train else cfg.rounds  # where no label is hidden, there is nothing to hand on
        for turn in range(2, rounds + 1):
            codes = _all_codes(nets, train)
            held_codes = {} if run.validation is None else _all_codes(nets, run.validation)
            nets = self._student(self._distil(train, run, codes, held_codes, f" {turn}"), run, f" {turn}")
        return Hasher(nets)

    def _student(self, items: Items, run: Run, turn: str = "") -> dict[str, nn.Module]:
        """3a and 3b from the start; ``turn`` ends the names of their phases."""
        cfg = self.config
        nets: dict[str, nn.Module] = {name: self._network(view, run.bits) for name, view in items.views.items()}
        self._rank(items, run, nets, f"student plain{turn}", cfg.student_epochs, cfg.lr)
        self._rank(items, run, nets, f"student{turn}", cfg.epochs, cfg.fine_lr, cfg.intra, cfg.pull)
        return nets

    # ---------------------------------------------------------------- 1a, 3a and 3b

    def _rank(
        self, items: Items, run: Run, nets: Nets, phase: str, epochs: int, lr: float,
        intra: float = 0.0, pull: float = 0.0,
    ) -> None:  # fmt: skip
        """Triplets of labelled items, drawn inside each batch; a step takes all ordered pairs of views."""
        optimiser = self._optimiser(nets, items, lr)
        for epoch in run.epochs(epochs, phase):
            seen = []
            for rows, draw in self._batches(items, run, phase, epoch):
                found: Found = []
                owners, codes = _owners(items, rows), _outputs(nets, items, rows, run.bits)[0]
                for a, c in permutations(codes, 2):
                    drawn = triplets(_similar(items, owners[a], owners[c]), self.config.draws, draw)
                    if drawn.shape[1]:
                        own = owners[a][:, None] == owners[c]
                        found.append(self._triplet_loss(codes[a], codes[c], own, drawn, intra, pull))
                seen += _step(run, optimiser, found)
            run.log(phase=phase, epoch=epoch, **_averages(seen, "loss", "dead_hinge"))
        _probe(run, nets, phase)

    def _triplet_loss(
        self, queries: Tensor, candidates: Tensor, own: Tensor, drawn: Tensor, intra: float = 0.0, pull: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Mean loss of triplets, and of each whether its hinge is at rest (t,).

        Args:
            queries: (b, k) relaxed codes.
            candidates: (b', k) relaxed codes of the other view.
            own: (b, b') whether the candidate is the query's partner.
            drawn: (3, t) rows of the queries, of their positives and of their negatives.
            intra: w.
            pull: λ.
        """
        q, p, n = drawn
        near, far = _distance(queries[q], candidates[p]), _distance(queries[q], candidates[n])
        beside = _distance(candidates[p], candidates[n])
        hinge = (self._margin(queries) + near - (1 - intra) * far - intra * beside).clamp_min(0)
        partners = pair_likelihood(-near, own[q, p].float()) + pair_likelihood(-far, own[q, n].float())
        paired = own.any(1)[q]
        return (hinge + pull * near + self.config.gamma * paired * partners).mean(), (hinge == 0).float()

    # ---------------------------------------------------------------- 1b

    def _teacher(self, train: Items, run: Run) -> dict[str, Tensor]:
        """1a and 1b; returns the teacher's relaxed codes of all training and validation items."""
        nets = {name: self._network(view, run.bits) for name, view in train.views.items()}
        self._rank(train, run, nets, "teacher", self.config.teacher_epochs, self.config.lr)
        self._compete(train, run, nets)
        sides = {"train": train} if run.validation is None else {"train": train, "validation": run.validation}
        codes = {side: _all_codes(nets, items) for side, items in sides.items()}
        return {f"{side}.{name}": code for side in codes for name, code in codes[side].items()}

    def _compete(self, train: Items, run: Run, nets: Nets) -> None:
        """The teacher against its generator: an epoch is two passes of the generator and one of the teacher."""
        cfg, width = self.config, run.bits + _labels(train).shape[1]  # one hidden layer feeds code and class head
        generator = {name: self._network(view, width) for name, view in train.views.items()}
        fine, fast = self._optimiser(nets, train, cfg.fine_lr), self._optimiser(generator, train, cfg.generator_lr)
        for epoch in run.epochs(cfg.adversarial_epochs, "teacher adversarial"):
            taught, generated, rewards = [], [], list[Tensor]()
            for turn in ("generator 1", "generator 2", "teacher"):
                for rows, draw in self._batches(train, run, f"adversarial {turn}", epoch):
                    pool = {
                        name: torch.randint(len(view), (cfg.pool,), generator=draw)
                        for name, view in train.views.items()
                    }
                    found = self._duel(train, run.bits, nets, generator, rows, pool, draw, turn == "teacher")
                    if turn == "teacher":
                        taught += _step(run, fine, found)
                    else:
                        generated += _step(run, fast, found)
                        rewards += [reward for _, reward in found]
            quantiles = torch.cat(rewards).cpu().quantile(torch.tensor([0.1, 0.5, 0.9])).tolist() if rewards else []
            run.log(
                phase="teacher adversarial", epoch=epoch, **_averages(taught, "loss", "dead_hinge"),
                **_averages(generated, "loss_generator", "reward"),
                **dict(zip(("reward_10", "reward_50", "reward_90"), quantiles, strict=False)),
            )  # fmt: skip
        _probe(run, nets, "teacher adversarial")

    def _duel(
        self, train: Items, bits: int, nets: Nets, generator: Nets, rows: ByView, pool: ByView,
        draw: torch.Generator, teacher: bool,
    ) -> Found:  # fmt: skip
        """L_D of the teacher, or else L_G of the generator with its rewards, for a batch of labelled queries.

        ``pool`` holds rows of each view, labelled or not: what the generator draws from. Known positives of a
        query are never drawn.
        """
        cfg, half, found = self.config, self.config.draws // 2, Found()
        owners, pooled = _owners(train, rows), _owners(train, pool)
        labels, known = _labels(train), _known(train)
        with torch.set_grad_enabled(teacher):
            (u, _), (u_pool, _) = (_outputs(nets, train, r, bits) for r in (rows, pool))
        with torch.set_grad_enabled(not teacher):
            (g, classes), (g_pool, classes_pool) = (_outputs(generator, train, r, bits) for r in (rows, pool))
        for a, c in permutations(rows, 2):
            similar = _similar(train, owners[a], owners[c])  # (b, b')
            taboo = _similar(train, owners[a], pooled[c])  # (b, pool); hidden labels are zero, so never similar
            q = (similar.any(1) & ~similar.all(1) & ~taboo.all(1)).nonzero()[:, 0]
            if not len(q):
                continue
            scores = -_distance(g[a][q, None], g_pool[c]).masked_fill(taboo[q], torch.inf)  # (t, pool)
            hard = torch.multinomial(scores.detach().softmax(1).cpu(), half, True, generator=draw).to(scores.device)
            if teacher:
                drawn_at_random = pick(~similar[q], cfg.draws - half, draw)
                negative = torch.cat([hard + len(owners[c]), drawn_at_random], 1)
                positive = pick(similar[q], cfg.draws, draw)
                drawn = torch.stack([q[:, None].expand_as(positive), positive, negative]).flatten(1)
                own = owners[a][:, None] == torch.cat([owners[c], pooled[c]])
                found.append(self._triplet_loss(u[a], torch.cat([u[c], u_pool[c]]), own, drawn))
                continue
            positive = pick(similar[q], half, draw)
            near, far = _distance(u[a][q, None], u[c][positive]), _distance(u[a][q, None], u_pool[c][hard])
            reward = cfg.reward_base ** -(self._margin(u[a]) + near - far).abs()  # (t, half)
            alone = cfg.reward_share == "pair"
            share = scores.gather(1, hard).softmax(1) if alone else scores.softmax(1).gather(1, hard)
            shown = hard[known[pooled[c][hard]]]  # drawn negatives whose labels are known
            loss = (share - reward).abs().mean() + _class_loss(classes[a][q], labels[owners[a][q]])
            found.append((loss + _class_loss(classes_pool[c][shown], labels[pooled[c][shown]]), reward.flatten()))
        return found

    # ---------------------------------------------------------------- 2

    def _distil(self, train: Items, run: Run, codes: ByView, held_codes: ByView, turn: str = "") -> Items:
        """The training items with pseudo-labels; those that got none stay unlabelled."""
        hidden = (~_known(train)).nonzero()[:, 0].cpu()
        if not len(hidden):
            return train
        voted, share = self._vote(train, codes, train, codes, hidden)
        covered = (share > 0) & (share >= self.config.abstain)
        labels, known = _labels(train).clone(), _known(train).clone()
        labels[hidden[covered.cpu()]], known[hidden[covered.cpu()]] = voted[covered], True
        logged = {
            "coverage": covered.float().mean().item(), "vote_share": share[covered].mean().item(),
            "labels_voted": voted[covered].sum(1).mean().item(),
        }  # fmt: skip
        if run.validation is not None:  # what is hidden stays so: the accuracy is that of votes on validation items
            truth = run.validation.need_labels()
            guess, sure = self._vote(train, codes, run.validation, held_codes, torch.arange(len(truth)))
            both = (guess * truth).sum()
            logged |= {
                "validation_exact": (guess == truth).all(1).float().mean().item(),
                "validation_f1": (2 * both / (guess.sum() + truth.sum()).clamp_min(1)).item(),
                "validation_coverage": ((sure > 0) & (sure >= self.config.abstain)).float().mean().item(),
            }
        run.log(phase=f"distil{turn}", **logged)
        return replace(train, labels=labels, labelled=known)

    def _vote(
        self, train: Items, codes: ByView, others: Items, other_codes: ByView, which: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Labels (m, c) voted for items ``which`` (m,) of ``others`` by their labelled neighbours in the training
        set, and the winner's share of the votes (m,); 0 where nobody votes."""
        voted, share = zip(
            *(
                vote(self._neighbours(train, codes, others, other_codes, chunk), _labels(train), self.config.vote)
                for chunk in which.split(256)
            ),
            strict=True,
        )
        return torch.cat(voted), torch.cat(share)

    def _neighbours(self, train: Items, codes: ByView, others: Items, other_codes: ByView, which: Tensor) -> Tensor:
        """(m, n) weight of each training item's vote on each of ``which`` (m,): 0 unless labelled and near."""
        known = _known(train)
        hits = torch.zeros(len(which), len(train), device=known.device)
        weights, seen = torch.zeros_like(hits), torch.zeros_like(hits[:, :1])
        for name in other_codes if self.config.combine not in other_codes else (self.config.combine,):
            there, rows = _rows_of(others.views[name], which)
            distances = torch.cdist(other_codes[name][rows], codes[name])
            distance, nearest = distances.topk(min(self.config.neighbours, distances.shape[1]), largest=False)
            place = there[:, None].to(known.device), train.views[name].of(nearest)
            hits[place] += 1
            weights[place] += 1 / (1 + distance.square())
            seen[place[0][:, 0]] += 1
        inside = hits == seen if self.config.combine == "intersection" else hits > 0
        return inside * known * (weights if self.config.weighted else 1.0)

    # ---------------------------------------------------------------- networks and batches

    def _margin(self, codes: Tensor) -> float:
        margin = self.config.margin
        return codes.shape[1] / int(margin[-1]) if isinstance(margin, str) else float(margin)

    def _network(self, view: View, width: int) -> nn.Sequential:
        """Encoder, one hidden layer, and the values before the sigmoid: u >= ½ is their sign."""
        cfg = self.config
        layers = nn.Linear(view.dim, cfg.hidden), nn.Linear(cfg.hidden, width)
        if cfg.spread:
            for layer in layers:
                nn.init.trunc_normal_(layer.weight, std=cfg.spread, a=-2 * cfg.spread, b=2 * cfg.spread)
                nn.init.zeros_(layer.bias)
        return nn.Sequential(standardised_encoder(view), layers[0], nn.Tanh(), layers[1]).to(view.device)

    def _optimiser(self, nets: Nets, items: Items, lr: float) -> torch.optim.Optimizer:
        cfg = self.config
        groups = groups_of_all(nets, items.views, lr, cfg.encoder_lr)
        make = torch.optim.AdamW if cfg.optimiser == "adam" else torch.optim.SGD
        return make(groups, lr=lr, weight_decay=cfg.weight_decay)

    def _batches(
        self, items: Items, run: Run, phase: str, epoch: int
    ) -> Iterator[tuple[dict[str, Tensor], torch.Generator]]:
        """Rows of labelled items in every view, and the stream that triplets are drawn from.

        Labelled items come again until there were about as many as there are items: few labels mean more passes
        over them, not fewer steps.
        """
        known, stamp = _known(items).nonzero()[:, 0].cpu(), epoch if self.config.redraw else 0
        draw = run.generator(f"{phase}/draws/{stamp}")
        for lap in range(max(1, len(items) // len(known))):
            for batch in run.batches(len(known), self.config.batch_size, f"{phase}/{lap}", stamp):
                yield {name: _filled(view, known, known[batch], draw) for name, view in items.views.items()}, draw


# ---------------------------------------------------------------- triplets and votes


def triplets(similar: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """(3, t) queries, positives and negatives: ``draws`` for each query that has both.

    Args:
        similar: (b, b') bool.
        draws: Triplets a query, drawn evenly and with replacement.
        generator: CPU stream of the draws.
    """
    q = (similar.any(1) & ~similar.all(1)).nonzero()[:, 0]
    positive, negative = pick(similar[q], draws, generator), pick(~similar[q], draws, generator)
    return torch.stack([q.repeat_interleave(draws), positive.flatten(), negative.flatten()])


def pick(allowed: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """(b, draws) columns of ``allowed`` (b, n) bool, drawn evenly among the true ones; every row has one."""
    reach = allowed.cumsum(1)
    place = torch.rand(len(allowed), draws, generator=generator).to(reach.device) * reach[:, -1:]
    return torch.searchsorted(reach, place.long() + 1)


def vote(weights: Tensor, labels: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Label vectors (m, c) by votes, and the winner's share of them (m,); zeros where nobody votes.

    Args:
        weights: (m, n) weight of each item's vote; 0: none.
        labels: (n, c) of 0 and 1.
        how: ``labels``, ``majority`` or ``last``; see :class:`SKDCHConfig`.
    """
    total = weights.sum(1)
    some = total.clamp_min(torch.finfo(weights.dtype).tiny)
    if how == "labels":
        shares = weights @ labels / some[:, None]
        best = shares.argmax(1)
        voted = (shares > 0.5).float()
        voted[torch.arange(len(best)), best] = 1
    else:
        vectors, kind = labels.unique(dim=0, return_inverse=True)
        shares = weights.new_zeros(len(weights), len(vectors)).index_add_(1, kind, weights) / some[:, None]
        if how == "majority":
            best = shares.argmax(1)
        else:
            best = kind[((weights > 0) * torch.arange(weights.shape[1], device=weights.device)).argmax(1)]
        voted = vectors[best]
    return voted * (total > 0)[:, None], shares.gather(1, best[:, None])[:, 0]


# ---------------------------------------------------------------- small pieces


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """d(a, b) = ||u_a - u_b||² over the last dimension."""
    return (a - b).pow(2).sum(-1)


def _class_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross entropy of class scores; 0 for no rows."""
    return nnf.binary_cross_entropy_with_logits(outputs, labels) if len(labels) else outputs.sum()


def _outputs(nets: Nets, items: Items, rows: ByView, bits: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Relaxed codes of rows (b, k), and what a generator's networks give beside them (b, c)."""
    for net in nets.values():
        net.train()
    out = {name: nets[name](items.views[name].batch(index)).float() for name, index in rows.items()}
    return {name: o[:, :bits].sigmoid() for name, o in out.items()}, {name: o[:, bits:] for name, o in out.items()}


@torch.no_grad()
def _all_codes(nets: Nets, items: Items) -> dict[str, Tensor]:
    """Relaxed codes (n, k) of all rows, in evaluation mode."""
    codes = {}
    for name in (name for name in nets if name in items.views):
        net, view = nets[name].eval(), items.views[name]
        parts = [net(view.batch(rows)).float().sigmoid() for rows in torch.arange(len(view)).split(512)]
        codes[name] = torch.cat(parts)
    return codes


def _probe(run: Run, nets: Nets, phase: str) -> None:
    """MAP of validation items among themselves, between every two views."""
    if run.validation is None:
        return
    labels, held = run.validation.need_labels(), run.validation.views
    codes = {name: code - 0.5 for name, code in _all_codes(nets, run.validation).items()}
    truth = {name: labels[held[name].of(torch.arange(len(code)))] for name, code in codes.items()}
    measured = {
        f"map_{a}_{c}": run.mean_average_precision(codes[a], codes[c], truth[a], truth[c])
        for a, c in permutations(codes, 2)
    }
    run.log(phase=phase, measured="validation", **measured)


def _step(run: Run, optimiser: torch.optim.Optimizer, found: Found) -> list[tuple[float, float]]:
    """One step on the sum over pairs of views; its loss and the mean measure, or nothing without triplets."""
    if not found:
        return []
    loss = torch.stack([loss for loss, _ in found]).sum()
    run.descend(loss, optimiser)
    return [(loss.item(), torch.cat([measure for _, measure in found]).mean().item())]


def _averages(steps: Sequence[tuple[float, float]], *names: str) -> dict[str, float]:
    return {name: sum(step[i] for step in steps) / len(steps) for i, name in enumerate(names)} if steps else {}


def _part(state: ByView, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _labels(items: Items) -> Tensor:
    """(n, c), zero where hidden."""
    assert items.labels is not None
    return items.labels


def _known(items: Items) -> Tensor:
    """(n,) bool: whose labels are known."""
    labels = _labels(items)
    return torch.ones(len(labels), dtype=torch.bool, device=labels.device) if items.labelled is None else items.labelled


def _similar(items: Items, rows: Tensor, columns: Tensor) -> Tensor:
    """(b, b') bool: which items share a label."""
    labels = _labels(items)
    return labels[rows] @ labels[columns].T > 0


def _owners(items: Items, rows: ByView) -> dict[str, Tensor]:
    """The items that rows of each view belong to, on the labels' device."""
    return {name: items.views[name].of(index).to(_labels(items).device) for name, index in rows.items()}


def _rows_of(view: View, items: Tensor) -> tuple[Tensor, Tensor]:
    """Which of ``items`` (m,) have the view, as places in ``items``, and their rows."""
    if view.items is None:
        return torch.arange(len(items)), items
    owners = view.items.cpu()
    row = torch.full((max(int(owners.max()), int(items.max())) + 1,), -1)
    row[owners] = torch.arange(len(owners))
    there = (row[items] >= 0).nonzero()[:, 0]
    return there, row[items[there]]


def _filled(view: View, known: Tensor, batch: Tensor, draw: torch.Generator) -> Tensor:
    """Rows (b,) of a batch of items; where some lack the view, rows of other labelled items in their place."""
    rows = _rows_of(view, batch)[1]
    if len(rows) == len(batch):
        return rows
    others = _rows_of(view, known)[1]
    return torch.cat([rows, others[torch.randint(len(others), (len(batch) - len(rows),), generator=draw)]])


def _require_labels(train: Items) -> None:
    if train.labels is None:
        raise Incompatible("needs the labels of some items, and this data has none")
    known = _known(train).nonzero()[:, 0].cpu()
    for name, view in train.views.items():
        if not len(_rows_of(view, known)[1]):
            raise Incompatible(f"needs labelled items in every view, and none has the view {name}")
