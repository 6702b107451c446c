"""`kintsugi view` and `kintsugi export`: rows on the terminal, and in the formats that others read."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from kintsugi.commands.options import RUNS, STORE, Force, Runs, StoreRoot
from kintsugi.inline import refuse_unless_one_of
from kintsugi.outputs import check_row_file, refuse_to_replace, write_directory, write_rows
from kintsugi.references import Dataset, find_dataset
from pipeline.failures import UserError

HF = "hf"
CARD = "README.md"
SIDES = ("chosen", "rejected")
ROWS = 5

Reference = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="RUN:NODE (recovery:pairs, recovery:qa.test), a directory of the store, or a data file.",
        show_default=False,
    ),
]
Target = Annotated[Path, typer.Option("--output", "-o", help="A .json or .jsonl file; with --format hf a directory.")]
Format = Annotated[
    str, typer.Option("--format", help="granular, masked-region, response-level, trl, corruption, own or hf.")
]
License = Annotated[str, typer.Option("--license", help="With --format hf: the licence, as Hugging Face names it.")]
Count = Annotated[
    int | None, typer.Option("--rows", "-n", min=1, help="Rows to show: 5, or 40 in a page.", show_default=False)
]
Skip = Annotated[int, typer.Option("--skip", min=0, help="Rows to pass over first.")]
Type = Annotated[str | None, typer.Option("--error-type", help="Only rows with this error type.")]
Side = Annotated[str | None, typer.Option("--side", help="Only this answer of pairs: chosen or rejected.")]
Page = Annotated[
    Path | None, typer.Option("--html", help="Write a page with samples of broken answers or pairs, of every type.")
]
Rejected = Annotated[bool, typer.Option("--rejected", help="The rows that were left out, and why.")]


class Pager(Console):
    """A console whose reader may leave, as `head` does, without that being a failure."""

    def on_broken_pipe(self) -> None:
        """Stop. What is left in the stream goes nowhere, or Python would complain when it closes it."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit


def export(
    dataset: Reference,
    output: Target,
    format: Format = HF,
    license: License = "unknown",
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Write a data set in a format that others read.

    granular {prompt, correct_response, incorrect_response, masked_regions}, masked-region (the same, one span a row),
    response-level {prompt, winning_response, losing_response}, trl {prompt, chosen, rejected}, corruption (with edits),
    own (every field), or hf: Parquet and a data set card, ready for the Hugging Face Hub.
    """
    from kintsugi.hub import write_hub
    from pipeline.sources.exports import EXPORTS

    refuse_unless_one_of(format, (*EXPORTS, HF), "--format", "format")
    found = find_dataset(dataset, store, runs)
    console = Console(highlight=False, soft_wrap=True)
    if format == HF:
        write_directory(output, lambda draft: write_hub(found, draft, output.resolve().name, license), force, CARD)
        console.print(f"Data set: {escape(str(output))}")
        console.print(f"Next:     hf upload NAME {escape(str(output))} --repo-type dataset", style="dim")
        return
    check_row_file(output)
    count = write_rows(output, _exported(found, format), force)
    console.print(f"Rows: {escape(str(output))} [dim]({count} rows, {EXPORTS[format].keeps})[/]")


def _exported(found: Dataset, format: str) -> Any:
    """The rows of a data set in a format. Broken answers become pairs where pairs are wanted."""
    from pipeline.records import CorruptionRecord, PreferenceRecord
    from pipeline.sources.exports import EXPORTS
    from pipeline.stages.annotate import annotate

    if len(found.parts) > 1:
        hint = f"Name one: {found.name}.{next(iter(found.parts))}. Only --format hf holds several."
        raise UserError("config", f"there are {len(found.parts)} splits: {', '.join(found.parts)}.", found.name, hint)
    export = EXPORTS[format]
    as_pair = export.record is PreferenceRecord and found.record is CorruptionRecord
    if export.record not in (None, found.record) and not as_pair:
        what = f"--format {format} is made from {export.record.__name__} rows, and these are {found.record.__name__}."
        raise UserError("data", what, found.name, "Use --format own or hf, or make pairs: kintsugi corrupt, annotate.")
    records = (annotate(row) if as_pair else row for row in found.rows())
    return (row for record in records for row in export.rows(record))


def view(
    dataset: Reference,
    rows: Count = None,
    skip: Skip = 0,
    error_type: Type = None,
    side: Side = None,
    rejected: Rejected = False,
    html: Page = None,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Show rows with their spans: green is good, red is bad.

    Questions, broken answers, pairs, answers of models, and their scores. Without colours (in a pipe, or with
    NO_COLOR) spans stand in {+good+} and [-bad-].
    """
    from kintsugi.view import has_error_type, lines_of, with_answers

    if side is not None:
        refuse_unless_one_of(side, SIDES, "--side", "side")
    found = find_dataset(dataset, store, runs, rejected)
    if html is not None:
        _write_page(found, html, rows, error_type, force)
        return
    wanted = (row for row in with_answers(found) if error_type is None or has_error_type(row, error_type))
    shown = list(islice(wanted, skip, skip + (rows or ROWS)))
    if not shown:
        raise _no_rows(dataset, error_type, skip)
    # A pipe has no width: lines are left to whoever reads them.
    console = Pager(highlight=False, soft_wrap=not sys.stdout.isatty())
    plain = console.color_system is None or console.no_color
    for line in (line for row in shown for line in lines_of(row, side, plain=plain)):
        console.print(line)


def _no_rows(dataset: str, error_type: str | None, skip: int = 0) -> UserError:
    of_type = f" with the error type '{error_type}'" if error_type else ""
    return UserError("data", f"there are no rows{of_type}{' left' if skip else ''}.", dataset)


def _write_page(found: Dataset, path: Path, rows: int | None, error_type: str | None, force: bool) -> None:
    """Samples as one HTML file. `--skip` and `--side` are for the terminal: the page draws its rows, and has both."""
    from kintsugi.samples import ROWS as SAMPLES
    from kintsugi.samples import draw, page
    from pipeline.records import CorruptionRecord, PreferenceRecord
    from pipeline.store import write_text

    if found.record not in (CorruptionRecord, PreferenceRecord):
        what = f"a page shows broken answers and pairs, and these are {found.record.__name__} rows."
        raise UserError("data", what, found.name, "Leave --html off.")
    refuse_to_replace(path, force)
    drawn = draw(found.rows(), rows or SAMPLES, error_type)
    if not drawn.rows:
        raise _no_rows(found.name, error_type)
    write_text(path, page(found.name if found.artifact else Path(found.name).name, drawn))
    Console(highlight=False, soft_wrap=True).print(f"Page: {escape(str(path))} [dim]({len(drawn.rows)} samples)[/]")
