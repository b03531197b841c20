"""Verdicts, expected failures and counts of a report."""

from __future__ import annotations

import pytest

from hashbench.errors import UsageError
from hashbench.testing import NotApplicable, Report, parametrize_with_checks
from hashbench.testing.report import Broken, bind, judge, require


def check_holds(subject: int) -> str | None:
    """It holds.

    Not part of the law.
    """
    return "just so" if subject else None


def check_fails(subject: int) -> None:
    """It fails."""
    require(False, "because\nof this")


def check_raises(subject: int) -> None:
    """It raises."""
    raise KeyError("lr")


def check_skips(subject: int) -> None:
    """It does not apply."""
    raise NotApplicable("nothing there")


LAWS = (check_holds, check_fails, check_raises, check_skips)


def report(**expected: str) -> Report:
    return judge("one", bind(LAWS, 1, "one"), expected)


def test_verdicts_stand_in_order_with_law_and_reason() -> None:
    results = report().results
    assert [(r.name, r.verdict, r.reason) for r in results] == [
        ("check_holds", "ok", "just so"),
        ("check_fails", "failed", "because of this"),
        ("check_raises", "failed", "KeyError: 'lr'"),
        ("check_skips", "skipped", "nothing there"),
    ]
    assert results[0].law == "It holds."


def test_counts_leave_out_what_was_skipped() -> None:
    found = report()
    assert (found.ran, found.ok) == (3, False)
    assert found.failures == {"check_fails": "because of this", "check_raises": "KeyError: 'lr'"}
    assert found.skipped == {"check_skips": "nothing there"}
    assert str(found).splitlines()[-1] == "one: 3 checks ran, 2 failed, 1 skipped"


def test_a_failure_that_is_expected_is_ok() -> None:
    found = report(check_fails="issue 7", check_raises="issue 8")
    assert found.ok
    assert found.results[1].reason == "fails, as known: issue 7"


def test_an_expected_failure_that_passes_is_a_failure() -> None:
    assert report(check_holds="issue 7").failures["check_holds"] == "passes now; drop it from expected_failures"


def test_an_expected_failure_of_no_check_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'check_fails'"):
        report(check_fail="issue 7")


def test_a_bound_check_raises_or_remarks() -> None:
    holds, fails, *_ = bind(LAWS, 1, "one")
    assert holds() == "just so"
    with pytest.raises(Broken, match="because"):
        fails()
    assert str(holds) == "one-check_holds"


def test_parametrising_nothing_gives_no_tests() -> None:
    assert parametrize_with_checks([]).args == ("check", [])
