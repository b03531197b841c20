"""UGACH: positives are neighbours on a graph; a generator finds the negatives that a critic confuses with them.

Zhang, Peng, Yuan. *Unsupervised Generative Adversarial Cross-modal Hashing*. AAAI 2018.
https://arxiv.org/abs/1712.00358

A query q of one view, candidates c of the other; u = sigmoid(outputs) in (0, 1)^k and d(q, c) = |u_q - u_c|²:

    positives  texts (images) of the K items nearest to q's item by image, of the K nearest by text, and its own
    critic     L_D = mean [ β + d(q, c+) - d(q, c-) ]_+                                   β = k / 8
    generator  p(c | q) = softmax_c( -d_G(q, c) )  over a pool of candidates, positives left out; c- ~ p
               L_G = - mean log p(c- | q) r,    r = sigmoid( [ β + d(q, c+) - d(q, c-) ]_+ )      by policy gradient

The critic warms up on random negatives; then a round is a pass of the critic with negatives from the generator and
two passes of the generator. A code is the sign of the critic's output (u >= 1/2) for its own item in one view; graph
and generator belong to training.

[inferred]: nearness is the cosine of features of the encoders before training; an item is its own positive; how the
critic warms up (the released code reads its weights from a file).

Rounds can do harm. With K = 5 most items of a query's class are candidates, and those are the ones that a good
generator finds: on pictograms (8 % of random pairs share a label) the share of its negatives that do grows to 33 % in
six rounds of step 10^-3 for both, and MAP of validation items falls from .34 after the warm-up to .20. Hence the small
steps in rounds by default. ``epochs=0`` is the warm-up alone; ``neighbours`` is the other remedy.

Differs from the paper: networks stand on standardised features of the chosen backbone, and are trained by Adam in
batches, one pool a batch, without the step's decay of .9 in 20,000 (the released code: plain SGD, one triplet a step,
a pool of 1/50 of all candidates for each query, 8192 hidden units; preset ``paper``, with batches of two). The
generator always reads the features before training; it is thrown away after. Fixed: log p is taken over the pool that
c- was drawn from. The released code takes it over the two drawn negatives alone, which says only which of the two
should be likelier (``norm=sample``, preset ``released``). It also keeps the epoch with the best MAP of test queries;
here it is the last.

Expect .34 / .34 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import cosines
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import Standardise, code_statistics, groups_of_all, standardised_encoder, untrained_features


@dataclass(frozen=True, kw_only=True)
class UGACHConfig(Config):
    neighbours: int = hp(5, "neighbours by each view that are positives (K)", sweep=(0, 5, 20), low=0)
    beta: float | Literal["bits/8"] = hp("bits/8", "margin (β)", sweep=("bits/8", 2.0, 8.0), low=0.0)
    triplets: int = hp(2, "positives and negatives of a query in a pass", sweep=(1, 2), low=1)
    pool: int = hp(256, "candidates that negatives of a batch are drawn from", sweep=(64, 256, 1024), low=2)
    norm: Literal["pool", "sample"] = hp("pool", "p(c | q) in L_G sums to 1 over the pool, or over the drawn negatives")
    warm_up: int = hp(10, "passes of the critic with random negatives", sweep=(0, 10, 20), low=0)
    epochs: int = hp(10, "rounds of critic and generator (the paper: 30)", sweep=(0, 10, 30), low=0)
    generator_passes: int = hp(2, "passes of the generator in a round", sweep=(1, 2), low=0)
    batch_size: int = hp(256, "queries a step (the paper: 1)", sweep=(64, 256), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the paper's sgd")
    lr: float = hp(1e-3, "step size of the critic in its warm-up", sweep=(1e-4, 1e-3), low=0.0)
    share: float = hp(
        0.1,
        "its step in rounds, as a share of that (the paper's sgd: 10^-3 in rounds)",
        sweep=(0.01, 0.1, 1.0),
        low=0.0,
    )
    generator_lr: float = hp(1e-4, "step size of the generator (the paper's sgd: 10^-2)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)
    weight_decay: float = hp(0.0, "weight decay (λ_w; the paper's sgd: .01)", sweep=(0.0, 1e-4, 0.01), low=0.0)
    hidden: int = hp(512, "width of the hidden layer of all networks (the paper: 8192)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        paper = {
            "optimiser": "sgd", "lr": 1e-2, "generator_lr": 1e-2, "weight_decay": 0.01, "hidden": 8192, "batch_size": 2,
            "pool": 100, "epochs": 30,
        }  # fmt: skip
        return {"default": {}, "paper": paper, "released": paper | {"norm": "sample"}}


@dataclass(frozen=True)
class Game:
    """Both players, and all they look at."""

    run: Run
    views: Mapping[str, View]
    features: Mapping[str, Tensor]
    """(n, d) of each view, from the encoders before training."""
    positives: Tensor
    """(n, 2K + 1) items."""
    critic: Mapping[str, nn.Sequential]
    generator: Mapping[str, nn.Sequential]
    improve_critic: torch.optim.Optimizer
    improve_generator: torch.optim.Optimizer
    draws: torch.Generator


class Batch(NamedTuple):
    """Queries of one view, and candidates of the other."""

    query: str
    other: str
    items: Tensor
    """(b,) items of the queries."""
    pool: Tensor
    """(pool,) items of the candidates."""
    allowed: Tensor
    """(b, pool) bool: which are no positives."""


class UGACH(Method[UGACHConfig]):
    paper = Paper(
        "Unsupervised Generative Adversarial Cross-modal Hashing", "AAAI", 2018, "https://arxiv.org/abs/1712.00358"
    )
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = UGACHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views = self.config, {"image": train.image, "text": train.text}
        features = {name: untrained_features(view) for name, view in views.items()}  # (n, d) each
        critic = {name: self._network(standardised_encoder(view), view, run.bits) for name, view in views.items()}
        generator = {name: self._network(Standardise(x), views[name], run.bits) for name, x in features.items()}
        groups = groups_of_all(critic, views, cfg.lr, cfg.encoder_lr)
        game = Game(
            run, views, features, self._positives(features["image"], features["text"]), critic, generator,
            self._optimiser(groups),
            self._optimiser([{"params": net.parameters(), "lr": cfg.generator_lr} for net in generator.values()]),
            run.generator("draws"),
        )  # fmt: skip
        for epoch in run.epochs(cfg.warm_up, "warm-up"):
            run.log(phase="warm-up", epoch=epoch, **self._critic_pass(game, f"warm-up/{epoch}", informed=False))
        for group in game.improve_critic.param_groups:
            group["lr"] *= cfg.share
        for epoch in run.epochs(cfg.epochs, "rounds"):
            logged = self._critic_pass(game, f"critic/{epoch}", informed=True)
            for again in range(cfg.generator_passes):
                logged |= self._generator_pass(game, f"generator/{epoch}/{again}")
            run.log(phase="rounds", epoch=epoch, **logged)
        return Hasher(critic)

    def _critic_pass(self, game: Game, stream: str, informed: bool) -> dict[str, float]:
        """A pass of the critic both ways, with negatives from the generator or, uninformed, from anywhere."""
        hinges, outputs = [], torch.empty(0)
        for batch in self._batches(game, stream):
            scores = self._scores(game, batch) if informed else batch.allowed.float().log()  # (b, pool)
            negatives = batch.pool[self._draw(game, scores)]  # (b, m)
            hinge, outputs = self._hinge(game, batch, negatives)
            game.run.descend(hinge.mean(), game.improve_critic)
            hinges.append(torch.stack([hinge.mean(), (hinge > 0).float().mean()]).detach())
        if not hinges:
            return {}
        loss, live = torch.stack(hinges).mean(0).tolist()
        return {"critic": loss, "live": live, **code_statistics((outputs / 2).tanh().detach())}

    def _generator_pass(self, game: Game, stream: str) -> dict[str, float]:
        """A pass of the generator both ways by policy gradient."""
        measures = []
        for batch in self._batches(game, stream):
            scores = self._scores(game, batch)  # (b, pool)
            at = self._draw(game, scores.detach())  # (b, m)
            with torch.no_grad():
                reward = self._hinge(game, batch, batch.pool[at], training=False)[0].sigmoid()
            log_p = scores.log_softmax(1)
            drawn = log_p.gather(1, at) if self.config.norm == "pool" else scores.gather(1, at).log_softmax(1)
            loss = -(drawn * reward).mean()
            game.run.descend(loss, game.improve_generator)
            likeliest = log_p.detach().max(1).values.exp().mean()
            measures.append(torch.stack([loss.detach(), reward.mean(), likeliest]))
        if not measures:
            return {}
        return dict(zip(("generator", "reward", "likeliest"), torch.stack(measures).mean(0).tolist(), strict=True))

    def _batches(self, game: Game, stream: str) -> Iterator[Batch]:
        """Queries of both views in shuffled batches, each with a pool of candidates that no query lacks."""
        n = len(game.positives)
        for query, other in (("image", "text"), ("text", "image")):
            for i in game.run.batches(n, self.config.batch_size, f"{stream}/{query}", 0):
                pool = torch.randperm(n, generator=game.draws)[: self.config.pool].to(game.positives.device)
                allowed = (game.positives[i, :, None] != pool).all(1)  # (b, pool)
                able = allowed.any(1)
                if int(able.sum()) > 1:  # too few items or too many positives: nothing to draw
                    yield Batch(query, other, i[able.cpu()], pool, allowed[able])

    def _scores(self, game: Game, batch: Batch) -> Tensor:
        """-d_G of queries and their pool (b, pool); minus infinity at positives."""
        u = game.generator[batch.query](game.features[batch.query][batch.items]).sigmoid()
        v = game.generator[batch.other](game.features[batch.other][batch.pool]).sigmoid()
        return -_distances(u[:, None], v).masked_fill(~batch.allowed, math.inf)

    def _draw(self, game: Game, scores: Tensor) -> Tensor:
        """(b, m) positions in the pool, drawn from softmax(scores)."""
        p = scores.softmax(1).cpu()
        return torch.multinomial(p, self.config.triplets, replacement=True, generator=game.draws).to(scores.device)

    def _hinge(self, game: Game, batch: Batch, negatives: Tensor, training: bool = True) -> tuple[Tensor, Tensor]:
        """[ β + d(q, c+) - d(q, c-) ]_+ (b, m) with random positives, and the queries' outputs (b, k)."""
        b, m = negatives.shape
        near = game.positives[batch.items]
        positives = near.gather(1, torch.randint(near.shape[1], (b, m), generator=game.draws).to(near.device))
        for net in game.critic.values():
            net.train(training)
        query, other = game.critic[batch.query], game.critic[batch.other]
        outputs = query(game.views[batch.query].batch(batch.items)).float()
        candidates = game.views[batch.other].batch(torch.cat([positives, negatives]).flatten().to(batch.items.device))
        v = other(candidates).float().sigmoid().view(2, b, m, -1)
        closer, further = _distances(outputs.sigmoid()[:, None], v)  # (b, m) each
        margin = game.run.bits / 8 if self.config.beta == "bits/8" else float(self.config.beta)
        return (margin + closer - further).clamp_min(0), outputs

    def _positives(self, x: Tensor, y: Tensor, rows: int = 512) -> Tensor:
        """(n, 2K + 1) items: each item itself, its K nearest by image and its K nearest by text."""
        n = len(x)
        k = min(self.config.neighbours, max((n - 2) // 2, 0))  # some item must be left for a negative
        found = []
        for i in torch.arange(n, device=x.device).split(rows):
            near = [i[:, None]]
            for z in (x, y):
                close = cosines(z[i], z)
                close[torch.arange(len(i)), i] = -math.inf
                near.append(close.topk(k).indices)
            found.append(torch.cat(near, 1))
        return torch.cat(found)

    def _network(self, encoder: nn.Module, view: View, bits: int) -> nn.Sequential:
        """Encoder, a hidden layer of tanh, and bits: rows (b, ...) to reals (b, k)."""
        hidden = self.config.hidden
        return nn.Sequential(encoder, nn.Linear(view.dim, hidden), nn.Tanh(), nn.Linear(hidden, bits)).to(view.device)

    def _optimiser(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        if self.config.optimiser == "adam":
            return torch.optim.Adam(groups, weight_decay=self.config.weight_decay)
        return torch.optim.SGD(groups, weight_decay=self.config.weight_decay)


def _distances(u: Tensor, v: Tensor) -> Tensor:
    """Squared distances over the last dimension of two broadcast sets of relaxed codes."""
    return (u - v).pow(2).sum(-1)
