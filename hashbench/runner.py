"""One Spec to one Record: open the data, see it through the backbones, fit, encode, measure, keep."""

from __future__ import annotations

import os
import re
import resource
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hashbench import backbone as backbones
from hashbench import prompts, registry, retrieval, store
from hashbench.backbone import Backbone, Given
from hashbench.conditions import Conditions, Reworded, disturb
from hashbench.config import Config, did_you_mean, digest
from hashbench.data import catalogue
from hashbench.dataset import Dataset, Index, Vectors
from hashbench.errors import DataError, Diverged, Incompatible, UsageError
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
from hashbench.models import Model, Program, disagreement, trace
from hashbench.paths import cache_dir
from hashbench.retrieval import AnyCodes, RealCodes
from hashbench.setup import Setup
from hashbench.spec import PRECISION_VERSIONS, Spec
from hashbench.stages import StageFiles
from hashbench.store import Record, Store


class Reporter:
    """Told how far the work is. This one says nothing; the command line's says it on the screen."""

    def features(self, view: str, done: int, total: int) -> None:
        """``done`` of ``total`` items of a view went through its backbone."""

    def features_reused(self, view: str) -> None:
        """The features of a view were in the cache."""

    def planned(self, runs: int) -> None:
        """So many runs belong to the work, done already or not."""

    def starting(self, runs: int, at_once: int) -> None:
        """So many runs are left to make; several at once say nothing until each is done."""

    def epoch(self, spec: Spec, phase: str, epoch: int, epochs: int) -> None:
        """A run began an epoch."""

    def finished(self, record: Record, folder: Path, reused: bool) -> None:
        """A run is there, made now or found in the store."""

    def standing(self, standing: Standing) -> None:
        """How many runs are done, which are at work, and how long the rest may take; told all the time."""


@dataclass(frozen=True)
class Standing:
    """Where the work of many runs stands."""

    left: int
    """Runs that are not finished, those at work among them."""
    at_work: Sequence[tuple[Spec, float, str]]
    """Spec, seconds since it was begun, and what is being done."""
    seconds_left: float | None
    """None while nothing is known of how long one takes."""


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
        self._arrays: dict[tuple[str, str], NDArray[np.float32]] = {}
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

    def backbone(self, view: str, method: type[Method[Any]]) -> Backbone:
        """What a method reads a view through: its backbone, in the form that gives tokens where it needs them.

        Raises:
            Incompatible: it needs tokens, and the backbone gives none.
        """
        found = self.backbones[view]
        return found.tokens() if method.needs.tokens else found

    def spec(self, method: type[Method[Any]], name: str, config: Config, bits: int, seed: int) -> Spec:
        """The spec of one run of a method under this setup."""
        views = {view: self._identity(view, method) for view in self.views_of(method)}
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
            precision_version=PRECISION_VERSIONS[self.setup.precision],
            conditions=self.setup.conditions.set(),
        )

    def _identity(self, view: str, method: type[Method[Any]]) -> str:
        try:
            return self.backbone(view, method).identity
        except Incompatible:  # the run will be skipped, and its record says with which backbone
            return self.backbones[view].identity

    @cached_property
    def _prompts_digest(self) -> str:
        return prompts.text_digest(self.dataset.class_names, self.dataset.definitions)

    def is_raw(self, view: str) -> bool:
        """Whether the view's encoder is trained with the method: asked for, or untrained as it is."""
        encoder = self.backbones[view]
        return encoder.trainable and (self.setup.tuning == "full" or not encoder.pretrained)

    def has_features(self, view: str, method: type[Method[Any]]) -> bool:
        """Whether the features that a method reads a cached view by are there already.

        Raises:
            Incompatible: it needs tokens, and the backbone gives none.
        """
        encoder = self.backbone(view, method)
        given = isinstance(self.dataset.views[view], Vectors)
        return given or self.features.has(self.dataset, view, encoder, precision=self.setup.precision)

    def compute_features(self, methods: Iterable[type[Method[Any]]], reporter: Reporter | None = None) -> None:
        """Make sure that all features that some methods read their cached views by are on disk."""
        for method in methods:
            for view in self.views_of(method):
                if not self.is_raw(view):
                    with suppress(Incompatible):  # which the run says itself
                        self._array(self.dataset, view, self.backbone(view, method), reporter or Reporter())

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
                views[view] = replace(self.view(view, method, kept[there], words), items=owners)
            elif len(there):
                views[view] = replace(self.view(view, method, rows[kept[there]]), items=owners)
        return Items(
            views=views,
            labels=torch.from_numpy(labels.astype(np.float32)).to(self.device),
            labelled=labelled,
            prompts=label_view if method.needs.prompts else None,
        )

    def view(self, view: str, method: type[Method[Any]], rows: Index, dataset: Dataset | None = None) -> View:
        """Some rows of a view as a method reads them; ``dataset`` where their items are not as they were found."""
        dataset, encoder = dataset or self.dataset, self.backbone(view, method)
        if self.is_raw(view):
            source, length = RawRows(dataset, view, encoder, rows), encoder.length
            return View(source, encoder.dim, encoder.encoder, True, encoder.pretrained, self.device, length=length)
        array = self._array(dataset, view, encoder, Reporter())
        shape = (encoder.length, array.shape[1] // encoder.length)
        unflatten = nn.Identity if encoder.length == 1 else partial(nn.Unflatten, 1, shape)
        return View(MappedRows(array, rows), shape[1], unflatten, device=self.device, length=shape[0])

    def encode(self, method: type[Method[Any]], hasher: Hasher, side: str, view: str) -> AnyCodes:
        """The codes of a side's items that have a view."""
        items = self.view(view, method, rows_with(self.dataset, side, view))
        if method.real_valued:
            return RealCodes(hasher.outputs(view, items).cpu().numpy())
        return retrieval.pack(hasher.encode(view, items))

    def _array(self, dataset: Dataset, view: str, encoder: Backbone, reporter: Reporter) -> NDArray[Any]:
        source, content = dataset.views[view], (dataset.view_digest(view), encoder.identity)
        if isinstance(source, Vectors):
            return source.matrix
        if content not in self._arrays:
            found = self.features.get(
                dataset,
                view,
                encoder,
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


def run_one(
    bench: Bench, spec: Spec, records: Store, reporter: Reporter, at_once: int = 1, *, models: bool = False
) -> Record:
    """Carry out one spec and keep its record, whatever becomes of it.

    Args:
        bench: The opened setup of the spec.
        spec: The run.
        records: Where its record goes.
        reporter: Told of its epochs.
        at_once: Runs at work on this machine, which share its cores where they compute on a GPU.
        models: Whether to keep the hash functions as well as the codes.

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
        scope=digest([spec.scope, bench.device.partition(":")[0]]),
        stages=bench.stages,
        making=bench.stages.making,
        watch=lambda phase, epoch, epochs: reporter.epoch(spec, phase, epoch, epochs),
    )
    blank = Record(
        spec=spec, status="done", settings=vars(method.config), rules=vars(bench.dataset.rules),
        provenance=store.provenance(bench.device),
    )  # fmt: skip
    try:
        with _threads(_cores(bench, views, at_once)):
            _check_needs(method_class, bench)
            running.validation = bench.validation(method_class)
            half, kind = spec.precision == "bf16", bench.device.partition(":")[0]
            # its cache would hold every weight as it was before the first step, and nothing would be learned
            with torch.autocast(kind, torch.bfloat16, enabled=half, cache_enabled=False):
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
    model = None
    if models:
        with _threads(_cores(bench, views, at_once)):
            model = _model(bench, method_class, spec, hasher, codes, running, cost)
    record = with_evaluations(
        replace(
            blank,
            cost=cost,
            counts=_labelled(train),
            code_digests={name: code_digest(each) for name, each in codes.items()},
            diagnostics=store.last_values(running.events),
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
        model=model.write if model else None,
    )
    return record


def _labelled(train: Items) -> dict[str, int]:
    """How many items a method trained on, and how many of them had labels, where that is not all of the side."""
    known = len(train) if train.labelled is None else int(train.labelled.sum())
    return {"trained_on": len(train), "labelled": known}


def _check_needs(method: type[Method[Any]], bench: Bench) -> None:
    for view in bench.views_of(method):
        bench.backbone(view, method)
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
            codes[f"{side}/{view}"] = found = bench.encode(method, hasher, side, view)
            if found.bits != bits:
                raise TypeError(f"the {view} codes have {found.bits} bits, asked for were {bits}")
    cost["encode_seconds"] = time.perf_counter() - started
    cost["items_per_second"] = sum(map(len, codes.values())) / max(cost["encode_seconds"], 1e-9)
    return codes


CHECKED = 64
"""Queries of a raw view that a model is tried on, which goes through a whole backbone; of cached features all are."""


def _model(
    bench: Bench, method: type[Method[Any]], spec: Spec, hasher: Hasher, codes: Mapping[str, AnyCodes], running: Run,
    cost: dict[str, float],
) -> Model | None:  # fmt: skip
    """The hash functions as they can be kept, tried on the queries; None, with a warning, where they cannot be."""
    started = time.perf_counter()
    facts = {
        "method": spec.method, "bits": str(spec.bits), "key": spec.key, "dataset": spec.dataset,
        "protocol": spec.protocol, "precision": spec.precision, "views": ",".join(bench.views_of(method)),
        "raw": ",".join(filter(bench.is_raw, bench.views_of(method))),
        "codes": digest({name: code_digest(each) for name, each in codes.items()}),
    }  # fmt: skip
    programs: dict[str, Program] = {}
    model = Model(programs, facts)
    for view in bench.views_of(method):
        side = "query" if f"query/{view}" in codes else "database"
        items = bench.view(view, method, rows_with(bench.dataset, side, view))
        tried = torch.arange(min(len(items), CHECKED) if items.raw else len(items))
        try:
            programs[view] = trace(hasher.modules[view], items.batch(torch.tensor([0, 0])))
            outputs = torch.cat([model.outputs(view, items.batch(rows)) for rows in tried.split(512)])
        except Exception as error:  # whatever a module does on its way, the codes are there
            running.log(warning=f"the model was not kept: the {view} hash function cannot be written down: {error}")
            return None
        differ, beyond = disagreement(
            outputs.cpu().numpy(), codes[f"{side}/{view}"].take(tried.numpy()), spec.precision
        )
        if beyond:
            running.log(warning=f"the model was not kept: written down, it gives {differ} other {view} bits")
            return None
        facts[f"identity/{view}"] = spec.views[view]
        if not isinstance(bench.dataset.views[view], Vectors):
            facts[f"backbone/{view}"] = bench.setup.backbones.get(view, "lite")
    cost["model_seconds"] = time.perf_counter() - started
    return model


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


def _cores(bench: Bench, views: Sequence[str], at_once: int) -> int:
    """Threads of a run. On a CPU their number follows from the run alone, since it decides the order of sums."""
    if not any(map(bench.is_raw, views)):
        return 1
    cores = os.cpu_count() or 1
    return cores if bench.device == "cpu" else max(1, cores // at_once)


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
