"""From runs back to the words of ``hashbench run`` that make them again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hashbench import registry
from hashbench.errors import UsageError
from hashbench.labelled import AS_GIVEN
from hashbench.paths import results_dir
from hashbench.store import Record, Store

GIVEN = "given"
"""Name of the backbone of a view of vectors, which nobody can ask for."""


def command_of(records: Sequence[Record], store: Store, *more: str) -> str:
    """The command that makes runs again, quoted for a shell; for codes from a file, the one that measured them.

    Args:
        records: Runs that are alike but for bits and seed.
        store: Where they lie; named where it is not the usual place.
        more: Words besides, such as ``--force``.
    """
    first = records[0].spec
    if first.protocol == AS_GIVEN.id:
        return str(records[0].provenance.get("command", ""))
    words = ["hashbench", "run", "--method", first.method, "--dataset", first.dataset, "--protocol", first.protocol]
    words += ["--views", ",".join(view for view in first.views if view != "label")]
    for view, identity in first.views.items():
        name = identity.partition(" ")[0].removesuffix("+tokens")  # a form that the method asks for by itself
        if view in ("image", "text", "label") and name != GIVEN:
            words += [f"--{view}-backbone", name]
    words += ["--tuning", first.tuning] * (first.tuning != "frozen")
    words += ["--precision", first.precision] * (first.precision != "fp32")
    for name, value in first.conditions.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    usual = _usual(first.method)
    for name, value in {**first.config, **records[0].settings}.items():
        if name not in usual or usual[name] != value:
            words += ["--set", f"{name}={value}"]
    words += ["--bits", ",".join(map(str, sorted({record.spec.bits for record in records})))]
    words += ["--seeds", ",".join(map(str, sorted({record.spec.seed for record in records})))]
    return shlex.join([*words, *in_place(store), *more])


def in_place(store: Store) -> list[str]:
    """What a command needs to be told to find a store: nothing where it is the usual one."""
    return ["--results", str(store.root)] if store.root != results_dir() else []


def _usual(method: str) -> dict[str, object]:
    """A method's settings at their defaults; nothing where it is not installed."""
    try:
        return dict(vars(registry.methods.get(method).config_class()))
    except UsageError:
        return {}
