"""xmedia: five views, of which two are pairs and three stand alone; what a file lacks is named."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hashbench.data.prepare import Choices, make_tiny, prepare
from hashbench.data.sources import Sources
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.registry import datasets
from hashbench.testing import check_dataset

XMedia: Any = datasets.get("xmedia")
module: Any = sys.modules[XMedia.__module__]
ITEMS = 210
FILE = "XMediaFeatures.mat"
VIEWS = {"image": ("I_%s_CNN", "Img"), "text": ("T_%s_BOW", "Txt"), "video": ("V_%s_CNN", "Vid")}
VIEWS |= {"audio": ("A_%s", "Aud"), "d3": ("d3_%s", "3d")}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    make_tiny(XMedia, tmp_path / "xmedia", ITEMS)
    return tmp_path / "xmedia"


def _read(root: Path, items: int = ITEMS) -> Table:
    return XMedia.read(Sources(root), items)


def _content(root: Path) -> dict[str, Any]:
    return {name: value for name, value in loadmat(root / FILE).items() if not name.startswith("__")}


def test_every_row_of_every_view_comes_with_its_class_and_side(root: Path) -> None:
    table, content = _read(root), _content(root)
    assert len(table) == ITEMS and (table.labels.sum(1) == 1).all()
    assert table.class_names == tuple(f"class {number}" for number in range(1, 21))
    assert table.vectors.keys() == VIEWS.keys()
    for view, (name, kind) in VIEWS.items():
        has = table.present[view]
        numbers = np.asarray(table.vectors[view][0:ITEMS])
        for side, part in (("train", "tr"), ("query", "te")):
            rows = [row for row in table.sides[side].tolist() if has[row]]
            assert np.array_equal(numbers[rows], content[name % part])
            assert np.array_equal(table.labels[rows].argmax(1) + 1, content[f"{part}{kind}Cat"].ravel())
        assert not numbers[~has].any()


def test_images_and_texts_are_pairs_and_the_rest_stands_alone(root: Path) -> None:
    has = _read(root).present
    assert np.array_equal(has["image"], has["text"]) and has["image"].sum() == ITEMS - 3 * (ITEMS // 7)
    views = np.stack([has[view] for view in ("image", "video", "audio", "d3")])
    assert (views.sum(0) == 1).all()


def test_test_items_of_every_view_ask_the_training_items(root: Path) -> None:
    prepare(XMedia, root, Choices(name="xmedia"), lambda *_: None)
    plain, chosen = XMedia(), XMedia("xmedia-validation@1")
    for view in VIEWS:
        has = plain.present(view)
        assert has[plain.split.query].any() and has[plain.split.train].any()
    assert np.array_equal(plain.split.database, plain.split.train) and not len(plain.split.validation)
    assert sorted([*plain.split.query, *plain.split.database]) == list(range(ITEMS))
    assert np.array_equal(chosen.split.query, plain.split.query)
    assert len(chosen.split.validation) == round(500 * ITEMS / 7000)
    assert sorted([*chosen.split.database, *chosen.split.validation]) == plain.split.database.tolist()


@pytest.mark.parametrize("protocol", XMedia.protocols)
def test_every_protocol_keeps_the_contract(root: Path, protocol: str) -> None:
    prepare(XMedia, root, Choices(name="xmedia"), lambda *_: None)
    assert check_dataset(XMedia, protocol).failures == {}


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no sounds": (lambda c: [c.pop(f"{name}") for name in ("A_tr", "A_te", "trAudCat", "teAudCat")], "none of audio"),
    "no labels of the test videos": (lambda c: c.pop("teVidCat"), "teVidCat"),
    "a row short": (lambda c: c.update(I_tr_CNN=c["I_tr_CNN"][:-1]), "I_tr_CNN"),
    "classes from 0": (
        lambda c: c.update({n: v - 1 for n, v in c.items() if n.endswith("Cat")}),
        "numbers from 1, found 0 at item",
    ),
    "half a class": (lambda c: c["tr3dCat"].__setitem__((0, 0), 1.5), "tr3dCat: expected whole numbers, found 1.5"),
    "texts of other classes": (
        lambda c: c.update(trTxtCat=c["trTxtCat"][::-1]),
        "trImgCat .* and trTxtCat .* disagree",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_files_are_refused(root: Path, case: str) -> None:
    change, message = TAMPERED[case]
    content = _content(root)
    change(content)
    savemat(root / FILE, content)
    with pytest.raises(DataError, match=message) as caught:
        _read(root)
    assert FILE in str(caught.value) and "\n" not in str(caught.value)


def test_half_a_file_is_refused(root: Path) -> None:
    whole = (root / FILE).read_bytes()
    (root / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=f"{FILE}: .*damaged"):
        _read(root)


def test_older_features_in_the_place_of_deep_ones_are_refused(root: Path) -> None:
    content = _content(root)
    savemat(root / FILE, {name: value for name, value in content.items() if not name.endswith(("_CNN", "_BOW"))})
    with pytest.raises(DataError, match=f"{FILE}: image: expected 4096 numbers an item, found 7"):
        _read(root, XMedia.expected.items)


def test_what_is_not_there_or_still_packed_is_said(root: Path) -> None:
    with zipfile.ZipFile(root / "xmedia.zip", "w") as archive:
        archive.write(root / FILE, FILE)
    (root / FILE).unlink()
    with pytest.raises(DataError, match=f"xmedia.zip!/{FILE}: unpack the archive"):
        _read(root)
    (root / "xmedia.zip").unlink()
    with pytest.raises(DataError, match=f"found no {FILE}; Expected {FILE} as its authors give it"):
        _read(root)
