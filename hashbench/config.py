"""Typed configurations: declare once; override, sweep, describe and digest."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from hashbench.errors import UsageError

_MISSING: Any = object()


def hp(
    default: Any,
    help: str,
    *,
    sweep: Sequence[Any] = (),
    low: float | None = None,
    high: float | None = None,
    since: Any = _MISSING,
) -> Any:
    """Declare one hyper-parameter of a :class:`Config`.

    Args:
        default: The paper's value (``help`` says so where ours differs).
        help: What it is, with the paper's symbol: ``"quantisation weight (γ, eq. 1)"``.
        sweep: Values worth trying.
        low: Smallest value allowed.
        high: Largest value allowed.
        since: Only for a field added after the first release: the value that means "as before".
            A field that still holds it is left out of the run key, so old results keep theirs.
    """
    meta: dict[str, Any] = {"help": help, "sweep": tuple(sweep), "low": low, "high": high}
    if since is not _MISSING:
        meta["since"] = since
    return field(default=default, metadata=meta)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all method configurations. Subclasses are frozen and hold JSON scalars only."""

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Named sets of values, such as the schedule of the released code. ``default`` is always there."""
        return {"default": {}}

    @classmethod
    def from_key_fields(cls, values: Mapping[str, Any]) -> Self:
        """The configuration whose :meth:`key_fields` these are: a field left out holds its ``since`` value."""
        since = {f.name: f.metadata["since"] for f in fields(cls) if "since" in f.metadata}
        return cls(**{**since, **values})

    def key_fields(self) -> dict[str, Any]:
        """What enters the run key: every field, except later ones that still hold their ``since`` value."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if "since" not in f.metadata or getattr(self, f.name) != f.metadata["since"]
        }


C = TypeVar("C", bound=Config)


def override(config: C, assignments: Iterable[str]) -> C:
    """Apply ``["lr=0.1", "epochs=5"]``, each value read by the type its field declares.

    Raises:
        UsageError: no ``=``, an unknown name (with the nearest known ones), a value of the wrong type,
            outside the allowed choices or outside the allowed range.
    """
    hints = get_type_hints(type(config))
    declared = {f.name: f for f in fields(config)}
    changes: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r}: expected name=value, for example --set lr=0.001")
        if name not in declared:
            raise UsageError(f"--set {text!r}: no such setting. {did_you_mean(name, declared)}")
        changes[name] = _read(f"--set {text!r}", value, hints[name])
        _check_range(f"--set {text!r}", changes[name], declared[name].metadata)
    return replace(config, **changes)


def validated(config: C) -> C:
    """The configuration with every value checked and read by its declared type (1 becomes 1.0 where it is a float).

    Raises:
        UsageError: a value of the wrong type, outside the allowed choices or outside the allowed range.
    """
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        try:
            changes[f.name] = TypeAdapter(hints[f.name]).validate_python(value)
        except ValidationError:
            raise UsageError(f"{f.name}={value!r}: expected {_type_name(hints[f.name])}") from None
        _check_range(f"{f.name}={value!r}", changes[f.name], f.metadata)
    return replace(config, **changes)


def with_preset(config_class: type[C], preset: str) -> C:
    """The configuration called ``preset``; raises UsageError with the known names otherwise."""
    presets = config_class.presets()
    if preset not in presets:
        raise UsageError(f"--preset {preset!r}: no such preset. {did_you_mean(preset, presets)}")
    return config_class(**presets[preset])


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``Did you mean 'epochs'? Known: ...``; the nearest names first, then all of them."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    guess = f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"{guess}Known: {', '.join(known)}"


def digest(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, floats as Python prints them; NaN is refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Setting:
    """One row of ``hashbench show METHOD``."""

    name: str
    type: str
    default: Any
    help: str
    sweep: tuple[Any, ...]


def describe(config_class: type[Config]) -> list[Setting]:
    """Every setting of a configuration, in the order it is declared."""
    hints = get_type_hints(config_class)
    return [
        Setting(f.name, _type_name(hints[f.name]), f.default, f.metadata["help"], f.metadata["sweep"])
        for f in fields(config_class)
    ]


def _read(where: str, value: str, hint: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError  # only when there is something to read

    if value.lower() in ("none", "null") and type(None) in get_args(hint):
        return None
    try:
        return TypeAdapter(hint).validate_strings(value)
    except ValidationError:
        raise UsageError(f"{where}: expected {_type_name(hint)}, found {value!r}") from None


def _check_range(where: str, value: Any, meta: Mapping[str, Any]) -> None:
    if value is None or isinstance(value, bool | str):
        return
    low = -math.inf if meta["low"] is None else meta["low"]
    high = math.inf if meta["high"] is None else meta["high"]
    if not low <= value <= high or abs(value) == math.inf:
        raise UsageError(f"{where}: expected a finite number from {low} to {high}, found {value}")


def _type_name(hint: Any) -> str:
    if hint is NoneType:
        return "none"
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    return " or ".join(map(_type_name, get_args(hint))) or hint.__name__


def is_frozen(config_class: type[Config]) -> bool:
    """Whether the class is a frozen dataclass, as the contract asks."""
    return dataclasses.is_dataclass(config_class) and bool(
        config_class.__dataclass_params__.frozen  # type: ignore[attr-defined]
    )
