"""Bad pictures are found and named; good ones, of whatever kind, are not; nothing is decoded twice in vain."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from hashbench.data import pictures as module
from hashbench.data.pictures import check
from hashbench.data.sources import Sources
from hashbench.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 4), np.uint8)


def _encoded(mode: str = "RGB", kind: str = "jpeg") -> bytes:
    if mode == "I;16":
        picture = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 256)
    elif mode in ("L", "P", "1"):
        picture = Image.fromarray(NOISE[..., 0]).convert(mode)
    else:
        picture = Image.fromarray(NOISE[..., : len(mode)].copy(), mode if mode == "CMYK" else None)
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


GOOD = {
    "rgb.jpg": _encoded(),
    "cmyk.jpg": _encoded("CMYK"),
    "grey.jpg": _encoded("L"),
    "palette.png": _encoded("P", "png"),
    "palette.gif": _encoded("P", "gif"),
    "bits.png": _encoded("1", "png"),
    "alpha.png": _encoded("RGBA", "png"),
    "sixteen.png": _encoded("I;16", "png"),
    "rgb.webp": _encoded("RGB", "webp"),
    "named wrongly.png": _encoded(),
}
BAD = {
    "half.jpg": (_encoded()[: len(_encoded()) // 2], "truncated"),
    "half.png": (_encoded(kind="png")[: len(_encoded(kind="png")) // 2], "truncated"),
    "page.jpg": (b"<!DOCTYPE html><title>Photo unavailable</title>", "HTML page, not a picture"),
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"no such photo", "not a picture of any known kind"),
    "changed.png": (_flipped(_encoded(kind="png")), "damaged"),
    "head.jpg": (_encoded()[:10], ""),
}


def _write(root: Path, files: dict[str, bytes]) -> Sources:
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    return Sources(root)


@pytest.mark.parametrize("zipped", [False, True])
def test_bad_pictures_are_named_with_what_is_wrong_and_good_ones_are_not(tmp_path: Path, zipped: bool) -> None:
    files = GOOD | {name: content for name, (content, _) in BAD.items()}
    if zipped:
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        source, inside = Sources(tmp_path), "z.zip!/"
    else:
        source, inside = _write(tmp_path / "root", files), ""
    expected = {inside + name: what for name, (_, what) in BAD.items()} | {"gone.jpg": "missing"}
    found = check(source, [*(inside + name for name in files), "gone.jpg"], tmp_path / "memory")
    assert found.keys() == expected.keys()
    for path, what in expected.items():
        assert what in found[path] and str(tmp_path) not in found[path]


def test_every_cut_of_a_jpeg_is_found(tmp_path: Path) -> None:
    whole = _encoded()
    cuts = {f"{size}.jpg": whole[:size] for size in range(0, len(whole) - 2, 23)}  # the last two only say: end
    source = _write(tmp_path / "root", cuts | {"whole.jpg": whole})
    assert check(source, [*cuts, "whole.jpg"], tmp_path / "memory").keys() == cuts.keys()


def test_damage_in_the_archive_is_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.jpg", GOOD["rgb.jpg"])
        archive.writestr("b.jpg", GOOD["grey.jpg"])
    content = (tmp_path / "z.zip").read_bytes()
    (tmp_path / "z.zip").write_bytes(content.replace(GOOD["rgb.jpg"], _flipped(GOOD["rgb.jpg"])))
    found = check(Sources(tmp_path), ["z.zip!/a.jpg", "z.zip!/b.jpg"], tmp_path / "memory")
    assert found.keys() == {"z.zip!/a.jpg"} and "cannot be read" in found["z.zip!/a.jpg"]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [64 * 48 - 1, 64 * 48 // 2 - 1])
def test_a_bomb_is_bad_not_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert "too large" in check(_write(tmp_path / "root", GOOD), ["rgb.jpg"], tmp_path / "memory")["rgb.jpg"]


def test_leave_to_load_truncated_pictures_is_not_taken_but_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    source = _write(tmp_path / "root", {"half.jpg": BAD["half.jpg"][0]})
    assert check(source, ["half.jpg"], tmp_path / "memory") == {"half.jpg": "truncated"}
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


class _Counting(Sources):
    """Which pictures were decoded."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.decoded: list[str] = []

    def picture(self, path: str) -> Image.Image:
        self.decoded.append(path)
        return super().picture(path)


def _checked(root: Path, paths: Sequence[str], memory: Path) -> tuple[dict[str, str], list[str]]:
    source = _Counting(root)
    return dict(check(source, paths, memory)), sorted(source.decoded)


def test_what_was_checked_is_checked_again_only_when_it_changed(tmp_path: Path) -> None:
    root, memory = tmp_path / "root", tmp_path / "deep/memory"
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    _write(root, dict.fromkeys(names, GOOD["rgb.jpg"]) | {"d.jpg": b""})
    assert _checked(root, [*names, "a.jpg"], memory) == ({"d.jpg": "empty file"}, names)
    assert _checked(root, names[1:], memory) == ({"d.jpg": "empty file"}, [])
    assert _checked(root, names[:1], memory) == ({}, []), "what is not asked for now is still known"

    _write(root, {"a.jpg": BAD["half.jpg"][0], "d.jpg": GOOD["rgb.jpg"]})
    os.utime(root / "b.jpg", ns=(0, 1))
    (root / "c.jpg").unlink()
    assert _checked(root, names, memory) == ({"a.jpg": "truncated", "c.jpg": "missing"}, ["a.jpg", "b.jpg", "d.jpg"])
    assert _checked(root, names, memory) == ({"a.jpg": "truncated", "c.jpg": "missing"}, [])


def test_what_a_power_failure_would_leave_grows_with_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    memory, kept = tmp_path / "memory", []
    source = _write(tmp_path / "root", GOOD)
    check(source, list(GOOD), memory, lambda *_: kept.append(memory.read_text().count("\n") if memory.exists() else 0))
    assert kept == [0, 0, 2, 4, 6, 8], "each told before it is kept"


def test_an_interrupted_check_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "SAVE_EVERY", 1e9)
    root, memory = tmp_path / "root", tmp_path / "memory"
    names = sorted(f"{i}.jpg" for i in range(40))
    _write(root, dict.fromkeys(names, GOOD["rgb.jpg"]) | {"3.jpg": b""})

    def interrupt(done: int, total: int) -> None:
        assert total == 40
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(Sources(root), names, memory, interrupt)
    found, decoded = _checked(root, names, memory)
    assert found == {"3.jpg": "empty file"} and len(decoded) == 20
    told: list[int] = []
    check(Sources(root), names, memory, lambda done, total: told.append(done))
    assert told == [40]


def test_progress_rises_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    told: list[tuple[int, int]] = []
    paths = [*GOOD, "gone.jpg"]
    source = _write(tmp_path / "root", GOOD)
    check(source, paths, tmp_path / "memory", lambda done, total: told.append((done, total)))
    assert told == [(done, 11) for done in (1, 4, 7, 10, 11)]


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\0", b"[]\n{}\nnull\n", b'["rgb.jpg", 1, 2', b'["rgb.jpg", "1", 2, "bad"]\n', b"\n\n"]
)
def test_a_damaged_memory_only_costs_time(tmp_path: Path, damage: bytes) -> None:
    source = _write(tmp_path / "root", GOOD)
    (tmp_path / "memory").write_bytes(damage)
    assert check(source, list(GOOD), tmp_path / "memory") == {}
    assert _checked(tmp_path / "root", list(GOOD), tmp_path / "memory") == ({}, [])


def test_a_memory_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"memory: what was checked cannot be kept"):
        check(_write(tmp_path / "root", GOOD), ["rgb.jpg"], tmp_path / "file/memory")


def test_nothing_to_check_is_nothing_wrong(tmp_path: Path) -> None:
    assert check(Sources(tmp_path), [], tmp_path / "memory") == {}
