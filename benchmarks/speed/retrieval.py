"""How fast is `hashbench.retrieval.evaluate`, against peers measured in the same run?

    python benchmarks/speed/retrieval.py

MIRFLICKR-like data: 2,000 queries, 18,015 items, 24 classes; 16 and 64 bits; one thread; median of three
interleaved rounds, in CPU time, which other work on the machine disturbs least. Slow peers get fewer queries,
so times are per pair of query and item. The peers compute MAP only; hashbench computes every metric of
`hashbench.retrieval.DEFINITIONS`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch read it

import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from hashbench.retrieval import evaluate, pack

QUERIES, ITEMS, CLASSES, LABELS_PER_ITEM = 2_000, 18_015, 24, 3.7
ROUNDS = 3

Codes = NDArray[np.int8]
Labels = NDArray[np.uint8]
Contestant = Callable[[Codes, Codes, Labels, Labels], float]
"""Codes of queries and items, labels of queries and items -> MAP over the whole database."""


def hashbench_all(query: Codes, database: Codes, wanted: Labels, offered: Labels) -> float:
    return evaluate(pack(query), pack(database), wanted, offered).metrics["map@all"]


def hashbench_without_sort(query: Codes, database: Codes, wanted: Labels, offered: Labels) -> float:
    return evaluate(pack(query), pack(database), wanted, offered, stable_order=False).metrics["map@all"]


def loop_of_the_field(query: Codes, database: Codes, wanted: Labels, offered: Labels) -> float:
    """What ``calc_map_k`` of the DCMH family does, restated: one query at a time, product, sort, gather."""
    q, d, y, z = (torch.from_numpy(side).float() for side in (query, database, wanted, offered))
    total = 0.0
    for code, labels in zip(q, y, strict=True):
        relevant = (labels @ z.T > 0).float()
        distance = 0.5 * (d.shape[1] - code @ d.T)
        positions = relevant[torch.sort(distance).indices].nonzero()[:, 0] + 1.0
        if len(positions):
            total += float((torch.arange(1, len(positions) + 1) / positions).mean())
    return total / len(q)


def torch_matmul_argsort(query: Codes, database: Codes, wanted: Labels, offered: Labels) -> float:
    """Chunks of queries: two products, one argsort, one cumulative sum."""
    q, d, y, z = (torch.from_numpy(side).float() for side in (query, database, wanted, offered))
    ranks = torch.arange(1, len(d) + 1)
    total = 0.0
    for codes, labels in zip(q.split(128), y.split(128), strict=True):
        order = (codes @ d.T).argsort(dim=1, descending=True, stable=True)
        relevant = (labels @ z.T > 0).float().gather(1, order)
        precision = relevant.cumsum(1) / ranks
        total += float(((precision * relevant).sum(1) / relevant.sum(1).clamp(min=1)).sum())
    return total / len(q)


def sklearn_average_precision(query: Codes, database: Codes, wanted: Labels, offered: Labels) -> float:
    """One call per query; it takes a tie as one block, so its number differs."""
    from sklearn.metrics import average_precision_score

    scores = query.astype(np.float32) @ database.T.astype(np.float32)
    relevant = wanted.astype(np.float32) @ offered.T.astype(np.float32) > 0
    return float(np.mean([average_precision_score(y, s) for y, s in zip(relevant, scores, strict=True)]))


CONTESTANTS: dict[str, tuple[Contestant, int, str]] = {
    "hashbench, every metric": (hashbench_all, QUERIES, "numpy"),
    "hashbench, every metric but stable-order": (hashbench_without_sort, QUERIES, "numpy"),
    "calc_map_k loop of the field (torch)": (loop_of_the_field, 500, "torch"),
    "torch matmul + argsort, chunked": (torch_matmul_argsort, 512, "torch"),
    "sklearn average_precision_score": (sklearn_average_precision, 200, "sklearn"),
}
"""Contestant, number of queries, and the package that it needs."""


def data(bits: int, seed: int = 0) -> tuple[Codes, Codes, Labels, Labels]:
    """Label sets with uneven class sizes, and codes that follow them with noise (MAP around .8)."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, CLASSES + 1) ** 0.8
    frequency *= LABELS_PER_ITEM / frequency.sum()
    prototypes = rng.standard_normal((CLASSES, bits))

    def side(count: int) -> tuple[Codes, Labels]:
        labels = (rng.random((count, CLASSES)) < np.minimum(frequency, 0.6)).astype(np.uint8)
        labels[~labels.any(axis=1), 0] = 1
        reals = labels @ prototypes + 1.2 * rng.standard_normal((count, bits))
        return np.where(reals >= 0, 1, -1).astype(np.int8), labels

    (query, wanted), (database, offered) = side(QUERIES), side(ITEMS)
    return query, database, wanted, offered


def main() -> None:
    torch.set_num_threads(1)
    present = {name: row for name, row in CONTESTANTS.items() if importlib.util.find_spec(row[2])}
    for bits in (16, 64):
        query, database, wanted, offered = data(bits)
        seconds: dict[str, list[float]] = {name: [] for name in present}
        maps: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, (contestant, queries, _) in present.items():
                start = time.process_time()
                maps[name] = contestant(query[:queries], database, wanted[:queries], offered)
                seconds[name].append((time.process_time() - start) / (queries * ITEMS))
        ours = statistics.median(seconds["hashbench, every metric"])
        print(f"\n{bits} bits, {QUERIES:,} x {ITEMS:,}")
        print(f"{'':42} {'queries':>7} {'MAP':>6} {'ns/pair':>8} {'ratio':>7}")
        for name, (_, queries, _) in present.items():
            pair = statistics.median(seconds[name])
            print(f"{name:42} {queries:7,} {maps[name]:6.4f} {pair * 1e9:8.1f} {pair / ours:6.1f}x")
    for name in CONTESTANTS.keys() - present.keys():
        print(f"left out, not installed: {name}")


if __name__ == "__main__":
    main()
