"""Records on disk: one folder a run, ``<root>/<data set>/<method>/<key16>/``.

    record.json         spec, status, metrics, curves, cost, where and with what it was made; written last
    codes.safetensors   packed codes of every view on every side, uint8 (n, ceil(k / 8)), or float32 (n, k)
    queries.safetensors average precision of every query, float32 (q,), one array a task
    labels.safetensors  only beside codes that came from a file: the labels that came with them, uint8 (n, c)
    model.safetensors   where it was asked for: the hash functions that made the codes, see hashbench.models
    log.jsonl           what the method logged, one JSON object a line

The folder is the truth: every file is written by rename and the record last, so a record means a whole run.
Merging two machines' results is copying folders.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hashbench.conditions import Conditions
from hashbench.errors import DataError, NoRoom, UsageError
from hashbench.files import replacing, write_text
from hashbench.spec import Spec

SCHEMA = 1

CODES_DIGEST = "codes_sha256"
"""In the place of the settings of codes that came from a file: it tells runs apart, and is no setting."""

ARM = "arm"
"""Among the settings of records that a study hands to figures: the name that it gave to the arm. Never stored."""

Status = Literal["done", "failed", "skipped", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one run."""

    spec: Spec
    status: Status
    reason: str = ""
    """Why it is not done; empty when it is."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Every setting of the method, those among them that the key leaves out (``since``)."""
    rules: dict[str, str] = field(default_factory=dict)
    """The protocol's rules in words."""
    counts: dict[str, int] = field(default_factory=dict)
    """Items on each side, queries without a relevant item."""
    evaluation_version: int = 0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Task (``image->text``) to metric id to value, measured on test queries."""
    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same on validation items: the only numbers that anything may be chosen by."""
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Task to curve id to its points."""
    code_digests: dict[str, str] = field(default_factory=dict)
    """``side/view`` to the sha256 of its codes."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """``phase/name`` to the last value of every number that the method logged (``log.jsonl`` has all of them)."""
    warnings: list[str] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    """Seconds and bytes."""
    provenance: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def key(self) -> str:
        return self.spec.key

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary with the key in it."""
        return {"key": self.key, **asdict(self)}


class Store:
    """The records below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, spec: Spec) -> Path:
        return self.root / spec.dataset / spec.method / spec.key[:16]

    def check_writable(self) -> None:
        """Raises DataError when nothing can be written here: better before the work than after it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            writable = os.access(self.root, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            raise DataError(f"--results {self.root}: cannot be written; name a folder of yours")

    def find(self, spec: Spec) -> Record | None:
        """The record of this very spec, whatever its status, or None."""
        file = self.folder(spec) / "record.json"
        return read_record(file) if file.exists() else None

    def save(
        self,
        record: Record,
        codes: Mapping[str, NDArray[Any]],
        queries: Mapping[str, NDArray[np.float32]],
        events: Iterable[Mapping[str, Any]],
        labels: Mapping[str, NDArray[np.uint8]] | None = None,
        model: Callable[[Path], None] | None = None,
    ) -> Path:
        """Write everything of a run, the record last; returns its folder.

        A record of the same run is removed first: killed in between, the run counts as not made.

        Args:
            record: What is known of the run.
            codes: ``side/view`` to packed codes.
            queries: Task to the average precision of every query.
            events: What the method logged.
            labels: Those of codes that belong to no data set of ours.
            model: Writes the hash functions to a path; None: they are not kept, and older ones go.

        Raises:
            NoRoom: the disk is full or the folder cannot be written.
        """
        folder = self.folder(record.spec)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "record.json").unlink(missing_ok=True)  # never an old record beside new codes
            if codes:
                _write_arrays(folder / "codes.safetensors", codes, {"bits": str(record.spec.bits)})
            if labels:
                _write_arrays(folder / "labels.safetensors", labels, {})
            (folder / "model.safetensors").unlink(missing_ok=True)
            if model:
                with _arrays_to(folder / "model.safetensors") as partial:
                    model(partial)
            lines = "".join(json.dumps(event, allow_nan=False) + "\n" for event in events)
            write_text(folder / "log.jsonl", lines)
            self.rewrite(record, queries)
        except OSError as error:
            raise NoRoom(f"{folder}: the record could not be written: {error}") from error
        return folder

    def rewrite(self, record: Record, queries: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace what an evaluation of stored codes says."""
        if queries:
            _write_arrays(self.folder(record.spec) / "queries.safetensors", queries, {})
        write_text(
            self.folder(record.spec) / "record.json",
            json.dumps(record.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n",
        )

    def codes(self, record: Record) -> dict[str, NDArray[np.uint8]]:
        """``side/view`` to packed codes (n, ceil(k / 8)) of a finished run."""
        return _read_arrays(self.folder(record.spec) / "codes.safetensors")

    def labels(self, record: Record) -> dict[str, NDArray[np.uint8]]:
        """The labels (n, c) that came with codes from a file, as :class:`hashbench.labelled.LabelledItems` has them."""
        return _read_arrays(self.folder(record.spec) / "labels.safetensors")

    def model(self, record: Record) -> Path | None:
        """The file with the hash functions of a run, which :class:`hashbench.models.Model` reads; None: not kept."""
        path = self.folder(record.spec) / "model.safetensors"
        return path if path.exists() else None

    def queries(self, record: Record) -> dict[str, NDArray[np.float32]]:
        """Task to the average precision of every query."""
        return _read_arrays(self.folder(record.spec) / "queries.safetensors")

    def read_all(self) -> tuple[list[Record], list[DataError]]:
        """Every record that can be read, ordered by path, and what is wrong with the others."""
        records, damaged = [], []
        for file in sorted(self.root.glob("*/*/*/record.json")):
            try:
                records.append(read_record(file))
            except DataError as error:
                damaged.append(error)
        return records, damaged

    def by_prefix(self, prefix: str) -> Record:
        """The one record whose key starts with ``prefix``.

        Raises:
            UsageError: none or several do.
        """
        found = [record for record in self.read_all()[0] if record.key.startswith(prefix)]
        if len(found) != 1:
            raise UsageError(
                f"run {prefix!r}: expected the beginning of one key in {self.root}, found {len(found)}; "
                "hashbench results lists them"
            )
        return found[0]


def read_record(file: Path) -> Record:
    """Read one record.json.

    Raises:
        DataError: damaged, or written by a newer hashbench.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise DataError(f"{file}: written by a newer hashbench (schema {data['schema']}, this one reads {SCHEMA})")
        key = data.pop("key")
        record: Record = TypeAdapter(Record).validate_python(data)
    except (json.JSONDecodeError, KeyError, TypeError, ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{file}: damaged ({first}); delete its folder and run again") from error
    if record.key != key:
        raise DataError(f"{file}: says key {key[:16]}, its spec gives {record.key[:16]}: it was edited by hand")
    return record


_TOLD_OTHERWISE = ("config", "views", "conditions", "precision_version")


def facts(record: Record) -> dict[str, Any]:
    """What a record can be chosen and told apart by: the spec, flat, with every setting of the method."""
    spec = record.spec
    views = {view: identity.partition(" ") for view, identity in spec.views.items()}
    return {
        **spec.config,
        **record.settings,
        "views": "+".join(views),
        **{view: name for view, (name, _, _) in views.items()},
        **{f"{view}_encoder": how for view, (_, _, how) in views.items()},
        **{name: value for name, value in spec.key_fields().items() if name not in _TOLD_OTHERWISE},
        **asdict(Conditions()),
        **spec.conditions,
        "evaluation_version": record.evaluation_version,
        "status": record.status,
        "key": record.key[:16],
    }


def last_values(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """``phase/name`` to the last number logged under it, ``name`` alone where nothing was said of a phase."""
    found: dict[str, float] = {}
    for event in events:
        phase = f"{event['phase']}/" if "phase" in event else ""
        found |= {
            f"{phase}{name}": float(value)
            for name, value in event.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    return found


def telling(records: Sequence[Record]) -> list[str]:
    """Names of the facts in which runs of one method differ, seeds, code lengths and outcomes apart.

    Runs that agree in them, in method and code length are repetitions under several seeds; no others are. Where
    even the seeds are equal, as of codes from several files, the key tells them apart.
    """
    by_method: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_method.setdefault(record.spec.method, []).append(facts(record))
    apart = ("method", "bits", "seed", "status", "key", CODES_DIGEST)
    names = {name: None for of in by_method.values() for known in of for name in known if name not in apart}
    values = ([{str(known[name]) for known in of if name in known} for of in by_method.values()] for name in names)
    found = [name for name, of_methods in zip(names, values, strict=True) if any(len(of) > 1 for of in of_methods)]
    same = ("method", "bits", "seed", *found)
    different = {tuple(str(known.get(name)) for name in same) for of in by_method.values() for known in of}
    return found if len(different) == len(records) else [*found, "key"]


def own_metric(records: Sequence[Record]) -> str:
    """The metric that the users of these records' protocol print, where every one has it; otherwise ``map@all``."""
    own = records[0].rules.get("metric", "map@all") if records else "map@all"
    return own if all(own in metrics for record in records for metrics in record.metrics.values()) else "map@all"


def has_binary_codes(record: Record) -> bool:
    """Whether codes are binary: real-valued ones have curves over ranks alone, as they have no Hamming radius."""
    curves = [name for of_task in record.curves.values() for name in of_task]
    return "radius/radius" in curves or not curves


def bytes_of_a_code(record: Record) -> int:
    """What the store keeps of one item in one view: an eighth of a byte a bit, four a real number."""
    return -(-record.spec.bits // 8) if has_binary_codes(record) else 4 * record.spec.bits


def provenance(device: str) -> dict[str, Any]:
    """Where and with what a run is made: for people, never for the key."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(["hashbench", *sys.argv[1:]]),
        "git": _git_state(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "device": device,
        **{name: _version(name) for name in ("hashbench", "torch", "numpy", "timm", "open_clip_torch")},
    }


def _git_state() -> str | None:
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return git.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    with _arrays_to(path) as partial:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial, metadata)


@contextmanager
def _arrays_to(path: Path) -> Iterator[Path]:
    """Lend a temporary path for a safetensors file that takes the place of ``path``."""
    from safetensors import SafetensorError

    with replacing(path) as partial:
        try:
            yield partial
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error


def _read_arrays(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete its folder and run again") from error
