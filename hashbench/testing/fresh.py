"""A plug-in seen from a new process: what its import loads, and what it answers there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from hashbench.testing.report import NotApplicable, require

HEAVY = frozenset({
    "matplotlib", "open_clip", "pandas", "rich", "sentence_transformers", "sklearn", "timm", "torchvision",
    "transformers", "typer",
})  # fmt: skip
"""Packages that only the leaf functions that use them may import."""

_CODE = """
import contextlib, importlib, io, json, operator, sys
sys.path[:], module, name = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
    cls = operator.attrgetter(name)(importlib.import_module(module))
loaded = sorted({m.partition(".")[0] for m in sys.modules})
torch = sys.modules.get("torch")
cuda = torch is not None and torch.cuda.is_initialized()
from hashbench.config import digest
answer = %s
print(json.dumps([loaded, cuda, out.getvalue(), answer]))
"""


@dataclass(frozen=True)
class Fresh:
    """What a new process saw."""

    loaded: frozenset[str]
    """Top-level packages in memory after the import."""
    cuda: bool
    """Whether the import touched a GPU."""
    printed: str
    """What the import printed."""
    answer: Any
    """Value of the expression."""


def fresh(cls: type, expression: str = "None") -> Fresh:
    """Import ``cls`` in a new process with another hash seed, once for each expression over ``cls``.

    Raises:
        NotApplicable: a new process cannot import the class by name.
        Broken: the import or the expression fails there.
    """
    return _fresh(cls, expression, os.environ.get("HASHBENCH_DATA"))


@cache
def _fresh(cls: type, expression: str, data_dir: str | None) -> Fresh:
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        raise NotApplicable("a new process cannot import it; define it at the top level of a module")
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    child = subprocess.run(
        [sys.executable, "-c", _CODE % expression, json.dumps([sys.path, cls.__module__, cls.__qualname__])],
        capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONHASHSEED": seed},
    )  # fmt: skip
    errors = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
    require(child.returncode == 0, f"in a new process: {errors[-1]}")
    loaded, cuda, printed, answer = json.loads(child.stdout.splitlines()[-1])
    return Fresh(frozenset(loaded), cuda, printed, answer)


def require_light_import(seen: Fresh) -> None:
    """The law of light imports, the same for every kind of plug-in."""
    heavy = sorted(HEAVY & seen.loaded)
    require(not heavy, f"importing it loads {', '.join(heavy)}; import these inside the functions that use them")
    require(not seen.cuda, "importing it touches the GPU")
    require(not seen.printed, f"importing it prints {seen.printed[:60]!r}")
