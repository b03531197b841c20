"""Built-in backbones keep the contract, and every family is declared. CLIP is checked in its own file."""

from __future__ import annotations

from pathlib import Path

from hashbench.backbone import Backbone, open_backbone
from hashbench.registry import backbones
from hashbench.testing import Check, parametrize_with_checks

from .conftest import OFFLINE_EXTRA, needs_wheels

HOME = "hashbench.backbones."
SHARED = {"__init__", "pictures", "resources", "tokens"}

BUILT_IN: list[Backbone] = [
    open_backbone("text", "bow", ["cat", "dog"]),
    open_backbone("image", "test_resnet:scratch@64"),
    open_backbone("image", "test_vit:scratch@32"),
    open_backbone("image", "lite:scratch@32"),
]
WITH_WHEELS: list[Backbone] = (
    [open_backbone("image", "lite@64"), open_backbone("text", "lite")] if OFFLINE_EXTRA else []
)


@parametrize_with_checks(BUILT_IN)
def test_contract(check: Check) -> None:
    check()


@needs_wheels
@parametrize_with_checks(WITH_WHEELS)
def test_contract_of_the_offline_extra(check: Check) -> None:
    check()


def test_every_family_is_declared() -> None:
    folder = Path(__file__).parents[2] / "hashbench" / "backbones"
    declared = {entry.module.removeprefix(HOME) for entry in backbones.entries().values() if HOME in entry.module}
    assert {file.stem for file in folder.glob("*.py")} - SHARED == declared
