"""Fair tuning: the same number of settings tried for every arm, and the choice made on validation queries alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from typing import Any

import numpy as np

from hashbench.config import Config, digest, validated
from hashbench.errors import DataError
from hashbench.studies import Arm, Tune

Validation = Mapping[str, Mapping[str, float]]
"""Task to metric to value, on validation items: all that a choice gets to see of a run."""


def candidates(arm: Arm, tune: Tune) -> list[Config]:
    """The settings to try for an arm, its own first, ``tune.budget`` of them or as many as there are.

    All combinations where the budget allows, else changes of one parameter at a time, drawn at random without
    repetition; the draw follows from the parameters alone, so arms that share them try the same values.
    """
    values = parameters(arm, tune)
    if math.prod(map(len, values.values())) <= tune.budget:
        changes = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    else:
        single = [{name: value} for name, of in values.items() for value in of]
        draw = np.random.default_rng(int(digest({name: list(of) for name, of in values.items()})[:12], 16))
        changes = [single[at] for at in draw.permutation(len(single))]
    tried = [arm.config, *(validated(replace(arm.config, **change)) for change in changes)]
    return list(dict.fromkeys(tried))[: tune.budget]


def parameters(arm: Arm, tune: Tune) -> dict[str, Sequence[Any]]:
    """What may be tuned for an arm: declared or named by the study, and not decided by it."""
    declared = {f.name: f.metadata["sweep"] for f in fields(arm.config) if f.metadata.get("sweep")}
    named = declared if tune.parameters == "declared" else tune.parameters
    own = {f.name for f in fields(arm.config)}
    return {name: values for name, values in named.items() if name in own and name not in arm.named}


def choose(tried: Sequence[Sequence[Validation]], metric: str = "map@all") -> int:
    """Which candidate is best: the highest mean over tasks and seeds; of equals, the first.

    Args:
        tried: For every candidate what its runs measured on validation items, one mapping a seed; empty where it
            did not finish.
        metric: What they are judged by.

    Raises:
        DataError: no candidate has validation numbers.
    """
    scores = [
        statistics.fmean(values[metric] for run in runs for values in run.values()) if any(runs) else -np.inf
        for runs in tried
    ]
    if max(scores, default=-np.inf) == -np.inf:
        raise DataError("nothing can be tuned: no candidate was measured on validation items")
    return int(np.argmax(scores))
