"""What a plug-in must leave as it was: the global state of the process, and the terminal."""

from __future__ import annotations

import io
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch


class _State(NamedTuple):
    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], Any]


_STATES = (
    _State("torch's global generator", torch.get_rng_state, torch.set_rng_state),
    _State("numpy's global generator", np.random.get_state, np.random.set_state),
    _State("python's global generator", random.getstate, random.setstate),
    _State("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _State("torch's default device", torch.get_default_device, torch.set_default_device),
    _State("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    _State("torch's thread count", torch.get_num_threads, torch.set_num_threads),
    _State("torch's matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _State(
        "torch's deterministic mode",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    _State("the working directory", Path.cwd, os.chdir),
)


@contextmanager
def settled() -> Iterator[None]:
    """One torch thread inside; afterwards the global state is as it was before, whatever happened."""
    before = [state.read() for state in _STATES]
    torch.set_num_threads(1)
    try:
        yield
    finally:
        for state, value in zip(_STATES, before, strict=True):
            if not _same(state.read(), value):
                state.restore(value)


@contextmanager
def traces() -> Iterator[list[str]]:
    """Lend a list; when the block ends well, it says what the block changed and what it printed.

    Warnings are no trace: they are addressed to the author of a plug-in, and often come from a library.
    """
    found: list[str] = []
    before = [state.read() for state in _STATES]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
        warnings.simplefilter("ignore")
        yield found
    for state, value in zip(_STATES, before, strict=True):
        if not _same(state.read(), value):
            found.append(f"changed {state.name}")
    if out.getvalue():
        found.append(f"printed {out.getvalue()[:60]!r}")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
