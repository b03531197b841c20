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

from hashbench import backbone as backbones
from hashbench import prompts, registry, retrieval, store
from hashbench.backbone import Backbone
from hashbench.config import Config, digest, validated
from hashbench.dataset import SIDES, Dataset, Index
from hashbench.errors import CELLS_FAILED, DataError, Diverged, Incompatible, UsageError
from hashbench.features import FeatureCache, MappedRows, RawRows, vectors
from hashbench.method import Hasher, Items, Method, Run, View
from hashbench.paths import cache_dir, results_dir
from hashbench.retrieval import Evaluation, PackedCodes
from hashbench.spec import Execution, Precision, Spec, Tuning
from hashbench.stages import StageFiles
from hashbench.store import Record, Store

ENCODED_SIDES = ("query", "database", "validation")
TASKS = (("image", "text"), ("text", "image"))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a run sees of the world: data, protocol, backbones."""

    dataset: str = "pictograms"
    protocol: str | None = None
    """None: the data set's first."""
    backbones: Mapping[str, str] = field(default_factory=lambda: {"image": "lite", "text": "lite"})
    """View name to backbone name."""
    tuning: Tuning = "frozen"
    precision: Precision = "fp32"


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
        self.dataset: Dataset = registry.datasets.get(setup.dataset)(setup.protocol)
        self.backbones: dict[str, Backbone] = {}
        for view, name in setup.backbones.items():
            modality = self.dataset.views[view].modality
            self.backbones[view] = backbones.open_backbone(modality, name, self.dataset.vocabulary)

    def spec(self, method: type[Method[Any]], name: str, config: Config, bits: int, seed: int) -> Spec:
        """The spec of one run of a method under this setup."""
        return Spec(
            method=name,
            method_version=method.version,
            config=config.key_fields(),
            dataset=self.setup.dataset,
            dataset_revision=self.dataset.revision,
            protocol=self.dataset.rules.id,
            split=self.dataset.split_digest,
            views={view: self.backbones[view].identity for view in method.needs.views},
            prompts=self._prompts_digest if method.needs.prompts else None,
            tuning=self.setup.tuning,
            bits=bits,
            seed=seed,
            precision=self.setup.precision,
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
        return self.features.has(self.dataset, view, self.backbones[view], precision=self.setup.precision)

    def compute_features(self, reporter: Reporter | None = None) -> None:
        """Make sure that the features of every cached view are on disk."""
        for view in self.backbones:
            if not self.is_raw(view):
                self._array(view, reporter or Reporter())

    def items(self, side: str, *, prompted: bool = False, log: Callable[..., None] | None = None) -> Items:
        """The items of one side (``query``, ``database``, ``train``, ``validation``) through every view.

        Args:
            side: The side.
            prompted: Whether label prompts can be read as a view.
            log: Told how distinct the prompts of the classes are, whenever a prompt is read.
        """
        rows: Index = getattr(self.dataset.split, side)
        labels = self.dataset.labels[rows]

        def label_view(prompt: str) -> View:
            told = (self.dataset.class_names, self._encode_sentences, self.dataset.definitions)
            if log:
                log(phase="prompts", prompt=prompt, **prompts.spread(prompts.class_vectors(prompt, *told)))
            vectors = prompts.label_vectors(prompt, labels, *told)
            return View(torch.from_numpy(vectors), vectors.shape[1], device=self.device)

        return Items(
            views={view: self._view(view, rows) for view in self.backbones},
            labels=torch.from_numpy(labels.astype(np.float32)).to(self.device),
            prompts=label_view if prompted else None,
        )

    def _view(self, view: str, rows: Index) -> View:
        encoder = self.backbones[view]
        if self.is_raw(view):
            source = RawRows(self.dataset, view, encoder, rows)
            return View(source, encoder.dim, encoder.encoder, True, encoder.pretrained, self.device)
        array = self._array(view, Reporter())
        return View(MappedRows(array, rows), array.shape[1], device=self.device)

    def _array(self, view: str, reporter: Reporter) -> NDArray[np.float32]:
        if view not in self._arrays:
            found = self.features.get(
                self.dataset,
                view,
                self.backbones[view],
                precision=self.setup.precision,
                device=self.device,
                progress=lambda done, total: reporter.features(view, done, total),
            )
            self._arrays[view] = found.array
            if found.reused:
                reporter.features_reused(view)
        return self._arrays[view]

    def _encode_sentences(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Prompts through the text backbone as it is before any training."""
        asked = tuple(sentences)
        if asked not in self._sentences:
            self._sentences[asked] = vectors(self.backbones["text"], asked, precision=self.setup.precision)
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
    missing = [view for view in found.needs.views if view not in bench.backbones]
    if missing:
        raise UsageError(f"{method} needs the view {missing[0]!r}, and {bench.setup.dataset} has no backbone for it")
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
    prompted = method.needs.prompts
    cost: dict[str, float] = {}
    running = Run(
        bits=spec.bits,
        seed=spec.seed,
        device=bench.device,
        validation=bench.items("validation", prompted=prompted),
        scope=digest([spec.scope, bench.device.partition(":")[0]]),
        stages=bench.stages,
        watch=lambda phase, epoch, epochs: reporter.epoch(spec, phase, epoch, epochs),
    )
    blank = Record(spec=spec, status="done", rules=vars(bench.dataset.rules), provenance=store.provenance(bench.device))
    try:
        with _threads(1 if not any(map(bench.is_raw, bench.backbones)) else os.cpu_count() or 1):
            _check_needs(method, bench)
            with torch.autocast(bench.device.partition(":")[0], torch.bfloat16, enabled=spec.precision == "bf16"):
                hasher = method.train(bench.items("train", prompted=prompted, log=running.log), running)
                cost["fit_seconds"] = time.perf_counter() - started
                codes = _encode(bench, method, hasher, spec.bits, cost)
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
            code_digests={name: retrieval.digest(packed) for name, packed in codes.items()},
            warnings=[event["warning"] for event in running.events if "warning" in event],
        ),
        bench.dataset,
        evaluations,
    )
    records.save(
        record,
        {name: retrieval.to_bytes(packed) for name, packed in codes.items()},
        _query_precisions(evaluations),
        running.events,
    )
    return record


def _check_needs(method: Method[Any], bench: Bench) -> None:
    raw = [view for view in method.needs.views if bench.is_raw(view)]
    if method.needs.cached and raw:
        raise Incompatible(
            f"needs cached features, and the {raw[0]} view is trained from raw items; "
            "take --tuning frozen and a trained backbone"
        )


def _encode(
    bench: Bench, method: Method[Any], hasher: Hasher, bits: int, cost: dict[str, float]
) -> dict[str, PackedCodes]:
    """``side/view`` to codes, for every view that has a hash function."""
    missing = [view for view in method.needs.views if view not in hasher.modules]
    if missing:
        raise TypeError(f"fit returned no hash function for the {missing[0]} view")
    started, codes = time.perf_counter(), {}
    for side in ENCODED_SIDES:
        items = bench.items(side)
        for view in hasher.modules:
            codes[f"{side}/{view}"] = packed = retrieval.pack(hasher.encode(view, items.views[view]))
            if packed.bits != bits:
                raise TypeError(f"the {view} codes have {packed.bits} bits, asked for were {bits}")
    cost["encode_seconds"] = time.perf_counter() - started
    cost["items_per_second"] = sum(map(len, codes.values())) / max(cost["encode_seconds"], 1e-9)
    return codes


def evaluate_codes(dataset: Dataset, codes: Mapping[str, PackedCodes]) -> dict[tuple[str, str], Evaluation]:
    """Both tasks, asked by queries and by validation items, against the database.

    Args:
        dataset: The data under its protocol.
        codes: ``side/view`` to codes.

    Returns:
        (side, task) to evaluation, such as (``query``, ``image->text``).
    """
    split, labels = dataset.split, dataset.labels
    return {
        (side, f"{asked}->{searched}"): retrieval.evaluate(
            codes[f"{side}/{asked}"],
            codes[f"database/{searched}"],
            labels[getattr(split, side)],
            labels[split.database],
        )
        for side in ("query", "validation")
        for asked, searched in TASKS
        if f"{side}/{asked}" in codes and f"database/{searched}" in codes
    }


def with_evaluations(record: Record, dataset: Dataset, evaluations: Mapping[tuple[str, str], Evaluation]) -> Record:
    """The record with its metrics, curves and counts set from evaluations."""
    queries = {task: e for (side, task), e in evaluations.items() if side == "query"}
    validation = {task: e for (side, task), e in evaluations.items() if side == "validation"}
    counts = {side: len(getattr(dataset.split, side)) for side in SIDES}
    counts["queries_without_relevant"] = max((e.queries_without_relevant for e in queries.values()), default=0)
    return replace(
        record,
        counts=counts,
        evaluation_version=retrieval.EVALUATION_VERSION,
        metrics={task: e.metrics for task, e in queries.items()},
        validation={task: e.metrics for task, e in validation.items()},
        curves={task: _curves(e) for task, e in queries.items()},
    )


def _curves(evaluation: Evaluation) -> dict[str, list[float]]:
    return {
        f"{kind}/{name}": np.asarray(values).tolist()
        for kind, curve in (("radius", evaluation.radius), ("rank", evaluation.rank))
        for name, values in vars(curve).items()
    }


def evaluate_again(records: Store, record: Record) -> Record:
    """Recompute a finished run's metrics from its stored codes, and keep them.

    Raises:
        DataError: the codes are damaged, or the data set is no longer what it was.
    """
    if record.status != "done":
        return record
    dataset: Dataset = registry.datasets.get(record.spec.dataset)(record.spec.protocol)
    if dataset.revision != record.spec.dataset_revision or dataset.split_digest != record.spec.split:
        raise DataError(
            f"run {record.key[:16]}: made on {record.spec.dataset} {record.spec.dataset_revision}, found revision "
            f"{dataset.revision}; its codes belong to other items, so run it again"
        )
    codes = {name: retrieval.from_bytes(raw, record.spec.bits) for name, raw in records.codes(record).items()}
    if {name: retrieval.digest(packed) for name, packed in codes.items()} != record.code_digests:
        raise DataError(f"{records.folder(record.spec)}: the codes are not those that were stored; run it again")
    evaluations = evaluate_codes(dataset, codes)
    again = with_evaluations(record, dataset, evaluations)
    records.rewrite(again, _query_precisions(evaluations))
    return again


def _query_precisions(evaluations: Mapping[tuple[str, str], Evaluation]) -> dict[str, NDArray[np.float32]]:
    return {task: found.average_precision for (side, task), found in evaluations.items() if side == "query"}


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
