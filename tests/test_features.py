"""The feature cache: the numbers of the backbone, kept whole, shared, and never half-valid."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from hashbench import features
from hashbench.backbone import Backbone, Tokens
from hashbench.dataset import Dataset, Rules, Source, Split, Texts
from hashbench.errors import DataError, UsageError
from hashbench.features import FeatureCache, MappedRows, RawRows, vectors

ITEMS, BATCH = 50, 8


class Pictures:
    """Pictures made of their row number; one of them may be damaged."""

    modality: Any = "image"

    def __init__(self, damaged: int = -1) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, row: int) -> Image.Image:
        if row == self.damaged:
            raise OSError("image file is truncated")
        return Image.fromarray(np.random.default_rng(row).integers(256, size=(6, 5, 3), dtype=np.uint8))


class Toy(Dataset):
    name = "toy"
    licence = "none"
    protocols: ClassVar[Mapping[str, Rules]] = {"toy@1": Rules(id="toy@1", items="all", split="none", text="numbers")}
    class_names = ("a",)
    labels = np.ones((ITEMS, 1), np.uint8)
    ids = tuple(f"toy/{row}" for row in range(ITEMS))

    def __init__(self, revision: str = "r1", damaged: int = -1) -> None:
        super().__init__()
        self._revision, self._damaged = revision, damaged

    @property
    def revision(self) -> str:
        return self._revision

    @property
    def views(self) -> Mapping[str, Source]:
        texts = Texts([f"item {row} {'x' * (row % 5)}" for row in range(ITEMS)])
        return {"image": Pictures(self._damaged), "text": texts}

    @property
    def split(self) -> Split:
        every = np.arange(ITEMS)
        return Split(query=every[:5], database=every[10:], train=every[20:], validation=every[5:10])


class Project(nn.Module):
    """A fixed random projection, which notes each batch it sees in a file and takes its time."""

    def __init__(self, width: int, dim: int, journal: Path | None, pause: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, dim)
        nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(3))
        nn.init.zeros_(self.linear.bias)
        self.dropout = nn.Dropout(0.5)
        self.journal, self.pause = journal, pause

    def forward(self, rows: Tensor) -> Tensor:
        if self.journal:
            with self.journal.open("a") as file:
                file.write(f"{len(rows)}\n")
        time.sleep(self.pause)
        out: Tensor = self.dropout(self.linear(rows.flatten(1).float() / 64))
        return out


class Eye(Backbone):
    modality: Any = "image"
    name = "eye"
    weights = "0123456789abcdef"
    transform = "6 x 5 px"
    dim = 7
    width = 3 * 6 * 5

    def __init__(self, journal: Path | None = None, pause: float = 0.0) -> None:
        self.journal, self.pause = journal, pause

    def prepare(self, items: Sequence[Any]) -> Tensor:
        return torch.stack([torch.from_numpy(np.array(item)).permute(2, 0, 1) for item in items])

    def encoder(self) -> nn.Module:
        return Project(self.width, self.dim, self.journal, self.pause)


class Reader(Eye):
    modality = "text"
    name = "reader"
    transform = "12 characters"
    width = 12

    def prepare(self, items: Sequence[Any]) -> Tensor:
        return torch.tensor([list(text.encode().ljust(12)[:12]) for text in items])


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "everything"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def get(cache: FeatureCache, backbone: Backbone | None = None, dataset: Dataset | None = None, **how: Any) -> Any:
    return cache.get(dataset or Toy(), "image", backbone or Eye(), **{"batch_size": BATCH, **how})


def expected(backbone: Backbone, view: str) -> NDArray[np.float32]:
    source = Toy().views[view]
    with torch.inference_mode():
        rows = backbone.prepare([source[row] for row in range(ITEMS)])
        return np.asarray(backbone.encoder().eval()(rows))


@pytest.mark.parametrize(("view", "backbone"), [("image", Eye()), ("text", Reader())])
def test_features_are_the_backbones(cache: FeatureCache, view: str, backbone: Backbone) -> None:
    seen: list[tuple[int, int]] = []
    found = cache.get(Toy(), view, backbone, batch_size=BATCH, progress=lambda *at: seen.append(at))
    assert found.array.shape == (ITEMS, 7)
    assert found.array.dtype == np.float32
    np.testing.assert_allclose(found.array, expected(backbone, view), rtol=1e-5, atol=1e-5)
    assert seen == [(min(done, ITEMS), ITEMS) for done in range(0, ITEMS + BATCH, BATCH)]
    assert not found.reused


def test_the_second_time_they_are_there(cache: FeatureCache, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert not cache.has(Toy(), "image", Eye())
    first = get(cache, Eye(journal))
    batches = journal.read_text()
    second = get(FeatureCache(cache.root), Eye(journal))
    assert cache.has(Toy(), "image", Eye())
    assert (second.reused, second.key) == (True, first.key)
    assert np.array_equal(first.array, second.array)
    assert journal.read_text() == batches


def test_they_are_lent_as_a_map_that_cannot_be_written(cache: FeatureCache) -> None:
    array = get(cache).array
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_whatever_decides_a_feature_decides_the_key(cache: FeatureCache) -> None:
    class Other(Eye):
        weights = "fedcba9876543210"

    class Smaller(Eye):
        transform = "3 x 3 px"

    def key(backbone: Backbone, dataset: Dataset, **how: Any) -> str:
        return cache.key(dataset, "image", backbone, **how)

    keys = [
        key(Eye(), Toy()),
        key(Eye(), Toy("r2")),
        key(Other(), Toy()),
        key(Smaller(), Toy()),
        key(Eye(), Toy(), precision="bf16"),
        cache.key(Toy(), "text", Reader()),
    ]
    assert len(set(keys)) == len(keys)
    assert key(Eye(), Toy()) == keys[0]
    assert get(cache, batch_size=5).key == get(cache, batch_size=9).key == keys[0]


def test_sequences_are_kept_flat_beside_the_vectors(cache: FeatureCache) -> None:
    def encoder() -> nn.Module:
        return nn.Sequential(Eye().encoder(), nn.Unflatten(1, (1, 7)), Doubled())

    class Doubled(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return torch.cat([rows, 2 * rows], 1)

    plain, tokens = Eye(), Tokens(Eye(), "tokens: twice the vector", 2, encoder)
    found = cache.get(Toy(), "image", tokens, batch_size=BATCH)
    assert found.array.shape == (ITEMS, tokens.length * tokens.dim) == (ITEMS, 14)
    vectors = get(cache, plain).array
    assert found.key != get(cache, plain).key
    np.testing.assert_array_equal(found.array.reshape(ITEMS, 2, 7), np.stack([vectors, 2 * vectors], 1))


def test_neither_threads_nor_seeds_outside_matter(cache: FeatureCache, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(11)
    drawn = torch.get_rng_state()
    one = get(cache).array
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    torch.manual_seed(12)
    other = get(FeatureCache(tmp_path / "other")).array
    assert one.tobytes() == other.tobytes()


def test_bf16_is_autocast(cache: FeatureCache) -> None:
    exact, rough = get(cache).array, get(cache, precision="bf16").array
    error = np.abs(exact - rough).max() / np.abs(exact).max()
    assert 1e-5 < error < 2e-2
    assert rough.dtype == np.float32


RUN = """
import sys
from pathlib import Path
from tests.test_features import *
features.SAVE_SECONDS = 0
root, journal, pause, together = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
(root.parent / f"ready-{os.getpid()}").touch()
while len(list(root.parent.glob("ready-*"))) < together:
    time.sleep(0.01)
found = FeatureCache(root).get(Toy(), "image", Eye(journal, pause), batch_size=BATCH)
print(found.reused, found.array.sum())
"""


def start(root: Path, journal: Path, pause: float, together: int = 1) -> subprocess.Popen[str]:
    """An extraction in a process of its own, which begins when ``together`` of them are ready."""
    here = Path(__file__).parents[1]
    command = [sys.executable, "-c", RUN, str(root), str(journal), str(pause), str(together)]
    return subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True)


def test_a_killed_extraction_goes_on_to_the_same_bytes(cache: FeatureCache, tmp_path: Path) -> None:
    process = start(cache.root, tmp_path / "journal", 0.3)
    while process.poll() is None and not (cache.ls() and cache.ls()[0].rows >= 2 * BATCH):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    [killed] = cache.ls()
    assert not killed.complete
    assert 0 < killed.rows < ITEMS
    assert not cache.has(Toy(), "image", Eye())
    with next(cache.root.glob("*.partial")).open("ab") as partial:
        partial.write(b"rows that were written but not counted")

    journal, seen = tmp_path / "second", []
    resumed = get(cache, Eye(journal), progress=lambda done, total: seen.append(done))
    assert seen[0] == killed.rows
    assert sum(map(int, journal.read_text().split())) == ITEMS - killed.rows
    assert resumed.array.tobytes() == get(FeatureCache(tmp_path / "other")).array.tobytes()


def test_an_attempt_with_other_batches_starts_anew(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SAVE_SECONDS", 0)

    def interrupt(done: int, total: int) -> None:
        if done >= 2 * BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(cache, progress=interrupt)
    assert cache.ls()[0].rows == 2 * BATCH
    seen: list[int] = []
    get(cache, batch_size=BATCH + 1, progress=lambda done, total: seen.append(done))
    assert seen[0] == 0


def test_two_processes_share_one_extraction(cache: FeatureCache, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    processes = [start(cache.root, journal, 0.1, together=2) for _ in range(2)]
    said = [process.communicate()[0].split() for process in processes]
    assert sum(map(int, journal.read_text().split())) == ITEMS
    assert said[0][1] == said[1][1]
    assert sorted(reused for reused, _ in said) == ["False", "True"]


@pytest.mark.parametrize("damage", ["short", "long", "changed", "gone", "no entry", "odd entry", "old entry"])
def test_what_is_damaged_is_computed_again(cache: FeatureCache, damage: str) -> None:
    right = np.array(get(cache).array)
    [matrix], [entry] = cache.root.glob("*.f32"), cache.root.glob("*.json")
    content = matrix.read_bytes()
    if damage == "short":
        matrix.write_bytes(content[:-4])
    elif damage == "long":
        matrix.write_bytes(content + b"\0\0\0\0")
    elif damage == "changed":
        matrix.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    elif damage == "gone":
        matrix.unlink()
    elif damage == "no entry":
        entry.unlink()
    elif damage == "odd entry":
        entry.write_text("{")
    else:
        entry.write_text(json.dumps({"key": entry.stem, "rows": ITEMS}))
    assert not cache.has(Toy(), "image", Eye())
    again = get(cache)
    assert not again.reused
    assert np.array_equal(again.array, right)
    assert get(cache).reused


def test_killed_between_checksum_and_rename_nothing_is_lost(cache: FeatureCache, tmp_path: Path) -> None:
    right = np.array(get(cache).array)
    [matrix] = cache.root.glob("*.f32")
    matrix.rename(matrix.with_suffix(".partial"))
    journal = tmp_path / "journal"
    assert np.array_equal(get(cache, Eye(journal)).array, right)
    assert not journal.exists()


def test_a_full_disk_is_said_with_the_path(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=f"{cache.root}: No space left on device"):
            get(cache)
    assert not cache.has(Toy(), "image", Eye())
    assert not get(cache).reused


def test_a_folder_that_cannot_be_made_is_said_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"{tmp_path}/file/features"):
        get(FeatureCache(tmp_path / "file" / "features"))


def test_a_picture_that_cannot_be_read_is_named(cache: FeatureCache) -> None:
    with pytest.raises(DataError, match="toy: the image of item 'toy/33' cannot be read: OSError: image file is trunc"):
        get(cache, dataset=Toy(damaged=33))
    assert threading.active_count() < 20


def test_features_must_be_finite(cache: FeatureCache) -> None:
    class Broken(Eye):
        def encoder(self) -> nn.Module:
            module = super().encoder()
            nn.init.constant_(module.linear.bias, float("nan"))  # type: ignore[union-attr,arg-type]
            return module

    with pytest.raises(DataError, match="not finite"):
        get(cache, Broken())


def test_what_makes_no_sense_is_refused(cache: FeatureCache) -> None:
    class Untrained(Eye):
        weights = "untrained"

    with pytest.raises(UsageError, match="--tuning full"):
        get(cache, Untrained())
    with pytest.raises(UsageError, match="eye reads image, but toy's text view is text"):
        cache.get(Toy(), "text", Eye())
    with pytest.raises(UsageError, match="expected fp32 or bf16"):
        get(cache, precision="fp64")


def test_ls_and_clean(cache: FeatureCache) -> None:
    assert cache.ls() == []
    assert cache.clean() == 0
    get(cache)
    cache.get(Toy(), "text", Reader())
    old, new = sorted(cache.ls(), key=lambda entry: entry.backbone)
    assert (old.dataset, old.view, old.rows, old.total, old.width, old.complete) == (
        "toy",
        "image",
        ITEMS,
        ITEMS,
        7,
        True,
    )
    assert old.bytes == ITEMS * 7 * 4
    assert new.view == "text"
    past = time.time() - 3 * 86400
    for path in cache.root.glob(f"{old.key}.*"):
        os.utime(path, (past, past))
    assert [entry.key for entry in cache.ls()] == [new.key, old.key]
    assert cache.clean(older_than_days=4) == 0
    assert cache.clean(older_than_days=2) > old.bytes
    assert [entry.key for entry in cache.ls()] == [new.key]
    assert cache.has(Toy(), "text", Reader())
    (cache.root / f".{new.key}.json.0123abcd.partial").write_text("left by a killed process")
    cache.clean()
    assert [path for path in cache.root.iterdir() if path.is_file()] == []


def test_use_keeps_features_from_being_cleaned(cache: FeatureCache) -> None:
    get(cache)
    past = time.time() - 3 * 86400
    for path in cache.root.glob("*.*"):
        os.utime(path, (past, past))
    get(cache)
    assert cache.clean(older_than_days=1) == 0


def test_vectors_of_sentences_are_those_of_the_view(cache: FeatureCache) -> None:
    strings = list(Toy().views["text"])[:10]  # type: ignore[call-overload]
    found = vectors(Reader(), strings, batch_size=4)
    np.testing.assert_allclose(found, cache.get(Toy(), "text", Reader()).array[:10], rtol=1e-5, atol=1e-5)
    assert found.shape == (10, 7)


@pytest.mark.parametrize(
    ("view", "backbone", "dtype"), [("image", Eye(), torch.uint8), ("text", Reader(), torch.int64)]
)
def test_raw_rows_are_prepared_items(view: str, backbone: Backbone, dtype: torch.dtype) -> None:
    chosen = np.array([40, 3, 17, 8])
    rows = RawRows(Toy(), view, backbone, chosen)
    positions = torch.tensor([2, 0, 2])
    source = Toy().views[view]
    assert len(rows) == 4
    assert rows[positions].dtype == dtype
    assert torch.equal(rows[positions], backbone.prepare([source[17], source[40], source[17]]))


def test_a_damaged_raw_picture_is_named() -> None:
    rows = RawRows(Toy(damaged=7), "image", Eye(), np.array([1, 7]))
    with pytest.raises(DataError, match="'toy/7'"):
        rows[torch.tensor([0, 1])]


def test_mapped_rows_are_copies_of_chosen_rows(cache: FeatureCache) -> None:
    array = get(cache).array
    chosen = np.array([40, 3, 17, 8])
    rows = MappedRows(array, chosen)
    batch = rows[torch.tensor([3, 0, 3])]
    assert len(rows) == 4
    assert batch.dtype == torch.float32
    assert np.array_equal(batch.numpy(), array[[8, 40, 8]])
    batch += 1
    assert np.array_equal(rows[torch.arange(4)].numpy(), array[chosen])
