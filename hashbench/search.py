"""Finding items by words or a picture of one's own, with the codes and the model that a run kept."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image, ImageOps
from torch import Tensor

from hashbench.backbone import Backbone, Modality, open_backbone
from hashbench.config import did_you_mean, digest
from hashbench.dataset import Dataset, Vectors
from hashbench.errors import DataError, UsageError
from hashbench.examples import thumbnail, words
from hashbench.features import Encoder, FeatureCache, MappedRows, RawRows
from hashbench.labelled import AS_GIVEN
from hashbench.measuring import in_order, rows_with, stored
from hashbench.method import Rows
from hashbench.models import Model, codes_of
from hashbench.repeat import command_of
from hashbench.retrieval import AnyCodes, RealCodes, nearest
from hashbench.store import Record, Store

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Of pictures that are asked with; Pillow knows others, some of which start programs."""

MOST_PIXELS = 50_000_000
MOST_CHARACTERS = 10_000
MOST_HITS = 1000


@dataclass(frozen=True)
class Found:
    """One database item."""

    row: int
    """Of the data set."""
    id: str
    distance: float
    """Hamming's; one minus the cosine for real-valued codes."""
    labels: tuple[str, ...]
    words: str
    """Empty where it has no text."""


@dataclass(frozen=True)
class Answer:
    """What was found."""

    asked: str
    """The view that the question was read as."""
    searched: str
    """The view whose codes were searched."""
    found: tuple[Found, ...]
    """Nearest first; ties in the database's order."""


class Search:
    """A run that can be asked: its data, its codes, its model, and the backbones that read questions.

    Opening takes seconds, a question milliseconds; a backbone is opened with the first question that it reads.
    """

    def __init__(self, store: Store, record: Record) -> None:
        """Open a run.

        Raises:
            UsageError: the run is not done, or was kept without its model.
            DataError: codes or model are damaged, or the data set is no longer what it was.
        """
        self.record = record
        self.model = model_of(store, record)
        self.dataset: Dataset
        self.dataset, self.codes = stored(store, record)
        self._encoders: dict[str, Encoder] = {}
        self._backbones: dict[str, Backbone] = {}

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The views that can be searched."""
        return tuple(in_order(name.partition("/")[2] for name in self.codes if name.startswith("database/")))

    @property
    def real_valued(self) -> bool:
        """Whether distances are of cosines and not of bits."""
        return isinstance(next(iter(self.codes.values())), RealCodes)

    def text(self, text: str, *, searched: str | None = None, top: int = 10) -> Answer:
        """The items nearest to a text.

        Args:
            text: Words as the data set has them.
            searched: The view to search; the pictures, or another view than the texts, where None.
            top: How many items, 1 to 1000.

        Raises:
            UsageError: no words, or no view of this run reads any.
        """
        if not text.strip():
            raise UsageError("text: expected some words, found none")
        if len(text) > MOST_CHARACTERS:
            raise UsageError(f"text: expected at most {MOST_CHARACTERS} characters, found {len(text)}")
        view = self._reading("text")
        rows = self.backbone(view).prepare([text])
        if rows.is_floating_point() and not rows.any():  # a bag of words
            raise UsageError(f"text {text!r}: none of these words is in the vocabulary of {self.dataset.name}")
        return self._nearest(view, rows, searched, top)

    def picture(self, picture: Image.Image, *, searched: str | None = None, top: int = 10) -> Answer:
        """The items nearest to a picture; see :meth:`text` and :func:`read_picture`."""
        view = self._reading("image")
        return self._nearest(view, self.backbone(view).prepare([picture]), searched, top)

    def warm_up(self) -> None:
        """Open every backbone that reads questions, so that the first one is answered as fast as the others."""
        with suppress(UsageError):
            self.text("a")
        with suppress(UsageError):
            self.picture(Image.new("RGB", (64, 64)))

    def thumbnail(self, found: Found, side: int = 160) -> bytes | None:
        """The picture of an item as JPEG; None where it has none."""
        return thumbnail(self.dataset, found.row, side)

    def backbone(self, view: str) -> Backbone:
        """What reads a view as the run did.

        Raises:
            UsageError: the view is vectors.
            DataError: the backbone here is another than the run's.
        """
        if view not in self._backbones:
            source, identity = self.dataset.views[view], self.record.spec.views[view]
            if isinstance(source, Vectors):
                raise UsageError(f"the {view} view of {self.dataset.name} is vectors, which no backbone makes")
            name = self.model.about.get(f"backbone/{view}", identity.partition(" ")[0].removesuffix("+tokens"))
            found = open_backbone(source.modality, name, self.dataset.vocabulary)
            if identity.partition(" ")[0].endswith("+tokens"):
                found = found.tokens()
            if found.identity != identity:
                raise DataError(f"backbone {name!r}: the run was made with {identity}, here it is {found.identity}")
            self._backbones[view] = found
        return self._backbones[view]

    def outputs(self, view: str, rows: Tensor) -> Tensor:
        """(b, k) outputs of the model for what its backbone prepared, (b, ...)."""
        if view not in self.model.about["raw"].split(","):
            rows = torch.from_numpy(self._encoder(view)(rows))
        return self.model.outputs(view, rows)

    def side(self, side: str, view: str) -> Rows:
        """What the model itself eats, for the items of a side in the order of their codes."""
        rows, source = rows_with(self.dataset, side, view), self.dataset.views[view]
        if isinstance(source, Vectors):
            return MappedRows(source.matrix, rows)
        if view in self.model.about["raw"].split(","):
            return RawRows(self.dataset, view, self.backbone(view), rows)
        precision = self.record.spec.precision
        return MappedRows(FeatureCache().get(self.dataset, view, self.backbone(view), precision=precision).array, rows)

    def _encoder(self, view: str) -> Encoder:
        if view not in self._encoders:
            self._encoders[view] = Encoder(self.backbone(view), self.record.spec.precision, "cpu")
        return self._encoders[view]

    def _reading(self, modality: Modality) -> str:
        """The view that questions of a modality are read as."""
        views = {view: self.dataset.views[view] for view in in_order(self.model.programs)}
        reading = [view for view, of in views.items() if not isinstance(of, Vectors) and of.modality == modality]
        if not reading:
            numbers = ", ".join(view for view, of in views.items() if isinstance(of, Vectors))
            raise UsageError(
                f"no view of this run reads a question's {modality}"
                + (f": {self.dataset.name} gives {numbers} as vectors alone" if numbers else "")
            )
        return modality if modality in reading else reading[0]

    def _nearest(self, asked: str, rows: Tensor, searched: str | None, top: int) -> Answer:
        if not 1 <= top <= MOST_HITS:
            raise UsageError(f"top {top}: expected 1 to {MOST_HITS}")
        searched = searched or next((view for view in self.views if view != asked), asked)
        if searched not in self.views:
            raise UsageError(f"searched {searched!r}: no codes of such a view. {did_you_mean(searched, self.views)}")
        database: AnyCodes = self.codes[f"database/{searched}"]
        first, far = nearest(codes_of(self.outputs(asked, rows), database), database, top)
        items = rows_with(self.dataset, "database", searched)[first[0]]
        return Answer(asked, searched, tuple(map(self._found, items.tolist(), far[0].tolist())))

    def _found(self, row: int, distance: float) -> Found:
        names = zip(self.dataset.class_names, self.dataset.labels[row], strict=True)
        labels = tuple(name for name, has in names if has)
        return Found(row, self.dataset.ids[row], distance, labels, words(self.dataset, row))


def read_picture(content: bytes, where: str) -> Image.Image:
    """A picture to ask with, turned as its camera says.

    Args:
        content: A file of one of :data:`FORMATS`.
        where: What to call it in an error.

    Raises:
        UsageError: it is none, or has more than 50 million pixels.
    """
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > MOST_PIXELS:
            raise UsageError(
                f"{where}: expected at most {MOST_PIXELS:,} pixels, found {picture.width}x{picture.height}"
            )
        upright = ImageOps.exif_transpose(picture)
        upright.load()
    except UsageError:
        raise
    except Exception as error:  # decoders raise anything
        raise UsageError(f"{where}: not a picture that can be read ({', '.join(FORMATS)})") from error
    return upright


def model_of(store: Store, record: Record) -> Model:
    """The model that a run kept.

    Raises:
        UsageError: the run is not done, or was kept without its model.
        DataError: the model is damaged, or another run's.
    """
    name, again = f"run {record.key[:16]}", command_of([record], store, "--force")
    if record.status != "done":
        raise UsageError(f"{name}: {record.status}, so that it has no model: {record.reason}")
    path = store.model(record)
    if path is None:
        why = next((each for each in record.warnings if each.startswith("the model was not kept")), "")
        if record.spec.protocol == AS_GIVEN.id:
            why = "its codes came from a file, without a model"
        raise UsageError(f"{name}: {why}" if why else f"{name} was kept without its model; make it with: {again}")
    try:
        model = Model.read(path)
    except DataError as error:
        raise DataError(f"{error}; make it anew with: {again}") from error
    if (model.about["key"], model.about["codes"]) != (record.key, digest(record.code_digests)):
        raise DataError(f"{path}: the model of other codes; make it anew with: {again}")
    return model
