"""The report in a real browser: it opens from a file, fetches nothing, and everything that can be used works."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashbench.report import formats
from hashbench.report.page import html, page_of
from hashbench.report.page.model import StudyPart
from hashbench.report.stored import by_protocol, table_of
from hashbench.store import Record, Store

from .paged import NAMES, failed, made, nasty

__all__ = ["nasty"]

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ALONE = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

pytest.importorskip("playwright", reason="the browser tests need playwright; pip install -e '.[dev]'")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="the browser tests need Chromium; apt-get install chromium")


@pytest.fixture(scope="module")
def store(nasty: None, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Methods of four kinds at two lengths; two protocols; settings, reasons and warnings that try to be markup."""
    found = Store(tmp_path_factory.mktemp("browser") / "results")
    for bits in (8, 16):
        for at, method in enumerate(("soda", "dcmh", "cvh", "scm")):
            made(found, method, bits=bits, noise=0.3 + 0.5 * at)
        made(found, "soda", bits=bits, seed=1, noise=0.4)
        for name in NAMES[-6:]:
            made(found, "cca-itq", bits=bits, noise=2.5, config={"ridge": name}, warnings=[name])
    other = made(found, "cvh", bits=8, protocol="nasty-other@1")
    for seed, name in enumerate(NAMES[-4:], 100):
        failed(found, other, name, seed)
    return found


@pytest.fixture(scope="module")
def records(store: Store) -> list[Record]:
    records, damaged = store.read_all()
    assert not damaged
    return records


@pytest.fixture(scope="module")
def file(store: Store, records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(page_of(records, store, command=NAMES[0], damaged=NAMES)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ALONE))
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, file: str) -> Iterator[Any]:
    """The page at desk width; whatever the test did, nothing ran that should not, and nothing was fetched."""
    with _opened(browser, file) as page:
        yield page


class _opened:
    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self._address = address
        self._said: list[str] = []
        self._asked: list[str] = []

    def __enter__(self) -> Any:
        page = self._context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: self._said.append(message.text))
        page.on("pageerror", lambda error: self._said.append(str(error)))
        page.on("dialog", lambda dialog: self._said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self._asked.append(request.url))
        page.goto(self._address)
        self._title = page.title()
        self._page = page
        return page

    def __exit__(self, *error: object) -> None:
        title = self._page.title()
        self._context.close()
        if error == (None, None, None):
            assert self._said == [] and title == self._title == "hashbench report"
            fetched = [url for url in self._asked if not url.startswith("data:") and url != self._address.split("#")[0]]
            assert [url for url in fetched if url != self._address] == []


def until(page: Any, expression: str) -> None:
    """Wait; the page's own policy forbids what ``wait_for_function`` does."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def shown(page: Any) -> list[str]:
    """First words of the rows of the first main table, as they can be seen."""
    rows = page.locator("#p0 table.main tr[data-arm]:visible")
    return [row.split("\t")[0] for row in rows.all_inner_texts()]


def test_names_are_shown_as_they_are_and_run_nothing(opened: Any) -> None:
    text = opened.locator("body").text_content()
    for name in NAMES:
        assert formats.clean(name) in text
    assert opened.evaluate("[...document.images].length") == 0
    assert opened.locator("main script, main style, main iframe").count() == 0


def test_tables_can_be_sorted_by_mouse_and_keyboard(opened: Any) -> None:
    before = shown(opened)
    button = opened.get_by_role("button", name="image → text, 16 bits")
    head = opened.locator("#p0 th", has=button)
    order = "rows => rows.map(row => Number(row.querySelectorAll('td[data-value]')[1].dataset.value))"
    values = opened.locator("#p0 table.main tr[data-arm]").evaluate_all(order)
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert opened.locator("#p0 table.main tr[data-arm]").evaluate_all(order) == sorted(values, reverse=True)
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.locator("#p0 table.main tr[data-arm]").evaluate_all(order) == sorted(values)
    button.press("Enter")
    assert head.get_attribute("aria-sort") is None and shown(opened) == before
    opened.get_by_role("button", name="method").first.click()
    assert shown(opened) == sorted(before)


def test_filters_leave_rows_out_of_the_table_and_lines_out_of_the_legend(opened: Any) -> None:
    search = opened.locator("[name='p0.filter']")
    search.fill("SO 2025 distilled")
    assert shown(opened) == ["soda (2025)"]
    assert opened.locator("#p0 .names button:visible").count() == 1
    search.fill("no such thing")
    assert shown(opened) == [] and opened.locator("#p0 .group:visible").count() == 0
    search.fill("")
    opened.locator("[name='p0.kind']").select_option(label="supervised")
    assert {name.split(" ")[0] for name in shown(opened)} == {"dcmh"}


def test_seeds_can_be_seen_one_by_one(opened: Any) -> None:
    cell = opened.locator("#p0 tr[data-arm]", has_text="soda").first.locator("td[data-value]").first
    assert "±" in cell.inner_text()
    opened.locator("[name='p0.seeds']").select_option("each")
    values = cell.inner_text().split("\n")
    assert "±" not in cell.inner_text() and len(values[-1].split()) == 2
    opened.locator("[name='p0.seeds']").select_option("mean")
    assert cell.inner_text() == values[0]


@pytest.mark.parametrize("right", [True, False], ids=["with the clipboard", "without it"])
def test_tables_are_copied_as_they_are_filtered(
    browser: Any, file: str, store: Store, records: list[Record], right: bool
) -> None:
    keep = (
        """navigator.clipboard.writeText = async (text) => { window.copied = text }"""
        if right
        else """
        navigator.clipboard.writeText = async () => { throw new Error("no") };
        document.addEventListener("copy", () => { window.copied = String(document.activeElement.value) })"""
    )
    table = table_of(
        by_protocol(records)[[each[0].spec.protocol for each in by_protocol(records)].index("nasty@1")], store
    )
    with _opened(browser, file) as page:
        page.evaluate(f"() => {{ {keep} }}")
        page.get_by_role("button", name="CSV").first.click()
        until(page, "window.copied")
        assert page.evaluate("window.copied") == formats.csv_text([table])
        page.locator("[name='p0.filter']").fill("cvh")
        page.get_by_role("button", name="CSV").first.click()
        until(page, "window.copied.split('\\n').length == 6")
        rows = list(csv.DictReader(io.StringIO(page.evaluate("window.copied"))))
        assert [row["method"] for row in rows] == ["cvh"] * 4
        assert "CSV of 1 rows copied" in page.locator("#p0 .said").inner_text()
        page.get_by_role("button", name="LaTeX").first.click()
        until(page, "window.copied.includes('toprule')")
        text = page.evaluate("window.copied")
        assert text.count("cvh") == 1 and "dcmh" not in text and text.rstrip().endswith(r"\end{table}")
        page.get_by_role("button", name="Markdown").first.click()
        until(page, "window.copied.includes('| ---')")
        assert "| cvh (2011) |" in page.evaluate("window.copied")


def test_the_slider_drives_the_charts(opened: Any) -> None:
    curve = opened.locator("#p0 [data-chart=pr] polyline.curve").first
    drawn = curve.get_attribute("points")
    assert opened.locator("#p0 .slider output").inner_text() == "16 bits"
    opened.get_by_label("Code length").first.press("ArrowLeft")
    assert opened.locator("#p0 .slider output").inner_text() == "8 bits"
    assert curve.get_attribute("points") != drawn
    assert "at 8 bits" in opened.locator("#p0 [data-chart=map] figcaption").first.inner_text()
    opened.locator("[name='p0.curve']").select_option("micro")
    assert len((curve.get_attribute("points") or "").split()) <= 9  # a point a radius
    assert opened.locator("#p0 [data-chart=pn] polyline.curve").count() == 14


def test_the_legend_shows_and_hides_lines(opened: Any) -> None:
    lines = opened.locator("#p0 [data-chart=pr] figure").first.locator("g[data-arm]")
    assert lines.count() == 7
    opened.locator("#p0 .names button[aria-pressed=true]").first.click()
    assert lines.count() == 6 and opened.locator("#p0 .names button").first.get_attribute("aria-pressed") == "false"
    opened.locator("#p0 [data-show=all]").click()
    assert lines.count() == opened.locator("#p0 .names button").count() == 10
    opened.locator("#p0 [data-show=none]").click()
    assert lines.count() == 0
    opened.locator("#p0 [data-show=best]").click()
    assert lines.count() == 7


def test_what_the_best_is_compared_with_is_shown_from_the_start(
    browser: Any, store: Store, records: list[Record], tmp_path: Path
) -> None:
    mine = [r for r in records if r.spec.protocol == "nasty@1" and r.status == "done"]
    (alone,) = page_of(mine, store, command="").sections
    best, *_, worst = sorted(range(len(alone.arms)), key=lambda arm: alone.arms[arm].place)
    keys = {point.arm: point.keys[0] for point in alone.points}
    partners = {store.by_prefix(keys[best]).key: store.by_prefix(keys[worst]).key}
    part = StudyPart(
        name="mine", size="quick", question="", about="", answers=(), deltas=(), chosen=(), names={}, partners=partners,
        statuses={}, problems={},
    )  # fmt: skip
    made = replace(page_of(mine, store, command="", study=part), title="hashbench report")
    path = tmp_path / "study.html"
    path.write_text(html(made), encoding="utf-8")
    with _opened(browser, path.as_uri()) as page:
        pressed = page.locator("#p0 .names button[aria-pressed=true]")
        names = [formats.clean(alone.arms[arm].name) for arm in (best, worst)]
        assert pressed.count() == 7 and set(names) <= set(pressed.locator("bdi").all_text_contents())
        page.locator("#p0 [data-show=none]").click()
        assert pressed.count() == 0
        page.locator("#p0 [data-show=best]").click()
        assert pressed.count() == 7 and set(names) <= set(pressed.locator("bdi").all_text_contents())
        chosen = [page.locator(f"[name='p0.{name}'] option:checked").text_content() for name in ("one", "other")]
        assert chosen == names


def test_points_can_be_read_by_pointer_and_keyboard(opened: Any, records: list[Record]) -> None:
    figure = opened.locator("#p0 [data-chart=pn] figure").first
    svg, readout = figure.locator("svg"), figure.locator(".readout")
    assert readout.inner_text().startswith("dotted: chance")
    figure.scroll_into_view_if_needed()
    box = svg.bounding_box()
    marker = figure.locator("g[data-arm] path").first.bounding_box()
    opened.mouse.move(marker["x"] + marker["width"] / 2, marker["y"] + marker["height"] / 2)
    assert "at 1;" in readout.inner_text() and any(record.key[:16] in readout.inner_text() for record in records)
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] - 30)
    svg.focus()
    svg.press("ArrowRight")
    first = readout.inner_text()
    svg.press("ArrowRight")
    assert "precision" in first and readout.inner_text() != first


def test_classes_of_two_methods_are_compared(opened: Any) -> None:
    cells = opened.locator("#p0 table.differences tbody tr")
    assert cells.count() == 3
    differences = [float(row.split("\t")[4]) for row in cells.all_inner_texts()]
    assert differences == sorted(differences, reverse=True) and cells.first.get_attribute("class") == "few"
    a, b = (opened.locator(f"[name='p0.{name}']") for name in "ab")
    one, other = a.input_value(), b.input_value()
    a.select_option(other)
    b.select_option(one)
    swapped = [float(row.split("\t")[4]) for row in cells.all_inner_texts()]
    assert swapped == [-value for value in reversed(differences)]


def test_examples_show_two_methods_with_pictures(opened: Any) -> None:
    article = opened.locator("#p0 .example").first
    assert article.locator(".answer:visible").count() == 2
    opened.locator("[name='p0.other']").select_option(opened.locator("[name='p0.one']").input_value())
    assert article.locator(".answer:visible").count() == 1
    picture = article.locator(".query svg use").first
    assert picture.evaluate("use => use.getBBox().width") == 40  # the picture is there, not a broken reference


def test_the_state_is_in_the_address(browser: Any, opened: Any, file: str) -> None:
    opened.locator("[name='p0.filter']").fill('"c" &x=1#<')
    opened.locator("[name='p0.filter']").fill("c")
    opened.get_by_label("Code length").first.press("ArrowLeft")
    opened.get_by_role("button", name="image → text, 8 bits").first.click()
    until(opened, "location.hash.includes('p0.sort=c0.descending')")
    rows, address = shown(opened), opened.url
    assert rows != []
    with _opened(browser, address) as again:
        assert shown(again) == rows and again.locator("#p0 .slider output").inner_text() == "8 bits"
        again.evaluate("location.hash = 'p0.bits=1'")
        until(again, "document.querySelector('#p0 .slider output').textContent === '16 bits'")
        assert len(shown(again)) > len(rows)
        again.get_by_role("link", name="Runs").click()
        assert again.locator("#p0 .slider output").inner_text() == "16 bits"
    nonsense = "#p0.bits=99&p0.sort=c77.up&p0.shown=<script>,99&p0.a=x&p0.kind=y&p0.seeds=%ff&=&%&__proto__=1&p9.bits=0"
    with _opened(browser, file + nonsense) as again:
        assert len(shown(again)) == 10


def test_without_scripts_everything_essential_is_there(browser: Any, file: str) -> None:
    with _opened(browser, file, java_script_enabled=False) as page:
        assert len(shown(page)) == 10 and "<noscript><p" in page.content()
        assert page.locator(".js:visible, button:visible").count() == 0
        assert page.locator("#runs table:visible").first.is_visible()
        assert page.locator("#p0 .example").first.locator(".answer:visible").count() == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_phones_and_desks_and_can_be_read(browser: Any, file: str, width: int, scheme: str) -> None:
    with _opened(browser, file, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for selector in ("body", ".note", "nav a", "#p0 .names button", "svg text", ".deviation", ".status"):
            assert _contrast(page, selector) >= 4.5, selector
        unnamed = "all => all.filter(e => !e.labels?.length && !e.textContent.trim() && !e.ariaLabel).length"
        assert page.locator("button, select, input:not([type=hidden])").evaluate_all(unnamed) == 0


def _contrast(page: Any, selector: str) -> float:
    """WCAG's contrast of the first such element's text with the page's ground."""
    colours = page.locator(selector).first.evaluate("""element => {
        const style = getComputedStyle(element);
        const text = element instanceof SVGElement ? style.fill : style.color;
        let under = element;
        while (under && getComputedStyle(under).backgroundColor === "rgba(0, 0, 0, 0)") under = under.parentElement;
        return [text, getComputedStyle(under ?? document.body).backgroundColor];
    }""")

    def luminance(colour: str) -> float:
        channels = [float(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lights = sorted(map(luminance, colours))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def test_it_prints_without_what_paper_cannot_do(opened: Any) -> None:
    opened.emulate_media(media="print")
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.locator(".controls:visible, nav:visible").count() == 0
    assert opened.locator("details:not([open])").count() == 0 and len(shown(opened)) == 10
