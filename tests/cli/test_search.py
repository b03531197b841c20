"""``search``, ``serve`` and ``export`` of models, as somebody with a finished run meets them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from .conftest import ROOT, SEEN, Hashbench

RUN = ("run", "--method", "cca-itq", *SEEN, "--bits", "5", "--json")


@pytest.fixture
def key(hashbench: Hashbench) -> str:
    return str(hashbench(*RUN).json[0]["key"])


def test_words_and_pictures_find_items(hashbench: Hashbench, key: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    told = hashbench("search", key[:8], "--text", "tomato ball", "--top", "3", "--html", "page.html")
    assert told.code == 0, told.err
    assert "text->image: tomato ball" in told.out and told.out.count("shape") == 3 and "page.html" in told.out
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") == 3
    found = hashbench("search", key[:8], "--image", "red.png", "--for", "image", "--json").json
    assert (found["asked"], found["searched"], len(found["found"])) == ("image", "image", 10)
    assert found["key"] == key and [each["distance"] for each in found["found"]] == sorted(
        each["distance"] for each in found["found"]
    )


def test_the_page_on_search_is_true(hashbench: Hashbench, tmp_path: Path) -> None:
    """Every command of docs/search.md runs, in order, and so does its Python; on a smaller run that knows its words."""
    Image.new("RGB", (40, 40), "red").save(tmp_path / "apple.jpg")
    page = (ROOT / "docs" / "search.md").read_text().replace("red fruit", "tomato ball")
    (run,) = hashbench(*RUN).json
    commands = re.findall(r"^hashbench (.+)$", page, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        words = [run["key"][:8] if word == "RUN" else word for word in shlex.split(command, comments=True)]
        if words[0] == "run":
            words = [*words, *SEEN, "--dry-run"]
        done = hashbench(words[0], "--help") if words[0] == "serve" else hashbench(*words)
        assert done.code == 0, f"{command}: {done.err}"
    for python in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(python.replace("1f3a", run["key"][:8]), "search.md", "exec"), {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected one of --text WORDS and --image FILE"),
        (("--text", "a", "--image", "b"), "expected one of --text WORDS and --image FILE"),
        (("--text", " "), "found none"),
        (("--image", "none.png"), "--image none.png: No such file"),
        (("--image", "."), "--image .: Is a directory"),
        (("--image", "words.txt"), "--image words.txt: not a picture"),
        (("--text", "tomato", "--for", "audio"), "--for 'audio': no codes of such a view"),
    ],
)
def test_mistakes_are_one_line(
    hashbench: Hashbench, key: str, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "words.txt").write_text("words")
    done = hashbench("search", key[:8], *words)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1 and not done.out


@pytest.mark.parametrize("top", [0, 1001])
@pytest.mark.parametrize("command", [("search", "--text", "tomato"), ("serve", "--host", "192.0.2.1")])
def test_how_many_are_found_is_known_before_anything_starts(
    hashbench: Hashbench, command: tuple[str, ...], top: int
) -> None:
    done = hashbench(command[0], "no run", *command[1:], "--top", top)
    assert done.code == 2 and "'--top'" in done.err and not done.out


def test_a_run_without_a_model_says_how_to_make_it(hashbench: Hashbench) -> None:
    (run,) = hashbench(*RUN, "--no-model").json
    for command in (("search", "--text", "a"), ("serve",), ("export", "--what", "model", "--out", "m.onnx")):
        done = hashbench(command[0], run["key"][:8], *command[1:])
        assert done.code == 2 and done.err.count("\n") == 1
        assert "make it with: hashbench run --method cca-itq --dataset shapes" in done.err
    words = done.err.strip().partition("make it with: hashbench ")[2].split()
    assert hashbench(*words).code == 0
    assert hashbench("search", run["key"][:8], "--text", "tomato").code == 0


def test_a_run_elsewhere_is_made_again_there(hashbench: Hashbench) -> None:
    elsewhere = ("--results", "other results")
    (run,) = hashbench(*RUN, "--no-model", *elsewhere).json
    done = hashbench("search", run["key"][:8], "--text", "tomato", *elsewhere)
    words = shlex.split(done.err.strip().partition("make it with: hashbench ")[2])
    assert hashbench(*words).code == 0
    assert hashbench("search", run["key"][:8], "--text", "tomato", *elsewhere).code == 0


def test_a_damaged_model_is_one_line(hashbench: Hashbench, key: str, tmp_path: Path) -> None:
    (file,) = tmp_path.rglob("model.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    done = hashbench("search", key[:8], "--text", "tomato")
    assert done.code == 3 and done.err.count("\n") == 1 and "model.safetensors: cannot be read as a model" in done.err


def test_models_and_indexes_are_exported(hashbench: Hashbench, key: str, tmp_path: Path) -> None:
    assert (
        "model.safetensors: image, text"
        in hashbench("export", key[:8], "--what", "model", "--out", "model.safetensors").out
    )
    told = hashbench("export", key[:8], "--what", "model", "--out", "model.onnx")
    assert "model.text.onnx: text\n  gives " in told.out and (tmp_path / "model.image.onnx").exists()
    index = hashbench("export", key[:8], "--out", "codes.faiss", "--view", "text", "--json").json
    assert (index["view"], index["bits"]) == ("text", 5) and (tmp_path / "codes.faiss").exists()
    for words, said in (
        (("--out", "codes.npz", "--view", "text"), "--view text: only a FAISS index holds one view"),
        (("--out", "codes.pt"), "expected a name that ends in"),
        (("--out", "model.npz", "--what", "model"), "ends in .safetensors or .onnx"),
    ):
        done = hashbench("export", key[:8], *words)
        assert done.code == 2 and said in done.err and done.err.count("\n") == 1
