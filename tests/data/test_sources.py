"""Files are found by their tails, read whole or not at all, and what is wrong with one is said where it stands."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import multiprocessing
import multiprocessing.connection
import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hashbench.data import sources as module
from hashbench.data.sources import Sources
from hashbench.errors import DataError

SHARED = Path(__file__).parents[2] / "../shared/data"


def _lay(root: Path, files: dict[str, bytes]) -> Sources:
    """Files in folders, and those named ``a.zip!/b`` in zips."""
    root.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        archive, bang, member = path.partition("!/")
        (root / archive).parent.mkdir(parents=True, exist_ok=True)
        if bang:
            with zipfile.ZipFile(root / archive, "a", zipfile.ZIP_DEFLATED) as file:
                file.writestr(member, content)
        else:
            (root / archive).write_bytes(content)
    return Sources(root)


def _one(root: Path, content: bytes) -> Sources:
    return _lay(root, {"list.txt": content})


def _jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "jpeg")
    return file.getvalue()


# ------------------------------------------------------------------------------------------------ finding


def test_a_file_is_found_in_folders_and_zips_and_one_more_folder(tmp_path: Path) -> None:
    for name in ("mirflickr/doc/tags.txt", "up/mirflickr/doc/tags.txt", "mir.zip!/mirflickr/doc/tags.txt"):
        root = tmp_path / str(len(name))
        assert _lay(root, {name: b"sky 1\n", "other/notdoc/tags.txt": b""}).find("doc/tags.txt") == name


def test_the_shallowest_wins_then_folders_then_the_name(tmp_path: Path) -> None:
    paths = ["z/t.txt", "b.zip!/t.txt", "a.zip!/t.txt", "a/b/t.txt"]
    expected = ["z/t.txt", "a.zip!/t.txt", "b.zip!/t.txt", "a/b/t.txt"]
    for left in range(len(expected)):
        source = _lay(tmp_path / str(left), {path: b"" for path in paths if path in expected[left:]})
        assert source.find("t.txt") == expected[left]
    assert source.find("u.txt", "t.txt") == expected[-1], "any of the tails will do"
    assert source.find("/t.txt") is None and source.find("/a/b/t.txt") == expected[-1]


names = st.sampled_from(["a", "b", "ab", "a.txt", "b.txt", "x.zip!"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@given(files=st.sets(paths, max_size=12), tail=paths)
def test_find_is_the_least_of_all_files_with_the_tail(files: set[str], tail: str) -> None:
    source = Sources(Path(__file__).parent)
    source.__dict__["_files"] = {path: (("zip",) if "!" in path else None) for path in files}
    fits = [path for path in files if path.split("/")[-len(tail.split("/")) :] == tail.split("/")]
    assert source.find(tail) == min(fits, key=lambda path: (path.count("/"), "!" in path, path), default=None)


globs = st.lists(st.sampled_from(["*", "?", "a*", "*.txt", "?.txt", "*b", "x.zip!"]), min_size=1, max_size=3)


@given(files=st.sets(paths, max_size=12), glob=globs.map("/".join))
def test_match_holds_folder_by_folder_from_the_end(files: set[str], glob: str) -> None:
    source = Sources(Path(__file__).parent)
    source.__dict__["_files"] = dict.fromkeys(files)
    wanted = glob.split("/")

    def fits(parts: list[str]) -> bool:
        return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))

    assert source.match(glob) == sorted(path for path in files if fits(path.split("/")[-len(wanted) :]))
    assert source.match(f"/{glob}") == sorted(path for path in files if fits(path.split("/")))


def test_the_folder_of_a_path_holds_its_neighbours(tmp_path: Path) -> None:
    files = ["a.txt", "b.txt", "d/a.txt", "d/b.txt", "z.zip!/a.txt", "z.zip!/b.txt", "z.zip!/d/a.txt", "z.zip!/d/b.txt"]
    source = _lay(tmp_path, {path: path.encode() for path in files})
    for path in files:
        neighbour = f"{source.folder(path)}/{path.rsplit('/', 1)[-1].replace('a', 'b')}"
        assert source.exists(neighbour)
        assert source.read(neighbour) == neighbour.removeprefix("/").encode()


def test_a_missing_file_is_told_with_the_hint_and_with_what_lies_there_packed(tmp_path: Path) -> None:
    source = _lay(tmp_path, {"iaprtc12.tgz": b"", "k.zip!/mirflickr25k.zip": b"", "seen.zip!/a.txt": b""})
    with pytest.raises(DataError) as error:
        source.need("doc/tags.txt", "doc/words.txt", hint="download mirflickr25k.zip into it")
    for word in (str(tmp_path), "doc/tags.txt or doc/words.txt", "unpack", "iaprtc12.tgz", "k.zip!/mirflickr25k.zip"):
        assert word in str(error.value)
    assert str(error.value).endswith("download mirflickr25k.zip into it")
    assert "seen.zip" not in str(error.value) and "\n" not in str(error.value)
    assert source.need("a.txt", hint="") == "seen.zip!/a.txt"


def test_a_root_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file.zip").touch()
    with pytest.raises(DataError, match="expected a folder, found a file"):
        Sources(tmp_path / "file.zip")
    with pytest.raises(DataError, match="expected a folder, found nothing"):
        Sources(tmp_path / "none")


# ------------------------------------------------------------------------------------------------ staying inside


def test_nothing_outside_the_root_is_listed_or_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/inner.txt").write_text("secret")
    root = tmp_path / "root"
    source = _lay(root, {"a/b.txt": b"mine", "z.zip!/../evil.txt": b"", "z.zip!//abs.txt": b"", "z.zip!/ok/c.txt": b""})
    (root / "a/link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "a/links").symlink_to(tmp_path / "out")
    (root / "circle").symlink_to(root / "circle")
    (root / "up").symlink_to(root)
    (root / "same.txt").symlink_to(root / "a/b.txt")
    with zipfile.ZipFile(root / "z.zip", "a") as archive:
        link = zipfile.ZipInfo("ok/link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../../secret.txt")
        archive.writestr("C:/drive.txt", "")
        archive.writestr("win\\c.txt", "")
        archive.writestr("__MACOSX/ok/._c.txt", "")
    assert source.match("*") == ["a/b.txt", "same.txt", "z.zip", "z.zip!/ok/c.txt", "z.zip!/win/c.txt"]
    assert source.read("same.txt") == b"mine"
    for path in (
        "../secret.txt",
        "a/link.txt",
        "a/links/inner.txt",
        str(tmp_path / "secret.txt"),
        "z.zip!/../evil.txt",
    ):
        assert not source.exists(path)
        with pytest.raises(DataError, match="no such file"):
            source.read(path)
    with pytest.raises(DataError, match=r"from a folder in it are not followed: a/link\.txt, a/links"):
        source.need("inner.txt", hint="")


def test_links_in_the_root_itself_are_followed(tmp_path: Path) -> None:
    """Pictures often lie on another disk: the owner of the root links them."""
    (tmp_path / "disk/pictures/deep").mkdir(parents=True)
    (tmp_path / "disk/pictures/deep/im1.jpg").write_bytes(b"1")
    (tmp_path / "disk/list.txt").write_bytes(b"2")
    root = tmp_path / "root"
    root.mkdir()
    (root / "pictures").symlink_to(tmp_path / "disk/pictures")
    (root / "again").symlink_to(tmp_path / "disk/pictures")
    (root / "list.txt").symlink_to(tmp_path / "disk/list.txt")
    found = Sources(root).match("im1.jpg") + Sources(root).match("list.txt")
    assert len(found) == 2 and found[1] == "list.txt" and found[0].endswith("/deep/im1.jpg"), "each once"


def test_a_file_too_large_to_be_read_is_refused_by_its_declared_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_LIMIT", 1000)
    source = _lay(tmp_path, {"a.txt": b"0" * 1001, "z.zip!/b.txt": b"0" * 1001, "z.zip!/c.txt": b"0" * 1000})
    for path in ("a.txt", "z.zip!/b.txt"):
        with pytest.raises(DataError, match="at most 1,000 bytes, found 1,001"):
            source.read(path)
    assert len(source.read("z.zip!/c.txt")) == 1000


def test_a_member_larger_than_it_says_is_damaged(tmp_path: Path) -> None:
    source = _lay(tmp_path, {"z.zip!/a.txt": b"0" * 100_000})
    content = (tmp_path / "z.zip").read_bytes()
    assert content.count((100_000).to_bytes(4, "little")) == 2
    (tmp_path / "z.zip").write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"z\.zip!/a\.txt: cannot be read"):
        source.read("z.zip!/a.txt")


# ------------------------------------------------------------------------------------------------ damaged archives


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged zip"),
        (b"PK\3\4 half of a download", "damaged zip"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "HTML page"),
    ],
)
def test_what_is_no_zip_is_one_error(tmp_path: Path, content: bytes, said: str) -> None:
    source = _lay(tmp_path, {"data.zip": content})
    with pytest.raises(DataError, match=f"data.zip: an? {said}.*download it again") as error:
        source.find("a.txt")
    assert "\n" not in str(error.value)


def test_a_byte_changed_anywhere_is_an_error_or_harms_nothing(tmp_path: Path) -> None:
    files = {"a.txt": b"sky\nsea\n" * 20, "doc/b.txt": bytes(range(256))}
    _lay(tmp_path, {f"z.zip!/{name}": content for name, content in files.items()})
    sound = (tmp_path / "z.zip").read_bytes()
    failed: list[str] = []
    for at in range(len(sound)):
        for value in (sound[at] ^ 0xFF, sound[at] ^ 1):
            (tmp_path / "z.zip").write_bytes(sound[:at] + bytes([value]) + sound[at + 1 :])
            try:
                source = Sources(tmp_path)
                for name, content in files.items():
                    if source.exists(f"z.zip!/{name}"):
                        assert source.read(f"z.zip!/{name}") == content
            except DataError as error:
                failed.append(str(error))
    assert len(failed) > len(sound) / 2 and all("z.zip" in error for error in failed)
    for cut in range(len(sound)):
        (tmp_path / "z.zip").write_bytes(sound[:cut])
        with pytest.raises(DataError, match=r"z\.zip: a damaged zip"):
            Sources(tmp_path).exists("a.txt")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_both_usual_ways_of_packing_give_the_content_back(tmp_path: Path, method: int) -> None:
    content = np.random.default_rng(0).integers(0, 9, 300_000, np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "z.zip", "w", method) as archive:
        archive.writestr("ä/b.bin", content)
        archive.writestr("none.bin", b"")
    before = (tmp_path / "z.zip").read_bytes()
    (tmp_path / "z.zip").write_bytes(b"#!self-extracting\n" + before)
    source = Sources(tmp_path)
    assert source.read("z.zip!/ä/b.bin") == content
    assert source.read("z.zip!/none.bin") == b""


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_way_of_packing_is_left_to_other_programs(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", method) as archive:
        archive.writestr("a.txt", b"sky")
    with pytest.raises(DataError, match=r"packed by method .* unpack the archive"):
        Sources(tmp_path).read("z.zip!/a.txt")


# ------------------------------------------------------------------------------------------------ reading


def test_what_was_read_is_remembered_with_its_digest(tmp_path: Path) -> None:
    source = _lay(tmp_path, {"a.txt": b"1\n", "z.zip!/b.txt": b"2\n", "c.txt": b"3\n", "d.txt": b"4\n"})
    source.read("a.txt")
    source.lines("/c.txt")
    source.numbers("z.zip!/b.txt", low=0, high=9)
    source.exists("d.txt")
    contents = {"a.txt": b"1\n", "c.txt": b"3\n", "z.zip!/b.txt": b"2\n"}
    assert source.used == {path: (2, hashlib.sha256(content).hexdigest()) for path, content in contents.items()}


text = st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8"), max_size=8)


@given(lines=st.lists(text, min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n"]), final=st.booleans())
def test_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, final: bool
) -> None:
    written = end.join(lines) + (end if final or not lines[-1] else "")
    root = tmp_path_factory.mktemp("lines")
    read = _one(root, written.encode()).lines("list.txt")
    assert read == [lines[0].removeprefix("\ufeff"), *lines[1:]], "only LF and CR LF end a line"


def test_an_empty_file_has_no_lines_and_an_empty_line_is_one(tmp_path: Path) -> None:
    for content, lines in ((b"", []), (b"\n", [""]), (b"a\n\n", ["a", ""]), (b"\xef\xbb\xbfa", ["a"])):
        assert _one(tmp_path, content).lines("list.txt") == lines
    assert _one(tmp_path, b"caf\xe9\n").lines("list.txt", encoding="cp1252") == ["café"]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"a\n" * 36 + b"caf\xe9\nb\n", {}, "line 37: byte 0xe9 is not utf-8"),
        (b"a\nb\x81\n", {"encoding": "cp1252"}, "line 2: byte 0x81 is not cp1252"),
        ("sky\nsea\n".encode("utf-16"), {}, "line 1: UTF-16"),
        ("sky\nsea\n".encode("utf-16-le"), {}, "line 1: UTF-16"),
        (b"\n <!DOCTYPE HTML PUBLIC><html>404", {}, "line 1: an HTML page"),
        (b"<?xml version='1.0'?>\n<html xmlns='...'>", {}, "line 1: an HTML page"),
        (b"a\nb\nc\0d\n", {}, "line 3: a NUL byte"),
        (b"\0" * 4096, {}, "line 1: a NUL byte"),
        (b"a\nb\r\n", {"newline": "lf"}, "line 2: CR LF, expected LF alone.*unpack the archive again"),
        (b"a\r\nb\r\n", {"newline": "lf"}, "line 1: CR LF, expected LF alone"),
        (b"a\nb\r\nc\n", {}, "line 2: mixed line ends"),
        (b"a\r\nb\r\nc\n", {}, "line 3: mixed line ends"),
        (b"a\r\nb\rc\r\n", {}, "line 2: mixed line ends"),
        (b"a\rb\rc\r", {}, "line 1: mixed line ends"),
    ],
)
def test_damaged_text_is_told_by_file_and_line(
    tmp_path: Path, content: bytes, options: dict[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}/list.txt {said}"):
        _one(tmp_path, content).lines("list.txt", **options)  # type: ignore[arg-type]


def test_where_any_encoding_will_do_latin_1_stands_in_and_is_counted(tmp_path: Path) -> None:
    _lay(
        tmp_path, {"a.txt": b"caf\xe9\r\n\xfc", "b.txt": "é\n".encode(), "c.txt": b"caf\xe9\0", "d.txt": b"\xe9\n\r\n"}
    )
    source = Sources(tmp_path, any_encoding=True)
    assert source.lines("a.txt") == ["café", "ü"] and source.lines("b.txt") == ["é"]
    assert source.fallbacks == ["a.txt"]
    for path, said in (("c.txt", "a NUL byte"), ("d.txt", "mixed line ends")):
        with pytest.raises(DataError, match=said):
            source.lines(path)


@given(numbers=st.lists(st.integers(-(10**18) + 1, 10**18 - 1), max_size=6))
def test_numbers_come_back(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    source = _one(tmp_path_factory.mktemp("n"), "".join(f"{number}\n" for number in numbers).encode())
    read = source.numbers("list.txt", low=-(10**18), high=10**18)
    assert read.dtype == np.int64 and read.tolist() == numbers


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-1130179", "'-1130179'"),
        ("2", "'2'"),
        ("abc", "'abc'"),
        ("", "an empty line"),
        ("  ", "an empty line"),
        ("1 0", "'1 0'"),
        ("1.0", r"'1\.0'"),
        ("0_1", "'0_1'"),
        ("+1", r"'\+1'"),
        ("1" * 5000, "'1{40}[.]{3}'"),
        ("\u0661", "'\u0661'"),  # a digit, and int() reads it, but no file of the field has it
    ],
)
def test_what_is_no_number_in_range_is_told_by_file_and_line(tmp_path: Path, line: str, found: str) -> None:
    source = _one(tmp_path, ("0\n1\n" * 20 + line + "\n1\n").encode())
    with pytest.raises(DataError, match=f"list.txt line 41: expected a whole number from 0 to 1, found {found}$"):
        source.numbers("list.txt", low=0, high=1)


def test_both_ends_of_the_range_belong_to_it(tmp_path: Path) -> None:
    source = _one(tmp_path, b"-3\n 5 \n0\n")
    assert source.numbers("list.txt", low=-3, high=5).tolist() == [-3, 5, 0]
    for low, high in ((-2, 5), (-3, 4)):
        with pytest.raises(DataError, match=f"from {low} to {high}"):
            source.numbers("list.txt", low=low, high=high)


def test_size_and_time_of_a_file_follow_its_changes(tmp_path: Path) -> None:
    source = _lay(tmp_path, {"a.txt": b"12345", "z.zip!/b.txt": b"123"})
    for path, file, size in (("a.txt", "a.txt", 5), ("z.zip!/b.txt", "z.zip", 3)):
        os.utime(tmp_path / file, ns=(0, 77))
        assert source.state(path) == (size, 77)


# ------------------------------------------------------------------------------------------------ pictures


def test_a_picture_is_the_same_from_a_folder_and_from_a_zip(tmp_path: Path) -> None:
    source = _lay(tmp_path, {"a.jpg": _jpeg(), "z.zip!/a.jpg": _jpeg()})
    from_folder, from_zip = source.picture("a.jpg"), source.picture("z.zip!/a.jpg")
    assert from_folder.size == (64, 48)
    np.testing.assert_array_equal(np.asarray(from_folder), np.asarray(from_zip))
    assert source.used == {}, "pictures are not remembered: there are too many"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"<html><body>Sign in</body></html>", "HTML page, not a picture"),
        (b"GIF", "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes(10), ""),
    ],
)
def test_what_is_no_picture_is_told_by_its_path(tmp_path: Path, content: bytes, said: str) -> None:
    source = _lay(tmp_path, {"z.zip!/im1.jpg": content})
    with pytest.raises(DataError, match=rf"z\.zip!/im1\.jpg: .*{said}"):
        source.picture("z.zip!/im1.jpg")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _lay(tmp_path, {"im1.jpg": _jpeg((40, 30))})
    for limit in (1199, 500):  # Pillow only warns of the first
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"im1\.jpg: too large"):
            source.picture("im1.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert source.picture("im1.jpg").size == (40, 30)


# ------------------------------------------------------------------------------------------------ many at once


def _digests(source: Sources, paths: list[str]) -> list[str]:
    return [hashlib.sha256(source.read(path)).hexdigest() for path in paths]


def _send_digests(source: Sources, paths: list[str], pipe: multiprocessing.connection.Connection) -> None:
    pipe.send(_digests(source, paths))


def test_threads_and_forks_read_one_zip_at_once(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    contents = {f"z.zip!/{i}.bin": draw.bytes(int(draw.integers(0, 60_000))) for i in range(60)}
    source = _lay(tmp_path, contents)
    paths = list(contents) * 3
    expected = [hashlib.sha256(contents[path]).hexdigest() for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda start: _digests(source, paths[start:] + paths[:start]), range(0, 60, 6)):
            assert sorted(found) == sorted(expected)
    if "fork" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("fork")
        children = []
        for _ in range(2):
            here, there = context.Pipe()
            child = context.Process(target=_send_digests, args=(source, paths, there))
            child.start()
            children.append((child, here))
        assert _digests(source, paths) == expected
        for child, here in children:
            assert here.poll(60) and here.recv() == expected
            child.join()


def test_pillow_is_not_imported_before_a_picture_is() -> None:
    code = "import sys, hashbench.data.sources; sys.exit('PIL' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_fields_own_lists_are_read(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the real data is not here")
    source = Sources(SHARED)
    words = source.lines(source.need("mirflickr_1386.txt", hint="-"))
    assert len(words) == 1386 and words[0].split()[0] == "explore" and not any("\r" in word for word in words)
    with pytest.raises(DataError, match=r"mirflickr_1386\.txt line 1: CR LF"):
        source.lines("tag_vocabularies/mirflickr_1386.txt", newline="lf")
    drawings = source.match("pictograms.zip!/*.webp")
    assert len(drawings) == 6548
    assert source.picture(drawings[0]).size == (96, 96)
