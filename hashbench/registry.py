"""Find plug-ins by name, through entry points, without importing any other one."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hashbench.config import did_you_mean
from hashbench.errors import UsageError

if TYPE_CHECKING:
    from hashbench.backbone import Family
    from hashbench.dataset import Dataset
    from hashbench.method import Method
    from hashbench.plot import Plot

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to entry points of one group. Listing reads metadata only; :meth:`get` imports one module."""

    def __init__(self, kind: str, group: str, base: str) -> None:
        self.kind, self.group, self._base = kind, group, base

    def entries(self) -> dict[str, EntryPoint]:
        """Every name with its entry point, sorted.

        Raises:
            UsageError: two installed packages claim the same name.
        """
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            if entry.name in found and found[entry.name].value != entry.value:
                raise UsageError(
                    f"two {self.kind}s are called {entry.name!r}: {found[entry.name].value} and {entry.value}; "
                    "uninstall one of them"
                )
            found[entry.name] = entry
        return dict(sorted(found.items()))

    def get(self, name: str) -> type[T]:
        """The class behind ``name``.

        Raises:
            UsageError: no such name, or what it points to cannot be imported or is of the wrong kind.
        """
        entries = self.entries()
        if name not in entries:
            raise UsageError(f"no {self.kind} {name!r}. {did_you_mean(name, entries)}")
        try:
            found = entries[name].load()
        except (Exception, SystemExit) as error:  # a broken plug-in disables itself alone, whatever it raises
            raise UsageError(
                f"the {self.kind} {name!r} ({entries[name].value}) cannot be imported: {type(error).__name__}: {error}"
            ) from error
        module, _, attribute = self._base.partition(":")
        base = getattr(import_module(module), attribute)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise UsageError(f"the {self.kind} {name!r} ({entries[name].value}) is no {attribute}")
        return found


methods: Registry[Method[Any]] = Registry("method", "hashbench.methods", "hashbench.method:Method")
datasets: Registry[Dataset] = Registry("data set", "hashbench.datasets", "hashbench.dataset:Dataset")
backbones: Registry[Family] = Registry("backbone", "hashbench.backbones", "hashbench.backbone:Family")
plots: Registry[Plot] = Registry("plot", "hashbench.plots", "hashbench.plot:Plot")
