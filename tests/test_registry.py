"""Plug-ins by name: found through installed metadata, imported one at a time, each failing alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hashbench import registry
from hashbench.errors import UsageError
from hashbench.method import Method
from hashbench.registry import Registry

GOOD = """
from hashbench.method import Method

class Good(Method):
    def fit(self, train, run):
        raise NotImplementedError

class Stranger:
    pass

an_object = Good
not_a_class = 3
"""


class Package:
    """Installs packages: a module and the metadata that names its plug-ins, on a path of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, source: str, **entries: str) -> None:
        (self.folder / f"{name}.py").write_text(source)
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{plug_in} = {value}" for plug_in, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[hashbench.test]", *lines, ""]))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Package(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


@pytest.fixture
def plug_ins() -> Registry[Method]:
    return Registry("method", "hashbench.test", "hashbench.method:Method")


def test_a_plug_in_is_found_by_name(package: Package, plug_ins: Registry[Method]) -> None:
    package.install("plugin_good", GOOD, good="plugin_good:Good")
    found = plug_ins.get("good")
    assert found.__name__ == "Good"
    assert issubclass(found, Method)


def test_listing_is_sorted_and_imports_nothing(package: Package, plug_ins: Registry[Method]) -> None:
    package.install("plugin_b", "raise RuntimeError", zeta="plugin_b:Z", beta="plugin_b:B")
    package.install("plugin_a", "raise RuntimeError", alpha="plugin_a:A")
    assert list(plug_ins.entries()) == ["alpha", "beta", "zeta"]
    assert not {"plugin_a", "plugin_b"} & set(sys.modules)


def test_no_plug_ins_at_all(plug_ins: Registry[Method]) -> None:
    assert plug_ins.entries() == {}
    with pytest.raises(UsageError, match="no method 'soda'"):
        plug_ins.get("soda")


def test_two_packages_with_the_same_name(package: Package, plug_ins: Registry[Method]) -> None:
    package.install("plugin_mine", GOOD, good="plugin_mine:Good")
    package.install("plugin_yours", GOOD, good="plugin_yours:Good")
    for ask in (plug_ins.entries, lambda: plug_ins.get("good")):
        with pytest.raises(UsageError) as error:
            ask()
        message = str(error.value)
        assert message.startswith("two methods are called 'good': ")
        assert "plugin_mine:Good" in message
        assert "plugin_yours:Good" in message


def test_one_package_seen_twice_is_one(package: Package, plug_ins: Registry[Method]) -> None:
    package.install("plugin_good", GOOD, good="plugin_good:Good")
    package.install("plugin_again", "", good="plugin_good:Good")
    assert list(plug_ins.entries()) == ["good"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('the driver is missing')", "RuntimeError: the driver is missing"),
        ("import a_package_nobody_has", "ModuleNotFoundError: No module named 'a_package_nobody_has'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("", "AttributeError"),
    ],
)
def test_a_broken_plug_in_disables_itself_alone(
    package: Package, plug_ins: Registry[Method], source: str, said: str
) -> None:
    package.install("plugin_bad", source, bad="plugin_bad:Bad")
    package.install("plugin_good", GOOD, good="plugin_good:Good")
    with pytest.raises(UsageError) as error:
        plug_ins.get("bad")
    message = str(error.value)
    assert message.startswith("the method 'bad' (plugin_bad:Bad) cannot be imported: ")
    assert said in message
    assert "\n" not in message
    assert list(plug_ins.entries()) == ["bad", "good"]
    assert plug_ins.get("good").__name__ == "Good"


@pytest.mark.parametrize("attribute", ["Stranger", "not_a_class"])
def test_what_is_no_plug_in_of_this_kind(package: Package, plug_ins: Registry[Method], attribute: str) -> None:
    package.install("plugin_good", GOOD, odd=f"plugin_good:{attribute}")
    with pytest.raises(UsageError, match=rf"the method 'odd' \(plugin_good:{attribute}\) is no Method"):
        plug_ins.get("odd")


def test_an_unknown_name_is_told_the_nearest(package: Package, plug_ins: Registry[Method]) -> None:
    package.install("plugin_good", GOOD, soda="plugin_good:Good", dcmh="plugin_good:Good")
    with pytest.raises(UsageError, match=r"no method 'sodda'\. Did you mean 'soda'\? Known: dcmh, soda"):
        plug_ins.get("sodda")


@pytest.mark.parametrize("kind", [registry.methods, registry.datasets, registry.backbones, registry.plots])
def test_built_in_plug_ins_are_of_their_kind(kind: Registry[object]) -> None:
    entries = kind.entries()
    assert entries
    for name in entries:
        kind.get(name)
