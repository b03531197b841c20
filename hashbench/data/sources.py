"""The files of an official data set below one root, in folders or in zips as they were downloaded.

A path is a string relative to the root with ``/``; ``archive.zip!/member`` is a file in a zip. Only what a listing
of the root has found can be read, so no path, whoever wrote it, leads out of the root.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Newline = Literal["lf", "any"]

FILE_LIMIT = 1 << 30
"""Bytes of one file that is read whole; the field's largest, ``AllTags1k.txt``, has about half as many."""
PICTURE_LIMIT = 1 << 28
"""Bytes of one picture."""

_UNREAD = (".tgz", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".rar", ".7z", ".zip")
_WHOLE = re.compile(r"[ \t]*(-?[0-9]{1,18})[ \t]*")


class Used(NamedTuple):
    """What a file held when it was read."""

    bytes: int
    sha256: str


class _Member(NamedTuple):
    archive: Path
    info: zipfile.ZipInfo


class Sources:
    """Finds and reads files. Several threads may share one, and so may processes after a fork."""

    used: dict[str, Used]
    """Path to size and sha256 of everything that was read by :meth:`read`, :meth:`lines` and :meth:`numbers`."""

    fallbacks: list[str]
    """Paths whose text was not in its encoding and was read as Latin-1."""

    def __init__(self, root: Path, *, any_encoding: bool = False) -> None:
        """Nothing is listed before the first question, and everything once.

        Args:
            root: The folder.
            any_encoding: Whether text that is not in its encoding is read as Latin-1, instead of refused.

        Raises:
            DataError: the root is no folder.
        """
        if not root.is_dir():
            found = "a file; give the folder that holds it" if root.exists() else "nothing there"
            raise DataError(f"{root}: expected a folder, found {found}")
        self.root = root
        self.used, self.fallbacks, self._any_encoding = {}, [], any_encoding
        self._outward: list[str] = []

    def find(self, *tails: str) -> str | None:
        """The shallowest file whose path ends with one of the tails, at a folder boundary; None: there is none.

        ``"doc/common_tags.txt"`` finds ``mirflickr25k.zip!/mirflickr/doc/common_tags.txt``: a zip counts as a
        folder. Of files at the same depth, those in folders come before those in zips, then the name decides.
        A tail that begins with ``/`` is a path from the root.
        """
        found = {path for tail in tails for path in self._by_name.get(tail.rsplit("/", 1)[-1], ()) if _ends(path, tail)}
        return min(found, key=lambda path: (path.count("/"), self._files[path] is not None, path), default=None)

    def need(self, *tails: str, hint: str) -> str:
        """Like :meth:`find`, for a file that must be there.

        Args:
            tails: What the path may end with.
            hint: What to download and where to put it.

        Raises:
            DataError: no such file; names archives that have to be unpacked first, and links that lead elsewhere.
        """
        if found := self.find(*tails):
            return found
        said = [f"{self.root}: found no {' or '.join(tails)}"]
        if packed := [path for path, member in self._files.items() if self._is_unread(path, member)]:
            said.append(f"unpack what lies there as {_some(packed)}, which is not read in place")
        if self._outward:
            said.append(f"links that lead out of the root from a folder in it are not followed: {_some(self._outward)}")
        raise DataError("; ".join([*said, hint]))

    def match(self, pattern: str) -> list[str]:
        """All paths whose tail matches a pattern such as ``annotations/*.txt``, sorted.

        ``*`` stands for any characters and ``?`` for one, never for a ``/``. A pattern that begins with ``/`` is
        matched from the root.
        """
        glob = re.escape(pattern.removeprefix("/")).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        fits = re.compile(glob if pattern.startswith("/") else f"(?:.*/)?{glob}", re.DOTALL).fullmatch
        return sorted(path for path in self._files if fits(path))

    def folder(self, of: str) -> str:
        """The folder that holds a path, such that ``f"{folder}/{name}"`` is a path again; "" is the root."""
        return of.rpartition("/")[0]

    def exists(self, path: str) -> bool:
        return path.removeprefix("/") in self._files

    def named(self, path: str) -> str:
        """The path as messages show it, with the root."""
        return f"{self.root}/{path.removeprefix('/')}"

    def state(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of the last change in ns, of the archive where it lies in one.

        Raises:
            DataError: no such file.
        """
        path, member = self._entry(path)
        try:
            status = (member.archive if member else self.root / path).stat()
        except OSError as error:
            raise DataError(f"{self.named(path)}: {error.strerror}") from error
        return (member.info.file_size if member else status.st_size), status.st_mtime_ns

    def read(self, path: str) -> bytes:
        """The whole content, also remembered as :attr:`used`.

        Raises:
            DataError: missing, unreadable, larger than :data:`FILE_LIMIT`, or damaged in its zip.
        """
        path, _ = self._entry(path)
        content = self._content(path, FILE_LIMIT)
        self.used[path] = Used(len(content), hashlib.sha256(content).hexdigest())
        return content

    def lines(self, path: str, *, encoding: str = "utf-8", newline: Newline = "any") -> list[str]:
        """The lines of a text file, without their ends; the last may lack one. A byte order mark is left out.

        Args:
            path: A text file.
            encoding: Any in which ASCII is ASCII.
            newline: ``lf``: lines end with LF alone, as in the official file. ``any``: all with LF or all with CR LF.

        Raises:
            DataError: names the line, for bytes that are not in the encoding, a NUL byte, other or mixed line
                ends; and where the file is UTF-16 or an HTML page.
        """
        content = self.read(path)
        name = self.named(path)
        if is_html(content):
            raise DataError(f"{name} line 1: an HTML page, not the file it should be; download it again")
        if _is_utf16(content):
            raise DataError(f"{name} line 1: UTF-16, expected {encoding}; save it as {encoding}")

        def wrong(at: int, what: str) -> DataError:
            line = content.count(b"\n", 0, at) + 1
            return DataError(f"{name} line {line}: {what}")

        if (at := content.find(b"\0")) >= 0:
            raise wrong(at, "a NUL byte, which no text has; the file is damaged, unpack or download it again")
        if (at := content.find(b"\r")) >= 0:
            if newline == "lf":
                raise wrong(at, "CR LF, expected LF alone; a program has converted the file, unpack the archive again")
            if (odd := _mixed(content)) is not None:
                raise wrong(odd, "mixed line ends, expected LF everywhere or CR LF everywhere; unpack it again")
        try:
            text = content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
        except UnicodeDecodeError as error:
            if not self._any_encoding:
                byte = f"byte 0x{content[error.start]:02x}"
                raise wrong(error.start, f"{byte} is not {encoding}; is the file in another encoding?") from error
            self.fallbacks.append(path)
            text = content.decode("latin-1")
        parts = text.split("\r\n" if "\r" in text else "\n")
        return parts if parts[-1] else parts[:-1]

    def numbers(self, path: str, *, low: int, high: int, newline: Newline = "any") -> NDArray[np.int64]:
        """(lines,) whole numbers from ``low`` to ``high``, both included, one a line.

        Raises:
            DataError: as :meth:`lines`; or the first line that is no such number, with what was found.
        """
        lines = self.lines(path, newline=newline)
        values = {line: _whole(line, low, high) for line in set(lines)}  # labels: two different lines in 269,648
        for number, line in enumerate(lines, 1):
            if values[line] is None:
                found = repr(line if len(line) <= 40 else f"{line[:40]}...") if line.strip() else "an empty line"
                name = f"{self.named(path)} line {number}"
                raise DataError(f"{name}: expected a whole number from {low} to {high}, found {found}")
        return np.array([values[line] for line in lines], np.int64)

    def picture(self, path: str) -> Image:
        """A picture, decoded when its pixels are asked for; it holds no file open.

        Raises:
            DataError: names the path: missing, unreadable, no picture, or too large to be one. Damage further
                inside shows only when it is decoded; :func:`hashbench.data.pictures.check` finds it.
        """
        content = self._content(path, PICTURE_LIMIT)
        try:
            return _opened(content)
        except DataError as error:
            raise DataError(f"{self.named(path)}: {error}") from error

    def _content(self, path: str, limit: int) -> bytes:
        path, member = self._entry(path)
        try:
            with (member.archive if member else self.root / path).open("rb") as file:
                size = member.info.file_size if member else os.fstat(file.fileno()).st_size
                if size > limit:
                    raise DataError(f"{self.named(path)}: expected at most {limit:,} bytes, found {size:,}")
                return _unpacked(file, member.info) if member else file.read()
        except _DAMAGE as error:
            advice = "; unpack the archive, or download it again" if member else ""
            raise DataError(f"{self.named(path)}: cannot be read ({_why(error)}){advice}") from error

    def _entry(self, path: str) -> tuple[str, _Member | None]:
        path = path.removeprefix("/")
        if path not in self._files:
            raise DataError(f"{self.named(path)}: no such file")
        return path, self._files[path]

    def _is_unread(self, path: str, member: _Member | None) -> bool:
        return path.lower().endswith(_UNREAD) and (member is not None or not path.lower().endswith(".zip"))

    @cached_property
    def _files(self) -> dict[str, _Member | None]:
        """Path to the member of an archive, or None for a file in a folder."""
        files: dict[str, _Member | None] = {}
        outward: list[str] = []
        for path in self._walk(outward):
            files[path] = None
            if path.lower().endswith(".zip"):
                archive = self.root / path
                files |= {f"{path}!/{name}": _Member(archive, info) for name, info in _members(archive)}
        self._outward = outward
        return files

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for path in self._files:
            names.setdefault(path.rsplit("/", 1)[-1], []).append(path)
        return names

    def _walk(self, outward: list[str]) -> Iterator[str]:
        """Every file in a folder. A link in the root itself is its owner's word and is followed, once; deeper ones,
        which an archive may have brought, only to files below the root."""
        real = os.path.realpath(self.root)
        seen, folders = {real}, [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        path = folder + entry.name
                        if _is_hidden(entry.name):
                            continue
                        if not entry.is_symlink():
                            if entry.is_dir(follow_symlinks=False):
                                folders.append(f"{path}/")
                            elif entry.is_file(follow_symlinks=False):
                                yield path
                            continue
                        target = Path(os.path.realpath(entry.path))  # Path.resolve raises where links run in a circle
                        if folder and not target.is_relative_to(real):
                            outward.append(path)
                        elif target.is_file():
                            yield path
                        elif not folder and target.is_dir() and str(target) not in seen:
                            seen.add(str(target))
                            folders.append(f"{path}/")
            except OSError as error:
                raise DataError(f"{self.root / folder}: the folder cannot be listed ({error.strerror})") from error


def is_html(content: bytes) -> bool:
    """Whether it begins like a web page, which is what many servers send in place of a file."""
    head = content[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return head.startswith((b"<!doctype html", b"<html")) or (head.startswith(b"<?xml") and b"<html" in head)


def _opened(content: bytes) -> Image:
    """A picture, or a DataError that says what is wrong with it and leaves the name to others."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise DataError("empty file")
    if is_html(content):
        raise DataError("HTML page, not a picture")
    bomb = Image.DecompressionBombError, Image.DecompressionBombWarning
    try:
        picture = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise DataError("not a picture of any known kind") from error
    except bomb as error:
        raise DataError(f"too large ({error})") from error
    except Exception as error:  # decoders meet damaged bytes with nearly any kind of error
        raise DataError(f"damaged ({_why(error)})") from error
    width, height = picture.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise DataError(f"too large (found {width} x {height} pixels)")
    return picture


_DAMAGE = OSError, zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError


def _members(archive: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Every file in a zip by its name, without those that lie outside it by their name or are links."""
    try:
        with zipfile.ZipFile(archive) as file:
            infos = file.infolist()
    except OSError as error:
        raise DataError(f"{archive}: cannot be read ({_why(error)})") from error
    except _DAMAGE as error:
        with archive.open("rb") as damaged:
            what = "an HTML page, not a zip" if is_html(damaged.read(1024)) else f"a damaged zip ({_why(error)})"
        raise DataError(f"{archive}: {what}; download it again or take it away") from error
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        inside = parts[0] != "" and not re.match("[A-Za-z]:", info.filename)  # ".." is hidden, so left out below
        if inside and parts[-1] and not stat.S_ISLNK(info.external_attr >> 16):
            parts = [part for part in parts if part not in ("", ".")]
            if not any(map(_is_hidden, parts)):
                yield "/".join(parts), info


def _unpacked(file: io.BufferedReader, info: zipfile.ZipInfo) -> bytes:
    """One member of an archive, read through a handle of its own: nothing is shared with other threads."""
    if info.flag_bits & 1:
        raise zipfile.BadZipFile("it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a limit
        raise zipfile.BadZipFile(f"packed by method {info.compress_type}, expected deflate")
    file.seek(info.header_offset)
    header = file.read(30)  # local header: signature, ..., lengths of the name and of the extra field
    if header[:4] != b"PK\3\4":
        raise zipfile.BadZipFile("no header where the list of members says it is")
    file.seek(sum(struct.unpack("<HH", header[26:30])), os.SEEK_CUR)
    content = zipfile.ZipExtFile(file, "r", info).read(info.file_size)  # never more than declared
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile("damaged: not the content that its size and CRC promise")
    return content


def _ends(path: str, tail: str) -> bool:
    return f"/{path}" == tail if tail.startswith("/") else path == tail or path.endswith(f"/{tail}")


def _is_hidden(name: str) -> bool:
    """Left behind by other programs, such as the ``._*`` twins in archives made on a Mac."""
    return name.startswith(".") or name == "__MACOSX"


def _is_utf16(content: bytes) -> bool:
    head = content[:1024]  # without a mark: in Latin letters every second byte is zero
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or len(head) < 3 * head.count(0) < 2 * len(head)


def _mixed(content: bytes) -> int | None:
    """Where the first line end stands that is unlike the first one of all; a lone CR is unlike any."""
    ends = r"\r\n" if re.match(rb"[^\r\n]*\r\n", content) else r"\n"
    odd = re.search((r"\r(?!\n)|(?<!\r)\n" if ends == r"\r\n" else r"\r").encode(), content)
    return odd.start() if odd else None


def _whole(line: str, low: int, high: int) -> int | None:
    fits = _WHOLE.fullmatch(line)
    return int(fits[1]) if fits and low <= int(fits[1]) <= high else None


def _some(names: list[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _why(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
