"""A table as booktabs LaTeX, Markdown, CSV, HTML and lines of a terminal.

Names, captions and notes are data: each format escapes what would be markup in it, and control characters, also those
that turn the direction of writing, become ``?`` in all of them.
"""

from __future__ import annotations

import csv
import html as htmllib
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hashbench.printing import decimals
from hashbench.report.tables import Cell, Row, Table

Escape = Callable[[str], str]

DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """One line without control characters, lone surrogates and marks of direction."""
    text = " ".join(text.split())
    return "".join("?" if unicodedata.category(c) in ("Cc", "Cs") or c in DIRECTIONS else c for c in text)


@dataclass(frozen=True)
class Format:
    """How one format writes the parts of a cell."""

    escape: Escape
    best: str
    """``{}`` is the number."""
    second: str
    sign: str
    deviation: str
    printed: str
    missing: str
    reading: tuple[str, str] = ("bold: best", "underlined: second")
    """What best and second look like, in words."""

    def cell(self, cell: Cell) -> str:
        """A cell, ready to stand in the format."""
        if cell.mark == "missing":
            return self.missing
        text = self.escape(cell.printed)
        if cell.mark == "printed":
            return self.printed.format(text)
        text = {"best": self.best, "second": self.second, "": "{}"}[cell.place].format(text)
        if cell.deviation is not None:
            text += self.deviation.format(self.escape(decimals(cell.deviation, cell.digits)))
        return text + (self.sign.format(self.escape(cell.sign + "*" * cell.doubtful)) if cell.sign else "")

    def notes(self, table: Table) -> list[str]:
        """What stands underneath, escaped: the table's notes, then how marks are read, as far as they occur."""
        return [self.escape(note) for note in [*table.notes, *Head.of(table).notes, *self._legend(table)]]

    def _legend(self, table: Table) -> list[str]:
        cells = [*(cell for row in table.rows for cell in row.cells), *table.means]
        found = {*(c.place for c in cells if c.place), *(c.mark for c in cells), *("*" for c in cells if c.doubtful)}
        said = [self.reading[0]] if "best" in found else []
        said += [f"{self.reading[1]}, among what was run here"] if "second" in found else []
        said += ["†: printed in the paper named, measured on its own queries"] if "printed" in found else []
        said += ["–: missing"] if "missing" in found else []
        said += ["mean: of rows without a missing cell"] if table.means else []
        lines = ["; ".join(said)] if said else []
        if table.against:
            line = (
                f"+ and -: MAP higher and lower than {table.against}, paired randomisation over queries, p < .05 after "
            )
            line += "Holm over this table"
            lines.append(line + ("; *: the seeds do not bear it out" if "*" in found else ""))
        return lines


@dataclass(frozen=True)
class Head:
    """Which columns of words a table needs; what is the same in every row stands underneath instead."""

    backbone: bool
    settings: str
    """Name of the column of settings and sources; empty where there are none."""
    seeds: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, table: Table) -> Head:
        backbones, seeds = ({getattr(row, name) for row in table.rows} for name in ("backbone", "seeds"))
        same = [backbone for backbone in backbones if backbone and len(backbones) == 1]
        counts = [f"{n} seed{'s' * (n != '1')} in every row" for n in seeds if n and len(seeds) == 1]
        return cls(
            len(backbones) > 1,
            ", ".join(name for name in ("settings", "source") if any(getattr(row, name) for row in table.rows)),
            len(seeds) > 1,
            tuple(["; ".join([f"backbone {name}" for name in same] + counts)] if same or counts else []),
        )

    @property
    def names(self) -> list[str]:
        return ["method", *["backbone"] * self.backbone, *filter(None, [self.settings])]

    def words(self, row: Row, escape: Escape) -> list[str]:
        """The words of a row: its method with the year, what it sees by, and its settings or source."""
        words = [escape(row.method + (f" ({row.year})" if row.year else ""))]
        words += [escape(row.backbone)] * self.backbone
        return words + [escape(row.source or row.settings)] * bool(self.settings)


def _lines(table: Table, style: Format) -> list[tuple[str, list[list[str]]]]:
    """Group to its lines, every cell escaped; the group without a name holds chance."""
    head = Head.of(table)
    found = []
    for group, rows in table.groups.items():
        lines = [
            [
                *head.words(row, style.escape),
                *map(style.cell, row.cells),
                *([style.cell(mean)] if mean else []),
                *([style.escape(row.seeds)] if head.seeds else []),
            ]
            for row, mean in rows
        ]
        found.append((style.escape(group), lines))
    if table.chance:
        levels = [style.missing if level is None else style.escape(decimals(level)) for level in table.chance]
        rest = [""] * (bool(table.means) + head.seeds)
        found.append(("", [["chance", *[""] * (len(head.names) - 1), *levels, *rest]]))
    return found


def _arrow(task: str) -> str:
    return task.replace("->", " → ")


def _after(table: Table) -> list[str]:
    return [*(["mean"] if table.means else []), *(["seeds"] if Head.of(table).seeds else [])]


# LaTeX

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "[": "{[}",
    "]": "{]}", "→": r"$\rightarrow$", "±": r"$\pm$", "†": r"$\dagger$", "–": r"\textendash{}", "−": "$-$",
    "≥": r"$\geq$", "≤": r"$\leq$", "*": r"{*}", "α": r"$\alpha$", "β": r"$\beta$",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return re.sub("-(?=-)", "-{}", "".join(_LATEX.get(c, c) for c in clean(text)))  # two would be one dash


LATEX = Format(
    latex_escape, r"\textbf{{{}}}", r"\underline{{{}}}", r"$^{{{}}}$", r" {{\scriptsize $\pm$ {}}}",
    r"{}$^{{\dagger}}$", "--",
)  # fmt: skip


def latex(table: Table) -> str:
    """A ``table`` for a paper that has ``\\usepackage{booktabs}``; nothing else is needed."""
    head, after = Head.of(table), _after(table)
    words, width = len(head.names), len(head.names) + len(table.columns) + len(after)
    tops, rules, at = [""] * words, [], words + 1
    for task, count in table.tasks.items():
        tops.append(rf"\multicolumn{{{count}}}{{c}}{{{latex_escape(_arrow(task))}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + count - 1}}}")
        at += count
    bits = [*head.names, *(str(column.bits) for column in table.columns), *after]
    body = []
    for group, lines in _lines(table, LATEX):
        body.append(r"\midrule")
        if group:
            body.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{group}}}}} \\")
        body += [" & ".join(line) + r" \\" for line in lines]
    notes = [rf"\par {note}" for note in LATEX.notes(table)]
    return "\n".join([
        r"\begin{table}[t]", r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{latex_escape(table.caption)}}}",
        rf"\begin{{tabular}}{{{'l' * words}{'r' * (width - words)}}}", r"\toprule",
        " & ".join([*tops, *[""] * len(after)]) + r" \\", " ".join(rules), " & ".join(bits) + r" \\", *body,
        r"\bottomrule", r"\end{tabular}", r"\par\smallskip", r"{\footnotesize\raggedright", *notes, r"\par}",
        r"\end{table}", "",
    ])  # fmt: skip


# Markdown

_MARKED = re.compile(r"""
    [\\`*_{}\[\]<>#|~$]          # emphasis, code, links, tags, headings, cells, formulas
    | &(?=[\w#])                # entities
    | (?<!\w)@ | @(?=[\w-]+\.)  # people and addresses
    | :(?=\S)                   # links and emoji
    | (?i:(?<=www)\.)           # links, too
    | ^[-+=] | (?<=^\d)[.)]     # lists and lines
""", re.VERBOSE)  # fmt: skip


def markdown_escape(text: str) -> str:
    """Text that Markdown (CommonMark and GitHub's) prints as it is, in a cell and at the beginning of a line."""
    return _MARKED.sub(lambda found: f"\\{found[0]}", clean(text))


MARKDOWN = Format(markdown_escape, "**{}**", "<ins>{}</ins>", "<sup>{}</sup>", " ± {}", "{}†", "–")


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown, its caption above and its notes underneath."""
    head, after = Head.of(table), _after(table)
    names = [*head.names, *(f"{markdown_escape(_arrow(c.task))} {c.bits}" for c in table.columns), *after]
    rules = [*["---"] * len(head.names), *["---:"] * (len(names) - len(head.names))]
    grid = [names, rules]
    for group, lines in _lines(table, MARKDOWN):
        grid += [[f"*{group}*", *[""] * (len(names) - 1)]] if group else []
        grid += lines
    body = ["| " + " | ".join(line) + " |" for line in grid]
    notes = [f"- {note}" for note in MARKDOWN.notes(table)]
    return "\n".join([markdown_escape(table.caption), "", *body, "", *notes, ""])


# HTML


def html_escape(text: str) -> str:
    """Text that HTML shows as it is, also inside a quoted attribute."""
    return htmllib.escape(clean(text), quote=True)


HTML = Format(
    html_escape, "<strong>{}</strong>", "<u>{}</u>", "<sup>{}</sup>", ' <span class="deviation">± {}</span>', "{}†", "–"
)

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color-scheme: light dark }
table { border-collapse: collapse; border-block: 2px solid; margin-block: 1rem }
caption { text-align: start; font-weight: 600; padding-block: .4rem }
th, td { padding: .2rem .6rem; text-align: end; font-variant-numeric: tabular-nums }
th[scope=row], td.word, th.word, th[scope=rowgroup] { text-align: start }
thead, tbody { border-block-end: 1px solid }
.deviation { font-size: .8em; opacity: .8 }
.notes { font-size: .85rem; padding-inline-start: 1.2rem }
"""


def html(table: Table) -> str:
    """A ``<table>`` with its notes, to stand in a page; no script and no style of its own."""
    head, after = Head.of(table), _after(table)
    tops = [f'<th rowspan="2" scope="col" class="word">{name}</th>' for name in head.names]
    tops += [
        f'<th colspan="{count}" scope="colgroup"><bdi>{html_escape(_arrow(task))}</bdi></th>'
        for task, count in table.tasks.items()
    ]
    tops += [f'<th rowspan="2" scope="col">{name}</th>' for name in after]
    bits = [f'<th scope="col">{column.bits}</th>' for column in table.columns]
    body = []
    width = len(head.names) + len(table.columns) + len(after)
    for group, lines in _lines(table, HTML):
        body.append("<tbody>")
        if group:
            body.append(f'<tr><th colspan="{width}" scope="rowgroup"><bdi>{group}</bdi></th></tr>')
        for line in lines:
            first, *words = line[: len(head.names)]
            cells = [f'<th scope="row"><bdi>{first}</bdi></th>']
            cells += [f'<td class="word"><bdi>{word}</bdi></td>' for word in words]
            cells += [f"<td>{cell}</td>" for cell in line[len(head.names) :]]
            body.append(f"<tr>{''.join(cells)}</tr>")
        body.append("</tbody>")
    notes = "".join(f"<li>{note}</li>" for note in HTML.notes(table))
    return "\n".join([
        "<table>", f"<caption>{html_escape(table.caption)}</caption>",
        f"<thead>\n<tr>{''.join(tops)}</tr>\n<tr>{''.join(bits)}</tr>\n</thead>", *body, "</table>",
        f'<ul class="notes">{notes}</ul>', "",
    ])  # fmt: skip


def page(title: str, tables: Sequence[Table]) -> str:
    """A whole page that opens from a file: nothing is fetched, and its policy lets nothing run."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return "\n".join([
        "<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width">', f"<title>{html_escape(title)}</title>",
        f"<style>{STYLE}</style>", "</head>", "<body>", *map(html, tables), "</body>", "</html>", "",
    ])  # fmt: skip


# CSV

CSV_COLUMNS = (
    "dataset", "protocol", "split", "metric", "group", "year", "method", "backbone", "settings", "source", "task",
    "bits", "mark", "mean", "deviation", "seeds", "place", "against", "sign", "doubtful", "chance",
)  # fmt: skip


def csv_escape(text: str) -> str:
    """Text that no spreadsheet takes for a formula: one that begins like it gets an apostrophe in front."""
    text = clean(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def csv_text(tables: Sequence[Table]) -> str:
    """All tables in long form, a line a cell, numbers in full; the chance of a column stands in each of its lines."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        place = [csv_escape(text) for text in (table.dataset, table.protocol, table.split, table.metric)]
        chance = table.chance or (None,) * len(table.columns)
        for row in table.rows:
            words = [csv_escape(text) for text in (row.method, row.backbone, row.settings, row.source)]
            for column, cell, level in zip(table.columns, row.cells, chance, strict=True):
                writer.writerow([
                    *place, csv_escape(row.group), row.year, *words, csv_escape(column.task), column.bits,
                    cell.mark, cell.printed if cell.mark == "printed" else cell.mean, cell.deviation, cell.seeds or "",
                    cell.place, csv_escape(table.against), {"+": "higher", "-": "lower", "": ""}[cell.sign],
                    "yes" if cell.doubtful else "", level,
                ])  # fmt: skip
    return buffer.getvalue()


# Terminal


def terminal(table: Table, *, styled: bool, width: int = 160) -> str:
    """Lines for a terminal of so many columns; without styles, ``¹`` is best and ``²`` second."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    plain = Format(
        clean, "{}¹", "{}²", " {}", " ± {}", "{}†", "–",
        ("bold: best", "underlined: second") if styled else ("¹: best", "²: second"),
    )  # fmt: skip
    head, after = Head.of(table), _after(table)
    several = len(table.tasks) > 1
    grid = Grid(title=Text(clean(table.caption), style="bold"), title_justify="left", box=box.SIMPLE_HEAD,
                pad_edge=False)  # fmt: skip
    for name in head.names:
        grid.add_column(Text(name), overflow="fold")
    for column in table.columns:
        task = f"{clean(_arrow(column.task))}\n" if several else ""
        grid.add_column(Text(f"{task}{column.bits}"), justify="right", overflow="fold")
    for name in after:
        grid.add_column(Text(name), justify="right")

    def styled_cell(text: str) -> Text:
        for mark, style in (("¹", "bold"), ("²", "underline")):
            number, found, rest = text.partition(mark)
            if styled and found:
                return Text.assemble((number, style), rest)
        return Text(text)

    for group, lines in _lines(table, plain):
        grid.add_section()
        if group:
            grid.add_row(Text(group, style="italic"))
        for line in lines:
            words, cells = line[: len(head.names)], line[len(head.names) :]
            grid.add_row(*map(Text, words), *map(styled_cell, cells))
    buffer = io.StringIO()
    console = Console(
        file=buffer, force_terminal=styled, color_system="standard" if styled else None, width=width, highlight=False,
        legacy_windows=False,
    )  # fmt: skip
    console.print(grid)
    for note in plain.notes(table):
        console.print(Text(note), soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
