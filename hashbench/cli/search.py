"""``hashbench search``, ``serve``: asking a run for items with words or a picture of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hashbench.cli.browse import JsonOption, ResultsOption
from hashbench.cli.output import complain, print_json, print_table
from hashbench.config import did_you_mean
from hashbench.errors import UsageError

if TYPE_CHECKING:
    from hashbench.search import Search

RunArgument = Annotated[str, typer.Argument(help="The beginning of a run's key; hashbench results --runs lists them.")]


def search(
    run: RunArgument,
    text: Annotated[str | None, typer.Option(help="Words to search with.")] = None,
    image: Annotated[Path | None, typer.Option(help="Picture to search with.")] = None,
    view: Annotated[
        str | None, typer.Option("--for", help="View to search: image, text, ...; by default, the other one.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many items.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Also write a page with the pictures.")] = None,
    results: ResultsOption = None,
    json: JsonOption = False,
) -> None:
    """Find a data set's items by words or a picture, with the codes and the model that a run kept."""
    if (text is None) == (image is None):
        raise UsageError("search: expected one of --text WORDS and --image FILE")
    asked = _read(image) if image else b""
    opened = _open(run, results)
    if view is not None and view not in opened.views:
        raise UsageError(f"--for {view!r}: no codes of such a view. {did_you_mean(view, opened.views)}")
    from hashbench.search import read_picture

    if text is not None:
        answer = opened.text(text, searched=view, top=top)
    else:
        answer = opened.picture(read_picture(asked, f"--image {image}"), searched=view, top=top)
    question = text if text is not None else image.name if image else ""
    if html:
        from hashbench.files import write_text
        from hashbench.serving import page

        write_text(html, page(opened, answer, question))
    if json:
        print_json({"key": opened.record.key, "asked": answer.asked, "searched": answer.searched,
                    "found": [asdict(found) for found in answer.found]})  # fmt: skip
        return
    print_table(
        f"{opened.record.spec.method} {opened.record.spec.bits} bits: {answer.asked}->{answer.searched}: {question}",
        ["distance", "item", "labels", "text"],
        [[f"{found.distance:g}", found.id, ", ".join(found.labels), found.words] for found in answer.found],
    )
    if html:
        typer.echo(f"page: {html}")


def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="Address to listen at; any but this machine's own opens it to others.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any that is free.")] = 8000,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many items a question finds.")] = 20,
    results: ResultsOption = None,
) -> None:
    """Serve a page with a search box for a run, until Ctrl-C."""
    opened = _open(run, results)
    from hashbench.serving import is_loopback, server

    with server(opened, host, port, top) as (serving, address):
        opened.warm_up()
        if not is_loopback(host):
            complain(f"--host {host}: whoever reaches this machine can search and see this data set")
        typer.echo(f"{address} (Ctrl-C ends it)")
        serving.serve_forever()  # until Ctrl-C, which it takes for its end
    raise typer.Exit(130)


def _open(run: str, results: Path | None) -> Search:
    from hashbench.paths import results_dir
    from hashbench.store import Store

    store = Store(results or results_dir())
    record = store.by_prefix(run)
    from hashbench.search import Search

    return Search(store, record)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"--image {path}: {error.strerror or error}") from error
