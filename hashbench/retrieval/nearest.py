"""The first items of a ranking, for people to look at; metrics never need them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.retrieval.codes import PackedCodes, distances, same_length
from hashbench.retrieval.real import RealCodes, cosines

Index = NDArray[np.int64]


def nearest(
    query: PackedCodes | RealCodes, database: PackedCodes | RealCodes, k: int
) -> tuple[Index, NDArray[np.float64]]:
    """Database rows (queries, min(k, n)) nearest first, and their distances; ties stand in the database's order.

    The distance is Hamming's, or one minus the cosine for real-valued codes. The whole matrix of distances is held
    in memory: meant for a few queries.

    Raises:
        UsageError: the sides differ in kind or length, or ``k`` is below 1.
    """
    if k < 1:
        raise UsageError(f"nearest: expected at least 1 item, found {k}")
    far: NDArray[Any]
    if isinstance(query, PackedCodes) and isinstance(database, PackedCodes):
        same_length(query, database)
        far = distances(query, database)
    elif isinstance(query, RealCodes) and isinstance(database, RealCodes):
        far = 1 - cosines(query, database)
    else:
        raise UsageError("codes: expected both sides binary or both real-valued, found one of each")
    rows = np.argsort(far, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(far, rows, axis=1).astype(np.float64)
