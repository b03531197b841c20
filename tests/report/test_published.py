"""Printed numbers: the built-in files say what they should, and a wrong one is told with file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hashbench import registry
from hashbench.errors import DataError
from hashbench.report.published import UNKNOWN, Printed, comparable, names, read, read_all, ways
from hashbench.store import Store

from .made import RULES, stored

GOOD = """\
name = "X paper"
paper = "X. V 2020"
table = "2"
metric = "map@all"
bits = [16, 32]
ties = "as sorted"
[data.mirflickr25k]
protocol = "A"
items = "mir-20015"
query = 2000
train = 10000
database = 18015
split = "permuted"
like = ["mir-a-mith@1"]
[[rows]]
method = "SODA"
features = "CNN-F"
mirflickr25k = { "image->text" = ".500 .6000", "text->image" = "? .7" }
"""


@pytest.fixture
def good(tmp_path: Path) -> Printed:
    (tmp_path / "x.toml").write_text(GOOD)
    return read(tmp_path / "x.toml")


def test_what_is_printed_is_kept_to_the_digit(good: Printed) -> None:
    assert [(n.task, n.bits, n.printed, n.value, n.digits) for n in good.numbers] == [
        ("image->text", 16, ".500", 0.5, 3), ("image->text", 32, ".6000", 0.6, 4), ("text->image", 32, ".7", 0.7, 1),
    ]  # fmt: skip
    assert {n.features for n in good.numbers} == {"CNN-F"} and good.words["checkpoint"] == UNKNOWN


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "X paper"', "", "name is missing"),
        ('table = "2"', "table = 2", "table = 2: expected words in quotes"),
        ("bits = [16, 32]", "bits = [32, 16]", "bits: expected ascending"),
        ("bits = [16, 32]", "bits = [true]", "bits: expected ascending"),
        ('"map@all"', '"map"', "metric = 'map': no such metric"),
        ("ties =", "tie =", "tie: no such key. Did you mean 'ties'"),
        ("query = 2000", 'query = "2000"', "[data.mirflickr25k] query = '2000': expected a whole number"),
        ("items =", "item =", "[data.mirflickr25k] item: no such key"),
        (".500 .6000", ".500", "rows 1: mirflickr25k: image->text = '.500': expected 2 values"),
        (".500 .6000", ".500 60.0", "image->text = '.500 60.0': expected 2 values"),
        ('"image->text"', '"i2t"', "rows 1: mirflickr25k: 'i2t': expected a task"),
        ('mirflickr25k = { "', 'coco = { "', "rows 1: coco: no such key"),
        ('method = "SODA"', "", "rows 1: method is missing"),
        ("[[rows]]", "[rows]", "rows ="),
        ("[[rows]]", "[[rows", "no TOML:"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "x.toml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


def test_a_number_stands_once_and_a_missing_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD + GOOD[GOOD.index("[[rows]]") :])
    with pytest.raises(DataError, match="SODA on mirflickr25k, image->text, 16 bits stands there twice"):
        read(tmp_path / "x.toml")
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        read(tmp_path / "none.toml")


def test_comparable_needs_the_same_items_sizes_and_labels(good: Printed, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert comparable(good, stored(store))
    for other in (
        {"counts": {"train": 5000}}, {"counts": {"query": 1}}, {"rules": {"items": "mir-24581: all"}},
        {"conditions": {"label_drop": 0.2}},
    ):  # fmt: skip
        assert not comparable(good, stored(store, **other))  # type: ignore[arg-type]


def test_every_way_is_told_and_what_is_the_same_is_not(good: Printed, tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = stored(store)
    found = {way.aspect: (way.ours, way.theirs) for way in ways(good, good.numbers[0], [run], "map@all")}
    assert found == {
        "text": ("common tags", UNKNOWN), "features": ("image lite, text bow", "CNN-F"),
        "ties": ("expected", "as sorted"), "queries without a relevant item": ("left out", UNKNOWN),
        "checkpoint": ("the last epoch", UNKNOWN),
        "seeds": ("1 seed", UNKNOWN),
    }  # fmt: skip
    other = stored(store, protocol="mir-b-dchmt@1", counts={"query": 5000, "train": 1, "database": 2},
                   rules={"items": "mir-24581: x"}, conditions={"label_drop": 0.2})  # fmt: skip
    found = {way.aspect: (way.ours, way.theirs) for way in ways(good, good.numbers[0], [other], "map@50/hits")}
    assert found["queries"] == ("5,000", "2,000") and found["metric"] == ("map@50/hits", "map@all")
    assert found["items"] == ("mir-24581: x", "mir-20015") and found["split"] == (RULES["split"], "permuted")
    assert found["training"] == ("label_drop=0.2", "as it is")
    assert {"training items", "database", "text", "features"} <= found.keys()


BUILT_IN = sorted((Path(__file__).parents[2] / "benchmarks" / "published").glob("*.toml"))


@pytest.mark.parametrize("file", BUILT_IN, ids=lambda file: file.stem)
def test_built_in_files_name_data_and_protocols_that_exist(file: Path) -> None:
    printed = read(file)
    assert printed.numbers and printed.paper and printed.words["seeds"] != UNKNOWN
    for name, use in printed.data.items():
        protocols = registry.datasets.get(name).protocols
        assert set(use.like) <= set(protocols)
        items = {rules.items.partition(":")[0] for rules in protocols.values()}
        assert use.items == UNKNOWN or use.items in items
        for protocol in use.like:
            assert protocols[protocol].items.partition(":")[0] == use.items
        assert any(number.dataset == name for number in printed.numbers)


def test_built_in_files_are_found_by_their_entry_point() -> None:
    assert list(names()) == sorted(file.stem for file in BUILT_IN) and len(read_all()) == len(BUILT_IN)


def test_one_row_of_the_field_is_printed_in_many_ways() -> None:
    """DCMH at 16 bits on MIRFLICKR-25K, image->text: nobody prints the same."""
    place = ("DCMH", "mirflickr25k", "image->text", 16)
    found = sorted(
        n.printed for file in BUILT_IN for n in read(file).numbers if (n.method, n.dataset, n.task, n.bits) == place
    )
    assert found == [".677", ".7201", ".7316", ".7321", ".735", ".7679", ".8019"]
