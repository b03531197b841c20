"""Laws as small named checks, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar
from unittest import SkipTest

from hashbench.config import did_you_mean
from hashbench.errors import UsageError
from hashbench.testing.surroundings import settled

S = TypeVar("S")


class Broken(AssertionError):
    """A law does not hold."""


class NotApplicable(SkipTest):
    """A check has nothing to judge here, and says why. pytest and unittest show it as skipped."""


def require(holds: bool, otherwise: str) -> None:
    """An ``assert`` that ``python -O`` keeps."""
    if not holds:
        raise Broken(otherwise)


@dataclass(frozen=True)
class Check:
    """One law about one plug-in. Calling it returns a remark or nothing, and raises where the law is broken."""

    name: str
    law: str
    subject: str
    judge: Callable[[], str | None]

    def __call__(self) -> str | None:
        with settled():
            return self.judge()

    def __str__(self) -> str:
        return f"{self.subject}-{self.name}"


def bind(laws: Iterable[Callable[[S], str | None]], subject: S, label: str) -> list[Check]:
    """The laws as checks of one subject; the first line of each docstring is the law."""
    return [Check(law.__name__, (law.__doc__ or "").partition("\n")[0], label, partial(law, subject)) for law in laws]


def excused(check: Check, reason: str) -> Check:
    """The check of a law that its subject breaks by its nature: skipped with the reason, and broken where it holds."""

    def judge() -> str | None:
        try:
            check.judge()
        except NotApplicable:
            raise
        except Exception as error:
            raise NotApplicable(f"breaks it by its nature: {reason}") from error
        raise Broken("holds now; drop it from the exceptions")

    return replace(check, judge=judge)


@dataclass(frozen=True)
class Result:
    """What one check found."""

    name: str
    law: str
    verdict: Literal["ok", "failed", "skipped"]
    reason: str = ""
    """Why it failed or was skipped; for ``ok`` a remark, mostly empty."""

    def __str__(self) -> str:
        return f"{self.verdict:8} {self.name}: {self.reason or self.law}"


@dataclass(frozen=True)
class Report:
    """The results of all checks of one plug-in, in order."""

    subject: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def ran(self) -> int:
        """How many checks ran, skipped ones not counted."""
        return sum(result.verdict != "skipped" for result in self.results)

    @property
    def failures(self) -> dict[str, str]:
        """Name to reason of every check that failed."""
        return {result.name: result.reason for result in self.results if result.verdict == "failed"}

    @property
    def skipped(self) -> dict[str, str]:
        """Name to reason of every check that had nothing to judge."""
        return {result.name: result.reason for result in self.results if result.verdict == "skipped"}

    def __str__(self) -> str:
        summary = f"{self.subject}: {self.ran} checks ran, {len(self.failures)} failed, {len(self.skipped)} skipped"
        return "\n".join([*map(str, self.results), summary])


def judge(subject: str, checks: Iterable[Check], expected_failures: Mapping[str, str] = {}) -> Report:
    """Run every check; one that was expected to fail and passes is a failure.

    Args:
        subject: What the report is about.
        checks: See :func:`bind`.
        expected_failures: Check name to the reason why it is known to fail.

    Raises:
        UsageError: ``expected_failures`` names no check.
    """
    checks = list(checks)
    names = [check.name for check in checks]
    for name in expected_failures:
        if name not in names:
            raise UsageError(f"expected_failures: no check {name!r}. {did_you_mean(name, names)}")
    return Report(subject, tuple(_result(check, expected_failures.get(check.name)) for check in checks))


def _result(check: Check, expected: str | None) -> Result:
    found = partial(Result, check.name, check.law)
    try:
        remark = check() or ""
    except NotApplicable as why:
        return found("skipped", str(why))
    except Exception as error:  # a report names every failure, of any kind
        return found("failed", _one_line(error)) if expected is None else found("ok", f"fails, as known: {expected}")
    if expected is not None:
        return found("failed", "passes now; drop it from expected_failures")
    return found("ok", remark)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, Broken) else f"{type(error).__name__}: {text}"
