"""Spec: everything that decides a result, and its key. Execution: how it is carried out, never in the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from hashbench.config import digest
from hashbench.errors import UsageError

Precision = Literal["fp32", "bf16"]
Tuning = Literal["frozen", "full"]

PRECISION_VERSIONS: Mapping[Precision, int] = {"fp32": 1, "bf16": 2}
"""bf16 at version 1 did not see its own steps: weights were cast once and kept."""

MOST_NUMBERS = 10_000
"""As many numbers as one range may stand for."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run, to the last setting. Two runs with equal specs are the same run.

    A field that is added later carries ``metadata={"since": value}``: while it holds that value it is left
    out of the key, so that results made before it keep theirs.
    """

    method: str
    method_version: int
    config: dict[str, Any]
    """Every setting of the method, defaults written out."""
    dataset: str
    dataset_revision: str
    protocol: str
    """``name@version``."""
    split: str
    """Digest of the ids on every side."""
    views: dict[str, str]
    """View name to the identity of its backbone: name, weights digest, transform."""
    prompts: str | None = None
    """Digest of the sentences and names that label prompts are made of; None where none are used."""
    tuning: Tuning = "frozen"
    bits: int
    seed: int
    precision: Precision = "fp32"
    precision_version: int = field(default=1, metadata={"since": 1})
    """Raised where a precision computes otherwise than it did; see :data:`PRECISION_VERSIONS`."""
    conditions: dict[str, Any] = field(default_factory=dict, metadata={"since": {}})
    """Training conditions that are not at their defaults; see :mod:`hashbench.conditions`."""

    def key_fields(self) -> dict[str, Any]:
        """What the key is the digest of."""
        values = asdict(self)
        return {
            f.name: values[f.name]
            for f in fields(self)
            if "since" not in f.metadata or values[f.name] != f.metadata["since"]
        }

    @property
    def key(self) -> str:
        """sha256 of the canonical JSON of :meth:`key_fields`."""
        return digest(self.key_fields())

    @property
    def scope(self) -> str:
        """Digest of all that a stage inside a method depends on besides its own settings, bits and seed."""
        values = self.key_fields()
        for name in ("config", "bits", "seed"):
            del values[name]
        return digest(values)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How runs are carried out. Nothing here may change a number."""

    device: str = "cpu"
    workers: int = 1
    """Runs at the same time."""
    devices: tuple[str, ...] = ()
    """Where several devices take part: the device of every worker, in place of ``workers`` on ``device``."""
    force: bool = False
    """Whether to run again what is done."""
    models: bool = False
    """Whether the hash functions are kept with the codes, for searching and for export."""
    engine: str = "local"
    """What starts workers; see :mod:`hashbench.engines`."""
    engine_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def places(self) -> tuple[str, ...]:
        """The device of every worker."""
        return self.devices or (self.device,) * self.workers


def parse_numbers(flag: str, text: str) -> list[int]:
    """``"16,32"`` or ``"0-4"`` or a mix, in the order given, without repeats.

    Raises:
        UsageError: not a list of whole numbers.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"{flag} {text!r}: expected whole numbers like 16,32 or a range like 0-4, found {part!r}")
        if dash and int(last) < int(first):
            raise UsageError(f"{flag} {text!r}: the range {part!r} runs backwards")
        if dash and int(last) - int(first) >= MOST_NUMBERS:
            raise UsageError(f"{flag} {text!r}: the range {part!r} has more than {MOST_NUMBERS} numbers")
        numbers += range(int(first), int(last if dash else first) + 1)
    return list(dict.fromkeys(numbers))
