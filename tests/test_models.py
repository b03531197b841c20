"""Models as data: what was written down computes what the module did, and reading it runs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hashbench import retrieval
from hashbench.backbones.tokens import GROUP, OnTokens
from hashbench.errors import DataError
from hashbench.method import Hasher, Run
from hashbench.models import FACTS, OPERATORS, Model, Program, Untraceable, codes_of, disagreement, trace
from hashbench.registry import methods
from hashbench.retrieval import RealCodes
from hashbench.testing.toy import toy_items

RAW = [
    name
    for name, entry in methods.entries().items()
    if entry.module.startswith("hashbench.methods.") and not methods.get(name).needs.cached
]
ABOUT = {**dict.fromkeys(FACTS, "m"), "precision": "fp32"}


@pytest.mark.parametrize("name", RAW)
def test_a_model_gives_the_codes_of_its_method(name: str, tmp_path: Path) -> None:
    """Through its file, for all items at once and for each alone, with encoders that were trained as well; the kit
    for methods tries all of them on cached features."""
    method = methods.get(name)
    items = toy_items(48, tokens=method.needs.tokens, views=method.needs.views, raw=True)
    hasher = method(method.config_class()).train(items, Run(bits=8, max_epochs=1))
    rows = {name: view.batch(torch.arange(len(view))) for name, view in items.views.items()}
    programs = {name: trace(hasher.modules[name], of[[0, 0]]) for name, of in rows.items()}
    Model(programs, ABOUT).write(tmp_path / "model.safetensors")
    model = Model.read(tmp_path / "model.safetensors")
    assert model.about == ABOUT and set(model.programs) == set(items.views)
    for name, of in rows.items():
        wanted = hasher.outputs(name, items.views[name])
        stored = RealCodes(wanted.numpy()) if method.real_valued else retrieval.pack(wanted.numpy() >= 0)
        assert disagreement(model.outputs(name, of).numpy(), stored) == (0, 0)
        alone = torch.cat([model.outputs(name, each[None]) for each in of[:8]])
        assert disagreement(alone.numpy(), stored.take(np.arange(8)))[1] == 0


def linear() -> Program:
    torch.manual_seed(0)
    return trace(nn.Sequential(nn.Linear(5, 4), nn.Tanh()), torch.zeros(2, 5))


def test_nothing_is_kept_of_the_examples_and_nothing_that_is_not_used() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(5, 4), nn.Linear(999, 999)

        def forward(self, rows: Tensor) -> Tensor:
            self.unused.weight.sum()
            out: Tensor = self.used(rows)
            return out

    assert set(trace(Half(), torch.full((2, 5), torch.nan)).tensors) == {"used.weight", "used.bias"}


def test_a_program_computes_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.9), nn.BatchNorm1d(4)).train()
    rows = torch.randn(7, 5)
    program = trace(net, rows[:2])
    assert torch.equal(program(rows), net.eval()(rows))


def test_infinities_types_and_masks_are_written_down(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            hidden = rows.masked_fill(rows < 0, -torch.inf).softmax(1)
            order = torch.arange(rows.shape[1], dtype=torch.float64, device=rows.device).to(rows.dtype)
            return hidden[:, 1:] * order[1:] + torch.zeros(rows.shape[0], 1).expand(-1, rows.shape[1] - 1)

    rows = torch.randn(6, 5).abs() * torch.tensor([1, -1, 1, 1, 1])
    Model({"image": trace(Odd(), rows[:2])}, ABOUT).write(tmp_path / "m")
    assert torch.equal(Model.read(tmp_path / "m").outputs("image", rows), Odd()(rows))


def test_text_encoders_that_shorten_their_batches_are_traced_whole() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50, 6)

        def forward(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
            mask = found["attention_mask"][..., None]
            return {"sentence_embedding": (self.words(found["input_ids"]) * mask).sum(1) / mask.sum(1)}

    torch.manual_seed(0)
    encoder = OnTokens(Mean(), pad=0).eval()
    ids = torch.randint(1, 50, (2 * GROUP, 12)) * (torch.arange(12) < torch.randint(2, 9, (2 * GROUP, 1)))
    assert torch.allclose(trace(encoder, ids[:2])(ids), encoder(ids), atol=1e-6)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(lambda rows: rows * (2 if rows.sum() > 0 else 3), id="a choice by value"),
        pytest.param(lambda rows: torch.from_numpy(rows.numpy() * 2), id="numpy"),
        pytest.param(lambda rows: rows + torch.ones(len(rows), 1), id="one number of rows"),
        pytest.param(lambda rows: 1 / 0, id="an error"),
        pytest.param(lambda rows: (rows, rows), id="two results"),
    ],
)
def test_what_cannot_be_written_down_is_refused(
    module: Callable[[Tensor], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    class Odd(nn.Module):
        def forward(self, rows: Tensor) -> Any:
            return module(rows)

    with pytest.raises(Untraceable) as caught:
        trace(Odd(), torch.ones(2, 5))
    assert "\n" not in str(caught.value)
    assert not capfd.readouterr().err


# --- files --------------------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict[str, str], dict[str, Tensor]], None], sign: bool = True) -> Path:
    """A model's file after a change by somebody who knows the format; unsigned, the digest stays as it was."""
    from hashbench import models

    Model({"image": linear()}, ABOUT).write(path)
    with safe_open(path, "pt") as file:
        about, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(about, tensors)
    if sign:
        about.pop("sha256")
        about["sha256"] = models._digest(tensors, about)
    save_file(tensors, path, about)
    return path


def step(change: Callable[[list[Any]], None]) -> Callable[[dict[str, str], dict[str, Tensor]], None]:
    """Changes the first step."""

    def of(about: dict[str, str], tensors: dict[str, Tensor]) -> None:
        program = json.loads(about["program/image"])
        change(program["steps"][0])
        about["program/image"] = json.dumps(program)

    return of


@pytest.mark.parametrize(
    "operator",
    ["torch.os.system", "os.system", "aten.from_file.default", "aten.__class__.default", "aten.linear.__class__",
     "aten.from_file.out", "aten.set_.source_Tensor", "aten.set_.source_Storage_storage_offset", "aten.resize_.default",
     "aten._sparse_coo_tensor_unsafe.default", "aten.sparse_coo_tensor.indices", "aten.relu.out", "aten.atan2.out",
     "aten.add_.out", "aten.as_strided.default", "aten.as_strided_.default", "aten.empty.memory_format",
     "aten.max_pool2d_with_indices_backward.default", "aten._unsafe_view.default", "aten.relu__.default",
     "prims.add.default", "attrgetter", "methodcaller", "eval", "", None, 3],
)  # fmt: skip
def test_only_operators_that_models_need_are_known(operator: Any, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "m", step(lambda of: of.__setitem__(0, operator)))
    with pytest.raises(DataError, match="is no operator of a model"):
        Model.read(path)


def test_no_file_is_made_by_a_model(tmp_path: Path) -> None:
    made = tmp_path / "made"

    def hostile(of: list[Any]) -> None:
        of[:] = ["aten.from_file.out", [str(made), True, 1000], {"out": {"tensor": "0.bias"}}]

    with pytest.raises(DataError, match="is no operator of a model"):
        Model.read(rewritten(tmp_path / "m", step(hostile))).outputs("image", torch.zeros(1, 5))
    assert not made.exists()


def test_known_operators_write_to_their_own_input_at_most() -> None:
    """Which is what in-place ones do, alone in the list; a result that is written to is a tensor of one's choice."""
    for name in OPERATORS:
        packet, _, overload = name.partition(".")
        schema = getattr(getattr(torch.ops.aten, packet), overload or "default")._schema
        assert not any(each.is_out for each in schema.arguments), name
        assert not schema.is_mutable or packet.endswith("_"), name


LAYERS: dict[str, tuple[Callable[[Tensor], Tensor] | nn.Module, tuple[int, ...]]] = {
    "LSTM": (nn.LSTM(6, 4, batch_first=True), (3, 5, 6)),
    "GRU": (nn.GRU(6, 4, batch_first=True), (3, 5, 6)),
    "attention": (nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), (3, 5, 6)),
    "norms": (nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.BatchNorm2d(4)), (3, 4, 6, 6)),
    "activations": (nn.Sequential(nn.Linear(6, 6), nn.PReLU(), nn.SiLU(True), nn.GLU(), nn.Softplus()), (3, 6)),
    "pools": (nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(True), nn.AdaptiveMaxPool2d(2), nn.AdaptiveAvgPool2d(1)),
              (3, 4, 6, 6)),
    "interpolate": (lambda rows: nn.functional.interpolate(rows, scale_factor=2.0, mode="bicubic"), (3, 4, 6, 6)),
    "einsum": (lambda rows: torch.einsum("bi,bj->bij", rows, rows), (3, 6)),
    "order": (lambda rows: rows.sort(1).values.cumsum(1).topk(2).values.roll(1, 1), (3, 6)),
    "where": (lambda rows: torch.where(rows > 0, rows, -1.0), (3, 6)),
    "one_hot": (lambda rows: nn.functional.one_hot(rows.argmax(1), 6), (3, 6)),
    "in place": (lambda rows: rows.clone().mul_(2).clamp_min_(0).sub_(1), (3, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_usual_layers_can_be_kept(name: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.of = LAYERS[name][0]

        def forward(self, rows: Tensor) -> Tensor:
            found = self.of(rows)
            return found[0] if isinstance(found, tuple) else found

    rows = torch.rand(LAYERS[name][1])
    net = Net().eval()
    with torch.no_grad():
        assert torch.allclose(trace(net, rows[:2])(rows).float(), net(rows).float(), atol=1e-6)


def test_an_operator_that_is_not_known_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return torch.special.i0(rows)

    with pytest.raises(Untraceable, match=r"^'aten\.special_i0\.default' is no operator of a model$"):
        trace(Odd(), torch.ones(2, 5))


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        *(pytest.param(lambda about, tensors, fact=fact: about.pop(fact), True, id=f"no {fact}") for fact in FACTS),
        pytest.param(lambda about, tensors: about.update(precision="fp8"), True, id="precision"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"step": 1}])), True, id="a later step"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"step": -1}])), True, id="a step before the first"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"step": True}])), True, id="no number of a step"),
        pytest.param(step(lambda of: of.__setitem__(1, [[{"tensor": "none"}]])), True, id="no tensor"),
        pytest.param(step(lambda of: of.__setitem__(2, {"bias": {"tensor": []}})), True, id="no name"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"code": "x"}])), True, id="no kind"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"dtype": "load"}])), True, id="no dtype"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"number": "x"}])), True, id="no real"),
        pytest.param(step(lambda of: of.__setitem__(1, [{"device": "cuda"}])), True, id="a device"),
        pytest.param(step(lambda of: of.__setitem__(1, [[[[]]]])), True, id="lists in lists"),
        pytest.param(step(lambda of: of.__setitem__(2, [])), True, id="no named arguments"),
        pytest.param(lambda about, tensors: about.update({"program/image": DEEP}), True, id="deep"),
        pytest.param(lambda about, tensors: about.update({"program/image": '{"steps": [], "output": {"step": 1}}'}),
                     True, id="output of no step"),
        pytest.param(lambda about, tensors: about.update({"program/image": '{"steps": [], "output": 3}'}), True,
                     id="output that is none"),
        pytest.param(lambda about, tensors: tensors["image/0.bias"].add_(1), False, id="weights"),
        pytest.param(step(lambda of: of.__setitem__(0, "aten.relu.default")), False, id="steps"),
        pytest.param(lambda about, tensors: about.update(method="n"), False, id="facts"),
        pytest.param(lambda about, tensors: about.update({"program/image": "{"}), True, id="no JSON"),
        pytest.param(lambda about, tensors: about.update({"program/image": "[]"}), True, id="no program"),
        pytest.param(lambda about, tensors: about.update(format="2"), True, id="another format"),
        pytest.param(lambda about, tensors: about.pop("format"), True, id="no format"),
        pytest.param(lambda about, tensors: about.clear(), False, id="no facts"),
    ],
)  # fmt: skip
def test_damage_is_told_in_one_line(change: Any, sign: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if "clear" in change.__code__.co_names:
        save_file({"a": torch.zeros(1)}, path)
    else:
        rewritten(path, change, sign)
    with pytest.raises(DataError) as caught:
        Model.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"{}" * 99])
def test_other_files_are_no_models(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a model"):
        Model.read(tmp_path / "m")


def test_views_may_share_their_weights(tmp_path: Path) -> None:
    program = linear()
    Model({"image": program, "text": program}, ABOUT).write(tmp_path / "m")
    rows = torch.randn(3, 5)
    model = Model.read(tmp_path / "m")
    assert torch.equal(model.outputs("image", rows), model.outputs("text", rows))


# --- disagreement -------------------------------------------------------------------------------------------


def test_bits_may_differ_where_the_output_is_zero_but_for_rounding() -> None:
    outputs = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    stored = retrieval.pack(outputs >= 0)
    assert disagreement(outputs, stored) == (0, 0)
    near, far = outputs.copy(), outputs.copy()
    size = np.sqrt((outputs**2).mean())
    near[3, 4] = -np.sign(near[3, 4]) * 1e-6 * size
    far[3, 4] = -np.sign(far[3, 4]) * 1e-2 * size
    assert disagreement(near, stored) == (1, 0)
    assert disagreement(far, stored) == (1, 1)
    assert disagreement(far, stored, "bf16") == (1, 0)
    assert disagreement(-outputs, stored) == (400, int((np.abs(outputs) > 1e-4 * size).sum()))
    assert disagreement(outputs[:, :7], stored) == (400, 400)


def test_reals_differ_beyond_rounding_alone() -> None:
    outputs = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    assert disagreement(outputs * (1 + 1e-6), RealCodes(outputs)) == (0, 0)
    assert disagreement(outputs + 1, RealCodes(outputs)) == (400, 400)


def test_zero_counts_as_plus_one() -> None:
    like = retrieval.pack(np.ones((1, 3), np.bool_))
    assert retrieval.digest(codes_of(torch.tensor([[0.0, 1.0, -0.0]]), like)) == retrieval.digest(like)
    assert isinstance(codes_of(torch.zeros(1, 3), RealCodes(np.ones((1, 3), np.float32))), RealCodes)


def test_a_hasher_may_be_made_of_programs() -> None:
    program = linear()
    view = toy_items(12).views["image"]
    wide = trace(nn.Linear(view.dim, 4), view.batch(torch.tensor([0, 1])))
    assert Hasher({"image": wide}).encode("image", view).shape == (12, 4)
    assert program(torch.zeros(1, 5)).shape == (1, 4)
