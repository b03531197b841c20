"""From official files to a prepared data set: the same whatever the files lie in, all of it or nothing."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench.data import catalogue, pictures, prepared
from hashbench.data.fetch import Download
from hashbench.data.official import TINY_MARK, Expected
from hashbench.data.prepare import Choices, make_tiny, prepare, verify
from hashbench.data.prepared import Manifest, Prepared
from hashbench.data.sources import Sources
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.paths import data_dir

OFFICIAL = ("mirflickr25k", "nuswide", "coco", "iaprtc12", "wikipedia", "xmedia")
ITEMS = 60

Prepare = Callable[..., Prepared]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The stand-in of a data set, made once."""

    @functools.cache
    def made(name: str) -> Path:
        root = tmp_path_factory.mktemp(name)
        make_tiny(catalogue.official(name), root, ITEMS)
        return root

    return made


@pytest.fixture
def copy(stand_ins: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A stand-in that a test may change, in a folder whose name is no plain word."""
    return lambda name: Path(shutil.copytree(stand_ins(name), tmp_path / f"für {name}"))


@pytest.fixture
def prepare_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepare official files under a name, and open what was kept."""
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "cache"))

    def call(of: str, root: Path, name: str = "kept", **choices: Any) -> Prepared:
        prepare(catalogue.official(of), root, Choices(name=name, **choices), lambda *_: None)
        opened = catalogue.open_dataset(name)
        assert isinstance(opened, Prepared)
        return opened

    return call


def kept() -> list[str]:
    """What lies in the data folder, whether it shows or not."""
    folder = data_dir()
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def known(root: Path, of: str) -> Expected:
    """What a stand-in comes to, as if it were published."""
    cls = catalogue.official(of)
    table = cls.read(Sources(root), ITEMS)
    return Expected(items=ITEMS, classes=dict(zip(table.class_names, table.labels.sum(0).tolist(), strict=True)))


@pytest.mark.parametrize("name", [name for name in OFFICIAL if name != "xmedia"])
def test_a_folder_and_the_zip_of_it_are_one_data_set(
    name: str, copy: Callable[[str], Path], prepare_as: Prepare, tmp_path: Path
) -> None:
    root = copy(name)
    folder = prepare_as(name, root, "folder")
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    shutil.copy(root / TINY_MARK, zipped)
    with zipfile.ZipFile(zipped / "all of it.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*"), reverse=True):
            archive.write(path, f"one more/folder/{path.relative_to(root).as_posix()}")
    packed = prepare_as(name, zipped, "packed")
    assert packed.revision == folder.revision and packed.manifest.digests == folder.manifest.digests
    for protocol in folder.protocols:
        one, other = (catalogue.open_dataset(of, protocol) for of in ("folder", "packed"))
        assert one.split_digest == other.split_digest and one.rules == other.rules
    again = prepare_as(name, root, "folder")
    assert again.revision == folder.revision and again.manifest.digests == folder.manifest.digests


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address where it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_is_missing_is_downloaded_checked_and_read_as_it_is(
    served: tuple[Path, str], stand_ins: Callable[[str], Path], prepare_as: Prepare, tmp_path: Path, monkeypatch: Any
) -> None:
    folder, address = served
    source, cls = stand_ins("wikipedia"), catalogue.official("wikipedia")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in source.rglob("*.*"):
            if path.name != TINY_MARK:
                archive.write(path, path.relative_to(source).as_posix())
    content = (folder / "all.zip").read_bytes()
    right = Download((f"{address}/all.zip",), "all.zip", len(content), hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cls, "expected", known(source, "wikipedia"))
    plans = tuple(replace(plan, recipe=replace(plan.recipe, items=None)) for plan in cls.plans)
    monkeypatch.setattr(cls, "plans", plans)
    root = tmp_path / "fresh"

    monkeypatch.setattr(cls, "downloads", (Download(right.url, right.name, right.bytes, "0" * 32),))
    with pytest.raises(DataError, match=r"expected md5 0{32}.*put the file there yourself"):
        prepare(cls, root, Choices(name="kept", download=True), lambda *_: None)
    assert not (root / "all.zip").exists() and kept() == []

    monkeypatch.setattr(cls, "downloads", (right,))
    told: list[str] = []
    manifest, _ = prepare(cls, root, Choices(name="kept", download=True), lambda what, *_: told.append(what))
    assert (root / "all.zip").read_bytes() == content and "all.zip" in told
    assert manifest.verified and not manifest.tiny and manifest.items == ITEMS and manifest.notes == ()

    (root / "all.zip").write_bytes(content + b"more")
    with pytest.raises(DataError, match=r"all\.zip: expected .* bytes, found .*--no-verify"):
        prepare(cls, root, Choices(name="kept"), lambda *_: None)


def test_where_nobody_serves_it_nothing_is_made(prepare_as: Prepare, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nobody serves nuswide directly.*Below the root"):
        prepare_as("nuswide", tmp_path / "root", download=True)
    assert not (tmp_path / "root").exists()


def test_counts_that_are_not_the_published_ones_are_refused_or_noted(
    copy: Callable[[str], Path], prepare_as: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cls = copy("mirflickr25k"), catalogue.official("mirflickr25k")
    monkeypatch.setattr(cls, "expected", known(root, "mirflickr25k"))
    (root / TINY_MARK).unlink()
    vocabulary = next(root.rglob("common_tags.txt"))
    vocabulary.write_text("".join(f"word{number} 1\n" for number in range(1386)), newline="")
    sky = next(root.rglob("sky.txt"))
    sky.write_bytes(b"".join(sky.read_bytes().splitlines(keepends=True)[:-1]))
    count = cls.expected.classes["sky"]
    with pytest.raises(DataError, match=f"class 'sky': expected {count} items, found {count - 1}.*--no-verify"):
        prepare_as("mirflickr25k", root)
    assert kept() == []
    notes = prepare_as("mirflickr25k", root, verify=False).manifest.notes
    assert notes[0].startswith(f"not as published: class 'sky': expected {count} items")
    assert any("item set mir-20015: expected 20,015 items" in note for note in notes)


def test_text_in_another_encoding_is_counted_where_it_is_allowed(
    copy: Callable[[str], Path], prepare_as: Prepare
) -> None:
    root = copy("mirflickr25k")
    for number in (3, 5):
        next(root.rglob(f"tags{number}.txt")).write_bytes("köln\r\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"tags3\.txt line 1: byte 0xf6 is not utf-8"):
        prepare_as("mirflickr25k", root)
    opened = prepare_as("mirflickr25k", root, any_encoding=True)
    assert opened.manifest.notes == ("2 texts were read as Latin-1",)
    assert opened.table.captions[2] == ("köln",)
    assert verify(catalogue.official("mirflickr25k"), opened.folder, lambda *_: None) == []


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_stand_in_has_as_many_items_as_it_says(name: str, copy: Callable[[str], Path], prepare_as: Prepare) -> None:
    root = copy(name)
    (root / TINY_MARK).write_text(f'{{"of": "{name}", "items": {ITEMS + 1}}}')
    with pytest.raises(DataError):
        prepare_as(name, root)


@pytest.mark.parametrize("name", [name for name in OFFICIAL if name != "xmedia"])
def test_damaged_pictures_are_refused_unless_they_may_be_skipped(
    name: str, copy: Callable[[str], Path], prepare_as: Prepare
) -> None:
    """Of NUS-WIDE too, where missing ones are usual: what is there must be a picture."""
    root = copy(name)
    cut, page = sorted(root.rglob("*.jpg"))[:2]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    page.write_bytes(b"<!DOCTYPE html><p>This photo is no longer available</p>")
    with pytest.raises(DataError, match=f"{name}: 2 pictures cannot be used: .*{cut.name}: truncated; .*HTML page"):
        prepare_as(name, root)
    assert kept() == []
    assert len(prepare_as(name, root, bad_images="skip").manifest.bad) == 2


def test_an_interrupted_check_of_pictures_goes_on(
    copy: Callable[[str], Path], prepare_as: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy("coco")
    monkeypatch.setattr(pictures, "BATCH", 5)
    decoded: list[str] = []
    look = pictures._wrong

    def looking(sources: Any, path: str) -> str:
        decoded.append(path)
        return look(sources, path)

    def stop(what: str, done: int, total: int) -> None:
        if what == "pictures" and done >= 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "_wrong", looking)
    with pytest.raises(KeyboardInterrupt):
        prepare(catalogue.official("coco"), root, Choices(name="kept"), stop)
    assert kept() == []
    decoded.clear()
    opened = prepare_as("coco", root)
    assert len(opened.table) == ITEMS and len(decoded) <= ITEMS - 20
    decoded.clear()
    prepare_as("coco", root)
    assert decoded == [], "a third time nothing is decoded"


def test_several_at_once_leave_one_whole_data_set(stand_ins: Callable[[str], Path], prepare_as: Prepare) -> None:
    root = stand_ins("coco")
    with ThreadPoolExecutor(4) as pool:
        revisions = [opened.revision for opened in pool.map(lambda _: prepare_as("coco", root), range(8))]
    assert len(set(revisions)) == 1 and kept() == ["kept"]


def test_what_a_killed_process_left_is_no_data_set_and_goes(
    stand_ins: Callable[[str], Path], prepare_as: Prepare
) -> None:
    opened = prepare_as("coco", stand_ins("coco"))
    for left in (".kept.partial", ".kept.old"):
        shutil.copytree(opened.folder, opened.folder.with_name(left))
    assert list(catalogue.here()) == ["kept"]
    prepare_as("coco", stand_ins("coco"))
    assert kept() == ["kept"]


def test_a_full_disk_is_told_and_leaves_what_was_there(
    stand_ins: Callable[[str], Path], prepare_as: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare_as("wikipedia", stand_ins("wikipedia")).revision
    full = OSError(28, "No space left on device")

    def stuck(*_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", stuck)
        with pytest.raises(DataError, match=r"kept: cannot be written \(No space left on device\); make room there"):
            prepare_as("wikipedia", stand_ins("wikipedia"))
    assert kept() == ["kept"] and catalogue.open_dataset("kept").revision == before


def test_arrays_are_written_as_numpy_reads_them(tmp_path: Path, prepare_as: Prepare) -> None:
    rng = np.random.default_rng(0)
    n = 2500  # more than two blocks
    vectors = {
        "sparse": np.asfortranarray(rng.normal(size=(n, 3)).astype(">f4")),
        "pixels": rng.integers(256, size=(n, 2, 2, 3), dtype=np.uint8),
        "flags": rng.random((n, 4)) < 0.5,
    }
    table = Table(ids=tuple(map(str, range(n))), class_names=("a",), labels=np.ones((n, 1), np.uint8), vectors=vectors)
    prepared.write(tmp_path / "own", table, Manifest(name="own", of="imported", root=str(tmp_path)))
    again, _ = prepared.read(tmp_path / "own")
    for name, array in vectors.items():
        assert again.vectors[name].dtype == array.dtype
        assert np.array_equal(np.asarray(again.vectors[name]), array)
    assert again.digests() == table.digests()


def test_half_a_stand_in_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, root = catalogue.official("coco"), tmp_path / "root"
    write = Path.write_bytes
    written: list[Path] = []

    def stuck(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 10:
            raise OSError(28, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stuck)
        with pytest.raises(DataError, match=r"--root .*root: cannot be written \(No space left on device\)"):
            make_tiny(cls, root, ITEMS)
    assert list(root.iterdir()) == []
    make_tiny(cls, root, ITEMS)
    with pytest.raises(DataError, match="expected an empty folder for the stand-in, found files"):
        make_tiny(cls, root, ITEMS)
    with pytest.raises(DataError, match="expected an empty folder for the stand-in, found a file"):
        make_tiny(cls, root / TINY_MARK, ITEMS)
