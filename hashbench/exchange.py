"""Codes in files, as the field passes them on: reading them, measuring them, writing ours.

The one format that toolkits share is a .mat file with ``q_img q_txt r_img r_txt`` (codes of the query and of the
retrieval set, called database here) and ``q_l r_l`` (their labels). It is read from .mat, .npz and .safetensors,
and written to all three. What an application searches is written as a binary index of FAISS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hashbench import checksum, measuring, retrieval, store
from hashbench.config import did_you_mean, digest
from hashbench.dataset import Dataset, Index
from hashbench.errors import DataError, UsageError
from hashbench.files import replacing
from hashbench.labelled import AS_GIVEN, LabelledItems, block_of
from hashbench.paths import results_dir
from hashbench.retrieval import PackedCodes
from hashbench.spec import Spec
from hashbench.store import CODES_DIGEST, Record, Store

Items = Literal["rows", "columns"]

CODE_KEYS = {
    "q_img": "query/image", "q_txt": "query/text", "r_img": "database/image", "r_txt": "database/text",
    "Qi": "query/image", "Qt": "query/text", "Di": "database/image", "Dt": "database/text",
}  # fmt: skip
"""DCHMT, QinLab and the other CLIP toolkits; SSAH. For any other view: ``q_audio``, ``r_audio``."""

LABEL_KEYS = {
    "q_l": "query", "r_l": "database", "queryL": "query", "retrievalL": "database",
    "query_L": "query", "retrieval_L": "database", "testL": "query", "databaseL": "database",
    "L_te": "query", "L_db": "database",
}  # fmt: skip
"""The same toolkits; the DCMH family; DLFH and UCCH; BMC. For one view of other items: ``q_l_audio``, ``r_l_audio``."""

SIDES = {"q": "query", "r": "database"}
SHORT = {"image": "img", "text": "txt"}


@dataclass(frozen=True, kw_only=True, eq=False)
class CodesFile:
    """Codes and labels of a file, checked against each other."""

    codes: Mapping[str, PackedCodes]
    """``side/view`` such as ``query/image``; all have the same number of bits."""
    labels: Mapping[str, NDArray[np.uint8]]
    """(n, c) of 0 and 1, under the names that :class:`hashbench.labelled.LabelledItems` describes."""
    warnings: tuple[str, ...]

    @property
    def bits(self) -> int:
        return next(iter(self.codes.values())).bits


@dataclass(frozen=True, eq=False)
class _Array:
    """An array under its name in the file."""

    key: str
    values: NDArray[Any]

    @property
    def shape(self) -> str:
        return f"{self.key} {self.values.shape}"


def read_codes(
    path: Path, *, labels: Path | None = None, binarise: bool = False, items: Items | None = None
) -> CodesFile:
    """Read codes and labels from .mat (v5, v7.3), .npz or .safetensors.

    Codes are -1/+1, 0/1 or bool, and packed ones where the file is the ``codes.safetensors`` of a record. Zeros
    among -1/+1, which sign(0) leaves, count as +1 and are told. Labels are multi-hot 0/1 or -1/+1, or one column
    of class numbers.

    Args:
        path: The file.
        labels: Another file whose labels are taken instead.
        binarise: Take the sign of real values; 0 counts as +1.
        items: Whether items are ``rows`` (n, k) or ``columns`` (k, n). By default whatever lets the numbers of
            items, bits and classes agree everywhere; needed only where both do.

    Raises:
        DataError: a file that cannot be read, nothing that is known, or arrays that do not fit together.
    """
    found = _arrays(path)
    codes = _named(path, found, _code_part)
    if not codes:
        raise DataError(
            f"{path}: expected codes as q_img, q_txt, r_img, r_txt (or Qi, Qt, Di, Dt), found {_listed(found)}"
        )
    views = {side: {part.partition("/")[2] for part in codes if part.startswith(side)} for side in SIDES.values()}
    if not any(asked != searched for asked, searched in product(*views.values())):
        raise DataError(f"{path}: expected query codes of one view and database codes of another, found "
                        f"{', '.join(array.key for array in codes.values())}")  # fmt: skip
    source = labels or path
    offered = _arrays(labels) if labels else found
    given = _named(source, offered, _label_block)
    for part, array in codes.items():
        if block_of(given, part) not in given:
            raise DataError(
                f"{source}: no labels for {array.key}: expected q_l and r_l (or queryL and retrievalL), found "
                f"{_listed(offered)}" + ("" if labels else "; name a file that has them with --labels")
            )
    given = {block: given[block] for block in dict.fromkeys(block_of(given, part) for part in codes)}
    for where, arrays in ((path, codes), (source, given)):
        for array in arrays.values():
            _check_numbers(where, array)
    codes, given = _oriented(path, codes, given, items)
    packed, warnings = _packed(path, codes, binarise)
    return CodesFile(codes=packed, labels=_multi_hot(source, given), warnings=tuple(warnings))


def score(
    path: Path,
    *,
    name: str | None = None,
    dataset: str = LabelledItems.name,
    seed: int = 0,
    cutoffs: Iterable[int] = (),
    labels: Path | None = None,
    binarise: bool = False,
    items: Items | None = None,
    results: Path | None = None,
) -> Record:
    """Measure codes that were made elsewhere, and keep the record like that of any run.

    Args:
        path: See :func:`read_codes`, also for ``labels``, ``binarise`` and ``items``.
        name: What to call the method; the file's name where None.
        dataset: What to call the data set in tables. The numbers are measured on the labels of the file.
        seed: Of the run that made the codes: several are summed up like seeds of a run.
        cutoffs: Ranks of the metrics at K besides the usual ones.
        results: Folder of the records; ``results`` or HASHBENCH_RESULTS where None.

    Raises:
        UsageError: a name that cannot be that of a folder, or a cut-off below 1.
        DataError: see :func:`read_codes`.
    """
    method = _safe("--name", name) if name is not None else _cleaned(path.stem)
    _safe("--dataset", dataset)
    records = Store(results or results_dir())
    records.check_writable()
    file = read_codes(path, labels=labels, binarise=binarise, items=items)
    measured_on = LabelledItems(file.labels, file.codes)
    evaluations = measuring.evaluate_codes(measured_on, file.codes, cutoffs)
    digests = {part: retrieval.digest(packed) for part, packed in file.codes.items()}
    views = measuring.in_order(part.partition("/")[2] for part in file.codes)
    record = Record(
        spec=Spec(
            method=method,
            method_version=0,
            config={CODES_DIGEST: digest(digests)},
            dataset=dataset,
            dataset_revision=measured_on.revision,
            protocol=AS_GIVEN.id,
            split=measured_on.split_digest,
            views=dict.fromkeys(views, "external - codes-from-a-file"),
            bits=file.bits,
            seed=seed,
        ),
        status="done",
        rules=vars(AS_GIVEN),
        code_digests=digests,
        warnings=list(file.warnings),
        provenance={**store.provenance("none"), "file": path.name, "file_sha256": checksum.sha256(path)},
    )
    record = measuring.with_evaluations(record, measured_on, evaluations)
    records.save(
        record,
        {part: retrieval.to_bytes(packed) for part, packed in file.codes.items()},
        measuring.query_precisions(evaluations),
        [{"warning": warning} for warning in file.warnings],
        file.labels,
    )
    return record


def export(records: Store, record: Record, path: Path) -> dict[str, tuple[int, ...]]:
    """Write a run's test codes and their labels as the field does, to .mat, .npz or .safetensors by the name's end.

    Codes are int8 -1/+1 (n, k), labels uint8 (n, c). A view whose items are not those of the first one has its own
    labels, such as ``q_l_audio``. The order of items is the protocol's.

    Returns:
        The shape of everything written, by name.

    Raises:
        UsageError: another kind of file, or a run without codes.
        DataError: the data set is no longer what it was, the codes are damaged, or the file cannot be written.
    """
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"--out {path}: expected a name that ends in {', '.join(WRITERS)} or .faiss")
    dataset, codes = _codes_of(records, record)
    arrays: dict[str, NDArray[Any]] = {}
    for letter, side in SIDES.items():
        first: Index | None = None
        for view in measuring.in_order(part.partition("/")[2] for part in codes):
            packed, rows = codes.get(f"{side}/{view}"), measuring.rows_with(dataset, side, view)
            if packed is None or not len(packed):
                continue
            key = SHORT.get(view, view)
            if _code_part(f"{letter}_{key}") != f"{side}/{view}":
                raise DataError(f"run {record.key[:16]}: codes of a view {view!r} cannot be named in such a file")
            arrays[f"{letter}_{key}"] = retrieval.unpack(packed)
            if first is None:
                first = rows
                arrays[f"{letter}_l"] = dataset.labels[rows]
            elif not np.array_equal(rows, first):
                arrays[f"{letter}_l_{key}"] = dataset.labels[rows]
    try:
        with replacing(path) as partial:
            WRITERS[path.suffix.lower()](partial, arrays)
    except OSError as error:
        raise DataError(f"--out {path}: cannot be written: {error}") from error
    return {key: array.shape for key, array in arrays.items()}


def export_index(records: Store, record: Record, path: Path, view: str | None = None) -> tuple[str, int]:
    """Write the database codes of a view as a binary index of FAISS (``IndexBinaryIDMap`` over ``IndexBinaryFlat``).

    Ids are row numbers of the data set. Codes are whole bytes, the first bit the highest of the first byte; bits that
    are missing to the last one are 0, in queries as well.

    Args:
        records: Where the run is.
        record: The run.
        path: Where to write.
        view: Whose codes; the first view's where None.

    Returns:
        The view, and how many items are in the index.

    Raises:
        UsageError: a run without codes, or without such a view.
        DataError: FAISS is missing, the codes are damaged, or the file cannot be written.
    """
    dataset, codes = _codes_of(records, record)
    views = measuring.in_order(part.partition("/")[2] for part in codes if part.startswith("database/"))
    view = view or views[0]
    if view not in views:
        raise UsageError(f"--view {view!r}: no database codes of it. {did_you_mean(view, views)}")
    try:
        import faiss
    except ImportError as error:
        raise DataError(f"--out {path}: needs FAISS: pip install 'hashbench[faiss]'") from error
    stored = retrieval.to_bytes(codes[f"database/{view}"])
    index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(8 * stored.shape[1]))
    index.add_with_ids(stored, measuring.rows_with(dataset, "database", view))
    try:
        with replacing(path) as partial:
            partial.write_bytes(faiss.serialize_index_binary(index).tobytes())
    except OSError as error:
        raise DataError(f"--out {path}: cannot be written: {error}") from error
    return view, len(stored)


def _codes_of(records: Store, record: Record) -> tuple[Dataset, dict[str, PackedCodes]]:
    """A run's data and its codes, which it must have.

    Raises:
        UsageError: it is not done, or real-valued.
        DataError: the data set is no longer what it was, or the codes are damaged.
    """
    if record.status != "done":
        raise UsageError(f"run {record.key[:16]}: {record.status}, so that it has no codes: {record.reason}")
    dataset, codes = measuring.stored(records, record)
    packed = {part: each for part, each in codes.items() if isinstance(each, PackedCodes)}
    if len(packed) < len(codes):
        raise UsageError(f"run {record.key[:16]}: {record.spec.method} is real-valued and has no codes to export")
    return dataset, packed


# --- names --------------------------------------------------------------------------------------------------


def _code_part(key: str) -> str | None:
    """``q_img`` to ``query/image``; None for what are no codes."""
    if key in CODE_KEYS or _label_block(key):
        return CODE_KEYS.get(key)
    if found := re.fullmatch(r"([qr])_(\w+)", key):
        return f"{SIDES[found[1]]}/{found[2]}"
    return key if re.fullmatch(r"(query|database)/.+", key) else None


def _label_block(key: str) -> str | None:
    """``q_l`` to ``query``, ``q_l_img`` to ``query/image``; None for what are no labels."""
    if found := re.fullmatch(r"([qr])_l_(\w+)", key):
        long = {short: view for view, short in SHORT.items()}
        return f"{SIDES[found[1]]}/{long.get(found[2], found[2])}"
    return LABEL_KEYS.get(key)


def _named(path: Path, arrays: Mapping[str, Any], role: Callable[[str], str | None]) -> dict[str, _Array]:
    """The arrays that have a role, by role."""
    named: dict[str, _Array] = {}
    for key in arrays:
        if (part := role(key)) is None:
            continue
        if part in named:
            raise DataError(f"{path}: {named[part].key} and {key} are both the {part}; keep one of them")
        values = arrays[key]
        if isinstance(values, list):
            raise DataError(f"{path}: {key}: expected numbers, found text")
        named[part] = _Array(key, values if isinstance(values, np.ndarray) else values[:])
    return named


def _listed(arrays: Iterable[str]) -> str:
    return ", ".join(sorted(arrays)) or "nothing"


def _cleaned(stem: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "codes"


def _safe(flag: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise UsageError(f"{flag} {text!r}: expected letters, digits and . _ - as in {_cleaned(text)}")
    return text


# --- files --------------------------------------------------------------------------------------------------


def _arrays(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() != ".safetensors":
        from hashbench.data import matlab

        return matlab.read(path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            names, bits = file.keys(), (file.metadata() or {}).get("bits")
            arrays = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as safetensors ({error})") from error
    if bits is None:
        return arrays
    try:  # the codes of a record, packed
        return {name: retrieval.unpack(retrieval.from_bytes(packed, int(bits))) for name, packed in arrays.items()}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _write_mat(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from scipy.io import savemat
    from scipy.io.matlab import MatWriteError

    try:
        with path.open("wb") as file:
            savemat(file, dict(arrays), do_compression=True)
    except MatWriteError as error:
        raise DataError(f"a .mat file cannot hold these codes ({error}); write .npz or .safetensors") from error


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:  # a name would get another end
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    from safetensors.numpy import save

    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


WRITERS: dict[str, Callable[[Path, Mapping[str, NDArray[Any]]], None]] = {
    ".mat": _write_mat,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
}


# --- values -------------------------------------------------------------------------------------------------


def _check_numbers(path: Path, array: _Array) -> None:
    values = array.values
    if values.dtype.kind not in "biuf":
        raise DataError(f"{path}: {array.key}: expected numbers, found {values.dtype}")
    if values.ndim not in (1, 2) or values.size == 0:
        raise DataError(f"{path}: {array.key}: expected a matrix with at least one number, found {values.shape}")
    _refuse(path, array, ~np.isfinite(values), "finite numbers")


def _oriented(
    path: Path, codes: Mapping[str, _Array], labels: Mapping[str, _Array], items: Items | None
) -> tuple[dict[str, _Array], dict[str, _Array]]:
    """Codes (n, k) and labels (n, c): MATLAB's users write some transposed, and one file writes its codes one way."""
    turns = {None: (False, True), "rows": (False,), "columns": (True,)}[items]
    fits, misfits = [], []
    for turn_codes, turn_labels in product(turns, repeat=2):
        turned = _turned(codes, turn_codes), _turned(labels, turn_labels)
        misfit = _misfits(*turned)
        misfits.append(misfit)
        if not misfit:
            fits.append(turned)
    shapes = ", ".join(array.shape for array in (*codes.values(), *labels.values()))
    if len(fits) > 1:
        raise DataError(
            f"{path}: items may be rows or columns of {shapes}; say which with --items rows or --items columns"
        )
    if not fits:
        raise DataError(f"{path}: {min(misfits, key=len)[0]}; found {shapes}")
    return fits[0]


def _turned(arrays: Mapping[str, _Array], turn: bool) -> dict[str, _Array]:
    matrices = {part: array.values.reshape(len(array.values), -1) for part, array in arrays.items()}
    return {part: _Array(arrays[part].key, values.T if turn else values) for part, values in matrices.items()}


def _misfits(codes: Mapping[str, _Array], labels: Mapping[str, _Array]) -> list[str]:
    """Everything in which codes (n, k) and labels (n, c) disagree, one line each."""
    found = []
    for part, array in codes.items():
        own = labels[block_of(labels, part)]
        if len(array.values) != len(own.values):
            found.append(f"{array.key} has codes of {len(array.values)} items, {own.key} labels of {len(own.values)}")
    for what, arrays in (("bits", codes), ("classes", labels)):
        first, *others = arrays.values()
        found += [
            f"{first.key} has {first.values.shape[1]} {what}, {other.key} has {other.values.shape[1]}"
            for other in others
            if other.values.shape[1] != first.values.shape[1]
        ]
    return found


def _packed(path: Path, codes: Mapping[str, _Array], binarise: bool) -> tuple[dict[str, PackedCodes], list[str]]:
    """Codes by part, and what had to be decided about their zeros."""
    real = {part: array for part, array in codes.items() if not np.isin(array.values, (-1, 0, 1)).all()}
    signed = [part for part, array in codes.items() if array.values.dtype.kind != "b" and (array.values < 0).any()]
    if real and not binarise:
        array = next(iter(real.values()))
        _refuse(path, array, ~np.isin(array.values, (-1, 0, 1)), "-1 and +1, or 0 and 1",
                "; --binarise takes the sign")  # fmt: skip
    if real and not signed:
        raise DataError(
            f"{path}: --binarise takes the sign, and no value is below 0; subtract the threshold from them first"
        )
    packed: dict[str, PackedCodes] = {}
    warnings = []
    for part, array in codes.items():
        values = array.values
        if values.dtype.kind == "b" or not signed:
            packed[part] = retrieval.pack(values == 1)
            continue
        zeros = int(np.count_nonzero(values == 0))
        if zeros and part not in signed and part not in real and (values == 1).any():
            raise DataError(
                f"{path}: {array.key} holds 0 and 1, {codes[signed[0]].key} holds -1 and +1; write all one way"
            )
        if zeros:
            warnings.append(f"{array.key}: {zeros} of {values.size} values are 0, as sign(0) leaves them: taken as +1")
        packed[part] = retrieval.pack(values >= 0)
    return packed, warnings


def _multi_hot(path: Path, labels: Mapping[str, _Array]) -> dict[str, NDArray[np.uint8]]:
    """Labels (n, c) of 0 and 1."""
    if next(iter(labels.values())).values.shape[1] == 1:
        for array in labels.values():
            _refuse(path, array, (array.values < 0) | (array.values % 1 != 0), "class numbers from 0 on")
        classes = np.unique(np.concatenate([array.values for array in labels.values()]))
        return {block: (array.values == classes).astype(np.uint8) for block, array in labels.items()}
    off = -1 if any(array.values.dtype.kind != "b" and (array.values < 0).any() for array in labels.values()) else 0
    for array in labels.values():
        _refuse(path, array, ~np.isin(array.values, (off, 1)), f"labels of {off} and 1")
    return {block: (array.values == 1).astype(np.uint8) for block, array in labels.items()}


def _refuse(path: Path, array: _Array, wrong: NDArray[np.bool_], expected: str, advice: str = "") -> None:
    """Raises DataError with the first place where ``wrong`` is true."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = ", ".join(f"{name} {i}" for name, i in zip(("row", "column"), place, strict=False))
        raise DataError(f"{path}: {array.key}: expected {expected}, found {array.values[place]} in {where}{advice}")
