"""The kit for methods catches what it claims to catch: for every check, methods that break one law.

The methods here are their own paper: https://example.org/ridge.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hashbench.testing.methods as kit
from hashbench.config import Config, digest, hp
from hashbench.errors import UsageError
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run, View, isolated
from hashbench.testing import check_method, checks_for
from hashbench.testing.fresh import Fresh
from hashbench.testing.report import judge


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    lr: float = hp(0.05, "step", sweep=(0.01, 0.1), low=0.0, high=1.0)
    epochs: int = hp(40, "passes over the data", low=1)
    target: Literal["signs", "reals"] = hp("signs", "what the codes follow")


class Good(Method[Any]):
    """Heads on both encoders follow random codes of the labels."""

    paper = Paper("Ridge", "none", 2020, "https://example.org/ridge")
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class: Any = Settings

    def fit(self, train: Items, run: Run) -> Hasher:
        return self.follow(train, run, self.goal(train.need_labels(), run))

    def goal(self, labels: Tensor, run: Run) -> Tensor:
        codes = labels @ torch.randn(labels.shape[1], run.bits, generator=run.generator("codes"))
        return codes.sign() if getattr(self.config, "target", "") == "signs" else codes

    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(view.encoder(), nn.Linear(view.dim, run.bits))

    def follow(self, train: Items, run: Run, goal: Tensor) -> Hasher:
        heads = nn.ModuleDict({name: self.head(view, run) for name, view in train.views.items()})
        optimiser = torch.optim.Adam(heads.parameters(), lr=getattr(self.config, "lr", 0.05))
        for epoch in run.epochs(getattr(self.config, "epochs", 40)):
            for i in run.batches(len(train), 128, "rows", epoch):
                errors = [(heads[name](view.batch(i)) - goal[i]).square().mean() for name, view in train.views.items()]
                run.descend(torch.stack(errors).sum(), optimiser)
        return Hasher(dict(heads.items()))


class GoodUnlabelled(Good):
    """Text follows a random projection of the image features: closed form, cached, without labels."""

    kind = "unsupervised"
    needs = Needs(labels="none", cached=True)

    def fit(self, train: Items, run: Run) -> Hasher:
        x = train.image.features()
        goal = (x - x.mean(0)) @ torch.randn(x.shape[1], run.bits, generator=run.generator("planes"))
        return Hasher({name: self.solve(view.features(), goal) for name, view in train.views.items()})

    def solve(self, x: Tensor, goal: Tensor) -> nn.Module:
        ones = torch.ones(len(x), 1)
        w = torch.linalg.lstsq(torch.cat([x, ones], 1), goal).solution
        layer = nn.Linear(x.shape[1], goal.shape[1])
        layer.load_state_dict({"weight": w[:-1].T.contiguous(), "bias": w[-1]})
        return layer


class GoodPartial(Good):
    """Follows random codes of the labels it is given."""

    kind = "semi-supervised"
    needs = Needs(labels="some")

    def fit(self, train: Items, run: Run) -> Hasher:
        if train.labels is None:
            raise Incompatible("needs a few labels at least")
        return self.follow(train, run, self.goal(train.labels, run))


class GoodStaged(Good):
    """A stage makes codes from label prompts; heads follow them. Reads audio, too."""

    kind = "distilled"
    needs = Needs(labels="all", views=("image", "text", "audio"), prompts=True)

    def stage_settings(self) -> dict[str, Any]:
        return {"target": self.config.target}

    def teacher(self, train: Items, run: Run) -> dict[str, Tensor]:
        rows = train.label_view("bare").features()
        codes = rows @ torch.randn(rows.shape[1], run.bits)
        return {"codes": codes.sign() if self.config.target == "signs" else codes}

    def fit(self, train: Items, run: Run) -> Hasher:
        goal = run.stage("teacher", self.stage_settings(), lambda: self.teacher(train, run))["codes"]
        return self.follow(train, run, goal)


class GoodAny(Good):
    """Takes any views, also where items lack some: the heads follow the codes of the items that have theirs."""

    needs = Needs(labels="all", more_views=True)

    def follow(self, train: Items, run: Run, goal: Tensor) -> Hasher:
        heads = nn.ModuleDict({name: self.head(view, run) for name, view in train.views.items()})
        optimiser = torch.optim.Adam(heads.parameters(), lr=getattr(self.config, "lr", 0.05))
        for epoch in run.epochs(getattr(self.config, "epochs", 40)):
            for name, view in train.views.items():
                for i in run.batches(len(view), 128, name, epoch):
                    run.descend((heads[name](view.batch(i)) - goal[view.of(i)]).square().mean(), optimiser)
        return Hasher(dict(heads.items()))


class GoodTokens(Good):
    """Heads on the sum of an item's vector and its tokens."""

    needs = Needs(labels="all", tokens=True)

    class Summed(nn.Module):
        def forward(self, sequences: Tensor) -> Tensor:
            return sequences.sum(1)

    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(view.encoder(), self.Summed(), nn.Linear(view.dim, run.bits))


GOOD = (Good, GoodUnlabelled, GoodPartial, GoodStaged, GoodAny, GoodTokens)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer without a new process for every method; test_fresh.py starts some."""

    def answer(cls: Any, expression: str) -> Fresh:
        return Fresh(frozenset(), False, "", digest(cls.config_class().key_fields()))

    monkeypatch.setattr(kit, "fresh", answer)


@pytest.mark.parametrize("cls", GOOD, ids=lambda c: c.__name__)
def test_good_methods_pass_every_check(cls: Any) -> None:
    report = check_method(cls)
    assert report.ok, report
    assert [result.name for result in report.results] == [law.__name__ for law in kit.LAWS]


def test_every_check_runs_for_some_good_method() -> None:
    ran = {result.name for cls in GOOD for result in check_method(cls).results if result.verdict == "ok"}
    assert ran == {law.__name__ for law in kit.LAWS}


def test_a_law_may_be_broken_by_nature_where_that_is_declared() -> None:
    class Floor(Random):
        exceptions: ClassVar = {"check_learns": "it learns nothing"}

    class Excuse(Good):
        exceptions: ClassVar = {"check_learns": "it learns nothing"}

    class Misspelt(Good):
        exceptions: ClassVar = {"check_lerns": "it learns nothing"}

    def learns(cls: Any) -> Any:
        return judge("one", [check for check in checks_for(cls) if check.name == "check_learns"])

    assert learns(Floor).skipped == {"check_learns": "breaks it by its nature: it learns nothing"}
    assert "drop it" in learns(Excuse).failures["check_learns"], "an excuse that is no longer true is a failure"
    with pytest.raises(UsageError, match="check_learns"):
        checks_for(Misspelt)


# ---------------------------------------------------------------- what it declares


class NoPaper(Good):
    paper = Paper("", "none", 2020, "https://example.org/ridge")


class Uncited(Good):
    paper = Paper("Lasso", "none", 2020, "https://example.org/lasso")


class NoVersion(Good):
    version = 0


class UnsupervisedWithLabels(Good):
    kind = "unsupervised"


class Undeclared(Method[Any]):
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class: Any = Settings
    fit, goal, head, follow = Good.fit, Good.goal, Good.head, Good.follow


class Undecorated(Good):
    class Loose(Settings):
        momentum: float = hp(0.9, "momentum")

    config_class = Loose


class Undocumented(Good):
    @dataclass(frozen=True, kw_only=True)
    class Bare(Settings):
        momentum: float = 0.9

    config_class = Bare


class NoScalar(Good):
    @dataclass(frozen=True, kw_only=True)
    class Lists(Settings):
        widths: tuple[int, ...] = hp((1, 2), "widths")

    config_class = Lists


class WholeForReal(Good):
    @dataclass(frozen=True, kw_only=True)
    class Sweep(Settings):
        momentum: float = hp(0.9, "momentum", sweep=(0.5, 1))

    config_class = Sweep


class SweepOutOfRange(Good):
    @dataclass(frozen=True, kw_only=True)
    class Sweep(Settings):
        momentum: float = hp(0.9, "momentum", sweep=(0.5, 1.5), high=1.0)

    config_class = Sweep


class DefaultOutOfRange(Good):
    @dataclass(frozen=True, kw_only=True)
    class Range(Settings):
        momentum: float = hp(0.9, "momentum", low=1.0)

    config_class = Range


class Thawed(Good):
    class Open(Settings):
        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

    config_class = Open


def preset(**presets: Mapping[str, Any]) -> Any:
    @dataclass(frozen=True, kw_only=True)
    class Presets(Settings):
        @classmethod
        def presets(cls) -> Mapping[str, Mapping[str, Any]]:
            return presets

    return Presets


class NoDefaultPreset(Good):
    config_class = preset(paper={})


class MovedDefault(Good):
    config_class = preset(default={"lr": 0.1})


class PresetOutOfRange(Good):
    config_class = preset(default={}, paper={"lr": 2.0})


class PresetOfAnotherType(Good):
    config_class = preset(default={}, paper={"lr": 1})


class UnknownPresetSetting(Good):
    config_class = preset(default={}, paper={"momentum": 0.9})


class SettingOutsideTheKey(Good):
    @dataclass(frozen=True, kw_only=True)
    class Forgetful(Settings):
        def key_fields(self) -> dict[str, Any]:
            return {k: v for k, v in super().key_fields().items() if k != "lr"}

    config_class = Forgetful


# ---------------------------------------------------------------- what it makes


class Constant(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        hasher = super().fit(train, run)
        for module in hasher.modules.values():
            module[-1].weight.data.zero_()
        return hasher


class OneBitMore(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        return super().fit(train, replace(run, bits=run.bits + 1))


class ImageOnly(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        return Hasher({"image": super().fit(train, run).modules["image"]})


class BreaksAtManyBits(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        if run.bits > 32:
            raise ValueError("too many")
        return super().fit(train, run)


class RefusesWithoutWords(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        if run.bits > 32:
            raise Incompatible("no")
        return super().fit(train, run)


class BrokenBranch(Good):
    def goal(self, labels: Tensor, run: Run) -> Tensor:
        if self.config.target == "reals":
            raise RuntimeError("never tried")
        return super().goal(labels, run)


class Unseeded(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        torch.seed()
        return super().fit(train, run)


class Stateful(Good):
    fits = 0

    def goal(self, labels: Tensor, run: Run) -> Tensor:
        type(self).fits += 1
        return super().goal(labels, replace(run, seed=self.fits))


class Prints(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        print("epoch 1")
        return super().fit(train, run)


class PrintsAnError(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        print("epoch 1", file=sys.stderr)
        return super().fit(train, run)


class CentresInPlace(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        rows = train.image.rows
        if isinstance(rows, Tensor) and rows.is_floating_point():
            rows.sub_(0.1)
        return super().fit(train, run)


class ChangesLabels(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        train.need_labels().mul_(2)
        return super().fit(train, run)


class ChangesValidation(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        if run.validation and not run.validation.image.raw:
            run.validation.image.rows.zero_()
        return super().fit(train, run)


class ChangesDtype(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        hasher = super().fit(train, run)
        torch.set_default_dtype(torch.float64)
        return hasher


class ChangesThreads(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        torch.set_num_threads(2)
        return super().fit(train, run)


class StopsGradients(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        hasher = super().fit(train, run)
        torch.set_grad_enabled(False)
        return hasher


class ChangesFolder(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        os.chdir(Path.cwd().parent)
        return super().fit(train, run)


class KeepsState(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        self.codes = self.goal(train.need_labels(), run)
        return super().fit(train, run)


class Draws(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, rows: Tensor) -> Tensor:
        random.random()
        np.random.rand()
        out: Tensor = self.inner(rows)
        return out


class DrawsInEncode(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        return Draws(super().head(view, run))


class Centre(nn.Module):
    def forward(self, out: Tensor) -> Tensor:
        return out - out.mean(0)


class LooksAtNeighbours(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(super().head(view, run), Centre())


class OneNumberOfRows(nn.Module):
    def forward(self, out: Tensor) -> Tensor:
        return out + torch.zeros(len(out), 1)


class CountsRows(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(super().head(view, run), OneNumberOfRows())


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, out: Tensor) -> Tensor:
        self.calls += not self.training
        return out if self.calls < 3 else -out


class CountsCalls(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(super().head(view, run), Counter())


class Scale(nn.Module):
    """A number that is no tensor: it is not saved."""

    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.by = by

    def forward(self, rows: Tensor) -> Tensor:
        return rows * self.by


class Unsaveable(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        signs = torch.randn(run.bits, generator=run.generator("signs")).sign()
        hasher = self.follow(train, run, self.goal(train.need_labels(), run) * signs)
        return Hasher({name: nn.Sequential(module, Scale(signs)) for name, module in hasher.modules.items()})


class NoTensor(nn.Identity):
    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


class SavesObjects(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(super().head(view, run), NoTensor())


class Random(Good):
    def goal(self, labels: Tensor, run: Run) -> Tensor:
        return torch.randn(len(labels), run.bits).sign()


# ---------------------------------------------------------------- what it asks for


class GuessesLabels(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        labels = torch.ones(len(train), 4) if train.labels is None else train.need_labels()
        return self.follow(train, run, self.goal(labels, run))


class TakesHiddenLabels(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        return super().fit(replace(train, labelled=None), run)


class RefusesLate(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        self.follow(train, run, torch.ones(len(train), run.bits))
        return super().fit(train, run)


class RefusesBriefly(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        try:
            return super().fit(train, run)
        except Incompatible:
            raise Incompatible("labels") from None


class GoesRoundTrain(GoodUnlabelled):
    def train(self, train: Items, run: Run) -> Hasher:
        with isolated(run.seed):
            return self.fit(train, run)

    def fit(self, train: Items, run: Run) -> Hasher:
        hasher = super().fit(train, run)
        return hasher if train.labels is None else Hasher({**hasher.modules, "text": self.cheat(train, run)})

    def cheat(self, train: Items, run: Run) -> nn.Module:
        return self.solve(train.text.features(), self.goal(train.need_labels(), run))


class BreaksOnHiddenLabels(GoodPartial):
    def fit(self, train: Items, run: Run) -> Hasher:
        train.need_labels()
        return super().fit(train, run)


class MakesUpPrompts(GoodStaged):
    def teacher(self, train: Items, run: Run) -> dict[str, Tensor]:
        labels = train.need_labels()
        return super().teacher(train if train.prompts else replace(train, prompts=lambda _: View(labels, 4)), run)


class WantsValidation(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        run.validation.need_labels()
        return super().fit(train, run)


class IgnoresEncoder(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        return nn.Sequential(Float(), nn.LazyLinear(run.bits)) if view.raw else super().head(view, run)


class Float(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows.flatten(1).float()


class FreezesEncoder(Good):
    def head(self, view: View, run: Run) -> nn.Module:
        head = super().head(view, run)
        head[0].requires_grad_(False)
        return head


class NeedlesslyCached(Good):
    needs = Needs(labels="all", cached=True)


class SecretlyCached(GoodUnlabelled):
    needs = Needs(labels="none")


class TakesRowsForATensor(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        train.image.rows.shape  # noqa: B018
        return super().fit(train, run)


class WritesToRows(Good):
    def fit(self, train: Items, run: Run) -> Hasher:
        if not train.image.raw:
            train.image.rows[torch.arange(4)] = torch.zeros(4, train.image.dim)
        return super().fit(train, run)


# ---------------------------------------------------------------- what it keeps


class StageWithASideEffect(GoodStaged):
    def fit(self, train: Items, run: Run) -> Hasher:
        made: list[Tensor] = []

        def make() -> dict[str, Tensor]:
            made.append(self.teacher(train, run)["codes"])
            return {"codes": -made[0]}

        codes = run.stage("teacher", self.stage_settings(), make)["codes"]
        return self.follow(train, run, made[0] if made else codes)


class StageHidesASetting(GoodStaged):
    def stage_settings(self) -> dict[str, Any]:
        return {}


class TakesTwoOfThree(GoodAny):
    def fit(self, train: Items, run: Run) -> Hasher:
        return super().fit(replace(train, views={name: train.views[name] for name in ("image", "text")}), run)


class TakesRowsForItems(Good):
    needs = Needs(labels="all", more_views=True)


# ---------------------------------------------------------------- who breaks what

BREAKS: dict[Any, dict[str, str]] = {
    NoPaper: {"check_declared": "title and venue"},
    Uncited: {"check_declared": "cites the paper"},
    NoVersion: {"check_declared": "version"},
    UnsupervisedWithLabels: {"check_declared": "'unsupervised'"},
    Undeclared: {"check_declared": "paper is not declared"},
    Undecorated: {"check_config": "momentum"},
    Undocumented: {"check_config": "no help text"},
    NoScalar: {"check_config": "JSON scalars"},
    WholeForReal: {"check_config": "1 is not of the declared type"},
    SweepOutOfRange: {"check_config": "1.5 cannot be set"},
    DefaultOutOfRange: {"check_config": "0.9 cannot be set"},
    Thawed: {"check_config": "can be assigned to"},
    NoDefaultPreset: {"check_presets": "no preset 'default'"},
    MovedDefault: {"check_presets": "changes something"},
    PresetOutOfRange: {"check_presets": "2.0 cannot be set"},
    PresetOfAnotherType: {"check_presets": "1 is not of the declared type"},
    UnknownPresetSetting: {"check_presets": "no setting 'momentum'"},
    SettingOutsideTheKey: {"check_keys": "lr does not enter"},
    Constant: {"check_codes": "has the same code", "check_says_why_not": "has the same code"},
    OneBitMore: {"check_codes": "expected (96, 8), found (96, 9)"},
    ImageOnly: {"check_codes": "no hash function for text"},
    BreaksAtManyBits: {"check_says_why_not": "ValueError: too many"},
    RefusesWithoutWords: {"check_says_why_not": "without a reason"},
    BrokenBranch: {"check_settings_train": "target='reals': RuntimeError: never tried"},
    Unseeded: {"check_deterministic": "the same seed differ"},
    Stateful: {"check_deterministic": "the same seed differ"},
    Prints: {"check_leaves_no_trace": "printed 'epoch 1"},
    PrintsAnError: {"check_leaves_no_trace": "printed 'epoch 1"},
    CentresInPlace: {"check_leaves_no_trace": "changed the training image rows"},
    ChangesLabels: {"check_leaves_no_trace": "changed the training labels"},
    ChangesValidation: {"check_leaves_no_trace": "changed the validation image rows"},
    ChangesDtype: {"check_leaves_no_trace": "default dtype"},
    ChangesThreads: {"check_leaves_no_trace": "thread count"},
    StopsGradients: {"check_leaves_no_trace": "grad mode"},
    ChangesFolder: {"check_leaves_no_trace": "working directory"},
    KeepsState: {"check_leaves_no_trace": "changed the method itself"},
    DrawsInEncode: {"check_leaves_no_trace": "numpy's global generator; changed python's global generator"},
    LooksAtNeighbours: {"check_rows_are_independent": "change with the batch"},
    CountsCalls: {"check_rows_are_independent": "change with the batch"},
    Unsaveable: {"check_saves": "differs from the stored one"},
    CountsRows: {"check_can_be_kept": "len(rows) is not"},
    SavesObjects: {"check_saves": "no tensor in the state"},
    Random: {"check_learns": "chance"},
    GuessesLabels: {"check_labels_are_asked_for": "runs without labels"},
    TakesHiddenLabels: {"check_hidden_labels": "runs with half of the labels hidden"},
    RefusesLate: {"check_labels_are_asked_for": "only after 2 epochs", "check_hidden_labels": "only after"},
    RefusesBriefly: {"check_labels_are_asked_for": "without a reason", "check_hidden_labels": "without a reason"},
    GoesRoundTrain: {"check_hidden_labels": "the codes depend on labels"},
    BreaksOnHiddenLabels: {"check_hidden_labels": "48 items are unlabelled"},
    MakesUpPrompts: {"check_prompts_are_asked_for": "runs without label prompts"},
    WantsValidation: {"check_validation_is_optional": "NoneType"},
    IgnoresEncoder: {"check_raw_views": "no part of the hasher"},
    FreezesEncoder: {"check_raw_views": "was not trained"},
    NeedlesslyCached: {"check_raw_views": "runs on raw views"},
    SecretlyCached: {"check_raw_views": "needs cached features"},
    TakesRowsForATensor: {"check_memory_maps": "AttributeError"},
    WritesToRows: {"check_memory_maps": "TypeError", "check_leaves_no_trace": "changed the training image rows"},
    StageWithASideEffect: {"check_stages_are_transparent": "a remembered stage"},
    TakesTwoOfThree: {"check_more_views": "no hash function for the view sound"},
    TakesRowsForItems: {"check_more_views": "IndexError"},
    StageHidesASetting: {"check_stages_name_their_settings": "depends on target"},
}


@pytest.mark.parametrize("cls", BREAKS, ids=lambda c: c.__name__)
def test_a_mutant_breaks_the_law_meant_for_it(cls: Any) -> None:
    report = judge("mutant", [check for check in checks_for(cls) if check.name in BREAKS[cls]])
    assert report.failures.keys() == BREAKS[cls].keys(), report
    for name, words in BREAKS[cls].items():
        assert words in report.failures[name]


def test_every_check_has_a_mutant() -> None:
    caught = {name for broken in BREAKS.values() for name in broken}
    assert caught | {"check_import_is_light"} == {law.__name__ for law in kit.LAWS}


def test_a_check_leaves_the_process_as_it_was() -> None:
    torch.set_num_threads(1)
    folder = Path.cwd()
    for cls in (ChangesDtype, ChangesThreads, StopsGradients, ChangesFolder):
        assert not judge("mutant", [c for c in checks_for(cls) if c.name == "check_leaves_no_trace"]).ok
        assert torch.get_default_dtype() == torch.float32
        assert torch.get_num_threads() == 1
        assert torch.is_grad_enabled()
        assert Path.cwd() == folder
