"""The kit for backbones catches what it claims to catch: for every check, backbones that break one law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import hashbench.testing.backbones as kit
from hashbench.backbone import Backbone, Tokens
from hashbench.errors import Incompatible
from hashbench.testing import check_backbone, checks_for
from hashbench.testing.fresh import Fresh
from hashbench.testing.report import judge


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 10)

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.linear(rows.flatten(1).float() / 255)
        return out


class GoodImage(Backbone):
    modality = "image"
    name = "tiny"
    weights = "untrained"
    transform = "8 px bilinear"
    dim = 10

    def prepare(self, items: Sequence[Any]) -> Tensor:
        pictures = [np.array(self.resize(item)) for item in items]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    def resize(self, item: Any) -> Any:
        return item.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)

    def encoder(self) -> nn.Module:
        return Pixels()


class Letters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 6, padding_idx=0)

    def forward(self, rows: Tensor) -> Tensor:
        return self.embed(rows).sum(1) / (rows > 0).sum(1, keepdim=True).clamp_min(1)


class GoodText(Backbone):
    modality = "text"
    name = "letters"
    weights = "0123456789abcdef"
    transform = "first 16 bytes"
    dim = 6

    def prepare(self, items: Sequence[Any]) -> Tensor:
        rows = torch.zeros(len(items), 16, dtype=torch.int64)
        for row, text in zip(rows, items, strict=True):
            letters = list(text.encode()[:16])
            row[: len(letters)] = torch.tensor(letters, dtype=torch.int64)
        return rows

    def encoder(self) -> nn.Module:
        return Letters()


class GoodVectors(GoodText):
    name = "count"
    weights = "none"
    dim = 16

    def prepare(self, items: Sequence[Any]) -> Tensor:
        return super().prepare(items).float()

    def encoder(self) -> nn.Module:
        return nn.Identity()


class LetterStates(Letters):
    """The mean of the letters, then up to eight of them, then zeros: (b, 9, 6)."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.cat([super().forward(rows)[:, None], self.embed(rows[:, :8])], 1)


class GoodTokens(GoodText):
    length_of_tokens = 9
    states: Callable[[], nn.Module] = LetterStates

    def tokens(self) -> Backbone:
        return Tokens(self, "tokens: first 8 bytes", self.length_of_tokens, type(self).states)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer without a new process; test_fresh.py starts some."""
    monkeypatch.setattr(kit, "fresh", lambda cls: Fresh(frozenset(), False, "", None))


@pytest.mark.parametrize("cls", [GoodImage, GoodText, GoodVectors, GoodTokens])
def test_good_backbones_pass_every_check(cls: type[Backbone]) -> None:
    report = check_backbone(cls())
    assert report.ok, report
    untrained = {"check_gradients"} if cls is GoodVectors else set()
    assert set(report.skipped) == untrained | ({"check_tokens"} if cls is not GoodTokens else set())
    assert len(report.results) == len(kit.LAWS)


# ---------------------------------------------------------------- mutants


class TwoLineTransform(GoodImage):
    transform = "8 px\nbilinear"


class LooseWeights(GoodImage):
    weights = "imagenet"


class ChangingName(GoodImage):
    def encoder(self) -> nn.Module:
        self.name = "tiny, used"
        return super().encoder()


class Doubles(GoodImage):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        return super().prepare(items).double()


class ChannelsLast(GoodImage):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        return super().prepare(items).permute(0, 2, 3, 1)


class Int32Tokens(GoodText):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        return super().prepare(items).int()


class DropsEmptyTexts(GoodText):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        return super().prepare([item for item in items if item] or [""])


class ColourOnly(GoodImage):
    def resize(self, item: Any) -> Any:
        if item.mode != "RGB":
            raise ValueError(f"cannot read {item.mode}")
        return super().resize(item)


class NarrowOnly(GoodImage):
    def resize(self, item: Any) -> Any:
        small = item.convert("RGB")
        small.thumbnail((8, 8))
        return small.crop((0, 0, 8, 8)) if min(small.size) > 1 else small


class OneForAll(GoodText):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        return torch.zeros_like(super().prepare(items))


class PadsToTheLongest(GoodText):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        rows = super().prepare(items)
        return rows[:, : max(1, int((rows > 0).sum(1).max()))]


class CentresRows(GoodVectors):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        rows = super().prepare(items)
        return rows - rows.mean(0)


class ShrinksInPlace(GoodImage):
    def resize(self, item: Any) -> Any:
        item.thumbnail((32, 32))
        return super().resize(item)


class Prints(GoodText):
    def prepare(self, items: Sequence[Any]) -> Tensor:
        print("tokenising")
        return super().prepare(items)


class Augments(GoodImage):
    def resize(self, item: Any) -> Any:
        return super().resize(item.rotate(float(torch.rand(()) * 0)))


class WrongWidth(GoodImage):
    dim = 12


class HalfVectors(GoodVectors):
    def encoder(self) -> nn.Module:
        class Half(nn.Module):
            def forward(self, rows: Tensor) -> Tensor:
                return rows.half()

        return Half()


class EmptyIsNaN(GoodText):
    def encoder(self) -> nn.Module:
        class Mean(Letters):
            def forward(self, rows: Tensor) -> Tensor:
                return self.embed(rows).sum(1) / (rows > 0).sum(1, keepdim=True)

        return Mean()


class BatchStatistics(GoodImage):
    def encoder(self) -> nn.Module:
        class Centre(Pixels):
            def forward(self, rows: Tensor) -> Tensor:
                out = super().forward(rows)
                return out - out.mean(0)

        return Centre()


class AlwaysDrops(GoodImage):
    def encoder(self) -> nn.Module:
        class Drop(Pixels):
            def forward(self, rows: Tensor) -> Tensor:
                return nn.functional.dropout(super().forward(rows), training=True)

        return Drop()


class KeepsOne(GoodImage):
    def __init__(self) -> None:
        self.one = Pixels()

    def encoder(self) -> nn.Module:
        return self.one


class SharesWeights(KeepsOne):
    def encoder(self) -> nn.Module:
        other = Pixels()
        other.linear.weight = self.one.linear.weight
        return other


class StartsAnywhere(GoodImage):
    def encoder(self) -> nn.Module:
        torch.seed()
        return Pixels()


class Frozen(GoodImage):
    def encoder(self) -> nn.Module:
        return Pixels().requires_grad_(False)


class Detached(GoodImage):
    def encoder(self) -> nn.Module:
        class Detach(Pixels):
            def __init__(self) -> None:
                super().__init__()
                self.last = nn.Linear(10, 10)

            def forward(self, rows: Tensor) -> Tensor:
                out: Tensor = self.last(super().forward(rows).detach())
                return out

        return Detach()


class Unparametrised(GoodVectors):
    weights = "untrained"


class SaysNotWhyNot(GoodText):
    def tokens(self) -> Backbone:
        raise Incompatible("no")


class SameIdentity(GoodTokens):
    def tokens(self) -> Backbone:
        found = super().tokens()
        found.name, found.transform = self.name, self.transform
        return found


class WrongLength(GoodTokens):
    length_of_tokens = 8


class TokensOfOneRow(GoodTokens):
    length_of_tokens = 1


class FirstLetterFirst(GoodTokens):
    class States(LetterStates):
        def forward(self, rows: Tensor) -> Tensor:
            return super().forward(rows).roll(-1, 1)

    states = States


class PaddingIsALetter(GoodTokens):
    class States(LetterStates):
        def forward(self, rows: Tensor) -> Tensor:
            found = super().forward(rows)
            return torch.cat([found[:, :1], found[:, 1:].where(found[:, 1:] != 0, 0.1)], 1)

    states = States


class PaddingBetween(GoodTokens):
    class States(LetterStates):
        def forward(self, rows: Tensor) -> Tensor:
            found = super().forward(rows)
            return torch.cat([found[:, :1], found[:, 1:].flip(1)], 1)

    states = States


class TokensOfTheBatch(GoodTokens):
    class States(LetterStates):
        def forward(self, rows: Tensor) -> Tensor:
            found = super().forward(rows)
            return found * found[:, 1:].abs().max()

    states = States


class FrozenTokens(GoodTokens):
    weights = "0123456789abcdef"
    states = staticmethod(lambda: LetterStates().requires_grad_(False))


BREAKS: dict[type[Backbone], tuple[str, str]] = {
    TwoLineTransform: ("check_identity", "transform: expected one line"),
    LooseWeights: ("check_identity", "'imagenet'"),
    ChangingName: ("check_identity", "tiny, used"),
    Doubles: ("check_rows", "torch.float64"),
    ChannelsLast: ("check_rows", "(7, 8, 8, 3)"),
    Int32Tokens: ("check_rows", "torch.int32"),
    DropsEmptyTexts: ("check_rows", "6 rows for 7 items"),
    ColourOnly: ("check_rows", "cannot read RGBA"),
    NarrowOnly: ("check_rows", "ValueError"),
    OneForAll: ("check_rows", "every item has the same row"),
    PadsToTheLongest: ("check_rows_are_independent", "item 1"),
    CentresRows: ("check_rows_are_independent", "item 0"),
    ShrinksInPlace: ("check_leaves_no_trace", "changed an item"),
    Prints: ("check_leaves_no_trace", "printed 'tokenising"),
    Augments: ("check_leaves_no_trace", "torch's global generator"),
    WrongWidth: ("check_vectors", "expected (7, 12), found (7, 10)"),
    HalfVectors: ("check_vectors", "float16"),
    EmptyIsNaN: ("check_vectors", "not finite"),
    BatchStatistics: ("check_vectors_are_independent", "rows beside them"),
    AlwaysDrops: ("check_vectors_are_independent", "the second time"),
    KeepsOne: ("check_encoders_are_fresh", "handed out twice"),
    SharesWeights: ("check_encoders_are_fresh", "share linear.weight"),
    StartsAnywhere: ("check_encoders_are_fresh", "same random state differ"),
    Frozen: ("check_gradients", "RuntimeError"),
    Detached: ("check_gradients", "no gradient reaches the first layer"),
    Unparametrised: ("check_gradients", "no parameters"),
    SaysNotWhyNot: ("check_tokens", "without a reason: 'no'"),
    SameIdentity: ("check_tokens", "identity is that of the plain"),
    WrongLength: ("check_tokens", "expected (7, 8, 6), found (7, 9, 6)"),
    TokensOfOneRow: ("check_tokens", "length: expected 2 or more, found 1"),
    FirstLetterFirst: ("check_tokens", "row 0 is not the vector"),
    PaddingIsALetter: ("check_tokens", "padding is not zero"),
    PaddingBetween: ("check_tokens", "after a row of zeros"),
    TokensOfTheBatch: ("check_tokens", "rows beside them"),
    FrozenTokens: ("check_tokens", "RuntimeError"),
}


@pytest.mark.parametrize("cls", BREAKS, ids=lambda c: c.__name__)
def test_a_mutant_breaks_the_law_meant_for_it(cls: type[Backbone]) -> None:
    name, words = BREAKS[cls]
    report = judge("mutant", [check for check in checks_for(cls()) if check.name == name])
    assert words in report.failures.get(name, "nothing"), report


def test_every_check_has_a_mutant() -> None:
    caught = {name for name, _ in BREAKS.values()}
    assert caught | {"check_import_is_light"} == {law.__name__ for law in kit.LAWS}
