"""What the report shows, as plain data: no markup, and nothing left to compute but places."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A row of the main table, and a line of every chart."""

    name: str
    """As short as tells it from the others."""
    place: int
    """By its mean over all columns, 0 the best: colours follow it."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """An arm in one task at one code length; its curves and classes are means over its seeds."""

    arm: int
    task: int
    bits: int
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    """First 16 digits of each run's key."""
    values: tuple[float, ...]
    """The table's metric of each seed."""
    mean: float
    curves: dict[str, list[float]]
    """Some of :data:`hashbench.report.page.making.CURVES`."""
    classes: list[float | None] = field(default_factory=list)
    """MAP over the queries of each class; None where it has none."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A cell of the main table, as it is printed."""

    mean: str
    deviation: str
    each: str
    """Every seed's value."""
    value: float | None
    """What it is sorted by."""
    place: str
    """``best``, ``second`` or nothing."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the main table, as it is printed."""

    arm: int
    words: tuple[str, ...]
    cells: tuple[Shown, ...]
    seeds: str


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The main table in another format, taken apart so that any of its rows can be left out or moved."""

    head: list[str]
    rows: list[list[str]]
    """Lines of each row of the table."""
    tail: list[str]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an arm took at one code length, mean over its runs."""

    arm: int
    bits: int
    runs: int
    fit_seconds: float | None
    items_per_second: float | None
    peak_bytes: float | None
    index_bytes: int
    """Codes of the database in one view."""
    score: float
    """The table's metric, mean over tasks."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A thumbnail; it stands in the page once and is shown by its id."""

    id: str
    width: int
    height: int
    data: str
    """Base64 of a JPEG."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A query or a hit."""

    picture: str = ""
    """Id of its :class:`Picture`; empty where there is none."""
    words: str = ""
    labels: str = ""
    """Its labels; of a hit, those that it shares with the query."""
    distance: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one run finds for a query, nearest first."""

    arm: int
    key: str
    bits: int
    seed: int
    hits: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query with the answers of several runs."""

    task: int
    query: Item
    answers: tuple[Answer, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """The finished runs of one protocol."""

    id: str
    title: str
    protocol: tuple[tuple[str, str], ...]
    """Rule and its words."""
    metric: str
    tasks: tuple[str, ...]
    lengths: tuple[int, ...]
    chance: tuple[str, ...]
    """Of each task, as it is printed."""
    arms: tuple[Arm, ...]
    lead: tuple[int, ...]
    """The arms in the order in which they are shown where there is no room for all: by place, each followed by what
    a study compares it with."""
    head: tuple[str, ...]
    """Columns of words in the main table."""
    seeds: bool
    """Whether it has a column of how many seeds there are: not where all rows have as many."""
    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    chance_cells: tuple[str, ...]
    notes: tuple[str, ...]
    copies: dict[str, Copies]
    points: tuple[Point, ...]
    ranks: tuple[list[int], ...]
    """Of each task, where the curves over ranks have their points."""
    classes: tuple[str, ...]
    class_sizes: tuple[list[int], ...]
    """Of each task, queries of each class."""
    cost: tuple[Cost, ...]
    examples: tuple[Example, ...]
    pictures: tuple[Picture, ...]
    credits: str
    commands: tuple[tuple[str, str], ...]
    """Arm and the command that makes its runs."""
    problem: str = ""
    """Why there are neither classes nor examples."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """One comparison of a study."""

    arm: str
    against: str
    bits: int
    task: str
    mean: float
    low: float
    high: float
    p: float
    effect: float | None
    seeds: str
    verdict: str
    """``higher``, ``lower``, with ``*`` where seeds do not bear it out, or ``not shown``."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What tuning on validation queries made of an arm in one task, means over seeds; None where it is not run."""

    arm: str
    bits: int
    task: str
    untuned: float | None
    tuned: float | None
    settings: str
    """In which the winner differs from the arm's own."""


@dataclass(frozen=True, kw_only=True)
class StudyPart:
    """What a study asks and says."""

    name: str
    size: str
    question: str
    about: str
    answers: tuple[str, ...]
    """Its comparisons in words, and what its report adds."""
    deltas: tuple[Delta, ...]
    chosen: tuple[Chosen, ...]
    """Empty where nothing is tuned."""
    names: dict[str, str]
    """Key of a run to its arm, in the study's words; to all of them where several have it."""
    partners: dict[str, str]
    """Key of a run to one of the arm that its own is compared with."""
    statuses: dict[str, int]
    problems: dict[str, str]
    """Arm to why it cannot be run."""


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A run without numbers."""

    name: str
    bits: int
    seed: int
    status: str
    reason: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How many runs of a method ended how at one code length."""

    method: str
    dataset: str
    bits: int
    statuses: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that the report shows."""

    title: str
    made: str
    command: str
    """What writes this report again."""
    repeat: str
    """What makes the runs again, where one command does."""
    study: StudyPart | None
    sections: tuple[Section, ...]
    statuses: dict[str, int]
    standings: tuple[Standing, ...]
    unfinished: tuple[Unfinished, ...]
    warnings: tuple[tuple[str, str], ...]
    """What a run warned of, and which runs did."""
    damaged: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
