"""iaprtc12: region labels, names and descriptions come back as they were written; what is damaged is named."""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench.data import tiny
from hashbench.data.prepare import Choices, make_tiny, prepare, surprises
from hashbench.data.sources import Sources
from hashbench.data.splits import Items
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.registry import datasets
from hashbench.testing import check_dataset

Iapr: Any = datasets.get("iaprtc12")
module: Any = sys.modules[Iapr.__module__]
REAL = Path(__file__).parents[2] / "../shared/data/iapr_saiapr_labels"
ITEMS = 120
LABELS, NAMES = "saiaprtc12ok/benchmark/saiapr_tc-12/00/labels.txt", "saiaprtc12ok/benchmark/wlist.txt"
FIRST_TEXT = "iaprtc12/annotations_complete_eng/00/28.eng"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    make_tiny(Iapr, tmp_path / "iapr", ITEMS)
    return tmp_path / "iapr"


def _read(root: Path, **how: bool) -> Table:
    return Iapr.read(Sources(root, **how), ITEMS)


def _prepared(root: Path, **choices: Any) -> None:
    prepare(Iapr, root, Choices(name="iaprtc12", **choices), lambda *_: None)


def test_what_is_read_is_what_was_drawn(root: Path) -> None:
    table = _read(root)
    assert table.ids == tuple(str(25 + 3 * row) for row in range(ITEMS))  # the image without labels is no item
    assert (root / f"iaprtc12/images/01/{25 + 3 * ITEMS}.jpg").is_file()
    assert np.array_equal(table.labels, tiny.labels(ITEMS, len(module.TINY)))
    assert table.class_names == ("sea", "group of boats", "hill", "lamp", "stone wall", "goat", "drum")
    assert all(
        (root / picture).is_file() and f"/{item}.jpg" in picture
        for item, picture in zip(table.ids, table.images, strict=True)
    )


def test_the_text_is_the_description_then_the_title(root: Path) -> None:
    table = _read(root)
    assert table.captions[module.NO_FILE] == ()
    assert table.captions[module.NO_DESCRIPTION] == ("View 1",)
    assert table.captions[module.CP1252] == ("a café at the “Plaza” – on a hill & by the sea;", "View 2")
    for row in range(3, ITEMS):
        words = " and ".join(tiny.words(table.labels[row], list(module.TINY.values()), row, module.FILLER))
        assert table.captions[row] == (f"a picture of {words};", f"View {row}")


@pytest.mark.parametrize("protocol", Iapr.protocols)
def test_every_protocol_keeps_the_contract(root: Path, protocol: str) -> None:
    _prepared(root)
    assert check_dataset(Iapr, protocol).failures == {}


def test_the_title_belongs_to_the_text_under_its_own_protocol(root: Path) -> None:
    _prepared(root)
    assert Iapr().views["text"][module.CP1252].endswith("by the sea;")
    assert Iapr("iaprtc12-title@1").views["text"][module.CP1252].endswith("by the sea; View 2")


def test_labels_have_numbers_where_nobody_names_them(root: Path) -> None:
    (root / NAMES).write_text((root / NAMES).read_text().replace("11\tlamp", "11\t"))
    assert _read(root).class_names[3] == "label 11"
    (root / NAMES).unlink()
    assert _read(root).class_names == tuple(f"label {number}" for number in module.TINY)


def test_the_pictures_of_the_segmented_archive_serve_as_well(root: Path) -> None:
    for picture in sorted((root / "iaprtc12/images").glob("*/*.jpg")):
        target = root / f"saiaprtc12ok/benchmark/saiapr_tc-12/{picture.parent.name}/images/{picture.name}"
        target.parent.mkdir(exist_ok=True)
        picture.rename(target)
    assert all("saiapr_tc-12" in picture and (root / picture).is_file() for picture in _read(root).images)


def test_converted_line_ends_change_nothing(root: Path) -> None:
    before = _read(root).digests()
    for path in [*root.rglob("*.txt"), *root.rglob("*.eng")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert _read(root).digests() == before


TAMPERED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "two fields": (
        LABELS,
        lambda b: b.replace(b"\t1\t", b"\t", 1),
        "labels.txt line 1: expected image, region and label",
    ),
    "a label from 0": (LABELS, lambda b: re.sub(rb"\t\d+\n", b"\t0\n", b, count=1), "line 1: .*numbers from 1"),
    "an image from 0": (LABELS, lambda b: b.replace(b"25\t", b"0\t", 1), "line 1: .*numbers from 1"),
    "words": (LABELS, lambda b: b + b"31 5 sea\n", r"line \d+: expected image, region and label.*'31 5 sea'"),
    "no numbers in the names": (
        NAMES,
        lambda b: b.replace(b"2\tsea", b"sea", 1),
        "wlist.txt line 2: expected a number",
    ),
    "names from 0": (NAMES, lambda b: b.replace(b"1\t\n", b"0\t\n", 1), "wlist.txt line 1: expected a number from 1"),
    "two labels of one name": (NAMES, lambda b: b.replace(b"goat", b"hill"), "wlist.txt line 17: expected another"),
    "names cut short": (NAMES, lambda b: b[: b.index(b"17\t")], "wlist.txt: expected a line for label 17"),
    "names in UTF-16": (NAMES, lambda b: b.decode().encode("utf-16"), "wlist.txt line 1: UTF-16"),
    "half a description": (
        FIRST_TEXT,
        lambda b: b[: b.index(b"</DESC")],
        "28.eng line 4: expected <IMAGE>|<DESCRIPTION>",
    ),
    "an unclosed description": (
        FIRST_TEXT,
        lambda b: b.replace(b"</DESCRIPTION>", b""),
        "28.eng line 4: expected <DESCRIPTION> and </DESCRIPTION>",
    ),
    "another image's text": (
        FIRST_TEXT,
        lambda b: b.replace(b"28.jpg", b"31.jpg"),
        "28.eng line 8: expected image 28.jpg",
    ),
    "a byte that cp1252 has not": (
        FIRST_TEXT,
        lambda b: b.replace(b"View", b"Vi\x81w"),
        "28.eng line 3: byte 0x81 is not",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_files_are_refused_with_their_line(root: Path, case: str) -> None:
    name, change, message = TAMPERED[case]
    (root / name).write_bytes(change((root / name).read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        _read(root)
    assert "\n" not in str(caught.value)


def test_swapped_descriptions_are_noticed(root: Path) -> None:
    first, second = root / FIRST_TEXT, root / FIRST_TEXT.replace("28", "31")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(DataError, match=r"28\.eng line 8: expected image 28\.jpg, found 'images/00/31\.jpg'"):
        _read(root)


def test_an_image_in_two_folders_is_refused(root: Path) -> None:
    with (root / LABELS.replace("/00/", "/01/")).open("a") as file:
        file.write("25\t9\t5\n")
    with pytest.raises(DataError, match=r"01/labels\.txt line \d+: image 25 stands in folder 00, too"):
        _read(root)


def test_another_encoding_is_read_where_that_is_allowed(root: Path) -> None:
    (root / FIRST_TEXT).write_bytes((root / FIRST_TEXT).read_bytes().replace(b"View", b"Vi\x81w"))
    assert _read(root, any_encoding=True).captions[1] == ("Vi\x81w 1",)


def test_what_is_not_there_is_named_with_where_it_comes_from(root: Path) -> None:
    for path in root.rglob("*.eng"):
        path.unlink()
    with pytest.raises(DataError, match=r"found no annotations_complete_eng/00/25\.eng.*iaprtc12\.tgz"):
        _read(root)
    (root / LABELS).unlink()
    (root / "saiaprtc12ok.part1.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"found no saiapr_tc-12/00/labels\.txt; unpack.*part1\.rar.*imageclef\.org"):
        _read(root)


def test_the_official_files_have_255_labels(root: Path) -> None:
    assert "expected 255 classes, found 7" in list(surprises(Iapr, _read(root)))


def test_the_preset_draws_the_rows_of_the_field() -> None:
    plan = next(plan for plan in Iapr.plans if plan.id == "iapr-a-wang@1")
    n = plan.recipe.items
    labels = np.zeros((n, 1), np.uint8)
    drawn = plan.split.draw(Items(ids=[str(row) for row in range(n)], labels=labels, given={}))
    assert drawn.fingerprint() == plan.fingerprint == "9fca4303b0712120"
    assert (n, len(drawn.query), len(drawn.train), len(drawn.database)) == (20_000, 2000, 10_000, 18_000)


@pytest.mark.skipif(not REAL.is_dir(), reason="the region labels of IAPR TC-12 are not on this machine")
def test_real_labels_of_19996_images_come_back(tmp_path: Path) -> None:
    """Written as labels.txt and wlist.txt; only the numbers of the labels are ours."""
    rows = [row for name in ("train", "test") for row in csv.reader((REAL / f"{name}_saiapr.csv").open())]
    regions = {int(image): ast.literal_eval(labels) for image, _, labels in rows}
    folders = {int(image): path.split("/")[-3] for image, path, _ in rows}
    names = sorted({name for labels in regions.values() for name in labels})
    assert (len(regions), len(names)) == (19_996, 255)
    segmented = tmp_path / "saiapr_tc-12"
    for image, labels in regions.items():
        path = segmented / folders[image] / "labels.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(f"{image}\t{at}\t{names.index(label) + 1}\n" for at, label in enumerate(labels, 1))
    (tmp_path / "wlist.txt").write_text("".join(f"{at}\t{name}\n" for at, name in enumerate(names, 1)))
    text = tmp_path / "annotations_complete_eng/00/25.eng"
    text.parent.mkdir(parents=True)
    text.write_text(module.TINY_DOCUMENT.format(path="00/25", title="A title", description=""))
    table = Iapr.read(Sources(tmp_path), len(regions))
    assert len(list(segmented.iterdir())) == 39
    assert table.labels.shape == (19_996, 255) and table.class_names == tuple(n.replace("-", " ") for n in names)
    assert table.ids == tuple(map(str, sorted(regions)))
    for item, row in zip(table.ids, table.labels, strict=True):
        assert {names[at] for at in np.flatnonzero(row)} == set(regions[int(item)])
    assert (table.labels.sum(0) >= 50).sum() == 138
    assert (
        table.captions[table.ids.index("25")] == ("A title",) and table.captions[0 if table.ids[0] != "25" else 1] == ()
    )
