"""The kit for data sets catches what it claims to catch: for every check, data sets that break one law."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import hashbench.testing.datasets as kit
from hashbench.dataset import Dataset, Rules, Sizes, Source, Split, Texts, Vectors, split_by_group
from hashbench.testing import Opening, check_dataset, checks_for
from hashbench.testing.fresh import Fresh
from hashbench.testing.report import judge

N = 60


def rules(name: str, **changes: str) -> Rules:
    return Rules(**{"id": name, "items": f"{N} squares", "split": "by colour", "text": "the colour", **changes})


def png(row: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (row * 4, 0, 0)).save(file, "PNG")
    return file.getvalue()


class Pictures:
    modality = "image"

    def __init__(self, files: Sequence[bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Image.Image:
        return Image.open(io.BytesIO(self.files[row]))


class Good(Dataset):
    """Squares of some colour; two squares of one colour stay together."""

    name = "squares"
    licence = "CC0-1.0"
    protocols = {"colour@1": rules("colour@1"), "few@2": rules("few@2")}  # noqa: RUF012
    revision = "0123456789abcdef"
    class_names = ("dark", "bright", "red")
    vocabulary = ("shade",)
    definitions = {"dark": "with little light"}  # noqa: RUF012

    @cached_property
    def ids(self) -> Sequence[str]:
        return [f"square/{row:03}.png" for row in range(N)]

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        row = np.arange(N)
        return np.stack([row % 2, 1 - row % 2, row % 3 > 0], 1).astype(np.uint8)

    @cached_property
    def groups(self) -> Sequence[str]:
        return [f"colour {row // 2}" for row in range(N)]

    @cached_property
    def views(self) -> Mapping[str, Source]:
        weights = np.arange(N, dtype=np.float32)[:, None]
        return {
            "image": self.pictures(),
            "text": Texts([f"shade {row}" for row in range(N)]),
            "weight": Vectors(weights),
        }

    def present(self, view: str) -> NDArray[np.bool_]:
        return np.arange(N) % 3 < 2 if view == "weight" else super().present(view)

    @cached_property
    def split(self) -> Split:
        return split_by_group(self.groups, Sizes(query=10, train=20, validation=10), seed=0)

    def pictures(self) -> Any:
        return Pictures([png(row) for row in range(N)])

    def moved(self, **sides: Any) -> Split:
        """The split with other rows on some sides."""
        split = Good.split.func(self)
        names = ("query", "database", "train", "validation")
        return Split(**({side: getattr(split, side) for side in names} | sides))


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer without a new process; test_fresh.py starts some."""

    monkeypatch.setattr(kit, "_fresh", lambda opening: Fresh(frozenset(), False, "", kit._digests(opening())))


@pytest.mark.parametrize("protocol", [None, "few@2"])
@pytest.mark.parametrize("thorough", [False, True])
def test_a_good_data_set_passes_every_check(protocol: str | None, thorough: bool) -> None:
    report = check_dataset(Good, protocol, thorough=thorough)
    assert report.ok, report
    assert report.ran == len(kit.LAWS)


def test_both_ways_to_name_a_data_set_give_the_same_checks() -> None:
    assert [c.name for c in checks_for(Good)] == [c.name for c in checks_for(Opening(Good, "few@2"))]


# ---------------------------------------------------------------- mutants


class SpacedName(Good):
    name = "My Squares"


class NoLicence(Good):
    licence = ""


class MisnamedProtocol(Good):
    protocols = {"colour@1": rules("color@1")}  # noqa: RUF012


class UnversionedProtocol(Good):
    protocols = {"colour": rules("colour")}  # noqa: RUF012


class EmptyRule(Good):
    protocols = {"colour@1": rules("colour@1", text=" ")}  # noqa: RUF012


class SecondProtocolBreaks(Good):
    def __init__(self, protocol: str | None = None) -> None:
        super().__init__(protocol)
        if self.rules.id == "few@2":
            raise FileNotFoundError("few.txt")


class AnyProtocol(Good):
    def __init__(self, protocol: str | None = None) -> None:
        super().__init__(protocol if protocol in self.protocols else None)


class UnknownProtocolBreaks(Good):
    def __init__(self, protocol: str | None = None) -> None:
        self.rules = self.protocols[protocol or "colour@1"]


class OpensPictures(Good):
    def pictures(self) -> Any:
        return [p.size for p in super().pictures()] and super().pictures()


class DecodesPictures(Good):
    def __init__(self, protocol: str | None = None) -> None:
        super().__init__(protocol)
        self.first = [picture.load() for picture in self.pictures()]


class RepeatedId(Good):
    @property
    def ids(self) -> Sequence[str]:
        return ["square/000.png", *Good.ids.func(self)[:-1]]


class NumericIds(Good):
    @property
    def ids(self) -> Sequence[str]:
        return list(range(N))


class ClimbingIds(Good):
    @property
    def ids(self) -> Sequence[str]:
        return [f"../{row}" for row in range(N)]


class BrokenIds(Good):
    @property
    def ids(self) -> Sequence[str]:
        return [f"{row}\n" for row in range(N)]


class CountedLabels(Good):
    @property
    def labels(self) -> NDArray[np.uint8]:
        return Good.labels.func(self) * 2


class SignedLabels(Good):
    @property
    def labels(self) -> NDArray[np.uint8]:
        return Good.labels.func(self).astype(np.int64)


class OneNameTooMany(Good):
    class_names = ("dark", "bright", "red", "blue")


class UpperCaseName(Good):
    class_names = ("dark", "bright", "Red")


class RepeatedName(Good):
    class_names = ("dark", "bright", "dark")


class UnlabelledTraining(Good):
    @property
    def labels(self) -> NDArray[np.uint8]:
        labels = Good.labels.func(self).copy()
        labels[self.split.train] = 0
        return labels


class DefinesAnotherClass(Good):
    definitions = {"blue": "as the sky"}  # noqa: RUF012


class RepeatedWord(Good):
    vocabulary = ("shade", "shade")


class OneView(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures()}


class ShortView(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "text": Texts(["shade"])}


class UnknownModality(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "text": Texts(["a"] * N, modality="smell")}


class ShortPresence(Good):
    def present(self, view: str) -> NDArray[np.bool_]:
        return np.ones(N - 1, np.bool_)


class NobodyHasIt(Good):
    def present(self, view: str) -> NDArray[np.bool_]:
        return np.zeros(N, np.bool_) if view == "weight" else super().present(view)


class Undefined(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "weight": Vectors(np.full((N, 2), np.nan))}


class AllTheSame(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "weight": Vectors(np.ones((N, 2)))}


class TokenTexts(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "text": Texts([["shade"]] * N)}


class BytesAsText(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "text": Texts([b"caf\xe9".decode(errors="surrogateescape")] * N)}


class NoWords(Good):
    @property
    def views(self) -> Mapping[str, Source]:
        return {"image": self.pictures(), "text": Texts([""] * N)}


class CutPicture(Good):
    def pictures(self) -> Any:
        return Pictures([png(row)[:50] for row in range(N)])


class OneCutPicture(Good):
    def pictures(self) -> Any:
        return Pictures([png(row)[: 50 if row == 1 else None] for row in range(N)])


class ArrayPictures(Good):
    def pictures(self) -> Any:
        class Arrays(Pictures):
            def __getitem__(self, row: int) -> Any:
                return np.zeros((8, 8, 3), np.uint8)

        return Arrays([b""] * N)


class ChangingPictures(Good):
    def pictures(self) -> Any:
        class Flips(Pictures):
            asked = 0

            def __getitem__(self, row: int) -> Image.Image:
                self.asked += 1
                return Image.new("RGB", (8, 8), (self.asked % 256, 0, 0))

        return Flips([b""] * N)


class QueryInDatabase(Good):
    @property
    def split(self) -> Split:
        split = self.moved()
        return self.moved(database=np.union1d(split.database, split.query[:2]))


class TrainedValidation(Good):
    @property
    def split(self) -> Split:
        split = self.moved()
        return self.moved(validation=np.union1d(split.validation, split.train[:2]))


class EmptySide(Good):
    @property
    def split(self) -> Split:
        return self.moved(train=np.array([], np.int64))


class RepeatedRow(Good):
    @property
    def split(self) -> Split:
        return self.moved(train=np.repeat(self.moved().train, 2))


class ShuffledRows(Good):
    @property
    def split(self) -> Split:
        return self.moved(query=self.moved().query[::-1].copy())


class SmallIntegers(Good):
    @property
    def split(self) -> Split:
        return self.moved(query=self.moved().query.astype(np.int32))


class RowTooHigh(Good):
    @property
    def split(self) -> Split:
        return self.moved(database=np.append(self.moved().database, N))


class TornGroups(Good):
    @property
    def groups(self) -> Sequence[str]:
        return ["all of one colour"] * N

    @property
    def split(self) -> Split:
        return split_by_group([str(row) for row in range(N)], Sizes(query=10, train=20, validation=10), seed=0)


class Unanswerable(Good):
    @property
    def labels(self) -> NDArray[np.uint8]:
        labels = Good.labels.func(self).copy()
        labels[self.split.query] = 0
        return labels


class UnstableSplit(Good):
    openings = 0

    @cached_property
    def split(self) -> Split:
        type(self).openings += 1
        sizes = Sizes(query=10, train=20, validation=10)
        return split_by_group(self.groups, sizes, seed=self.openings)


class UnstableRevision(Good):
    openings = 0

    @cached_property
    def revision(self) -> str:
        type(self).openings += 1
        return str(self.openings)


class UnstableText(Good):
    openings = 0

    @cached_property
    def views(self) -> Mapping[str, Source]:
        type(self).openings += 1
        return {"image": self.pictures(), "text": Texts([f"shade {self.openings}"] * N)}


BREAKS: dict[type[Dataset], tuple[str, str]] = {
    SpacedName: ("check_declared", "'My Squares'"),
    NoLicence: ("check_declared", "licence"),
    MisnamedProtocol: ("check_protocols", "calls itself 'color@1'"),
    UnversionedProtocol: ("check_protocols", "name@version"),
    EmptyRule: ("check_protocols", "text is empty"),
    SecondProtocolBreaks: ("check_protocols", "few.txt"),
    AnyProtocol: ("check_unknown_protocol", "is accepted"),
    UnknownProtocolBreaks: ("check_unknown_protocol", "KeyError"),
    OpensPictures: ("check_opening_is_light", "up to views, opens pictures"),
    DecodesPictures: ("check_opening_is_light", "up to ids, opens pictures"),
    RepeatedId: ("check_ids", "square/000.png"),
    NumericIds: ("check_ids", "expected a string, found int"),
    ClimbingIds: ("check_ids", "'../0' is not safe"),
    BrokenIds: ("check_ids", r"'0\n' is not safe"),
    CountedLabels: ("check_labels", "0 and 1 only"),
    SignedLabels: ("check_labels", "expected uint8, found int64"),
    OneNameTooMany: ("check_labels", "expected (60, 4)"),
    UpperCaseName: ("check_labels", "'Red'"),
    RepeatedName: ("check_labels", "distinct names"),
    UnlabelledTraining: ("check_train_labels", "no training item has a label"),
    DefinesAnotherClass: ("check_words", "blue"),
    RepeatedWord: ("check_words", "distinct words"),
    OneView: ("check_views", "two views or more"),
    ShortView: ("check_views", "1 items for 60 ids"),
    UnknownModality: ("check_views", "'smell'"),
    ShortPresence: ("check_views", "expected (n,) bool"),
    NobodyHasIt: ("check_views", "no item has the view 'weight'"),
    Undefined: ("check_vectors", "not finite"),
    AllTheSame: ("check_vectors", "every item is the same"),
    TokenTexts: ("check_texts", "expected a string, found list"),
    BytesAsText: ("check_texts", "UnicodeEncodeError"),
    NoWords: ("check_texts", "every text"),
    CutPicture: ("check_pictures", "does not decode"),
    ArrayPictures: ("check_pictures", "expected a picture, found ndarray"),
    ChangingPictures: ("check_pictures", "another picture the second time"),
    QueryInDatabase: ("check_split", "query and database share 2 items"),
    TrainedValidation: ("check_split", "train and validation share 2 items"),
    EmptySide: ("check_split", "train is empty"),
    RepeatedRow: ("check_split", "train: rows do not ascend"),
    ShuffledRows: ("check_split", "query: rows do not ascend"),
    SmallIntegers: ("check_split", "found int32"),
    RowTooHigh: ("check_split", "database: rows outside 0..59"),
    TornGroups: ("check_groups", "1 groups are in both query and database"),
    Unanswerable: ("check_relevant", "no query has a relevant item"),
    UnstableSplit: ("check_stable", "split changes"),
    UnstableRevision: ("check_stable", "revision changes"),
    UnstableText: ("check_stable", "view text changes"),
}


@pytest.mark.parametrize("cls", BREAKS, ids=lambda c: c.__name__)
def test_a_mutant_breaks_the_law_meant_for_it(cls: type[Dataset]) -> None:
    name, words = BREAKS[cls]
    report = judge("mutant", [check for check in checks_for(cls) if check.name == name])
    assert words in report.failures.get(name, "nothing"), report


def test_every_check_has_a_mutant() -> None:
    caught = {name for name, _ in BREAKS.values()}
    assert caught | {"check_import_is_light"} == {law.__name__ for law in kit.LAWS}


def test_classes_without_a_training_item_are_reported() -> None:
    class Unused(Good):
        class_names = ("dark", "bright", "red", "blue")

        @property
        def labels(self) -> NDArray[np.uint8]:
            return np.hstack([Good.labels.func(self), np.zeros((N, 1), np.uint8)])

    (check,) = [check for check in checks_for(Unused) if check.name == "check_train_labels"]
    (result,) = judge("unused", [check]).results
    assert result.verdict == "ok" and "blue" in result.reason


def test_validation_items_may_lie_in_the_database_or_be_none() -> None:
    class Borrowed(Good):
        @property
        def split(self) -> Split:
            split = self.moved()
            return self.moved(database=np.union1d(split.database, split.validation))

    class Without(Good):
        @property
        def split(self) -> Split:
            return self.moved(validation=np.array([], np.int64))

    for cls in (Borrowed, Without):
        assert check_dataset(cls).ok


def test_one_damaged_picture_of_many_is_found_by_a_thorough_check_only() -> None:
    assert "check_pictures" not in check_dataset(OneCutPicture).failures
    failures = check_dataset(OneCutPicture, thorough=True).failures
    assert "image 1 (square/001.png) does not decode" in failures["check_pictures"]


def test_queries_without_a_relevant_item_are_counted() -> None:
    class Some(Good):
        @property
        def labels(self) -> NDArray[np.uint8]:
            labels = Good.labels.func(self).copy()
            labels[self.split.query[:3]] = 0
            return labels

    remarks = {result.name: result.reason for result in check_dataset(Some).results}
    assert remarks["check_relevant"] == "3 of 10 queries have no relevant item"


def test_without_groups_the_leak_check_is_skipped() -> None:
    class Ungrouped(Good):
        groups = None

        @property
        def split(self) -> Split:
            return split_by_group([str(row) for row in range(N)], Sizes(query=10, train=20, validation=10), seed=0)

    assert set(check_dataset(Ungrouped).skipped) == {"check_groups"}


def test_a_digest_that_differs_in_another_process_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = kit._digests(Good()) | {"split": "fedcba9876543210"}
    monkeypatch.setattr(kit, "_fresh", lambda opening: Fresh(frozenset(), False, "", elsewhere))
    assert check_dataset(Good).failures == {"check_stable": "split changes from process to process"}
