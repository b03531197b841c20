"""The model as one HTML file. Names and words are data in it: escaped, cleaned of control characters, never markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hashbench.printing import decimals
from hashbench.report.formats import clean
from hashbench.report.page.model import Delta, Page, Section

if TYPE_CHECKING:
    from markupsafe import Markup

CLIENT = (
    "id", "tasks", "lengths", "metric", "chance", "arms", "lead", "points", "ranks", "classes", "class_sizes", "cost",
)  # fmt: skip
"""What of a section the script draws; everything else stands in the page already."""


def html(page: Page) -> str:
    """The page. Its policy lets its own script and styles run and nothing else, and nothing is fetched."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    style, script = _file("report.css"), _file("report.js")
    environment = Environment(
        loader=FunctionLoader(_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,  # markup of ours is no plain str
    )  # fmt: skip
    environment.filters |= {
        "arrow": arrow, "decimals": decimals, "signed": signed, "duration": duration, "size": size, "bars": intervals,
        "breakable": breakable, "count": "{:,.0f}".format, "zip": zip,
    }  # fmt: skip
    return environment.get_template("report.html.j2").render(
        page=page,
        style=Markup(style),
        script=Markup(script),
        data=Markup(as_data(client(page))),
        policy="; ".join([
            "default-src 'none'", f"script-src '{_source(script)}'", f"style-src '{_source(style)}'", "img-src data:",
            "base-uri 'none'", "form-action 'none'",
        ]),
    )  # fmt: skip


def client(page: Page) -> dict[str, Any]:
    """What the script gets."""
    return {"sections": [_of_section(section) for section in page.sections]}


def _of_section(section: Section) -> dict[str, Any]:
    known = asdict(section)
    return {**_cleaned({name: known[name] for name in CLIENT}), "copies": known["copies"]}  # those are clean, in lines


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name: _cleaned(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each) for each in value]
    return value


def as_data(value: Any) -> str:
    """JSON that can stand in a script element: no ``<`` ends it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def arrow(task: str) -> str:
    """``image → text``."""
    return task.replace("->", " → ")


def breakable(name: str) -> Markup:
    """A name that may be broken after = and _, so that long settings fit on a phone."""
    from markupsafe import Markup, escape

    return Markup(re.sub("([=_])", r"\1<wbr>", str(escape(clean(name)))))  # entities have neither


def signed(value: float) -> str:
    """``+.0252``: a difference."""
    return ("+" if value > 0 else "") + decimals(value)


def duration(seconds: float | None) -> str:
    """``4 min 12 s``; a dash where it is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def size(bytes: float | None) -> str:
    """``1.2 GB``, in powers of ten; a dash where it is not known."""
    if bytes is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes >= factor:
            return f"{bytes / factor:.1f} {unit}"
    return f"{bytes:.0f} B"


def intervals(deltas: tuple[Delta, ...]) -> list[dict[str, float]]:
    """Where each difference and its interval lie in a picture 200 wide, and where zero is in all of them."""
    low = min(0.0, *(delta.low for delta in deltas))
    high = max(0.0, *(delta.high for delta in deltas))
    room = (high - low) or 1.0

    def at(value: float) -> float:
        return round(6 + 188 * (value - low) / room, 1)

    return [{"low": at(d.low), "mean": at(d.mean), "high": at(d.high), "zero": at(0)} for d in deltas]


def _file(name: str) -> str:
    return (files("hashbench.report.page") / name).read_text("utf-8")


def _source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
