"""One Spec to one Record: open the data, see it through the backbones, fit, encode, measure, keep.

What ``hashbench run`` does is :func:`run`; the pieces below it are what grids and tests use.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hashbench import backbone as backbones
from hashbench import prompts, registry, retrieval, store
from hashbench.backbone import Backbone, Given
from hashbench.conditions import Conditions, Reworded, disturb
from hashbench.config import Config, did_you_mean, digest, validated
from hashbench.data import catalogue
from hashbench.dataset import Dataset, Index, Vectors
from hashbench.errors import CELLS_FAILED, DataError, Diverged, Incompatible, UsageError
from hashbench.features import FeatureCache, MappedRows, RawRows, vectors
from hashbench.measuring import (
    ENCODED_SIDES,
    code_digest,
    evaluate_codes,
    packed,
    query_precisions,
    rows_with,
    with_evaluations,
)
from hashbench.method import Hasher, Items, Method, Run, View
from hashbench.paths import cache_dir, results_dir
from hashbench.retrieval import AnyCodes, RealCodes
from hashbench.spec import Execution, Precision, Spec, Tuning
from hashbench.stages import StageFiles
from hashbench.store import Record, Store


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run sees of the world: data, protocol, backbones."""

    dataset: str = "pictograms"
    protocol: str | None = None
    """None: the data set's first."""
    views: tuple[str, ...] = ()
    """The views that take part; empty: all that the data set has."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """View name to backbone name, ``lite`` where none is named; ``label`` is what reads label prompts, the text
    view's own where none is named. A view of vectors has none."""
    tuning: Tuning = "frozen"
    precision: Precision = "fp32"
    conditions: Conditions = field(default_factory=Conditions)
    """What is done to the training items."""


class Reporter:
    """Told how far the work is. This one says nothing; the command line's says it on the screen."""

    def features(self, view: str, done: int, total: int) -> None:
        """``done`` of ``total`` items of a view went through its backbone."""

    def features_reused(self, view: str) -> None:
        """The features of a view were in the cache."""

    def starting(self, runs: int, at_once: int) -> None:
        """So many runs are left to make; several at once say nothing until each is done."""

    def epoch(self, spec: Spec, phase: str, epoch: int, epochs: int) -> None:
        """A run began an epoch."""

    def finished(self, record: Record, folder: Path, reused: bool) -> None:
        """A run is there, made now or found in the store."""


class Bench:
    """An opened setup: the data under its protocol, the backbones, and views made from them on demand.

    Opening settles every name, weights file and digest, and computes nothing: what cannot work stops here.

    Raises:
        UsageError: an unknown data set, protocol or backbone.
        WeightsUnavailable: trained weights that are not to be had.
    """

    def __init__(self, setup: Setup, cache: Path | None = None, device: str = "cpu") -> None:
        """Open a setup; ``cache`` is the folder of features and stages, the usual one where None."""
        self.setup, self.device = setup, device
        self.cache = cache or cache_dir()
        self.features = FeatureCache(self.cache / "features")
        self.stages = StageFiles(self.cache / "stages")
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._sentences: dict[tuple[str, ...], NDArray[np.float32]] = {}
        self.dataset = catalogue.open_dataset(setup.dataset, setup.protocol)
        self.backbones = {view: self._backbone(view) for view in self._chosen_views()}

    def _chosen_views(self) -> tuple[str, ...]:
        there = tuple(self.dataset.views)
        for view in (*self.setup.views, *(name for name in self.setup.backbones if name != "label")):
            if view not in there:
                raise UsageError(f"{self.setup.dataset} has no view {view!r}. {did_you_mean(view, there)}")
        if len(self.setup.views) == 1:
            raise UsageError(f"--views {self.setup.views[0]}: expected two or more of {', '.join(there)}")
        return self.setup.views or there

    def _backbone(self, view: str) -> Backbone:
        source, name = self.dataset.views[view], self.setup.backbones.get(view)
        if not isinstance(source, Vectors):
            return backbones.open_backbone(source.modality, name or "lite", self.dataset.vocabulary)
        if name:
            raise UsageError(
                f"--{view}-backbone {name!r}: the {view} view of {self.setup.dataset} is vectors already; leave it out"
            )
        return Given(source.matrix.shape[1])

    @cached_property
    def _prompt_reader(self) -> Backbone:
        """What reads label prompts: named, or the text view's own backbone, or the offline one."""
        name, own = self.setup.backbones.get("label"), self.backbones.get("text")
        if not name and own is not None and not isinstance(own, Given):
            return own
        return backbones.open_backbone("text", name or "lite", self.dataset.vocabulary)

    def views_of(self, method: type[Method[Any]]) -> tuple[str, ...]:
        """The views that a method gets under this setup."""
        return tuple(self.backbones) if method.needs.more_views else method.needs.views

    def spec(self, method: type[Method[Any]], name: str, config: Config, bits: int, seed: int) -> Spec:
        """The spec of one run of a method under this setup."""
        views = {view: self.backbones[view].identity for view in self.views_of(method)}
        if method.needs.prompts and self._prompt_reader is not self.backbones.get("text"):
            views["label"] = self._prompt_reader.identity
        return Spec(
            method=name,
            method_version=method.version,
            config=config.key_fields(),
            dataset=self.setup.dataset,
            dataset_revision=self.dataset.revision,
            protocol=self.dataset.rules.id,
            split=self.dataset.split_digest,
            views=views,
            prompts=self._prompts_digest if method.needs.prompts else None,
            tuning=self.setup.tuning,
            bits=bits,
            seed=seed,
            precision=self.setup.precision,
            conditions=self.setup.conditions.set(),
        )

    @cached_property
    def _prompts_digest(self) -> str:
        tables = {name: (prompt.kind, prompt.template) for name, prompt in prompts.PROMPTS.items()}
        return digest([self.dataset.class_names, dict(self.dataset.definitions), tables])[:16]

    def is_raw(self, view: str) -> bool:
        """Whether the view's encoder is trained with the method: asked for, or untrained as it is."""
        encoder = self.backbones[view]
        return encoder.trainable and (self.setup.tuning == "full" or not encoder.pretrained)

    def has_features(self, view: str) -> bool:
        """Whether a cached view's features are there already."""
        given = isinstance(self.dataset.views[view], Vectors)
        return given or self.features.has(self.dataset, view, self.backbones[view], precision=self.setup.precision)

    def compute_features(self, reporter: Reporter | None = None) -> None:
        """Make sure that the features of every cached view are on disk."""
        for view in self.backbones:
            if not self.is_raw(view):
                self._array(view, reporter or Reporter())

    def train(self, spec: Spec, log: Callable[..., None] | None = None) -> Items:
        """The training items as the spec's method gets them, under the spec's conditions.

        A method that needs every label gets the labelled items alone; one that can do without some gets all of
        them, with hidden labels hidden.

        Args:
            spec: The run.
            log: Told how distinct the prompts of the classes are, whenever a prompt is read.

        Raises:
            Incompatible: no training item has every view that the method needs.
        """
        method = registry.methods.get(spec.method)
        rows = self._rows_for("train", method)
        found = disturb(self.dataset, rows, Conditions(**spec.conditions), spec.seed)
        kept = np.flatnonzero(found.labelled) if method.needs.labels == "all" else np.arange(len(rows))
        labels, labelled = found.labels[kept], found.labelled[kept]
        words = None if found.text is None else Reworded(self.dataset, rows, found.text)
        hidden = None if labelled.all() else torch.from_numpy(labelled).to(self.device)
        return self._items(method, rows, kept, labels * labelled[:, None], hidden, words, log)

    def validation(self, method: type[Method[Any]]) -> Items | None:
        """The validation items as a method gets them, clean; None where the protocol has none."""
        rows = self._rows_for("validation", method)
        return self._items(method, rows, np.arange(len(rows)), self.dataset.labels[rows]) if len(rows) else None

    def _rows_for(self, side: str, method: type[Method[Any]]) -> Index:
        """Rows of a side whose items have every view that the method needs, or one of them if those will do."""
        rows: Index = getattr(self.dataset.split, side)
        present = [self.dataset.present(view)[rows] for view in self.views_of(method)]
        return rows[(np.any if method.needs.more_views else np.all)(present, axis=0)]

    def _items(
        self, method: type[Method[Any]], rows: Index, kept: Index, labels: NDArray[np.uint8],
        labelled: Tensor | None = None, words: Reworded | None = None, log: Callable[..., None] | None = None,
    ) -> Items:  # fmt: skip
        """Items ``rows[kept]`` through the views of a method."""
        if not len(kept):
            raise Incompatible(f"no training item has all of its views: {', '.join(self.views_of(method))}")

        def label_view(prompt: str) -> View:
            told = (self.dataset.class_names, self._encode_sentences, self.dataset.definitions)
            if log:
                log(phase="prompts", prompt=prompt, **prompts.spread(prompts.class_vectors(prompt, *told)))
            vectors = prompts.label_vectors(prompt, labels, *told)
            return View(torch.from_numpy(vectors), vectors.shape[1], device=self.device)

        views = {}
        for view in self.views_of(method):
            there = np.flatnonzero(self.dataset.present(view)[rows[kept]])
            owners = None if len(there) == len(kept) else torch.from_numpy(there).to(self.device)
            if view == "text" and words is not None:
                views[view] = replace(self._view(view, kept[there], words), items=owners)
            elif len(there):
                views[view] = replace(self._view(view, rows[kept[there]]), items=owners)
        return Items(
            views=views,
            labels=torch.from_numpy(labels.astype(np.float32)).to(self.device),
            labelled=labelled,
            prompts=label_view if method.needs.prompts else None,
        )

    def _view(self, view: str, rows: Index, dataset: Dataset | None = None) -> View:
        dataset, encoder = dataset or self.dataset, self.backbones[view]
        if self.is_raw(view):
            source = RawRows(dataset, view, encoder, rows)
            return View(source, encoder.dim, encoder.encoder, True, encoder.pretrained, self.device)
        array = self._array(view, Reporter(), dataset)
        return View(MappedRows(array, rows), array.shape[1], device=self.device)

    def encode(self, hasher: Hasher, side: str, view: str, *, real_valued: bool = False) -> AnyCodes:
        """The codes of a side's items that have a view."""
        items = self._view(view, rows_with(self.dataset, side, view))
        if real_valued:
            return RealCodes(hasher.outputs(view, items).cpu().numpy())
        return retrieval.pack(hasher.encode(view, items))

    def _array(self, view: str, reporter: Reporter, dataset: Dataset | None = None) -> NDArray[Any]:
        source, content = (dataset or self.dataset).views[view], (dataset or self.dataset).view_digest(view)
        if isinstance(source, Vectors):
            return source.matrix
        if content not in self._arrays:
            found = self.features.get(
                dataset or self.dataset,
                view,
                self.backbones[view],
                precision=self.setup.precision,
                device=self.device,
                progress=lambda done, total: reporter.features(view, done, total),
            )
            self._arrays[content] = found.array
            if found.reused:
                reporter.features_reused(view)
        return self._arrays[content]

    def _encode_sentences(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Prompts through the backbone that reads them, as it is before any training."""
        asked = tuple(sentences)
        if asked not in self._sentences:
            self._sentences[asked] = vectors(self._prompt_reader, asked, precision=self.setup.precision)
        return self._sentences[asked]


def run(
    method: str,
    *,
    setup: Setup | None = None,
    config: Config | None = None,
    bits: Sequence[int] = (64,),
    seeds: Sequence[int] = (0,),
    results: Path | None = None,
    execution: Execution | None = None,
    reporter: Reporter | None = None,
) -> list[Record]:
    """Train, encode and measure a method at every code length and seed; what is done already is reused.

    Args:
        method: Registered name, e.g. ``soda``.
        setup: Data, protocol and backbones; the built-in data with the offline backbone by default.
        config: The method's settings; its defaults where None.
        bits: Code lengths.
        seeds: One run each.
        results: Folder of the records; ``results`` or HASHBENCH_RESULTS where None.
        execution: Device, workers, whether to run again what is done.
        reporter: Told about progress.

    Returns:
        One record for every code length and seed, in that order, whatever became of it.

    Raises:
        UsageError: a name or a value that makes no sense.
        DataError: data or weights that are missing or damaged.
    """
    execution, reporter, setup = execution or Execution(), reporter or Reporter(), setup or Setup()
    bench = Bench(setup, device=resolve_device(execution.device))
    specs = plan(bench, method, config, bits, seeds)
    return carry_out(bench, specs, Store(results or results_dir()), execution, reporter)


def plan(bench: Bench, method: str, config: Config | None, bits: Sequence[int], seeds: Sequence[int]) -> list[Spec]:
    """The specs of a method at every code length and seed."""
    if not bits or min(bits) < 1 or max(bits) > 4096:
        raise UsageError(f"--bits: expected code lengths from 1 to 4096, found {list(bits)}")
    if not seeds:
        raise UsageError("--seeds: expected at least one seed")
    found = registry.methods.get(method)
    missing = [view for view in bench.views_of(found) if view not in bench.backbones]
    if missing:
        raise UsageError(
            f"{method} needs the view {missing[0]!r}, and there are {', '.join(bench.backbones)} (--views, --dataset)"
        )
    settings = config or found.config_class()
    if not isinstance(settings, found.config_class):
        raise UsageError(f"{method}: expected a {found.config_class.__name__}, found a {type(settings).__name__}")
    settings = validated(settings)
    return [bench.spec(found, method, settings, k, seed) for k in dict.fromkeys(bits) for seed in dict.fromkeys(seeds)]


def carry_out(
    bench: Bench, specs: Sequence[Spec], records: Store, execution: Execution, reporter: Reporter
) -> list[Record]:
    """Run what is not done, in worker processes where asked; records come back in the order of the specs."""
    records.check_writable()
    found: dict[str, Record] = {}
    for spec in specs:
        record = None if execution.force else records.find(spec)
        if record is not None and record.status != "failed":
            found[spec.key] = record
            reporter.finished(record, records.folder(spec), True)
    todo = [spec for spec in specs if spec.key not in found]
    if todo:
        bench.compute_features(reporter)
        reporter.starting(len(todo), min(execution.workers, len(todo)))
    if execution.workers > 1 and len(todo) > 1:
        finished = _in_processes(bench, todo, records, execution.workers)
    else:
        finished = (run_one(bench, spec, records, reporter) for spec in todo)
    for record in finished:
        found[record.key] = record
        reporter.finished(record, records.folder(record.spec), False)
    return [found[spec.key] for spec in specs]


def _in_processes(bench: Bench, specs: Sequence[Spec], records: Store, workers: int) -> Iterator[Record]:
    """Runs in fresh processes; results do not depend on how many there are."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(specs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    try:
        jobs = [pool.submit(_work, bench.setup, bench.cache, bench.device, spec, records.root) for spec in specs]
        for job in as_completed(jobs):
            yield job.result()
    except BaseException:  # interrupted, or data that no run can do without: nobody waits for the others
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    pool.shutdown()


def _end_with(parent: int) -> None:
    """Let this worker end when its parent is gone, however it went: nobody would take its result."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(setup: Setup, cache: Path, device: str, spec: Spec, results: Path) -> Record:
    return run_one(Bench(setup, cache, device), spec, Store(results), Reporter())


def run_one(bench: Bench, spec: Spec, records: Store, reporter: Reporter) -> Record:
    """Carry out one spec and keep its record, whatever becomes of it.

    Raises:
        DataError: data or weights that are missing or damaged; every run would end so.
    """
    started = time.perf_counter()
    method_class = registry.methods.get(spec.method)
    method = method_class(method_class.config_class.from_key_fields(spec.config))
    views = bench.views_of(method_class)
    cost: dict[str, float] = {}
    running = Run(
        bits=spec.bits,
        seed=spec.seed,
        device=bench.device,
        validation=bench.validation(method_class),
        scope=digest([spec.scope, bench.device.partition(":")[0]]),
        stages=bench.stages,
        watch=lambda phase, epoch, epochs: reporter.epoch(spec, phase, epoch, epochs),
    )
    blank = Record(spec=spec, status="done", rules=vars(bench.dataset.rules), provenance=store.provenance(bench.device))
    try:
        with _threads(os.cpu_count() or 1 if any(map(bench.is_raw, views)) else 1):
            _check_needs(method_class, bench)
            with torch.autocast(bench.device.partition(":")[0], torch.bfloat16, enabled=spec.precision == "bf16"):
                train = bench.train(spec, running.log)
                hasher = method.train(train, running)
                cost["fit_seconds"] = time.perf_counter() - started
                codes = _encode(bench, method_class, hasher, spec.bits, cost)
        evaluations = evaluate_codes(bench.dataset, codes)
    except DataError:
        raise
    except Incompatible as error:
        return _keep_failure(records, replace(blank, status="skipped", reason=str(error)), running)
    except Diverged as error:
        return _keep_failure(records, replace(blank, status="diverged", reason=str(error)), running)
    except Exception as error:  # one failing run never stops the others; its traceback is in the log
        running.log(traceback=traceback.format_exc())
        return _keep_failure(records, replace(blank, status="failed", reason=_one_line(error)), running)
    cost["seconds"] = time.perf_counter() - started
    cost["peak_bytes"] = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    record = with_evaluations(
        replace(
            blank,
            cost=cost,
            counts=_labelled(train),
            code_digests={name: code_digest(each) for name, each in codes.items()},
            warnings=[event["warning"] for event in running.events if "warning" in event],
        ),
        bench.dataset,
        evaluations,
    )
    records.save(
        record,
        {name: packed(each) for name, each in codes.items()},
        query_precisions(evaluations),
        running.events,
    )
    return record


def _labelled(train: Items) -> dict[str, int]:
    """How many items a method trained on, and how many of them had labels, where that is not all of the side."""
    known = len(train) if train.labelled is None else int(train.labelled.sum())
    return {"trained_on": len(train), "labelled": known}


def _check_needs(method: type[Method[Any]], bench: Bench) -> None:
    raw = [view for view in bench.views_of(method) if bench.is_raw(view)]
    if method.needs.cached and raw:
        raise Incompatible(
            f"needs cached features, and the {raw[0]} view is trained from raw items; "
            "take --tuning frozen and a trained backbone"
        )


def _encode(
    bench: Bench, method: type[Method[Any]], hasher: Hasher, bits: int, cost: dict[str, float]
) -> dict[str, AnyCodes]:
    """``side/view`` to codes, for every view of the method."""
    views = bench.views_of(method)
    missing = [view for view in views if view not in hasher.modules]
    if missing:
        raise TypeError(f"fit returned no hash function for the {missing[0]} view")
    started = time.perf_counter()
    codes: dict[str, AnyCodes] = {}
    for side in ENCODED_SIDES:
        for view in views:
            if not len(rows_with(bench.dataset, side, view)):
                continue
            codes[f"{side}/{view}"] = found = bench.encode(hasher, side, view, real_valued=method.real_valued)
            if found.bits != bits:
                raise TypeError(f"the {view} codes have {found.bits} bits, asked for were {bits}")
    cost["encode_seconds"] = time.perf_counter() - started
    cost["items_per_second"] = sum(map(len, codes.values())) / max(cost["encode_seconds"], 1e-9)
    return codes


def resolve_device(name: str) -> str:
    """``auto`` to the best device there is; any other name as it is, when torch can use it.

    Raises:
        UsageError: no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device {name!r}: expected auto, cpu, cuda or cuda:0")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices here; use --device cpu"
        )
    return name


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """A fixed number of threads: sums in another order would be other codes, so workers may not change it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep_failure(records: Store, record: Record, running: Run) -> Record:
    records.save(record, {}, {}, running.events)
    return record


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def exit_code(records: Sequence[Record]) -> int:
    """0 when every run is done; 4 when the only run diverged; 5 when some are not done."""
    undone = [record for record in records if record.status != "done"]
    if not undone:
        return 0
    return Diverged.exit_code if len(records) == 1 and undone[0].status == "diverged" else CELLS_FAILED
