"""One content, several kinds of file: what is written comes back, and nothing but DataError comes of damage."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.io import savemat
from scipy.sparse import csc_array

from hashbench.data import matlab
from hashbench.errors import DataError

CLASSES = {"f8": b"double", "f4": b"single", "u1": b"uint8", "i4": b"int32", "b1": b"logical"}


def write73(path: Path, **variables: Any) -> Path:
    """A v7.3 file as MATLAB lays it out: a header of 512 bytes, axes reversed, text as codes, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        shelf = file.create_group("#refs#")
        number = count()

        def put(group: h5py.Group, name: str, value: Any) -> h5py.Dataset:
            if isinstance(value, str) and value == "":
                node = group.create_dataset(name, data=np.zeros(2, np.uint64))
                node.attrs["MATLAB_empty"] = np.uint8(1)
                node.attrs["MATLAB_class"] = np.bytes_("char")
            elif isinstance(value, str):
                codes = np.frombuffer(value.encode("utf-16-le"), "<u2")
                node = group.create_dataset(name, data=codes.reshape(-1, 1))
                node.attrs["MATLAB_class"] = np.bytes_("char")
            elif isinstance(value, list):
                rows = value if value and isinstance(value[0], tuple) else [(one,) for one in value]
                cells = np.empty((len(rows[0]), len(rows)), h5py.ref_dtype)
                for r, row in enumerate(rows):
                    for c, one in enumerate(row):
                        cells[c, r] = put(shelf, f"cell{next(number)}", one).ref
                node = group.create_dataset(name, data=cells, dtype=h5py.ref_dtype)
                node.attrs["MATLAB_class"] = np.bytes_("cell")
            elif hasattr(value, "indptr"):
                sparse = group.create_group(name)
                sparse.attrs["MATLAB_class"] = np.bytes_("double")
                sparse.attrs["MATLAB_sparse"] = np.uint64(value.shape[0])
                sparse["jc"], sparse["ir"], sparse["data"] = value.indptr, value.indices, value.data
                return sparse
            else:
                stored = value.astype(np.uint8) if value.dtype == np.bool_ else value
                node = group.create_dataset(name, data=stored.T)
                node.attrs["MATLAB_class"] = np.bytes_(CLASSES[value.dtype.str[1:]])
            return node

        for name, value in variables.items():
            put(file, name, value)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(116))
        raw.seek(124)
        raw.write(b"\x00\x02IM")
    return path


def write5(path: Path, **variables: Any) -> Path:
    cells = {name: cell(value) if isinstance(value, list) else value for name, value in variables.items()}
    savemat(path, cells, do_compression=True)
    return path


def cell(value: list[Any]) -> np.ndarray:
    rows = value if value and isinstance(value[0], tuple) else [(one,) for one in value]
    out = np.empty((len(rows), len(rows[0])), object)
    for r, row in enumerate(rows):
        for c, one in enumerate(row):
            out[r, c] = cell(one) if isinstance(one, list) else one
    return out


WRITERS = [pytest.param(write5, id="v5"), pytest.param(write73, id="v7.3")]


@pytest.mark.parametrize("write", WRITERS)
@given(
    matrix=st.sampled_from(["f8", "f4", "u1", "i4"]).flatmap(
        lambda kind: arrays(kind, st.tuples(*[st.integers(1, 5)] * 2), elements={"min_value": 0, "max_value": 9})
    ),
    words=st.lists(st.text(st.characters(codec="utf-16-le", exclude_characters="\0")), min_size=2, max_size=5),
)
def test_what_is_written_comes_back(
    write: Any, matrix: np.ndarray, words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if write is write5:  # scipy writes only the basic plane
        words = [word.encode("utf-16-le", "replace").decode("utf-16-le") for word in words if word.isascii()] + ["a"]
    found = matlab.read(write(tmp_path_factory.mktemp("mat") / "x.mat", matrix=matrix, words=words))
    assert found.keys() == {"matrix", "words"}
    value = found["matrix"]
    assert not isinstance(value, list)
    np.testing.assert_array_equal(value[0 : len(value)], matrix)
    assert found["words"] == [word.rstrip(" ") for word in words]


def test_padding_of_char_matrices_goes(tmp_path: Path) -> None:
    names = ["/a/im1.jpg", "/a/im10.jpg", "", "/a/ü"]
    v5 = tmp_path / "v5.mat"
    savemat(v5, {"index": np.array(names), "pairs": np.array([["actor", "1.jpg"], ["zebra and", "10.jpg"]])})
    assert matlab.read(v5)["index"] == names
    assert matlab.read(v5)["pairs"] == [["actor", "1.jpg"], ["zebra and", "10.jpg"]]

    codes = np.array([[ord(letter) for letter in name.ljust(12)] for name in names], "<u2")
    v73 = write73(tmp_path / "v73.mat", x=np.zeros((1, 1)))
    with h5py.File(v73, "r+") as file:
        file.create_dataset("index", data=codes.T).attrs["MATLAB_class"] = np.bytes_("char")
    assert matlab.read(v73)["index"] == names


@pytest.mark.parametrize("write", WRITERS)
def test_caption_lists_of_any_length(write: Any, tmp_path: Path) -> None:
    ragged = [["a dog", "a brown dog "], ["a cat"], ["x", "y", "z"]]
    assert matlab.read(write(tmp_path / "a.mat", caption=ragged))["caption"] == [
        ["a dog", "a brown dog"],
        ["a cat"],
        ["x", "y", "z"],
    ]
    table = [("actor", "0001.jpg"), ("zebra", "02.jpg")]
    assert matlab.read(write(tmp_path / "b.mat", imgs=table))["imgs"] == [["actor", "0001.jpg"], ["zebra", "02.jpg"]]
    blanks = ["sky", "", "sea"]
    assert matlab.read(write(tmp_path / "c.mat", tags=blanks))["tags"] == blanks


def test_both_shapes_that_scipy_gives_to_the_same_captions(tmp_path: Path) -> None:
    """What the field's scripts do: savemat of a list of lists, ragged or not."""
    path = tmp_path / "caption.mat"
    ragged = np.empty(2, object)
    ragged[:] = [np.array(["one", "two  "]), np.array(["three"])]
    savemat(path, {"caption": ragged})
    assert matlab.read(path)["caption"] == [["one", "two"], ["three"]]
    savemat(path, {"caption": [["one", "two"], ["three", "four"]]})
    assert matlab.read(path)["caption"] == [["one", "two"], ["three", "four"]]


@pytest.mark.parametrize("write", WRITERS)
def test_sparse_is_read_by_rows(write: Any, tmp_path: Path) -> None:
    dense = np.zeros((7, 5))
    dense[[0, 3, 3, 6], [4, 0, 2, 1]] = [1, 2, 3, 4]
    value = matlab.read(write(tmp_path / "s.mat", tags=csc_array(dense)))["tags"]
    assert isinstance(value, matlab.Sparse)
    assert value.shape == (7, 5) and len(value) == 7 and value.dtype == np.float64
    np.testing.assert_array_equal(value[2:7], dense[2:7])
    np.testing.assert_array_equal(value.transpose((1, 0))[1:3], dense.T[1:3])


def test_large_arrays_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3, 9), np.uint8)
    path = write73(tmp_path / "big.mat", images=pixels)
    monkeypatch.setattr(matlab, "LARGE", 1)
    value = matlab.read(path)["images"]
    assert isinstance(value, matlab.Stored)
    assert value.shape == (4, 6, 3, 9) and value.dtype == np.uint8
    turned = value.transpose((3, 0, 1, 2))
    expected = pixels.transpose((3, 0, 1, 2))
    for rows in (slice(0, 4), slice(7, 20), slice(5, 5), slice(None)):
        np.testing.assert_array_equal(turned[rows], expected[rows])
    np.testing.assert_array_equal(turned.transpose((1, 2, 3, 0))[1:3], pixels[1:3])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"big\.mat.*damaged"):
        turned[0:1]


def test_a_slice_reads_its_rows_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,015 pictures of 3 x 224 x 224 are 3 GB; here they are a file without content, and one block is read."""
    path = write73(tmp_path / "flickr.mat", LAll=np.zeros((1, 1)))
    with h5py.File(path, "r+") as file:
        node = file.create_dataset("images", (20015, 3, 224, 224), np.uint8, chunks=(1, 3, 224, 224), fillvalue=7)
        node.attrs["MATLAB_class"] = np.bytes_("uint8")
    value = matlab.read(path)["images"]
    assert isinstance(value, matlab.Stored) and value.shape == (224, 224, 3, 20015)
    block = value.transpose((3, 0, 1, 2))[20000:20015]
    assert block.shape == (15, 224, 224, 3) and (block == 7).all()


def test_plain_hdf5_keeps_its_axes(tmp_path: Path) -> None:
    path = tmp_path / "coco.h5py"
    with h5py.File(path, "w") as file:
        file["XAll"] = np.arange(6).reshape(2, 3)
        file["names"] = ["one", "two"]
    found = matlab.read(path)
    np.testing.assert_array_equal(found["XAll"], [[0, 1, 2], [3, 4, 5]])  # type: ignore[arg-type]
    assert found["names"] == ["one", "two"]


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=np.eye(3), ids=np.array(["a", "b ", "c"]), raw=np.array([b"x", b"y"]))
    found = matlab.read(path)
    np.testing.assert_array_equal(found["image"], np.eye(3))  # type: ignore[arg-type]
    assert found["ids"] == ["a", "b", "c"] and found["raw"] == ["x", "y"]


class Trap:
    """Unpickling it would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import sys; sys.hashbench_was_here = True",)


def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=np.eye(3), trap=np.array([Trap()], object))
    with pytest.raises(DataError, match=r"x\.npz: trap: .*could run code"):
        matlab.read(path)
    assert not hasattr(sys, "hashbench_was_here")


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_neither_numbers_nor_text_fails_only_when_asked_for(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "nus.mat"
    if write is write5:
        savemat(path, {"param": {"indexTest": np.arange(3)}, "LAll": np.eye(2)})
    else:
        write73(path, LAll=np.eye(2))
        with h5py.File(path, "r+") as file:
            file["param/indexTest"] = np.arange(3)
    found = matlab.read(path)
    np.testing.assert_array_equal(found["LAll"], np.eye(2))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="param: expected numbers or text"):
        found["param"]


def test_without_h5py_the_command_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write73(tmp_path / "x.mat", LAll=np.eye(2))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'hashbench\[mat\]'"):
        matlab.read(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"MATLAB 5.0 MAT-file".ljust(200), "a file that begins with"),
        (b"MATLAB 7.3 MAT-file".ljust(2000), "a damaged"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "a damaged"),
        (b"PK\x03\x04" + bytes(100), "a damaged"),
        (b"\x93NUMPY", "a file that begins with"),
    ],
)
def test_files_that_are_something_else(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.mat: expected .* found {found}"):
        matlab.read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mat: expected .*No such file"):
        matlab.read(tmp_path / "none.mat")


def _whole_files(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    variables = {"LAll": rng.integers(0, 2, (40, 5)).astype("f8"), "names": [f"im{i}" for i in range(40)]}
    np.savez_compressed(folder / "x.npz", **{name: np.asarray(value) for name, value in variables.items()})
    return [write5(folder / "v5.mat", **variables), write73(folder / "v73.mat", **variables), folder / "x.npz"]


def _told(path: Path) -> str | None:
    """The message of the one error that reading everything may raise."""
    try:
        for value in matlab.read(path).values():
            if not isinstance(value, list):
                value[0 : len(value)]
    except DataError as error:
        return str(error)
    return None


@given(share=st.floats(0, 0.97), which=st.integers(0, 2))
def test_a_cut_file_is_never_taken_for_whole(
    share: float, which: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = _whole_files(tmp_path_factory.mktemp("cut"))[which]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    told = _told(path)
    if told is None:  # v5 has no end mark: a cut between two variables cannot be seen
        assert which == 0 and set(matlab.read(path)) < {"LAll", "names"}
    else:
        assert path.name in told and "\n" not in told


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), which=st.sampled_from([0, 2]))
def test_a_flipped_bit_raises_nothing_but_data_error(
    at: float, bit: int, which: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = _whole_files(tmp_path_factory.mktemp("flip"))[which]
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    path.write_bytes(content)
    told = _told(path)
    assert told is None or (path.name in told and "\n" not in told)
