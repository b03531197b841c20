"""Codes, Hamming histograms and the metrics that follow from them."""

from hashbench.retrieval.codes import PackedCodes, digest, distances, from_bytes, pack, to_bytes, unpack
from hashbench.retrieval.evaluate import (
    DEFINITIONS,
    EVALUATION_VERSION,
    AnyCodes,
    Evaluation,
    RadiusCurve,
    RankCurve,
    chance_level,
    definition,
    evaluate,
)
from hashbench.retrieval.metrics import WithoutRelevant
from hashbench.retrieval.nearest import nearest
from hashbench.retrieval.real import RealCodes

__all__ = [
    "DEFINITIONS",
    "EVALUATION_VERSION",
    "AnyCodes",
    "Evaluation",
    "PackedCodes",
    "RadiusCurve",
    "RankCurve",
    "RealCodes",
    "WithoutRelevant",
    "chance_level",
    "definition",
    "digest",
    "distances",
    "evaluate",
    "from_bytes",
    "nearest",
    "pack",
    "to_bytes",
    "unpack",
]
