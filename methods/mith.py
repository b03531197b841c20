"""MITH: an item's vector gives one code, its words or regions gathered by bit give another; both are drawn together.

Liu, Wu, Zhang, Zhang, Lu. *Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval*. ACM MM
2023. https://doi.org/10.1145/3581783.3612411   Equations from the authors' code (DarrenZZhang/MM23-MITH).

An item is a sequence (l, d): its vector x_0 and its tokens x_1 .. x_t, padding after them. Every bit is a "concept".

    global   g(x) = two residual layers x + MLP(LayerNorm(x)), d - 4d - d with GELU;  h(x) = tanh(W g(x)), both views
             share them;  cls = h(x_0)
    local    each token keeps the largest positive ones of h(x_j), ``top`` at most; bit b gathers the tokens that keep
             it, z_b = Σ_j softmax_j(h_b(x_j)) x_j, without a gradient through h, and 0 where there are none; z plus
             sine positions / √d goes through a transformer of the view's own; tok_b = tanh(w_b · z_b + c_b)
    code     sgn(cls + tok)

With S = 1 where a label is shared, and buffers A of the codes that all training items had when they last were in a
batch (at first normal noise), for a batch of m pairs of image I and text T:

    L(A, b)  mean of softplus(s) - S s,  s = ½ b Aᵀ
    J = L(A_I^tok, tok_I) + L(A_T^tok, tok_T) + β [L(A_I^cls, cls_T) + L(A_T^cls, cls_I)]
      + γ Σ_v mean (½ (cls_v + tok_v) - B)²,       B = sgn(λ (cls_I + cls_T) + (1 - λ)(tok_I + tok_T))
      + δ [NCE(g(x_0)_I, g(x_0)_T over the pairs of the batch) + α NCE(P_I z_I, P_T z_T over the bits of each pair)]
      + μ/m Σ_v ||sg(cls_v) - tok_v||² + 0.1 ||cls_v - sg(tok_v)||²

NCE: cross-entropy of cosines / 0.07 with the own partner, both ways. sg: no gradient. P_v: linear.

The networks stand on any backbone's token sequences. Where the widths of the views differ, which in CLIP they do not,
a linear layer brings both to ``width`` [ours]. Cached vectors and tokens are standardised, each for themselves. The
code left the mark at the start of a text among the tokens, the same in all texts; it is none here. Its likelihood
needs b Aᵀ cut at ±64, beyond which nothing is learned; the stable form does not. Its codes break for a single item.
Fewer epochs; AdamW without gradient clipping in place of BertAdam, same constants and schedule.

The alignment knows pairs and no labels. With the paper's δ of 50 it outweighs the likelihood: on pictograms (lite, 32
bits, 10 epochs, one seed, validation items against training items) δ of 50, 10 and 1 gives .35, .40 and .46 image to
text and .34, .39 and .44 text to image; γ of 1, not 8, beside δ of 1 gives .48 and .46. Preset ``paper`` has the
paper's δ, γ and epochs. Expect MAP of .47 image to text and .44 text to image on pictograms (lite, 32 bits, one seed).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import pair_likelihood, sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import bert_adam, code_statistics, set_warm_up_cosine

TEMPERATURE = 0.07
TEACHER_SHARE = 0.1
"""Weight of the gradient that the distillation sends back to the global codes."""


@dataclass(frozen=True, kw_only=True)
class MITHConfig(Config):
    alpha: float = hp(0.01, "weight of the bits' alignment beside the pairs' (α)", sweep=(0.0, 0.01, 0.1), low=0.0)
    beta: float = hp(10.0, "weight of the likelihood across views (β)", sweep=(1.0, 10.0), low=0.0)
    gamma: float = hp(1.0, "weight of the quantisation (γ; the paper: 8)", sweep=(0.0, 1.0, 8.0), low=0.0)
    delta: float = hp(1.0, "weight of the alignment of pairs (δ; the paper: 50)", sweep=(0.0, 1.0, 10.0, 50.0), low=0.0)
    mu: float = hp(1.0, "weight of the distillation from global to local codes (μ)", sweep=(0.0, 1.0), low=0.0)
    lam: float = hp(0.99, "share of the global codes in the target (λ)", sweep=(0.5, 0.99), low=0.0, high=1.0)
    top: int = hp(8, "bits that a token may count for", sweep=(4, 8, 16), low=1)
    blocks: int = hp(2, "residual layers of the global network", sweep=(1, 2), low=0)
    layers: int = hp(2, "layers of each view's transformer", sweep=(1, 2), low=1)
    width: int = hp(128, "width that both views are brought to where theirs differ", sweep=(64, 128, 256), low=1)
    epochs: int = hp(10, "passes over the pairs (the paper: 30)", low=1)
    batch_size: int = hp(128, "pairs a step (m)", sweep=(64, 128, 256), low=2)
    lr: float = hp(1e-3, "largest step of everything but the encoders", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(2e-6, "largest step of a pre-trained encoder under --tuning full", low=0.0)
    warm_up: float = hp(0.05, "share of the steps in which the step size rises", low=0.0, high=1.0)
    weight_decay: float = hp(0.01, "decoupled weight decay", sweep=(0.0, 0.01), low=0.0)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the paper's weights and schedule."""
        return {"default": {}, "paper": {"epochs": 30, "gamma": 8.0, "delta": 50.0}}


class MITH(Method[MITHConfig]):
    paper = Paper(
        "Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval",
        "ACM MM", 2023, "https://doi.org/10.1145/3581783.3612411",
    )  # fmt: skip
    kind = "supervised"
    needs = Needs(labels="all", tokens=True)
    version = 1
    config_class = MITHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, n, views = self.config, len(train), {"image": train.image, "text": train.text}
        train.need_labels()
        width = train.image.dim if train.image.dim == train.text.dim else cfg.width
        concepts = GlobalConcepts(width, run.bits, cfg.blocks)
        nets = {name: HashFunction(view, width, run.bits, concepts, cfg).to(run.device) for name, view in views.items()}
        projections = {name: nn.Linear(width, width).to(run.device) for name in views}  # P
        own = {name: nn.Sequential(net.encoder, net.reduce, net.local, projections[name]) for name, net in nets.items()}
        optimiser = bert_adam(own, views, cfg.lr, cfg.encoder_lr, cfg.weight_decay)
        optimiser.add_param_group({"params": concepts.parameters(), "lr": cfg.lr})
        noise = run.generator("buffers")
        buffers = {name: torch.randn(2, n, run.bits, generator=noise).to(run.device) for name in views}  # A: cls, tok
        steps = math.ceil(n / cfg.batch_size)
        for epoch in run.epochs(cfg.epochs):
            losses = []
            for net in nets.values():
                net.train()
            for step, i in enumerate(run.batches(n, cfg.batch_size, "pairs", epoch)):
                set_warm_up_cosine(optimiser, (epoch + (step + 0.5) / steps) / cfg.epochs, cfg.warm_up)
                found = {name: nets[name].read(view.batch(i)) for name, view in views.items()}
                for name, item in found.items():
                    buffers[name][:, i] = torch.stack([item.cls, item.tok]).detach()
                    found[name] = item._replace(bits=projections[name](item.bits).float())
                parts = self._losses(found["image"], found["text"], buffers, train.similarity(i))
                run.descend(parts.sum(), optimiser)
                losses.append(parts.detach())
            within, across, quantised, aligned, distilled = torch.stack(losses).mean(0).tolist()
            run.log(
                epoch=epoch, within=within, across=across, quantised=quantised, aligned=aligned, distilled=distilled,
                **code_statistics((found["image"].cls + found["image"].tok).detach() / 2),
            )  # fmt: skip
        return Hasher(nets)

    def _losses(self, image: Reading, text: Reading, buffers: Mapping[str, Tensor], s: Tensor) -> Tensor:
        """(5,): what J weighs by 1, β, γ, δ and μ, from m pairs, the buffers (2, n, k) and S (m, n)."""
        cfg, (image_cls, image_tok), (text_cls, text_tok) = self.config, buffers["image"], buffers["text"]
        within = likelihood(image_tok, image.tok, s) + likelihood(text_tok, text.tok, s)
        across = likelihood(image_cls, text.cls, s) + likelihood(text_cls, image.cls, s)
        target = sign(cfg.lam * (image.cls + text.cls) + (1 - cfg.lam) * (image.tok + text.tok))  # B
        aligned = alignment(image.vector, text.vector) + cfg.alpha * alignment(image.bits, text.bits)
        quantised, distilled = s.new_zeros(()), s.new_zeros(())
        for item in (image, text):
            quantised = quantised + ((item.cls + item.tok) / 2 - target).pow(2).mean()
            to_local, to_global = item.cls.detach() - item.tok, item.cls - item.tok.detach()
            distilled = distilled + (to_local.pow(2) + TEACHER_SHARE * to_global.pow(2)).sum(1).mean()
        return torch.stack([within, cfg.beta * across, cfg.gamma * quantised, cfg.delta * aligned, cfg.mu * distilled])


def likelihood(buffer: Tensor, codes: Tensor, s: Tensor) -> Tensor:
    """L(A, b) of A (n, k), codes (m, k) and S (m, n)."""
    return pair_likelihood(codes @ buffer.T / 2, s).mean()


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """NCE of rows (..., r, d), each with the one at its place in (..., r, d)."""
    scores = nnf.normalize(a, dim=-1) @ nnf.normalize(b, dim=-1).mT / TEMPERATURE
    others = scores.logsumexp(-1) + scores.logsumexp(-2)
    return (others / 2 - scores.diagonal(dim1=-2, dim2=-1)).mean()


class Reading(NamedTuple):
    """What a hash function makes of m items."""

    vector: Tensor
    """g(x_0), (m, d)."""
    bits: Tensor
    """z after the transformer, (m, k, d)."""
    cls: Tensor
    """(m, k) in (-1, 1)."""
    tok: Tensor
    """(m, k) in (-1, 1)."""


class GlobalConcepts(nn.Module):
    """g and h of vectors or tokens (..., d): (..., d) and (..., k)."""

    def __init__(self, width: int, bits: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(blocks)
        )
        self.to_bits = nn.Linear(width, bits, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x = x + block(x)
        return x, torch.tanh(self.to_bits(x))


class LocalConcepts(nn.Module):
    """Tokens (b, t, d), with what each counts for every bit (b, t, k), to z after the transformer and tok."""

    positions: Tensor

    def __init__(self, width: int, bits: int, layers: int, top: int) -> None:
        super().__init__()
        self.top = min(top, bits)
        self.register_buffer("positions", sine_positions(bits, width))
        heads = max(h for h in range(1, max(width // 64, 1) + 1) if width % h == 0)
        self.transformer = nn.Sequential(*(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        ))  # fmt: skip
        self.bitwise = nn.Linear(width, bits)  # w_b and c_b

    def forward(self, tokens: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        bits: Tensor = self.transformer(gathered(tokens, strength, self.top) + self.positions)
        return bits, torch.tanh((bits * self.bitwise.weight).sum(2) + self.bitwise.bias)


class HashFunction(nn.Module):
    """One view's rows (b, ...) to cls + tok, (b, k)."""

    def __init__(self, view: View, width: int, bits: int, concepts: GlobalConcepts, config: MITHConfig) -> None:
        super().__init__()
        encoder = view.encoder()
        self.encoder = encoder if view.raw else nn.Sequential(encoder, StandardisedTokens(view, encoder))
        self.reduce = nn.Identity() if view.dim == width else nn.Linear(view.dim, width)
        self.concepts = concepts
        self.local = LocalConcepts(width, bits, config.layers, config.top)

    def forward(self, rows: Tensor) -> Tensor:
        found = self.read(rows)
        return found.cls + found.tok

    def read(self, rows: Tensor) -> Reading:
        sequences = self.encoder(rows)  # (b, l, d)
        padding = sequences[:, 1:].eq(0).all(2, keepdim=True)
        sequences = self.reduce(sequences)
        vector, cls = self.concepts(sequences[:, 0])
        with torch.no_grad():
            strength = self.concepts(sequences[:, 1:])[1].masked_fill(padding, 0)
        bits, tok = self.local(sequences[:, 1:], strength)
        return Reading(vector.float(), bits.float(), cls.float(), tok.float())


def gathered(tokens: Tensor, strength: Tensor, top: int) -> Tensor:
    """z (b, k, d) from tokens (b, t, d) and h(x_j) (b, t, k), which is 0 where a token is padding."""
    least = strength.topk(top, dim=2).values[..., -1:]
    kept = (strength >= least) & (strength > 0)
    shares = kept * strength.exp()  # between 1 and e: no softmax over nothing
    return (shares / shares.sum(1, keepdim=True).clamp_min(1)).mT @ tokens


def sine_positions(count: int, width: int) -> Tensor:
    """(count, width): sin and cos of position / 10000^(2j / width) in turn, over √width."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000) / width))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width] / math.sqrt(width)


class StandardisedTokens(nn.Module):
    """Sequences (b, l, d) with vectors and tokens of mean 0 and deviation 1 in the training set; zeros stay zeros."""

    means: Tensor
    deviations: Tensor

    def __init__(self, view: View, encoder: nn.Module) -> None:
        super().__init__()
        sums = torch.zeros(2, 3, view.dim, dtype=torch.double, device=view.device)  # of 1, x and x²
        for i in torch.arange(len(view)).split(512):
            sequences = encoder(view.batch(i)).double()
            for place, rows in enumerate((sequences[:, 0], sequences[:, 1:].flatten(0, 1))):
                there = rows.ne(0).any(1, keepdim=True).expand_as(rows)
                sums[place] += torch.stack([there, rows, rows.pow(2)]).sum(1)
        counts, means = sums[:, 0].clamp_min(1), sums[:, 1] / sums[:, 0].clamp_min(1)
        deviations = (sums[:, 2] / counts - means.pow(2)).clamp_min(0).sqrt()
        self.register_buffer("means", means.float())
        self.register_buffer("deviations", torch.where(deviations < 1e-6, 1.0, deviations).float())

    def forward(self, sequences: Tensor) -> Tensor:
        place = (torch.arange(sequences.shape[1], device=sequences.device) > 0).long()
        padding = sequences.eq(0).all(2, keepdim=True)
        return ((sequences - self.means[place]) / self.deviations[place]).masked_fill(padding, 0)
