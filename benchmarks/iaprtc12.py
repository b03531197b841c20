"""iaprtc12: IAPR TC-12, 20,000 photographs of travels, each described in a paragraph and labelled region by region.

Grubinger et al., "The IAPR TC-12 Benchmark", OntoImage 2006; regions and labels: Escalante et al., "The segmented and
annotated IAPR TC-12 benchmark", CVIU 2010. Both from imageclef.org/photodata, "free of charge and without copyright
restrictions"; they come as .tgz and .rar, which have to be unpacked.

Traps:

- Items are the images that ``labels.txt`` names, 20,000; they have 255 of the some 275 labels of ``wlist.txt``.
- Descriptions are cp1252, one file an image, and not always well-formed XML: tags are looked for one by one.
- One image is said to have no description; its text is empty.
- Label numbers begin at 1, and one of them has no name. Without ``wlist.txt`` labels are called ``label 17``.
- QinLab's files have 291 labels, others 255; papers name their counts seldom.
- Papers that print 19,996 left out the grey pictures.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from hashbench.data import tiny
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan, Recipe, Words
from hashbench.data.sources import Sources
from hashbench.data.splits import ById, Permuted
from hashbench.data.table import Table
from hashbench.errors import DataError

WHOLE = Recipe(name="iapr-20000", items=20_000)
OURS = ById(query=2000, validation=1000, train=10_000)


class IaprTc12(Official):
    """Photographs of travels, their descriptions, and the labels of their regions."""

    name = "iaprtc12"
    title = "IAPR TC-12 (Grubinger et al., 2006) with the labels of SAIAPR TC-12 (Escalante et al., 2010)"
    licence = "free of charge and without copyright restrictions (imageclef.org/photodata)"
    layout = (
        "Expected iaprtc12/images/NN/ID.jpg and iaprtc12/annotations_complete_eng/NN/ID.eng from iaprtc12.tgz, and "
        "saiaprtc12ok/benchmark/saiapr_tc-12/NN/labels.txt and saiaprtc12ok/benchmark/wlist.txt from "
        "saiaprtc12ok.part1.rar to part3.rar, both unpacked, from imageclef.org/photodata"
    )
    expected = Expected(items=20_000, class_count=255)
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(
            id="iaprtc12@1",
            recipe=WHOLE,
            split=OURS,
            note="the text is the description, as in the loaders of the field; the title only where there is none",
        ),
        Plan(
            id="iaprtc12-title@1",
            recipe=WHOLE,
            split=OURS,
            words=Words(rule="all"),
            note="the text is the description and then the title",
        ),
        Plan(
            id="iapr-a-wang@1",
            recipe=WHOLE,
            split=Permuted(seed=8, query=2000, train=10_000),
            note="torchcmh, whose text is a bag of 2,912 words; 20,000 rows by ascending image number are assumed",
            fingerprint="9fca4303b0712120",
        ),
    )

    @classmethod
    def read(cls, sources: Sources, items: int) -> Table:
        sources.need("saiapr_tc-12/00/labels.txt", hint=cls.layout)
        folders: dict[int, str] = {}
        found: dict[int, set[int]] = {}
        for folder in sorted({path.split("/")[-2] for path in sources.match("saiapr_tc-12/??/labels.txt")}):
            path = sources.need(f"saiapr_tc-12/{folder}/labels.txt", hint=cls.layout)
            for line, (image, _, label) in _numbers(sources, path):
                if folders.setdefault(image, folder) != folder:
                    raise DataError(f"{line}: image {image} stands in folder {folders[image]}, too; unpack it again")
                found.setdefault(image, set()).add(label)
        numbers = sorted({label for labels in found.values() for label in labels})
        images = sorted(found)
        column = {label: at for at, label in enumerate(numbers)}
        labels = np.zeros((len(images), len(numbers)), np.uint8)
        for row, image in enumerate(images):
            labels[row, [column[label] for label in found[image]]] = 1
        texts = {
            image: sources.find(f"annotations_complete_eng/{folder}/{image}.eng") for image, folder in folders.items()
        }
        if not any(texts.values()):
            sources.need(f"annotations_complete_eng/{folders[images[0]]}/{images[0]}.eng", hint=cls.layout)
        return Table(
            ids=tuple(map(str, images)),
            class_names=_names(sources, numbers),
            labels=labels,
            images=tuple(_picture(sources, folders[image], image) for image in images),
            captions=tuple(_captions(sources, texts[image], image) for image in images),
        )

    @classmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """Two folders; the first item has no description file, others have odd ones, and a last image no labels."""
        labels = tiny.labels(items, len(TINY))
        for row in range(items + 1):
            image, folder = 25 + 3 * row, f"{row * 2 // (items + 1):02d}"
            own = labels[row] if row < items else np.zeros(len(TINY), np.uint8)
            words = " and ".join(tiny.words(own, list(TINY.values()), row, FILLER))
            title, description = f"View {row}", f"a picture of {words};"
            if row == NO_DESCRIPTION:
                description = ""
            if row == CP1252:
                description = "a café at the “Plaza” – on a hill & by the sea;"
            document = TINY_DOCUMENT.format(path=f"{folder}/{image}", title=title, description=description)
            if row != NO_FILE:
                _write(root / f"iaprtc12/annotations_complete_eng/{folder}/{image}.eng", document.encode("cp1252"))
            _write(root / f"iaprtc12/images/{folder}/{image}.jpg", tiny.jpeg(own, row))
            numbers = [list(TINY)[at] for at in np.flatnonzero(own).tolist()]
            lines = "".join(f"{image}\t{region}\t{label}\n" for region, label in enumerate([*numbers, *numbers[:1]], 1))
            with _made(root / f"{SEGMENTED}/saiapr_tc-12/{folder}/labels.txt").open("a") as file:
                file.write(lines + ("\n" if row % 50 == 0 else ""))
        names = {**dict.fromkeys(range(1, 31), ""), 7: "never-seen", **TINY}
        _write(root / f"{SEGMENTED}/wlist.txt", "".join(f"{n}\t{name}\n" for n, name in names.items()).encode())


SEGMENTED = "saiaprtc12ok/benchmark"
TINY = {2: "sea", 3: "group-of-boats", 5: "hill", 11: "lamp", 12: "stone-wall", 17: "goat", 29: "drum"}
FILLER = ("morning", "rain", "a street", "two birds")
TINY_DOCUMENT = """<DOC>
<DOCNO>annotations/{path}.eng</DOCNO>
<TITLE>{title}</TITLE>
<DESCRIPTION>{description}</DESCRIPTION>
<NOTES></NOTES>
<LOCATION>Nowhere, Land</LOCATION>
<DATE>May 2002</DATE>
<IMAGE>images/{path}.jpg</IMAGE>
<THUMBNAIL>thumbnails/{path}.jpg</THUMBNAIL>
</DOC>
"""
NO_FILE, NO_DESCRIPTION, CP1252 = range(3)


def _numbers(sources: Sources, path: str) -> list[tuple[str, tuple[int, int, int]]]:
    """Where every line stands, and its image, region and label, all from 1; blank lines are left out."""
    rows = []
    for number, line in enumerate(sources.lines(path), 1):
        where, words = f"{sources.named(path)} line {number}", line.split()
        if not words:
            continue
        if len(words) != 3 or not all(re.fullmatch("[0-9]{1,9}", word) and int(word) for word in words):
            raise DataError(f"{where}: expected image, region and label, numbers from 1, found {line[:60]!r}")
        rows.append((where, (int(words[0]), int(words[1]), int(words[2]))))
    return rows


def _names(sources: Sources, numbers: list[int]) -> tuple[str, ...]:
    """What the labels are called, as words; ``label 17`` where nobody says."""
    names: dict[int, str] = {}
    path = sources.find("wlist.txt")
    for line, text in enumerate(sources.lines(path) if path else (), 1):
        number, tab, name = text.partition("\t")
        words = " ".join(name.lower().replace("-", " ").split())
        where = f"{sources.named(path or '')} line {line}"
        if not text.strip():
            continue
        if not tab or not re.fullmatch("[0-9]{1,9}", number.strip()) or not int(number):
            raise DataError(f"{where}: expected a number from 1, a tab and a name, found {text[:60]!r}")
        if int(number) in names or (words and int(number) in numbers and words in names.values()):
            raise DataError(f"{where}: expected another number and name, found {text[:60]!r}")
        names[int(number)] = words
    if names and (unnamed := [number for number in numbers if number not in names]):
        raise DataError(
            f"{sources.named(path or '')}: expected a line for label {unnamed[0]}, which occurs, found none"
        )
    return tuple(names.get(number) or f"label {number}" for number in numbers)


def _picture(sources: Sources, folder: str, image: int) -> str:
    """The picture, which both archives have; where neither does, the path it should have."""
    first = f"images/{folder}/{image}.jpg"
    return sources.find(first) or sources.find(f"saiapr_tc-12/{folder}/images/{image}.jpg") or f"iaprtc12/{first}"


def _captions(sources: Sources, path: str | None, image: int) -> tuple[str, ...]:
    """Description and title, those that are not blank; nothing where there is no file."""
    if path is None:
        return ()
    text = "\n".join(sources.lines(path, encoding="cp1252"))
    where = sources.named(path)
    named = _tag(text, "IMAGE", where)
    if named.rpartition("/")[2] != f"{image}.jpg":
        line = text.count("\n", 0, text.find("<IMAGE>")) + 1
        raise DataError(f"{where} line {line}: expected image {image}.jpg, found {named!r}; files were swapped")
    words = (" ".join(html.unescape(_tag(text, tag, where)).split()) for tag in ("DESCRIPTION", "TITLE"))
    return tuple(each for each in words if each)


def _tag(text: str, tag: str, where: str) -> str:
    start, end = text.find(f"<{tag}>"), text.find(f"</{tag}>")
    if start < 0 or end < start:
        line = text.count("\n", 0, start if start >= 0 else None) + 1
        raise DataError(f"{where} line {line}: expected <{tag}> and </{tag}>, found not both; unpack it again")
    return text[start + len(tag) + 2 : end].strip()


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, content: bytes) -> None:
    _made(path).write_bytes(content)
