"""``hashbench new``: begin a plug-in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

new = typer.Typer(no_args_is_help=True, help="Begin a method of your own.")


@new.callback()
def group() -> None:
    """Begin a method of your own."""


@new.command("method")
def method(
    name: Annotated[str, typer.Argument(help="What it will be called, such as my-hash.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write it; a folder of that name.")] = None,
) -> None:
    """Write a package with one method that runs and passes check; fill in fit."""
    from hashbench.scaffold import new_method

    written = new_method(name, folder or Path(name))
    for path in written:
        typer.echo(path)
    typer.echo(f"pip install -e {written[0].parent}; hashbench check {name}; hashbench run --method {name}")
