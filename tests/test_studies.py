"""Studies: the file says what it means, what it cannot mean is told with its place, and every built-in one expands."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashbench import registry, studies
from hashbench.errors import UsageError
from hashbench.studies import SIZES, Size, Study, read

BASE = """
question = "Does it matter?"
figures = ["components"]
[fixed]
method = "dcmh"
epochs = 3
bits = 16
[axes]
gamma = [0.1, 1]
seed = [0, 1, 2]
[compare]
against = {gamma = 1}
"""


def study(tmp_path: Path, text: str = BASE, size: Size = "quick") -> Study:
    file = tmp_path / "own.toml"
    file.write_text(text)
    return read(file, size)


def test_axes_multiply_and_seeds_are_apart(tmp_path: Path) -> None:
    found = study(tmp_path, BASE.replace("seed = [0, 1, 2]", "seed = [0, 1]\nbits = [16, 32]"))
    arms = found.arms()
    assert [arm.choice for arm in arms] == [
        {"gamma": 0.1, "bits": 16}, {"gamma": 0.1, "bits": 32}, {"gamma": 1, "bits": 16}, {"gamma": 1, "bits": 32},
    ]  # fmt: skip
    assert found.seeds == (0, 1)
    assert [arm.bits for arm in arms] == [16, 32, 16, 32]
    assert arms[0].config == registry.methods.get("dcmh").config_class(gamma=0.1, epochs=3)
    assert arms[0].label == "gamma=0.1 bits=16"


def test_every_arm_finds_the_one_it_is_compared_with(tmp_path: Path) -> None:
    found = study(tmp_path, BASE.replace("seed = [0, 1, 2]", "bits = [16, 32]"))
    arms = found.arms()
    partners = [found.partner(arm, arms) for arm in arms]
    assert [partner and partner.choice for partner in partners] == [
        {"gamma": 1, "bits": 16}, {"gamma": 1, "bits": 32}, None, None,
    ]  # fmt: skip
    without = study(tmp_path, BASE.partition("[compare]")[0])
    assert all(without.partner(arm, without.arms()) is None for arm in without.arms())


def test_named_alternatives_multiply_with_the_axes(tmp_path: Path) -> None:
    text = BASE.replace("gamma = [0.1, 1]\n", "").partition("[compare]")[0]
    text += '[[arms]]\nname = "plain"\n[[arms]]\nname = "balanced"\neta = 0.5\n[compare]\nagainst = "plain"\n'
    found = study(tmp_path, text)
    plain, balanced = found.arms()
    assert (plain.label, balanced.label) == ("plain", "balanced")
    assert (plain.config.eta, balanced.config.eta) == (0.0, 0.5)  # type: ignore[attr-defined]
    assert found.partner(balanced, [plain, balanced]) is plain and found.partner(plain, [plain, balanced]) is None


def test_settings_of_a_method_hold_wherever_it_takes_part(tmp_path: Path) -> None:
    text = (
        'question = "?"\n[fixed]\nbits = 16\n[axes]\nmethod = ["dcmh", "soda", "cca-itq"]\n'
        "[settings.dcmh]\nepochs = 2\n[settings.soda]\nepochs = 4\n[quick]\nsettings.soda = {epochs = 1}\n"
    )
    assert [getattr(arm.config, "epochs", None) for arm in study(tmp_path, text, "quick").arms()] == [2, 1, None]
    assert [getattr(arm.config, "epochs", None) for arm in study(tmp_path, text, "full").arms()] == [2, 4, None]


def test_a_size_replaces_by_name_wherever_the_name_stood(tmp_path: Path) -> None:
    text = BASE + (
        "[quick]\nfixed = {gamma = 1.0, epochs = 1}\naxes = {seed = [0]}\ncompare = {}\n"
        '[full]\nfixed = {dataset = "mirflickr25k"}\naxes = {bits = [16, 64]}\nfigures = []\n'
    )
    text = text.replace("[compare]\nagainst = {gamma = 1}\n", "")
    quick, full = study(tmp_path, text, "quick"), study(tmp_path, text, "full")
    assert [arm.config.key_fields()["epochs"] for arm in quick.arms()] == [1] and quick.seeds == (0,)
    assert len(full.arms()) == 4 and full.seeds == (0, 1, 2) and full.figures == ()
    assert {arm.setup.dataset for arm in full.arms()} == {"mirflickr25k"}


def test_words_of_a_run_reach_the_setup(tmp_path: Path) -> None:
    text = BASE.replace(
        "bits = 16", 'bits = 16\nbackbone = "lite"\ntext_backbone = "bow"\nviews = "image,text"\nlabel_drop = 0.3'
    )
    setup = study(tmp_path, text).arms()[0].setup
    assert (setup.backbones, setup.views) == ({"image": "lite", "text": "bow"}, ("image", "text"))
    assert setup.conditions.set() == {"label_drop": 0.3}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("question =", "qestion ="), "qestion: a study has no such entry. Did you mean 'question'"),
        (('"Does it matter?"', '""'), "say what the study answers"),
        (("gamma = [0.1, 1]", "gamma = 0.1"), "[axes] gamma = 0.1: expected a list"),
        (("epochs = 3", "epochs = [3, 4]"), "[fixed] epochs = [3, 4]: expected one value"),
        (("epochs = 3", "epoch = 3"), "dcmh has no setting 'epoch'. Did you mean 'epochs'"),
        (("gamma = [0.1, 1]", 'gamma = ["much", 1]'), "gamma='much': expected"),
        (("gamma = [0.1, 1]", "gamma = [-1, 1]"), "gamma=-1"),
        (('"dcmh"', '"dcmx"'), "no method 'dcmx'. Did you mean 'dcmh'"),
        (('method = "dcmh"\n', ""), "no method: name one"),
        (("{gamma = 1}", "{gamma = 7}"), "against gamma = 7: no arm has it"),
        (("{gamma = 1}", '"plain"'), "against arm = 'plain': no arm has it"),
        (("bits = 16", 'bits = "many"'), "bits 'many'"),
        (("bits = 16", 'backbone = "lite"\ntuning = "half"'), "tuning 'half': expected frozen or full"),
        (("[compare]", "[tune]\nbudget = 0\n[compare]"), "[tune] budget = 0"),
        (("[compare]", '[tune]\nbudget = 2\nparameters = "all"\n[compare]'), "[tune] parameters"),
        (("[compare]", '[report]\nselect = "epoch"\n[compare]'), "[report] select = 'epoch': no such axis"),
        (("[compare]", "[quick]\naxis = {}\n[compare]"), "[quick] axis: a study has no such entry"),
        (("[compare]", "[compare"), "no TOML"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_place(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = BASE.replace(*change)
    assert text != BASE
    with pytest.raises(UsageError) as error:
        study(tmp_path, text).arms()
    assert told in str(error.value) and "own" in str(error.value)


def test_a_missing_file_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="no study 'promts'"):
        studies.find("promts")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", studies.names())
def test_every_built_in_study_expands(name: str, size: Size) -> None:
    found = studies.find(name, size)
    arms = found.arms()
    assert len(arms) > 1 or name == "main"
    labels = [arm.label for arm in arms]
    assert len(set(labels)) == len(labels), "arms can be told apart"
    assert found.question.endswith("?")
    figures = registry.plots.entries()
    assert set(found.figures) <= set(figures)
    if found.against:
        assert any(found.partner(arm, arms) for arm in arms)
    if size == "quick":
        assert {arm.setup.dataset for arm in arms} == {"pictograms"}
