"""Whether two settings differ: paired randomisation, intervals and effects over queries, Holm over a table.

The unit is the query: its average precision (AP) is averaged over the seeds of each side, and the two averages are
compared query by query. That says whether other queries would turn the result round. Whether other seeds would is told
by the difference of each seed alone, which stands beside it and is never mixed in.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hashbench.errors import DataError, UsageError
from hashbench.printing import decimals
from hashbench.store import Record, Store, facts, telling

Floats = NDArray[np.float64]

RESAMPLES = 9_999
LEVEL = 0.05
"""A difference is shown when its corrected p value is below this and its interval leaves zero out."""

NUMBERS_AT_ONCE = 2**20
"""As many drawn numbers as are held in memory together."""


def randomisation(a: ArrayLike, b: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p value, in (0, 1], of the mean difference between paired scores (q,) and (q,).

    If the sides did not differ, each difference d_i could as well have the other sign:
    p = P(|Σ s_i d_i| >= |Σ d_i|) over signs s_i = ±1. All 2^q signs are counted where they are no more than
    ``resamples`` + 1 (queries without a difference do not count), otherwise ``resamples`` random ones are drawn and
    p = (found + 1) / (resamples + 1). Neither the order of the queries nor an exchange of the sides changes it.

    Fisher, The Design of Experiments, 1935; for retrieval Smucker, Allan and Carterette, CIKM 2007; the + 1 Phipson
    and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010.

    Raises:
        UsageError: the sides differ in length, or hold no query.
    """
    differences = _differences(a, b)
    magnitudes = np.sort(np.abs(differences[differences != 0]))
    queries, total = len(magnitudes), float(magnitudes.sum())
    observed = abs(math.fsum(differences)) - 1e-10 * total  # equal sums stay equal when they are rounded differently

    def extreme(flipped: NDArray[np.integer]) -> int:
        return int(np.count_nonzero(np.abs(total - 2 * (flipped @ magnitudes)) >= observed))

    if (all_signs := 1 << queries) <= resamples + 1:
        return extreme(np.arange(all_signs)[:, None] >> np.arange(queries) & 1) / all_signs
    rng = np.random.default_rng(seed)
    found = 0
    for rows in _chunks(resamples, queries):
        drawn = rng.integers(256, size=(rows, math.ceil(queries / 8)), dtype=np.uint8)
        found += extreme(np.unpackbits(drawn, axis=1, count=queries))
    return (found + 1) / (resamples + 1)


def bootstrap(differences: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of differences (q,), had other queries of the same kind been asked.

    The .025 and .975 quantiles of the means of ``resamples`` samples of q queries, drawn with replacement: the
    percentile interval of Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. The order of the
    queries does not change it.

    Raises:
        UsageError: no query.
    """
    values = np.sort(_differences(differences, 0.0))
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=(rows, len(values)), dtype=np.int32)].mean(axis=1)
             for rows in _chunks(resamples, len(values))]  # fmt: skip
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: below .05, an error anywhere among them has a chance of at most 5 %.

    With p_(1) <= ... <= p_(m): adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A minus B in one task. All of it is over queries, but for ``seeds``."""

    task: str
    queries: int
    """Those with a relevant item, as in MAP."""
    mean: float
    """MAP of A minus MAP of B, each averaged over its seeds, -1..1."""
    low: float
    high: float
    """Ends of the 95 % interval of the mean; see :func:`bootstrap`."""
    p: float
    """See :func:`randomisation`."""
    p_holm: float | None = None
    """p corrected for the whole table by :func:`corrected`; None before."""
    effect: float | None
    """Cohen's d_z = mean / deviation of the differences (Statistical Power Analysis, 1988, section 2.3.5); None where
    all queries differ alike."""
    better: float
    """Share of queries for which A is higher, 0..1."""
    worse: float
    """Share of queries for which A is lower, 0..1; the others are equal."""
    seeds: tuple[float, ...]
    """MAP of A minus MAP of B under each seed, where both sides have the same seeds; else empty."""

    @property
    def shown(self) -> bool:
        """Whether the queries show a difference: p, corrected where it is, below .05, and zero outside the interval."""
        p = self.p if self.p_holm is None else self.p_holm
        return p < LEVEL and not self.low <= 0 <= self.high

    @property
    def agreeing(self) -> int:
        """How many seeds have a difference of the mean's sign."""
        return sum(seed * self.mean > 0 for seed in self.seeds)

    @property
    def beyond_seeds(self) -> bool | None:
        """Whether all seeds agree and the mean is larger than their deviation; None where fewer than two are paired."""
        if len(self.seeds) < 2:
            return None
        return self.agreeing == len(self.seeds) and abs(self.mean) > statistics.stdev(self.seeds)


def compare(
    store: Store, one: Sequence[Record], other: Sequence[Record], *, across_bits: bool = False
) -> list[Difference]:
    """What one setting (A, ``one``) differs by from another (B, ``other``) in MAP over the whole database.

    Each side is all seeds of one method, setting and code length. Queries without a relevant item are left out, as
    in MAP. The p values are not yet corrected: see :func:`corrected`.

    Args:
        store: Where the runs lie.
        one: Finished runs of A.
        other: Finished runs of B.
        across_bits: Let the code lengths of the sides differ.

    Returns:
        One difference for each task that both sides have.

    Raises:
        UsageError: a side is empty, mixes settings or has a run that is not done; or the sides share a run, have no
            task in common, or differ in data set, revision, protocol, split, evaluation or code length.
        DataError: the stored queries are damaged.
    """
    _check_side("A", one)
    _check_side("B", other)
    _check_sides(one[0], other[0], across_bits)
    if shared := {record.key for record in one} & {record.key for record in other}:
        raise UsageError(f"A and B: both hold run {min(shared)[:16]}; name two settings that differ")
    tasks = [task for task in one[0].metrics if task in other[0].metrics]
    if not tasks:
        raise UsageError(f"A and B: no task in common; A has {', '.join(one[0].metrics)}, "
                         f"B has {', '.join(other[0].metrics)}")  # fmt: skip
    a, b = _by_seed(store, one), _by_seed(store, other)
    return [_difference(task, *({seed: of[task] for seed, of in side.items()} for side in (a, b))) for task in tasks]


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The differences of one whole table with ``p_holm`` set by :func:`holm`."""
    adjusted = holm([difference.p for difference in differences])
    return [replace(difference, p_holm=p) for difference, p in zip(differences, adjusted, strict=True)]


def in_words(difference: Difference, one_name: str, other_name: str) -> str:
    """One sentence for a reader: what the queries show, then what the seeds leave open.

    The queries show a difference by :attr:`Difference.shown`, and seeds bear it out by
    :attr:`Difference.beyond_seeds`.
    """
    found = difference
    correction = "uncorrected p" if found.p_holm is None else "p after Holm"
    p = found.p if found.p_holm is None else found.p_holm
    numbers = (
        f"95 % interval {decimals(found.low)} to {decimals(found.high)} over {found.queries:,} queries, "
        f"{correction} {decimals(p)}"
    )
    if found.shown:
        direction = "higher" if found.mean > 0 else "lower"
        said = f"{one_name} is {decimals(abs(found.mean))} {direction} in MAP than {other_name} ({numbers})"
    else:
        said = f"no difference shown between {one_name} and {other_name} ({decimals(found.mean)} in MAP, {numbers})"
    return f"{found.task}: {said}{_of_seeds(found)}."


def _of_seeds(found: Difference) -> str:
    n = len(found.seeds)
    if n == 0:
        return "; the sides have different seeds, so what a seed changes is not covered"
    if n == 1:
        return "; one seed, so what another would change is not covered"
    if not found.shown:
        return ""
    if found.beyond_seeds:
        return f"; all {n} seeds agree"
    return (
        f"; but seeds move it as much: {found.agreeing} of {n} agree, and their deviation is "
        f"{decimals(statistics.stdev(found.seeds))}"
    )


def _check_side(name: str, side: Sequence[Record]) -> None:
    if not side:
        raise UsageError(f"{name}: holds no run")
    for record in side:
        if record.status != "done":
            spec = record.spec
            raise UsageError(
                f"{name}: run {record.key[:16]} ({spec.method}, {spec.bits} bits, seed {spec.seed}): expected done, "
                f"found {record.status} ({record.reason}); run it again, or leave it out with status=done"
            )
    known = [facts(record) for record in side]
    names = [name for name in ("method", "bits") if len({str(of[name]) for of in known}) > 1] + telling(side)
    if names:
        values = {name: sorted({str(of[name]) for of in known if name in of}) for name in names}
        apart = "; ".join(f"{name} ({', '.join(found)})" for name, found in values.items())
        example = ",".join(f"{name}={found[0]}" for name, found in values.items())
        raise UsageError(f"{name}: runs of several settings, told apart by {apart}: narrow it, as with {example}")


def _check_sides(one: Record, other: Record, across_bits: bool) -> None:
    for name in ("dataset", "dataset_revision", "protocol", "split"):
        a, b = getattr(one.spec, name), getattr(other.spec, name)
        if a != b:
            raise UsageError(f"A and B: differ in {name} ({a} and {b}), so their queries are not the same: "
                             f"narrow both to one {name}")  # fmt: skip
    a, b = one.evaluation_version, other.evaluation_version
    if a != b:
        raise UsageError(f"A and B: measured by different versions of the evaluation ({a} and {b}); "
                         "hashbench eval measures them again")  # fmt: skip
    a, b = one.spec.bits, other.spec.bits
    if a != b and not across_bits:
        raise UsageError(f"A and B: codes of {a} and of {b} bits; name bits=... in both if that is the question")


def _by_seed(store: Store, side: Sequence[Record]) -> dict[int, dict[str, NDArray[np.float32]]]:
    """Seed to task to the AP of every query."""
    return {record.spec.seed: store.queries(record) for record in sorted(side, key=lambda record: record.spec.seed)}


def _difference(task: str, one: dict[int, NDArray[np.float32]], other: dict[int, NDArray[np.float32]]) -> Difference:
    lengths = {len(precisions) for side in (one, other) for precisions in side.values()}
    if len(lengths) > 1:
        raise DataError(f"{task}: runs of one split hold {' and '.join(map(str, sorted(lengths)))} queries; "
                        "hashbench eval measures them again")  # fmt: skip
    a, b = (np.stack(list(side.values())).mean(axis=0, dtype=np.float64) for side in (one, other))
    with_relevant = (a > 0) | (b > 0)  # AP is 0 only where nothing is relevant
    if not with_relevant.any():
        raise UsageError(f"{task}: no query has a relevant item, so there is nothing to compare")
    a, b = a[with_relevant], b[with_relevant]
    differences = a - b
    low, high = bootstrap(differences)
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    paired = one.keys() == other.keys()
    by_seed = [(one[seed] - other[seed].astype(np.float64))[with_relevant].mean() for seed in one] if paired else []
    return Difference(
        task=task,
        queries=len(differences),
        mean=mean,
        low=low,
        high=high,
        p=randomisation(a, b),
        effect=mean / deviation if deviation > 1e-12 else None,
        better=float(np.mean(differences > 0)),
        worse=float(np.mean(differences < 0)),
        seeds=tuple(map(float, by_seed)),
    )


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if one.ndim != 1 or not len(one) or other.shape not in ((), one.shape):
        raise UsageError(f"scores: expected one a query on both sides, found shapes {one.shape} and {other.shape}")
    return one - other


def _chunks(resamples: int, queries: int) -> Iterator[int]:
    """Row counts that add up to ``resamples``, each of no more than NUMBERS_AT_ONCE numbers."""
    rows = max(1, NUMBERS_AT_ONCE // queries)
    for done in range(0, resamples, rows):
        yield min(rows, resamples - done)
