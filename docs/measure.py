"""Measures the table of the README and writes ``docs/measured.json``: ``python docs/measure.py``.

Everything goes through ``hashbench.grid.run``, so what is done already is reused. Nothing is tuned here: every arm
runs with its default settings. The comparisons average each query's AP over the seeds and flip signs over queries.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from hashbench.config import override
from hashbench.grid import run
from hashbench.paths import results_dir
from hashbench.printing import mean_and_deviation
from hashbench.registry import methods
from hashbench.significance import compare
from hashbench.spec import Execution
from hashbench.store import Record, Store

BITS, SEEDS = 32, (0, 1, 2)
TASKS = ("image->text", "text->image")
ARMS: dict[str, tuple[str, list[str]]] = {
    "CCA-ITQ, unsupervised": ("cca-itq", []),
    "DCMH": ("dcmh", []),
    "SODA's losses without a teacher": ("soda", ["teacher=none"]),
    "SODA": ("soda", []),
    "SODA, one-hot labels instead of prompts": ("soda", ["label_modality=onehot"]),
    "SODA's losses without a teacher, balanced likelihood": ("soda", ["teacher=none", "pair_loss=balanced_nll"]),
    "SODA, balanced likelihood": ("soda", ["pair_loss=balanced_nll"]),
}
PAIRS = [
    ("SODA", "SODA's losses without a teacher"),
    ("SODA, balanced likelihood", "SODA's losses without a teacher, balanced likelihood"),
    ("SODA", "SODA, one-hot labels instead of prompts"),
]


def measure() -> dict[str, list[Record]]:
    """Every arm's records, one a seed."""
    found = {}
    for arm, (method, settings) in ARMS.items():
        config = override(methods.get(method).config_class(), settings)
        execution = Execution(workers=os.cpu_count() or 1)
        found[arm] = run(method, config=config, bits=[BITS], seeds=SEEDS, execution=execution)
        print(arm, *(mean_and_deviation(scores(found[arm], task)) for task in TASKS), sep=" | ", flush=True)
    return found


def scores(records: list[Record], task: str) -> list[float]:
    return [record.metrics[task]["map@all"] for record in records]


def main() -> None:
    found = measure()
    store = Store(results_dir())
    first = found["SODA"][0]
    page = {
        "bits": BITS,
        "seeds": list(SEEDS),
        "protocol": first.spec.protocol,
        "split": first.spec.split,
        "chance": first.metrics[TASKS[0]]["chance"],
        "rows": [
            {"arm": arm, **{task: mean_and_deviation(scores(records, task)) for task in TASKS}}
            for arm, records in found.items()
        ],
        "differences": [
            {"one": one, "other": other, "task": of.task, "mean": of.mean, "seeds": of.seeds, "p": of.p}
            for one, other in PAIRS
            for of in compare(store, found[one], found[other])
        ],
    }
    (Path(__file__).parent / "measured.json").write_text(json.dumps(page, indent=1) + "\n")
    for row in page["rows"]:  # type: ignore[attr-defined]
        print(f"| {row['arm']} | {row[TASKS[0]]} | {row[TASKS[1]]} |")
    for difference in page["differences"]:  # type: ignore[attr-defined]
        print(difference)


if __name__ == "__main__":
    main()
