"""CVH: cross-view hashing, canonical correlation analysis with its signs as bits.

Kumar, Udupa. *Learning Hash Functions for Cross-View Similarity Search*. IJCAI 2011.
https://www.ijcai.org/Proceedings/11/Papers/230.pdf

    max  Σ_{v≠w} tr(A_vᵀ C_vw A_w)   subject to   Σ_v A_vᵀ C_vv A_v = I,     codes sgn(X_v A_v)

This is the paper's method where the only thing known is which rows belong to one item (its similarity is the
identity) [inferred from its algebra; the field's copies are CCA for two views]. The columns of A are the leading
generalised eigenvectors of (C_vw)_{v≠w} against the block diagonal of the C_vv. With two views it is CCA, and each
view gives at most as many bits as the smaller one has dimensions. CCA-ITQ goes on from the same directions with a
rotation.

Every direction gives one bit, however weak its correlation, so that bits beyond the few strong directions are noise
that counts in full: the more bits, the worse. On the contract kit's toy set, of four classes, MAP is .80 with 4 bits,
.65 with 8 and .53 with 16 (CCA-ITQ: .94, .91, .97; chance .33), and the field's tables fall with the bits, too.

Differs from the paper: the covariances' ridge is a share of their mean variance, and 0.1 where the field's copies take
1e-4 or less. A copy in circulation multiplies by C_yy where the inverse belongs. Where items lack views, C_vw is taken
over the items that have both (ours).

Expect, image to text / text to image: .201 / .214 on pictograms (lite, 32 bits), .191 / .190 on Wikipedia's vectors
(8 bits). More than 10 bits are refused there: its texts have no more dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run
from hashbench.nn import linear, standardised_encoder


@dataclass(frozen=True, kw_only=True)
class CVHConfig(Config):
    ridge: float = hp(
        0.1, "ridge on the covariances, as a share of their mean variance (the field's copies: 1e-4)",
        sweep=(1e-4, 1e-2, 0.1, 1.0), low=0.0,
    )  # fmt: skip

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, float]]:
        return {"default": {}, "paper": {"ridge": 1e-4}}


class CVH(Method[CVHConfig]):
    paper = Paper(
        "Learning Hash Functions for Cross-View Similarity Search", "IJCAI", 2011,
        "https://www.ijcai.org/Proceedings/11/Papers/230.pdf",
    )  # fmt: skip
    kind = "shallow"
    needs = Needs(labels="none", cached=True, more_views=True)
    version = 1
    config_class = CVHConfig
    exceptions: ClassVar = {
        "check_learns": "weak directions count as whole bits, so more bits than classes make it worse"
    }

    def fit(self, train: Items, run: Run) -> Hasher:
        encoders = {name: standardised_encoder(view) for name, view in train.views.items()}
        x = {name: encoders[name](view.features()).double() for name, view in train.views.items()}  # (n_v, d_v)
        items = {
            name: torch.arange(len(view), device=run.device) if view.items is None else view.items
            for name, view in train.views.items()
        }
        weights = self._directions(x, items, len(train), run.bits)
        return Hasher({name: nn.Sequential(encoders[name], linear(weights[name])) for name in x})

    def _directions(self, x: Mapping[str, Tensor], items: Mapping[str, Tensor], n: int, k: int) -> dict[str, Tensor]:
        """A_v (d_v, k) of every view v.

        Args:
            x: Rows (n_v, d_v) of every view, centred.
            items: Whose rows they are, (n_v,).
            n: Items.
            k: Bits.
        """
        whitened: dict[str, Tensor] = {}  # rows of covariance I, (n_v, d_v)
        factors: dict[str, Tensor] = {}  # L with L Lᵀ = C_vv + ridge
        for name, rows in x.items():
            c = rows.T @ rows / len(rows)
            c.diagonal().add_(self.config.ridge * c.diagonal().mean() + 1e-9)
            factors[name] = torch.linalg.cholesky(c)
            whitened[name] = torch.linalg.solve_triangular(factors[name], rows.T, upper=False).T
        blocks = [[_cross(whitened, items, n, v, w) for w in x] for v in x]
        values, vectors = torch.linalg.eigh(torch.cat([torch.cat(row, 1) for row in blocks]))
        directions = min(int((values > 1e-9).sum()), n - 1)
        if k > directions:
            raise Incompatible(f"{k} bits, but the views have only {directions} directions in common")
        leading = vectors.flip(1)[:, :k].split([rows.shape[1] for rows in x.values()])
        return {
            name: torch.linalg.solve_triangular(factors[name].T, part, upper=True)
            for name, part in zip(x, leading, strict=True)
        }


def _cross(rows: Mapping[str, Tensor], items: Mapping[str, Tensor], n: int, v: str, w: str) -> Tensor:
    """(d_v, d_w) covariance over the items that have both views; 0 for a view with itself."""
    if v == w:
        return rows[v].new_zeros(rows[v].shape[1], rows[v].shape[1])
    spread = rows[v].new_zeros(n, rows[v].shape[1]).index_copy_(0, items[v], rows[v])  # items without it stay 0
    there = torch.zeros(n, dtype=torch.bool, device=spread.device).index_fill_(0, items[v], True)
    return spread[items[w]].T @ rows[w] / max(int(there[items[w]].sum()), 1)
