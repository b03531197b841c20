"""A data set of one's own: whatever was imported from .mat and .npz files, under protocols that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hashbench import registry
from hashbench.data.prepared import Manifest, Prepared, read_manifest, rules_of
from hashbench.data.recipes import Plan, Recipe, Words
from hashbench.data.splits import Apart, AsGiven, ById

LARGEST = {"query": 2000, "validation": 1000, "train": 10_000}
"""Sides of the protocol that draws them by id: at most so many, and at most 10 %, 5 % and 50 % of the items."""


class Imported(Prepared):
    """Items, labels and views as the files had them."""

    name = "imported"
    licence = "as its source says; hashbench does not know it"

    def __init__(self, protocol: str | None = None, folder: Path | None = None) -> None:
        """Open what was imported into a folder.

        Raises:
            UsageError: no such protocol.
            DataError: the folder holds no prepared data set, or a damaged one.
        """
        assert folder is not None
        self.name = folder.name  # type: ignore[misc]
        self.plans = plans_for(read_manifest(folder))  # type: ignore[misc]
        self.protocols = rules_of(self.plans)  # type: ignore[misc]
        super().__init__(protocol, folder)


def plans_for(manifest: Manifest) -> tuple[Plan, ...]:
    """The protocols of an imported data set: the files' own sides, those of the data set it is like, and by id."""
    name, n = manifest.name, manifest.items
    recipe = Recipe(name=name, items=n, labelled=False)
    plans: list[Plan] = []
    vectors = "vectors/text.npy" in manifest.files
    if {"query", "database"} <= set(manifest.sides):
        trained = manifest.sides.get("train", manifest.sides["database"])
        held_out = min(LARGEST["validation"], trained // 10)
        plans.append(Plan(id=f"{name}-as-given@1", recipe=recipe, split=AsGiven(), vectors=vectors))
        plans.append(
            Plan(id=f"{name}-validation@1", recipe=recipe, split=AsGiven(validation=held_out), vectors=vectors)
        )
    sizes = ById(
        query=min(LARGEST["query"], n // 10),
        validation=min(LARGEST["validation"], n // 20),
        train=min(LARGEST["train"], n // 2),
    )
    own = Plan(id=f"{name}@1", recipe=recipe, split=sizes, vectors=vectors)
    borrowed = [
        _borrow(plan, recipe, vectors)
        for plan in _plans_like(manifest.like)
        if plan.recipe.items == n and not isinstance(plan.split, ById | Apart)
    ]
    # Those that draw by ids are left out: the ids are other ones. Of those that differ by their words alone the first
    # stays where texts are vectors, in which words play no part.
    different: dict[object, Plan] = {}
    for plan in borrowed:
        different.setdefault(plan.split if vectors else plan.id, plan)
    return (*plans, own, *different.values())


def recipe_like(name: str, items: int, classes: int) -> Recipe | None:
    """The item set of a data set of the field with so many items and classes."""
    for plan in _plans_like(name):
        if plan.recipe.items == items and len(plan.recipe.classes) in (0, classes):
            return plan.recipe
    return None


def _plans_like(name: str) -> Sequence[Plan]:
    found = registry.datasets.get(name) if name else None
    return found.plans if found is not None and issubclass(found, Prepared) else ()


def _borrow(plan: Plan, recipe: Recipe, vectors: bool) -> Plan:
    """A protocol of the field on imported items, which are all of its item set, in the order of the file."""
    words = plan.words if plan.words.rule in ("first", "all", "random") else Words(rule="all")
    note = "; ".join(filter(None, [plan.note, "rows as the imported file has them"]))
    return replace(plan, recipe=replace(recipe, name=plan.recipe.name), words=words, note=note, vectors=vectors)
