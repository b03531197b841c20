"""What a teacher is worth on each backbone: slopes of MAP from no teacher to a teacher, one line a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from hashbench.errors import UsageError
from hashbench.plot import Plot

from ._arms import Columns, caption, known, measured, over_seeds, told
from .style import arrow, canvas, legend, looks, styled, wrapped

if TYPE_CHECKING:
    from hashbench.store import Record

NONE = "no teacher"


class Backbones(Plot):
    """A slope chart: each backbone without a teacher and with one."""

    description = "MAP without and with a teacher, one slope a backbone"
    kinds = ("slopes",)

    def table(self, records: Sequence[Record], kind: str) -> pd.DataFrame:
        facts = [known(record) for record in records]
        with_it = [of.get("teacher", "none") != "none" for of in facts]
        if all(with_it) or not any(with_it) or any("teacher" not in of for of in facts):
            raise UsageError(
                "backbones: needs runs of one method without and with its teacher, and of no other; for example "
                "hashbench run --method soda --set teacher=none beside hashbench run --method soda; "
                "--where method=soda leaves others out"
            )
        backbones = [of["backbone"] + (", tuned" if of["tuning"] == "full" else "") for of in facts]
        columns: Columns = {
            "backbone": backbones,
            "bits": [of["bits"] for of in facts],
            "position": self._positions(records, backbones, with_it),
        }
        rows = measured(records, columns)
        rows["gain"] = rows["map"] - self._without(rows)
        found = over_seeds(rows, [*columns, "task"], ["gain"])
        paired = rows.groupby([*columns, "task"], sort=False)["gain"].std().rename("gain_deviation")
        return found.merge(paired, on=[*columns, "task"])

    def _positions(self, records: Sequence[Record], backbones: Sequence[str], with_it: Sequence[bool]) -> list[str]:
        """Where on the x axis a run stands: told among the runs of its backbone, as settings may follow backbones."""
        found = [NONE] * len(records)
        for backbone in dict.fromkeys(backbones):
            places = [i for i, of in enumerate(backbones) if of == backbone]
            teachers = {known(records[i])["teacher"] for i in places if with_it[i]}
            apart = ("backbone", "tuning", "bits", *(["teacher"] if len(teachers) < 2 else []))
            for i, words in zip(places, told([records[i] for i in places], apart), strict=True):
                values = " ".join(word.rpartition("=")[2] for word in words.split())
                found[i] = f"{values} {'teacher' if with_it[i] else NONE}".strip()
        return found

    def _without(self, rows: pd.DataFrame) -> pd.Series:
        """For each row MAP of the same backbone, length, task and seed without a teacher; NaN where there is none."""
        same = ["backbone", "bits", "task", "seed"]
        base = rows[rows["position"] == NONE].drop_duplicates(same).set_index(same)["map"]
        return base.reindex(pd.MultiIndex.from_frame(rows[same])).set_axis(rows.index)

    def draw(self, table: pd.DataFrame, kind: str) -> Figure:
        tasks, lengths = list(dict.fromkeys(table["task"])), sorted(set(table["bits"]))
        positions = sorted(dict.fromkeys(table["position"]), key=lambda p: (p != NONE, p == "teacher"))
        names = list(dict.fromkeys(table["backbone"]))
        style, entries, said = looks(names), {name: name for name in names}, []
        if len(lengths) == 1:
            last = table[table["position"] == positions[-1]]
            for name in names:
                gains = last[last["backbone"] == name].set_index("task")["gain"].reindex(tasks)
                entries[name] = f"{name} ({'/'.join('?' if gain != gain else f'{gain:+.3f}' for gain in gains)})"
            said = [f"in brackets: {positions[-1]} minus {NONE}, by task"]
        with styled():
            figure, axes = canvas(
                len(lengths), len(tasks), 1.9, caption(table, *said, dotted=True), list(entries.values()),
                sharex=True, sharey=True,
            )  # fmt: skip
            for row, bits in enumerate(lengths):
                for ax, task in zip(axes[row], tasks, strict=True):
                    panel = table[(table["task"] == task) & (table["bits"] == bits)]
                    for i, name in enumerate(names):
                        line = panel[panel["backbone"] == name].assign(
                            at=lambda line: line["position"].map(positions.index)
                        ).sort_values("at")  # fmt: skip
                        aside = 0.06 * (i - (len(names) - 1) / 2) / max(1, len(names) - 1)
                        ax.errorbar(
                            line["at"] + aside, line["mean"], line["deviation"], label=entries[name],
                            elinewidth=0.8, **style[name],
                        )  # fmt: skip
                    ax.axhline(panel["chance"].mean(), color="0.5", linewidth=0.9, linestyle=":")
                    ax.set_xlim(-0.35, len(positions) - 0.65)
                    ax.set_xticks(range(len(positions)), [wrapped(position, 8) for position in positions])
                    ax.grid(visible=False, axis="x")
                    if row == 0:
                        ax.set_title(arrow(task))
                axes[row, 0].set_ylabel("MAP" if len(lengths) == 1 else f"{bits} bits\nMAP")
            axes[0, 0].set_ylim(bottom=0)
            legend(figure, list(entries.values()))
        return figure
