"""Figures of records with chosen numbers: what each shows, what it refuses, and that nothing is cut or covered."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import combinations
from math import sqrt
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
from hashbench.errors import UsageError
from hashbench.plot import Plot
from hashbench.store import Record

from .records import CHANCE, record

SEEDS = range(3)
LONG = "clip:ViT-bigG-14-CLIPA-336:datacomp1b-and-a-very-long-tag@448"


def figure(name: str) -> Plot:
    return registry.plots.get(name)()


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
}  # fmt: skip


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_cut_or_covered(scene: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, records = SCENES[scene]
    plot = figure(name)
    drawn = plot.draw(plot.table(records, plot.kinds[0]), plot.kinds[0])
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
    assert "pictograms@1" in caption and "chance .0800" in caption and ("seed" in caption or "a dot each" in caption)
    assert drawn.get_figwidth() >= 3.3


@pytest.mark.parametrize("scene", SCENES)
def test_the_csv_beside_it_draws_the_same_figure(scene: str) -> None:
    """Nothing is shown that the table does not hold."""
    name, records = SCENES[scene]
    plot = figure(name)
    shown = plot.table(records, plot.kinds[0])
    again = pd.read_csv(io.StringIO(shown.to_csv(index=False)), keep_default_na=False, na_values=[""])
    for column in shown:
        if shown[column].dtype == object or str(shown[column].dtype) == "str":
            again[column] = list(shown[column])  # an empty word is no missing number
    drawn = [_pixels(plot.draw(of, plot.kinds[0])) for of in (shown, again)]
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
    assert list(dict.fromkeys(rows["arm"])) == ["views=image,text", "views=image,text,tags"]
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
