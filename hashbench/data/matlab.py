"""Files of named arrays as the field passes them around: MATLAB .mat (v5 and v7.3), plain HDF5 and .npz.

Whatever the kind, the same content comes back the same: numbers in MATLAB's orientation, strings without padding.
Nothing in a file is ever executed: .npz members that need pickle are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from hashbench.data.table import Numbers
from hashbench.errors import DataError

LARGE = 1 << 28
"""Bytes from which on a stored array stays in its file and is read by blocks of rows."""

KINDS = "a MATLAB .mat file (v5 or v7.3), an HDF5 file or a .npz file"
HDF5 = b"\x89HDF\r\n\x1a\n"
NUMERIC = "biuf"
"""numpy's letters for truth values and real numbers."""
NOT_VARIABLES = ("__", "#")
"""How names begin that are a file's own: ``__header__`` of scipy, ``#refs#`` of MATLAB 7.3."""


class Array(Numbers, Protocol):
    """Numbers whose axes can be put in another order without reading them."""

    def transpose(self, axes: tuple[int, ...], /) -> Array: ...


Value = Array | list[str] | list[list[str]]


@dataclass(frozen=True)
class Sparse:
    """A scipy sparse matrix that is made dense one block of rows at a time."""

    rows: Any
    """In CSR form."""

    @property
    def shape(self) -> tuple[int, ...]:
        return cast("tuple[int, ...]", self.rows.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return cast("np.dtype[Any]", self.rows.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        return cast("NDArray[Any]", self.rows[rows].toarray())

    def transpose(self, axes: tuple[int, ...], /) -> Self:
        return self if axes == (0, 1) else type(self)(self.rows.T.tocsr())


@dataclass(frozen=True)
class Stored:
    """An array that stays in its HDF5 file; a slice reads those rows and nothing else."""

    path: Path
    key: str
    stored_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[int, ...]
    """Which stored axis each axis is."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored_shape[axis] for axis in self.axes)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows are read in order, not by steps of {step}")
        region = [slice(None)] * len(self.axes)
        region[self.axes[0]] = slice(start, max(start, stop))
        with _failing_clearly(self.path, KINDS), _h5py(self.path).File(self.path, "r") as file:
            return np.asarray(file[self.key][tuple(region)]).transpose(self.axes)

    def transpose(self, axes: tuple[int, ...], /) -> Stored:
        return Stored(self.path, self.key, self.stored_shape, self.dtype, tuple(self.axes[axis] for axis in axes))


class Variables(Mapping[str, Value]):
    """What a file holds, by name. A variable of a kind that is neither numbers nor text fails when it is asked for."""

    def __init__(self, path: Path, values: Mapping[str, Value | None]) -> None:
        self._path = path
        self._values = values

    def __getitem__(self, key: str) -> Value:
        value = self._values[key]
        if value is None:
            raise DataError(
                f"{self._path}: {key}: expected numbers or text, found another kind of MATLAB variable; "
                "save it again as a numeric matrix, a char matrix or a cell array of strings"
            )
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read(path: Path) -> Variables:
    """The variables of a file, as MATLAB would show them.

    Numbers come as an :class:`Array`: a numpy array; :class:`Sparse` where the file has a sparse matrix;
    :class:`Stored` where a v7.3 or HDF5 array takes :data:`LARGE` bytes or more. v7.3 stores axes reversed, and they
    are turned back; plain HDF5 (no MATLAB header) is left as it is. Char matrices, vectors of strings and cell arrays
    of strings come as ``list[str]`` with the padding on the right gone; string matrices, and cells of several
    strings, as ``list[list[str]]``, one inner list a row or a cell.

    Raises:
        DataError: the file is missing, of another kind, damaged, needs pickle, or needs h5py where that is missing.
    """
    head = _head(path)
    readers: tuple[tuple[bool, str, Callable[[Path], dict[str, Value | None]]], ...] = (
        (head.startswith(b"PK\x03\x04"), "a .npz file without pickled objects", _read_npz),
        (head.startswith(b"MATLAB 7.3"), "a MATLAB v7.3 file", lambda path: _read_hdf5(path, reverse=True)),
        (head.startswith(HDF5), "an HDF5 file", lambda path: _read_hdf5(path, reverse=False)),
        (head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"), "a MATLAB v5 file", _read_v5),
    )
    for fits, kind, reader in readers:
        if fits:
            with _failing_clearly(path, kind):
                return Variables(path, reader(path))
    raise DataError(f"{path}: expected {KINDS}, found {_what_it_is(head)}; get it again from where it came from")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: expected {KINDS}, found none to read ({reason}); check the path") from None


def _what_it_is(head: bytes) -> str:
    if not head:
        return "an empty file"
    if head.lstrip().startswith(b"<"):
        return "a web page (the download gave a page, not the file)"
    return f"a file that begins with {head[:16]!r}"


@contextmanager
def _failing_clearly(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise anything at all
        found = " ".join(str(error).split()) or "nothing more"
        raise DataError(
            f"{path}: expected {kind}, found a damaged or unreadable one ({type(error).__name__}: {found[:200]}); "
            "get it again and compare its size with the source"
        ) from error


def _read_v5(path: Path) -> dict[str, Value | None]:
    from scipy.io import loadmat

    return {key: _from_numpy(value) for key, value in loadmat(path).items() if not key.startswith(NOT_VARIABLES)}


def _read_npz(path: Path) -> dict[str, Value | None]:
    with np.load(path, allow_pickle=False) as members:
        return {key: _from_numpy(_member(path, members, key)) for key in members.files}


def _member(path: Path, members: Any, key: str) -> NDArray[Any]:
    try:
        return cast("NDArray[Any]", members[key])
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: {key}: expected numbers or strings, found Python objects, whose reading could run code; "
            "save it again with a numeric or a string dtype"
        ) from None


def _from_numpy(value: Any) -> Value | None:
    """What scipy and numpy return for one variable, in our form; None where it is neither numbers nor text."""
    if not isinstance(value, np.ndarray):
        return Sparse(value.tocsr()) if hasattr(value, "tocsr") else None
    if value.dtype.kind in NUMERIC:
        return value
    if value.dtype.kind in "US" and value.ndim <= 2:
        return _strings(value)
    if value.dtype.kind == "O" and value.ndim <= 2:
        return _cells([[_from_numpy(cell) for cell in row] for row in _as_rows(value)])
    return None


def _as_rows(array: NDArray[Any]) -> NDArray[Any]:
    """Vectors, whichever way they lie, as one column; matrices as they are."""
    return array.reshape(-1, 1) if array.ndim != 2 or 1 in array.shape else array


def _strings(array: NDArray[Any]) -> list[str] | list[list[str]]:
    rows = [[_text(word) for word in row] for row in _as_rows(array).tolist()]
    return [word for row in rows for word in row] if all(len(row) == 1 for row in rows) else rows


def _text(word: str | bytes) -> str:
    return (word.decode("utf-8") if isinstance(word, bytes) else word).rstrip(" \0")


def _cells(rows: list[list[Value | None]]) -> list[str] | list[list[str]] | None:
    """A cell array: of strings (one a cell), or of lists of strings (one list a cell, or one a row)."""
    lists: list[list[list[str]]] = []
    for row in rows:
        words = [_words(cell) for cell in row]
        if any(word is None for word in words):
            return None
        lists.append([word for word in words if word is not None])
    if all(len(cell) <= 1 for row in lists for cell in row):
        flat = [["".join(cell) for cell in row] for row in lists]
        return [row[0] for row in flat] if all(len(row) == 1 for row in flat) else flat
    if all(len(row) == 1 for row in lists):
        return [row[0] for row in lists]
    return None


def _words(cell: Value | None) -> list[str] | None:
    """The strings of one cell; an empty one, of whatever type, has none."""
    if cell is None:
        return None
    if not isinstance(cell, list):
        return [] if 0 in cell.shape else None
    return [word for part in cell for word in (part if isinstance(part, list) else [part])]


def _h5py(path: Path) -> Any:
    try:
        return import_module("h5py")
    except ImportError:
        raise DataError(
            f"{path}: expected h5py, which reads MATLAB v7.3 and HDF5, found none; pip install 'hashbench[mat]'"
        ) from None


def _read_hdf5(path: Path, *, reverse: bool) -> dict[str, Value | None]:
    h5py = _h5py(path)

    def value(key: str, node: Any) -> Value | None:
        if not isinstance(node, h5py.Dataset):  # a group: a sparse matrix, or a struct
            return _sparse(node) if "MATLAB_sparse" in node.attrs else None
        if "MATLAB_object_decode" in node.attrs:  # an object of a MATLAB class: its numbers mean nothing here
            return None
        kind = node.attrs.get("MATLAB_class", b"")
        axes = tuple(reversed(range(node.ndim))) if reverse else tuple(range(node.ndim))
        if "MATLAB_empty" in node.attrs:  # what is stored is the shape
            return [] if kind in (b"char", b"cell") else np.zeros(tuple(int(size) for size in node[()]))
        if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
            references = _as_rows(np.asarray(node[()]).transpose(axes))
            return _cells([[value(key, node.file[one]) for one in row] for row in references])
        if h5py.check_string_dtype(node.dtype):
            return _from_numpy(np.asarray(node.asstr()[()], np.str_).transpose(axes))
        if kind == b"char":
            return _chars(np.asarray(node[()]).transpose(axes))
        if node.dtype.kind not in NUMERIC:
            return None
        if node.nbytes >= LARGE:
            return Stored(path, key, tuple(node.shape), node.dtype, axes)
        return np.asarray(node[()]).transpose(axes)

    with h5py.File(path, "r") as file:
        return {key: value(key, node) for key, node in file.items() if not key.startswith(NOT_VARIABLES)}


def _chars(codes: NDArray[Any]) -> list[str] | list[list[str]]:
    """Strings from UTF-16 code units, (..., length) in MATLAB's orientation."""
    units = np.ascontiguousarray(codes, "<u2")
    flat = units.reshape(-1, units.shape[-1])
    words = [row.tobytes().decode("utf-16-le", errors="replace") for row in flat]
    return _strings(np.array(words, np.str_).reshape(units.shape[:-1]))


def _sparse(group: Any) -> Sparse:
    """MATLAB keeps a sparse matrix by columns: values, row numbers, and where each column begins."""
    from scipy.sparse import csc_array

    starts = np.asarray(group["jc"][()])
    stored = "data" in group  # a matrix of zeros has no values
    values = np.asarray(group["data"][()]) if stored else np.zeros(0)
    rows = np.asarray(group["ir"][()]) if stored else np.zeros(0, np.int64)
    shape = (int(group.attrs["MATLAB_sparse"]), len(starts) - 1)
    return Sparse(csc_array((values, rows, starts), shape=shape).tocsr())
