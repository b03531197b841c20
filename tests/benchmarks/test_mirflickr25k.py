"""MIRFLICKR-25K: what is read is what was written, what is wrong is refused with its place, and the field's numbers."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat

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
CLS = datasets.get("mirflickr25k")
assert issubclass(CLS, Official)
RECIPES = {plan.recipe.name: plan.recipe for plan in CLS.plans}
ANNOTATIONS = "mirflickr25k_annotations_v080"

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


def read(root: Path, **options: bool) -> Table:
    return CLS.read(Sources(root, **options), ITEMS)


def same(a: Table, b: Table) -> bool:
    return a.digests() == b.digests()


def test_what_is_read_is_what_the_files_say(made: Path) -> None:
    table = read(made)
    assert table.ids == tuple(f"im{n}" for n in range(1, ITEMS + 1)) and len(table.class_names) == 38
    files = sorted((made / ANNOTATIONS).glob("*.txt"))
    assert len(files) == 39
    for file in files:
        if file.stem != "README":
            column = table.class_names.index(file.stem.replace("_", " "))
            rows = np.flatnonzero(table.labels[:, column]) + 1
            assert rows.tolist() == [int(line) for line in file.read_text().split()], file
    for row, texts in enumerate(table.captions):
        words = (made / "mirflickr/meta/tags" / f"tags{row + 1}.txt").read_text("utf-8").split()
        assert list(texts) == ([" ".join(words)] if words else [])
    listed = (made / "mirflickr/doc/common_tags.txt").read_text("utf-8").splitlines()
    assert list(table.vocabulary) == [line.split()[0] for line in listed]
    assert all((made / path).is_file() for path in table.images)


def test_the_stand_in_has_items_of_every_kind(made: Path) -> None:
    table = read(made)
    sizes = {name: len(recipe.select(table)[0]) for name, recipe in RECIPES.items()}
    assert 0 < sizes["mir-20015"] < sizes["mir-24581"] < sizes["mir-25000-38"] == ITEMS
    assert () in table.captions and any("köln" in texts[0] for texts in table.captions if texts)
    labels = dict(zip(table.class_names, table.labels.T, strict=True))
    assert all((labels[name] <= labels[name.removesuffix(" r1")]).all() for name in labels)


def _in_one_more_folder(root: Path) -> None:
    (root / "mirflickr25k").mkdir()
    (root / "mirflickr").rename(root / "mirflickr25k/mirflickr")
    (root / ANNOTATIONS).rename(root / "mirflickr25k/annotations")


def _in_the_root(root: Path) -> None:
    for path in (root / "mirflickr").iterdir():
        path.rename(root / path.name)


def _as_zips(root: Path) -> None:
    for archive, folder, inside in (
        ("mirflickr25k.zip", "mirflickr", "mirflickr/"),
        (f"{ANNOTATIONS}.zip", ANNOTATIONS, ""),
    ):
        with zipfile.ZipFile(root / archive, "w") as out:
            for path in (root / folder).rglob("*.*"):
                out.write(path, inside + path.relative_to(root / folder).as_posix())
        shutil.rmtree(root / folder)


def _with_line_feeds(root: Path) -> None:
    for path in root.rglob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("change", [_in_one_more_folder, _in_the_root, _as_zips, _with_line_feeds])
def test_the_same_content_is_the_same_table(made: Path, root: Path, change: Change) -> None:
    change(root)
    table = read(root)
    assert same(table, read(made))
    sources = Sources(root)
    assert all(sources.exists(path) for path in table.images)


def _edit(path: str, edit: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the lines of a file, which keep their ends."""

    def change(root: Path) -> None:
        file = root / path
        file.write_bytes(b"".join(edit(file.read_bytes().splitlines(keepends=True))))

    return change


def _take(path: str) -> Change:
    return lambda root: (root / path).unlink()


SKY, WORDS, TAGS = f"{ANNOTATIONS}/sky.txt", "mirflickr/doc/common_tags.txt", "mirflickr/meta/tags/tags1.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_edit(SKY, lambda lines: [b"0\r\n", *lines]), r"sky\.txt line 1: .* from 1 to 240, found '0'"),
        (_edit(SKY, lambda lines: [lines[0], b"241\r\n"]), r"sky\.txt line 2: .* from 1 to 240, found '241'"),
        (_edit(SKY, lambda lines: [lines[1], lines[0], *lines[2:]]), r"sky\.txt line 2: .*rows out of order"),
        (_edit(SKY, lambda lines: [lines[0], *lines]), r"sky\.txt line 2: .*rows out of order"),
        (_edit(SKY, lambda lines: [lines[0], b"im5\r\n", *lines[2:]]), r"sky\.txt line 2: .*found 'im5'"),
        (_edit(SKY, lambda lines: [lines[0], b"\r\n", *lines[1:]]), r"sky\.txt line 2: .*an empty line"),
        (_edit(SKY, lambda lines: [lines[0], b"-1130179\r\n"]), r"sky\.txt line 2: .*found '-1130179'"),
        (_edit(SKY, lambda lines: [*lines[:3], lines[3].replace(b"\r", b""), *lines[4:]]), r"sky\.txt line 4: mixed"),
        (_take(SKY), r"expected 38 label files, found no sky\.txt"),
        (_take(f"{ANNOTATIONS}/tree_r1.txt"), r"expected 38 label files, found no tree_r1\.txt"),
        (_take(f"{ANNOTATIONS}/animals.txt"), r"found no animals\.txt"),
        (lambda root: (root / ANNOTATIONS / "fish.txt").write_text("1\n"), r"fish\.txt: .*take it away"),
        (
            _edit(TAGS, lambda lines: [*lines, "köln\r\n".encode("latin-1")]),
            r"tags1\.txt line \d+: byte 0xf6 is not utf-8",
        ),
        (
            _take(TAGS),
            r"tags: expected tags1\.txt to tags240\.txt, found no tags1\.txt .*unpack",
        ),
        (_edit(WORDS, lambda lines: [lines[0], b"sky\r\n", *lines[2:]]), r"common_tags\.txt line 2: .*found 'sky'"),
        (_take(WORDS), r"found no doc/common_tags\.txt.*mirflickr25k\.zip"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(root: Path, change: Change, message: str) -> None:
    change(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_a_missing_picture_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    (root / "mirflickr/im7.jpg").unlink()
    with pytest.raises(DataError, match=r"1 pictures cannot be used: mirflickr/im7\.jpg: missing"):
        prepare.prepare(CLS, root, prepare.Choices(), lambda *_: None)


def test_latin_1_is_read_where_it_is_asked_for(root: Path) -> None:
    (root / TAGS).write_bytes("köln\r\n".encode("latin-1"))
    assert read(root, any_encoding=True).captions[0] == ("köln",)


def test_the_complete_set_must_have_all_common_tags(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLS, "expected", Expected(items=ITEMS))
    with pytest.raises(DataError, match=r"common_tags\.txt: expected 1,386 lines"):
        read(root)


def test_labels_that_keep_the_lines_in_order_are_compared_with_the_official_ones(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read(made)
    sums = dict(zip(table.class_names, table.labels.sum(0, dtype=int).tolist(), strict=True))
    monkeypatch.setattr(CLS, "expected", Expected(items=ITEMS, classes=sums, labels_sha256="0" * 64))
    assert next(prepare.surprises(CLS, table)).startswith("labels: expected sha256 0000")
    short = table.labels.copy()
    short[np.flatnonzero(short[:, 0])[0], 0] = 0
    first = next(prepare.surprises(CLS, replace(table, labels=short)))
    assert first.startswith(f"class 'animals': expected {sums['animals']} items, found {sums['animals'] - 1}")


@pytest.mark.parametrize("protocol", CLS.protocols)
def test_every_protocol_opens_on_the_stand_in(
    made: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    home = made.parent / "prepared"
    monkeypatch.setenv("HASHBENCH_DATA", str(home))
    if not home.exists():
        prepare.prepare(CLS, made, prepare.Choices(), lambda *_: None)
    data = CLS(protocol, home / "mirflickr25k-tiny")
    assert len(data.split.query) and len(data.split.train) and len(data.split.database)
    assert data.labels.shape == (len(data), 38 if "deephash" in protocol else 24)
    text, known = data.views["text"], set(data.vocabulary)
    raw = {word for row in range(len(data)) for word in str(text[row]).split()} - known  # type: ignore[index]
    assert bool(raw) == protocol.startswith(("mir-b", "mir-e")), "rare tags are words of the raw protocols alone"


def test_the_field_s_numbers_add_up() -> None:
    counts = CLS.expected.classes
    assert len(counts) == 38 and sum(counts.values()) == 117_906
    assert sum(counts[name] for name in RECIPES["mir-20015"].classes) == 92_902
    assert list(counts) == sorted(counts, key=lambda name: f"{name.replace(' ', '_')}.txt"), "columns in file order"


@pytest.mark.parametrize("plan", [plan for plan in CLS.plans if plan.fingerprint], ids=lambda plan: plan.id)
def test_presets_permute_as_the_originals_do(plan: Plan) -> None:
    count = plan.recipe.items or 0
    items = Items(ids=[str(row) for row in range(count)], labels=np.ones((count, 1), np.uint8), given={})
    assert plan.split.draw(items).fingerprint() == plan.fingerprint


def test_dchmt_s_order_of_rows() -> None:
    """im1, im10, im100, im1000, ...: its keys are the numbers as text, sorted."""
    ids = [f"im{n}" for n in range(1, 2001)]
    table = Table(ids=tuple(ids), class_names=("a",), labels=np.ones((2000, 1), np.uint8))
    rows, _, _ = replace(RECIPES["mir-24581"], classes=("a",)).select(table)
    assert (rows + 1).tolist() == sorted(range(1, 2001), key=str)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """The real labels and tags of 20,015 items, packed as the official zips are, and read from there."""
    folder, words = SHARED / "mirflickr25k_20015", SHARED / "tag_vocabularies/mirflickr_1386.txt"
    if not folder.is_dir():
        pytest.skip(f"real labels and tags are not here ({folder})")
    root = tmp_path_factory.mktemp("real")
    numbers = [int(name.removeprefix("mirflickr/im").removesuffix(".jpg")) for name in _lines(folder / "all_imgs.txt")]
    labels = np.loadtxt(folder / "all_labels.txt", np.uint8)
    tags = dict(zip(numbers, (line.split(",") for line in _lines(folder / "all_tags.txt")), strict=True))
    counts = Counter(tag for own in tags.values() for tag in set(own))
    with zipfile.ZipFile(root / "mirflickr25k.zip", "w") as out:
        common = [f"{word} {counts[word]}\r\n" for word in words.read_text("utf-8").split()]
        out.writestr("mirflickr/doc/common_tags.txt", "".join(common))
        for number in range(1, 25_001):
            own = "".join(f"{tag}\r\n" for tag in tags.get(number, []))
            out.writestr(f"mirflickr/meta/tags/tags{number}.txt", own)
    with zipfile.ZipFile(root / f"{ANNOTATIONS}.zip", "w") as out:
        out.writestr("README.txt", "")
        for name in CLS.expected.classes:
            of = RECIPES["mir-20015"].classes
            rows = np.flatnonzero(labels[:, of.index(name)]).tolist() if name in of else []
            out.writestr(f"{name.replace(' ', '_')}.txt", "".join(f"{numbers[row]}\r\n" for row in rows))
    return CLS.read(Sources(root), 25_000)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_real_labels_and_tags_give_the_field_s_20_015(real: Table) -> None:
    rows, labels, names = RECIPES["mir-20015"].select(real)
    assert rows.shape == (20_015,) and len(names) == 24
    assert len(real.vocabulary) == 1_386 and real.vocabulary[:3] == ("explore", "sky", "nikon")
    column = {word: at for at, word in enumerate(real.vocabulary)}
    words = np.zeros((len(rows), 1_386), np.uint8)
    for at, row in enumerate(rows.tolist()):
        words[at, [column[word] for word in real.captions[row][0].split()]] = 1
    folder = SHARED / "mirflickr25k_dcmh_mat"
    assert (labels == loadmat(folder / "mirflickr25k-lall.mat")["LAll"]).all(), "DCMH's labels, row by row"
    theirs = loadmat(folder / "mirflickr25k-yall.mat")["YAll"]
    assert _columns(words) == _columns(theirs), "DCMH's text vectors; words of equal count stand in another order there"


def _columns(matrix: NDArray[np.uint8]) -> list[bytes]:
    """What the rows say, whatever the order of the columns is."""
    return sorted(column.tobytes() for column in matrix.T)


CHANCE = {"mirflickr25k@1": 0.5495, "mir-a-dcmh@1": 0.5385, "mir-a-mith@1": 0.5584, "mir-c-djsrh@1": 0.5687}
"""The mean over queries of the share of relevant items; over all pairs of items it is .5555."""


@pytest.mark.parametrize("protocol", CHANCE)
def test_chance_on_real_labels(real: Table, protocol: str) -> None:
    plan = next(plan for plan in CLS.plans if plan.id == protocol)
    rows, labels, _ = plan.recipe.select(real)
    drawn = plan.split.draw(Items(ids=[real.ids[row] for row in rows.tolist()], labels=labels, given={}))
    assert plan.fingerprint in (None, drawn.fingerprint())
    assert chance_level(labels[drawn.query], labels[drawn.database]) == pytest.approx(CHANCE[protocol], abs=5e-5)
