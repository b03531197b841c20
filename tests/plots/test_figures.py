"""Figures of records with chosen numbers: what each shows, what it refuses, and that nothing is cut or covered."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from hashbench import registry
from hashbench.data import catalogue
from hashbench.errors import DataError, UsageError
from hashbench.examples import examples
from hashbench.measuring import rows_with
from hashbench.plot import Plot
from hashbench.store import Record, Store

from .gallery import CLASSES, Gallery, keep
from .records import CHANCE, record

SEEDS = range(3)
LONG = "clip:ViT-bigG-14-CLIPA-336:datacomp1b-and-a-very-long-tag@448"


def figure(name: str, store: Store | None = None) -> Plot:
    return registry.plots.get(name)(store)


def table(name: str, records: Sequence[Record], kind: str | None = None) -> pd.DataFrame:
    plot = figure(name)
    return plot.table(records, kind or plot.kinds[0])


def prompt(modality: str, rank: float | None, seed: int = 0, bits: int = 16, map: float = 0.5) -> Record:
    logged = {} if rank is None else {"prompts/effective_rank": rank}
    return record(
        map,
        map + 0.1,
        label_modality=modality,
        prompts=f"digest of {modality}",
        diagnostics=logged,
        seed=seed,
        bits=bits,
    )


def staged(quality: float | None, final: float, **settings: Any) -> Record:
    logged = {} if quality is None else {"teacher/map_image_label": quality}
    return record(final, final + 0.02, diagnostics=logged, **settings)


def penalty(alpha: float, seed: int = 0, bits: int = 16) -> Record:
    logged = {"teacher/phi1": alpha + 0.1, "teacher/phi2": 1 - alpha / 10, "student/phi3": 0.3, "student/phi4": 0.4,
              "teacher/map_image_label": 0.55}  # fmt: skip
    return record(0.5 - alpha / 20 + seed / 100, alpha=alpha, seed=seed, bits=bits, diagnostics=logged)


ALPHAS = (0.0, 0.01, 0.05, 0.2, 1.0, 5.0)
METHODS = [f"method{i}" for i in range(28)]
WAYS: list[dict[str, Any]] = [
    {}, {"teacher": "joint"}, {"teacher": "none"}, {"stage2_image": "finetune"},
    {"stage2_image": "finetune", "finetune_rate": 0.01}, {"stage2_image": "ema"}, {"teacher": "swap"},
]  # fmt: skip
FOLDS = [f"pictograms-fold{i}@1" for i in range(1, 6)]


def folded(methods: Sequence[str], bits: Sequence[int] = (16,), folds: Sequence[str] = FOLDS) -> list[Record]:
    """Every method on every fold, the first the best, with an order that the folds stir."""
    return [
        record(0.6 - i / 50 + ((i * 7 + f * 3) % 5) / 60, 0.55 - i / 60 + ((i + f) % 3) / 40, method=name, bits=b,
               protocol=protocol)
        for i, name in enumerate(methods) for f, protocol in enumerate(folds) for b in bits
    ]  # fmt: skip


SCENES: dict[str, tuple[str, list[Record]]] = {
    "pr": ("pr", [record(0.3, bits=b, seed=s) for b in (16, 32, 64, 128) for s in SEEDS]),
    "pr of many": ("pr", [record(0.3, method=m) for m in METHODS]),
    "map-bits": ("map-bits", [record(0.3 + s / 50, bits=b, seed=s) for b in (16, 32, 64, 128) for s in SEEDS]),
    "map-bits of many": ("map-bits", [record(0.3, method=m, bits=b) for m in METHODS for b in (16, 128)]),
    "map-bits of a long name": ("map-bits", [record(0.3, backbone=b, bits=8) for b in ("lite", LONG)]),
    "map-bits of one": ("map-bits", [record(0.3)]),
    "prompts": ("prompts", [prompt(m, r, s) for m, r in (("set_mean", 12), ("onehot", None), ("random", 30))
                            for s in SEEDS]),
    "prompts at two lengths": ("prompts", [prompt(m, r, bits=b) for m, r in (("set_mean", 12), ("joined", None))
                                           for b in (16, 64)]),
    "prompts without ranks": ("prompts", [prompt("set_mean", None)]),
    "sensitivity": ("sensitivity", [record(0.5 - a / 9 + b / 50 + s / 100, alpha=a, beta=b, seed=s)
                                    for a in ALPHAS for b in (0.0, 0.05, 1.0) for s in SEEDS]),
    "sensitivity of words": ("sensitivity", [record(0.3, method="skdch", margin=m, pull=p)
                                             for m in (1.0, "bits/8") for p in (0.0, 0.1)]),
    "alpha": ("alpha", [penalty(a, s) for a in ALPHAS for s in SEEDS]),
    "alpha at four lengths": ("alpha", [penalty(a, bits=b) for a in (0.05, 0.2) for b in (16, 32, 64, 128)]),
    "training": ("training", [record(0.5, 0.52 + s / 100, seed=s, **way,
                                     diagnostics={"student/drift": 0.1} if "stage2_image" in way else {})
                              for way in WAYS for s in SEEDS]),
    "training in one way": ("training", [record(0.5, 0.52)]),
    "backbones": ("backbones", [record(0.5, 0.4, backbone=b, seed=s, **way) for b in ("lite", LONG, "resnet18:scratch")
                                for way in ({"teacher": "none"}, {"label_modality": "onehot"}, {}) for s in SEEDS]),
    "backbones at two lengths": ("backbones", [record(0.5, bits=b, teacher=t) for b in (16, 64)
                                               for t in ("none", "two_stage")]),
    "labels": ("labels", [record(0.5 - v / 5 + s / 100, seed=s, method=m, conditions={c: v} if v else {})
                          for c in ("label_drop", "label_spurious", "labelled") for v in (0, 0.1, 0.3, 0.5)
                          for m in ("soda", "skdch") for s in SEEDS if v or c == "label_drop"]),
    "labels over one condition": ("labels", [record(0.5, conditions={"text_junk": v}) for v in (4, 8, 16)]),
    "labels over close values": ("labels", [record(0.5, conditions={"text_keep": v}) for v in (0.1, 0.12, 0.5, 0.99)]),
    "labels over a setting": ("labels", [record(0.5, epochs=e) for e in (1, 2, 4, 8, 16, 30, 60)]),
    "stage1": ("stage1", [staged(q, (q or 0) / 2 + 0.3, teacher_epochs=e, bits=b) for b in (16, 64)
                          for e, q in ((0, None), (1, 0.2), (8, 0.4), (30, 0.5))]),
    "stage1 of one": ("stage1", [staged(0.5, 0.4)]),
    "components": ("components", [record(0.5, seed=s, **arm) for arm in WAYS for s in SEEDS]),
    "components of many": ("components", [record(0.5, method=m, backbone=(LONG, "lite")[i % 2])
                                           for i, m in enumerate(METHODS)]),
    "components of one": ("components", [record(0.5)]),
    "topn": ("topn", [record(0.3 + s / 50, bits=b, seed=s) for b in (16, 32, 64, 128) for s in SEEDS]),
    "topn of many": ("topn", [record(0.3, method=m, backbone=LONG if m == "method3" else "lite") for m in METHODS]),
    "pareto": ("pareto", [record(0.5 - i / 90, i / 60, method=m, bits=b, seed=s, speed=3e5 + 9e4 * i + s)
                          for i, m in enumerate(METHODS[:5]) for b in (16, 64) for s in SEEDS]),
    "pareto of many": ("pareto", [record(0.5 - i % 7 / 90, method=m, speed=10.0 ** (1 + i % 11 / 2))
                                  for i, m in enumerate(METHODS)]),
    "pareto of one": ("pareto", [record(0.5, speed=1e4), record(0.4, method="a", bits=8)]),
    "ranks": ("ranks", folded(METHODS[:5], (16, 32))),
    "ranks of many": ("ranks", folded([*METHODS, "a method with a rather long name of its own"])),
    "ranks of one protocol": ("ranks", folded(METHODS[:3], (16,), FOLDS[:1])),
    "folds": ("folds", folded(METHODS[:4], (16, 128))),
    "folds of many": ("folds", folded([*METHODS, "a method with a rather long name of its own"])),
    "folds of one": ("folds", folded(["soda"], folds=FOLDS[:2])),
}  # fmt: skip


def epochs(quantities: Sequence[str], phases: Sequence[str] = ("",), count: int = 30) -> list[dict[str, Any]]:
    """A log of falling numbers."""
    return [
        {"phase": phase, "epoch": at, **{name: 1 / (1 + at + i) for i, name in enumerate(quantities)}}
        for phase in phases for at in range(count)
    ]  # fmt: skip


STAGES = ("teacher", "student")
KEPT: dict[str, tuple[str, str, Callable[[Store], list[Record]]]] = {
    "curves": ("curves", "losses", lambda store: [
        keep(store, seed=s, log=epochs(["phi1", "phi2"], STAGES)) for s in SEEDS]),
    "curves of bits": ("curves", "bits", lambda store: [
        keep(store, method=m, log=epochs(["dead", "balance"], phases, 9))
        for m, phases in (("dcmh", [""]), ("soda", STAGES))]),
    "curves of a long phase": ("curves", "signals", lambda store: [
        keep(store, log=epochs(["gradient_norm_of_the_student", "drift", "theta"], ["adversarial teacher"], 1))]),
    "classes": ("classes", "bars", lambda store: [
        keep(store, seed=s, method=m) for m in ("soda", LONG) for s in SEEDS]),
    "classes of one": ("classes", "bars", lambda store: [keep(store)]),
    "examples": ("examples", "image-to-text", lambda store: [keep(store)]),
    "examples of pictures": ("examples", "text-to-image", lambda store: [keep(store, bits=64)]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "open_dataset", lambda name, protocol=None: Gallery())


def staged_scene(scene: str, folder: Path) -> tuple[Plot, str, list[Record]]:
    """A figure, one of its kinds, and what it is drawn of."""
    if scene in SCENES:
        name, records = SCENES[scene]
        plot = figure(name)
        return plot, plot.kinds[0], records
    name, kind, make = KEPT[scene]
    store = Store(folder)
    return figure(name, store), kind, make(store)


@pytest.mark.parametrize("scene", [*SCENES, *KEPT])
def test_nothing_is_cut_or_covered(scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plot, kind, records = staged_scene(scene, tmp_path)
    shown = plot.table(records, kind)
    drawn = plot.draw(shown, kind)
    words: dict[Text, None] = {}  # those that are drawn; an axis has labels of ticks that lie beyond it, too
    draw = Text.draw

    def seen(text: Text, *arguments: Any, **options: Any) -> None:
        if text.get_text() and text.get_visible():
            words[text] = None
        draw(text, *arguments, **options)

    monkeypatch.setattr(Text, "draw", seen)
    FigureCanvasAgg(drawn).draw()
    assert words
    everything = drawn.bbox
    for text in words:
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= everything.x1 + 1 and box.y1 <= everything.y1 + 1
        assert inside, f"{text.get_text()!r} is cut"
    for a, b in combinations(words, 2):
        assert not _overlap(a.get_window_extent(), b.get_window_extent()), f"{a.get_text()!r} on {b.get_text()!r}"
    for legend in drawn.legends:
        for ax in drawn.axes:
            assert not _overlap(legend.get_window_extent(), ax.get_window_extent()), "the legend covers data"
    caption = drawn.get_supxlabel().replace("\n", " ")
    assert all(of.spec.protocol in caption for of in records) and ("seed" in caption or "a dot each" in caption)
    if "chance" in shown:
        lowest = f"{shown['chance'].min():.4f}"
        assert f"chance {lowest.removeprefix('0')}" in caption
    assert drawn.get_figwidth() >= 3.3


@pytest.mark.parametrize("scene", [*SCENES, *KEPT])
def test_the_csv_beside_it_draws_the_same_figure(scene: str, tmp_path: Path) -> None:
    """Nothing is shown that the table does not hold, but for the pictures of a data set."""
    plot, kind, records = staged_scene(scene, tmp_path)
    shown = plot.table(records, kind)
    again = pd.read_csv(io.StringIO(shown.to_csv(index=False)), keep_default_na=False, na_values=[""])
    for column in shown:
        if shown[column].dtype == object or str(shown[column].dtype) == "str":
            again[column] = list(shown[column])  # an empty word is no missing number
    drawn = [_pixels(plot.draw(of, kind)) for of in (shown, again)]
    assert np.array_equal(*drawn)


def test_map_bits_is_mean_and_deviation_over_seeds() -> None:
    rows = table(
        "map-bits", [record(m, m / 2, bits=b, seed=s) for b, s, m in ((16, 0, 0.3), (16, 1, 0.5), (32, 0, 0.6))]
    )
    assert list(rows["arm"].unique()) == ["soda"]
    found = rows.set_index(["task", "bits"])
    assert found.loc[("image->text", 16), ["mean", "deviation", "seeds"]].tolist() == pytest.approx(
        [0.4, sqrt(0.02), 2]
    )
    assert found.loc[("text->image", 16), "mean"] == pytest.approx(0.2)
    one = found.loc[("image->text", 32)]
    assert one["mean"] == 0.6 and np.isnan(one["deviation"]) and one["seeds"] == 1
    assert set(rows["chance"]) == {CHANCE} and set(rows["metric"]) == {"map@all"}


def test_the_protocols_own_metric_is_shown() -> None:
    other = record(0.3)
    other.rules["metric"] = "map@50/standard"
    for metrics in other.metrics.values():
        metrics["map@50/standard"] = 0.7
    assert set(table("map-bits", [other])["mean"]) == {0.7}
    assert set(table("map-bits", [other, record(0.3, bits=32)])["metric"]) == {"map@all"}  # not every run has it


def test_arms_are_named_by_what_was_changed() -> None:
    arms = [{}, {"alpha": 0.0}, {"teacher": "none"}, {"teacher": "none", "alpha": 0.0}, {"beta": 0.0}, {"epochs": 5}]
    rows = table("components", [record(0.9 - i / 10, **arm) for i, arm in enumerate(arms)])
    assert list(dict.fromkeys(rows["arm"])) == [
        "soda", "alpha=0.0", "teacher=none", "alpha=0.0 teacher=none", "beta=0.0", "epochs=5",
    ]  # fmt: skip
    two = table("components", [record(0.5), record(0.4, alpha=1.0), record(0.3, method="dcmh", bits=32)])
    assert list(dict.fromkeys(two["arm"])) == ["soda alpha=0.05 16 bits", "soda alpha=1.0 16 bits", "dcmh 32 bits"]


def test_a_condition_is_told_between_methods_too() -> None:
    rows = table("components", [record(0.5), record(0.4, method="dcmh", conditions={"label_drop": 0.1})])
    assert set(rows["arm"]) == {"soda", "dcmh label_drop=0.1"}


def test_runs_that_only_a_version_tells_apart_are_not_averaged() -> None:
    first, second = record(0.5, seed=0), record(0.4, seed=1)
    object.__setattr__(second, "evaluation_version", 7)
    assert set(table("components", [first, second])["seeds"]) == {1}


def test_models_of_other_views_are_told_by_their_views() -> None:
    pair, more = record(0.5), record(0.4)
    for tags in ("tags->text", "text->tags"):
        more.metrics[tags] = dict(more.metrics["text->image"])
    more.spec.views["tags"] = more.spec.views["text"]
    rows = table("components", [pair, more])
    assert list(dict.fromkeys(rows["arm"])) == ["views=image+text", "views=image+text+tags"]
    assert rows.groupby("arm", sort=False)["task"].count().tolist() == [2, 4]


def test_components_are_sorted_by_mean_over_tasks() -> None:
    rows = table("components", [record(0.1, 0.2, method="a"), record(0.5, 0.1, method="b"), record(0.2, method="c")])
    assert list(dict.fromkeys(rows["arm"])) == ["b", "c", "a"]


def test_prompts_have_rank_and_map() -> None:
    rows = table("prompts", SCENES["prompts at two lengths"][1]).set_index(["arm", "label_modality", "task"])
    assert rows.loc[("16 bits", "set_mean", "text->image"), ["mean", "effective_rank"]].tolist() == pytest.approx(
        [0.6, 12]
    )
    assert np.isnan(rows.loc[("64 bits", "joined", "image->text"), "effective_rank"])


@pytest.mark.parametrize(("kind", "expected"), [("mean", 0.45), ("image-to-text", 0.4), ("text-to-image", 0.5)])
def test_sensitivity_has_a_cell_a_pair(kind: str, expected: float) -> None:
    runs = [record(0.4, 0.5, alpha=a, beta=b, seed=s) for a in (0.0, 1.0) for b in (0.0, 5.0) for s in (0, 1)]
    rows = table("sensitivity", runs[:-2], kind)
    assert set(zip(rows["x_value"], rows["y_value"], strict=True)) == {(0, 0), (0, 5), (1, 0)}
    assert set(rows["x"]) == {"alpha"} and set(rows["y"]) == {"beta"} and set(rows["seeds"]) == {2}
    assert rows["mean"].tolist() == pytest.approx([expected] * 3)


def test_the_deviation_of_a_mean_over_tasks_is_that_of_the_runs_means() -> None:
    runs = [record(0.4, 0.6, alpha=0.0, beta=b, seed=0) for b in (0.0, 1.0)]
    runs += [record(0.6, 0.4, alpha=0.0, beta=b, seed=1) for b in (0.0, 1.0)] + [record(0.5, alpha=1.0, beta=0.0)]
    assert table("sensitivity", runs)["deviation"].iloc[0] == pytest.approx(0, abs=1e-12)


def test_alpha_has_the_parts_of_the_loss_and_map() -> None:
    runs = [penalty(alpha, seed) for alpha in (0.0, 1.0) for seed in (0, 1)]
    rows = table("alpha", runs).set_index(["panel", "task", "value"])["mean"].sort_index()
    assert rows.loc[("loss", "phi1")].to_dict() == pytest.approx({0: 0.1, 1: 1.1})
    assert rows.loc[("loss", "phi2")].to_dict() == pytest.approx({0: 1.0, 1: 0.9})
    assert rows.loc[("MAP", "image->label")].to_dict() == pytest.approx({0: 0.55, 1: 0.55})
    assert rows.loc[("MAP", "image->text")].to_dict() == pytest.approx({0: 0.505, 1: 0.455})
    student = table("alpha", runs, "student")
    assert set(student.loc[student["panel"] == "loss", "task"]) == {"phi3", "phi4"}


def test_zero_has_a_place_on_the_axis_of_alpha() -> None:
    plot = figure("alpha")
    ax = plot.draw(table("alpha", SCENES["alpha"][1]), "teacher").axes[-1]
    low, high = ax.get_xlim()
    assert ax.get_xscale() == "symlog" and low < 0 < 5 < high and ax.get_xticks().tolist() == [0, 0.01, 0.05, 0.2, 1, 5]


def test_training_goes_from_staged_to_joint() -> None:
    rows = table("training", SCENES["training"][1])
    assert list(dict.fromkeys(rows["arm"])) == [
        "no teacher", "two_stage", "finetune", "finetune finetune_rate=0.01", "ema", "swap", "joint",
    ]  # fmt: skip
    drift = rows.drop_duplicates("way").set_index("way")["drift"]
    assert drift["ema"] == pytest.approx(0.1) and np.isnan(drift["two_stage"])


def test_backbones_gain_is_paired_by_seed() -> None:
    runs = [record(m, backbone="lite", seed=s, teacher="none") for s, m in enumerate((0.1, 0.3))]
    runs += [record(m, backbone="lite", seed=s) for s, m in enumerate((0.2, 0.5, 0.9))]
    runs += [record(0.4, backbone="other", tuning="full", epochs=5)]
    rows = table("backbones", runs)
    rows = rows[rows["task"] == "image->text"].set_index(["backbone", "position"])
    gain = rows.loc[("lite + minilm", "teacher")]
    assert [gain["gain"], gain["gain_deviation"], gain["seeds"]] == pytest.approx([0.15, sqrt(0.005), 3])
    assert rows.loc[("lite + minilm", "no teacher"), "gain"] == 0
    assert np.isnan(rows.loc[("other + minilm, tuned", "teacher"), "gain"])


def test_labels_have_a_column_a_condition() -> None:
    rows = table("labels", SCENES["labels"][1])
    assert set(rows["arm"]) == {"soda", "skdch"}
    values = rows[rows["arm"] == "soda"].groupby("condition")["value"].agg(lambda of: sorted(set(of))).to_dict()
    assert values == {"label_drop": [0, 0.1, 0.3, 0.5], "label_spurious": [0, 0.1, 0.3, 0.5],
                      "labelled": [0.1, 0.3, 0.5, 1.0]}  # fmt: skip
    setting = table("labels", SCENES["labels over a setting"][1])
    assert set(setting["condition"]) == {"epochs"} and sorted(set(setting["value"])) == [1, 2, 4, 8, 16, 30, 60]


def test_two_conditions_at_once_are_lines_of_their_own() -> None:
    runs = [
        record(0.5, conditions={k: v for k, v in (("label_drop", d), ("label_spurious", s)) if v})
        for d in (0, 0.1) for s in (0, 0.3)
    ]  # fmt: skip
    rows = table("labels", runs)
    drop = rows[rows["condition"] == "label_drop"]
    assert set(drop["arm"]) == {"soda", "label_spurious=0.3"} and len(drop) == 8
    with pytest.raises(UsageError, match="1 of these runs differ from all others in several"):
        table("labels", [runs[0], runs[3]])


def test_stage1_leaves_out_what_was_not_measured_and_says_so() -> None:
    rows = table("stage1", SCENES["stage1"][1], "image-to-text")
    assert set(rows["left_out"]) == {2} and len(rows) == 6 and set(rows["arm"]) == {"16 bits", "64 bits"}
    assert rows["final"].tolist() == pytest.approx((rows["stage1"] / 2 + 0.3).tolist()) == rows["fit"].tolist()


def test_spearman_stands_in_the_caption() -> None:
    pairs = [(0.1, 0.2), (0.2, 0.1), (0.3, 0.4), (0.4, 0.3)]  # 1 - 6 * 4 / (4 * 15) = .6
    drawn = figure("stage1").draw(
        table("stage1", [staged(q, f, teacher_epochs=i) for i, (q, f) in enumerate(pairs)]), "mean"
    )
    assert "ρ = .60" in drawn.get_supxlabel().replace("\n", " ")


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_monotone_fit_is_that_of_its_min_max_formula(points: list[tuple[int, float]]) -> None:
    """Fit at i: largest over j <= i of the smallest over k >= i of the mean of y from j to k (Barlow et al., 1972)."""
    monotone = _module("stage1").monotone
    x, y = np.array([p[0] for p in points], float), np.array([p[1] for p in points])
    expected = [
        max(min(y[(x >= a) & (x <= b)].mean() for b in x if b >= at) for a in x if a <= at) for at in x
    ]  # fmt: skip
    assert monotone(x, y) == pytest.approx(expected, abs=1e-9)


def test_topn_is_the_curve_over_ranks() -> None:
    runs = [record(m, m / 2, seed=s) for s, m in enumerate((0.3, 0.5))] + [record(0.7, bits=64)]
    rows = table("topn", runs).set_index(["task", "bits", "n"]).sort_index()
    assert rows.loc[("image->text", 16), "mean"].tolist() == pytest.approx([0.4, 0.2, 0.1, CHANCE])
    assert rows.loc[("image->text", 16), "deviation"].tolist() == pytest.approx([sqrt(0.02), sqrt(0.02) / 2, 0, 0])
    assert rows.loc[("image->text", 64, 10), "mean"] == 0.35 and set(rows["chance"]) == {CHANCE}
    assert sorted(rows.index.unique("n")) == [1, 10, 100, 1000]


def test_curves_are_means_over_seeds_of_what_was_logged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [
        keep(store, seed=s, log=[
            {"phase": "prompts", "effective_rank": 9.0},
            {"phase": "teacher", "epoch": 0, "loss": 1.0 + s, "dead": 0.5, "map_image_text": 0.1, "flag": True},
            {"phase": "teacher", "epoch": 1, "loss": 0.5 + s, "dead": 0.25 * s, "theta": 3.0},
            {"step": 4, "objective": 7.0},
            {"phase": "end", "map_text_text": 0.9},
        ])
        for s in (0, 1)
    ]  # fmt: skip
    plot = figure("curves", store)
    columns = ["quantity", "phase", "count", "at", "mean", "deviation", "seeds"]
    assert plot.table(runs, "losses")[columns].values.tolist() == [
        ["loss", "teacher", "epoch", 0, 1.5, pytest.approx(sqrt(0.5)), 2],
        ["loss", "teacher", "epoch", 1, 1.0, pytest.approx(sqrt(0.5)), 2],
        ["objective", "", "step", 4, 7.0, 0, 2],
    ]
    seen = {kind: plot.table(runs, kind)["quantity"].unique().tolist() for kind in plot.kinds}
    assert seen == {"losses": ["loss", "objective"], "bits": ["dead"], "maps": ["map_image_text"], "signals": ["theta"]}


def test_curves_refuses_a_run_without_epochs_and_a_damaged_log(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [keep(store, log=epochs(["loss"])), keep(store, method="cvh", log=[{"phase": "end", "loss": 1.0}])]
    plot = figure("curves", store)
    with pytest.raises(
        UsageError, match=rf"curves: cvh \(run {runs[1].key[:16]}\) logged nothing over epochs; .*--where"
    ):
        plot.table(runs, "losses")
    with pytest.raises(UsageError, match="none of these runs logged such numbers; take --kind losses"):
        plot.table(runs[:1], "maps")
    (store.folder(runs[0].spec) / "log.jsonl").write_text('{"epoch": 0')
    with pytest.raises(DataError, match=r"log\.jsonl: cannot be read"):
        plot.table(runs[:1], "losses")


@pytest.mark.parametrize("name", ["curves", "classes", "examples"])
def test_a_figure_of_what_stands_beside_records_needs_their_store(name: str) -> None:
    with pytest.raises(UsageError, match="needs their store"):
        table(name, [record(0.5)])


def by_hand(store: Store, runs: Sequence[Record], task: str, label: str) -> tuple[list[float], int]:
    """AP of a class under each run, and its queries: the definition in loops."""
    data = Gallery()
    asking = rows_with(data, "query", task.partition("->")[0])
    of_runs = [store.queries(run)[task] for run in runs]
    column = data.class_names.index(label)
    with_class = [at for at, row in enumerate(asking) if data.labels[row, column] and any(of[at] > 0 for of in of_runs)]
    return [sum(float(of[at]) for at in with_class) / max(len(with_class), 1) for of in of_runs], len(with_class)


def test_a_class_is_the_mean_over_its_queries(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [keep(store, seed=s) for s in SEEDS]
    rows = figure("classes", store).table(runs, "bars")
    assert set(rows["class"]) == set(CLASSES) and len(rows) == 2 * len(CLASSES)
    for row in rows.itertuples():
        values, queries = by_hand(store, runs, row.task, row._1)
        assert row.queries == queries and row.seeds == 3 and np.isnan(row.difference)
        assert [row.ap, row.deviation] == pytest.approx([np.mean(values), np.std(values, ddof=1)], abs=1e-6)
    assert rows.groupby("class", sort=False)["ap"].mean().is_monotonic_decreasing


def test_classes_have_the_difference_of_two_arms_paired_by_seed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, other = ([keep(store, seed=s, method=m) for s in SEEDS] for m in ("soda", "dcmh"))
    rows = figure("classes", store).table([*one, *other], "bars")
    assert set(rows["arm"]) == {"soda"} and set(rows["against"]) == {"dcmh"}
    for row in rows.itertuples():
        values, queries = by_hand(store, [*one, *other], row.task, row._1)
        differences = np.subtract(values[:3], values[3:])
        assert row.queries == queries
        assert [row.difference, row.deviation] == pytest.approx([differences.mean(), differences.std(ddof=1)], abs=1e-6)
    assert rows.groupby("class", sort=False)["difference"].mean().is_monotonic_decreasing
    unpaired = figure("classes", store)
    found = unpaired.table([*one, *other[1:]], "bars")
    assert found["deviation"].isna().all() and "no deviation" in unpaired.draw(found, "bars").get_supxlabel()


def test_chance_of_a_class_is_the_share_of_what_shares_a_label(tmp_path: Path) -> None:
    store, data = Store(tmp_path), Gallery()
    rows = figure("classes", store).table([keep(store)], "bars").set_index(["task", "class"])
    asking, found = rows_with(data, "query", "text"), rows_with(data, "database", "image")
    shares = [
        np.mean([bool((data.labels[q] & data.labels[d]).any()) for d in found]) for q in asking if data.labels[q, 2]
    ]
    assert rows.loc[("text->image", "tool"), "chance_of_class"] == pytest.approx(np.mean(shares))


def test_pareto_has_speed_and_size() -> None:
    binary = [record(0.3, bits=b, seed=s, speed=v) for b, s, v in ((12, 0, 10.0), (12, 1, 30.0), (64, 0, 5.0))]
    real = record(0.6, method="real", bits=64, speed=40.0)
    for curves in real.curves.values():
        for name in [name for name in curves if name.startswith("radius/")]:
            del curves[name]
    rows = table("pareto", [*binary, real]).set_index(["task", "arm"]).loc["image->text"]
    assert rows.loc["soda 12 bits", "speed_deviation"] == pytest.approx(sqrt(200))
    assert rows[["items_per_second", "bytes"]].T.to_dict("list") == {
        "soda 12 bits": [20, 2], "soda 64 bits": [5, 8], "real 64 bits": [40, 256],
    }  # fmt: skip
    assert rows["front"].tolist() == [False, False, True]
    sizes = table("pareto", [*binary, real, record(0.5, method="b")], "size")
    assert sizes[sizes["task"] == "image->text"].set_index(["arm", "bits"])["front"].to_dict() == {
        ("soda", 12): False, ("soda", 64): False, ("real", 64): True, ("b", 16): True,
    }  # fmt: skip
    untimed = table("pareto", [*binary, record(0.5, method="theirs")])
    assert set(untimed["left_out"]) == {1} and "theirs" not in str(set(untimed["arm"]))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats(points: list[tuple[int, int]]) -> None:
    found = _module("pareto").front([cost for cost, _ in points], [gain for _, gain in points])
    for (cost, gain), on in zip(points, found, strict=True):
        beaten = any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
        assert on == (not beaten)


DEMSAR = """
.763 .768 .771 .798, .599 .591 .590 .569, .954 .971 .968 .967, .628 .661 .654 .657, .882 .888 .886 .898,
.936 .931 .916 .931, .661 .668 .609 .685, .583 .583 .563 .625, .775 .838 .866 .875, 1 1 1 1, .940 .962 .965 .962,
.619 .666 .614 .669, .972 .981 .9751 .975, .957 .978 .946 .970
"""
"""AUC of C4.5, +m, +cf and +m+cf on 14 data sets, table 6 of Demšar's paper; .9751 is .975 there, but ranked before."""


def test_ranks_are_those_of_demsars_example() -> None:
    scores = [[float(value) for value in row.split()] for row in DEMSAR.replace("\n", " ").split(",")]
    runs = [
        replace(run, metrics={"image->text": run.metrics["image->text"]})
        for i, row in enumerate(scores) for name, score in zip(("C4.5", "m", "cf", "m+cf"), row, strict=True)
        for run in [record(score, method=name, protocol=f"set{i}@1")]
    ]  # fmt: skip
    rows = table("ranks", runs)
    average = rows.drop_duplicates("arm").set_index("arm")["average_rank"].round(3).to_dict()
    assert average == {"m+cf": 1.964, "m": 2.0, "cf": 2.893, "C4.5": 3.143}
    first = rows.iloc[0]
    assert first["critical_difference"] == pytest.approx(1.25, abs=0.005) and first["blocks"] == 14
    tied = (6 + 6 + 60 + 6) / (14 * 4 * 15)  # the paper's 9.28 is not corrected for ties
    assert first["friedman_chi2"] == pytest.approx(9.28 / (1 - tied), abs=0.02)


def test_nemenyis_q_is_that_of_demsars_table() -> None:
    difference = _module("ranks").critical_difference
    for arms, q in zip(range(2, 11), (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), strict=True):
        assert difference(arms, 6) == pytest.approx(q * sqrt(arms * (arms + 1) / 36), abs=2e-3 * arms)


def test_no_difference_is_drawn_where_friedman_finds_none() -> None:
    ranks = _module("ranks")
    assert ranks.friedman(np.full((6, 3), 2.0)) == (0.0, 1.0)
    same = [record(0.5, method=m, protocol=p) for m in "abc" for p in FOLDS]
    plot = figure("ranks")
    rows = plot.table(same, "nemenyi")
    assert set(rows["rank"]) == {2.0} and set(rows["friedman_p"]) == {1.0}
    said = plot.draw(rows, "nemenyi").get_supxlabel().replace("\n", " ")
    assert "no difference between any" in said and "not independent" in said


def test_independent_blocks_are_not_called_dependent() -> None:
    runs = [
        replace(run, metrics={"image->text": run.metrics["image->text"]}, spec=replace(run.spec, dataset=f"set{i}"))
        for i in range(4) for m in "abc" for run in [record(0.5, method=m, protocol=f"set{i}@1")]
    ]  # fmt: skip
    plot = figure("ranks")
    assert "independent" not in plot.draw(plot.table(runs, "nemenyi"), "nemenyi").get_supxlabel()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=9), st.integers(1, 6))
def test_lines_join_exactly_the_arms_that_are_closer_than_the_difference(ranks: list[int], apart: int) -> None:
    groups = _module("ranks").joined(np.array(ranks, float), apart)
    for a, b in combinations(ranks, 2):
        together = any(low <= min(a, b) and max(a, b) <= high for low, high in groups)
        assert together == (abs(a - b) < apart)
    assert not any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in groups for b in groups), "none within another"


def test_ranks_and_folds_name_a_method_whatever_was_chosen_for_it_where() -> None:
    """Settings that were tuned on each protocol do not make another arm of a method."""
    runs = [record(0.5, alpha=0.1 * i, protocol=p) for i, p in enumerate(FOLDS)]
    runs += [record(0.4, method=m, protocol=p) for m in ("dcmh", "cvh") for p in FOLDS]
    for name in ("ranks", "folds"):
        rows = table(name, runs)
        assert rows.groupby("arm")["settings"].first().to_dict() == {"soda": 5, "dcmh": 1, "cvh": 1}
    assert "differ between blocks: soda" in figure("ranks").draw(
        table("ranks", runs), "nemenyi"
    ).get_supxlabel().replace("\n", " ")


def test_folds_have_the_place_of_each_arm_in_its_fold() -> None:
    runs = [record(m, 0.5, method=name, protocol=p, seed=s)
            for p, by_method in zip(FOLDS, ({"a": 0.3, "b": 0.2}, {"a": 0.1, "b": 0.2}, {"a": 0.4}), strict=False)
            for name, m in by_method.items() for s in (0, 1)]  # fmt: skip
    rows = table("folds", runs)
    assert list(dict.fromkeys(rows["arm"])) == ["a", "b"] and set(rows["seeds"]) == {2}
    found = rows[rows["task"] == "image->text"].set_index(["arm", "protocol"])[["mean", "rank", "of"]]
    assert found.loc["a"].to_numpy().tolist() == [[0.3, 1, 2], [0.1, 2, 2], [0.4, 1, 1]]
    assert found.loc["b"].to_numpy().tolist() == [[0.2, 2, 2], [0.2, 1, 2]]
    tied = rows[(rows["task"] == "text->image") & (rows["of"] == 2)]
    assert set(tied["rank"]) == {1.5}
    assert "not on every fold: b" in figure("folds").draw(rows, "boxes").get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("name", ["ranks", "folds"])
def test_one_protocol_of_two_splits_is_refused(name: str) -> None:
    runs = folded(["a", "b", "c"])
    other = replace(runs[0], spec=replace(runs[0].spec, split="ffff", seed=1))
    with pytest.raises(UsageError, match="runs of 2 splits; choose one with --where split="):
        table(name, [*runs, other])


def test_examples_are_what_the_codes_find(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = keep(store)
    rows = figure("examples", store).table([run], "image-to-text")
    data, found = examples(store, run, "image->text", 4, 10)
    assert rows["query"].value_counts().to_dict() == dict.fromkeys((1, 2, 3, 4), 11)
    hits = rows[rows["place"] > 0]
    assert hits["row"].tolist() == [hit.row for example in found for hit in example.hits]
    assert hits["distance"].tolist() == [hit.distance for example in found for hit in example.hits]
    assert hits["relevant"].tolist() == [bool(hit.shared) for example in found for hit in example.hits]
    assert rows.loc[rows["place"] == 0, "row"].tolist() == [example.row for example in found]
    assert rows["item"].tolist() == [data.ids[row] for row in rows["row"]] and set(hits["view"]) == {"text"}
    assert not hits["picture"].any() and rows.loc[rows["place"] == 0, "picture"].all()


def test_the_backbone_of_most_arms_is_left_out() -> None:
    rows = table(
        "components", [record(0.5, method=m, backbone=b) for m, b in (("a", "lite"), ("b", "lite"), ("c", LONG))]
    )
    assert set(rows["arm"]) == {"a", "b", f"c {LONG} + minilm"}


@pytest.mark.parametrize(
    ("name", "records", "kind", "needs"),
    [
        ("prompts", [record(0.5, method="dcmh")], None, "label_modality, dcmh has none"),
        ("sensitivity", [record(0.5, alpha=a) for a in (0.0, 1.0)], None, "numeric ones here: alpha"),
        ("sensitivity", [record(0.5, alpha=a, beta=a, teacher=t) for a, t in ((0.0, "joint"), (1.0, "none"))], None,
         "others: teacher"),
        ("sensitivity", [record(0.5, alpha=a, beta=a) for a in (0.0, 1.0)], "audio-to-text", "--kind mean"),
        ("alpha", [record(0.5)], None, "exactly one numeric setting"),
        ("alpha", [record(0.5, alpha=a) for a in (0.0, 1.0)], None, "none of these runs logged phi1 or phi2"),
        ("alpha", [record(0.5, method="skdch", **s) for s in ({}, {"rounds": 2}, {"rounds": 3})], None,
         "rounds is not written in every run"),
        ("training", [record(0.5, method="ukd", teacher="none")], None, "ukd has not both"),
        ("backbones", [record(0.5)], None, "without and with its teacher"),
        ("labels", [record(0.5)], None, "exactly one numeric setting"),
        ("stage1", [record(0.5)], None, "teacher/map_image_label"),
        ("pareto", [record(0.5)], None, "--kind size"),
        ("ranks", [record(0.5, method=m, protocol=p) for m in "ab" for p in FOLDS], None, "are 2 on 10"),
        ("ranks", folded(["a", "b", "c"])[:-1], None, "c has no run on pictograms-fold5@1, image->text, 16 bits"),
        ("folds", [record(0.5)], None, "these follow pictograms@1"),
        ("folds", [record(0.5), replace(record(0.4), spec=replace(record(0.4).spec, dataset="wiki"))], None,
         "these runs are of pictograms, wiki"),
        ("examples", [record(0.5), record(0.5, seed=1)], None, "these are 2; choose one with --where"),
        ("examples", [replace(record(0.5), metrics={"image->text": record(0.5).metrics["image->text"]})],
         "text-to-image", "this run measured image->text"),
        ("classes", [record(0.5, method=m) for m in "abcde"], None, "have 5 (a, b, c, d, ...)"),
    ],
)  # fmt: skip
def test_a_figure_says_in_one_line_what_it_needs(
    name: str, records: list[Record], kind: str | None, needs: str
) -> None:
    with pytest.raises(UsageError) as refused:
        table(name, records, kind)
    said = str(refused.value)
    assert needs in said and said.startswith(f"{name}: ") and "\n" not in said
    assert "hashbench run" in said or "--where" in said or "--kind" in said


def test_all_looks_of_a_full_legend_differ() -> None:
    looks = _module("style").looks([str(i) for i in range(70)])
    assert len({(look["color"], look["marker"]) for look in looks.values()}) == 70


@pytest.mark.parametrize(
    "text", ["", "a", "label_modality=onehot", "finetune finetune_rate=0.01", LONG, "x" * 50, "a  b"]
)
def test_wrapping_loses_nothing_but_spaces(text: str) -> None:
    lines = _module("style").wrapped(text, 20).split("\n")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(len(line) <= 20 for line in lines) or "x" * 21 in text


def _module(name: str) -> Any:
    """A module beside a built-in figure."""
    import importlib

    return importlib.import_module(registry.plots.entries()["pr"].module.replace(".pr", f".{name}"))


def _overlap(a: Any, b: Any) -> bool:
    """Whether two boxes share more than a pixel each way."""
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


def _pixels(drawn: Figure) -> Any:
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_arms_have_the_names_that_their_study_gave() -> None:
    """And not the settings that stand for them, tuned ones among these; what else differs is told behind."""
    arms = {"SODA": {}, "no teacher": {"teacher": "none", "beta": 0.2}, "DCMH": {"method": "dcmh"}}
    records = [
        replace(made, settings={**made.settings, "arm": name})
        for name, settings in arms.items()
        for made in (
            record(0.5, seed=seed, conditions=c, **settings) for seed in SEEDS for c in ({}, {"labelled": 0.1})
        )
    ]
    named = list(dict.fromkeys(table("components", records)["arm"]))
    assert named == [f"{name}{more}" for name in arms for more in ("", " labelled=0.1")]
    assert list(dict.fromkeys(table("labels", records)["arm"])) == list(arms)
