"""On a GPU: the same codes as on the CPU, and training from pixels. Run with ``pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from hashbench.config import override
from hashbench.grid import run
from hashbench.models import disagreement
from hashbench.registry import methods
from hashbench.search import Search
from hashbench.setup import Setup
from hashbench.spec import Execution
from hashbench.store import Store

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.timeout(1800),
]


def codes(folder: Path, method: str, device: str, setup: Setup, *settings: str) -> dict[str, np.ndarray]:
    config = override(methods.get(method).config_class(), settings)
    execution = Execution(device=device)
    (record,) = run(method, setup=setup, config=config, bits=[32], results=folder / device, execution=execution)
    assert record.status == "done", record.reason
    return Store(folder / device).codes(record)


@pytest.mark.parametrize("method", ["soda", "dcmh", "cca-itq"])
def test_codes_equal_the_cpus(method: str, tmp_path: Path) -> None:
    """At least 99.9 % of the bits in fp32; what differs are sums in another order, amplified by training."""
    on_cpu, on_gpu = (codes(tmp_path, method, device, Setup()) for device in ("cpu", "cuda"))
    for name, packed in on_cpu.items():
        different = np.bitwise_count(packed ^ on_gpu[name]).sum() / (8 * packed.size)
        assert different <= 0.001, f"{name}: {different:.3%} of the bits differ"


@pytest.mark.parametrize("method", ["soda", "dcmh"])
@pytest.mark.parametrize(
    "setup",
    [
        Setup(tuning="full"),
        Setup(backbones={"image": "resnet50:scratch", "text": "minilm"}),
        Setup(tuning="full", precision="bf16"),
    ],
    ids=["full", "scratch", "bf16"],
)
def test_trains_encoders(method: str, setup: Setup, tmp_path: Path) -> None:
    assert codes(tmp_path, method, "cuda", setup, "epochs=1")


@pytest.mark.parametrize("tuning", ["frozen", "full"])
def test_a_model_made_here_computes_on_the_cpu(tuning: Literal["frozen", "full"], tmp_path: Path) -> None:
    config = override(methods.get("dcmh").config_class(), ["epochs=1"])
    execution = Execution(device="cuda", models=True)
    setup = Setup(tuning=tuning)
    (record,) = run("dcmh", setup=setup, config=config, bits=[32], results=tmp_path, execution=execution)
    assert not record.warnings
    search = Search(Store(tmp_path), record)
    for view in ("image", "text"):
        outputs = search.model.outputs(view, search.side("query", view)[torch.arange(64)])
        differ, _ = disagreement(outputs.numpy(), search.codes[f"query/{view}"].take(np.arange(64)))
        assert differ <= 0.001 * outputs.numel(), f"{view}: {differ} of {outputs.numel()} bits differ"
