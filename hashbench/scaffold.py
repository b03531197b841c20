"""``hashbench new``: a package of one's own that keeps the contract from its first minute."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from hashbench import registry
from hashbench.errors import UsageError
from hashbench.files import write_text


def new_method(name: str, folder: Path) -> list[Path]:
    """Write a package with one method that works and passes ``hashbench check``; returns its files.

    Args:
        name: What the method will be called, such as ``my-hash``.
        folder: Where to; it may not exist yet.

    Raises:
        UsageError: the name is taken or is none, or the folder is there already.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise UsageError(f"{name!r}: expected a name of lower-case letters, digits and single hyphens, such as my-hash")
    if name in registry.methods.entries():
        raise UsageError(f"{name!r}: an installed method is called that; hashbench list shows the names that are taken")
    if folder.exists():
        raise UsageError(f"{folder} is there already; name another one with --folder")
    words = {
        "NAME": name,
        "MODULE": module,
        "PACKAGE": f"hashbench-{name}",
        "CLASS": "".join(part.capitalize() for part in name.split("-")),
        "TITLE": name.upper(),
    }
    written = []
    for template, target in (("method.py.txt", f"{module}.py"), ("pyproject.toml.txt", "pyproject.toml")):
        text = files("hashbench").joinpath("templates", template).read_text("utf-8")
        write_text(folder / target, Template(text).substitute(words))
        written.append(folder / target)
    return written
