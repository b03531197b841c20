"""Contract kits: does a method, a data set or a backbone keep its contract?

For a report::

    report = check_method(MyMethod)
    print(report)
    assert report.ok

In pytest, one test a law::

    @parametrize_with_checks([MyMethod, MyDataset])
    def test_contract(check: Check) -> None:
        check()
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hashbench.backbone import Backbone
from hashbench.dataset import Dataset
from hashbench.method import Method
from hashbench.testing import backbones, datasets, methods
from hashbench.testing.backbones import check_backbone
from hashbench.testing.datasets import Opening, check_dataset
from hashbench.testing.methods import check_method
from hashbench.testing.report import Check, NotApplicable, Report, Result, bind
from hashbench.testing.toy import toy_items, toy_prompts

__all__ = [
    "Check",
    "NotApplicable",
    "Opening",
    "Report",
    "Result",
    "check_backbone",
    "check_dataset",
    "check_method",
    "checks_for",
    "parametrize_with_checks",
    "toy_items",
    "toy_prompts",
]


def checks_for(subject: type[Method[Any]] | type[Dataset] | Opening | Backbone) -> list[Check]:
    """All checks of one plug-in, in order.

    Args:
        subject: A method class; a data set class, or an :class:`Opening` of one under a protocol; a backbone.
    """
    if isinstance(subject, Backbone):
        return bind(backbones.LAWS, subject, subject.name)
    if isinstance(subject, Opening):
        return bind(datasets.LAWS, subject, str(subject))
    if issubclass(subject, Dataset):
        return checks_for(Opening(subject))
    return methods.checks(subject)


def parametrize_with_checks(subjects: Iterable[type[Method[Any]] | type[Dataset] | Opening | Backbone]) -> Any:
    """A pytest decorator: the test's argument ``check`` is every check of every subject in turn."""
    import pytest

    checks = [check for subject in subjects for check in checks_for(subject)]
    return pytest.mark.parametrize("check", checks, ids=str)
