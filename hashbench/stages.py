"""Stages on disk: a teacher that one run made serves every later run that needs the same one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hashbench.files import replacing
from hashbench.method import Stage


class StageFiles(MutableMapping[str, Stage]):
    """Stages by key, one safetensors file each, with what the stage logged in the file's header.

    A damaged file counts as absent and is made again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: str) -> Stage:
        file = self._file(key)
        if not file.exists():
            raise KeyError(key)
        try:
            with safe_open(file, framework="pt") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
                events = json.loads(stored.metadata()["events"])
        except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError):
            raise KeyError(key) from None
        with suppress(OSError):  # a folder that may only be read still serves
            os.utime(file)
        return Stage(tensors, events)

    def __setitem__(self, key: str, stage: Stage) -> None:
        with replacing(self._file(key)) as partial:
            save_file(stage.tensors, partial, {"events": json.dumps(stage.events)})

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Held by the one process that makes a stage; others that need it wait, and then find it."""
        folder = self.folder / "locks"  # never removed: whoever waits for a lock holds its file
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / key):
            yield

    def __delitem__(self, key: str) -> None:
        try:
            self._file(key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in sorted(self.folder.glob("*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def bytes(self) -> int:
        """What all of them take on disk."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))

    def clean(self, older_than_days: float | None = None) -> int:
        """Remove stages last used longer ago than that (None: all) and return the bytes freed."""
        freed = 0
        for file in list(self.folder.glob("*.safetensors")):
            about = file.stat()
            if older_than_days is None or time.time() - about.st_mtime > older_than_days * 86400:
                file.unlink(missing_ok=True)
                freed += about.st_size
        return freed

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"
