"""HiCHNet: bits in layers, one layer a level of a label hierarchy, each of which keeps that level's similarities.

Sun, Song, Feng, Zhao, Zhang, Nie. *Supervised Hierarchical Cross-Modal Hashing*. SIGIR 2019.
https://doi.org/10.1145/3331184.3331229   Equations from the authors' code (CCSun-cs/HichNet), as far as known to us.

Outputs F, G in (-1, 1) of images and texts; layer l owns some of their bits, f^l and g^l, and has a similarity S^l of
its own: 1 where two items share a class of that level. With θ^l_ij = ½ f^l_i·g^l_j, each network minimises

    Σ_l w_l Σ_ij [ softplus(θ^l_ij) - S^l_ij θ^l_ij ] + γ ||B - F||² + η ||Fᵀ1||² + ι Σ_l Σ_i CE(W^l f^l_i, y^l_i)

divided by n·b, with B = sgn(F + G) once an epoch; w = .2 for the coarse and .8 for the fine level. As in DCMH an epoch
is one pass of the image network against the stored text outputs G, one of the text network against F, then B. W^l f^l
are class scores of a softmax, y^l_i the classes of an item in equal parts.

The data here has flat labels. So there is one layer by default, with weight 1, and what is left is DCMH with bounded
outputs and a classifier. ``coarse`` makes two: a number clusters the classes by how often they occur together (average
linkage on 1 - cosine of their columns), a list such as 0,0,1 names the coarse class of every class. Relevance stays
that of the fine level, so a coarse layer spends bits on what is not asked for, and MAP falls a little on pictograms.

[inferred]: that a code is its layers side by side, the coarse one's share of the bits, that the classifier is linear in
the bits, multi-label targets in equal parts, everything about clustering, and which of the code's four weights, all 1,
is whose: here γ, η and ι are three of them. As the sums are divided by n·b, an ι of 1 counts 1 / n of a mean
cross-entropy, which is nothing; here it is 100.

Differs from the code: features are standardised; both heads have one hidden layer and stand on the chosen backbone, not
on CNN-F; 30 epochs of Adam in place of 500 of SGD; no N(0, .01²) weights; η = 0, for the reason given at the head of
``dcmh``. Preset ``paper`` has the code's weights, schedule and width. Expect .600 / .641 MAP (image -> text / text ->
image, pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as nnf
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.errors import UsageError
from hashbench.losses import pair_likelihood, sign
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run
from hashbench.nn import code_statistics, hash_network, parameter_groups, set_falling_step


@dataclass(frozen=True, kw_only=True)
class HiCHNetConfig(Config):
    coarse: int | str = hp(
        0, "coarse classes: how many to make of the classes, or that of each class, 0,0,1; 0: flat", sweep=(0, 2, 8),
        low=0,
    )  # fmt: skip
    coarse_weight: float = hp(0.2, "likelihood weight of the coarse layer (w)", sweep=(0.2, 0.5), low=0.0, high=1.0)
    coarse_bits: float = hp(0.5, "share of the bits that are the coarse layer's", sweep=(0.25, 0.5), low=0.0, high=1.0)
    gamma: float = hp(1.0, "quantisation weight (γ)", sweep=(0.1, 1.0, 10.0), low=0.0)
    eta: float = hp(0.0, "bit balance weight (η; the code: 1)", sweep=(0.0, 0.01, 1.0), low=0.0)
    iota: float = hp(100.0, "weight of the classifier (ι; the code: 1)", sweep=(1.0, 100.0, 1000.0), low=0.0)
    epochs: int = hp(30, "passes of both networks (the code: 500)", low=1)
    batch_size: int = hp(128, "items a step", sweep=(64, 128, 256), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the code's sgd with a linearly falling step")
    lr: float = hp(1e-3, "first step size (the code: .1, falling to 10^-5)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the code's text head: 8192)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {
            "default": {},
            "paper": {"eta": 1.0, "iota": 1.0, "optimiser": "sgd", "lr": 0.1, "epochs": 500, "hidden": 8192},
        }


class Layer(NamedTuple):
    """A level of the hierarchy."""

    labels: Tensor
    """(n, c) of 0 and 1."""
    bits: slice
    """The columns of a code that are its own."""
    weight: float
    """Of its likelihood (w)."""


class HiCHNet(Method[HiCHNetConfig]):
    paper = Paper(
        "Supervised Hierarchical Cross-Modal Hashing", "SIGIR", 2019, "https://doi.org/10.1145/3331184.3331229"
    )
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = HiCHNetConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views, n = self.config, {"image": train.image, "text": train.text}, len(train)
        layers = self._layers(train.need_labels(), run.bits)
        nets = {
            name: nn.Sequential(*hash_network(view, run.bits, cfg.hidden), nn.Tanh()) for name, view in views.items()
        }
        classifiers = {name: _classifier(layers).to(run.device) for name in views}
        optimisers = {}
        for name, view in views.items():
            groups = list(parameter_groups(nets[name], view, cfg.lr, cfg.encoder_lr))
            groups.append({"params": list(classifiers[name].parameters()), "lr": cfg.lr})
            optimisers[name] = torch.optim.Adam(groups) if cfg.optimiser == "adam" else torch.optim.SGD(groups)
        out = {name: torch.randn(n, run.bits, device=run.device) for name in views}  # F and G
        b = sign(out["image"] + out["text"])

        for epoch in run.epochs(cfg.epochs):
            logged: dict[str, float] = {}
            for name, other in (("image", "text"), ("text", "image")):
                if cfg.optimiser == "sgd":
                    set_falling_step(optimisers[name], epoch, cfg.epochs, last=1e-5)
                nets[name].train()
                losses = []
                for i in run.batches(n, cfg.batch_size, name, epoch):
                    f = nets[name](views[name].batch(i)).float()  # (b, k)
                    out[name][i] = f.detach()
                    rest = out[name].sum(0) - f.detach().sum(0)
                    parts = self._losses(f, out[other], b[i], rest, layers, classifiers[name], i) / (n * len(i))
                    run.descend(parts.sum(), optimisers[name])
                    losses.append(parts.detach())
                terms = zip(("likelihood", "quantise", "balance", "classes"), torch.stack(losses).mean(0), strict=True)
                logged |= {f"{term}_{name}": mean.item() for term, mean in terms}
            b = sign(out["image"] + out["text"])
            run.log(epoch=epoch, **logged, **code_statistics(out["image"]))
        return Hasher(nets)

    def _losses(
        self, f: Tensor, g: Tensor, b: Tensor, rest: Tensor,
        layers: Sequence[Layer], classifier: nn.ModuleList, i: Tensor,
    ) -> Tensor:  # fmt: skip
        """(4,): the weighed sums of likelihood, quantisation, balance and classes.

        Args:
            f: (b, k) outputs of a batch.
            g: (n, k) outputs of the other view, of all items.
            b: (b, k) codes of the batch.
            rest: (k,) sum of the outputs of all other items.
            layers: The levels.
            classifier: One a level.
            i: (b,) items of the batch.
        """
        cfg, likelihood, classes = self.config, f.new_zeros(()), f.new_zeros(())
        for layer, score in zip(layers, classifier, strict=True):
            own, theta = layer.labels[i], f[:, layer.bits] @ g[:, layer.bits].T / 2
            similarity = (own @ layer.labels.T).clamp(max=1)  # (b, n)
            likelihood = likelihood + layer.weight * pair_likelihood(theta, similarity).sum()
            target = own / own.sum(1, keepdim=True).clamp_min(1)
            classes = classes + nnf.cross_entropy(score(f[:, layer.bits]), target, reduction="sum")
        quantise, balance = (b - f).pow(2).sum(), (f.sum(0) + rest).pow(2).sum()
        return torch.stack([likelihood, cfg.gamma * quantise, cfg.eta * balance, cfg.iota * classes])

    def _layers(self, labels: Tensor, bits: int) -> list[Layer]:
        """One layer of all bits, or a coarse one and a fine one."""
        cfg = self.config
        if cfg.coarse == 0:
            return [Layer(labels, slice(0, bits), 1.0)]
        if bits < 2:
            raise Incompatible("1 bit has no room for two layers; set coarse=0")
        parents = nnf.one_hot(_parents(cfg.coarse, labels)).to(labels)  # (c, coarse c)
        middle = min(max(round(cfg.coarse_bits * bits), 1), bits - 1)
        return [
            Layer((labels @ parents).clamp(max=1), slice(0, middle), cfg.coarse_weight),
            Layer(labels, slice(middle, bits), 1 - cfg.coarse_weight),
        ]


def _classifier(layers: Sequence[Layer]) -> nn.ModuleList:
    """Bits of each layer to scores of its classes."""
    return nn.ModuleList(nn.Linear(layer.bits.stop - layer.bits.start, layer.labels.shape[1]) for layer in layers)


def _parents(coarse: int | str, labels: Tensor) -> Tensor:
    """(c,) int64 coarse class of every class.

    Raises:
        UsageError: a list of parents is no list of whole numbers.
        Incompatible: it is not as long as there are classes, or the classes cannot be clustered into so many.
    """
    classes = labels.shape[1]
    if isinstance(coarse, str):
        names = coarse.split(",")
        if not all(name.strip().isdecimal() for name in names):
            raise UsageError(f"coarse={coarse!r}: expected a number, or one a class as in 0,0,1")
        if len(names) != classes:
            raise Incompatible(f"coarse names the parents of {len(names)} classes, and there are {classes}")
        return torch.tensor([int(name) for name in names])
    columns = nnf.normalize(labels.double().cpu(), dim=0)
    together = (columns.T @ columns).fill_diagonal_(1)
    if not bool((together - torch.eye(classes) > 0).any()):
        raise Incompatible("no two classes occur together, so none can be joined to a coarse one; name their parents")
    if not 1 < coarse < classes:
        raise Incompatible(f"coarse={coarse}: expected 2 to {classes - 1}, for there are {classes} classes")
    distances = squareform((1 - together).clamp_min(0).numpy(), checks=False)
    return torch.from_numpy(fcluster(linkage(distances, "average"), coarse, "maxclust")).long() - 1
