"""CCA-ITQ: canonical correlation analysis, then a rotation towards the hypercube.

Gong, Lazebnik, Gordo, Perronnin. *Iterative Quantization: A Procrustean Approach to Learning Binary Codes for
Large-Scale Image Retrieval*. TPAMI 2013. https://doi.org/10.1109/TPAMI.2012.193

Closed form apart from the rotation; no labels. Differs from the paper: CCA is taken between image and text
features, as the cross-modal literature does, instead of between image features and labels. Both views share
one rotation, learned on both. The number to expect is in the README's table.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import Standardise, canonical_directions, linear


@dataclass(frozen=True, kw_only=True)
class CCAITQConfig(Config):
    ridge: float = hp(
        0.1, "ridge on both covariances, as a share of their mean variance (ρ, sec. 3.2; the paper: 1e-4)",
        sweep=(1e-4, 1e-2, 0.1, 1.0), low=0.0,
    )  # fmt: skip
    rotations: int = hp(50, "alternations between codes and rotation (sec. 2.2)", sweep=(0, 10, 50), low=0)


class CCAITQ(Method[CCAITQConfig]):
    paper = Paper("Iterative Quantization", "TPAMI", 2013, "https://doi.org/10.1109/TPAMI.2012.193")
    kind = "shallow"
    needs = Needs(labels="none", cached=True)
    version = 1
    config_class = CCAITQConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        scales = [Standardise(view.features()) for view in (train.image, train.text)]
        x, y = (
            scale(view.features()).double() for scale, view in zip(scales, (train.image, train.text), strict=True)
        )  # (n, dx), (n, dy), centred
        wx, wy = canonical_directions(x, y, run.bits, self.config.ridge)  # (dx, k), (dy, k), sec. 3.2
        projected = torch.cat([x @ wx, y @ wy])  # (2n, k)
        rotation = self._rotate(projected, run)  # (k, k)
        heads = (nn.Sequential(scale, linear(w @ rotation)) for scale, w in zip(scales, (wx, wy), strict=True))
        return Hasher(dict(zip(("image", "text"), heads, strict=True)))

    def _rotate(self, v: Tensor, run: Run) -> Tensor:
        """R minimising ||sgn(VR) - VR||, by alternation from a random start (sec. 2.2)."""
        k = v.shape[1]
        r = torch.linalg.qr(torch.randn(k, k, dtype=v.dtype, generator=run.generator("rotation")).to(v.device))[0]
        for step in range(self.config.rotations):
            b = sign(v @ r)  # fix R, choose the codes
            u, _, wt = torch.linalg.svd(b.T @ v)  # fix the codes: orthogonal Procrustes
            r = (u @ wt).T
            run.log(step=step, quantisation=(sign(v @ r) - v @ r).pow(2).mean().item())
        return r
