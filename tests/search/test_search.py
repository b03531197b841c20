"""Asking a run: what is found is what its codes say, and every question that makes no sense gets one line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashbench import grid
from hashbench.errors import DataError, UsageError
from hashbench.model_export import export_model
from hashbench.models import Model
from hashbench.repeat import command_of
from hashbench.retrieval import nearest
from hashbench.search import Search, read_picture
from hashbench.setup import Setup
from hashbench.spec import Execution
from hashbench.store import Store

from .conftest import SETUP, Made, make


def stored_ranking(search: Search, asked: str, searched: str, at: int, top: int) -> tuple[list[int], list[float]]:
    query, database = search.codes[f"query/{asked}"], search.codes[f"database/{searched}"]
    rows, far = nearest(query.take(np.array([at])), database, top)
    return search.dataset.split.database[rows[0]].tolist(), far[0].tolist()


@pytest.mark.parametrize("searched", [None, "image", "text"])
def test_a_query_of_the_data_set_finds_what_its_stored_code_finds(search: Search, searched: str | None) -> None:
    views = search.dataset.views
    for at, row in enumerate(search.dataset.split.query[:6].tolist()):
        words, picture = views["text"][row], views["image"][row]  # type: ignore[index]
        for asked, answer in (
            ("text", search.text(words, searched=searched, top=7)),
            ("image", search.picture(picture, searched=searched, top=7)),
        ):
            other = searched or {"text": "image", "image": "text"}[asked]
            rows, far = stored_ranking(search, asked, other, at, 7)
            assert (answer.asked, answer.searched) == (asked, other)
            assert [found.row for found in answer.found] == rows
            assert [found.distance for found in answer.found] == far


def test_what_is_known_of_an_item_is_told(search: Search) -> None:
    data = search.dataset
    for found in search.text("tomato ball", top=5).found:
        assert found.id == data.ids[found.row] and found.words == data.views["text"][found.row]  # type: ignore[index]
        assert set(found.labels) == {
            name for name, has in zip(data.class_names, data.labels[found.row], strict=True) if has
        }
        picture = Image.open(io.BytesIO(search.thumbnail(found, 24) or b""))
        assert picture.format == "JPEG" and max(picture.size) == 24


def test_top_is_kept_and_ends_with_the_database(search: Search) -> None:
    assert len(search.text("tomato", top=3).found) == 3
    assert len(search.text("tomato", top=1000).found) == len(search.dataset.split.database)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"text": ""}, "found none"),
        ({"text": " \n"}, "found none"),
        ({"text": "x" * 10_001}, "at most 10000 characters"),
        ({"text": "aeroplane"}, "none of these words is in the vocabulary"),
        ({"text": "tomato", "top": 0}, "expected 1 to 1000"),
        ({"text": "tomato", "top": 1001}, "expected 1 to 1000"),
        ({"text": "tomato", "searched": "imge"}, "Did you mean 'image'"),
    ],
)
def test_questions_that_make_no_sense(search: Search, question: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        search.text(**question)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)


def encoded(size: tuple[int, int], kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "not a picture", id="empty"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture", id="another program's"),
        pytest.param(encoded((40, 40), "PNG")[:-30], "not a picture", id="cut"),
        pytest.param(encoded((40, 40), "PPM"), "not a picture", id="another format"),
        pytest.param(encoded((20_000, 3_000), "PNG"), "at most 50,000,000 pixels", id="a bomb"),
    ],
)
def test_files_that_are_no_pictures(content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=f"^--image x: .*{said}"):
        read_picture(content, "--image x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_usual_pictures_are_read(search: Search, kind: str) -> None:
    assert search.picture(read_picture(encoded((40, 30), kind), "it")).found


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_stands_as_its_camera_was_held(kind: str) -> None:
    upright = Image.new("RGB", (30, 60), "red")
    upright.paste("blue", (0, 30, 30, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, kind, exif=exif)
    found = read_picture(file.getvalue(), "it").convert("RGB")
    assert found.size == (30, 60)
    (red, _, blue), (other, _, sky) = found.getpixel((15, 10)), found.getpixel((15, 50))  # type: ignore[misc]
    assert red > 200 > 50 > blue and sky > 200 > 50 > other


# --- which runs can be asked --------------------------------------------------------------------------------


def test_raw_views_are_asked_through_the_trained_backbone(tmp_path: Path) -> None:
    store, record = make(
        tmp_path, setup=replace(SETUP, backbones={"image": "resnet10t:scratch@32", "text": "bow"}), bits=8
    )
    search = Search(store, record)
    assert search.model.about["raw"] == "image"
    picture = search.dataset.views["image"][int(search.dataset.split.query[0])]  # type: ignore[index]
    assert [found.row for found in search.picture(picture, top=5).found] == stored_ranking(
        search, "image", "text", 0, 5
    )[0]
    files = export_model(store, record, tmp_path / "out.safetensors")
    assert any("encoder" in name for name in Model.read(files[0].file).programs["image"].tensors)


@pytest.mark.parametrize(("method", "setup"), [("real", SETUP), ("dcmh", replace(SETUP, precision="bf16"))])
def test_real_values_and_half_precision_are_searched_as_they_were_stored(
    method: str, setup: Setup, tmp_path: Path
) -> None:
    store, record = make(tmp_path, method, setup, bits=8)
    search = Search(store, record)
    assert search.real_valued == (method == "real")
    for at, row in enumerate(search.dataset.split.query[:8].tolist()):
        answer = search.text(search.dataset.views["text"][row], top=4)  # type: ignore[index]
        assert [found.row for found in answer.found] == stored_ranking(search, "text", "image", at, 4)[0]


def test_views_of_vectors_are_searched_but_cannot_be_asked(
    search: Search, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hashbench.dataset import Vectors

    other = Search(*made)
    views = {**other.dataset.views, "text": Vectors(np.zeros((240, 3), np.float32))}
    monkeypatch.setattr(type(other.dataset), "views", property(lambda self: views))
    with pytest.raises(UsageError, match="no view of this run reads a question's text: shapes gives text as vectors"):
        other.text("tomato")
    assert all(not found.words for found in other.picture(Image.new("RGB", (9, 9))).found)


def test_a_run_without_a_model_names_the_command_that_makes_it(tmp_path: Path, made: Made) -> None:
    store, record = make(tmp_path)
    (store.folder(record.spec) / "model.safetensors").unlink()
    with pytest.raises(UsageError) as caught:
        Search(store, record)
    again = command_of([record], store, "--force")
    assert str(caught.value).endswith(f"kept without its model; make it with: {again}")


def test_a_warning_says_why_there_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashbench import runner

    def fail(*args: object) -> None:
        raise ValueError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "trace", fail)
        store, record = make(tmp_path)
    assert record.warnings == ["the model was not kept: the image hash function cannot be written down: no such thing"]
    assert store.codes(record) and store.model(record) is None
    with pytest.raises(UsageError, match=r"^run \w+: the model was not kept: .* no such thing$"):
        Search(store, record)


def test_a_model_that_gives_other_codes_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashbench import runner

    wrong = runner.trace

    def turned(module: object, rows: object) -> object:
        program = wrong(module, rows)  # type: ignore[arg-type]
        for tensor in program.tensors.values():
            tensor.neg_()
        return program

    with monkeypatch.context() as patch:
        patch.setattr(runner, "trace", turned)
        store, record = make(tmp_path)
    assert store.model(record) is None
    (warning,) = record.warnings
    assert warning.startswith("the model was not kept: written down, it gives") and "image bits" in warning


def test_damage_and_other_runs_models_are_told(tmp_path: Path) -> None:
    store, record = make(tmp_path)
    _, other = make(tmp_path, bits=8)
    mine, theirs = (store.folder(each.spec) / "model.safetensors" for each in (record, other))
    whole = mine.read_bytes()
    for content, said in (
        (whole[:-9], "cannot be read as a model"),
        (theirs.read_bytes(), "the model of other codes"),
    ):
        mine.write_bytes(content)
        with pytest.raises(DataError, match=said) as caught:
            Search(store, record)
        assert str(caught.value).endswith(command_of([record], store, "--force")) and "\n" not in str(caught.value)


def test_another_backbone_under_the_same_name_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashbench.backbones.bow import Bag

    monkeypatch.setattr(
        Bag, "__init__", lambda self, words: setattr(self, "words", ()) or setattr(self, "transform", "?")
    )
    with pytest.raises(DataError, match=r"the run was made with bow .*, here it is bow"):
        Search(*made).text("tomato")


def test_models_are_kept_on_demand_alone(tmp_path: Path) -> None:
    for models in (True, False):
        (record,) = grid.run("cca-itq", setup=SETUP, bits=[4], results=tmp_path,
                             execution=Execution(models=models, force=True))  # fmt: skip
        assert (Store(tmp_path).model(record) is not None) == models
        assert ("model_seconds" in record.cost) == models
