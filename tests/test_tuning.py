"""Tuning: one budget for all, and a choice that no test query can touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench import registry, tuning
from hashbench.errors import DataError
from hashbench.setup import Setup
from hashbench.studies import Arm, Tune

DCMH = registry.methods.get("dcmh").config_class


def arm(method: str = "dcmh", named: frozenset[str] = frozenset(), **settings: Any) -> Arm:
    config = registry.methods.get(method).config_class(**settings)
    return Arm(choice={}, method=method, setup=Setup(), config=config, bits=16, named=named)


def test_its_own_settings_come_first_and_count() -> None:
    tune = Tune(budget=3, parameters={"gamma": [0.1, 1.0, 10.0], "eta": [0.0, 0.5]})
    tried = tuning.candidates(arm(gamma=0.5), tune)
    assert len(tried) == 3 and tried[0] == DCMH(gamma=0.5) and len(set(tried)) == 3
    for config in tried[1:]:  # one change at a time
        changed = {name for name, value in config.key_fields().items() if value != tried[0].key_fields()[name]}
        assert len(changed) == 1 and changed <= {"gamma", "eta"}


def test_all_combinations_where_the_budget_allows() -> None:
    tune = Tune(budget=6, parameters={"gamma": [0.1, 1.0, 10.0], "eta": [0.0, 0.5]})
    tried = tuning.candidates(arm(), tune)
    assert {(c.gamma, c.eta) for c in tried} == {  # type: ignore[attr-defined]
        (gamma, eta) for gamma in (0.1, 1.0, 10.0) for eta in (0.0, 0.5)
    }
    assert tried[0] == DCMH()


@pytest.mark.parametrize("budget", [1, 2, 5, 100])
@pytest.mark.parametrize("method", ["dcmh", "soda", "skdch", "random"])
def test_the_budget_is_one_for_all_methods(method: str, budget: int) -> None:
    tried = tuning.candidates(arm(method), Tune(budget=budget))
    assert 1 <= len(tried) <= budget and len(set(tried)) == len(tried)
    changes = sum(len(values) for values in tuning.parameters(arm(method), Tune(budget=budget)).values())
    assert len(tried) >= min(budget, changes // 2)


def test_arms_that_share_parameters_try_the_same_changes() -> None:
    tune = Tune(budget=4)
    one, other = (tuning.candidates(arm(epochs=n, named=frozenset({"epochs"})), tune) for n in (3, 9))
    assert [replace(config, epochs=9) for config in one] == other  # type: ignore[call-arg]


def test_what_the_study_decides_is_not_tuned() -> None:
    declared = tuning.parameters(arm(), Tune(budget=4))
    assert "gamma" in declared
    assert set(declared) - set(tuning.parameters(arm(named=frozenset({"gamma"})), Tune(budget=4))) == {"gamma"}


def measured(value: float) -> Mapping[str, Mapping[str, float]]:
    return {"image->text": {"map@all": value, "chance": 0.9}, "text->image": {"map@all": value, "chance": 0.9}}


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=1, max_size=5))
def test_the_highest_mean_wins_and_of_equals_the_first(scores: list[list[float]]) -> None:
    means = [sum(of) / len(of) for of in scores]
    chosen = tuning.choose([[measured(value) for value in of] for of in scores])
    assert means[chosen] == pytest.approx(max(means))
    equal = tuning.choose([[measured(0.5)]] * len(scores))
    assert equal == 0


def test_a_candidate_that_did_not_finish_is_never_chosen() -> None:
    assert tuning.choose([[], [measured(0.1)], []]) == 1


def test_without_validation_items_nothing_can_be_tuned() -> None:
    with pytest.raises(DataError, match="nothing can be tuned"):
        tuning.choose([[{}], [{}]])
