"""Specs and their keys; lists of numbers as people write them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from hashbench.errors import UsageError
from hashbench.spec import Execution, Spec, parse_numbers

SPEC = Spec(
    method="soda",
    method_version=1,
    config={"alpha": 0.05, "epochs": 30, "teacher": "two_stage", "teacher_epochs": None},
    dataset="pictograms",
    dataset_revision="r1",
    protocol="concepts@1",
    split="0123abcd",
    views={"image": "lite/ab12", "text": "lite/cd34"},
    prompts="77",
    tuning="frozen",
    bits=32,
    seed=0,
    precision="fp32",
)

OTHER: dict[str, Any] = {
    "method": "dcmh",
    "method_version": 2,
    "config": {"alpha": 0.05},
    "dataset": "mirflickr",
    "dataset_revision": "r2",
    "protocol": "concepts@2",
    "split": "0",
    "views": {"image": "lite/ab12", "text": "bow/ef56"},
    "prompts": None,
    "tuning": "full",
    "bits": 64,
    "seed": 1,
    "precision": "bf16",
    "precision_version": 2,
    "conditions": {"label_drop": 0.3},
}


def test_key_golden_value() -> None:
    """Keys are folder names of people's results: this one must never change."""
    assert SPEC.key == "d4cc30160a04926c9faacc44e4070614e4ce68451ddb2368233fdfa6fe18d577"


def test_the_key_does_not_depend_on_the_order_of_settings() -> None:
    assert replace(SPEC, config=dict(reversed(SPEC.config.items()))).key == SPEC.key


def test_every_field_is_in_the_key() -> None:
    assert set(OTHER) == {f.name for f in fields(Spec)}
    keys = {replace(SPEC, **{name: value}).key for name, value in OTHER.items()}
    assert len(keys | {SPEC.key}) == len(OTHER) + 1


@pytest.mark.parametrize("name", OTHER)
def test_the_scope_is_all_but_settings_bits_and_seed(name: str) -> None:
    same = replace(SPEC, **{name: OTHER[name]}).scope == SPEC.scope
    assert same == (name in ("config", "bits", "seed"))


def test_how_a_run_is_carried_out_is_no_part_of_what_it_is() -> None:
    assert not {f.name for f in fields(Execution)} & {f.name for f in fields(Spec)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16", [16]),
        ("16,32,64,128", [16, 32, 64, 128]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("3-3", [3]),
        (" 8, 16 ", [8, 16]),
        ("64,16", [64, 16]),
        ("0-2,7,1-3", [0, 1, 2, 7, 3]),
        ("5,5,5", [5]),
        ("007", [7]),
    ],
)
def test_numbers(text: str, expected: list[int]) -> None:
    assert parse_numbers("--bits", text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found ''"),
        ("16,", "found ''"),
        (",16", "found ''"),
        ("16;32", "found '16;32'"),
        ("many", "found 'many'"),
        ("-4", "found '-4'"),
        ("4-", "'4-'"),
        ("3--5", "found '3--5'"),
        ("1.5", "found '1.5'"),
        ("1e3", "found '1e3'"),
        ("²", "found '²'"),
        ("0x10", "found '0x10'"),
        ("4-0", "runs backwards"),
        ("1 2", "found '1 2'"),
    ],
)
def test_what_are_no_numbers(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_numbers("--bits", text)
    assert str(error.value).startswith(f"--bits {text!r}: ")
    assert said in str(error.value)
