"""``hashbench compare``: what two settings differ by, and what can be said of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hashbench import registry
from hashbench.cli.browse import JsonOption, ResultsOption, WhereOption
from hashbench.cli.output import matching, print_json, print_table, protocol_lines
from hashbench.cli.published import compare_with_papers
from hashbench.errors import UsageError
from hashbench.printing import decimals, mean_and_deviation

if TYPE_CHECKING:
    from hashbench.significance import Difference
    from hashbench.store import Record, Store

METRIC = "map@all"
"""What is kept of every query."""


def compare(
    a: Annotated[
        str | None, typer.Argument(help="A method, conditions like soda,bits=32,alpha=0.1, or a run's key.")
    ] = None,
    b: Annotated[str | None, typer.Argument(help="What to compare it with, named likewise.")] = None,
    bits: Annotated[
        str | None, typer.Option(help="Code lengths, such as 16,32; all that both have when nothing is said.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Compare runs with what papers print, in place of A with B.")
    ] = False,
    where: WhereOption = None,
    results: ResultsOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the MAP of two settings query by query: difference, interval, corrected p, effect, and what seeds say.

    With --published, runs stand beside the numbers that papers print, with every way in which the protocols differ.
    """
    if published:
        if a or bits:
            raise UsageError("--published compares all runs that --where chooses; leave out A, B and --bits")
        compare_with_papers(where or [], results, json)
        return
    if a is None or b is None:
        raise UsageError("compare: expected two settings, A and B, or --published")
    if where:
        raise UsageError("--where goes with --published; conditions stand in A and B, as in soda,bits=32")
    from hashbench import significance
    from hashbench.paths import results_dir
    from hashbench.spec import parse_numbers
    from hashbench.store import Store

    store = Store(results or results_dir())
    one, other = _selected(store, a), _selected(store, b)
    if bits:
        lengths = parse_numbers("--bits", bits)
    else:
        lengths = sorted({record.spec.bits for record in one} & {record.spec.bits for record in other})
    sides = [(_of_length(one, n, a, store), _of_length(other, n, b, store)) for n in lengths] or [(one, other)]
    across = all("bits=" in text.replace(" ", "") for text in (a, b))
    compared = [
        (*pair, difference) for pair in sides for difference in significance.compare(store, *pair, across_bits=across)
    ]
    corrected = significance.corrected([difference for *_, difference in compared])
    found = [(of_a, of_b, difference) for (of_a, of_b, _), difference in zip(compared, corrected, strict=True)]
    sentences = [
        (f"{of_a[0].spec.bits} bits, " if len(sides) > 1 else "") + significance.in_words(difference, a, b)
        for of_a, of_b, difference in found
    ]
    if json:
        rows = [
            {**asdict(difference), "shown": difference.shown, "beyond_seeds": difference.beyond_seeds, "words": words,
             "a": _as_json(a, of_a, difference.task), "b": _as_json(b, of_b, difference.task)}
            for (of_a, of_b, difference), words in zip(found, sentences, strict=True)
        ]  # fmt: skip
        print_json({"metric": METRIC, "differences": rows})
        return
    print_table(
        f"{METRIC} on {one[0].spec.dataset}: A = {a}, B = {b}",
        ["bits", "task", "A", "B", "A - B", "95 % interval", "p", "p Holm", "effect", "A higher", "A lower", "seeds"],
        [[_bits(of_a, of_b), *_row(of_a, of_b, difference)] for of_a, of_b, difference in found],
    )
    for line in protocol_lines([record for side in sides[0] for record in side], METRIC):
        typer.echo(line)
    typer.echo(
        "p: paired randomisation over queries, seeds averaged; p Holm: corrected for this table; interval: bootstrap"
    )
    typer.echo(
        "over queries; effect: mean / deviation over queries; higher, lower: share of queries; seeds: of A - B's sign"
    )
    for sentence in sentences:
        typer.echo(sentence)


def _selected(store: Store, text: str) -> list[Record]:
    """The runs that a key or conditions name; ``soda,bits=32,seed=0,1`` reads as three of them."""
    first = text.partition(",")[0].strip()
    methods = registry.methods.entries()
    if first == text.strip() and first not in methods and len(first) >= 4 and set(first) <= set("0123456789abcdef"):
        return [store.by_prefix(first)]
    where: list[str] = []
    for part in text.split(","):
        if "=" in part or not where:
            where.append(part if "=" in part else f"method={part}")
        else:
            where[-1] += f",{part}"
    found = matching(store, where, "compare")
    if not found:
        raise UsageError(f"{text!r}: no such run in {store.root}; hashbench results lists them")
    return found


def _of_length(records: list[Record], bits: int, text: str, store: Store) -> list[Record]:
    found = sorted((record for record in records if record.spec.bits == bits), key=lambda record: record.spec.seed)
    if not found:
        raise UsageError(f"--bits {bits}: {text!r} has no run of that length in {store.root}; hashbench run makes it")
    return found


def _map(records: list[Record], task: str) -> list[float]:
    return [record.metrics[task][METRIC] for record in records]


def _bits(one: list[Record], other: list[Record]) -> str:
    return ", ".join(str(n) for n in dict.fromkeys((one[0].spec.bits, other[0].spec.bits)))


def _row(one: list[Record], other: list[Record], found: Difference) -> list[str]:
    return [
        found.task,
        mean_and_deviation(_map(one, found.task)),
        mean_and_deviation(_map(other, found.task)),
        decimals(found.mean),
        f"{decimals(found.low)} to {decimals(found.high)}",
        decimals(found.p),
        "" if found.p_holm is None else decimals(found.p_holm),
        "" if found.effect is None else f"{found.effect:.2f}",
        f"{found.better:.0%}",
        f"{found.worse:.0%}",
        f"{found.agreeing} of {len(found.seeds)}" if found.seeds else "differ",
    ]


def _as_json(text: str, records: list[Record], task: str) -> dict[str, object]:
    return {
        "selection": text,
        "bits": records[0].spec.bits,
        "runs": [record.key for record in records],
        "seeds": [record.spec.seed for record in records],
        METRIC: _map(records, task),
    }
