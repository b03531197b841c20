"""The contract of a method as laws. Devices are left out: a check must mean the same on every machine."""

from __future__ import annotations

import copy
import json
import sys
import tempfile
from collections import UserDict
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, fields, replace
from inspect import isabstract
from itertools import permutations
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from hashbench.config import Config, did_you_mean, digest, is_frozen, override, with_preset
from hashbench.errors import Diverged, UsageError
from hashbench.method import Codes, Hasher, Incompatible, Items, Kind, Method, Needs, Paper, Run, Stage, View, isolated
from hashbench.models import Untraceable, disagreement, trace
from hashbench.retrieval import AnyCodes, RealCodes, evaluate, pack
from hashbench.testing.fresh import Fresh, fresh, require_light_import
from hashbench.testing.report import Broken, Check, NotApplicable, Report, bind, excused, judge, require
from hashbench.testing.surroundings import traces
from hashbench.testing.toy import ToyEncoder, toy_items, toy_prompts

AnyMethod = type[Method[Any]]

EPOCHS = 3
"""Epochs of a fit whose codes need not be good."""


def check_method(cls: AnyMethod, expected_failures: Mapping[str, str] = {}) -> Report:
    """Check that a method keeps the contract.

    Args:
        cls: The method.
        expected_failures: Check name to the reason why it is known to fail.
    """
    return judge(cls.__name__, checks(cls), expected_failures)


def checks(cls: AnyMethod) -> list[Check]:
    """Every law as a check of a method; those that it breaks by its nature are skipped with its reason.

    Raises:
        UsageError: an exception names no law.
    """
    bound = bind(LAWS, cls, cls.__name__)
    names = [check.name for check in bound]
    exceptions: Mapping[str, str] = getattr(cls, "exceptions", {})  # a class that is no Method is judged, too
    for name in exceptions:
        if name not in names:
            raise UsageError(f"{cls.__name__}.exceptions: no law {name!r}. {did_you_mean(name, names)}")
    return [excused(check, exceptions[check.name]) if check.name in exceptions else check for check in bound]


# ---------------------------------------------------------------- what it declares


def check_declared(cls: AnyMethod) -> None:
    """Paper, kind, needs, version and configuration are declared, and the file's docstring cites the paper."""
    for name in ("paper", "kind", "needs", "version", "config_class"):
        require(hasattr(cls, name), f"{cls.__name__}.{name} is not declared")
    require(not isabstract(cls), f"{cls.__name__}.fit is missing")
    paper, needs = cls.paper, cls.needs
    require(isinstance(paper, Paper) and bool(paper.title and paper.venue), "paper: fill in title and venue")
    require(1900 < paper.year < 2100, f"paper: expected a year, found {paper.year!r}")
    require(paper.url.startswith(("https://", "http://")), f"paper: expected a web address, found {paper.url!r}")
    text = " ".join((sys.modules[cls.__module__].__doc__ or "").lower().split())
    require(
        paper.url.lower() in text or " ".join(paper.title.lower().split()) in text,
        "the file must open with a docstring that cites the paper, by its title or its address",
    )
    require(cls.kind in get_args(Kind), f"kind: expected one of {', '.join(get_args(Kind))}, found {cls.kind!r}")
    require(isinstance(needs, Needs) and needs.labels in ("none", "some", "all"), "needs: expected a Needs")
    require(bool(needs.views) and len(set(needs.views)) == len(needs.views), "needs.views: expected distinct names")
    require(not needs.prompts or needs.labels != "none", "needs.prompts: label prompts are made of labels")
    fitting = {"unsupervised": ("none",), "supervised": ("some", "all"), "semi-supervised": ("some",)}
    allowed = fitting.get(cls.kind, ("none", "some", "all"))
    require(needs.labels in allowed, f"kind {cls.kind!r} does not go with needs.labels {needs.labels!r}")
    require(type(cls.version) is int and cls.version >= 1, f"version: expected 1 or more, found {cls.version!r}")
    require(issubclass(cls.config_class, Config), "config_class: expected a subclass of Config")


def check_config(cls: AnyMethod) -> None:
    """The configuration is frozen, documented and JSON-exact; defaults and sweep values fit type and range."""
    config, hints = cls.config_class(), get_type_hints(cls.config_class)
    name = cls.config_class.__name__
    loose = set(hints) - {f.name for f in fields(config)}
    require(is_frozen(cls.config_class), f"{name} is not frozen; write @dataclass(frozen=True, kw_only=True)")
    require(not loose, f"{name} lacks @dataclass(frozen=True, kw_only=True): no field: {', '.join(sorted(loose))}")
    for f in fields(config):
        where, value = f"{name}.{f.name}", getattr(config, f.name)
        require(bool(f.metadata.get("help")), f"{where} has no help text; declare it with hp()")
        require(_scalar(hints[f.name]), f"{where}: expected JSON scalars, found {hints[f.name]}")
        for v in (value, *f.metadata["sweep"]):
            _require_value(config, where, f.name, v)
        try:
            setattr(config, f.name, value)
        except FrozenInstanceError:
            continue
        raise Broken(f"{where} can be assigned to")
    values = asdict(config)
    require(json.loads(json.dumps(values, allow_nan=False)) == values, f"{name} changes on its way through JSON")


def check_presets(cls: AnyMethod) -> None:
    """Every preset gives a configuration of valid values; ``default`` is there and changes nothing."""
    presets = cls.config_class.presets()
    require("default" in presets, "there is no preset 'default'")
    default = cls.config_class()
    require(with_preset(cls.config_class, "default") == default, "the preset 'default' changes something")
    known = {f.name for f in fields(default)}
    for preset, values in presets.items():
        for name, value in values.items():
            require(name in known, f"preset {preset!r}: no setting {name!r}")
            _require_value(default, f"preset {preset!r}: {name}", name, value)
        with_preset(cls.config_class, preset)


def check_keys(cls: AnyMethod) -> None:
    """The run key sees every setting, and is the same in every process."""
    config = cls.config_class()
    key = digest(config.key_fields())
    for f in fields(config):
        changed = copy.copy(config)
        object.__setattr__(changed, f.name, "some other value")
        require(digest(changed.key_fields()) != key, f"{f.name} does not enter the run key")
    require(_fresh(cls).answer == key, "the run key of the default configuration differs between processes")


def check_import_is_light(cls: AnyMethod) -> None:
    """Importing the method prints nothing, touches no GPU and loads no plotting, model or table package."""
    require_light_import(_fresh(cls))


# ---------------------------------------------------------------- what it makes


def check_codes(cls: AnyMethod) -> None:
    """Codes are (n, k) of -1 and +1 for every view, at 8 and at 16 bits, and not the same for all items."""
    for bits in (8, 16):
        _require_codes(cls, bits)


def check_says_why_not(cls: AnyMethod) -> None:
    """More bits than the data has directions: codes, or Incompatible with a reason; no other error."""
    try:
        _require_codes(cls, bits=64)
    except Incompatible as why:
        require(_says_why(why), f"refuses 64 bits without a reason: {str(why)!r}")


def check_settings_train(cls: AnyMethod) -> None:
    """Every preset, choice and sweep value trains, or says why not."""
    items, default = _items(cls, n=48), cls.config_class()
    configs = [(f"preset {name!r}", with_preset(cls.config_class, name)) for name in default.presets()]
    for name, values in _alternatives(cls.config_class).items():
        configs += [(f"{name}={value!r}", replace(default, **{name: value})) for value in values]
    broken: list[str] = []
    for label, config in configs:
        try:
            _train(cls, items, config=config, max_epochs=1)
        except (Incompatible, Diverged) as why:
            if not _says_why(why):
                broken.append(f"{label} is refused without a reason")
        except Exception as error:  # whatever a branch that nobody ran may raise
            broken.append(f"{label}: {type(error).__name__}: {error}")
    require(not broken, "; ".join(broken))


def check_deterministic(cls: AnyMethod) -> None:
    """The same seed gives the same codes on a CPU, whatever the global random state and whatever ran before."""
    items, method, found = _items(cls), cls(cls.config_class()), []
    for state in (1, 2):
        with isolated(state):
            found.append(_codes(method.train(items, _run(cls)), items))
    _require_same(found[0], found[1], "two runs with the same seed differ")


def check_leaves_no_trace(cls: AnyMethod) -> None:
    """Inputs, configuration and global state stay as they were, and nothing is printed, in fit and encode."""
    items, run, method = _items(cls), _run(cls), cls(cls.config_class())
    before, attributes = _copy(items, run), dict(vars(method))
    settings = repr(method.config)
    with traces() as found:
        _codes(method.train(items, run), items)
    after = _copy(items, run)
    found += [f"changed {name}" for name in before if not _equal(before[name], after.get(name))]
    if vars(method) != attributes or repr(method.config) != settings:
        found.append("changed the method itself")
    require(not found, "; ".join(found))


def check_rows_are_independent(cls: AnyMethod) -> None:
    """A code depends on its own item and view only: order, batch size and neighbours do not matter."""
    items = _items(cls)
    hasher = _train(cls, items)
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))
    for name, view in items.views.items():
        whole = _reals(hasher, name, view, torch.arange(len(items)), len(items))
        for size in (1, 7):
            parts = _reals(hasher, name, view, order, size)
            scale = 1e-4 * float(whole.abs().max().clamp_min(1e-12))
            require(
                torch.allclose(parts, whole[order], rtol=1e-3, atol=scale),
                f"{name} outputs change with the batch: {len(items)} rows at once or {size} at a time, shuffled",
            )


def check_saves(cls: AnyMethod) -> None:
    """A hasher is its tensors: stored and loaded into another hasher, they give the same codes."""
    from safetensors.torch import load, save

    items = _items(cls)
    kept = _train(cls, items)
    other = _train(cls, _items(cls, len(items), seed=9), seed=5)
    for name in cls.needs.views:
        state = kept.modules[name].state_dict()
        loose = [key for key, value in state.items() if not isinstance(value, Tensor)]
        require(not loose, f"{name}: no tensor in the state: {', '.join(loose)}")
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
        other.modules[name].load_state_dict(load(save(tensors)))
    _require_same(_codes(kept, items), _codes(other, items), "a loaded hasher differs from the stored one")


def check_can_be_kept(cls: AnyMethod) -> None:
    """The work of a hash function can be written down as steps, which give its codes; search and export need it."""
    items = _items(cls)
    hasher = _train(cls, items)
    for name, view in items.views.items():
        rows = view.batch(torch.arange(len(view)))
        try:
            outputs = trace(hasher.modules[name], rows[[0, 0]])(rows).float().numpy()
        except Untraceable as error:
            raise Broken(f"{name}: {error}") from error
        wanted = hasher.outputs(name, view).numpy()
        codes = RealCodes(wanted) if cls.real_valued else pack(wanted >= 0)
        require(disagreement(outputs, codes)[1] == 0, f"{name}: the steps that were written down give other codes")


def check_learns(cls: AnyMethod) -> None:
    """On separable data, MAP of unseen items beats chance by 0.25 between every two views."""
    train, test = _items(cls), _items(cls, seed=1)
    labels = test.need_labels()
    chance = float(test.similarity(torch.arange(len(test))).mean())
    for epochs in (40, 400):  # the second only for small steps
        run = _run(cls, max_epochs=epochs)
        hasher = cls(cls.config_class()).train(train, run)
        worst, task = min(
            (_mean_average_precision(cls, hasher, test, (a, b), labels), f"{a}->{b}")
            for a, b in permutations(hasher.modules, 2)
        )
        if worst > chance + 0.25:
            return
    raise Broken(f"MAP {worst:.3f} for {task} after {epochs} epochs, chance {chance:.3f}")


def _mean_average_precision(
    cls: AnyMethod, hasher: Hasher, items: Items, task: tuple[str, str], labels: Tensor
) -> float:
    """MAP of a task as the bench measures it: by Hamming distance, or by cosine where nothing is hashed."""

    def codes(name: str) -> AnyCodes:
        out = hasher.outputs(name, items.views[name]).numpy()
        return RealCodes(out) if cls.real_valued else pack(out >= 0)

    multi_hot = labels.numpy().astype(np.uint8)
    found = evaluate(codes(task[0]), codes(task[1]), multi_hot, multi_hot, cutoffs=(), stable_order=False)
    return found.metrics["map@all"]


def check_more_views(cls: AnyMethod) -> None:
    """A method that takes any views hashes a third one too, also one that half of the items lack."""
    if not cls.needs.more_views:
        raise NotApplicable(f"it takes {', '.join(cls.needs.views)} and no others")
    views = (*cls.needs.views, "sound")
    for lacking in (None, "sound"):
        items = replace(toy_items(views=views, lacking=lacking, tokens=cls.needs.tokens), prompts=None)
        hasher = cls(cls.config_class()).train(items, Run(16, max_epochs=EPOCHS))
        missing = set(views) - set(hasher.modules)
        require(not missing, f"no hash function for the view {', '.join(missing)}")
        for view, source in items.views.items():
            codes = hasher.encode(view, source)
            require(
                codes.shape == (len(source), 16), f"{view}: expected codes {(len(source), 16)}, found {codes.shape}"
            )
            require(bool((codes != codes[0]).any()), f"{view}: every item has the same code")


# ---------------------------------------------------------------- what it asks for


def check_labels_are_asked_for(cls: AnyMethod) -> None:
    """Without labels, a method that needs none runs; any other refuses in its first epoch, with a reason."""
    bare = replace(_items(cls), labels=None, prompts=None)
    if cls.needs.labels == "none":
        _require_codes(cls, items=bare)
    else:
        _require_refused(cls, bare, "without labels")


def check_hidden_labels(cls: AnyMethod) -> None:
    """Hidden labels stay hidden: unused, or used where they are real, or refused, as ``needs`` says."""
    items = _items(cls)
    labels, labelled = items.need_labels(), torch.arange(len(items)) % 2 == 0
    visible = labels * labelled[:, None]
    hidden = replace(items, labels=visible, labelled=labelled, prompts=items.prompts and toy_prompts(visible))
    match cls.needs.labels:
        case "all":
            _require_refused(cls, hidden, "with half of the labels hidden")
        case "some":
            _require_codes(cls, items=hidden)
        case "none":
            codes = _codes(_train(cls, replace(items, labels=None)), items)
            for other in (labels, labels.flip(0)):
                _require_same(
                    codes, _codes(_train(cls, replace(items, labels=other)), items),
                    "the codes depend on labels, and needs.labels is 'none'",
                )  # fmt: skip


def check_prompts_are_asked_for(cls: AnyMethod) -> None:
    """Without label prompts, a method that needs them refuses in its first epoch, with a reason."""
    if not cls.needs.prompts:
        raise NotApplicable("needs no label prompts, and no check gives it any")
    _require_refused(cls, replace(_items(cls), prompts=None), "without label prompts")


def check_validation_is_optional(cls: AnyMethod) -> None:
    """Without validation items it gives codes all the same, or says why not."""
    items = _items(cls)
    try:
        _codes(cls(cls.config_class()).train(items, Run(16, max_epochs=EPOCHS)), items)
    except Incompatible as why:
        require(_says_why(why), f"refuses without a reason: {str(why)!r}")


def check_raw_views(cls: AnyMethod) -> None:
    """Raw views are trained through their encoder, which is part of the hasher; or refused for cached ones."""
    items = _items(cls, raw=True)
    if cls.needs.cached:
        return _require_refused(cls, items, "on raw views, and needs.cached is set")
    hasher = _train(cls, items)
    _codes(hasher, items)
    for name in items.views:
        encoders = [m for m in hasher.modules[name].modules() if isinstance(m, ToyEncoder)]
        require(bool(encoders), f"the {name} encoder is no part of the hasher")
        require(any(e.moved for e in encoders), f"the {name} encoder was not trained; no gradient reaches it")


def check_memory_maps(cls: AnyMethod) -> None:
    """Rows that are read from a file on demand, and cannot be written, give the same codes as rows in memory."""
    items = _items(cls, n=200)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        files = {name: Path(folder) / f"{position}.npy" for position, name in enumerate(items.views)}
        mapped = {name: replace(v, rows=_Mapped(files[name], v.features())) for name, v in items.views.items()}
        before = [file.read_bytes() for file in files.values()]
        hasher = _train(cls, replace(items, views=mapped))
        require(before == [file.read_bytes() for file in files.values()], "the file was written to")
    _require_same(_codes(_train(cls, items), items), _codes(hasher, items), "a memory map changes the codes")


# ---------------------------------------------------------------- what it keeps


def check_stages_are_transparent(cls: AnyMethod) -> None:
    """A stage that is remembered gives the same codes as a stage made now."""
    items = _items(cls)
    run = _run(cls)
    made = _codes(cls(cls.config_class()).train(items, run), items)
    if not run.stages:
        raise NotApplicable("keeps no stage")
    remembered = _codes(_train(cls, items, stages=run.stages), items)
    _require_same(made, remembered, "a remembered stage gives other codes")


def check_stages_name_their_settings(cls: AnyMethod) -> None:
    """A stage lent across a change of one setting is the stage that the changed method would have made."""
    items, run, default = _items(cls, n=48), _run(cls), cls.config_class()
    cls(default).train(items, run)
    if not run.stages:
        raise NotApplicable("keeps no stage")
    for name, values in _alternatives(cls.config_class).items():
        config = replace(default, **{name: values[0]})
        stages = _Watched(run.stages)
        try:
            lent = _codes(_train(cls, items, config=config, stages=stages), items)
        except Exception:  # check_settings_train says why
            continue
        if stages.asked.isdisjoint(run.stages):
            continue
        made = _codes(_train(cls, items, config=config), items)
        _require_same(made, lent, f"a stage depends on {name}, and its settings do not say so")


LAWS = (
    check_declared,
    check_config,
    check_presets,
    check_keys,
    check_import_is_light,
    check_codes,
    check_says_why_not,
    check_settings_train,
    check_deterministic,
    check_leaves_no_trace,
    check_rows_are_independent,
    check_labels_are_asked_for,
    check_hidden_labels,
    check_prompts_are_asked_for,
    check_validation_is_optional,
    check_raw_views,
    check_memory_maps,
    check_stages_are_transparent,
    check_stages_name_their_settings,
    check_saves,
    check_can_be_kept,
    check_learns,
    check_more_views,
)


# ---------------------------------------------------------------- running a method


def _items(cls: AnyMethod, n: int = 96, seed: int = 0, raw: bool = False) -> Items:
    """What the method declares that it needs, and no more."""
    items = toy_items(n, views=cls.needs.views, seed=seed, raw=raw, tokens=cls.needs.tokens)
    return items if cls.needs.prompts else replace(items, prompts=None)


def _run(cls: AnyMethod, bits: int = 16, raw: bool = False, **run: Any) -> Run:
    return Run(bits, validation=_items(cls, n=48, seed=2, raw=raw), **({"max_epochs": EPOCHS} | run))


def _train(cls: AnyMethod, items: Items, config: Config | None = None, **run: Any) -> Hasher:
    raw = any(view.raw for view in items.views.values())
    return cls(config or cls.config_class()).train(items, _run(cls, raw=raw, **run))


def _codes(hasher: Hasher, items: Items) -> dict[str, Codes]:
    return {name: hasher.encode(name, view) for name, view in items.views.items()}


@torch.no_grad()
def _reals(hasher: Hasher, name: str, view: View, order: Tensor, size: int) -> Tensor:
    module: nn.Module = hasher.modules[name].eval()
    return torch.cat([module(view.batch(rows)) for rows in order.split(size)])


def _require_codes(cls: AnyMethod, bits: int = 16, items: Items | None = None) -> None:
    items = items or _items(cls)
    hasher = _train(cls, items, bits=bits)
    missing = set(cls.needs.views) - set(hasher.modules)
    require(not missing, f"no hash function for {', '.join(sorted(missing))}")
    for name, code in _codes(hasher, items).items():
        shape = (len(items), bits)
        require(code.shape == shape, f"{name} codes at {bits} bits: expected {shape}, found {code.shape}")
        require(len(np.unique(code, axis=0)) > 1, f"every {name} item has the same code at {bits} bits")


def _says_why(error: Exception) -> bool:
    return len(str(error).split()) > 2


def _require_refused(cls: AnyMethod, items: Items, situation: str) -> None:
    begun: list[str] = []
    try:
        _train(cls, items, watch=lambda phase, epoch, epochs: begun.append(phase))
    except Incompatible as why:
        require(_says_why(why), f"refuses {situation} without a reason: {str(why)!r}")
        require(len(begun) <= 1, f"refuses {situation} only after {len(begun) - 1} epochs")
    else:
        raise Broken(f"runs {situation}; raise Incompatible with the reason")


def _require_same(a: Mapping[str, Codes], b: Mapping[str, Codes], otherwise: str) -> None:
    shares = {name: float((a[name] != b[name]).mean()) for name in a}
    differing = ", ".join(f"{share:.1%} of the {name} bits" for name, share in shares.items() if share)
    require(not differing, f"{otherwise} ({differing})")


class _Watched(UserDict[str, Stage]):
    """Stages that know which of them were asked for."""

    def __init__(self, stages: Mapping[str, Stage]) -> None:
        self.asked: set[str] = set()
        super().__init__(stages)

    def __getitem__(self, key: str) -> Stage:
        self.asked.add(key)
        return super().__getitem__(key)


class _Mapped:
    """Rows in a file, read-only."""

    def __init__(self, path: Path, rows: Tensor) -> None:
        np.save(path, rows.numpy(), allow_pickle=False)
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        return torch.from_numpy(self._array[index.numpy()])


def _copy(items: Items, run: Run) -> dict[str, Any]:
    """Everything a method is given, by name; tensors copied."""
    given: dict[str, Any] = {}
    for side, held in (("training", items), ("validation", run.validation)):
        assert held is not None
        given[f"the {side} labels"] = held.need_labels().clone()
        for name, view in held.views.items():
            assert isinstance(view.rows, Tensor)
            given[f"the {side} {name} rows"] = view.rows.clone()
    return given


def _equal(a: Any, b: Any) -> bool:
    return isinstance(b, Tensor) and torch.equal(a, b)


def _fresh(cls: AnyMethod) -> Fresh:
    return fresh(cls, "digest(cls.config_class().key_fields())")


# ---------------------------------------------------------------- reading a configuration


def _require_value(config: Config, where: str, name: str, value: Any) -> None:
    """The value has the declared type exactly, and ``--set`` gives it back: 1 is not 1.0 in a run key."""
    hint = get_type_hints(type(config))[name]
    require(_is_of(value, hint), f"{where}: {value!r} is not of the declared type {hint}")
    try:
        read = getattr(override(config, [f"{name}={value}"]), name)
    except UsageError as error:
        read = error
    require(type(read) is type(value) and read == value, f"{where}: {value!r} cannot be set: {read}")


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union, and a lone type as its only one."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _scalar(hint: Any) -> bool:
    return all(get_origin(h) is Literal or h in (bool, int, float, str, NoneType) for h in _options(hint))


def _is_of(value: Any, hint: Any) -> bool:
    return any(
        any(value == choice and type(value) is type(choice) for choice in get_args(h))
        if get_origin(h) is Literal
        else type(value) is h
        for h in _options(hint)
    )


def _alternatives(config_class: type[Config]) -> dict[str, list[Any]]:
    """Other values of every setting: a small whole number first, which few epochs can tell; choices; the sweep."""
    hints, default, found = get_type_hints(config_class), config_class(), dict[str, list[Any]]()
    for f in fields(default):
        value, low, high = getattr(default, f.name), f.metadata.get("low"), f.metadata.get("high")
        choices = [choice for h in _options(hints[f.name]) if get_origin(h) is Literal for choice in get_args(h)]
        half = [value / 2] if isinstance(value, float) and value else [0.5]
        others = [1 if value == 2 else 2, False, True, *choices, *(f.metadata.get("sweep") or half)]
        others = [v for v in others if v != value and _is_of(v, hints[f.name]) and _in_range(v, low, high)]
        if others:
            found[f.name] = list(dict.fromkeys(others))
    return found


def _in_range(value: Any, low: float | None, high: float | None) -> bool:
    if value is None or isinstance(value, bool | str):
        return True
    return (low is None or value >= low) and (high is None or value <= high)
