"""Real: no hash at all, but k real numbers an item ranked by their cosine. A reference row.

What a code of k bits could at best keep of k canonical directions: the same projections as CCA-ITQ's, before any
bit is taken (Hotelling. *Relations Between Two Sets of Variates*. Biometrika 1936.
https://doi.org/10.1093/biomet/28.3-4.321). The distance from here to CCA-ITQ is what its bits give away.

``space=shared`` takes the features as they are, for encoders whose views share one space, such as CLIP; k is then
the width of that space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from hashbench.config import Config, hp
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run
from hashbench.nn import Standardise, canonical_directions, linear


@dataclass(frozen=True, kw_only=True)
class RealConfig(Config):
    space: Literal["canonical", "shared"] = hp("canonical", "where views meet: k canonical directions, or as they are")
    ridge: float = hp(
        0.1, "ridge on both covariances, as a share of their mean variance (ρ)", sweep=(1e-4, 1e-2, 0.1, 1.0), low=0.0
    )


class Real(Method[RealConfig]):
    paper = Paper(
        "Relations Between Two Sets of Variates", "Biometrika", 1936, "https://doi.org/10.1093/biomet/28.3-4.321"
    )
    kind = "unsupervised"
    needs = Needs(labels="none", cached=True)
    version = 1
    config_class = RealConfig
    real_valued = True

    def fit(self, train: Items, run: Run) -> Hasher:
        views = {"image": train.image, "text": train.text}
        if self.config.space == "shared":
            widths = {name: view.dim for name, view in views.items()}
            if set(widths.values()) != {run.bits}:
                raise Incompatible(f"one shared space of {run.bits} dimensions is needed, and these are {widths}")
            return Hasher({name: nn.Identity() for name in views})
        scales = {name: Standardise(view.features()) for name, view in views.items()}
        x, y = (scales[name](view.features()).double() for name, view in views.items())
        wx, wy = canonical_directions(x, y, run.bits, self.config.ridge)
        return Hasher({
            name: nn.Sequential(scales[name], linear(w)) for name, w in (("image", wx), ("text", wy))
        })  # fmt: skip
