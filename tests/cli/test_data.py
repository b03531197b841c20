"""``hashbench data`` as its users meet it: official layouts, files of the field, views of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import Hashbench

SHARED = Path(__file__).parents[2] / "../shared/data"
OFFICIAL = ("mirflickr25k", "nuswide", "coco", "iaprtc12", "wikipedia", "xmedia")
QUICK = ("--bits", 8, "--set", "epochs=1")
SMALL = ("--image-backbone", "lite@32", "--text-backbone", "bow", "--no-model")


def own_views(path: Path, n: int = 200) -> None:
    """Three views of one's own; a third of the items have no sound."""
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=n)
    labels = np.eye(4, dtype=np.uint8)[classes]
    np.savez(
        path,
        image=labels @ rng.normal(size=(4, 12)) + 0.3 * rng.normal(size=(n, 12)),
        text=labels @ rng.normal(size=(4, 9)) + 0.3 * rng.normal(size=(n, 9)),
        audio=labels @ rng.normal(size=(4, 7)) + 0.3 * rng.normal(size=(n, 7)),
        present_audio=np.arange(n) % 3 > 0,
        labels=labels,
        class_names=np.array(["bell", "dog", "rain", "song"]),
        ids=np.array([f"clip{row}" for row in range(n)]),
    )


@pytest.mark.parametrize("name", OFFICIAL)
def test_from_a_tiny_official_layout_to_a_trained_hash(name: str, hashbench: Hashbench, tmp_path: Path) -> None:
    root = tmp_path / "official"
    assert hashbench("data", "make-tiny", name, "--root", root).code == 0
    prepared = hashbench("data", "prepare", name, "--root", root, "-q")
    assert prepared.code == 0, prepared.err
    assert "synthetic" in prepared.out and "chance" in prepared.out
    verified = hashbench("data", "verify", f"{name}-tiny", "-q")
    assert verified.code == 0 and "all as prepared" in verified.out, verified.err
    known = hashbench("data", "info", f"{name}-tiny", "--json").json
    assert known["tiny"] and known["of"] == name
    assert next(p["id"] for p in known["protocols"] if "problem" not in p) == known["protocols"][0]["id"]
    words = "bow" if name in ("mirflickr25k", "nuswide") else "minilm"  # captions have no list of common tags
    raw = ("--image-backbone", "lite@32", "--text-backbone", words, "--label-backbone", "minilm")
    backbones = () if name in ("wikipedia", "xmedia") else raw
    run = hashbench("run", "--method", "soda", "--dataset", f"{name}-tiny", *backbones, *QUICK, "-q")
    assert run.code == 0, run.err
    assert "map@" in run.out and f"on {name}-tiny" in run.out and "synthetic" not in run.err


def test_what_changed_since_is_told(hashbench: Hashbench, tmp_path: Path) -> None:
    root = tmp_path / "official"
    hashbench("data", "make-tiny", "mirflickr25k", "--root", root)
    hashbench("data", "prepare", "mirflickr25k", "--root", root, "-q")
    label_file = next(path for path in sorted(root.rglob("*.txt")) if path.name == "sky.txt")
    lines = label_file.read_text().splitlines()
    label_file.write_text("".join(f"{line}\n" for line in lines[:-1]))
    picture = sorted(root.rglob("*.jpg"))[3]
    picture.write_bytes(picture.read_bytes()[:200])
    found = hashbench("data", "verify", "mirflickr25k-tiny", "-q")
    assert found.code == 3
    assert "sky.txt: changed since it was prepared" in found.err and picture.name in found.err


def test_damaged_pictures_stop_the_preparation_or_are_left_out(hashbench: Hashbench, tmp_path: Path) -> None:
    root = tmp_path / "official"
    hashbench("data", "make-tiny", "mirflickr25k", "--root", root)
    cut, page = sorted(root.rglob("*.jpg"))[:2]
    cut.write_bytes(cut.read_bytes()[:300])
    page.write_bytes(b"<!DOCTYPE html><html><body>gone</body></html>")
    refused = hashbench("data", "prepare", "mirflickr25k", "--root", root, "-q")
    assert (
        refused.code == 3 and cut.name in refused.err and "HTML" in refused.err and "--bad-images skip" in refused.err
    )
    assert hashbench("data", "info", "--json").json == [], "nothing is kept of what was refused"
    assert hashbench("data", "prepare", "mirflickr25k", "--root", root, "--bad-images", "skip", "-q").code == 0
    known = hashbench("data", "info", "mirflickr25k-tiny", "--json").json
    assert len(known["bad"]) == 2
    assert any("with a picture: subset" in p.get("items", "") for p in known["protocols"])


def test_three_views_of_one_s_own_run_end_to_end(hashbench: Hashbench, tmp_path: Path) -> None:
    own_views(tmp_path / "clips.npz")
    assert hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q").code == 0
    run = hashbench("run", "--method", "dcmh", "--dataset", "clips", "--bits", 16, "--set", "epochs=8", "--json", "-q")
    assert run.code == 0, run.err
    (record,) = run.json
    assert sorted(record["metrics"]) == sorted(
        f"{a}->{b}" for a in ("image", "text", "audio") for b in ("image", "text", "audio") if a != b
    )
    for task, metrics in record["metrics"].items():
        assert metrics["map@all"] > metrics["chance"] + 0.3, task
    table = hashbench("results").out
    assert "audio->text" in table and "task" in table
    pair = hashbench(
        "run", "--method", "dcmh", "--dataset", "clips", "--views", "text,audio", *QUICK, "--json", "-q"
    ).json
    assert sorted(pair[0]["metrics"]) == ["audio->text", "text->audio"] and sorted(pair[0]["spec"]["views"]) == [
        "audio",
        "text",
    ]
    missing = hashbench("run", "--method", "cca-itq", "--dataset", "clips", "--views", "text,audio", "-q")
    assert missing.code == 2 and "image" in missing.err


def test_export_and_score_of_views_that_items_lack(hashbench: Hashbench, tmp_path: Path) -> None:
    own_views(tmp_path / "clips.npz")
    hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    (record,) = hashbench("run", "--method", "dcmh", "--dataset", "clips", *QUICK, "--json", "-q").json
    assert hashbench("export", record["key"][:12], "--out", "codes.mat").code == 0
    scored = hashbench("score", "codes.mat", "--json").json
    scored = scored[0] if isinstance(scored, list) else scored
    assert scored["metrics"] == record["metrics"]


def test_training_conditions_are_part_of_the_run(hashbench: Hashbench, tmp_path: Path) -> None:
    own_views(tmp_path / "clips.npz")
    hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    base = ("run", "--method", "dcmh", "--dataset", "clips", "--bits", 8, "--set", "epochs=2", "--json", "-q")
    clean, noisy, few = (hashbench(*base, *flags).json[0] for flags in ((), ("--label-drop", 0.5), ("--labelled", 0.2)))
    assert len({clean["key"], noisy["key"], few["key"]}) == 3
    assert clean["spec"]["conditions"] == {} and noisy["spec"]["conditions"] == {"label_drop": 0.5}
    assert few["counts"]["trained_on"] == few["counts"]["labelled"] == round(0.2 * few["counts"]["train"])
    assert clean["metrics"]["image->text"]["chance"] == noisy["metrics"]["image->text"]["chance"], (
        "clean labels measure"
    )
    assert "label_drop=0.5" in hashbench("results").out


def test_words_are_disturbed_in_training_texts_alone(hashbench: Hashbench) -> None:
    base = ("run", "--method", "dcmh", "--dataset", "shapes", *SMALL, *QUICK, "--json", "-q")
    clean, noisy = (hashbench(*base, *flags).json[0] for flags in ((), ("--text-keep", 0.3, "--text-junk", 4)))
    assert clean["code_digests"] != noisy["code_digests"]
    assert clean["metrics"]["image->text"]["chance"] == noisy["metrics"]["image->text"]["chance"]


@pytest.mark.skipif(not (SHARED / "wikipedia_raw").is_dir(), reason="the Wikipedia features are not on this machine")
def test_the_real_wikipedia_features_run(hashbench: Hashbench) -> None:
    root = SHARED / "wikipedia_raw"
    assert hashbench("data", "prepare", "wikipedia", "--root", root, "-q").code == 0
    (cca,) = hashbench("run", "--method", "cca-itq", "--dataset", "wikipedia", "--bits", 8, "--json", "-q").json
    assert (cca["counts"]["query"], cca["counts"]["database"]) == (693, 2173)
    assert cca["metrics"]["image->text"]["map@all"] > 0.2 > cca["metrics"]["image->text"]["chance"]
    imported = hashbench("data", "import", root / "WikiData.mat", "--ignore", "sampleInds", "--name", "wiki", "-q")
    assert imported.code == 0
    (same,) = hashbench("run", "--method", "cca-itq", "--dataset", "wiki", "--bits", 8, "--json", "-q").json
    assert same["metrics"] == cca["metrics"], "two forms of one data set are one data set"
    assert hashbench("run", "--method", "dcmh", "--dataset", "wikipedia", *QUICK, "-q").code == 0


def test_names_are_told_apart(hashbench: Hashbench, tmp_path: Path) -> None:
    own_views(tmp_path / "clips.npz")
    for name in ("pictograms", "My Clips", "../clips"):
        refused = hashbench("data", "import", tmp_path / "clips.npz", "--name", name)
        assert refused.code == 2 and "--name" in refused.err
    hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    assert "clips" in hashbench("list").out and "clips" in hashbench("show", "clips").out
    unknown = hashbench("run", "--method", "dcmh", "--dataset", "clip")
    assert unknown.code == 2 and "Did you mean 'clips'" in unknown.err
    unprepared = hashbench("run", "--method", "dcmh", "--dataset", "coco")
    assert unprepared.code == 3 and "hashbench data prepare coco --root" in unprepared.err
    assert hashbench("data", "prepare", "pictograms", "--root", tmp_path).code == 2
    assert hashbench("data", "prepare", "coco", "--root", tmp_path / "nowhere").code == 3


def test_other_pictures_are_another_table(hashbench: Hashbench, tmp_path: Path) -> None:
    """Two item sets under one name and one protocol: their numbers never stand side by side."""
    root = tmp_path / "official"
    run = ("run", "--method", "cca-itq", "--dataset", "nuswide-tiny", *SMALL, "--bits", 8, "--json", "-q")
    hashbench("data", "make-tiny", "nuswide", "--root", root)
    coverage, records = [], []
    for _ in range(2):
        prepared = hashbench("data", "prepare", "nuswide", "--root", root, "-q")
        assert prepared.code == 0, prepared.err
        coverage += [line for line in prepared.out.splitlines() if "items of nus21-195834/" in line]
        records += hashbench(*run).json
        for picture in sorted(root.rglob("*.jpg"))[::5]:
            picture.unlink()
    assert len({*coverage}) == len(coverage) == 2
    first, second = (record["spec"] for record in records)
    assert first["protocol"] == second["protocol"] and first["split"] != second["split"]
    assert first["dataset_revision"] != second["dataset_revision"]
    table = hashbench("results").out
    assert table.count("protocol nuswide@1, split") == 2
    assert all(f"split {spec['split']}" in table for spec in (first, second))


def test_what_was_imported_is_verified(hashbench: Hashbench, tmp_path: Path) -> None:
    own_views(tmp_path / "clips.npz")
    hashbench("data", "import", "clips.npz", "--name", "clips", "-q")
    assert "1 source files, all as prepared" in hashbench("data", "verify", "clips", "-q").out
    own_views(tmp_path / "clips.npz", n=150)
    changed = hashbench("data", "verify", "clips", "-q")
    assert changed.code == 3 and "clips.npz: changed since it was prepared" in changed.err


def test_pixels_of_matlab_7_3_run(hashbench: Hashbench, tmp_path: Path) -> None:
    h5py, rng, n = pytest.importorskip("h5py"), np.random.default_rng(0), 80
    labels = np.eye(4, dtype=np.uint8)[rng.integers(4, size=n)]
    with h5py.File(tmp_path / "pool.mat", "w", userblock_size=512) as file:  # axes reversed, as MATLAB stores them
        file["images"] = rng.integers(256, size=(n, 3, 32, 32), dtype=np.uint8)
        file["YAll"], file["LAll"] = rng.normal(size=(9, n)), labels.T.astype(float)
    with (tmp_path / "pool.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    imported = hashbench("data", "import", "pool.mat", "--name", "pool", "-q")
    assert imported.code == 0, imported.err
    run = hashbench("run", "--method", "dcmh", "--dataset", "pool", "--image-backbone", "lite@32", *QUICK, "-q")
    assert run.code == 0 and "lite@32" in run.out, run.err


def test_names_of_what_is_prepared(hashbench: Hashbench, tmp_path: Path) -> None:
    root = tmp_path / "official"
    hashbench("data", "make-tiny", "coco", "--root", root)
    for name in ("A b", "mirflickr25k"):
        refused = hashbench("data", "prepare", "coco", "--root", root, "--as", name)
        assert refused.code == 2 and f"--as {name!r}" in refused.err
    assert hashbench("data", "prepare", "coco", "--root", root, "--as", "mine", "-q").code == 0
    assert [found["name"] for found in hashbench("data", "info", "--json").json] == ["mine"]


def test_items_without_text_are_counted(hashbench: Hashbench, tmp_path: Path) -> None:
    hashbench("data", "make-tiny", "mirflickr25k", "--root", tmp_path / "official")
    assert (
        "10 items have an empty text"
        in hashbench("data", "prepare", "mirflickr25k", "--root", tmp_path / "official", "-q").out
    )


def test_a_prepared_folder_that_was_changed_is_refused(hashbench: Hashbench, tmp_path: Path) -> None:
    own_views(tmp_path / "clips.npz")
    hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    folder = tmp_path / "data" / "clips"
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"id": "another"})
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    changed = hashbench("run", "--method", "dcmh", "--dataset", "clips")
    assert changed.code == 3 and "items.jsonl" in changed.err and "prepare the data set again" in changed.err
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    (folder / "manifest.json").write_text("{")
    assert hashbench("data", "info", "clips").code == 3
    again = hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    assert again.code == 0, "preparing again mends it"
