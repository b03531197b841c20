"""What every test stands on: one thread, examples that never change, a cache of its own and no model hub."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("same-every-time", derandomize=True, deadline=None)
settings.load_profile("same-every-time")


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """HASHBENCH_TEST_CACHE keeps a cache between sessions; otherwise each session starts with an empty one."""
    kept = os.environ.get("HASHBENCH_TEST_CACHE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASHBENCH_CACHE", kept or str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HASHBENCH_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
