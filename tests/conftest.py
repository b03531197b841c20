"""What every test stands on: one thread, examples that never change, a cache of its own and no model hub."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, and tests interrupt
settings.register_profile("same-every-time", derandomize=True, deadline=None)
settings.load_profile("same-every-time")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, the same one for all processes that share its tests."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[None]:
    """HASHBENCH_TEST_CACHE keeps a cache between sessions; otherwise each session starts with an empty one."""
    kept = os.environ.get("HASHBENCH_TEST_CACHE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HASHBENCH_CACHE", kept or str(shared / "cache"))
        patch.setenv("HASHBENCH_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder with the package installed by pip; its method and its data set are those that the docs show."""
    target = shared / "installed"
    with FileLock(shared / "installed.lock"):
        if not target.exists():
            _install_stranger(tmp_path_factory.mktemp("source") / "stranger", target)
    return target


def _install_stranger(source: Path, target: Path) -> None:
    shutil.copytree(ROOT / "tests" / "stranger", source)
    for page, module in (("method", "nearest"), ("dataset", "shapes"), ("backbones", "histo"), ("plot", "bits")):
        shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
        (source / f"{module}.py").write_text(shown[0])
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target,
         source],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
