"""The page: what is shown is data whatever it says, and the server answers questions and nothing else."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hashbench.errors import DataError, UsageError
from hashbench.search import Answer, Found, Search
from hashbench.serving import MOST_BYTES, app, page, policy, server

from .conftest import Made

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>&lt;{{ 7 * 7 }}</title></style>\u202ealert\x07"""


class Shape(HTMLParser):
    """Tags with the names of their attributes, texts, and where pictures and links lead."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.targets: list[str] = []
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def answer(text: str) -> Answer:
    return Answer("text", "image", tuple(Found(row, text, 3.0, (text, "b"), text) for row in range(2)))


@pytest.mark.parametrize("asking", [False, True])
def test_hostile_words_are_shown_and_nothing_else(search: Search, asking: bool) -> None:
    told = {"question": HOSTILE, "text": HOSTILE, "problem": HOSTILE}
    hostile = Shape(page(search, answer(HOSTILE), asking=asking, **told))
    benign = Shape(page(search, answer("word"), asking=asking, **dict.fromkeys(told, "word")))
    assert hostile.tags == benign.tags and hostile.targets == benign.targets
    assert hostile.texts.count(HOSTILE) == benign.texts.count("word") == 6
    assert not [tag for tag, names in hostile.tags if tag == "script" or any(name.startswith("on") for name in names)]


def test_a_page_needs_nothing_else(search: Search) -> None:
    written = page(search, search.text("tomato ball", top=4), "tomato ball")
    shape = Shape(written)
    assert len(shape.targets) == 4 and all(target.startswith("data:image/jpeg;base64,") for target in shape.targets)
    assert "default-src 'none'" in written.replace("&#39;", "'")
    style = re.findall(r"<style>(.*?)</style>", written, re.DOTALL)
    assert len(style) == 1 and "url(" not in style[0] and "@import" not in style[0]


def test_the_policy_allows_the_style_of_the_page_as_it_is_written(search: Search) -> None:
    import base64
    import hashlib

    (style,) = re.findall(r"<style>(.*?)</style>", page(search), re.DOTALL)
    wanted = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{wanted}'" in policy() and "unsafe" not in policy()


# --- the server ---------------------------------------------------------------------------------------------


@pytest.fixture
def client(search: Search) -> Any:
    return app(search, top=6).test_client()


def picture(side: int = 20) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(file, "PNG")
    file.seek(0)
    return file


def test_words_and_pictures_are_answered(client: Any, search: Search) -> None:
    asked = client.get("/", query_string={"text": "tomato ball", "for": "image"})
    uploaded = client.post("/", data={"image": (picture(), "x.png"), "for": ""})
    for got, wanted in (
        (asked, search.text("tomato ball", searched="image", top=6)),
        (uploaded, search.picture(Image.new("RGB", (20, 20), "red"), top=6)),
    ):
        assert got.status_code == 200
        assert re.findall(r"<code><bdi>(.*?)</bdi>", got.text) == [found.id for found in wanted.found]
    assert 'value="tomato ball"' in asked.text and "<option selected>image" in asked.text
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda client: client.get("/?text=aeroplane"), "none of these words"),
        (lambda client: client.get("/?text=tomato&for=nothing"), "no codes of such a view"),
        (lambda client: client.get("/?text=" + 10_001 * "x"), "at most 10000 characters"),
        (lambda client: client.post("/", data={}), "the upload: not a picture"),
        (lambda client: client.post("/", data={"image": (io.BytesIO(b"no"), "x.png")}), "the upload: not a picture"),
        (lambda client: client.post("/", data={"image": (picture(), "x.png"), "for": "x"}), "no codes of such a view"),
    ],
)
def test_bad_questions_are_told_on_the_page(client: Any, ask: Any, said: str) -> None:
    got = ask(client)
    assert got.status_code == 400 and said in re.findall(r'role="alert">(.*?)</p>', got.text)[0]


def test_one_picture_at_a_time_is_decoded(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, most = 0, 0

    def slow(content: bytes, where: str) -> Image.Image:
        nonlocal decoding, most
        decoding += 1
        most = max(most, decoding)
        time.sleep(0.05)
        decoding -= 1
        return Image.new("RGB", (9, 9))

    monkeypatch.setattr("hashbench.serving.read_picture", slow)
    made = app(search)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(made.test_client().post, "/", data={"image": (picture(), "x.png")}) for _ in range(4)]
    assert [each.result().status_code for each in asked] == [200] * 4 and most == 1


def test_flags_of_the_command_line_are_not_told_to_visitors(client: Any) -> None:
    assert "--for" not in client.get("/?text=tomato&for=zzz").text


def test_only_what_is_needed_is_answered(client: Any) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert client.open("/", method=method).status_code == 405
    for path in ("/static/x", "/../etc/passwd", "/favicon.ico", "/text"):
        assert client.get(path).status_code == 404
    too_much = {"image": (io.BytesIO(bytes(MOST_BYTES + 1)), "x.png")}
    assert client.post("/", data=too_much).status_code == 413


@pytest.mark.parametrize(
    ("host", "name", "code"),
    [
        ("127.0.0.1", "localhost:8000", 200),
        ("127.0.0.1", "127.0.0.1:8000", 200),
        ("::1", "[::1]:8000", 200),
        ("127.0.0.1", "evil.example", 400),
        ("127.0.0.1", "127.0.0.1.evil.example:8000", 400),
        ("localhost", "evil.localhost.example", 400),
        ("0.0.0.0", "bench.example", 200),
    ],
)
def test_a_page_elsewhere_cannot_reach_it_by_a_name_of_its_own(search: Search, host: str, name: str, code: int) -> None:
    assert app(search, host).test_client().get("/", headers={"Host": name}).status_code == code


def test_every_answer_is_guarded(client: Any) -> None:
    for got in (client.get("/"), client.get("/x"), client.get("/?text=aeroplane"), client.put("/")):
        assert "default-src 'none'" in got.headers["Content-Security-Policy"]
        assert "form-action 'self'; frame-ancestors 'none'" in got.headers["Content-Security-Policy"]
        assert got.headers["X-Content-Type-Options"] == "nosniff" and got.headers["Cache-Control"] == "no-store"


def test_no_path_of_the_machine_is_shown(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*args: object, **more: object) -> Answer:
        raise DataError("/home/somebody/secret.jpg: cannot be read")

    monkeypatch.setattr(search, "text", damaged)
    got = app(search).test_client().get("/?text=tomato")
    assert got.status_code == 500 and "somebody" not in got.text and "cannot be read" in got.text


def test_a_place_that_is_taken_is_told(search: Search) -> None:
    with server(search, "127.0.0.1", 0) as (_, address):
        port = int(address.rstrip("/").rpartition(":")[2])
        with (
            pytest.raises(UsageError, match=f"--port {port}: Address already in use"),
            server(search, "127.0.0.1", port),
        ):
            pass
    with pytest.raises(UsageError, match=r"--host 192\.0\.2\.1"), server(search, "192.0.2.1", 0):
        pass


@pytest.fixture
def running(made: Made, stranger: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    import os

    store, record = made
    command = [sys.executable, "-m", "hashbench", "serve", record.key[:12], "--port", "0", "--results", str(store.root)]
    there = {**os.environ, "PYTHONPATH": str(stranger), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().partition(" ")[0]
        finally:
            process.kill()


def test_it_really_answers_and_ends_with_ctrl_c(running: tuple[subprocess.Popen[str], str], search: Search) -> None:
    process, address = running
    with urllib.request.urlopen(f"{address}?text=tomato", timeout=60) as got:
        assert got.status == 200 and search.text("tomato").found[0].id in got.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}), timeout=60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said, said


def test_items_without_pictures_or_words_are_shown(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "thumbnail", lambda found: None)
    bare = replace(answer("x").found[0], words="", labels=())
    shape = Shape(page(search, Answer("text", "image", (bare,))))
    assert "img" not in [tag for tag, _ in shape.tags] and "x" in shape.texts
