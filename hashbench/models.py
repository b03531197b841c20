"""Hash functions that outlive their run: what their modules do, written down as plain data.

``torch.export`` watches a module at work; what is kept are its steps, operators of aten by name as JSON, and its
tensors, all views in one safetensors file. Neither the method's code nor the backbone's is needed to read it. A file
from elsewhere brings no code and reaches no files: it can name the operators of a list and nothing else, while torch's
own format for the same unpickles, evaluates expressions and looks names up in the whole of torch. That is all that
holds: its steps may still take all memory or time, and torch's own operators are trusted with their arguments.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import Node

from hashbench import retrieval
from hashbench.errors import DataError, HashbenchError
from hashbench.retrieval import AnyCodes, PackedCodes, RealCodes

FORMAT = "1"
"""Of the file; in its metadata."""

ARITHMETIC: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name) for name in ("getitem", "add", "sub", "mul", "floordiv", "mod", "neg")
}
"""What is done to sizes and to results that come several at a time."""

OPERATORS = frozenset(
    """
    __and__.Scalar __and__.Tensor __lshift__.Scalar __lshift__.Tensor __or__.Scalar __or__.Tensor __rshift__.Scalar
    __rshift__.Tensor __xor__.Scalar __xor__.Tensor _upsample_bicubic2d_aa.vec _upsample_bilinear2d_aa.vec
    _upsample_nearest_exact1d.vec _upsample_nearest_exact2d.vec _upsample_nearest_exact3d.vec _weight_norm absolute
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d addcdiv
    addcmul addmv adjoint affine_grid_generator all all.dim all.dims alpha_dropout aminmax arange arange.start arccos
    arctan2 argsort argsort.stable atleast_3d baddbmm batch_norm bilinear bitwise_left_shift.Tensor block_diag
    broadcast_to bucketize.Tensor cartesian_prod cdist celu channel_shuffle chunk clamp_max clamp_max.Tensor clamp_min
    clamp_min.Tensor clip column_stack concat contiguous conv1d conv1d.padding conv2d conv2d.padding conv3d
    conv_transpose1d conv_transpose2d.input conv_transpose3d.input copysign.Scalar copysign.Tensor cosine_similarity
    count_nonzero cross cummax cummin cumprod deg2rad detach diag diag_embed diff digamma divide.Tensor dot dropout
    dstack einsum embedding_bag.padding_idx erfc erfinv exp2 expand_as eye eye.m
    feature_alpha_dropout feature_dropout fft_fft fft_ifft fft_irfft fft_rfft fill.Tensor fix flatten.using_ints
    fliplr flipud floor_divide floor_divide_.Tensor fmax fmin frac glu greater.Scalar greater_equal.Scalar
    grid_sampler group_norm gru.input gru_cell hardshrink hardsigmoid hardswish heaviside histc hsplit.int hstack
    hypot im2col imag index_add index_copy index_fill.int_Scalar inner instance_norm isfinite isin.Tensor_Tensor
    kthvalue layer_norm lerp.Scalar lerp.Tensor less.Scalar less_equal.Scalar lgamma lift_fresh_copy linalg_cholesky
    linalg_cross linalg_det linalg_eigh linalg_inv linalg_matrix_exp linalg_matrix_norm.str_ord linalg_matrix_power
    linalg_norm linalg_pinv.atol_rtol_tensor linalg_qr linalg_solve linalg_svd linalg_svdvals linalg_vecdot
    linalg_vector_norm linear linspace log_sigmoid log_softmax.int logaddexp logcumsumexp logit logspace logsumexp
    lstm.input lstm_cell mH mT masked_fill.Scalar masked_fill.Tensor matmul matrix_exp max max_pool1d max_pool2d
    max_pool3d median median.dim meshgrid.indexing min mish mode moveaxis.intlist movedim.int msort multiply.Tensor mv
    nan_to_num nanmean nanmedian nanmedian.dim nanquantile.scalar nansum narrow negative new_full new_ones new_zeros
    not_equal.Scalar numpy_T one_hot ones ones_like outer pad pairwise_distance pixel_shuffle pixel_unshuffle positive
    pow_.Tensor prelu quantile quantile.scalar rad2deg ravel real relu6 renorm repeat_interleave.self_int reshape
    reshape_as rms_norm rnn_relu.input rnn_relu_cell rnn_tanh.input rnn_tanh_cell roll rot90 rrelu rsub.Scalar
    rsub.Tensor scaled_dot_product_attention searchsorted.Tensor selu sgn signbit silu sinc softmax.int softplus
    softshrink sort.stable special_erf special_expit special_log_softmax special_logit special_softmax special_xlog1py
    split.Tensor square squeeze stack std.correction std.dim std_mean.dim subtract.Tensor sum sum_to_size swapaxes
    swapdims t take tensor_split.indices tensor_split.sections tensordot threshold tile to.device to.dtype
    to.dtype_layout trace transpose.int tril tril_indices triu triu_indices true_divide.Tensor type_as unbind.int
    unflatten.int unfold upsample_bicubic2d.vec upsample_linear1d.vec upsample_nearest1d.vec upsample_nearest3d.vec
    upsample_trilinear3d.vec var_mean.dim vdot view.dtype view_as vstack where.Scalar where.ScalarOther
    where.ScalarSelf xlogy.Scalar_Other xlogy.Tensor zero zeros zeros_like
    """.split()  # noqa: SIM905
)
"""Operators of aten that models may use beyond those that torch calls core, with the overload where it is not the
default: what layers of torch and backbones come down to. All of them compute on their arguments, with no files and no
code; that is no proof that each is safe with any argument."""

_UNNEEDED = ("as_strided", "backward", "empty")
"""In names of core operators that no model needs: they show memory that nobody wrote, or trust indices unseen."""

FACTS = ("method", "bits", "key", "dataset", "protocol", "precision", "views", "raw", "codes")
"""What every file says of its run; see :attr:`Model.about`."""

ROUNDING = {"fp32": 1e-4, "bf16": 2e-2}
"""An output of no more than this share of its view's root mean square is 0 but for rounding."""


class Untraceable(HashbenchError):
    """A module whose work cannot be written down as steps; its run is kept without a model."""


class Program(nn.Module):
    """The steps of a module in evaluation mode: rows (b, ...) to reals (b, k), for any b.

    Step 0 is the rows; each other one is ``[operator, arguments, named arguments]``. Arguments are plain JSON but for
    ``{"step": i}``, ``{"tensor": name}``, ``{"dtype": name}``, ``{"format": name}``, ``{"number": "inf"}`` and
    ``{"device": null}``, which is wherever the rows are. The result is ``output``, a ``{"step": i}``.
    """

    def __init__(self, steps: list[list[Any]], output: dict[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Look everything up that is named.

        Raises:
            ValueError: a step that is none, or names what does not exist.
        """
        super().__init__()
        self.steps, self.output = steps, output
        self._operators = [_operator(name) for name, _, _ in steps]
        for at, (_, arguments, named) in enumerate(steps):
            for argument in (*arguments, *named.values()):
                _check(argument, at, tensors)
        if not isinstance(output, dict):
            raise ValueError("its output is no step")
        _check(output, len(steps), tensors)
        self._places = {name: f"tensor_{place}" for place, name in enumerate(tensors)}
        for name, place in self._places.items():
            self.register_buffer(place, tensors[name])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under the name that the module gave it."""
        return {name: self.get_buffer(place) for name, place in self._places.items()}

    def forward(self, rows: Tensor) -> Tensor:
        results: list[Any] = [rows]

        def value(written: Any) -> Any:
            if isinstance(written, list):
                return [value(each) for each in written]
            if not isinstance(written, dict):
                return written
            ((kind, of),) = written.items()
            if kind == "step":
                return results[of]
            if kind == "tensor":
                return self.get_buffer(self._places[of])
            return rows.device if kind == "device" else _CONSTANTS[kind](of)

        for call, (_, arguments, named) in zip(self._operators, self.steps, strict=True):
            results.append(call(*map(value, arguments), **{name: value(each) for name, each in named.items()}))
        found: Tensor = value(self.output)
        return found


def trace(module: nn.Module, rows: Tensor) -> Program:
    """Write down what a module does.

    Args:
        module: Hash function of one view, on the device of ``rows``; it is put in evaluation mode.
        rows: (2, ...) examples; nothing is kept of them but shape and type.

    Raises:
        Untraceable: what it does depends on the values, or is more than operators of aten on its rows.
    """
    try:
        with _quiet(), torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
            items = torch.export.Dim("items")
            exported = torch.export.export(module.eval(), (rows,), dynamic_shapes=({0: items},))
    except Exception as error:  # whatever stops it, the module is none that can be kept
        if "Constraints violated" in str(error):
            raise Untraceable(
                "made for one number of rows; rows.shape[0] in forward is any, len(rows) is not"
            ) from error
        raise Untraceable(_first_line(error)) from error
    exported.graph.eliminate_dead_code()
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate or len(signature.user_outputs) != 1:
        raise Untraceable("it changes itself or its rows, or gives more than one result")
    known: dict[Node, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    steps: list[list[Any]] = []
    sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    sources |= signature.inputs_to_lifted_tensor_constants
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            name = sources.get(node.name)
            known[node] = {"tensor": name} if name else {"step": 0}
            if name and node.users:
                found = exported.state_dict.get(name, exported.constants.get(name))
                assert isinstance(found, Tensor)
                tensors[name] = found.detach()
        elif node.op == "output":
            ((output,),) = node.args
        elif node.op != "call_function":
            raise Untraceable(f"step {node.name!r} is no operator")
        elif "_assert" not in str(node.target):  # of types and sizes, which hold for rows like these
            named = {name: _written(each, known) for name, each in node.kwargs.items() if name not in _IDLE}
            steps.append([_name(node.target), [_written(each, known) for each in node.args], named])
            known[node] = {"step": len(steps)}
    try:
        return Program(steps, _written(output, known), tensors)
    except ValueError as error:
        raise Untraceable(str(error)) from error


@dataclass(frozen=True)
class Model:
    """The hash functions of a run, one program a view."""

    programs: Mapping[str, Program]
    about: Mapping[str, str]
    """:data:`FACTS` of the run: ``method``, ``bits``, ``key``, ``dataset``, ``protocol``, ``precision``, ``views``, and
    which of them are ``raw``; ``codes``, the digest of what the model gave; besides, ``identity/VIEW`` of its backbone,
    and the name that one was asked for by as ``backbone/VIEW``."""

    @torch.no_grad()
    def outputs(self, view: str, rows: Tensor) -> Tensor:
        """(b, k) float outputs for rows (b, ...) of a view."""
        bf16 = self.about["precision"] == "bf16"
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            found: Tensor = self.programs[view](rows).float()
        return found

    def write(self, path: Path) -> None:
        """All of it as one safetensors file: tensors as ``view/name``, steps and facts in its metadata."""
        from safetensors.torch import save_file

        tensors = self._tensors()
        programs = {
            f"program/{view}": json.dumps({"steps": program.steps, "output": program.output})
            for view, program in self.programs.items()
        }
        facts = {**self.about, **programs, "format": FORMAT}
        save_file(tensors, path, {**facts, "sha256": _digest(tensors, facts)})

    @classmethod
    def read(cls, path: Path) -> Model:
        """What :meth:`write` wrote, on the CPU.

        Raises:
            DataError: damaged, or no such file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                about = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.pop("sha256") != _digest(tensors, about):
                raise ValueError("it is not what was written")
            if about.pop("format") != FORMAT:
                raise ValueError("written by another version of hashbench")
            if missing := [name for name in FACTS if name not in about]:
                raise ValueError(f"it does not say its run's {', '.join(missing)}")
            if about["precision"] not in ROUNDING:
                raise ValueError(f"precision {about['precision']!r}: expected {' or '.join(ROUNDING)}")
            programs = {}
            for key in sorted(key for key in about if key.startswith("program/")):
                view, steps = key.removeprefix("program/"), json.loads(about.pop(key))
                own = {name.removeprefix(f"{view}/"): of for name, of in tensors.items() if name.startswith(f"{view}/")}
                programs[view] = Program(steps["steps"], steps["output"], own)
        except (OSError, SafetensorError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a model: {_first_line(error)}") from error
        return cls(programs, about)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{view}/{name}": tensor.detach().cpu().contiguous().clone()  # views may share them, and files may not
            for view, program in self.programs.items()
            for name, tensor in program.tensors.items()
        }


def disagreement(outputs: NDArray[np.float32], codes: AnyCodes, precision: str = "fp32") -> tuple[int, int]:
    """How many bits of stored codes are not those of a model's outputs; and how many of these it is sure about.

    A bit may fall either way where the output is 0 but for rounding (:data:`ROUNDING`); elsewhere the model is another.

    Args:
        outputs: (n, k) of a model.
        codes: (n, k) that were stored.
        precision: Of the arithmetic.

    Returns:
        Numbers that differ, and those among them beyond rounding. Of real-valued codes only the latter count.
    """
    if outputs.shape != (len(codes), codes.bits):
        return len(codes) * codes.bits, len(codes) * codes.bits
    slack = ROUNDING[precision] * math.sqrt(float(np.mean(outputs.astype(np.float64) ** 2)))
    if isinstance(codes, RealCodes):
        beyond = int((np.abs(outputs - codes.values) > slack).sum())
        return beyond, beyond
    differ = (outputs >= 0) != (retrieval.unpack(codes) > 0)
    return int(differ.sum()), int((differ & (np.abs(outputs) > slack)).sum())


def codes_of(outputs: Tensor, like: AnyCodes) -> AnyCodes:
    """Outputs (b, k) as codes of the kind of others; 0 counts as +1."""
    reals = outputs.cpu().numpy()
    return retrieval.pack(reals >= 0) if isinstance(like, PackedCodes) else RealCodes(reals)


# --- steps as data ------------------------------------------------------------------------------------------

_CONSTANTS: dict[str, Callable[[str], Any]] = {
    "dtype": lambda name: _typed(name, torch.dtype),
    "format": lambda name: _typed(name, torch.memory_format),
    "number": float,
}
_IDLE = ("layout", "pin_memory")  # named arguments of factories that say how things are anyway


def _written(value: Any, known: Mapping[Node, dict[str, Any]]) -> Any:
    """An argument as JSON."""
    if isinstance(value, Node):
        return known[value]
    if isinstance(value, list | tuple):
        return [_written(each, known) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.device):
        return {"device": None}
    for kind, of in (("dtype", torch.dtype), ("format", torch.memory_format)):
        if isinstance(value, of):
            return {kind: str(value).removeprefix("torch.")}
    raise Untraceable(f"an argument of type {type(value).__name__} cannot be written down")


def _name(target: Any) -> str:
    """An operator as text: ``aten.linear.default`` or ``mul``."""
    return str(target) if isinstance(target, torch._ops.OpOverload) else str(getattr(target, "__name__", target))


def _operator(name: Any) -> Callable[..., Any]:
    """The inverse of :func:`_name`, for operators that touch nothing but their arguments."""
    if name in ARITHMETIC:
        return ARITHMETIC[name]
    if found := re.fullmatch(r"aten\.(\w+)\.(\w+)", str(name)):
        packet, overload = found.groups()
        pure = re.sub(r"(?<=[^_])_$", "", packet)  # relu_ is relu in place
        operator = _overload(packet, overload)
        if operator and (_is_known(packet, overload) or _is_known(pure, overload)):
            return operator
    raise ValueError(f"{name!r} is no operator of a model")


def _overload(packet: str, overload: str) -> torch._ops.OpOverload | None:
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    return found if isinstance(found, torch._ops.OpOverload) else None


def _is_known(packet: str, overload: str) -> bool:
    """Whether models may use an operator: one of :data:`OPERATORS`, or of the core and writing to nothing."""
    if (packet if overload == "default" else f"{packet}.{overload}") in OPERATORS:
        return True
    found = _overload(packet, overload)
    if found is None or found._schema.is_mutable or any(part in packet for part in _UNNEEDED):
        return False
    return torch.Tag.core in found.tags


def _check(written: Any, steps: int, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError where an argument of the step after ``steps`` others names what does not exist."""
    if isinstance(written, list):
        for each in written:
            if isinstance(each, list):
                raise ValueError("a list within a list is no argument")
            _check(each, steps, tensors)
    elif isinstance(written, dict):
        ((kind, of),) = written.items()
        if kind == "step":
            known = type(of) is int and 0 <= of <= steps
        elif kind == "tensor":
            known = of in tensors
        elif kind == "device":
            known = of is None
        else:
            known = kind in _CONSTANTS
            if known:
                _CONSTANTS[kind](of)
        if not known:
            raise ValueError(f"{kind} {of!r}: there is none")


def _typed(name: str, kind: type) -> Any:
    found = getattr(torch, name, None)
    if not isinstance(found, kind):
        raise ValueError(f"{name!r} is no {kind.__name__}")
    return found


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """sha256 over everything in a file."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.export says on the way; what stops it is an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx", "torch._dynamo", "torch._export")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # where it prints what it could not follow
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
