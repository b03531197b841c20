"""Codes in files: one content in any dress is one content, and what goes out comes back with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from hashbench import exchange, retrieval
from hashbench.data import catalogue
from hashbench.dataset import Dataset, Rules, Source, Split
from hashbench.errors import DataError, UsageError
from hashbench.measuring import evaluate_again, evaluate_codes, rows_with, stored, with_evaluations
from hashbench.retrieval import PackedCodes
from hashbench.spec import Spec
from hashbench.store import Record, Store, telling

Arrays = dict[str, np.ndarray]
SHAPES = {"query": 7, "database": 23}
BITS, CLASSES = 12, 4


def content(seed: int = 0, bits: int = BITS, classes: int = CLASSES) -> Arrays:
    """A file as the CLI toolkits write it: -1/+1 codes (n, k) and 0/1 labels (n, c)."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for letter, n in zip("qr", SHAPES.values(), strict=True):
        arrays |= {f"{letter}_{view}": rng.choice([-1.0, 1.0], (n, bits)) for view in ("img", "txt")}
        arrays[f"{letter}_l"] = (rng.random((n, classes)) < 0.4).astype(np.float64)
    return arrays


def write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """As MATLAB writes v7.3: its header in front, axes reversed."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, values in arrays.items():
            file[key] = values.T.astype(np.uint8) if values.dtype == bool else values.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


WRITE: dict[str, tuple[str, Callable[[Path, Any], None]]] = {
    "v5": (".mat", savemat),
    "v7.3": (".mat", write_hdf5),
    "npz": (".npz", lambda path, arrays: np.savez(path, **arrays)),
    "safetensors": (
        ".safetensors",
        lambda path, arrays: save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path),
    ),
}


def written(folder: Path, arrays: Mapping[str, np.ndarray], kind: str = "v5", name: str = "codes") -> Path:
    suffix, write = WRITE[kind]
    path = folder / f"{name}{suffix}"
    write(path, dict(arrays))
    return path


def same(found: exchange.CodesFile, expected: exchange.CodesFile) -> bool:
    return (
        {part: retrieval.digest(codes) for part, codes in found.codes.items()}
        == {part: retrieval.digest(codes) for part, codes in expected.codes.items()}
        and found.labels.keys() == expected.labels.keys()
        and all(np.array_equal(found.labels[block], rows) for block, rows in expected.labels.items())
    )


# --- reading ------------------------------------------------------------------------------------------------

CODED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "int8": lambda a: a.astype(np.int8),
    "float64": lambda a: a,
    "float32": lambda a: a.astype(np.float32),
    "0/1": lambda a: (a > 0).astype(np.uint8),
    "0.0/1.0": lambda a: (a > 0).astype(np.float64),
    "bool": lambda a: a > 0,
}
LABELLED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uint8": lambda a: a.astype(np.uint8),
    "bool": lambda a: a > 0,
    "-1/+1": lambda a: (2 * a - 1).astype(np.int16),
}
FAMILIES: dict[str, dict[str, str]] = {
    "CLIP toolkits": {},
    "SSAH with DCMH's labels": {"q_img": "Qi", "q_txt": "Qt", "r_img": "Di", "r_txt": "Dt", "q_l": "queryL",
                                "r_l": "retrievalL"},
    "DLFH's labels": {"q_l": "testL", "r_l": "databaseL"},
    "BMC's labels": {"q_l": "L_te", "r_l": "L_db"},
}  # fmt: skip


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(WRITE)),
    coded=st.sampled_from(sorted(CODED)),
    labelled=st.sampled_from(sorted(LABELLED)),
    family=st.sampled_from(sorted(FAMILIES)),
    turn_codes=st.booleans(),
    turn_labels=st.booleans(),
    seed=st.integers(0, 99),
)
def test_one_content_in_any_dress(
    tmp_path: Path, kind: str, coded: str, labelled: str, family: str, turn_codes: bool, turn_labels: bool, seed: int
) -> None:
    plain = content(seed)
    dressed = {}
    for key, values in plain.items():
        is_labels = key.endswith("_l")
        changed = (LABELLED[labelled] if is_labels else CODED[coded])(values)
        dressed[FAMILIES[family].get(key, key)] = changed.T if (turn_labels if is_labels else turn_codes) else changed
    found = exchange.read_codes(written(tmp_path, dressed, kind))
    assert found.warnings == () and found.bits == BITS
    for letter, side in (("q", "query"), ("r", "database")):
        for short, view in (("img", "image"), ("txt", "text")):
            assert np.array_equal(retrieval.unpack(found.codes[f"{side}/{view}"]), plain[f"{letter}_{short}"])
        assert np.array_equal(found.labels[side], plain[f"{letter}_l"])


def test_class_numbers_are_labels_too(tmp_path: Path) -> None:
    arrays = content()
    numbers = {"q_l": np.arange(7)[:, None] % 3 + 5, "r_l": np.arange(23) % 4 + 5}
    found = exchange.read_codes(written(tmp_path, arrays | numbers, "npz"))
    for letter, side in (("q", "query"), ("r", "database")):
        assert found.labels[side].tolist() == (numbers[f"{letter}_l"].reshape(-1, 1) == np.arange(5, 9)).tolist()


def test_sparse_labels_are_read(tmp_path: Path) -> None:
    arrays = content()
    sparse = {key: csc_array(arrays[key]) for key in ("q_l", "r_l")}
    expected = exchange.read_codes(written(tmp_path, arrays, name="dense"))
    assert same(exchange.read_codes(written(tmp_path, {**arrays, **sparse})), expected)


def test_labels_from_another_file(tmp_path: Path) -> None:
    arrays = content()
    codes = {key: values for key, values in arrays.items() if not key.endswith("_l")}
    ssah = {FAMILIES["SSAH with DCMH's labels"][key]: values for key, values in codes.items()}
    path = written(tmp_path, ssah, name="ssah")
    with pytest.raises(DataError, match=r"no labels for Qi.*--labels"):
        exchange.read_codes(path)
    labels = written(tmp_path, {"queryL": arrays["q_l"], "retrievalL": arrays["r_l"]}, name="labels")
    assert same(exchange.read_codes(path, labels=labels), exchange.read_codes(written(tmp_path, arrays)))


def test_zeros_of_sign_count_as_plus_one_and_are_told(tmp_path: Path) -> None:
    arrays = content()
    arrays["q_txt"][2, 3:6] = 0
    record = exchange.score(written(tmp_path, arrays), results=tmp_path / "results")
    assert record.warnings == ["q_txt: 3 of 84 values are 0, as sign(0) leaves them: taken as +1"]
    arrays["q_txt"][2, 3:6] = 1
    decided = exchange.score(written(tmp_path, arrays), results=tmp_path / "results")
    assert decided.code_digests == record.code_digests and decided.warnings == []


def test_real_values_are_refused_unless_their_sign_is_asked_for(tmp_path: Path) -> None:
    arrays = content()
    signs = exchange.read_codes(written(tmp_path, arrays, name="signs"))
    for key in ("q_img", "r_img", "r_txt"):
        arrays[key] = arrays[key] * np.linspace(0.1, 3, arrays[key].size).reshape(arrays[key].shape)
    path = written(tmp_path, arrays)
    with pytest.raises(DataError, match=r"q_img.*found -?0\.1 in row 0, column 0; --binarise"):
        exchange.read_codes(path)
    assert same(exchange.read_codes(path, binarise=True), signs)


def test_where_the_shapes_do_not_tell_the_user_must(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    square = {key: rng.choice([-1, 1], (6, 6)) for key in ("q_img", "q_txt", "r_img", "r_txt")}
    square |= {key: rng.integers(0, 2, (6, 6)) for key in ("q_l", "r_l")}
    path = written(tmp_path, square)
    with pytest.raises(DataError, match=r"rows or columns.*--items"):
        exchange.read_codes(path)
    for items, expected in (("rows", square["q_img"]), ("columns", square["q_img"].T)):
        found = exchange.read_codes(path, items=items)  # type: ignore[arg-type]
        assert np.array_equal(retrieval.unpack(found.codes["query/image"]), expected)


def test_equal_sides_and_square_codes_are_settled_by_the_other_side(tmp_path: Path) -> None:
    """As many queries as bits: only the database tells which axis is which."""
    arrays = content(bits=SHAPES["query"])
    found = exchange.read_codes(written(tmp_path, arrays))
    assert np.array_equal(retrieval.unpack(found.codes["query/image"]), arrays["q_img"])


def changed(**arrays: Any) -> Callable[[Arrays], Arrays]:
    return lambda given: {k: v for k, v in (given | arrays).items() if v is not None}


def edited(key: str, edit: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Arrays]:
    return lambda given: given | {key: edit(given[key])}


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def edit(values: np.ndarray) -> np.ndarray:
        values[2, 1] = value
        return values

    return edit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (edited("q_txt", lambda a: a[:-1]), r"q_txt has codes of 6 items, q_l labels of 7; found q_img \(7, 12\)"),
        (edited("r_l", lambda a: a[1:]), r"r_img has codes of 23 items, r_l labels of 22"),
        (edited("r_txt", lambda a: a[:, :8]), r"q_img has 12 bits, r_txt has 8"),
        (edited("r_l", lambda a: a[:, :3]), r"q_l has 4 classes, r_l has 3"),
        (edited("r_img", put(np.nan)), r"r_img: expected finite numbers, found nan in row 2, column 1"),
        (edited("r_img", put(np.inf)), r"r_img: expected finite numbers, found inf in row 2, column 1"),
        (edited("r_img", put(0.5)), r"r_img: expected -1 and \+1, or 0 and 1, found 0.5 in row 2, column 1"),
        (edited("r_img", put(255)), r"found 255.0 in row 2, column 1"),
        (edited("r_img", lambda a: (a > 0).astype(int)), r"r_img holds 0 and 1, q_img holds -1 and \+1"),
        (edited("q_l", put(2)), r"q_l: expected labels of 0 and 1, found 2.0 in row 2, column 1"),
        (edited("r_l", put(-1)), r"labels of -1 and 1, found 0.0 in row 0"),
        (edited("q_l", put(np.nan)), r"q_l: expected finite numbers, found nan"),
        (changed(q_l=np.full((7, 1), 0.5), r_l=np.ones((23, 1))), r"class numbers from 0 on, found 0.5 in row 0"),
        (changed(q_img=np.zeros((7, 0))), r"q_img: expected a matrix with at least one number, found \(7, 0\)"),
        (changed(q_img=np.zeros((0, 12)), q_txt=np.zeros((0, 12)), q_l=np.zeros((0, 4))), r"at least one number"),
        (changed(q_img=np.ones((7, 3, 4))), r"q_img: expected a matrix"),
        (changed(q_img=np.ones((7, 12), complex)), r"q_img: expected numbers"),
        (changed(q_img=np.array(["a", "b"])), r"q_img: expected numbers, found text"),
        (changed(Qi=np.ones((7, 12))), r"q_img and Qi are both the query/image"),
        (changed(q_l=None), r"no labels for q_img: expected q_l and r_l .*--labels"),
        (changed(q_txt=None, r_img=None, q_img=None), r"query codes of one view and database codes of another"),
        (changed(q_txt=None, r_txt=None), r"query codes of one view and database codes of another"),
        (changed(q_img=None, q_txt=None, r_img=None, r_txt=None), r"found q_l, r_l"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path: Path, change: Callable[[Arrays], Arrays], said: str) -> None:
    path = written(tmp_path, change(content()), "npz")
    with pytest.raises(DataError, match=said) as error:
        exchange.score(path, results=tmp_path / "results")
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    assert not list((tmp_path / "results").rglob("*.json"))


@pytest.mark.parametrize("name", ["none.mat", "none.npz", "none.safetensors", "cut.mat", "cut.npz", "cut.safetensors"])
def test_missing_and_damaged_files_are_data_errors(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("cut"):
        whole = written(tmp_path, content(), {".mat": "v5", ".npz": "npz"}.get(path.suffix, "safetensors"), "cut")
        whole.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(DataError) as error:
        exchange.read_codes(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_sigmoids_are_not_signed_in_silence(tmp_path: Path) -> None:
    arrays = content()
    arrays |= {key: (arrays[key] + 1.1) / 2.3 for key in ("q_img", "q_txt", "r_img", "r_txt")}
    with pytest.raises(DataError, match="no value is below 0"):
        exchange.read_codes(written(tmp_path, arrays), binarise=True)


# --- measuring ----------------------------------------------------------------------------------------------


def test_a_score_is_the_evaluation_of_the_file(tmp_path: Path) -> None:
    arrays = content()
    path = written(tmp_path, arrays, name="My Codes_64")
    record = exchange.score(path, cutoffs=[3, 5000], results=tmp_path / "results")
    assert record.spec.method == "my-codes_64" and record.spec.protocol == "as-given@1"
    assert record.spec.dataset == "codes" and record.counts["query"] == 7 and record.counts["database"] == 23
    assert "not known" in record.rules["split"] and record.provenance["file"] == path.name
    for task, asking, answering in (("image->text", "img", "txt"), ("text->image", "txt", "img")):
        expected = retrieval.evaluate(
            *(retrieval.pack(arrays[key]) for key in (f"q_{asking}", f"r_{answering}")), arrays["q_l"], arrays["r_l"],
            (3, 50, 100, 500, 1000, 5000),
        ).metrics  # fmt: skip
        assert record.metrics[task] == expected
    assert Store(tmp_path / "results").find(record.spec) == record


def test_what_decides_the_key(tmp_path: Path) -> None:
    def key(seed: int = 0, change: Callable[[Arrays], Arrays] = lambda a: a, kind: str = "v5", **options: Any) -> str:
        path = written(tmp_path, change(content(seed)), kind)
        return exchange.score(path, results=tmp_path / "results", **options).key

    assert key() == key(kind="npz") == key(cutoffs=[7])
    others = [
        key(seed=1), key(name="dcmh"), key(dataset="mirflickr25k"), key(change=edited("q_l", lambda a: 1 - a)),
        key(change=edited("q_img", lambda a: -a)),
    ]  # fmt: skip
    assert len({key(), *others}) == 6


def test_two_label_sets_never_share_a_table(tmp_path: Path) -> None:
    """Labels that only change sides are another revision or another split too."""
    plain, flipped = (
        exchange.score(written(tmp_path, arrays), results=tmp_path / "results").spec
        for arrays in (content(), content() | {"r_l": content()["r_l"][::-1]})
    )
    assert (plain.dataset_revision, plain.split) != (flipped.dataset_revision, flipped.split)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_names_that_are_no_folders_are_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, content())
    for option in ("name", "dataset"):
        with pytest.raises(UsageError, match=f"--{option}"):
            exchange.score(path, results=tmp_path / "results", **{option: name})  # type: ignore[arg-type]


def test_seeds_of_scored_codes_are_repetitions_and_equal_seeds_are_not(tmp_path: Path) -> None:
    arrays = [content(), content() | {"q_img": -content()["q_img"]}]
    paths = [written(tmp_path, each, name=f"codes{n}") for n, each in enumerate(arrays)]

    def records(seeds: Sequence[int]) -> list[Record]:
        return [exchange.score(path, name="m", seed=seed, results=tmp_path / "results")
                for path, seed in zip(paths, seeds, strict=True)]  # fmt: skip

    assert telling(records([0, 1])) == []
    assert telling(records([0, 0])) == ["key"]


def test_measuring_again_needs_the_record_alone_and_keeps_its_ranks(tmp_path: Path) -> None:
    path = written(tmp_path, content())
    record = exchange.score(path, dataset="pictograms", cutoffs=[3], results=tmp_path / "results")
    path.unlink()
    store = Store(tmp_path / "results")
    stale = {task: dict.fromkeys(metrics, 0.0) for task, metrics in record.metrics.items()}
    assert evaluate_again(store, replace(record, metrics=stale)) == record == store.find(record.spec)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_labels_of_a_record_that_are_gone_or_changed(tmp_path: Path, damage: str) -> None:
    record = exchange.score(written(tmp_path, content()), results=tmp_path / "results")
    store = Store(tmp_path / "results")
    file = store.folder(record.spec) / "labels.safetensors"
    labels = load_file(file)
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        save_file(labels | {"query": 1 - labels["query"]}, file)
    for use in (lambda: evaluate_again(store, record), lambda: exchange.export(store, record, tmp_path / "out.mat")):
        with pytest.raises(DataError):
            use()
    assert not (tmp_path / "out.mat").exists()


# --- writing ------------------------------------------------------------------------------------------------


class Mixed(Dataset):
    """Image and text are pairs on some items; others have only audio, others all three; order is mixed."""

    name = "mixed"
    licence = "made by this test"
    protocols: ClassVar = {"mixed@1": Rules(id="mixed@1", items="90", split="drawn", text="-", metric="map@20/hits")}

    def __init__(self, protocol: str | None = None, seed: int = 0) -> None:
        super().__init__(protocol)
        rng = np.random.default_rng(seed)
        self._labels = (rng.random((90, 5)) < 0.3).astype(np.uint8)
        self._kind = rng.integers(0, 3, 90)
        self._order = rng.permutation(90).astype(np.int64)

    @property
    def revision(self) -> str:
        return retrieval.digest(retrieval.pack(self._labels == 1))[:16]

    @property
    def ids(self) -> Sequence[str]:
        return [f"item {row}" for row in range(90)]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple("abcde")

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    @property
    def views(self) -> Mapping[str, Source]:
        return {}

    @property
    def split(self) -> Split:
        order = self._order
        return Split(query=order[:20], database=order[20:80], train=order[30:60], validation=order[80:])

    def present(self, view: str) -> np.ndarray:
        return self._kind > 0 if view == "audio" else self._kind != 1


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Record]:
    """A finished run on :class:`Mixed`, whose data set can be opened by its name."""
    monkeypatch.setattr(catalogue, "open_dataset", lambda name, protocol: {"mixed": Mixed}[name](protocol))
    dataset, rng = Mixed(), np.random.default_rng(1)
    codes = {}
    for side in ("query", "database", "validation"):
        rows = getattr(dataset.split, side)
        for view in ("audio", "image", "text"):
            codes[f"{side}/{view}"] = retrieval.pack(rng.random((dataset.present(view)[rows].sum(), BITS)) < 0.5)
    spec = Spec(
        method="m", method_version=1, config={}, dataset="mixed", dataset_revision=dataset.revision,
        protocol="mixed@1", split=dataset.split_digest, views=dict.fromkeys(("image", "text", "audio"), "x"),
        bits=BITS, seed=0,
    )  # fmt: skip
    digests = {part: retrieval.digest(packed) for part, packed in codes.items()}
    record = with_evaluations(
        Record(spec=spec, status="done", code_digests=digests), dataset, evaluate_codes(dataset, codes)
    )
    store = Store(tmp_path / "made")
    store.save(record, {part: retrieval.to_bytes(packed) for part, packed in codes.items()}, {}, [])
    return store, record


@pytest.mark.parametrize("suffix", sorted(exchange.WRITERS))
def test_what_goes_out_comes_back_with_the_same_numbers(
    mixed: tuple[Store, Record], tmp_path: Path, suffix: str
) -> None:
    store, record = mixed
    path = tmp_path / "deep" / f"out{suffix}"
    shapes = exchange.export(store, record, path)
    assert {"q_img", "q_txt", "q_audio", "q_l", "q_l_audio", "r_l_audio"} < set(shapes)
    assert "q_l_txt" not in shapes and "q_l_img" not in shapes
    again = exchange.score(path, cutoffs=[20], results=tmp_path / "scored")
    assert len(again.metrics) == 6 and again.metrics == record.metrics and again.curves == record.curves
    once_more = tmp_path / f"again{suffix}"
    assert exchange.export(Store(tmp_path / "scored"), again, once_more) == shapes
    last = exchange.score(once_more, name="out", cutoffs=[20], results=tmp_path / "scored")
    assert replace(last, provenance={}) == replace(again, provenance={})


def test_our_own_packed_codes_are_read_with_the_labels_of_an_export(
    mixed: tuple[Store, Record], tmp_path: Path
) -> None:
    store, record = mixed
    exchange.export(store, record, tmp_path / "out.npz")
    packed = store.folder(record.spec) / "codes.safetensors"
    found = exchange.score(packed, labels=tmp_path / "out.npz", cutoffs=[20], results=tmp_path / "scored")
    assert found.metrics == record.metrics


def test_the_written_form_is_the_fields(mixed: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = mixed
    exchange.export(store, record, tmp_path / "out.mat")
    found = loadmat(tmp_path / "out.mat")
    for key in ("q_img", "q_txt", "r_img", "r_txt"):
        assert found[key].dtype == np.int8 and set(np.unique(found[key])) == {-1, 1}
        assert found[key].shape == (len(found[f"{key[0]}_l"]), BITS)
    assert found["q_l"].dtype == np.uint8 and set(np.unique(found["q_l"])) == {0, 1}


def test_a_changed_data_set_is_not_exported(
    mixed: tuple[Store, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = mixed
    monkeypatch.setattr(catalogue, "open_dataset", lambda name, protocol: Mixed(protocol, seed=5))
    with pytest.raises(DataError, match="its codes belong to other items"):
        exchange.export(store, record, tmp_path / "out.mat")
    assert not (tmp_path / "out.mat").exists()


def test_export_refuses_other_endings_and_runs_without_codes(mixed: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = mixed
    with pytest.raises(UsageError, match=r"--out .*\.mat, \.npz, \.safetensors"):
        exchange.export(store, record, tmp_path / "out.csv")
    with pytest.raises(UsageError, match="diverged"):
        exchange.export(store, replace(record, status="diverged", reason="nan"), tmp_path / "out.mat")


@pytest.mark.parametrize("view", [None, "text", "audio"])
def test_a_faiss_index_finds_what_our_codes_find(mixed: tuple[Store, Record], tmp_path: Path, view: str | None) -> None:
    store, record = mixed
    file = tmp_path / "codes.faiss"
    held, items = exchange.export_index(store, record, file, view)
    index = faiss.read_index_binary(str(file))
    dataset, codes = stored(store, record)
    query, database = codes["query/text"], codes[f"database/{held}"]
    assert isinstance(query, PackedCodes)
    assert (held, items, index.ntotal) == (view or "image", len(database), len(database)) and 8 <= index.d < BITS + 8
    far, ids = index.search(retrieval.to_bytes(query), items)
    rows, ours = retrieval.nearest(query, database, items)
    assert np.array_equal(far, ours)
    wanted = rows_with(dataset, "database", held)[rows]
    for theirs, own, apart in zip(ids, wanted, ours, strict=True):  # in the order of ties alone they may differ
        for distance in np.unique(apart):
            assert set(theirs[apart == distance]) == set(own[apart == distance])


def test_what_cannot_be_an_index(mixed: tuple[Store, Record], tmp_path: Path) -> None:
    store, record = mixed
    with pytest.raises(UsageError, match=r"--view .tetx.: no database codes of it\. Did you mean .text."):
        exchange.export_index(store, record, tmp_path / "codes.faiss", "tetx")
    with pytest.raises(UsageError, match="failed, so that it has no codes"):
        exchange.export_index(store, replace(record, status="failed"), tmp_path / "codes.faiss")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        exchange.export_index(store, record, tmp_path / "file" / "codes.faiss")


def test_an_export_that_fails_leaves_what_was_there(
    mixed: tuple[Store, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, arrays: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setitem(exchange.WRITERS, ".mat", half)
    target = tmp_path / "out" / "kept.mat"
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(DataError, match="disk full"):
        exchange.export(*mixed, target)
    assert [file.read_bytes() for file in target.parent.iterdir()] == [b"before"]
