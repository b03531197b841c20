"""NUS-WIDE: what is read is what was written, what is wrong is refused with its place, and the field's numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hashbench.data import prepare
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan
from hashbench.data.sources import Sources
from hashbench.data.splits import Items
from hashbench.data.table import Table
from hashbench.errors import DataError
from hashbench.registry import datasets
from hashbench.retrieval import chance_level

SHARED = Path(__file__).parents[2] / "../shared/data"
ITEMS = 240
CLS = datasets.get("nuswide")
assert issubclass(CLS, Official)
RECIPES = {plan.recipe.name: plan.recipe for plan in CLS.plans}

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "root"
    prepare.make_tiny(CLS, root, ITEMS)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of the stand-in to change."""
    return shutil.copytree(made, tmp_path / "root")


def read(root: Path) -> Table:
    return CLS.read(Sources(root), ITEMS)


def test_what_is_read_is_what_the_files_say(made: Path) -> None:
    table = read(made)
    listed = (made / "ImageList/Imagelist.txt").read_text().splitlines()
    assert table.ids == tuple(line.split("\\")[1].removesuffix(".jpg") for line in listed)
    assert table.class_names == tuple((made / "ConceptsList/Concepts81.txt").read_text().splitlines())
    for column, name in enumerate(table.class_names):
        lines = (made / f"Groundtruth/AllLabels/Labels_{name}.txt").read_text().splitlines()
        assert table.labels[:, column].tolist() == list(map(int, lines)), name
    tags = (made / "NUS_WID_Tags/All_Tags.txt").read_text("utf-8").splitlines()
    assert [" ".join(texts).split() for texts in table.captions] == [line.split()[1:] for line in tags]
    assert table.vocabulary == tuple((made / "NUS_WID_Tags/TagList1k.txt").read_text("utf-8").split())
    for path, line in zip(table.images, listed, strict=True):
        expected = f"Flickr/{line.replace(chr(92), '/')}"
        assert path == (expected if (made / expected).exists() else "")


def test_the_stand_in_has_items_of_every_kind(made: Path) -> None:
    table = read(made)
    sizes = {name: len(recipe.select(table)[0]) for name, recipe in RECIPES.items()}
    assert 0 < sizes["nus10-181365"] < sizes["nus10-186577"] < sizes["nus21-195834"] < sizes["nus81-209347"] < ITEMS
    assert 0 < sizes["nus21-190421"] < sizes["nus21-195834"]
    assert () in table.captions and any("köln" in texts[0] for texts in table.captions if texts)
    assert 0 < table.images.count("") < ITEMS / 5
    assert len({item.split("_")[1] for item in table.ids}) == ITEMS - 1, "one photo is there twice"


def _edit(path: str, edit: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the lines of a file, which keep their ends."""

    def change(root: Path) -> None:
        file = root / path
        file.write_bytes(b"".join(edit(file.read_bytes().splitlines(keepends=True))))

    return change


LIST, SKY = "ImageList/Imagelist.txt", "Groundtruth/AllLabels/Labels_sky.txt"
TAGS, CONCEPTS = "NUS_WID_Tags/All_Tags.txt", "ConceptsList/Concepts81.txt"


@pytest.mark.parametrize(
    "change",
    [
        _edit(LIST, lambda lines: [b"C:\\ImageData\\Flickr\\" + line for line in lines]),
        _edit(LIST, lambda lines: [line.replace(b".jpg", b".jpg ") for line in lines]),
        _edit(LIST, lambda lines: [line.replace(b"\\", b"/") for line in lines]),
        _edit(LIST, lambda lines: [line.replace(b"\n", b"\r\n") for line in lines]),
        _edit(TAGS, lambda lines: [line.replace(b" ", b"\t ", 1) for line in lines]),
        _edit(SKY, lambda lines: [line.replace(b"\n", b"\r\n") for line in lines]),
    ],
)
def test_the_same_content_is_the_same_table(made: Path, root: Path, change: Change) -> None:
    change(root)
    assert read(root).digests() == read(made).digests() and read(root).images == read(made).images


def test_pictures_are_found_in_one_flat_folder(made: Path, root: Path) -> None:
    (root / "images").mkdir()
    for path in (root / "Flickr").rglob("*.jpg"):
        path.rename(root / "images" / path.name)
    flat = [path and f"images/{Path(path).name}" for path in read(made).images]
    assert list(read(root).images) == flat


def test_an_id_that_comes_again_is_told_apart(root: Path) -> None:
    for path in (LIST, TAGS):
        _edit(path, lambda lines: [lines[0], lines[0].replace(b"actor", b"zoo"), *lines[2:]])(root)
    ids = read(root).ids
    assert ids[1] == f"{ids[0]}-2"


def test_without_any_picture_it_is_refused(root: Path) -> None:
    shutil.rmtree(root / "Flickr")
    with pytest.raises(DataError, match=r"found no picture such as 0001_2124494179\.jpg"):
        read(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edit(SKY, lambda lines: lines[:-1]), r"Labels_sky\.txt line 240: expected 240 lines, found 239"),
        (_edit(SKY, lambda lines: [*lines, b"0\n"]), r"Labels_sky\.txt line 241: expected 240 lines, found 241"),
        (_edit(SKY, lambda lines: [*lines[:7], b"-1130179\n", *lines[8:]]), r"Labels_sky\.txt line 8: .*'-1130179'"),
        (
            _edit(SKY, lambda lines: [*lines[:7], b"2\n", *lines[8:]]),
            r"Labels_sky\.txt line 8: .*from 0 to 1, found '2'",
        ),
        (_edit(SKY, lambda lines: [lines[0], b"\n", *lines[2:]]), r"Labels_sky\.txt line 2: .*an empty line"),
        (_edit(SKY, lambda lines: [*lines[:3], b"1\r\n", *lines[4:]]), r"Labels_sky\.txt line 4: CR|line 4: mixed"),
        (_edit(LIST, lambda lines: lines[:-1]), r"Imagelist\.txt line 240: expected 240 lines, found 239"),
        (_edit(LIST, lambda lines: [lines[0], b"picture\n", *lines[2:]]), r"Imagelist\.txt line 2: expected a picture"),
        (_edit(TAGS, lambda lines: lines[:-1]), r"All_Tags\.txt line 240: expected 240 lines, found 239"),
        (_edit(TAGS, lambda lines: [lines[1], lines[0], *lines[2:]]), r"All_Tags\.txt line 1: .*rows out of order"),
        (
            _edit(LIST, lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]]),
            r"All_Tags\.txt line 5: .*out of order",
        ),
        (_edit(TAGS, lambda lines: [b"\n", *lines[1:]]), r"All_Tags\.txt line 1: expected the tags of 2124494179"),
        (
            _edit(TAGS, lambda lines: [lines[0], lines[1].strip() + " köln\n".encode("latin-1"), *lines[2:]]),
            r"All_Tags\.txt line 2: byte 0xf6 is not utf-8",
        ),
        (_edit(CONCEPTS, lambda lines: lines[:-1]), r"Concepts81\.txt line 81: expected 81 lines, found 80"),
        (_edit(CONCEPTS, lambda lines: [lines[1], *lines[1:]]), r"Concepts81\.txt line 2: .*found 'animal'"),
        (lambda root: (root / SKY).unlink(), r"found no AllLabels/Labels_sky\.txt"),
        (lambda root: (root / TAGS).unlink(), r"found no All_Tags\.txt"),
        (lambda root: (root / LIST).unlink(), r"found no Imagelist\.txt"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(root: Path, change: Change, message: str) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_the_complete_set_must_have_all_common_tags(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLS, "expected", Expected(items=ITEMS))
    with pytest.raises(DataError, match=r"TagList1k\.txt line \d+: expected 1,000 lines"):
        read(root)


@pytest.mark.parametrize("protocol", CLS.protocols)
def test_every_protocol_opens_on_the_stand_in(made: Path, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    home = made.parent / "prepared"
    monkeypatch.setenv("HASHBENCH_DATA", str(home))
    if not home.exists():
        prepare.prepare(CLS, made, prepare.Choices(), lambda *_: None)
    data = CLS(protocol, home / "nuswide-tiny")
    assert len(data.split.query) and len(data.split.train) and len(data.split.database)
    assert len(data) < data.listed, "pictures are missing, and their items with them"
    assert data.labels.any(1).all() and "with a picture: subset" in data.rules.items


def test_the_field_s_numbers_add_up() -> None:
    counts = CLS.expected.classes
    assert len(counts) == 81 and sum(counts.values()) == 503_848
    assert sum(counts[name] for name in RECIPES["nus21-195834"].classes) == 411_438
    assert sum(counts[name] for name in RECIPES["nus10-186577"].classes) == 332_189
    frequent = sorted(counts, key=lambda name: -counts[name])
    assert set(frequent[:21]) == set(RECIPES["nus21-195834"].classes)
    assert set(frequent[:10]) == set(RECIPES["nus10-186577"].classes)


@pytest.mark.parametrize("plan", [plan for plan in CLS.plans if plan.fingerprint], ids=lambda plan: plan.id)
def test_presets_permute_as_the_originals_do(plan: Plan) -> None:
    count = plan.recipe.items or 0
    items = Items(ids=[str(row) for row in range(count)], labels=np.ones((count, 1), np.uint8), given={})
    assert plan.split.draw(items).fingerprint() == plan.fingerprint


@pytest.fixture(scope="module")
def real() -> Table:
    """The real labels of all 269,648 items."""
    folder = SHARED / "nuswide_81"
    if not folder.is_dir():
        pytest.skip(f"real labels are not here ({folder})")
    flickr = (folder / "full_image_id.txt").read_text().split()
    names = [line.split()[1] for line in (folder / "label_ids.txt").read_text().splitlines()]
    labels = np.zeros((len(flickr), len(names)), np.uint8)
    for line in (folder / "mul_label_ids.txt").read_text().splitlines():
        row, *columns = map(int, line.split())
        labels[row, columns] = 1
    order = np.argsort(names)
    return Table(
        ids=tuple(f"{row}_{photo}" for row, photo in enumerate(flickr)),
        class_names=tuple(names[column] for column in order),
        labels=labels[:, order],
    )


TAGGED = {"nus21-190421": 190_421, "nus10-181365": 181_365}


def test_real_labels_give_the_field_s_item_sets(real: Table) -> None:
    assert len(real) == CLS.expected.items and len({item.split("_")[1] for item in real.ids}) == 269_642
    assert dict(zip(real.class_names, real.labels.sum(0, dtype=int).tolist(), strict=True)) == CLS.expected.classes
    for name in ("nus81-209347", "nus21-195834", "nus10-186577"):
        assert len(RECIPES[name].select(real)[0]) == RECIPES[name].items
    untagged = list(prepare.surprises(CLS, replace(real, captions=((),) * len(real))))
    assert untagged == [f"item set {name}: expected {n:,} items, found 0" for name, n in TAGGED.items()]


def test_the_field_s_list_of_unused_items_leaves_as_many(real: Table) -> None:
    unused = SHARED / "nuswide_notused"
    if not unused.is_dir():
        pytest.skip(f"the list is not here ({unused})")
    recipe = RECIPES["nus21-195834"]
    assert {f"Labels_{name}.txt" for name in recipe.classes} == set((unused / "used_label.txt").read_text().split())
    listed = {int(line) for line in (unused / "not-used-id.txt").read_text().split()}
    assert len(listed) == len(real) - (recipe.items or 0)


@pytest.mark.parametrize(("name", "chance"), [("nus21-195834", 0.3142), ("nus10-186577", 0.3392)])
def test_the_share_of_relevant_pairs_on_real_labels(real: Table, name: str, chance: float) -> None:
    """Over all pairs, counted by kinds of items; samples of the field come to .317 and .334."""
    _, labels, _ = RECIPES[name].select(real)
    kinds, counts = np.unique(labels @ (1 << np.arange(labels.shape[1])), return_counts=True)
    weights = counts / counts.sum()
    found = sum(float(weight * ((kind & kinds) != 0) @ weights) for kind, weight in zip(kinds, weights, strict=True))
    assert found == pytest.approx(chance, abs=5e-5)


@pytest.mark.parametrize(("protocol", "chance"), [("nus-a-wang@1", 0.3133), ("nus-c-djsrh@1", 0.3544)])
def test_chance_of_a_split_on_real_labels(real: Table, protocol: str, chance: float) -> None:
    plan = next(plan for plan in CLS.plans if plan.id == protocol)
    rows, labels, _ = plan.recipe.select(real)
    drawn = plan.split.draw(Items(ids=[real.ids[row] for row in rows.tolist()], labels=labels, given={}))
    assert plan.fingerprint in (None, drawn.fingerprint())
    assert chance_level(labels[drawn.query], labels[drawn.database]) == pytest.approx(chance, abs=5e-5)
