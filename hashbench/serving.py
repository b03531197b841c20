"""Search as a page: one HTML file, or a small local server with a box for words and one for a picture.

There is no script in it, what is shown is escaped, and the policy in its head allows pictures inside the page and
its own style alone.
"""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from importlib import resources
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hashbench.errors import DataError, HashbenchError, UsageError
from hashbench.search import MOST_CHARACTERS, Answer, Search, read_picture

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.serving import BaseWSGIServer

MOST_BYTES = 20 * 2**20
"""Of an upload."""


def page(
    search: Search, answer: Answer | None = None, question: str = "", *, asking: bool = False, text: str = "",
    chosen: str | None = None, problem: str = "",
) -> str:  # fmt: skip
    """One HTML page that needs nothing else.

    Args:
        search: Whose run it is.
        answer: What was found.
        question: What was asked, for its heading.
        asking: Whether it is served, and has boxes to ask again.
        text: What stands in the box.
        chosen: The view to search that is chosen there.
        problem: What is wrong with a question.
    """
    spec = search.record.spec
    hits = [] if answer is None else [(hit, _data_uri(search.thumbnail(hit))) for hit in answer.found]
    return str(_template().render(
        title=f"{spec.method}, {spec.bits} bits on {spec.dataset}",
        about=f"{spec.protocol}, {len(search.dataset.split.database)} items, run {search.record.key[:16]}",
        search=search, answer=answer, question=question, hits=hits, asking=asking, text=text, chosen=chosen,
        problem=problem, policy=policy(), most_characters=MOST_CHARACTERS,
        unit="distance by the cosine" if search.real_valued else f"number of {spec.bits} bits that differ",
    ))  # fmt: skip


def policy(form: str = "'none'") -> str:
    """Content-Security-Policy of a page; ``form`` is where its forms may go."""
    style = base64.b64encode(hashlib.sha256(_css().encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'; form-action {form}"


def app(search: Search, host: str = "127.0.0.1", top: int = 20) -> Flask:
    """The page as a WSGI application.

    On this machine alone, it answers to the machine's own names only: a page elsewhere cannot reach it by a name of
    its own that leads here.

    Raises:
        DataError: Flask is not installed.
    """
    flask = _flask()
    made: Flask = flask.Flask("hashbench", static_folder=None, template_folder=None)
    made.config.update(MAX_CONTENT_LENGTH=MOST_BYTES, MAX_FORM_MEMORY_SIZE=2**20, MAX_FORM_PARTS=8)
    turn = Lock()  # one question at a time: a model uses all cores as it is

    def shown(answer: Answer | None = None, question: str = "", **more: Any) -> str:
        with turn:
            return page(search, answer, question, asking=True, **more)

    @made.before_request
    def called_by_its_name() -> None:
        if is_loopback(host) and not is_loopback(_host_name(flask.request.host)):
            flask.abort(400)

    @made.get("/", provide_automatic_options=False)
    def by_words() -> Any:
        text, chosen = flask.request.args.get("text", ""), flask.request.args.get("for") or None
        if not text:
            return shown(chosen=chosen)
        try:
            with turn:
                answer = search.text(text, searched=chosen, top=top)
        except UsageError as error:
            return shown(text=text, chosen=chosen, problem=str(error)), 400
        return shown(answer, text, text=text, chosen=chosen)

    @made.post("/", provide_automatic_options=False)
    def by_picture() -> Any:
        upload, chosen = flask.request.files.get("image"), flask.request.form.get("for") or None
        try:
            with turn:  # decoding too: few bytes may become many
                picture = read_picture(upload.read() if upload else b"", "the upload")
                answer = search.picture(picture, searched=chosen, top=top)
        except UsageError as error:
            return shown(chosen=chosen, problem=str(error)), 400
        return shown(answer, "A picture", chosen=chosen)

    @made.errorhandler(HashbenchError)
    def trouble(error: HashbenchError) -> Any:
        made.logger.error("%s", error)  # with the paths of this machine, which are no one else's business
        return "The data behind this page cannot be read; the terminal that serves it says why.", 500

    @made.after_request
    def guarded(response: Any) -> Any:
        response.headers.update({
            "Content-Security-Policy": f"{policy(chr(39) + 'self' + chr(39))}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        })  # fmt: skip
        return response

    return made


@contextmanager
def server(search: Search, host: str, port: int, top: int = 20) -> Iterator[tuple[BaseWSGIServer, str]]:
    """A server that listens, and its address; it answers while its ``serve_forever`` runs.

    Raises:
        UsageError: the place cannot be taken.
        DataError: Flask is not installed.
    """
    made = app(search, host, top)
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        """Says nothing of questions, which are nobody's business."""

        timeout = 30  # seconds that a sleeping client may hold a thread

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

        def version_string(self) -> str:
            return "hashbench"

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: {error.strerror or error}; take another --port") from error
    with closing(listening):
        number = listening.getsockname()[1]
        serving = make_server(host, number, made, True, 1, Quiet, fd=listening.fileno())
        try:
            yield serving, f"http://{f'[{host}]' if ':' in host else host}:{number}/"
        finally:
            serving.server_close()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(header: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _flask() -> Any:
    try:
        import flask
    except ImportError as error:
        raise DataError("serving needs Flask: pip install 'hashbench[serve]'") from error
    return flask


def _data_uri(jpeg: bytes | None) -> str:
    return "" if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


@cache
def _css() -> str:
    return (resources.files("hashbench") / "templates" / "search.css").read_text("utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    written = (resources.files("hashbench") / "templates" / "search.html.j2").read_text("utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        written, globals={"css": Markup(_css())}
    )
