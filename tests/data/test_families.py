"""Every family of files gives the table that its content says, or one line about why not."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.sparse import csc_array

from hashbench.data import matlab
from hashbench.data.families import FAMILIES, Gathered, import_files
from hashbench.data.table import Numbers, Table
from hashbench.errors import DataError, UsageError

from .test_matlab import WRITERS, write5, write73

SHARED = Path(__file__).parents[2] / "../shared/data"
N, C = 12, 4
rng = np.random.default_rng(0)
LABELS = np.concatenate([np.eye(C, dtype="u1"), rng.integers(0, 2, (N - C, C)).astype("u1")])
TAGS = rng.integers(0, 2, (N, 7)).astype("u1")
FEATURES = rng.random((N, 5))
PIXELS = rng.integers(0, 256, (N, 6, 8, 3), np.uint8)
"""(n, h, w, 3), height and width different so that none can be taken for the other."""


def all_of(rows: Numbers) -> np.ndarray:
    return rows[0 : len(rows)]


def same(found: Numbers, expected: Any) -> None:
    np.testing.assert_array_equal(all_of(found), expected)


def refused(match: str, *paths: Path, **options: Any) -> None:
    with pytest.raises((DataError, UsageError), match=match) as caught:
        import_files(list(paths), **options)
    assert "\n" not in str(caught.value)


def real(*names: str) -> list[Path]:
    paths = [SHARED / name for name in names]
    if not all(path.exists() for path in paths):
        pytest.skip("the field's own files are not on this machine")
    return paths


# ----------------------------------------------------------------------------------------------------- one pool


@pytest.mark.parametrize("large", [1, matlab.LARGE])
def test_dcmh_v73_with_pixels(large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "LARGE", large)
    path = write73(
        tmp_path / "FLICKR-25K.mat",
        images=PIXELS.transpose(1, 2, 3, 0),  # MATLAB: height x width x 3 x n
        YAll=TAGS.astype("f8"),
        LAll=LABELS.astype("f8"),
        param=["a struct stands here in the real file"],
    )
    with h5py.File(path) as file:
        assert file["images"].shape == (N, 3, 8, 6)  # type: ignore[union-attr]  # as the field's scripts see it
    table = import_files([path])
    same(table.vectors["image"], PIXELS)
    same(table.vectors["text"], TAGS)
    np.testing.assert_array_equal(table.labels, LABELS)
    assert table.labels.dtype == np.uint8
    assert table.ids[3] == "row3" and table.class_names == ("class 1", "class 2", "class 3", "class 4")
    assert not table.sides and not table.present and not table.images and not table.captions


def test_pixels_of_v5_with_items_first(tmp_path: Path) -> None:
    path = write5(tmp_path / "x.mat", IAll=PIXELS.transpose(0, 3, 1, 2), LAll=LABELS)
    same(import_files([path]).vectors["image"], PIXELS)
    refused("expected pixels of type uint8, found float64", write5(path, IAll=PIXELS / 255, LAll=LABELS))
    refused("expected one axis of 3 colours", write5(path, IAll=PIXELS[..., :2], LAll=LABELS))


def test_split_files(tmp_path: Path) -> None:
    iall = write73(tmp_path / "mirflickr25k-iall.mat", IAll=PIXELS.transpose(1, 2, 3, 0))
    xall = write5(tmp_path / "nus-wide-tc10-xall.mat", XAll=FEATURES)
    yall = write5(tmp_path / "mirflickr25k-yall.mat", YAll=csc_array(TAGS.astype("f8")))
    lall = write5(tmp_path / "mirflickr25k-lall.mat", LAll=LABELS)
    table = import_files([iall, yall, lall])
    same(table.vectors["image"], PIXELS)
    same(table.vectors["text"], TAGS)
    same(import_files([xall, yall, lall]).vectors["image"], FEATURES)
    refused(r"view image: expected one variable, found IAll in .* and XAll in .*ignore", iall, xall, lall)
    same(import_files([iall, xall, lall], ignore=["IAll"]).vectors["image"], FEATURES)
    refused("ignore 'iall'.*Known: IAll, LAll", iall, lall, ignore=["iall"])
    refused(r"LAll: expected once, found in .*lall\.mat and in", lall, write5(tmp_path / "b.mat", LAll=LABELS), yall)


def test_uccch_plain_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "MSCOCO_deep_doc2vec_data_rand.h5py"
    with h5py.File(path, "w") as file:
        file["XAll"], file["YAll"], file["LAll"] = FEATURES, TAGS, LABELS
    table = import_files([path])
    same(table.vectors["image"], FEATURES)
    same(table.vectors["text"], TAGS)


@pytest.mark.parametrize("write", WRITERS)
def test_wanggodder_names(write: Any, tmp_path: Path) -> None:
    names = [f"im{i + 1}.jpg" for i in range(N)]
    lists = [
        write(tmp_path / "imgList.mat", FAll=names),
        write(tmp_path / "tagList.mat", YAll=TAGS),
        write(tmp_path / "labelList.mat", LAll=LABELS),
    ]
    table = import_files(lists)
    assert table.ids[:2] == ("im1", "im2") and table.images == tuple(names)
    same(table.vectors["text"], TAGS)


def test_wanggodder_folder_and_name(tmp_path: Path) -> None:
    pairs = [["actor", f"0001_{i}"] if i % 2 else ["zebra crossing", f"{i}"] for i in range(N)]
    paths = [tmp_path / name for name in ("imgList21.mat", "tagList21.mat", "labelList21.mat")]
    savemat(paths[0], {"imgs": np.array([[folder, f"{name}.jpg"] for folder, name in pairs])})
    savemat(paths[1], {"tags": TAGS})
    savemat(paths[2], {"labels": LABELS})
    table = import_files(paths)
    assert table.images[:2] == ("zebra crossing/0.jpg", "actor/0001_1.jpg")
    assert table.ids[:2] == ("0", "0001_1")


def _pictures(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("label", ["category", "label"])
def test_dchmt_and_mith_with_remapped_paths(label: str, tmp_path: Path) -> None:
    absolute = [f"/home/somebody/data/mirflickr/im{i + 1}.jpg" for i in range(N)]
    captions = [" ".join(["sky"] * (i % 3)) for i in range(N)]
    paths = [tmp_path / name for name in ("index.mat", "caption.mat", "label.mat")]
    savemat(paths[0], {"index": absolute})
    savemat(paths[1], {"caption": captions, **({"caption_one_hot": TAGS} if label == "label" else {})})
    savemat(paths[2], {label: LABELS})
    root = _pictures(tmp_path / "pictures", [f"a/mirflickr/im{i + 1}.jpg" for i in range(N)] + ["b/thumbs/im1.jpg"])
    table = import_files(paths, root)
    assert table.images[:2] == ("a/mirflickr/im1.jpg", "a/mirflickr/im2.jpg")
    assert table.ids[0] == "im1"
    assert table.captions == tuple((caption,) for caption in captions)
    if label == "label":
        same(table.vectors["text"], TAGS)
    refused("a picture on another machine.*--images", *paths)
    (root / "a/mirflickr/im3.jpg").unlink()
    (root / "a/mirflickr/im4.jpg").unlink()
    refused(r"expected 12 pictures, found none for 2 of them, the first /home/somebody/data/mirflickr/im3\.jpg",
            *paths, images=root)  # fmt: skip
    refused("--images .*expected a folder", *paths, images=tmp_path / "none")


def test_pictures_in_a_zip_and_twice(tmp_path: Path) -> None:
    lists = write5(tmp_path / "x.mat", index=[rf"C:\data\mirflickr\im{i}.jpg" for i in range(N)], LAll=LABELS)
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "mirflickr25k.zip", "w") as archive:
        for i in range(N):
            archive.writestr(f"mirflickr/im{i}.jpg", b"")
    assert import_files([lists], root).images[2] == "mirflickr25k.zip!/mirflickr/im2.jpg"
    _pictures(root, ["mirflickr/im2.jpg"])
    refused(r"expected one file for C:/data/mirflickr/im2\.jpg, found", lists, images=root)
    short = write5(tmp_path / "y.mat", index=["mirflickr/im2.jpg", "im1.jpg"], LAll=LABELS[:2])
    assert import_files([short], root).images == ("mirflickr/im2.jpg", "mirflickr25k.zip!/mirflickr/im1.jpg")
    (root / "other.zip").write_bytes(b"PK")
    refused(r"other\.zip: expected a zip", lists, images=root)


def test_nus_caption_file_keeps_empty_lines(tmp_path: Path) -> None:
    captions = ["sky sea"] + [""] * 3 + ["a\u2028b"] * (N - 5) + [""]
    text = tmp_path / "caption.txt"
    text.write_bytes(("\r\n".join(captions) + "\r\n").encode())
    rest = write5(tmp_path / "label.mat", category=LABELS)
    assert import_files([text, rest]).captions == tuple((caption,) for caption in captions)
    text.write_text("\n".join(captions[:-2]) + "\n")
    refused(r"expected as many items everywhere, found category in .*label\.mat: 12 x 4; caption in .*caption\.txt: 10",
            text, rest)  # fmt: skip


@pytest.mark.parametrize("each", [[5] * N, [1 + i % 3 for i in range(N)]])
def test_several_captions_an_item(each: list[int], tmp_path: Path) -> None:
    captions = [[f"caption {i} {k}" for k in range(many)] for i, many in enumerate(each)]
    ragged = np.empty(N, object)
    ragged[:] = [np.array(several) for several in captions]
    path = tmp_path / "caption.mat"
    savemat(path, {"caption": captions if len(set(each)) == 1 else ragged, "label": LABELS})
    assert import_files([path]).captions == tuple(map(tuple, captions))


def test_dadh_nus(tmp_path: Path) -> None:
    table = import_files([write5(tmp_path / "NUS.mat", image=FEATURES, text=TAGS, label=LABELS)])
    same(table.vectors["image"], FEATURES)
    same(table.vectors["text"], TAGS)


def test_itomxy(tmp_path: Path) -> None:
    clean = np.array([1, 2, 4, 5, 7, 8, 11])
    paths = [tmp_path / f"{name}.flickr25k.mat" for name in ("labels", "texts", "clean_id", "split")]
    savemat(paths[0], {"labels": LABELS})
    savemat(paths[1], {"texts": TAGS})
    savemat(paths[2], {"clean_id": clean})
    split = {"idx_test": [7, 2], "idx_labeled": [1, 4], "idx_unlabeled": [5, 8, 11], "idx_ret": [1, 4, 5, 8, 11]}
    savemat(paths[3], {**split, "meta_idx_test": [4, 1]})
    table = import_files(paths)
    assert table.ids == tuple(f"row{row}" for row in clean)
    np.testing.assert_array_equal(table.labels, LABELS[clean])
    same(table.vectors["text"], TAGS[clean])
    for side, name in (("query", "idx_test"), ("train", "idx_labeled"), ("database", "idx_ret")):
        assert [table.ids[row] for row in table.sides[side]] == [f"row{row}" for row in split[name]]
    savemat(paths[3], {**split, "idx_test": [0, 2]})
    refused("idx_test: expected rows of clean_id, found row 0", *paths)
    savemat(paths[3], {**split, "idx_test": [12]})
    refused("idx_test: expected rows from 0 to 11, found 12", *paths)


# ------------------------------------------------------------------------------------------------- already split


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("letter", ["X", "V"])
def test_dlfh(write: Any, letter: str, tmp_path: Path) -> None:
    names = {f"{letter}Test": FEATURES[:3], f"{letter}Database": FEATURES[3:], "YTest": TAGS[:3], "YDatabase": TAGS[3:]}
    table = import_files([write(tmp_path / "flickr-25k.mat", **names, testL=LABELS[:3], databaseL=LABELS[3:])])
    same(table.vectors["image"], FEATURES)
    same(table.vectors["text"], TAGS)
    np.testing.assert_array_equal(table.labels, LABELS)
    assert table.ids[2:4] == ("test-2", "database-0")
    assert {side: rows.tolist() for side, rows in table.sides.items()} == {
        "query": list(range(3)),
        "database": list(range(3, 12)),
    }
    broken = {**names, "YTest": TAGS[:3, :6]}
    path = write(tmp_path / "broken.mat", **broken, testL=LABELS[:3], databaseL=LABELS[3:])
    refused(r"view text: expected \(6,\) numbers an item in every part.*found \(7,\)", path)


@pytest.mark.parametrize("large", [1, matlab.LARGE])
@pytest.mark.parametrize("stored", [(0, 3, 1, 2), (1, 2, 3, 0)])
def test_bmc_raw(large: int, stored: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "LARGE", large)
    te, db, tr = np.arange(2), np.arange(2, N), np.array([9, 4, 5, 10, 2])
    content = {
        f"{view}_{side}": array
        for side, rows in (("te", te), ("db", db), ("tr", tr))
        for view, array in (("I", PIXELS[rows].transpose(stored)), ("T", TAGS[rows]), ("L", LABELS[rows]))
    }
    table = import_files([write73(tmp_path / "raw_mir.mat", **content)])
    assert len(table) == N and table.ids[1:3] == ("te-1", "db-0")
    same(table.vectors["image"], PIXELS)
    assert table.sides["query"].tolist() == [0, 1]
    assert table.sides["database"].tolist() == list(range(2, N))
    assert table.sides["train"].tolist() == tr.tolist()  # the same items, not copies of them

    other = np.array(content["I_tr"])
    other[0] ^= 1
    apart = import_files([write73(tmp_path / "raw_nus.mat", **{**content, "I_tr": other})])
    assert len(apart) == N + 5 and apart.ids[-1] == "tr-4"
    assert apart.sides["train"].tolist() == list(range(N, N + 5))


def test_copies_are_counted(tmp_path: Path) -> None:
    """Two equal training rows need two equal database rows."""

    def content(train: list[int]) -> dict[str, np.ndarray]:
        sides = {"te": [0, 1], "db": [2, 3, 2, 4, 7, 8], "tr": train}
        arrays = {"I": FEATURES, "T": TAGS, "L": LABELS}
        return {f"{v}_{side}": a[rows] for side, rows in sides.items() for v, a in arrays.items()}

    assert import_files([write5(tmp_path / "a.mat", **content([2, 4, 2]))]).sides["train"].tolist() == [2, 5, 4]
    assert len(import_files([write5(tmp_path / "b.mat", **content([2, 2, 2]))])) == 11


def test_wikipedia_files_made_here(tmp_path: Path) -> None:
    features = write5(tmp_path / "raw_features.mat", I_tr=FEATURES[:8], T_tr=TAGS[:8], I_te=FEATURES[8:], T_te=TAGS[8:])
    lists = [tmp_path / "trainset_txt_img_cat.list", tmp_path / "testset_txt_img_cat.list"]
    category = [1 + i % C for i in range(N)]
    lines = [f"text{i}-1.{i}\tpicture{i}\t{category[i]}" for i in range(N)]
    lists[0].write_text("\n".join(lines[:8]) + "\n")
    lists[1].write_text("\n".join(lines[8:]))
    classes = tmp_path / "categories.list"
    classes.write_text("Art\nbiology\ngeography\nhistory\n\n")
    table = import_files([features, *lists, classes])
    assert table.ids[1] == "text1-1.1" and table.images[1] == "picture1.jpg"
    assert (table.labels.argmax(1) + 1).tolist() == category and (table.labels.sum(1) == 1).all()
    assert table.class_names == ("art", "biology", "geography", "history")
    assert table.sides["train"].tolist() == table.sides["database"].tolist() == list(range(8))
    assert table.sides["query"].tolist() == list(range(8, 12))
    refused(r"raw_features\.mat.*nearest is training and query \(Wikipedia\).*testset_txt_img_cat\.list", features)
    lists[1].write_text("\n".join([*lines[8:11], "text picture 3"]))
    refused(r"testset_txt_img_cat\.list:4: expected 3 columns, found 1", features, *lists)


def xmedia(older: bool = False) -> dict[str, np.ndarray]:
    counts = {"I": (4, 3), "T": (4, 3), "V": (3, 2), "A": (5, 4), "d3": (3, 3)}
    names = {"I": "I_%s_CNN", "T": "T_%s_BOW", "V": "V_%s_CNN", "A": "A_%s", "d3": "d3_%s"}
    kinds = {"I": "Img", "T": "Txt", "V": "Vid", "A": "Aud", "d3": "3d"}
    content = {}
    for view, sizes in counts.items():
        for side, n in zip(("tr", "te"), sizes, strict=True):
            content[names[view] % side] = rng.random((n, 11)).astype("f4")
            content[f"{side}{kinds[view]}Cat"] = np.arange(1, n + 1, dtype="f8")[:, None] % 3 + 1
            if older and view in "ITV":
                content[f"{view}_{side}"] = rng.random((n, 13))
    return content


@pytest.mark.parametrize("older", [False, True])
def test_xmedia(older: bool, tmp_path: Path) -> None:
    content = xmedia(older)
    path = write5(tmp_path / "XMediaFeatures.mat", **content)
    table = import_files([path])
    assert len(table) == 7 + 5 + 9 + 6
    assert set(table.vectors) == {"image", "text", "video", "audio", "d3"} == set(table.present)
    at = {item: row for row, item in enumerate(table.ids)}
    for item, view, name, row in (
        ("pair-tr-3", "image", "I_tr_CNN", 3),
        ("pair-te-2", "text", "T_te_BOW", 2),
        ("video-te-1", "video", "V_te_CNN", 1),
        ("audio-tr-4", "audio", "A_tr", 4),
        ("3d-te-0", "d3", "d3_te", 0),
    ):
        assert table.present[view][at[item]]
        np.testing.assert_array_equal(all_of(table.vectors[view])[at[item]], content[name][row])
    for view, count in {"image": 7, "text": 7, "video": 5, "audio": 9, "d3": 6}.items():
        assert table.present[view].sum() == count
        assert not all_of(table.vectors[view])[~table.present[view]].any()
    assert (table.labels.argmax(1) + 1)[at["audio-tr-4"]] == 3  # counted from 1
    assert {table.ids[row].split("-")[1] for row in table.sides["query"]} == {"te"}
    assert sorted([*table.sides["query"], *table.sides["database"]]) == list(range(len(table)))
    np.testing.assert_array_equal(table.sides["train"], table.sides["database"])


def test_xmedia_pairs_must_agree(tmp_path: Path) -> None:
    content = xmedia()
    content["trTxtCat"] = content["trTxtCat"][::-1]
    refused("labels: trImgCat .* and trTxtCat .* disagree", write5(tmp_path / "x.mat", **content))


# ----------------------------------------------------------------------------------------------------- text lists


def write_list(path: Path, rows: range | list[int], **changes: str) -> Path:
    lines = [f"val2014/im{row}.jpg {' '.join(map(str, LABELS[row]))}" for row in rows]
    for at, line in changes.items():
        lines[int(at.removeprefix("line")) - 1] = line
    path.write_text("\n".join(lines) + "\n")
    return path


def test_lists_of_pictures(tmp_path: Path) -> None:
    test = write_list(tmp_path / "test.txt", range(3))
    database = write_list(tmp_path / "database.txt", range(3, N))
    train = write_list(tmp_path / "train.txt", [8, 4])
    table = import_files([train, database, test])
    assert table.ids == tuple(f"im{row}" for row in range(N))
    np.testing.assert_array_equal(table.labels, LABELS)
    assert [table.ids[row] for row in table.sides["train"]] == ["im8", "im4"]
    assert table.sides["query"].tolist() == [0, 1, 2] and len(table.sides["database"]) == N - 3
    everything = import_files([write_list(tmp_path / "flickr.txt", range(N))])
    assert everything.ids == table.ids and not everything.sides


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val2014/im1.jpg 0 1 0", r"test\.txt:2: expected 5 columns, found 4"),
        ("", r"test\.txt:2: expected 5 columns, found 0"),
        ("val2014/im1.jpg 0 1 0 2", r"test\.txt:2: expected labels 0 and 1.*found '2'"),
        ("val2014/im0.jpg 0 1 0 1", "expected every id once, found im0 in rows 0 and 1"),
    ],
)
def test_lines_that_are_wrong(line: str, message: str, tmp_path: Path) -> None:
    refused(message, write_list(tmp_path / "test.txt", range(3), line2=line))


def test_lists_that_contradict_each_other(tmp_path: Path) -> None:
    database = write_list(tmp_path / "database.txt", range(3, N))
    other = write_list(tmp_path / "train.txt", [4, 5], line2="val2014/im5.jpg 1 1 1 1")
    assert not (LABELS[5] == 1).all()
    refused(
        r"im5: expected the same labels everywhere, found others in .*train\.txt.* than in .*database", other, database
    )
    test = write_list(tmp_path / "test.txt", range(5))
    refused("im3: expected on one side, found among the query and the database items, as 2 items are", test, database)
    (tmp_path / "labels.txt").write_text("0 1 0\n1 1 0\n")
    refused("expected a picture and its labels", tmp_path / "labels.txt")
    (tmp_path / "empty.txt").write_text("\n")
    refused("found an empty file", tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    refused("expected lines of UTF-8 text", tmp_path / "binary.txt")
    refused("expected lines of UTF-8 text.*No such file", tmp_path / "none.txt")


def test_names_in_several_folders_keep_what_tells_them_apart(tmp_path: Path) -> None:
    path = tmp_path / "database.txt"
    path.write_text("data/images/00/25.jpg 1 0\ndata/images/01/25.jpg 0 1\n")
    table = import_files([path])
    assert table.ids == ("00/25", "01/25") and table.images[0] == "data/images/00/25.jpg"


# ------------------------------------------------------------------------------------------------------ our own form


def test_our_own_form(tmp_path: Path) -> None:
    has_audio = np.arange(N) % 2 == 0
    path = tmp_path / "mine.npz"
    content: dict[str, Any] = {
        "image": PIXELS,
        "text": np.array([f"a text {i}" for i in range(N)]),
        "audio": FEATURES,
        "labels": LABELS,
        "ids": np.array([f"item {i}" for i in range(N)]),
        "class_names": np.array(["Sky", "sea", "sun", "sand"]),
        "present_audio": has_audio,
        "query": np.array([0, 1]),
        "database": np.arange(2, N),
        "train": np.array([5, 3]),
    }
    np.savez(path, **content)
    table = import_files([path])
    same(table.vectors["image"], PIXELS)
    same(table.vectors["audio"], FEATURES)
    assert table.captions[3] == ("a text 3",) and table.ids[3] == "item 3"
    assert table.class_names == ("sky", "sea", "sun", "sand")
    np.testing.assert_array_equal(table.present["audio"], has_audio)
    assert set(table.present) == {"audio"}
    assert table.sides["train"].tolist() == [5, 3]
    np.savez(path, **{**content, "ids": np.array(["same"] * N)})
    refused("expected every id once, found same in rows 0 and 1", path)
    np.savez(path, **{**content, "ids": np.arange(N - 1)})
    refused("ids: expected 12 names, found 11", path)
    np.savez(path, **{**content, "present_audio": np.arange(N)})
    refused("present_audio: expected 12 of 0 and 1", path)
    np.savez(path, **{**content, "train": np.array([5, 5])})
    refused("train: expected every row once, found row 5 twice", path)
    np.savez(path, **{**content, "audio": content["text"]})
    refused("audio: expected numbers, found strings", path)


@pytest.mark.parametrize("write", WRITERS)
@given(n=st.integers(1, 8), data=st.data())
def test_our_own_form_never_turns_an_array(
    write: Any, n: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rows are items by definition, so a square matrix, or one row, is no riddle."""
    widths = data.draw(st.tuples(*[st.integers(2, 8)] * 3))
    one, two, labels = (np.arange(n * width, dtype="f8").reshape(n, width) for width in widths)
    path = write(tmp_path_factory.mktemp("own") / "x.mat", image=one, sketch=two, labels=labels % 2)
    table = import_files([path])
    same(table.vectors["image"], one)
    same(table.vectors["sketch"], two)
    np.testing.assert_array_equal(table.labels, labels % 2)


def test_class_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"

    def labels(numbers: list[float], names: list[str] | None = None) -> list[int]:
        np.savez(path, image=np.eye(len(numbers)), text=np.eye(len(numbers)), labels=np.array(numbers))
        table = import_files([path], class_names=names or ())
        assert (table.labels.sum(1) == 1).all()
        return [int(column) for column in table.labels.argmax(1)]

    assert labels([0, 2, 1, 0]) == [0, 2, 1, 0]
    assert labels([1, 3, 2, 1]) == [0, 2, 1, 0]
    assert labels([0, 2, 0, 0], ["a", "b", "c"]) == [0, 2, 0, 0]
    assert labels([1, 3, 1, 1], ["a", "b", "c"]) == [0, 2, 0, 0]
    for numbers, names, message in (
        ([0, 2, 0], None, "without gaps, found 0, 2"),
        ([2, 3, 2], None, "counted from 0 or 1"),
        ([0, 1, -1130179], None, "labels: expected class numbers from 0, found -1130179 at item 2"),
        ([0, 1.5, 0], None, "expected whole numbers, found 1.5"),
        ([0, 3, 0], ["a", "b", "c"], "found 0, 3"),
        ([1, 2, 1], ["a", "b", "c"], "cannot tell whether class numbers 1 to 2 of 3 names"),
    ):
        with pytest.raises(DataError, match=message):
            labels(numbers, names)
    refused("expected only 0 and 1", write5(tmp_path / "y.mat", YAll=TAGS, LAll=np.arange(1.0, N + 1)[:, None]))


# ------------------------------------------------------------------------------------------------- what is refused


@given(n=st.integers(2, 9), c=st.integers(2, 9), d=st.integers(2, 9), turned=st.tuples(st.booleans(), st.booleans()))
def test_orientation_is_told_by_the_count_or_not_at_all(
    n: int, c: int, d: int, turned: tuple[bool, bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    labels = np.tri(n, c, dtype="u1")
    features = np.arange(n * d, dtype="f8").reshape(n, d)
    path = tmp_path_factory.mktemp("turn") / "x.mat"
    write5(path, LAll=labels.T if turned[0] else labels, XAll=features.T if turned[1] else features)
    if n in (c, d) or c == d:
        refused("expected to tell items from columns", path)
    else:
        table = import_files([path])
        np.testing.assert_array_equal(table.labels, labels)
        same(table.vectors["image"], features)


def test_counts_that_disagree_are_named_with_both_files(tmp_path: Path) -> None:
    lall = write5(tmp_path / "lall.mat", LAll=LABELS)
    yall = write5(tmp_path / "yall.mat", YAll=TAGS[:11])
    refused(r"found LAll in .*lall\.mat: 12 x 4; YAll in .*yall\.mat: 11 x 7", lall, yall)


@pytest.mark.parametrize("low", [0, -1])
def test_labels_are_zero_and_one_or_minus_one_and_one(low: int, tmp_path: Path) -> None:
    signed = np.where(LABELS == 1, 1, low).astype("i4")
    path = tmp_path / "x.mat"
    np.testing.assert_array_equal(import_files([write5(path, YAll=TAGS, LAll=signed)]).labels, LABELS)
    for value in (-1130179, 2, -1 - low):
        wrong = signed.copy()
        wrong[7, 2] = value
        refused(rf"LAll: expected only .*found {value} in row 7, column 2 \(counted from 0\)",
                write5(path, YAll=TAGS, LAll=wrong))  # fmt: skip
    missing = signed.astype("f8")
    missing[7, 2] = np.nan
    refused("found nan in row 7, column 2", write5(path, YAll=TAGS, LAll=missing))


def test_unknown_names_are_listed_with_the_nearest_family(tmp_path: Path) -> None:
    refused(
        r"found Lall, Yall; the nearest is one pool of items .*which also needs one of LAll, labels, category, label",
        write5(tmp_path / "a.mat", Yall=TAGS, Lall=LABELS),
    )
    refused("found LAll; .*needs one of images, IAll", write5(tmp_path / "b.mat", LAll=LABELS))
    refused(
        r"found VTest, YTest, testL; .* is query and database \(DLFH.*one of XDatabase, VDatabase",
        write5(tmp_path / "c.mat", VTest=FEATURES, YTest=TAGS, testL=LABELS),
    )
    refused("found Foo, Sound, labels", write5(tmp_path / "d.mat", Foo=TAGS, Sound=TAGS, labels=LABELS))
    refused("class names: expected 4, one a column of LAll .*found 2",
            write5(tmp_path / "e.mat", YAll=TAGS, LAll=LABELS), class_names=["a", "b"])  # fmt: skip
    (tmp_path / "page.mat").write_text("<html>")
    refused(r"page\.mat: .*web page", tmp_path / "page.mat")


def test_every_family_is_complete_with_all_of_its_names_and_lacks_labels_without_them(tmp_path: Path) -> None:
    """The table of families itself: the first name of everything makes the family; a part without labels does not."""
    for family in FAMILIES:
        content: dict[str, Any] = {}
        for part in family.parts:
            for view, names in part.views.items():
                strings = names.split()[0].endswith("pictures")
                value: Any = [f"{part.id}{view}{i}.jpg" for i in range(N)] if strings else FEATURES
                content[names.split()[0]] = value
            content[part.labels.split()[0]] = np.arange(1.0, N + 1)[:, None] if family.first_class else LABELS
        table = import_files([write5(tmp_path / "x.mat", **content)])
        assert len(table) % N == 0, family.name
        labels = {part.labels.split()[0] for part in family.parts}
        refused(
            "also needs one of", write5(tmp_path / "y.mat", **{k: v for k, v in content.items() if k not in labels})
        )


@given(data=st.data())
def test_gathered_rows_are_those_of_numpy(data: st.DataObject) -> None:
    sources = tuple(np.random.default_rng(k).random((n, 3)) for k, n in enumerate((4, 6)))
    source = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=1, max_size=12)), np.int64)
    row = np.array([data.draw(st.integers(0, 3 if which == 0 else 5)) for which in source], np.int64)
    gathered = Gathered(sources, source, row)
    expected = np.stack([sources[s][r] if s >= 0 else np.zeros(3) for s, r in zip(source, row, strict=True)])
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(row))] * 2)))
    np.testing.assert_array_equal(gathered[start:stop], expected[start:stop])
    assert gathered.shape == expected.shape and len(gathered) == len(expected)


# ------------------------------------------------------------------------------------------------- the real files


def test_real_mirflickr() -> None:
    lall, yall = real("mirflickr25k_dcmh_mat/mirflickr25k-lall.mat", "mirflickr25k_dcmh_mat/mirflickr25k-yall.mat")
    table = import_files([yall, lall])
    assert table.labels.shape == (20015, 24) and table.vectors["text"].shape == (20015, 1386)
    assert round(float(table.labels.sum(1).mean()), 2) == 3.78
    assert table.labels.any(1).all() and all_of(table.vectors["text"]).any(1).all()  # a label and a tag each
    listed = SHARED / "mirflickr25k_20015/all_labels.txt"
    if listed.exists():
        np.testing.assert_array_equal(table.labels, np.loadtxt(listed, np.uint8))


def _is_wikipedia(table: Table) -> None:
    assert len(table) == 2866 and table.labels.shape == (2866, 10) and (table.labels.sum(1) == 1).all()
    assert table.vectors["image"].shape == (2866, 128) and table.vectors["text"].shape == (2866, 10)
    assert {side: len(rows) for side, rows in table.sides.items()} == {"query": 693, "database": 2173, "train": 2173}


def test_real_wikipedia_both_ways() -> None:
    names = ("WikiData.mat", "raw_features.mat", "trainset_txt_img_cat.list", "testset_txt_img_cat.list")
    data, features, train, test, classes = real(*(f"wikipedia_raw/{name}" for name in (*names, "categories.list")))
    one, two = import_files([data]), import_files([features, train, test, classes])
    _is_wikipedia(one)
    _is_wikipedia(two)
    np.testing.assert_array_equal(one.labels, two.labels)
    for view in ("image", "text"):
        same(one.vectors[view], all_of(two.vectors[view]))
    assert two.class_names[0] == "art" and two.class_names[-1] == "warfare"
    refused("raw_features.mat has no labels", features)


def test_real_coco_lists() -> None:
    train, test = real("coco_hashnet_lists/train.txt", "coco_hashnet_lists/test.txt")
    table = import_files([train, test])
    assert len(table) == 15000 and table.labels.shape == (15000, 80)
    assert {side: len(rows) for side, rows in table.sides.items()} == {"query": 5000, "train": 10000}
    assert table.images[table.sides["train"][0]] == "train2014/COCO_train2014_000000072095.jpg"
