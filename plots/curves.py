"""What a method logged while it trained, over its epochs: one panel a quantity and phase, one line an arm.

Four kinds, by name of the quantity:

    losses   parts of the loss: all that the others do not take
    bits     how well bits are used: balance, dead, correlation, distinct, quantisation
    maps     MAP measured in training (``map_...``), never on test queries
    signals  what tells why a loss moves: norms of gradients, saturation, weighted parts

The epoch is the method's own count; methods that solve instead of descending count steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hashbench.errors import DataError, UsageError
from hashbench.plot import Plot

from ._arms import arms, is_number, over_seeds, seeds_said
from .style import SMALL, canvas, legend, looks, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record, Store

COUNTS = ("epoch", "step")
KINDS = {
    "bits": r"balance|dead|correlation|distinct|quantisation",
    "maps": r"map_.*",
    "signals": r"gradient_norm.*|weighted_.*|dead_.*|reward.*|.*_over_entropy|.*softness|theta|saturated|similar_rate"
    r"|drift",
}


class Curves(Plot):
    """Training diagnostics over epochs."""

    description = "what was logged in training over the epochs: losses, bits, validation MAP"
    kinds = ("losses", *KINDS)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        rows = []
        for record, arm in zip(records, arms(records), strict=True):
            run = {"seed": record.spec.seed, "protocol": record.spec.protocol, "metric": "log", "chance": float("nan")}
            found = list(_points(_events(self.store, record)))
            if not found:
                raise UsageError(
                    f"curves: {arm} (run {record.key[:16]}) logged nothing over epochs; choose "
                    "runs that did with --where, for example --where method=soda"
                )
            rows += [{"arm": arm, **point, **run} for point in found]
        of_kind = [row for row in rows if _kind(row["quantity"]) == kind]
        if not of_kind:
            there = [each for each in self.kinds if any(_kind(row["quantity"]) == each for row in rows)]
            raise UsageError(f"curves: none of these runs logged such numbers; take --kind {' or '.join(there)}")
        table = over_seeds(pd.DataFrame(of_kind), ["quantity", "phase", "arm", "count", "at"])
        return table.drop(columns=["metric", "chance"]).sort_values(
            ["quantity", "phase"], key=lambda of: of.map({name: i for i, name in enumerate(dict.fromkeys(of))}),
            kind="stable", ignore_index=True,
        )  # fmt: skip

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        panels = list(dict.fromkeys(zip(table["quantity"], table["phase"], strict=True)))
        names = list(dict.fromkeys(table["arm"]))
        style, phases = looks(names), list(dict.fromkeys(table["phase"]))
        full = len(panels) == len(phases) * table["quantity"].nunique()  # every phase logged the same: one column each
        columns = len(phases) if full and len(phases) > 1 else min(2, len(panels))
        said = f"{table['protocol'].iloc[0]}; {kind} as logged in training; {seeds_said(table)}"
        titles = [wrapped(f"{phase}: {quantity}" if phase else quantity, 22) for quantity, phase in panels]
        rows = -(-len(panels) // columns)
        with styled():
            figure, axes = canvas(rows, columns, 1.3, said, names)
            for ax in axes.flat[len(panels) :]:
                ax.set_axis_off()
            for ax, (quantity, phase), title in zip(axes.flat, panels, titles, strict=False):
                panel = table[(table["quantity"] == quantity) & (table["phase"] == phase)]
                for name, line in panel.groupby("arm", sort=False):
                    look = style[str(name)]
                    ax.plot(line["at"], line["mean"], label=name, markevery=0.25, **look)
                    low, high = line["mean"] - line["deviation"], line["mean"] + line["deviation"]
                    ax.fill_between(line["at"], low, high, color=look["color"], alpha=0.2, linewidth=0)
                ax.set_title(title, fontsize=SMALL)
                ax.set_xlabel(" or ".join(dict.fromkeys(panel["count"])), fontsize=SMALL, labelpad=1)
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
                ax.yaxis.set_major_locator(MaxNLocator(4))
            legend(figure, names)
        return figure


def _kind(quantity: str) -> str:
    return next((kind for kind, names in KINDS.items() if re.fullmatch(names, quantity)), "losses")


def _points(events: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every number that was logged under an epoch or a step."""
    for event in events:
        count = next((name for name in COUNTS if name in event), None)
        if count is None:
            continue
        for name, value in event.items():
            if name not in COUNTS and is_number(value):
                yield {"quantity": name, "phase": event.get("phase", ""), "count": count, "at": event[count],
                       "map": value}  # fmt: skip


def _events(store: Store, record: Record) -> list[dict[str, Any]]:
    file = store.folder(record.spec) / "log.jsonl"
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); delete its folder and run again") from error
