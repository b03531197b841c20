"""A study: a question, what is fixed, what varies, and what comes out of it; one TOML file each.

    question = "Do prompts matter, and which?"
    figures = ["prompts"]
    [fixed]                                      # one value for all runs
    method = "soda"
    bits = 32
    [axes]                                       # lists; the study runs their product
    label_modality = ["onehot", "set_mean"]
    seed = [0, 1, 2]
    [[arms]]                                     # named alternatives, multiplied with the axes
    name = "no teacher"
    teacher = "none"
    [settings.dcmh]                              # settings of one method, wherever it takes part
    epochs = 30
    [compare]                                    # each arm against the one that is alike but for these values
    against = {label_modality = "onehot"}        # or the name of an arm
    [tune]                                       # on validation queries, with the same budget for every arm
    budget = 4
    seeds = [0]
    parameters = "declared"                      # every method's own sweep, or a table of lists
    [report]                                     # besides the table
    correlate = ["teacher/map_image_label"]      # a diagnostic of the runs with their MAP, over all of them
    select = "epochs"                            # what choosing this axis on test queries would have gained
    gap = {labelled = 1.0}                       # share of the way to these values that the compared arms go
    [quick]                                      # minutes on a laptop: the same tables, each name in place of the
    fixed = {epochs = 8}                         # one above, whether that is fixed or an axis
    [full]                                       # a GPU and the field's data
    axes = {bits = [16, 32, 64, 128]}

Names are the words of ``hashbench run`` (:data:`hashbench.setup.WORDS`), ``method``, ``preset``, ``bits`` and ``seed``;
any other is a setting of the method.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from hashbench.config import Config, did_you_mean, validated, with_preset
from hashbench.errors import UsageError
from hashbench.setup import WORDS, Setup, setup_of

Size = Literal["quick", "full"]

SIZES: tuple[Size, ...] = get_args(Size)
Words = Mapping[str, Any]

OF_A_RUN = ("method", "preset", "bits", "seed")

TABLES = ("fixed", "axes", "arms", "settings", "compare", "tune", "report", "figures")
"""What a study consists of, and what each of its sizes may replace."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """What is chosen for every arm on validation queries."""

    budget: int
    """Settings tried per arm, its own among them."""
    seeds: tuple[int, ...] = (0,)
    """Seeds that a candidate is judged by."""
    parameters: Mapping[str, Sequence[Any]] | Literal["declared"] = "declared"
    """Setting to the values worth trying; ``declared``: what every method's own configuration names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """What is compared: everything of a run but its seed."""

    choice: Words
    """What the study varies, and which value it has here; ``arm`` is the name of a named alternative."""
    method: str
    setup: Setup
    config: Config
    bits: int
    named: frozenset[str]
    """Settings that the study itself decides; tuning leaves them alone."""

    @property
    def label(self) -> str:
        """The choice in words: names of arms and methods as they are, of everything else with its name."""
        plain = ("arm", "method")
        return " ".join(str(value) if name in plain else f"{name}={value}" for name, value in self.choice.items())


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study in one of its sizes."""

    name: str
    question: str
    size: Size
    about: str = ""
    figures: tuple[str, ...] = ()
    fixed: Words = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    alternatives: tuple[Words, ...] = ()
    settings: Mapping[str, Words] = field(default_factory=dict)
    against: Words = field(default_factory=dict)
    """Values of the choice that make an arm the one that its like are compared with; empty: no comparison."""
    tune: Tune | None = None
    correlate: tuple[str, ...] = ()
    """Diagnostics of the runs (:attr:`hashbench.store.Record.diagnostics`) that are held against their MAP."""
    select: str = ""
    """An axis: the report says what choosing it on test queries, as the field does, would have gained."""
    gap: Words = field(default_factory=dict)
    """Values of the choice that are the best to be had: the report says which share of the way from its partner to the
    arm with them each arm goes."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every arm's seeds."""
        return tuple(self.axes.get("seed", (self.fixed.get("seed", 0),)))

    def arms(self) -> list[Arm]:
        """The product of axes and alternatives, without seeds.

        Raises:
            UsageError: a name or a value that makes no sense, said with the study and the arm.
        """
        axes = {name: values for name, values in self.axes.items() if name != "seed"}
        found = []
        for alternative in self.alternatives or ({},):
            for values in product(*axes.values()):
                axis = dict(zip(axes, values, strict=True))
                chosen = {"arm": alternative["name"]} if "name" in alternative else {}
                own = {name: value for name, value in alternative.items() if name != "name"}
                found.append(self._arm({**chosen, **axis}, {**axis, **own}))
        return found

    def _arm(self, choice: Words, varying: Words) -> Arm:
        from hashbench import registry

        method = varying.get("method", self.fixed.get("method"))
        try:
            if method is None:
                raise UsageError("no method: name one under [fixed] or [axes]")
            words = {**self.fixed, **self.settings.get(method, {}), **varying}
            config_class = registry.methods.get(method).config_class
            known = [f.name for f in fields(config_class)]
            settings = {name: v for name, v in words.items() if name not in (*WORDS, *OF_A_RUN)}
            for name in settings:
                if name not in known:
                    raise UsageError(f"{method} has no setting {name!r}. {did_you_mean(name, [*known, *WORDS])}")
            config = with_preset(config_class, words.get("preset", "default"))
            bits = words.get("bits", 64)
            if not isinstance(bits, int):
                raise UsageError(f"bits {bits!r}: expected a whole number")
            return Arm(
                choice=choice,
                method=method,
                setup=setup_of({name: words[name] for name in WORDS if name in words}),
                config=validated(type(config)(**{**vars(config), **settings})),
                bits=bits,
                named=frozenset(settings),
            )
        except UsageError as error:
            raise UsageError(f"study {self.name}, {self.size}, {dict(choice) or 'its only arm'}: {error}") from None

    def partner(self, arm: Arm, arms: Sequence[Arm]) -> Arm | None:
        """The arm that an arm is compared with; None where there is none, or it is the one itself."""
        wanted = {**arm.choice, **self.against}
        found = next((other for other in arms if other.choice == wanted), None) if self.against else None
        return None if found is arm else found


def names() -> dict[str, Path]:
    """Every installed study and its file, sorted. Packages offer folders of them as ``hashbench.studies``."""
    found = {}
    for entry in entry_points(group="hashbench.studies"):
        for file in files(entry.module).iterdir():
            if file.name.endswith(".toml"):
                found[file.name.removesuffix(".toml")] = Path(str(file))
    return dict(sorted(found.items()))


def find(name: str, size: Size = "quick") -> Study:
    """An installed study by its name, or a TOML file by its path.

    Raises:
        UsageError: no such study, or one that makes no sense.
    """
    return read(_file(name), size)


def has_sizes(name: str) -> bool:
    """Whether a study says anything of its full size."""
    return "full" in _parsed(_file(name))


def _file(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    known = names()
    if name not in known:
        raise UsageError(f"no study {name!r}. {did_you_mean(name, known)}; or a file of yours, NAME.toml")
    return known[name]


def question(file: Path) -> str:
    """The question of a study file, and nothing else of it."""
    return str(_parsed(file).get("question", ""))


def read(file: Path, size: Size = "quick") -> Study:
    """A study from its file.

    Raises:
        UsageError: the file is missing, no TOML, or says something that a study cannot say; with file, line or table.
    """
    found = _parsed(file)
    _check_names(file, "", found, ("question", "about", *TABLES, "quick", "full"))
    if not str(found.get("question", "")).strip():
        raise UsageError(f'{file}: question = "..." is missing: say what the study answers')
    sized = found.get(size, {})
    _check_names(file, f"[{size}] ", sized, TABLES)
    tables = {name: _merged(file, name, found, sized) for name in TABLES}
    fixed, axes = tables["fixed"], tables["axes"]
    for name in set(fixed) & set(axes):  # the size's word counts, in whatever table it says it
        del (axes if name in sized.get("fixed", {}) else fixed)[name]
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{file}: [axes] {name} = {values!r}: expected a list of values")
    for name, value in fixed.items():
        if isinstance(value, list) and name != "views":
            raise UsageError(f"{file}: [fixed] {name} = {value!r}: expected one value; lists stand under [axes]")
    against = tables["compare"].get("against", {})
    study = Study(
        name=file.stem,
        question=found["question"].strip(),
        size=size,
        about=" ".join(str(found.get("about", "")).split()),
        figures=tuple(tables["figures"]),
        fixed=fixed,
        axes=axes,
        alternatives=tuple(tables["arms"]),
        settings=tables["settings"],
        against={"arm": against} if isinstance(against, str) else against,
        tune=_tune(file, tables["tune"]),
        **_report(file, tables["report"], axes),
    )
    for where, wanted in (("[compare] against", study.against), ("[report] gap", study.gap)):
        _check_choice(file, study, where, wanted)
    if study.gap and not study.against:
        raise UsageError(f"{file}: [report] gap: expected [compare] against as well, from which the way is measured")
    return study


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:  # says line and column
        raise UsageError(f"{file}: no TOML: {error}") from None


def _merged(file: Path, name: str, base: Mapping[str, Any], sized: Mapping[str, Any]) -> Any:
    """A table with what a size puts in the place of its names; lists are replaced whole."""
    kind: type = list if name in ("arms", "figures") else dict
    for table in (base, sized):
        if not isinstance(table.get(name, kind()), kind):
            expected = "list" if kind is list else "table"
            raise UsageError(f"{file}: {name}: expected a {expected}, found {type(table[name]).__name__}")
    if kind is list:
        return sized.get(name, base.get(name, []))
    if name == "settings":
        both = (base.get(name, {}), sized.get(name, {}))
        return {method: {**both[0].get(method, {}), **both[1].get(method, {})} for of in both for method in of}
    return {**base.get(name, {}), **sized.get(name, {})}


def _tune(file: Path, table: Words) -> Tune | None:
    if not table:
        return None
    _check_names(file, "[tune] ", table, ("budget", "seeds", "parameters"))
    budget, parameters = table.get("budget"), table.get("parameters", "declared")
    if not isinstance(budget, int) or budget < 1:
        raise UsageError(f"{file}: [tune] budget = {budget!r}: expected how many settings every arm may try, 1 or more")
    lists = isinstance(parameters, dict) and all(isinstance(values, list) for values in parameters.values())
    if parameters != "declared" and not lists:
        raise UsageError(f'{file}: [tune] parameters: expected "declared" or a table of lists, found {parameters!r}')
    return Tune(budget=budget, seeds=tuple(table.get("seeds", (0,))), parameters=parameters)


def _report(file: Path, table: Words, axes: Words) -> dict[str, Any]:
    _check_names(file, "[report] ", table, ("correlate", "select", "gap"))
    correlate, select, gap = table.get("correlate", []), table.get("select", ""), table.get("gap", {})
    if not isinstance(correlate, list):
        raise UsageError(f"{file}: [report] correlate = {correlate!r}: expected a list of diagnostics")
    if select and select not in axes:
        raise UsageError(f"{file}: [report] select = {select!r}: no such axis. {did_you_mean(select, axes)}")
    if not isinstance(gap, dict):
        raise UsageError(f"{file}: [report] gap = {gap!r}: expected a table of values")
    return {"correlate": tuple(correlate), "select": select, "gap": gap}


def _check_names(file: Path, where: str, table: Any, known: Sequence[str]) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {where}: expected a table, found {table!r}")
    for name in table:
        if name not in known:
            raise UsageError(f"{file}: {where}{name}: a study has no such entry. {did_you_mean(name, known)}")


def _check_choice(file: Path, study: Study, where: str, wanted: Words) -> None:
    for name, value in wanted.items():
        choices = _choices(study, name)
        if value not in choices:
            raise UsageError(f"{file}: {where} {name} = {value!r}: no arm has it; there are {list(choices) or 'none'}")


def _choices(study: Study, name: str) -> Sequence[Any]:
    if name == "arm":
        return [alternative.get("name") for alternative in study.alternatives]
    return study.axes.get(name, ())
