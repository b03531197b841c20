"""A download is the right file or none, whatever the server does; what has arrived is not asked for again."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from hashbench.data import fetch as module
from hashbench.data.fetch import Download, fetch
from hashbench.errors import DataError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
HTML = b"<!DOCTYPE html><title>Quota exceeded</title>" + b" " * 5000


@dataclass
class Server:
    """A file on a server that behaves as told; every path is the same file."""

    port: int = 0
    content: bytes = CONTENT
    ranges: bool = True
    etag: str | None = '"v1"'
    lengths: bool = True
    content_type: str = "application/zip"
    statuses: list[int] = field(default_factory=list)
    """For the first requests, instead of an answer."""
    drops: list[int] = field(default_factory=list)
    """Bytes after which the connection ends, for the first answers."""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request."""
    sent: int = 0
    delay: float = 0
    """Seconds before an answer."""

    def url(self, name: str = "data.zip") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            server.asked.append(asked)
            time.sleep(server.delay)
            if server.statuses and (status := server.statuses.pop(0)) != 200:
                self.send_error(status)
                return
            start, size = 0, len(server.content)
            if asked and server.ranges and self.headers["If-Range"] in (None, server.etag):
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if server.lengths:
                self.send_header("Content-Length", str(size - start))
            if server.etag:
                self.send_header("ETag", server.etag)
            self.send_header("Content-Type", server.content_type)
            self.end_headers()
            end = start + server.drops.pop(0) if server.drops else size
            self.wfile.write(server.content[start:end])
            server.sent += min(end, size) - start

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES", (0, 0, 0))
    told = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(told)) as http:
        told.port = http.server_address[1]
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield told
        http.shutdown()


def _download(*url: str, known: bool = True) -> Download:
    return Download(url, "data.zip", len(CONTENT) if known else None, _md5(CONTENT) if known else None)


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def _visible(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


@pytest.mark.parametrize("known", [True, False])
def test_a_file_arrives_whole_and_is_not_asked_for_again(tmp_path: Path, server: Server, known: bool) -> None:
    told: list[tuple[int, int | None]] = []
    download = _download(server.url(), known=known)
    target = fetch(download, tmp_path / "new", lambda done, total: told.append((done, total)))
    assert target == tmp_path / "new/data.zip" and target.read_bytes() == CONTENT
    assert told == sorted(told) and told[-1] == (len(CONTENT), len(CONTENT)) and len(told) > 5
    assert _visible(tmp_path / "new") == ["data.zip"]
    assert fetch(download, tmp_path / "new") == target
    assert server.asked == [None]


@pytest.mark.parametrize("known", [True, False])
def test_a_dropped_connection_goes_on_where_it_was(tmp_path: Path, server: Server, known: bool) -> None:
    server.drops = [300_000, 0, 0, 300_000, 0, 0, 200_000]  # more failures than pauses, but never so many in a row
    assert fetch(_download(server.url(), known=known), tmp_path).read_bytes() == CONTENT
    assert server.asked[0] is None and None not in server.asked[1:]
    assert server.sent < len(CONTENT) + 3 * module.CHUNK


@pytest.mark.parametrize("known", [True, False])
def test_a_later_process_goes_on_where_an_interrupted_one_was(tmp_path: Path, server: Server, known: bool) -> None:
    download = _download(server.url(), known=known)

    def interrupt(done: int, total: int | None) -> None:
        if done > 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(download, tmp_path, interrupt)
    assert _visible(tmp_path) == ["data.zip.part"], "no partial file stands under the final name"
    kept = (tmp_path / "data.zip.part").stat().st_size
    assert kept > 400_000
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


@pytest.mark.parametrize("known", [True, False])
def test_a_server_without_ranges_starts_anew(tmp_path: Path, server: Server, known: bool) -> None:
    server.ranges = False
    server.drops = [300_000, 600_000]
    assert fetch(_download(server.url(), known=known), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 3


@pytest.mark.parametrize("drops", [[300_000], [300_000, 200_000]])
def test_a_server_that_always_drops_is_left_after_a_few_tries(tmp_path: Path, server: Server, drops: list[int]) -> None:
    server.ranges = False
    server.drops = drops * 20
    with pytest.raises(DataError, match=r"connection failed|connection ended"):
        fetch(_download(server.url()), tmp_path)
    assert len(server.asked) <= 2 + len(module.PAUSES)
    assert _visible(tmp_path) == ["data.zip.part"]


def test_a_file_that_changed_on_the_server_is_never_mixed(tmp_path: Path, server: Server) -> None:
    (tmp_path / "other").mkdir()
    download = _download(server.url(), known=False)
    server.drops = [300_000]
    server.statuses = [200, 404]
    with pytest.raises(DataError, match="404"):
        fetch(download, tmp_path)
    assert _visible(tmp_path) == ["data.zip.part", "other"]
    server.content, server.etag = CONTENT[::-1], '"v2"'
    assert fetch(download, tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_any_mark_of_the_version_a_part_is_not_gone_on_with(
    tmp_path: Path, server: Server, etag: str | None
) -> None:
    server.etag = etag
    (tmp_path / "data.zip.part").write_bytes(b"of another day")
    server.drops = [300_000]
    assert fetch(_download(server.url(), known=False), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_part_of_another_file_is_found_out_and_loaded_anew(tmp_path: Path, server: Server) -> None:
    for size in (300_000, len(CONTENT), len(CONTENT) + 5):
        (tmp_path / "data.zip.part").write_bytes(b"x" * size)
        assert fetch(_download(server.url()), tmp_path).read_bytes() == CONTENT
        (tmp_path / "data.zip").unlink()


def test_a_part_that_was_complete_only_wants_its_name(tmp_path: Path, server: Server) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    assert fetch(_download(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked == []
    (tmp_path / "data.zip").rename(tmp_path / "data.zip.part")
    assert fetch(Download((server.url(),), "data.zip", None, _md5(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.sent == 0


def test_the_next_mirror_goes_on_with_what_the_first_has_given(tmp_path: Path, server: Server) -> None:
    server.drops = [300_000]
    server.statuses = [200, 404]
    download = _download(server.url("first"), server.url("second"))
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert server.sent < len(CONTENT) + module.CHUNK and len(server.asked) == 3


@pytest.mark.parametrize(
    ("told", "said", "tries"),
    [
        ({"statuses": [404]}, "404 Not Found", 1),
        ({"statuses": [503] * 9}, "503 Service Unavailable, 4 times", 4),
        ({"content": HTML}, "expected 1,000,000 bytes, the server has 5,044", 1),
        ({"content": HTML, "lengths": False}, "an HTML page, not the file", 1),
        ({"content": b"<script>" + HTML, "lengths": False, "content_type": "text/html"}, "an HTML page", 1),
        ({"content": CONTENT[::-1]}, f"expected md5 {_md5(CONTENT)}, found {_md5(CONTENT[::-1])}", 1),
        ({"content": CONTENT[:-1]}, "expected 1,000,000 bytes, the server has 999,999", 1),
        ({"content": CONTENT[:-1], "lengths": False}, "expected 1,000,000 bytes, the server has 999,999", 2),
        ({"content": CONTENT + b"x", "lengths": False}, "expected 1,000,000 bytes, found 1,000,001", 1),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(
    tmp_path: Path, server: Server, told: dict[str, Any], said: str, tries: int
) -> None:
    vars(server).update(told)
    with pytest.raises(DataError) as error:
        fetch(_download(server.url()), tmp_path)
    assert said in str(error.value) and server.url() in str(error.value) and "\n" not in str(error.value)
    by_hand = f"or put the file there yourself: {tmp_path / 'data.zip'}, 1,000,000 bytes, md5 {_md5(CONTENT)}"
    assert str(error.value).endswith(by_hand)
    assert not (tmp_path / "data.zip").exists()
    assert len(server.asked) == tries
    vars(server).update(vars(Server(port=server.port)))
    assert fetch(_download(server.url()), tmp_path).read_bytes() == CONTENT, "and nothing wrong is left behind"


def test_an_error_page_does_not_cost_what_has_arrived(tmp_path: Path, server: Server) -> None:
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:700_000])
    server.ranges, server.lengths, server.content = False, False, HTML
    with pytest.raises(DataError, match="HTML"):
        fetch(_download(server.url()), tmp_path)
    vars(server).update(vars(Server(port=server.port)))
    assert fetch(_download(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.sent == 300_000


def test_nobody_there_is_told(tmp_path: Path, server: Server) -> None:
    with pytest.raises(
        DataError, match=r"http://127\.0\.0\.1:1/x: the connection failed \(Connection refused\), 4 times"
    ):
        fetch(_download("http://127.0.0.1:1/x"), tmp_path)
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch(_download("htp:/nonsense"), tmp_path)


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT[::-1]])
def test_another_file_in_its_place_is_left_as_it_is(tmp_path: Path, server: Server, content: bytes) -> None:
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(
        DataError, match=r"data\.zip: expected .*, found .*left as it is.*or put the file there yourself"
    ):
        fetch(_download(server.url()), tmp_path)
    assert (tmp_path / "data.zip").read_bytes() == content and server.asked == []


def test_an_error_page_in_its_place_is_told_where_nothing_else_is_known(tmp_path: Path, server: Server) -> None:
    (tmp_path / "data.zip").write_bytes(HTML)
    with pytest.raises(DataError, match=r"data\.zip: an HTML page.*size unknown, md5 unknown"):
        fetch(_download(server.url(), known=False), tmp_path)


def test_a_full_disk_keeps_what_there_is(tmp_path: Path, server: Server) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot be written \(.*\); what has arrived stays"):
            fetch(_download(server.url()), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:500_000]
    assert fetch(_download(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=500000-"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        fetch(_download(server.url()), tmp_path / "file")


def test_processes_that_want_the_same_file_load_it_once(tmp_path: Path, server: Server) -> None:
    server.delay = 1.5  # for the others to come in the meantime
    code = (
        "import sys; from pathlib import Path; from hashbench.data.fetch import Download, fetch;"
        "fetch(Download((sys.argv[1],), 'data.zip', int(sys.argv[2]), sys.argv[3]), Path(sys.argv[4]))"
    )
    words = [sys.executable, "-c", code, server.url(), str(len(CONTENT)), _md5(CONTENT), str(tmp_path)]
    processes = [subprocess.Popen(words) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert server.asked == [None]
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
