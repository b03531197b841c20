"""xmedia: images, texts, videos, sounds and 3D models of 20 classes, as vectors. The data of SKDCH.

Zhai, Peng and Xiao, "Learning Cross-Media Joint Representation with Sparse and Semisupervised Regularization",
IEEE TCSVT 2014. One file, ``XMediaFeatures.mat``, from its authors.

The keys and sizes are those that several public loaders agree on; nobody has tried this reader on the file itself.

Traps:

- Image and text rows are pairs. Videos, sounds and 3D models stand alone: they are relevant by their class only.
- The file names training and test items. Several loaders take the first 500 test rows for validation and ask with
  the rest; here validation items are taken from training, and all test rows ask.
- The file also has older features of images, texts and videos under ``I_tr``, ``T_tr``, ``V_tr``; they are not used.
- The classes are numbers, 1 to 20, and have no names in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from hashbench.data.families import import_files
from hashbench.data.official import Expected, Official
from hashbench.data.recipes import Plan, Recipe
from hashbench.data.sources import Sources
from hashbench.data.splits import AsGiven
from hashbench.data.table import Table
from hashbench.errors import DataError

WHOLE = Recipe(name="xmedia-7000", items=7000)
FILE = "XMediaFeatures.mat"
CLASSES = 20
SIZES = {"image": 4096, "text": 3000, "video": 4096}
"""Numbers an item, of CNN, bag of words and CNN; loaders do not say those of the other two views."""


class XMedia(Official):
    """Pairs of images and texts; videos, sounds and 3D models beside them."""

    name = "xmedia"
    title = "XMedia (Zhai, Peng and Xiao, IEEE TCSVT 2014)"
    licence = "for research, under the terms of its authors"
    layout = f"Expected {FILE} as its authors give it, unpacked"
    expected = Expected(items=7000)
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(
            id="xmedia@1",
            recipe=WHOLE,
            split=AsGiven(),
            vectors=True,
            note="test items of every view ask; that the database is the training items is inferred",
        ),
        Plan(
            id="xmedia-validation@1",
            recipe=WHOLE,
            split=AsGiven(validation=500),
            vectors=True,
            note="for choosing settings; others take 500 test rows for it",
        ),
    )

    @classmethod
    def read(cls, sources: Sources, items: int) -> Table:
        path = sources.need(FILE, hint=cls.layout)
        if "!/" in path:
            raise DataError(f"{sources.named(path)}: unpack the archive; a .mat file is not read inside one")
        sources.read(path)  # which also notes its checksum
        table = import_files([sources.root / path])
        if missing := {*SIZES, "audio", "d3"} - table.vectors.keys():
            raise DataError(f"{sources.named(path)}: expected five views, found none of {', '.join(sorted(missing))}")
        for view, size in SIZES.items():
            found = table.vectors[view].shape[1]
            if items == cls.expected.items and found != size:
                raise DataError(f"{sources.named(path)}: {view}: expected {size} numbers an item, found {found}")
        return table

    @classmethod
    def make_tiny(cls, root: Path, items: int) -> None:
        """Five views of few numbers, four training items to a test item, and older features nobody should read."""
        from scipy.io import savemat

        rng = np.random.default_rng(0)
        single = items // 7
        kinds = {"pair": items - 3 * single, "Vid": single, "Aud": single, "3d": single}
        content: dict[str, object] = {}
        for kind, count in kinds.items():
            classes = np.arange(count) // 5 % CLASSES + 1
            test = np.arange(count) % 5 == 4
            for side, chosen in (("tr", classes[~test]), ("te", classes[test])):
                for key, (of, size) in TINY.items():
                    if of == kind:
                        own = np.random.default_rng(size).random((CLASSES, size))
                        content[key % side] = own[chosen - 1] + 0.1 * rng.random((len(chosen), size))
                for name in ("Img", "Txt") if kind == "pair" else (kind,):
                    content[f"{side}{name}Cat"] = chosen[:, None].astype(float)
        savemat(root / FILE, content)


TINY = {
    "I_%s_CNN": ("pair", 12),
    "I_%s": ("pair", 7),
    "T_%s_BOW": ("pair", 10),
    "T_%s": ("pair", 6),
    "V_%s_CNN": ("Vid", 13),
    "V_%s": ("Vid", 8),
    "A_%s": ("Aud", 5),
    "d3_%s": ("3d", 9),
}
"""Variable to the kind of items it is of and how many numbers each has."""
