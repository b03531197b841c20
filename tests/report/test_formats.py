"""Every format: its golden text, and that names stay names in it."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hashbench.report import formats
from hashbench.report.tables import Table

from .made import HOSTILE, golden, hostile

LATEX = r"""
\begin{table}[t]
\centering\small\setlength{\tabcolsep}{4pt}
\caption{map@all on shapes}
\begin{tabular}{lllrrrrrr}
\toprule
 &  &  & \multicolumn{2}{c}{image $\rightarrow$ text} & \multicolumn{2}{c}{text $\rightarrow$ image} &  &  \\
\cmidrule(lr){4-5} \cmidrule(lr){6-7}
method & backbone & settings, source & 16 & 32 & 16 & 32 & mean & seeds \\
\midrule
\multicolumn{9}{l}{\textit{supervised}} \\
dcmh (2017) & lite &  & \textbf{.5000} & \underline{.6000} & \underline{.3000} & -- & -- & 1 \\
DCMH (2017) & CNN-F & SSAH paper & .735$^{\dagger}$ & .737$^{\dagger}$ & .763$^{\dagger}$ & .764$^{\dagger}$ & .750$^{\dagger}$ &  \\
\midrule
\multicolumn{9}{l}{\textit{distilled}} \\
soda & lite & alpha=0.1 & \textbf{.5000} {\scriptsize $\pm$ .0100} & \textbf{.6123} {\scriptsize $\pm$ .0200}$^{+}$ & \textbf{.4000} {\scriptsize $\pm$ .0000} & .7000 {\scriptsize $\pm$ .0300}$^{-{*}}$ & .5531 & 3 \\
\midrule
\multicolumn{9}{l}{\textit{reference}} \\
real & lite &  & .9000 & .9000 & .9000 & .9000 & .9000 & 1 \\
\midrule
chance &  &  & .2500 & .2500 & .3000 & -- &  &  \\
\bottomrule
\end{tabular}
\par\smallskip
{\footnotesize\raggedright
\par protocol shapes@1: 6 queries \& 9 more
\par bold: best; underlined: second, among what was run here; $\dagger$: printed in the paper named, measured on its own queries; \textendash{}: missing; mean: of rows without a missing cell
\par + and -: MAP higher and lower than dcmh lite, paired randomisation over queries, p \textless{} .05 after Holm over this table; {*}: the seeds do not bear it out
\par}
\end{table}
"""  # noqa: E501

MARKDOWN = """
map@all on shapes

| method | backbone | settings, source | image → text 16 | image → text 32 | text → image 16 | text → image 32 | mean | seeds |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| *supervised* |  |  |  |  |  |  |  |  |
| dcmh (2017) | lite |  | **.5000** | <ins>.6000</ins> | <ins>.3000</ins> | – | – | 1 |
| DCMH (2017) | CNN-F | SSAH paper | .735† | .737† | .763† | .764† | .750† |  |
| *distilled* |  |  |  |  |  |  |  |  |
| soda | lite | alpha=0.1 | **.5000** ± .0100 | **.6123** ± .0200<sup>\\+</sup> | **.4000** ± .0000 | .7000 ± .0300<sup>\\-\\*</sup> | .5531 | 3 |
| *reference* |  |  |  |  |  |  |  |  |
| real | lite |  | .9000 | .9000 | .9000 | .9000 | .9000 | 1 |
| chance |  |  | .2500 | .2500 | .3000 | – |  |  |

- protocol shapes@1: 6 queries & 9 more
"""  # noqa: E501

CSV = """\
dataset,protocol,split,metric,group,year,method,backbone,settings,source,task,bits,mark,mean,deviation,seeds,place,against,sign,doubtful,chance
shapes,shapes@1,0123abcd,map@all,supervised,2017,dcmh,lite,,,image->text,16,run,0.5,,1,best,dcmh lite,,,0.25
shapes,shapes@1,0123abcd,map@all,supervised,2017,dcmh,lite,,,image->text,32,run,0.6,,1,second,dcmh lite,,,0.25
shapes,shapes@1,0123abcd,map@all,supervised,2017,dcmh,lite,,,text->image,16,run,0.3,,1,second,dcmh lite,,,0.3
shapes,shapes@1,0123abcd,map@all,supervised,2017,dcmh,lite,,,text->image,32,missing,,,,,dcmh lite,,,
shapes,shapes@1,0123abcd,map@all,supervised,2017,DCMH,CNN-F,,SSAH paper,image->text,16,printed,.735,,,,dcmh lite,,,0.25
"""

TERMINAL = """\
 supervised
 dcmh (2017)   lite                                  .5000¹             .6000²           .3000²                  –       –       1
 DCMH (2017)   CNN-F      SSAH paper                  .735†              .737†            .763†              .764†   .750†

 distilled
 soda          lite       alpha=0.1          .5000¹ ± .0100   .6123¹ ± .0200 +   .4000¹ ± .0000   .7000 ± .0300 -*   .5531       3
"""  # noqa: E501


def test_golden_latex() -> None:
    assert formats.latex(golden()) == LATEX.lstrip()


def test_golden_markdown() -> None:
    assert formats.markdown(golden()).startswith(MARKDOWN.lstrip())


def test_golden_csv() -> None:
    assert formats.csv_text([golden()]).startswith(CSV)
    assert formats.csv_text([golden()] * 2).count("dataset,protocol") == 1


def test_golden_terminal() -> None:
    plain = formats.terminal(golden(), styled=False)
    assert TERMINAL in plain and "\x1b" not in plain and "¹: best; ²: second" in plain
    styled = formats.terminal(golden(), styled=True)
    assert "\x1b[1m.6123\x1b[0m ± .0200 +" in styled and "\x1b[4m.6000\x1b[0m" in styled and "¹" not in styled


def test_what_is_the_same_in_every_row_stands_underneath() -> None:
    rows = [replace(row, backbone="lite", source="") for row in golden().rows if row.method != "DCMH"]
    found = formats.Head.of(replace(golden(), rows=tuple(rows)))
    assert found.names == ["method", "settings"] and found.seeds and found.notes == ("backbone lite",)
    found = formats.Head.of(replace(golden(), rows=tuple(rows[:1])))
    assert not found.seeds and found.notes == ("backbone lite; 1 seed in every row",)
    assert formats.Head.of(golden()).notes == ()


def test_golden_html() -> None:
    text = formats.html(golden())
    assert (
        '<tr><th scope="row"><bdi>soda</bdi></th><td class="word"><bdi>lite</bdi></td>'
        '<td class="word"><bdi>alpha=0.1</bdi></td>'
        '<td><strong>.5000</strong> <span class="deviation">± .0100</span></td>'
        '<td><strong>.6123</strong> <span class="deviation">± .0200</span><sup>+</sup></td>'
    ) in text
    assert "<td><u>.6000</u></td>" in text and "<td>.735†</td>" in text and "<td>–</td>" in text
    page = formats.page("t & t", [golden()])
    assert "default-src 'none'" in page and "<title>t &amp; t</title>" in page and text in page
    assert not re.search(r"https?:|src=|href=|<script", page)


class Shape(HTMLParser):
    """Tags in their order, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[object, ...]] = []
        self.open: list[str] = []
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *attrs))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_markup_in_html(name: str) -> None:
    tame = Shape(formats.page("x", [hostile("tame")]))
    found = Shape(formats.page(name, [hostile(name)]))
    assert found.tags == tame.tags and not found.open
    assert found.said.count(formats.clean(name).replace("->", " → ")) >= 6


def tex(text: str) -> str:
    """A strict reading of the LaTeX that we write: what would be printed, with ``{}`` and ``$`` in balance.

    Known are the commands below with so many arguments; any other command or active character is an error.
    """
    known = {
        "begin": 1, "end": 1, "caption": 1, "textbf": 1, "underline": 1, "textit": 1, "multicolumn": 3, "cmidrule": 1,
        "small": 0, "setlength": 2, "tabcolsep": 0, "toprule": 0, "midrule": 0, "bottomrule": 0, "centering": 0,
        "par": 0, "smallskip": 0, "footnotesize": 0, "raggedright": 0, "scriptsize": 0,
    }  # fmt: skip
    printed = {
        "textbackslash": "\\", "textendash": "–", "textasciicircum": "^", "textasciitilde": "~",
        "textless": "<", "textgreater": ">",
        "textbar": "|", "textquotesingle": "'", "textasciigrave": "`", "char34": '"', "rightarrow": "→", "pm": "±",
        "dagger": "†", "geq": "≥", "leq": "≤", "alpha": "α", "beta": "β",
    }  # fmt: skip
    out, depth, maths, at, environments = "", 0, False, 0, []
    while at < len(text):
        if found := re.match(r"\\(begin|end)\{(\w+)\}(\[t\]|\{[lr]+\})?", text[at:]):
            if found[1] == "begin":
                environments.append(found[2])
            else:
                assert environments.pop() == found[2]
            at += found.end()
        elif found := re.match(r"\\cmidrule\(lr\)\{\d+-\d+\}|\\multicolumn\{\d+\}\{[lc]\}(?=\{)", text[at:]):
            at += found.end()
        elif found := re.match(r"\\([a-zA-Z]+)(34)?", text[at:]):
            name = found[1] + (found[2] or "")
            assert name in known or name in printed, name
            assert name not in printed or maths or text[at + found.end() :].startswith("{}"), name
            out += printed.get(name, "")
            at += found.end()
        elif found := re.match(r"\\([\\{}$&#_%])", text[at:]):
            out += "\n" if found[1] == "\\" else found[1]
            assert found[1] != "\\" or text[at + 2] == "\n", "a line of a table ends with its line"
            at += 2
        else:
            char = text[at]
            assert char not in "#%~\\[]*" or text[at - 1 : at + 2] in ("{[}", "{]}", "{*}"), text[at - 9 : at + 9]
            assert char not in "^_" or maths
            assert not text.startswith(("---", "``", "''", "\n\n"), at)
            depth += {"{": 1, "}": -1}.get(char, 0)
            maths ^= char == "$"
            assert depth >= 0
            out += "" if char in "{}$" else char
            at += 1
    assert depth == 0 and not maths and not environments
    return out


@pytest.mark.parametrize("name", ["tame", *HOSTILE])
def test_latex_is_strict_and_prints_names_as_they_are(name: str) -> None:
    text = formats.latex(hostile(name))
    said = tex(text)
    assert " ".join(said.split()).count(" ".join(formats.clean(name).split())) >= 6
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = re.findall(r"(?<!\\)&", rows[1])
    for row in rows:
        spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        assert len(re.findall(r"(?<!\\)&", row)) + sum(spans) == len(columns)


def test_the_strict_reader_refuses_what_latex_would() -> None:
    assert tex(formats.latex(golden()))
    words = ["a_b", "50%", "{", "}", "$x", "a^b", "~", r"\input{x}", r"\begin{table}", r"x \\[2pt]", r"\textless x"]
    for wrong in words:
        with pytest.raises(AssertionError):
            tex(wrong)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs TeX: pdflatex with booktabs")
def test_latex_compiles(tmp_path: Path) -> None:
    """Every table on one page of its own, by TeX itself, names of all kinds among them."""
    tables = [formats.latex(each) for each in (golden(), *map(hostile, HOSTILE))]
    body = "\\clearpage\n".join(tables)
    (tmp_path / "tables.tex").write_text(
        "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs}\n"
        f"\\begin{{document}}\n{body}\\end{{document}}\n"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if line.startswith(("!", "l.")))
    assert f"({len(tables)} pages" in done.stdout


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_markup_in_markdown(name: str) -> None:
    from markdown_it import MarkdownIt

    def read(text: str) -> tuple[list[str], str]:
        tokens = MarkdownIt("js-default", {"html": True, "linkify": False}).enable("table").parse(text)
        inline = [child for token in tokens for child in token.children or ()]
        words = "".join(child.content for child in inline if child.type in ("text", "text_special"))
        return [t.type for t in tokens] + [c.type for c in inline if "text" not in c.type], words

    tame, _ = read(formats.markdown(hostile("tame")))
    found, words = read(formats.markdown(hostile(name)))
    assert found == tame
    assert words.count(formats.clean(name)) >= 6
    assert not re.search(r"www\.a|(?<!\\)://", formats.markdown(hostile(name)))  # GitHub would make links of them


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_formulas_in_csv_and_come_back(name: str) -> None:
    tables: list[Table] = [hostile(name), golden()]
    rows = list(csv.DictReader(io.StringIO(formats.csv_text(tables))))
    assert len(rows) == 4 + 16
    for row in rows:
        assert not any(cell[:1] in "=+-@" and not re.fullmatch(r"-?[\d.]+", cell) for cell in row.values() if cell)
    assert rows[0]["method"].removeprefix("'") == formats.clean(name) and rows[0]["mean"] == "0.5"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_plain_in_a_terminal(name: str) -> None:
    text = formats.terminal(hostile(name), styled=False, width=400)
    assert not any(ord(c) < 32 and c != "\n" for c in text) and "\u202e" not in text
    assert text.count(formats.clean(name)) >= 6
