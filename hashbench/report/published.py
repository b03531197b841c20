"""What papers print, with its source, and how it was measured as far as that is known.

One TOML file a printed table. What is not said of the measurement is ``unknown``, and never guessed:

    name = "MITH paper"                        # how tables name the source
    paper = "Title. Venue year. Address"
    table = "unknown"                          # its number there
    metric = "map@all"                         # an id of hashbench.retrieval.DEFINITIONS, or "unknown"
    bits = [16, 32, 64]
    note = "what else a reader should know"    # and, likewise in words, features, definition, ties, no_relevant,
                                               # checkpoint, seeds and conditions
    [data.mirflickr25k]                        # a data set, and how it was used
    protocol = "A"
    items = "mir-20015"                        # the item set, named as in our protocols
    query = 2000
    train = 10000
    database = 18015
    split = "rows permuted by NumPy's legacy seed 1"
    like = ["mir-a-mith@1"]                    # protocols of ours with the same items on each side
    text = "strings of tags"
    [[rows]]                                   # one a method, with its features where they are its own
    method = "DCMH"
    mirflickr25k = {"image->text" = ".7321 .7464 .7465", "text->image" = ".7640 ? ?"}

Values are copied as they are printed; ``?`` is one that is not known. A package offers files of its own by a folder
under the entry point ``hashbench.published``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from hashbench.config import did_you_mean
from hashbench.errors import DataError, UsageError
from hashbench.store import Record

UNKNOWN = "unknown"

WORDS = ("features", "definition", "ties", "no_relevant", "checkpoint", "seeds", "conditions", "note")
"""What is said of a whole table in words; unknown where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a printed table used a data set."""

    protocol: str = UNKNOWN
    """The field's family of protocols, in a letter or words."""
    items: str = UNKNOWN
    query: int | None = None
    train: int | None = None
    database: int | None = None
    split: str = UNKNOWN
    like: tuple[str, ...] = ()
    """Protocols of ours with the same items on each side."""
    text: str = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Number:
    """One printed value."""

    method: str
    """As it is printed."""
    features: str
    dataset: str
    task: str
    bits: int
    printed: str
    """``.557``."""
    note: str

    @property
    def value(self) -> float:
        return float(self.printed)

    @property
    def digits(self) -> int:
        return len(self.printed.partition(".")[2])


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A printed table."""

    file: Path
    name: str
    paper: str
    table: str
    metric: str
    words: Mapping[str, str]
    """Each of :data:`WORDS`."""
    data: Mapping[str, Use]
    """By our name of the data set."""
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Way:
    """One thing in which two measurements differ, or may."""

    aspect: str
    ours: str
    theirs: str


def names() -> dict[str, Path]:
    """Every installed file by its name without ``.toml``, sorted."""
    found = {}
    for entry in entry_points(group="hashbench.published"):
        for file in files(entry.module).iterdir():
            if file.name.endswith(".toml"):
                found[file.name.removesuffix(".toml")] = Path(str(file))
    return dict(sorted(found.items()))


def read_all() -> list[Printed]:
    """Every installed table.

    Raises:
        DataError: see :func:`read`.
    """
    return [read(file) for file in names().values()]


def read(file: Path) -> Printed:
    """A printed table from its file.

    Raises:
        DataError: the file is missing, no TOML, or says something that such a file cannot say; with file and key.
    """
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:  # says line and column
        raise DataError(f"{file}: no TOML: {error}") from None
    whole = _Keys(file, "", found)
    whole.only("name", "paper", "table", "metric", "bits", *WORDS, "data", "rows")
    metric = whole.text("metric")
    if metric != UNKNOWN:
        _check_metric(file, metric)
    bits = whole.get("bits", list)
    if not bits or sorted({n for n in bits if type(n) is int and n > 0}) != bits:
        raise DataError(f"{file}: bits: expected ascending code lengths such as [16, 32], found {bits!r}")
    words = {name: whole.text(name, "" if name in ("note", "conditions") else UNKNOWN) for name in WORDS}
    data = {name: _use(file, name, table) for name, table in whole.get("data", dict).items()}
    numbers: list[Number] = []
    for at, row in enumerate(whole.get("rows", list), 1):
        numbers += _numbers(_Keys(file, f"rows {at}: ", row), bits, data, words["features"])
    places = [(n.method, n.features, n.dataset, n.task, n.bits) for n in numbers]
    for place in places:
        if places.count(place) > 1:
            raise DataError(f"{file}: rows: {place[0]} on {place[2]}, {place[3]}, {place[4]} bits stands there twice")
    return Printed(
        file=file, name=whole.text("name"), paper=whole.text("paper"), table=whole.text("table"), metric=metric,
        words=words, data=data, numbers=tuple(numbers),
    )  # fmt: skip


def comparable(printed: Printed, record: Record) -> bool:
    """Whether a printed table has the data set, item set, sizes and labels of a run, all of them known.

    Its queries may still be others, and its features are: :func:`ways` tells.
    """
    use = printed.data.get(record.spec.dataset)
    if use is None or use.items != _items(record) or printed.words["conditions"] or record.spec.conditions:
        return False
    return all(getattr(use, side) == record.counts.get(side) for side in ("query", "train", "database"))


def ways(printed: Printed, number: Number, records: Sequence[Record], metric: str) -> list[Way]:
    """Every way in which the measurement of a printed number differs from that of runs, or may.

    Args:
        printed: The table.
        number: One of its numbers.
        records: Finished runs that are alike but for bits and seed.
        metric: What is shown of them.

    Returns:
        What differs, and what is unknown on either side; what is known to be the same is left out.
    """
    first = records[0]
    use, rules, words = printed.data[number.dataset], first.rules, printed.words
    seeds = len({record.spec.seed for record in records})
    conditions = ", ".join(f"{name}={value}" for name, value in first.spec.conditions.items())
    theirs = printed.metric + (f" ({words['definition']})" if words["definition"] != UNKNOWN else "")
    found = [
        Way("items", rules.get("items", UNKNOWN), use.items) if _items(first) != use.items else None,
        *(_sizes(side, first, getattr(use, side)) for side in ("query", "train", "database")),
        Way("split", rules.get("split", UNKNOWN), use.split) if first.spec.protocol not in use.like else None,
        Way("text", rules.get("text", UNKNOWN), use.text),
        Way("features", ", ".join(_encoders(first)), number.features),
        Way("metric", metric, theirs) if metric != printed.metric else None,
        Way("ties", rules.get("ties", UNKNOWN), words["ties"]),
        Way("queries without a relevant item", rules.get("no_relevant", UNKNOWN), words["no_relevant"]),
        Way("checkpoint", rules.get("checkpoint", UNKNOWN), words["checkpoint"]),
        Way("seeds", f"{seeds} seed{'s' * (seeds > 1)}", words["seeds"]),
        Way("training", conditions or "as it is", words["conditions"] or "as it is"),
    ]
    return [way for way in found if way and (way.ours != way.theirs or way.ours == UNKNOWN)]


def _items(record: Record) -> str:
    """The name of a run's item set: what its rule begins with."""
    return record.rules.get("items", "").partition(":")[0]


def _sizes(side: str, record: Record, theirs: int | None) -> Way:
    ours = record.counts.get(side)
    aspect = {"query": "queries", "train": "training items", "database": "database"}[side]
    return Way(aspect, *(UNKNOWN if size is None else f"{size:,}" for size in (ours, theirs)))


def _encoders(record: Record) -> list[str]:
    return [f"{view} {identity.partition(' ')[0]}" for view, identity in record.spec.views.items()]


@dataclass(frozen=True)
class _Keys:
    """A table of a file, which knows where it stands."""

    file: Path
    where: str
    table: Any

    def __post_init__(self) -> None:
        if not isinstance(self.table, dict):
            raise DataError(f"{self.file}: {self.where}expected a table, found {self.table!r}")

    def only(self, *known: str) -> None:
        for name in self.table:
            if name not in known:
                raise DataError(f"{self.file}: {self.where}{name}: no such key. {did_you_mean(name, known)}")

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        value = self.table.get(name, default)
        if value is None:
            raise DataError(f"{self.file}: {self.where}{name} is missing")
        if type(value) is not kind:
            expected = {str: "words in quotes", int: "a whole number", list: "a list", dict: "a table"}[kind]
            raise DataError(f"{self.file}: {self.where}{name} = {value!r}: expected {expected}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        return " ".join(self.get(name, str, default).split())


def _use(file: Path, name: str, table: Any) -> Use:
    keys = _Keys(file, f"[data.{name}] ", table)
    keys.only("protocol", "items", "query", "train", "database", "split", "like", "text")
    sizes: dict[str, Any] = {
        side: keys.get(side, int) if side in keys.table else None for side in ("query", "train", "database")
    }
    return Use(
        protocol=keys.text("protocol", UNKNOWN),
        items=keys.text("items", UNKNOWN),
        **sizes,
        split=keys.text("split", UNKNOWN),
        like=tuple(map(str, keys.get("like", list, []))),
        text=keys.text("text", UNKNOWN),
    )


VALUE = re.compile(r"[01]?\.\d+|\?")
TASK = re.compile(r"[\w-]+->[\w-]+")


def _numbers(row: _Keys, bits: list[int], data: Mapping[str, Use], features: str) -> list[Number]:
    row.only("method", "features", "note", *data)
    method, features, note = row.text("method"), row.text("features", features), row.text("note", "")
    found = []
    for dataset in (name for name in row.table if name in data):
        tasks = _Keys(row.file, f"{row.where}{dataset}: ", row.get(dataset, dict))
        for task in tasks.table:
            if not TASK.fullmatch(task):
                raise DataError(f"{row.file}: {tasks.where}{task!r}: expected a task such as image->text")
            values = tasks.text(task).split()
            if len(values) != len(bits) or not all(map(VALUE.fullmatch, values)):
                raise DataError(
                    f"{row.file}: {tasks.where}{task} = {' '.join(values)!r}: expected {len(bits)} values such as "
                    ".557, one for each of bits, ? where it is not known"
                )
            found += [
                Number(method=method, features=features, dataset=dataset, task=task, bits=n, printed=value, note=note)
                for n, value in zip(bits, values, strict=True)
                if value != "?"
            ]
    return found


def _check_metric(file: Path, metric: str) -> None:
    from hashbench.retrieval import definition

    try:
        definition(metric)
    except UsageError as error:
        raise DataError(f"{file}: metric = {metric!r}: no such metric, and not {UNKNOWN!r}: {error}") from None
