"""The contract between a hashing method and the bench.

A method is a frozen configuration plus one pure function, ``fit``: training items in, one hash function per
view out. The training loop belongs to the method and stands in its file in full; the bench owns everything
around it (data, features, seeds, devices, codes, metrics, records).

Shapes, here and in every method file:
    n  items in a set        b  items in a batch      c  labels
    d  width of a view       k  bits
"""

from __future__ import annotations

import abc
import math
import random
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hashbench.config import Config, digest
from hashbench.errors import Diverged, Incompatible

__all__ = [
    "Codes",
    "Hasher",
    "Incompatible",
    "Items",
    "Kind",
    "Method",
    "Needs",
    "Paper",
    "Rows",
    "Run",
    "Stage",
    "View",
    "isolated",
]

Codes = NDArray[np.int8]
"""(n, k) array of -1 and +1."""

Kind = Literal["shallow", "unsupervised", "supervised", "semi-supervised", "distilled"]

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Paper:
    """Where a method was published."""

    title: str
    venue: str
    year: int
    url: str


@dataclass(frozen=True)
class Needs:
    """What a method asks of the data. The runner settles it before any work is done."""

    labels: Literal["none", "some", "all"]
    """none: the method is given no labels; some: rows may be unlabelled; all: every row must be labelled."""
    views: tuple[str, ...] = ("image", "text")
    cached: bool = False
    """Whether every view must be cached features, as closed-form solutions ask."""
    prompts: bool = False
    """Whether label prompts are read as a view (:meth:`Items.label_view`)."""
    more_views: bool = False
    """Whether any two or more views will do, also where items lack some of them; ``views`` are then only examples."""
    tokens: bool = False
    """Whether views are read as token sequences: encoders then give (b, l, d), first the item's vector, then its
    words or regions, then rows of zeros up to l."""


class Rows(Protocol):
    """What an encoder eats, by row: features, pixels or token ids. A tensor is one; so is a memory map."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class View:
    """One modality of a set of items.

    Cached features are a view whose encoder is the identity; raw pictures or tokens are a view whose encoder
    is a backbone. A method written as ``head(encoder(rows))`` trains a head on the first and fine-tunes the
    backbone on the second.
    """

    rows: Rows
    """(n, d) float features, (n, 3, h, w) uint8 pixels or (n, l) int64 token ids; features that are sequences lie
    flat, (n, l * d)."""
    dim: int
    """Width of the encoder's output, d."""
    make_encoder: Callable[[], nn.Module] = nn.Identity
    raw: bool = False
    """Whether the encoder is trained with the method."""
    pretrained: bool = False
    """Whether a raw view's encoder starts from trained weights; its steps should then be small."""
    device: str = "cpu"
    items: Tensor | None = None
    """(m,) int64: whose rows these are, where some items lack the view. None: row i is item i's."""
    length: int = 1
    """Rows of the sequence that the encoder gives an item, l; 1: a vector alone."""

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, index: Tensor) -> Tensor:
        """The items (b,) that rows ``index`` (b,) belong to."""
        return index if self.items is None else self.items[index]

    def batch(self, index: Tensor) -> Tensor:
        """Rows ``index`` (b,) on the run's device, ready for the encoder."""
        return self.rows[index].to(self.device)

    def encoder(self) -> nn.Module:
        """A fresh encoder on the run's device: rows (b, ...) to vectors (b, d), or to sequences (b, l, d)."""
        return self.make_encoder().to(self.device)

    def features(self) -> Tensor:
        """All features at once, (n, d) float32 on the run's device; sequences lie flat, (n, l * d).

        Raises:
            Incompatible: the view is raw.
        """
        if self.raw:
            raise Incompatible("needs cached features; run it with --tuning frozen and a trained backbone")
        return self.batch(torch.arange(len(self)))


@dataclass(frozen=True)
class Items:
    """Items seen through several views. A method only ever gets the training items."""

    views: Mapping[str, View]
    labels: Tensor | None = None
    """(n, c) float of 0 and 1; rows whose labels are hidden are all zero. None: no labels are given."""
    labelled: Tensor | None = None
    """(n,) bool: which rows of ``labels`` are real. None when all are."""
    prompts: Callable[[str], View] | None = None
    """Makes the label view under a prompt; see :meth:`label_view`."""

    def __len__(self) -> int:
        if self.labels is not None:
            return len(self.labels)
        return max(len(view) if view.items is None else int(view.items.max()) + 1 for view in self.views.values())

    @property
    def image(self) -> View:
        return self.views["image"]

    @property
    def text(self) -> View:
        return self.views["text"]

    def need_labels(self) -> Tensor:
        """(n, c) labels, for a method that cannot do without any row's.

        Raises:
            Incompatible: there are none, or some are hidden.
        """
        if self.labels is None:
            raise Incompatible("needs labels, and this data has none")
        if self.labelled is not None and not bool(self.labelled.all()):
            raise Incompatible(f"needs every label, and {int((~self.labelled).sum())} items are unlabelled")
        return self.labels

    def label_view(self, prompt: str) -> View:
        """The labels as a textual modality: one row (d,) an item, made from its labels under a prompt.

        Args:
            prompt: A name of :data:`hashbench.prompts.PROMPTS`.

        Raises:
            Incompatible: there are no labels, or the text encoder cannot read this prompt.
        """
        self.need_labels()
        if self.prompts is None:
            raise Incompatible("needs label prompts, and this run has no text encoder for them")
        return self.prompts(prompt)

    def similarity(self, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        """(len(rows), len(columns)) float: 1 where two items share a label, else 0. None: all columns."""
        labels = self.need_labels()
        others = labels if columns is None else labels[columns]
        return (labels[rows] @ others.T).clamp_(max=1)  # labels are 0 or 1, so this is 1[a label is shared]


class Stage(NamedTuple):
    """What a stage leaves behind: tensors by name, and what it logged."""

    tensors: dict[str, Tensor]
    events: list[dict[str, Any]]


@dataclass
class Run:
    """What one run gives a method besides data: bits, randomness, a device, a log and a memory for stages."""

    bits: int
    seed: int = 0
    device: str = "cpu"
    validation: Items | None = None
    """Labelled items that are neither trained on nor tested on; the only place where anything may be chosen."""
    max_epochs: int | None = None
    """Upper bound for a smoke run; :meth:`epochs` honours it."""
    scope: str = ""
    """Digest of everything outside the method that a stage depends on: data, views, split, precision."""
    stages: MutableMapping[str, Stage] = field(default_factory=dict)
    making: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Held while a stage of that key is made, where several processes share them."""
    watch: Callable[[str, int, int], None] | None = None
    """Called as (phase, epoch, epochs) for the progress display."""
    events: list[dict[str, Any]] = field(default_factory=list)

    def generator(self, stream: str) -> torch.Generator:
        """An independent CPU random stream. Adding a stream never moves another one."""
        return torch.Generator().manual_seed(int(digest([self.seed, stream])[:15], 16))

    def epochs(self, count: int, phase: str = "train") -> Iterator[int]:
        """0 .. count - 1, telling the display where the run is."""
        count = count if self.max_epochs is None else min(count, self.max_epochs)
        for epoch in range(count):
            if self.watch:
                self.watch(phase, epoch, count)
            yield epoch

    def batches(self, n: int, size: int, stream: str, epoch: int) -> Iterator[Tensor]:
        """Index batches (b,) over n items, shuffled anew each epoch. A lone last item is never a batch."""
        order = torch.randperm(n, generator=self.generator(f"{stream}/{epoch}"))
        yield from (batch for batch in order.split(size) if len(batch) > 1 or n == 1)

    def descend(self, loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
        """One step of gradient descent.

        Raises:
            Diverged: the loss is not finite; no step is made.
        """
        if not bool(torch.isfinite(loss)):
            raise Diverged(f"the loss became {loss.item()} after {len(self.events)} log entries; lower the step size")
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()

    def log(self, **values: Any) -> None:
        """Keep one row of diagnostics: numbers and words; it ends in the record's ``log.jsonl``.

        A number that is not finite is kept as None, since JSON has none.

        Raises:
            TypeError: a value is neither a number nor a word.
        """
        for name, value in values.items():
            if not isinstance(value, bool | int | float | str | None):
                raise TypeError(f"run.log({name}=...): expected a number or a word, found {type(value).__name__}")
            if isinstance(value, float) and not math.isfinite(value):
                values[name] = None
        self.events.append(values)

    def stage(self, name: str, settings: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Make a stage once and lend it to every run that needs the same one.

        Args:
            name: The stage, e.g. ``soda/teacher``.
            settings: Every value of the configuration that the stage depends on, and no other.
            make: Makes the stage in a random state of its own; logs go to this run and are kept with it.

        Returns:
            The tensors that ``make`` returned, bit for bit, whether made now or remembered.
        """
        key = digest([name, dict(settings), self.bits, self.seed, self.scope, self.max_epochs])
        stage = self.stages.get(key)
        if stage is None:
            with self.making(key):
                stage = self.stages.get(key) or self._made(name, key, make)
        self.events.extend(stage.events)
        return {k: v.to(self.device, copy=True) for k, v in stage.tensors.items()}

    def _made(self, name: str, key: str, make: Callable[[], dict[str, Tensor]]) -> Stage:
        before = len(self.events)
        # Its own state, or a remembered stage would shift every later draw; from name and seed alone, so that
        # runs that differ in a setting start alike and can be compared seed by seed.
        with isolated(int(digest([name, self.seed])[:15], 16)):
            tensors = {k: v.detach().cpu().contiguous().clone() for k, v in make().items()}
        stage = Stage(tensors, self.events[before:])
        del self.events[before:]
        self.stages[key] = stage
        return stage

    def mean_average_precision(self, query: Tensor, database: Tensor, query_labels: Tensor, labels: Tensor) -> float:
        """Expected MAP@all of real-valued codes (q, k) against (n, k), by shared labels; for diagnostics."""
        from hashbench.retrieval import codes, evaluate

        evaluation = evaluate(
            codes.pack(_signs(query)), codes.pack(_signs(database)),
            _multi_hot(query_labels), _multi_hot(labels), cutoffs=(),
        )  # fmt: skip
        return evaluation.metrics["map@all"]


@dataclass(frozen=True)
class Hasher:
    """One hash function per view: a module from rows (b, ...) to reals (b, k), of which the bench takes the sign."""

    modules: Mapping[str, nn.Module]

    def encode(self, name: str, view: View, batch_size: int = 512) -> Codes:
        """(n, k) int8 codes of a view in evaluation mode; zero counts as +1, here and nowhere else.

        Raises:
            Diverged: an output is not finite.
        """
        return _signs(self.outputs(name, view, batch_size))

    @torch.no_grad()
    def outputs(self, name: str, view: View, batch_size: int = 512) -> Tensor:
        """(n, k) float outputs of a view in evaluation mode, before the sign is taken.

        Raises:
            Diverged: an output is not finite.
        """
        module = self.modules[name].eval()
        outputs = [module(view.batch(rows)) for rows in torch.arange(len(view)).split(batch_size)]
        out = torch.cat(outputs)
        if not bool(torch.isfinite(out).all()):
            raise Diverged(f"the {name} codes are not finite; lower the step size")
        return out.float()


def _signs(reals: Tensor) -> Codes:
    return np.where(reals.detach().float().cpu().numpy() >= 0, 1, -1).astype(np.int8)


def _multi_hot(labels: Tensor) -> NDArray[np.uint8]:
    return labels.cpu().numpy().astype(np.uint8)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed every global generator inside, and put them back after; module constructors draw from them."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


class Method(abc.ABC, Generic[C]):
    """Base class of all hashing methods."""

    paper: ClassVar[Paper]
    kind: ClassVar[Kind]
    needs: ClassVar[Needs]
    version: ClassVar[int]
    """Raised when numbers change on purpose; part of the run key."""
    config_class: ClassVar[type[Config]]
    real_valued: ClassVar[bool] = False
    """Whether outputs are ranked by their cosine as they are, k real numbers in place of k bits: no hash, but a
    reference for what hashing gives away."""
    exceptions: ClassVar[Mapping[str, str]] = {}
    """Law of the contract kit to the reason why this method breaks it by its nature."""

    def __init__(self, config: C) -> None:
        self.config = config

    def train(self, train: Items, run: Run) -> Hasher:
        """What the bench calls: :meth:`fit` in a random state of its own, with no labels it did not ask for."""
        if self.needs.labels == "none":
            train = replace(train, labels=None, labelled=None, prompts=None)
        with isolated(run.seed):
            return self.fit(train, run)

    @abc.abstractmethod
    def fit(self, train: Items, run: Run) -> Hasher:
        """Learn from the training items. Changes neither ``self`` nor ``train``; prints nothing."""
