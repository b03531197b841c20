"""Command line: words in, tables out. No logic of its own; every command calls one documented function."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from hashbench import __version__
from hashbench.cli import browse, compare, data, exchange, keep, new, plot, report, run, search, studies, table
from hashbench.cli.output import complain
from hashbench.errors import DataError, HashbenchError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The bench for cross-modal hashing: train, measure, compare and ablate, in one honest protocol.",
)
app.command("run")(run.run)
app.command("ablate")(studies.study)
app.command("grid")(studies.study)
app.command("status")(studies.status)
app.command("results")(browse.results)
app.command("table")(table.table)
app.command("compare")(compare.compare)
app.command("plot")(plot.plot)
app.command("report")(report.report)
app.command("eval")(keep.evaluate)
app.command("score")(exchange.score)
app.command("export")(exchange.export)
app.command("search")(search.search)
app.command("serve")(search.serve)
app.command("list")(browse.list_)
app.command("show")(browse.show)
app.command("check")(browse.check)
app.command("doctor")(keep.doctor)
app.add_typer(new.new, name="new")
app.add_typer(data.data, name="data")
app.add_typer(keep.cache, name="cache")


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if show:
        typer.echo(f"hashbench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error is one line on stderr, and its traceback goes to the log file."""
    try:
        app()
    except HashbenchError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before a command could say it better
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        complain(f"{error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(DataError.exit_code)
    except Exception as error:  # a defect of ours, or of a plug-in: one line here, all of it in the log
        log = _keep_traceback()
        first = str(error).strip().splitlines()
        complain(f"{type(error).__name__}: {first[0] if first else 'no message'} (traceback in {log})")
        sys.exit(1)


def _keep_traceback() -> str:
    from hashbench.files import write_text
    from hashbench.paths import cache_dir

    log = cache_dir() / "last-error.log"
    try:
        write_text(log, " ".join(sys.argv) + "\n" + traceback.format_exc())
    except OSError:
        traceback.print_exc()
        return "nowhere: the log cannot be written"
    return str(log)
