"""What a frozen backbone says about a view of a data set: computed once, kept, and lent out as a memory map.

One feature matrix is two files: ``KEY.f32``, its rows one after the other as little-endian float32, and
``KEY.json``, which says what they are and has their checksum. While it is computed the rows grow in
``KEY.partial`` and the JSON counts those that are safely on disk; a killed computation goes on from there. A
matrix without its right checksum does not count.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from hashbench import checksum
from hashbench.backbone import Backbone
from hashbench.config import digest
from hashbench.dataset import Dataset, Index
from hashbench.errors import DataError, UsageError
from hashbench.files import write_text
from hashbench.method import isolated
from hashbench.paths import cache_dir
from hashbench.spec import Precision

Progress = Callable[[int, int], None]
"""Called as (rows done, rows in all)."""

FEATURES_VERSION = 1
"""Part of every key; raised when the same backbone on the same items would give other numbers."""

READERS = 4
"""Threads that decode and resize pictures."""

BATCH = {"image": {"cpu": 16, "cuda": 256}, "text": {"cpu": 256, "cuda": 1024}}
"""Items a step: few pictures for a core's cache, many for a GPU; many texts, which are sorted by length."""

SAVE_SECONDS = 2.0
"""How often finished rows are made safe."""


@dataclass(frozen=True, eq=False)
class Features:
    """The vectors of every item of a view, in the data set's order."""

    array: NDArray[np.float32]
    """(n, d), memory-mapped and read-only; token sequences lie flat, (n, l * d)."""
    key: str
    reused: bool
    """Whether they were there already, or made by another process meanwhile."""
    seconds: float
    """How long it took to get them."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known about one matrix of the cache; the content of its JSON file."""

    key: str
    dataset: str
    view: str
    data: str
    """Digest of the raw items."""
    backbone: str
    """Its identity."""
    precision: str
    total: int
    """Rows it will have."""
    batch_size: int
    device: str
    """Where it was computed; not part of the key."""
    rows: int = 0
    """Rows that are safely on disk."""
    width: int = 0
    sha256: str = ""
    """Of all rows; empty until they are complete."""
    seconds: float = 0.0
    """Time spent on it, over all attempts."""
    bytes: int = 0
    last_used: float = 0.0
    """Seconds since 1970."""

    @property
    def complete(self) -> bool:
        return bool(self.sha256)


class FeatureCache:
    """A folder of feature matrices. Any number of processes may use one."""

    def __init__(self, root: Path | None = None) -> None:
        """Name the folder; it is made when something is put in it. None: ``features`` in the cache folder."""
        self.root = cache_dir() / "features" if root is None else root

    def get(
        self,
        dataset: Dataset,
        view: str,
        backbone: Backbone,
        *,
        precision: Precision = "fp32",
        device: str = "cpu",
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """The features of every item of a view, from the folder if they are there, else computed.

        Two processes that want the same share the work of one. The key consists of the raw items, the backbone's
        identity, the precision and :data:`FEATURES_VERSION`; device and batch size move the numbers by rounding
        alone and are no part of it.

        Args:
            dataset: The items.
            view: Which view of them.
            backbone: A backbone of the view's modality, with trained weights or none to train.
            precision: ``fp32`` (without TF32) or ``bf16`` (autocast); stored as float32 either way.
            device: Where to compute.
            batch_size: Items a step; None: :data:`BATCH`.
            progress: Told how far it is.

        Raises:
            UsageError: the backbone is untrained or reads another modality.
            DataError: an item cannot be read, a feature is not finite, or the folder cannot be written.
        """
        began = time.perf_counter()
        kind = torch.device(device).type
        wanted = Entry(
            key=self.key(dataset, view, backbone, precision=precision),
            dataset=dataset.name, view=view, data=dataset.view_digest(view), backbone=backbone.identity,
            precision=precision, total=len(dataset), device=kind,
            batch_size=batch_size or BATCH[backbone.modality].get(kind, 16),
        )  # fmt: skip
        array, reused = self._open(wanted.key), True
        if array is None:
            with self._on_disk():
                lock = self._lock(wanted.key)
                lock.acquire()
            try:
                array = self._open(wanted.key)
                if array is None:
                    reused = False
                    self._compute(wanted, dataset, backbone, device, progress)
                    array = self._open(wanted.key)
            finally:
                lock.release()
        if array is None:
            raise DataError(f"feature cache {self.root}: {wanted.key} was damaged while it was written; check the disk")
        return Features(array, wanted.key, reused, time.perf_counter() - began)

    def key(self, dataset: Dataset, view: str, backbone: Backbone, *, precision: Precision = "fp32") -> str:
        """What the features of a view are kept under.

        Raises:
            UsageError: the backbone is untrained or reads another modality, or an unknown precision.
        """
        if precision not in get_args(Precision):
            raise UsageError(f"--precision {precision!r}: expected {' or '.join(get_args(Precision))}")
        source = dataset.raw(view)
        if source.modality != backbone.modality:
            raise UsageError(
                f"{backbone.name} reads {backbone.modality}, but {dataset.name}'s {view} view is {source.modality}"
            )
        if backbone.trainable and not backbone.pretrained:
            raise UsageError(f"{backbone.name} is untrained: its features say nothing; use --tuning full")
        return digest([FEATURES_VERSION, dataset.view_digest(view), backbone.identity, precision])[:32]

    def has(self, dataset: Dataset, view: str, backbone: Backbone, *, precision: Precision = "fp32") -> bool:
        """Whether :meth:`get` would find them there."""
        return self._open(self.key(dataset, view, backbone, precision=precision)) is not None

    def ls(self) -> list[Entry]:
        """What is in the folder, last used first."""
        entries = [entry for path in self.root.glob("*.json") if (entry := self._read(path.stem))]
        return sorted(entries, key=lambda entry: -entry.last_used)

    def clean(self, older_than_days: float | None = None) -> int:
        """Remove what was last used longer ago than that (None: everything), but nothing that is being computed.

        Returns:
            The bytes freed.
        """
        freed = 0
        for key in {path.name.lstrip(".").partition(".")[0] for path in self.root.glob("*.*")}:
            with self._on_disk():
                lock = self._lock(key)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                try:
                    freed += self._remove(key, older_than_days)
                finally:
                    lock.release()
        return freed

    def _open(self, key: str) -> NDArray[np.float32] | None:
        """The matrix, if it is complete and as it was written; otherwise nothing is changed."""
        entry, path = self._read(key), self._path(key, "f32")
        try:
            if not (entry and entry.complete and checksum.sha256(path) == entry.sha256):
                return None
            array = np.memmap(path, np.dtype("<f4"), mode="r", shape=(entry.rows, entry.width))
        except (OSError, ValueError):  # gone, or of another size
            return None
        with suppress(OSError):  # a folder that may only be read still serves
            os.utime(self._path(key, "json"))
        return array

    def _compute(
        self, wanted: Entry, dataset: Dataset, backbone: Backbone, device: str, progress: Progress | None
    ) -> None:
        entry, partial = self._resumable(wanted), self._path(wanted.key, "partial")
        tell = progress or (lambda done, total: None)
        tell(entry.rows, entry.total)
        encode = Encoder(backbone, wanted.precision, device)
        began = saved = time.perf_counter()
        spent = entry.seconds
        with ExitStack() as stack:
            with self._on_disk():
                file = stack.enter_context(partial.open("r+b" if entry.rows else "wb"))
                file.seek(entry.rows * entry.width * 4)
                file.truncate()
            done = entry.rows
            for rows in _batches(dataset, wanted.view, backbone, wanted.batch_size, done):
                out = encode(rows)
                done += len(out)
                with self._on_disk():
                    file.write(out.astype("<f4", copy=False).tobytes())
                    if done == entry.total or time.perf_counter() - saved >= SAVE_SECONDS:
                        file.flush()
                        os.fsync(file.fileno())
                        saved = time.perf_counter()
                        entry = replace(entry, rows=done, width=out.shape[1], seconds=spent + saved - began)
                        self._write(entry)
                tell(done, entry.total)
        with self._on_disk():
            self._write(replace(entry, sha256=checksum.sha256(partial)))
            partial.replace(self._path(wanted.key, "f32"))

    def _resumable(self, wanted: Entry) -> Entry:
        """How far an earlier attempt came whose batches were cut and computed as ours would be."""
        found = self._read(wanted.key)
        partial = self._path(wanted.key, "partial")
        same = found and (found.batch_size, found.device) == (wanted.batch_size, wanted.device)
        if found and same and partial.is_file() and partial.stat().st_size >= found.rows * found.width * 4:
            return found
        return wanted

    def _read(self, key: str) -> Entry | None:
        path = self._path(key, "json")
        try:
            entry = Entry(**json.loads(path.read_text("utf-8")))
            size = sum(file.stat().st_size for file in self._data(key))
            return replace(entry, bytes=size, last_used=path.stat().st_mtime)
        except (OSError, ValueError, TypeError):  # not there, or no entry of this version
            return None

    def _write(self, entry: Entry) -> None:
        known = {name: value for name, value in asdict(entry).items() if name not in ("bytes", "last_used")}
        write_text(self._path(entry.key, "json"), json.dumps(known, indent=1) + "\n")

    def _remove(self, key: str, older_than_days: float | None) -> int:
        files = [*self.root.glob(f"{key}.*"), *self.root.glob(f".{key}.*")]  # the latter: writes that were killed
        last = max((file.stat().st_mtime for file in files), default=0.0)
        if older_than_days is not None and time.time() - last < older_than_days * 86400:
            return 0
        freed = 0
        for file in files:
            size = file.stat().st_size
            file.unlink()
            freed += size
        return freed

    def _data(self, key: str) -> list[Path]:
        return [path for ending in ("f32", "partial") if (path := self._path(key, ending)).is_file()]

    def _path(self, key: str, ending: str) -> Path:
        return self.root / f"{key}.{ending}"

    def _lock(self, key: str) -> FileLock:
        folder = self.root / "locks"  # never removed: whoever waits for a lock holds its file
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / key)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"feature cache {self.root}: {error.strerror or error}; make room there, "
                "or set HASHBENCH_CACHE to another folder"
            ) from error


class RawRows:
    """The rows of a raw view (:class:`hashbench.method.Rows`), for training a backbone together with the method.

    Pictures are decoded when asked for, every time; text is turned into token ids once.
    """

    def __init__(self, dataset: Dataset, view: str, backbone: Backbone, rows: Index) -> None:
        """Choose the items.

        Args:
            dataset: The data set.
            view: Which view of it.
            backbone: Who prepares the items.
            rows: (n,) row numbers of the data set; position i of these rows is item ``rows[i]``.
        """
        self._dataset, self._view, self._backbone, self._rows = dataset, view, backbone, rows
        self._ids = _prepared(dataset, view, backbone, rows.tolist()) if backbone.modality == "text" else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Positions (b,) int64 to rows (b, ...)."""
        if self._ids is not None:
            return self._ids[index]
        rows = self._rows[index.numpy()].tolist()
        with ThreadPoolExecutor(READERS) as pool:  # of its own: a shared one would not survive a fork
            return torch.cat(
                list(pool.map(lambda row: _prepared(self._dataset, self._view, self._backbone, [row]), rows))
            )


class MappedRows:
    """Some rows of a feature matrix (:class:`hashbench.method.Rows`), read from the map when asked for."""

    def __init__(self, array: NDArray[np.float32], rows: Index) -> None:
        """Choose rows.

        Args:
            array: (n, d), usually a memory map.
            rows: (m,) row numbers of it; position i of these rows is ``array[rows[i]]``.
        """
        self._array, self._rows = array, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Positions (b,) int64 to a copy (b, d) float32 that may be written to."""
        return torch.from_numpy(np.array(self._array[self._rows[index.numpy()]], np.float32))


def vectors(
    backbone: Backbone,
    strings: Sequence[str],
    *,
    precision: Precision = "fp32",
    device: str = "cpu",
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """(m, d) vectors of a few sentences, such as prompts; computed anew each time.

    Raises:
        DataError: a vector is not finite.
    """
    encode = Encoder(backbone, precision, device)
    parts = range(0, len(strings), batch_size)
    return np.concatenate([encode(backbone.prepare(strings[start : start + batch_size])) for start in parts])


class Encoder:
    """A backbone's encoder as extraction uses it: evaluation mode, all cores, nothing left to the ambient settings."""

    def __init__(self, backbone: Backbone, precision: str, device: str) -> None:
        self._name, self._device = backbone.name, torch.device(device)
        self._bf16 = precision == "bf16"
        with isolated(0):  # building a module draws random numbers even where weights replace them
            module = backbone.encoder().eval().to(self._device)
        self._module = module.to(memory_format=torch.channels_last)  # convolutions take two thirds of the time

    def __call__(self, rows: Tensor) -> NDArray[np.float32]:
        with (
            _all_cores(),
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16),
        ):
            if rows.ndim == 4:
                rows = rows.contiguous(memory_format=torch.channels_last)
            out: NDArray[np.float32] = self._module(rows.to(self._device)).float().flatten(1).cpu().numpy()
        if not np.isfinite(out).all():
            raise DataError(f"backbone {self._name}: its features are not finite; its weights are damaged")
        return out


@contextmanager
def _all_cores() -> Iterator[None]:
    """Sums are split among threads, so their number decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(dataset: Dataset, view: str, backbone: Backbone, size: int, start: int) -> Iterator[Tensor]:
    """Prepared rows from ``start`` on; the next batch is read while the caller is busy with this one."""
    each = backbone.modality == "image"  # pictures one by one, in parallel; text a batch at once
    with ThreadPoolExecutor(READERS if each else 1) as pool:

        def ask(rows: list[int]) -> list[Future[Tensor]]:
            parts = [[row] for row in rows] if each else [rows]
            return [pool.submit(_prepared, dataset, view, backbone, part) for part in parts]

        def answer(asked: list[Future[Tensor]]) -> Tensor:
            return torch.cat([part.result() for part in asked])

        ahead: list[list[Future[Tensor]]] = []
        for first in range(start, len(dataset), size):
            ahead.append(ask(list(range(first, min(first + size, len(dataset))))))
            if len(ahead) > 1:
                yield answer(ahead.pop(0))
        for last in ahead:
            yield answer(last)


def _prepared(dataset: Dataset, view: str, backbone: Backbone, rows: list[int]) -> Tensor:
    source, items = dataset.raw(view), []
    for row in rows:
        try:
            item = source[row]
            if not isinstance(item, str):
                item.load()  # Pillow opens lazily: a damaged picture shows only here
        except Exception as error:  # decoders raise anything
            what = f"{dataset.name}: the {view} of item {dataset.ids[row]!r}"
            raise DataError(f"{what} cannot be read: {type(error).__name__}: {error}") from error
        items.append(item)
    return backbone.prepare(items)
