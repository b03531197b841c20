"""Downloads: whole, checked and under their final name, or not there at all.

What has arrived lies beside as ``NAME.part``; the next try, mirror or process goes on with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hashbench.data.sources import is_html
from hashbench.errors import DataError
from hashbench.files import write_text

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int | None], None]
"""Called as (bytes there, bytes in all or None where nobody says)."""

PAUSES: tuple[float, ...] = (1, 2, 4)
"""Seconds to wait after the first, second, ... failure in a row that brought no byte more; then a mirror is left."""
TIMEOUT = (15, 60)
"""Seconds to wait for a connection, and for the next bytes."""
CHUNK = 1 << 16
"""Bytes that are lost at most when a connection ends."""


@dataclass(frozen=True)
class Download:
    """One official file."""

    url: tuple[str, ...]
    """Mirrors, the best first."""
    name: str
    """What it is called on disk."""
    bytes: int | None = None
    """Its size; None: nobody has published it."""
    md5: str | None = None
    """Lower-case hex digits; None: nobody has published them."""


class _Refused(Exception):
    """This mirror does not give the file."""


class _Dropped(Exception):
    """It did not work this time; the next time it may."""


def fetch(download: Download, folder: Path, progress: Progress | None = None) -> Path:
    """The file, from the first mirror that gives it; a right one that is there already is only checked.

    One process at a time loads a file; others wait and find it.

    Raises:
        DataError: no mirror gives it; another file lies in its place (it is left as it is); it cannot be
            written (what has arrived stays). Says where the file can be put by hand.
    """
    from filelock import FileLock

    target = folder / download.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{download.name}.lock"):
            if not target.exists():
                _load(download, target, progress or (lambda done, total: None))
            elif fault := wrong(target, download):
                raise DataError(f"{target}: {fault}; it is left as it is, move it away and fetch again")
    except OSError as error:
        failure = f"{target}: cannot be written ({error.strerror}); what has arrived stays, make room and fetch again"
        raise DataError(f"{failure}; {_by_hand(download, target)}") from error
    except DataError as error:
        raise DataError(f"{error}; {_by_hand(download, target)}") from error
    return target


def _load(download: Download, target: Path, progress: Progress) -> None:
    part = target.with_name(f"{target.name}.part")
    note = target.with_name(f".{part.name}.json")
    refusals = []
    for url in download.url:
        try:
            _patiently(url, download, part, note, progress)
        except _Refused as refusal:
            refusals.append(f"{url}: {refusal}")
        else:
            part.replace(target)
            note.unlink(missing_ok=True)
            return
    raise DataError("; ".join([f"{target.name} cannot be downloaded", *refusals]))


def _patiently(url: str, download: Download, part: Path, note: Path, progress: Progress) -> None:
    """Fill ``part`` with the right file, in as many tries as bring it forward."""
    most = failures = 0
    while True:
        try:
            _try(url, download, part, note, progress)
            return
        except _Dropped as why:
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures > len(PAUSES):
                raise _Refused(f"{why}, {failures} times") from why
            time.sleep(PAUSES[failures - 1])


def _try(url: str, download: Download, part: Path, note: Path, progress: Progress) -> None:
    import requests

    have, version = _size(part), _version(note, url)
    if not (download.md5 or version) or (download.bytes is not None and have > download.bytes):
        have = 0  # nothing would tell whether another end belongs to this beginning
    if not have or have != download.bytes:
        asked = {"User-Agent": "hashbench", "Accept-Encoding": "identity"}
        asked |= {"Range": f"bytes={have}-"} if have else {}
        asked |= {"If-Range": version} if have and version else {}
        try:
            with requests.get(url, headers=asked, stream=True, timeout=TIMEOUT) as answer:
                _take(answer, url, have, download, part, note, progress)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _Dropped(f"the connection failed ({_short(error)})") from error
        except requests.RequestException as error:
            raise _Refused(_short(error)) from error
    if fault := wrong(part, download):
        part.unlink()
        raise (_Dropped if have else _Refused)(fault)  # the beginning may be at fault: once more, from its start


def _take(
    answer: Response, url: str, have: int, download: Download, part: Path, note: Path, progress: Progress
) -> None:
    """Write an answer behind the ``have`` bytes there are, or in their place where it starts anew."""
    start, total = _place(answer)
    if download.bytes is not None and total not in (None, download.bytes):
        raise _Refused(f"expected {download.bytes:,} bytes, the server has {total:,}")
    if answer.status_code == 416 and total == have:
        return  # it was all there
    if start not in (0, have):
        part.unlink(missing_ok=True)
        raise _Dropped("the server sent other bytes than were asked for")
    total = download.bytes or total
    chunks = answer.iter_content(CHUNK)
    chunk = next(chunks, b"")
    if not chunk:
        raise _Dropped("the server sent nothing")
    if not start and (is_html(chunk) or ("html" in answer.headers.get("Content-Type", "") and chunk[:1] == b"<")):
        raise _Refused("sent an HTML page, not the file")
    done = start
    with part.open("ab" if start else "wb") as file:
        if not start:
            _remember(answer, url, note)
        while chunk:
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
            chunk = next(chunks, b"")
        file.flush()
        os.fsync(file.fileno())
    if done < (total or 0):
        raise _Dropped(f"the connection ended after {done:,} of {total:,} bytes")


def _place(answer: Response) -> tuple[int, int | None]:
    """Where in the file an answer starts (-1: nowhere), and how many bytes the file has, if said."""
    status = answer.status_code
    said = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", answer.headers.get("Content-Range", ""))
    if status in (206, 416):
        return int(said[1] or -1) if said else -1, int(said[2]) if said and said[2] != "*" else None
    if status == 200:
        length = None if "Content-Encoding" in answer.headers else answer.headers.get("Content-Length")
        return 0, int(length) if length else None
    raise (_Dropped if status in (408, 425, 429) or status >= 500 else _Refused)(f"{status} {answer.reason}")


def _remember(answer: Response, url: str, note: Path) -> None:
    """Keep what the server calls this version of the file, to go on with no other."""
    tag = answer.headers.get("ETag", "")
    version = answer.headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
    write_text(note, json.dumps({"url": url, "version": version}))


def _version(note: Path, url: str) -> str | None:
    with suppress(OSError, ValueError):
        match json.loads(note.read_text("utf-8")):
            case {"url": known, "version": str(version)} if known == url:
                return version
    return None


def wrong(path: Path, download: Download) -> str | None:
    """What is wrong with a file; None: nothing that is known about it contradicts it."""
    with path.open("rb") as file:
        if download.bytes not in (None, found := os.fstat(file.fileno()).st_size):
            return f"expected {download.bytes:,} bytes, found {found:,}"
        if download.md5:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            return None if md5 == download.md5 else f"expected md5 {download.md5}, found {md5}"
        return "an HTML page, not the file" if is_html(file.read(1024)) else None


def _by_hand(download: Download, target: Path) -> str:
    size = "size unknown" if download.bytes is None else f"{download.bytes:,} bytes"
    return f"or put the file there yourself: {target}, {size}, md5 {download.md5 or 'unknown'}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _short(error: Exception) -> str:
    """The innermost words of an error that names every layer it came through."""
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return found[1] if found else f"{type(error).__name__}: {error}"[:120]
