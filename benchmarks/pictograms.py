"""pictograms: real drawings with human words and 45 labels, inside the package.

Drawings by people: OpenClipart (public domain), Noto Emoji, Twemoji; words from their drawers, CLDR and
emojibase; labels from folders, emoji groups and keywords. Credits stand in ``pictograms_pack/NOTICE``; the
drawers' names are kept per item. ``pictograms_pack/build.py`` makes the pack.

Two drawers draw the same emoji, so the split deals whole *concepts*: none is on two sides.

Five folds ask with every concept once, for cross-validation. ``pictograms-three-views`` takes titles and tag words as
two views, of which an item may lack one.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashbench.dataset import Dataset, Rules, Sizes, Source, Split, Texts, rank_by_id, split_by_group
from hashbench.errors import DataError

PACK = Path(__file__).parent / "pictograms_pack" / "pictograms.zip"
SPLIT_SEED = 1
SIZES = Sizes(query=800, train=4000, validation=500)
FOLDS = 5
RARE = 5
"""A tag word enters the vocabulary when at least this many items carry it."""

_SPLIT = (
    "whole concepts ranked by sha256(1, concept) and dealt to query (about 800), validation (about 500), "
    "training (about 4,000); the database is training plus all the rest"
)
_TEXT = "title and tag words without repeats, without the words that name a label"


@dataclass(frozen=True, eq=False)
class Drawings:
    """The pictures of the pack, 96 x 96 on white, decoded when asked for."""

    pack: Path
    files: Sequence[str]
    modality: Literal["image", "text"] = "image"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Image.Image:
        with Image.open(io.BytesIO(self._blobs[row])) as picture:
            return picture.convert("RGB")

    @cached_property
    def _blobs(self) -> list[bytes]:
        with zipfile.ZipFile(self.pack) as archive:
            return [archive.read(file) for file in self.files]


class Pictograms(Dataset):
    """Drawings, their words, and 45 labels."""

    name = "pictograms"
    licence = "public domain, OFL 1.1, CC-BY 4.0; see NOTICE"
    protocols: ClassVar[Mapping[str, Rules]] = {
        "pictograms@1": Rules(
            id="pictograms@1",
            items="all drawings of the pack",
            split=_SPLIT,
            text=_TEXT,
        ),
        "pictograms-all-words@1": Rules(
            id="pictograms-all-words@1",
            items="all drawings of the pack",
            split=_SPLIT,
            text="title and tag words without repeats; words that name a label are kept and give it away",
        ),
        "pictograms-three-views@1": Rules(
            id="pictograms-three-views@1",
            items="all drawings of the pack",
            split=_SPLIT,
            text="words of the title; tag words are a third view, tags; neither has the words that name a label, and "
            "an item of whose title or tags no word is left lacks that view",
        ),
        **{
            f"pictograms-fold{fold}@1": Rules(
                id=f"pictograms-fold{fold}@1",
                items="all drawings of the pack",
                split=f"fold {fold} of {FOLDS}: of whole concepts ranked by sha256(1, concept), number {fold} of every "
                f"{FOLDS} asks; the rest in that order are dealt to validation (about 500) and training (about "
                "4,000); the database is training plus all the rest",
                text=_TEXT,
            )
            for fold in range(1, FOLDS + 1)
        },
    }

    def __init__(self, protocol: str | None = None, pack: Path = PACK) -> None:
        super().__init__(protocol)
        self._pack = pack

    @cached_property
    def _meta(self) -> dict[str, Any]:
        try:
            with zipfile.ZipFile(self._pack) as archive:
                meta: dict[str, Any] = json.loads(archive.read("meta.json"))
        except (OSError, zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
            raise DataError(
                f"{self._pack}: the pictograms pack cannot be read ({error}); reinstall hashbench"
            ) from error
        return meta

    @property
    def _items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._meta["items"]
        return items

    @cached_property
    def revision(self) -> str:
        return hashlib.sha256(self._pack.read_bytes()).hexdigest()[:16]

    @cached_property
    def ids(self) -> Sequence[str]:
        return [item["id"] for item in self._items]

    @cached_property
    def groups(self) -> Sequence[str]:
        """(n,) concept of each item; no concept is on two sides of the split."""
        return [item["concept"] for item in self._items]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._meta["classes"])

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        column = {name: c for c, name in enumerate(self.class_names)}
        labels = np.zeros((len(self), len(column)), np.uint8)
        for row, item in enumerate(self._items):
            labels[row, [column[name] for name in item["labels"]]] = 1
        return labels

    @cached_property
    def views(self) -> Mapping[str, Source]:
        words = {"text": ("title", "tags")} if not self._apart else {"text": ("title",), "tags": ("tags",)}
        return {
            "image": Drawings(self._pack, [item["file"] for item in self._items]),
            **{
                view: Texts([" ".join(self._words(item, *fields)) for item in self._items])
                for view, fields in words.items()
            },
        }

    def present(self, view: str) -> NDArray[np.bool_]:
        source = self.views[view]
        if self._apart and isinstance(source, Texts):
            return np.array([bool(text) for text in source.strings])
        return super().present(view)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Words that at least :data:`RARE` items carry, most frequent first."""
        counts = Counter(word for item in self._items for word in self._words(item, "title", "tags"))
        return tuple(word for word, n in sorted(counts.items(), key=lambda c: (-c[1], c[0])) if n >= RARE)

    @cached_property
    def split(self) -> Split:
        fold = self.rules.id.removeprefix("pictograms-fold").removesuffix("@1")
        if not fold.isdecimal():
            return split_by_group(self.groups, SIZES, SPLIT_SEED)
        concepts = sorted(set(self.groups))
        asking = {concepts[place] for place in rank_by_id(concepts, SPLIT_SEED)[int(fold) - 1 :: FOLDS]}
        asks = np.array([concept in asking for concept in self.groups])
        rest = np.flatnonzero(~asks)
        dealt = split_by_group([self.groups[row] for row in rest.tolist()], replace(SIZES, query=0), SPLIT_SEED)
        return Split(np.flatnonzero(asks), rest[dealt.database], rest[dealt.train], rest[dealt.validation])

    @property
    def definitions(self) -> Mapping[str, str]:
        return DEFINITIONS

    @cached_property
    def _hidden(self) -> frozenset[str]:
        """Words that name a label, unless the protocol keeps them."""
        if self.rules.id.startswith("pictograms-all-words"):
            return frozenset()
        return frozenset(word for words in self._meta["label_words"].values() for word in words)

    @property
    def _apart(self) -> bool:
        """Whether titles and tags are two views."""
        return self.rules.id.startswith("pictograms-three-views")

    def _words(self, item: Mapping[str, Any], *fields: str) -> list[str]:
        """Words of an item's ``title``, ``tags`` or both, each once."""
        words = [word for name in fields for words in item[name] for word in words.split()]
        return [word for word in dict.fromkeys(words) if word not in self._hidden]


DEFINITIONS: Mapping[str, str] = {
    "animal": "A living creature that can move and feel, and that is not a plant.",
    "mammal": "A warm-blooded animal with hair or fur that feeds its young with milk.",
    "bird": "An animal with feathers, a beak and wings that lays eggs.",
    "insect": "A small animal with six legs and a body in three parts.",
    "sea": "The salt water that covers much of the earth, with what lives and sails in it.",
    "plant": "A living thing that grows in the earth, with stem, leaves and roots.",
    "flower": "The coloured part of a plant from which seed or fruit grows.",
    "food": "Something that people or animals eat.",
    "fruit": "The sweet part of a plant that holds its seeds and can be eaten.",
    "vegetable": "A plant, or part of one, that is eaten as food and is not sweet.",
    "sweet": "Food with much sugar in it, such as cakes, ice cream and candy.",
    "drink": "A liquid that people swallow, such as coffee, wine or juice.",
    "person": "A human being.",
    "woman": "An adult female human being.",
    "man": "An adult male human being.",
    "family": "Parents and their children, and babies.",
    "work": "What people do for a living, and those who do it: doctors, farmers, pilots.",
    "fantasy": "Beings and things that exist in stories alone, such as dragons, ghosts and fairies.",
    "face": "The front of the head, with eyes, nose and mouth, and the feeling it shows.",
    "happy": "Feeling pleased, as a smile or a laugh shows.",
    "unhappy": "Feeling sad, angry or ill, as a frown or tears show.",
    "body": "The physical form of a person, and its parts such as hands, feet and eyes.",
    "clothing": "Things that people wear to cover the body.",
    "love": "A strong feeling of affection between people.",
    "vehicle": "A machine with an engine, wheels, wings or sails that carries people or goods.",
    "building": "A structure with walls and a roof, such as a house or a church.",
    "map": "A drawing of a part of the earth that shows countries, coasts and roads.",
    "landscape": "A view of the land: mountains, islands, beaches, forests and sunsets.",
    "weather": "The state of the sky and the air: sun, rain, snow, wind and storm.",
    "space": "Everything beyond the air of the earth: the sun, the moon, planets and stars.",
    "tool": "A thing held in the hand to do a job, such as a hammer, a saw or a sword.",
    "office": "A place where people work at desks, and the paper, pens and books they use.",
    "technology": "Machines made with the help of science, such as computers, phones and cameras.",
    "music": "Sounds arranged by voices or instruments so that they are pleasant to hear.",
    "sport": "A game or exercise in which people compete with their bodies.",
    "game": "Something that people play for fun, by rules, with cards, dice or toys.",
    "celebration": "A special day or party on which people are happy together.",
    "religion": "Belief in a god or gods, and the prayers, places and signs of it.",
    "medical": "About illness and injury, and how doctors and science treat them.",
    "household": "Furniture and things that are used in the house, such as chairs, lamps and plates.",
    "container": "An object that holds things, such as a box, a bottle or a bag.",
    "time": "What is measured in minutes, hours and days by clocks and calendars.",
    "flag": "A piece of cloth with colours and signs that stands for a country or group.",
    "sign": "A board or notice with a mark on it that warns, forbids or shows the way.",
    "symbol": "A mark or shape that stands for a meaning.",
}
