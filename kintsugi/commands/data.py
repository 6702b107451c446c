"""`kintsugi corrupt` and `kintsugi annotate`: rows of one's own through one step each, as a small experiment."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kintsugi.commands.experiment import make
from kintsugi.commands.options import RUNS, STORE, Force, MaxRejected, Runs, Seed, StoreRoot, setting
from kintsugi.graph import Graph
from kintsugi.inline import Made, inline, is_made, made, refuse_unless_one_of
from kintsugi.outputs import check_row_file, refuse_to_replace, write_rows
from kintsugi.references import rejects_of, usable_rows
from kintsugi.visible import shown
from pipeline.contract import DATA
from pipeline.failures import UserError
from pipeline.nodes import AnnotateConfig, EmbedConfig
from pipeline.store import Store

PAIR_FORMATS = ("granular", "masked-region", "own")
"""What annotate writes: formats that hold spans."""
OPTIONS = {
    ("rows", "from"): "--input",
    ("rows", "max_rejected"): "--max-rejected",
    ("broken", "error_types"): "--error-types",
    ("broken", "errors"): "--errors",
    ("broken", "quota"): "--quota",
    ("broken", "minimum_applicable"): "--minimum-applicable",
    ("broken", "verify"): "--verify",
    ("broken", "limit"): "--limit",
    ("pairs", "limit"): "--limit",
    ("pairs", "by"): "--by",
    ("pairs", "max_rejected"): "--max-rejected",
}

Questions = Annotated[
    str,
    typer.Option(
        "--input", "-i", help="Questions with good answers: a file, folder, pattern, s3:// address or hf:NAME."
    ),
]
Answers = Annotated[
    str, typer.Option("--input", "-i", help="What `corrupt` wrote, or pairs of good and bad answers; named as there.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A .json or .jsonl file; by default named after the input, in this folder."),
]
ErrorTypes = Annotated[
    list[str] | None,
    setting(EmbedConfig, "error_types", "--error-types", default="all", help="A type to embed. May be repeated."),
]
Errors = Annotated[
    str | None,
    setting(EmbedConfig, "errors", "--errors", help="Errors in each answer: a number, or as many as from 1-3."),
]
Quota = Annotated[
    str | None,
    setting(EmbedConfig, "quota", "--quota", help="Rows for each error type: a number, or `proportional`."),
]
Minimum = Annotated[
    int | None,
    setting(
        EmbedConfig,
        "minimum_applicable",
        "--minimum-applicable",
        default="a fifteenth of the rows, at most 1,000",
        help="With --quota: leave out types that have a place in fewer rows.",
    ),
]
Verify = Annotated[str | None, setting(EmbedConfig, "verify", "--verify")]
Limit = Annotated[int | None, setting(EmbedConfig, "limit", "--limit")]
By = Annotated[
    str, setting(AnnotateConfig, "by", "--by", help="given: spans of the rows alone; diff: compare all; auto: either.")
]
PairFormat = Annotated[
    str, typer.Option("--format", help="granular (masked_regions), masked-region (a row for each span), own.")
]


def corrupt(
    input: Questions,
    output: Output = None,
    error_types: ErrorTypes = None,
    errors: Errors = None,
    quota: Quota = None,
    minimum_applicable: Minimum = None,
    verify: Verify = None,
    limit: Limit = None,
    max_rejected: MaxRejected = None,
    seed: Seed = 0,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Break good answers: verified errors in each, as {prompt, correct_response, incorrect_response, edits}.

    Errors are shown by running both answers, on the rows' tests or on made inputs; --verify static runs nothing.
    """
    _refuse_pairs(input)
    types = [name for given in error_types or () for name in given.replace(",", " ").split()]
    nodes: dict[str, dict[str, Any]] = {
        "rows": {"kind": "source", "from": input, "max_rejected": max_rejected},
        "broken": {
            "kind": "embed",
            "input": "rows",
            "error_types": types,
            "errors": _number_or_range(errors),
            "quota": {"per_type": int(quota)} if quota and quota.isdecimal() else quota,
            "minimum_applicable": minimum_applicable,
            "verify": verify,
            "limit": limit,
            "max_rejected": 1.0,  # How many rows can be broken is for the user to judge: the reasons are printed.
        },
    }
    target = output or _named_after(input, "corrupted")
    graph = inline("corrupt", target.stem, nodes, OPTIONS, seed)
    found = _make_rows(graph, "broken", "corruption", target, force, store, runs)
    _report_types(found)
    _report_rejects(found, graph.experiment.name)
    Console(highlight=False, soft_wrap=True).print(f"Next: kintsugi annotate -i {escape(str(target))}")


def annotate(
    input: Answers,
    output: Output = None,
    format: PairFormat = "granular",
    by: By = "auto",
    limit: Limit = None,
    max_rejected: MaxRejected = None,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Mark where good and bad answers differ: {prompt, correct_response, incorrect_response, masked_regions}.

    The spans of broken answers follow from their edits. Pairs without edits or spans are compared word by word.
    """
    refuse_unless_one_of(format, PAIR_FORMATS, "--format", "format with spans")
    _refuse_questions(input)
    nodes: dict[str, dict[str, Any]] = {
        "rows": {"kind": "source", "from": input, "max_rejected": max_rejected},
        "pairs": {"kind": "annotate", "input": "rows", "by": by, "limit": limit, "max_rejected": max_rejected},
    }
    target = output or _named_after(input, "annotated")
    graph = inline("annotate", target.stem, nodes, OPTIONS)
    _make_rows(graph, "pairs", format, target, force, store, runs)
    path = escape(str(target))
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Next: kintsugi view {path}\n      kintsugi train MODEL --pairs {path} --loss tdpo2 --mask granular")


def _make_rows(graph: Graph, node: str, format: str, target: Path, force: bool, store: Path, runs: Path) -> Made:
    """Execute the graph and write the rows of one of its nodes where the user said."""
    from pipeline.records import CorruptionRecord, PreferenceRecord
    from pipeline.shards import read_records
    from pipeline.sources.exports import EXPORTS

    check_row_file(target)
    place = Store(store.resolve())
    if not is_made(graph, place):
        refuse_to_replace(target, force)
    make(graph, store, runs)
    found = made(graph, place, node)
    record = CorruptionRecord if format == "corruption" else PreferenceRecord
    rows = (row for kept in read_records(found.directory / DATA, record) for row in EXPORTS[format].rows(kept))
    count = write_rows(target, rows, force)
    taken = found.manifest.rows["in"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\nRows: {escape(str(target))} [dim]({count} rows from {taken})[/]")
    return found


def _number_or_range(text: str | None) -> Any:
    """`2` is a number, `1-3` a range; what is neither is left to the config to refuse."""
    least, dash, most = (text or "").partition("-")
    if dash and least.isdecimal() and most.isdecimal():
        return {"min": int(least), "max": int(most)}
    return int(text) if text and text.isdecimal() else text


def _report_types(found: Made) -> None:
    """What became of each type under a quota."""
    types = found.manifest.facts.get("types", {})
    if not types:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("error type", no_wrap=True)
    for name in ("applicable", "wanted", "made"):
        table.add_column(name, justify="right")
    table.add_column("why fewer", overflow="fold", style="dim")
    for name, facts in types.items():
        numbers = (f"{facts[key]:,}" for key in ("applicable", "wanted", "made"))
        table.add_row(shown(name), *numbers, shown(facts["why"]))
    Console(highlight=False).print(table)


def _report_rejects(found: Made, run: str) -> None:
    """Why rows were left out, by reason, with the first of each."""
    rejects = list(rejects_of(found.directory))
    if not rejects:
        return
    counts = Counter(reject.reason for reject in rejects)
    first = {reject.reason: reject for reject in reversed(rejects)}
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("left out", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("the first of them", overflow="fold")
    for reason, count in counts.most_common():
        table.add_row(shown(reason), str(count), shown(f"{first[reason].id}: {first[reason].detail}", "dim"))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"All of them: kintsugi view {run}:{found.name} --rejected", style="dim", soft_wrap=True)


def _named_after(origin: str, what: str) -> Path:
    """A file named after the last part of what was read; of a pattern its letters and digits."""
    name = Path(origin).name
    stem = re.sub(r"[*?\[\]]+", "", name.removesuffix(".gz").rpartition(".")[0] or name).strip("-_.") or "rows"
    return Path(f"{stem}-{what}.json")


def _refuse_pairs(path: str) -> None:
    from pipeline.records import QARecord

    first = next(usable_rows(path), None)
    if first is not None and not isinstance(first, QARecord):
        what = "these rows have a bad answer already; questions with good answers are broken."
        raise UserError("data", what, path, f"Mark where the answers differ: kintsugi annotate -i {path}.")


def _refuse_questions(path: str) -> None:
    from pipeline.records import QARecord

    if isinstance(next(usable_rows(path), None), QARecord):
        what = "these rows have one answer each; there is nothing to compare it with."
        raise UserError("data", what, path, f"Make bad answers from the good ones: kintsugi corrupt -i {path}.")
