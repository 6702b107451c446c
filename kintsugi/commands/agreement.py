"""`kintsugi compare-spans`: how far two annotations of the same pairs agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kintsugi.commands.options import RUNS, STORE, Runs, StoreRoot
from kintsugi.references import find_dataset, find_model
from kintsugi.visible import shown
from pipeline.failures import UserError

FIGURES = ("precision", "recall", "f1")

Reference = Annotated[
    str,
    typer.Argument(
        metavar="REFERENCE", help="The annotation to hold against: RUN:NODE, or a file.", show_default=False
    ),
]
Measured = Annotated[
    str, typer.Argument(metavar="MEASURED", help="The annotation to measure, of the same pairs.", show_default=False)
]
TokenizerOf = Annotated[
    str | None, typer.Option("--tokenizer", help="A model, or a directory with its tokenizer: count its tokens too.")
]
Common = Annotated[bool, typer.Option("--common", help="Leave out pairs that only one of them has.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def compare_spans(
    reference: Reference,
    measured: Measured,
    tokenizer: TokenizerOf = None,
    common: Common = False,
    as_json: AsJson = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Measure one annotation against another: precision, recall and F1 of their spans, per side and error type.

    Micro counts characters (or tokens) over all pairs, macro is the mean over pairs. An empty span counts as the
    character that it stands before.
    """
    from pipeline.span_meter import Selector, characters, compared, joined, tokens_of

    sides = _pairs(reference, store, runs), _pairs(measured, store, runs)
    try:
        pairs = joined(sides[0], sides[1], common)
    except UserError as error:
        raise UserError(error.kind, error.what, f"{reference} and {measured}", error.hint) from None
    units: dict[str, Selector] = {"characters": characters}
    if tokenizer is not None:
        units["tokens"] = tokens_of(_tokenizer(tokenizer, store, runs))
    found = {unit: compared(pairs, select) for unit, select in units.items()}
    if as_json:
        counts = {"reference": len(sides[0]), "measured": len(sides[1]), "compared": len(pairs)}
        typer.echo(json.dumps({"pairs": counts, **{unit: value.to_json() for unit, value in found.items()}}, indent=2))
        return
    console = Console(highlight=False)
    for unit, value in found.items():
        console.print(_table(unit, value))
        console.print()
    left = len(sides[0]) + len(sides[1]) - 2 * len(pairs)
    kept = f"{len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'}"
    console.print(kept + (f", {left} left out that only one annotation has" if left else ""), style="dim")


def _table(unit: str, comparison: Any) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title=unit, title_justify="left", title_style="bold")
    for heading in ("", "precision", "recall", "F1", "mean F1", "same place", "in both", "extra", "missed"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for side, figures in comparison.sides.items():
        table.add_row(side, *_cells(figures, ""))
    table.add_section()
    for name, figures in comparison.types.items():
        table.add_row(shown(name), *_cells(figures, _percent(comparison.found[name])))
    return table


def _cells(figures: Any, found: str) -> list[str]:
    micro = figures.micro
    shares = [_percent(getattr(micro, figure)) for figure in FIGURES]
    counts = [f"{count:,}" for count in (micro.both, micro.extra, micro.missed)]
    return [*shares, _percent(figures.macro("f1")), found, *counts]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _pairs(name: str, store: Path, runs: Path) -> list[Any]:
    """The pairs of a data set; broken answers become pairs by their edits."""
    from pipeline.records import CorruptionRecord, PreferenceRecord
    from pipeline.stages.annotate import annotate

    found = find_dataset(name, store, runs)
    if found.record not in (CorruptionRecord, PreferenceRecord):
        raise UserError(
            "data", "these rows are no pairs of answers.", name, "Name pairs with spans: kintsugi annotate."
        )
    return [annotate(row) if isinstance(row, CorruptionRecord) else row for row in found.rows()]


def _tokenizer(name: str, store: Path, runs: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(find_model(name, store, runs), trust_remote_code=False)
    except (OSError, ValueError) as error:
        what = f"there is no tokenizer that can be read: {str(error).splitlines()[0]}"
        raise UserError("config", what, f"--tokenizer {name}", "Name a directory with a tokenizer.json.") from None
