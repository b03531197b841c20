"""Configurations: reading by declared type, ranges, names, digests."""

from __future__ import annotations

import math
import random
from dataclasses import FrozenInstanceError, asdict, dataclass, fields, replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench.config import Config, describe, did_you_mean, digest, hp, is_frozen, override, with_preset
from hashbench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Every(Config):
    """A field of every kind."""

    epochs: int = hp(30, "an int", sweep=(10, 30), low=1)
    lr: float = hp(1e-3, "a float", low=0.0)
    share: float = hp(0.5, "a float in [0, 1]", low=0.0, high=1.0)
    free: float = hp(0.0, "a float without bounds")
    nested: bool = hp(False, "a bool")
    loss: Literal["nll", "mse"] = hp("nll", "a choice")
    stop: int | None = hp(None, "an int or none", low=0)
    kappa: float | Literal["8/bits"] = hp(0.5, "a float or a word", low=0.0)
    note: str = hp("", "a string")

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        return {"default": {}, "paper": {"lr": 0.1, "epochs": 500}}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("epochs=5", 5),
        ("epochs=1", 1),
        ("lr=1e-4", 1e-4),
        ("lr=.5", 0.5),
        ("lr=0", 0.0),
        ("lr=3", 3.0),
        ("share=1", 1.0),
        ("free=-2.5", -2.5),
        ("nested=true", True),
        ("nested=False", False),
        ("nested=1", True),
        ("nested=no", False),
        ("loss=mse", "mse"),
        ("stop=none", None),
        ("stop=None", None),
        ("stop=null", None),
        ("stop=7", 7),
        ("kappa=8/bits", "8/bits"),
        ("kappa=2", 2.0),
        ("kappa=1e-2", 0.01),
        ("note=a=b, c", "a=b, c"),
        ("note=none", "none"),
        ("note=", ""),
    ],
)
def test_values_are_read_by_their_declared_type(assignment: str, expected: Any) -> None:
    name = assignment.partition("=")[0]
    value = getattr(override(Every(), [assignment]), name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("epochs=1e-4", "expected int, found '1e-4'"),
        ("epochs=many", "expected int, found 'many'"),
        ("epochs=", "expected int, found ''"),
        ("epochs=2.5", "expected int, found '2.5'"),
        ("epochs=none", "expected int, found 'none'"),
        ("lr=fast", "expected float, found 'fast'"),
        ("nested=maybe", "expected bool, found 'maybe'"),
        ("loss=hinge", "expected nll | mse, found 'hinge'"),
        ("loss=NLL", "expected nll | mse, found 'NLL'"),
        ("stop=soon", "expected int or none, found 'soon'"),
        ("kappa=4/bits", "expected float or 8/bits, found '4/bits'"),
        ("epochs=0", "from 1 to inf, found 0"),
        ("epochs=-3", "from 1 to inf, found -3"),
        ("lr=-1e-9", "from 0.0 to inf, found -1e-09"),
        ("lr=nan", "finite number from 0.0 to inf, found nan"),
        ("lr=inf", "finite number from 0.0 to inf, found inf"),
        ("free=nan", "finite number from -inf to inf, found nan"),
        ("free=-inf", "finite number from -inf to inf, found -inf"),
        ("free=1e999", "finite number"),
        ("share=1.01", "from 0.0 to 1.0, found 1.01"),
        ("stop=-1", "from 0 to inf, found -1"),
        ("kappa=-1", "from 0.0 to inf, found -1.0"),
        ("kappa=nan", "finite number"),
        ("epoch=3", "no such setting. Did you mean 'epochs'?"),
        ("zzz=3", "no such setting. Known: epochs, lr"),
        ("epochs", "expected name=value"),
        ("=5", "no such setting"),
    ],
)
def test_bad_values_are_told_in_one_line(assignment: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        override(Every(), [assignment])
    message = str(error.value)
    assert f"--set {assignment!r}: " in message
    assert said in message
    assert "\n" not in message


def test_a_whole_number_may_be_as_long_as_it_likes() -> None:
    assert override(Every(), [f"epochs={10**400}"]).epochs == 10**400


def test_overrides_leave_the_rest_and_the_original_alone() -> None:
    config = Every()
    changed = override(config, ["lr=0.5", "loss=mse", "lr=0.25"])
    assert changed == replace(config, lr=0.25, loss="mse")
    assert config == Every()
    assert override(config, []) == config


def test_a_configuration_cannot_be_assigned_to() -> None:
    with pytest.raises(FrozenInstanceError):
        Every().lr = 1.0  # type: ignore[misc]
    assert is_frozen(Every)


def test_presets() -> None:
    assert with_preset(Every, "paper") == Every(lr=0.1, epochs=500)
    assert with_preset(Every, "default") == Every()
    with pytest.raises(UsageError, match=r"--preset 'papr': no such preset\. Did you mean 'paper'"):
        with_preset(Every, "papr")


def test_did_you_mean_names_the_nearest_then_all() -> None:
    assert did_you_mean("dcmg", ["soda", "dcmh"]) == "Did you mean 'dcmh'? Known: soda, dcmh"
    assert did_you_mean("xyz", ["soda", "dcmh"]) == "Known: soda, dcmh"


def test_describe_has_a_row_a_field() -> None:
    rows = describe(Every)
    assert [row.name for row in rows] == [f.name for f in fields(Every)]
    assert {row.name: row.type for row in rows} == {
        "epochs": "int",
        "lr": "float",
        "share": "float",
        "free": "float",
        "nested": "bool",
        "loss": "nll | mse",
        "stop": "int or none",
        "kappa": "float or 8/bits",
        "note": "str",
    }
    assert (rows[0].default, rows[0].help, rows[0].sweep) == (30, "an int", (10, 30))


# ---------------------------------------------------------------- digests


def test_digest_golden_value() -> None:
    """Keys are file names on people's disks: this value must never change."""
    value = {"b": [1, 0.1, None, True, "η"], "a": {}}
    assert digest(value) == "d60da758aae7ad55228dbe646558f2b2c0c8c17cec548558ed79bf7e7e9e3b43"


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.randoms(use_true_random=False),
)
def test_digest_does_not_depend_on_the_order_of_a_dictionary(value: dict[str, Any], rng: random.Random) -> None:
    items = list(value.items())
    rng.shuffle(items)
    assert digest(dict(items)) == digest(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_digest_refuses_what_json_has_no_word_for(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"lr": value})


def test_digest_tells_types_apart() -> None:
    assert len({digest(value) for value in (1, 1.0, "1", True, [1])}) == 5


EVERY = st.builds(
    Every,
    epochs=st.integers(1, 3),
    lr=st.sampled_from([0.0, 1e-3, 1e-4]) | st.floats(0, 10),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    free=st.sampled_from([0.0, 1.0]),
    nested=st.booleans(),
    loss=st.sampled_from(["nll", "mse"]),
    stop=st.none() | st.integers(0, 2),
    kappa=st.just("8/bits") | st.sampled_from([0.5, 1.0]),
    note=st.text(max_size=2),
)


@given(EVERY, EVERY, st.sets(st.sampled_from([f.name for f in fields(Every)])))
def test_the_key_changes_if_and_only_if_a_field_does(a: Every, b: Every, taken: set[str]) -> None:
    mixed = replace(a, **{name: getattr(b, name) for name in taken})  # near neighbours, and often equal
    assert (digest(mixed.key_fields()) == digest(a.key_fields())) == (mixed == a)


@given(EVERY)
def test_set_gives_every_value_back(config: Every) -> None:
    spelled = [f"{name}={value}" for name, value in asdict(config).items()]
    assert override(Every(), spelled) == config


@dataclass(frozen=True, kw_only=True)
class Later(Every):
    """The same configuration one release later."""

    warmup: int = hp(0, "added later", since=0)
    decay: float | None = hp(0.1, "added later; before, there was none", since=None)


@given(EVERY)
def test_a_later_field_that_means_as_before_keeps_old_keys(config: Every) -> None:
    later = Later(**asdict(config), decay=None)
    assert later.key_fields() == config.key_fields()
    for other in (replace(later, warmup=1), replace(later, decay=0.1)):
        assert digest(other.key_fields()) != digest(config.key_fields())
