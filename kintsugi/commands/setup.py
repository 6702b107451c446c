"""Commands for the first minutes: init writes an experiment to start from, doctor says what this machine can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kintsugi.commands.options import STORE, StoreRoot
from pipeline.failures import UserError

if TYPE_CHECKING:
    from kintsugi.doctor import Finding

Target = Annotated[Path, typer.Argument(help="The file to write, or the folder to write experiment.yaml into.")]
From = Annotated[
    Path | None, typer.Option("--from", help="Your own rows (.json, .jsonl, .jsonl.gz): the example fits them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Quick = Annotated[bool, typer.Option("--quick", help="Leave out what takes seconds: importing the libraries.")]


def init(target: Target = Path("experiment.yaml"), rows: From = None) -> None:
    """Write a commented example experiment. Nothing is ever overwritten."""
    from kintsugi.examples import write_example

    file = write_example(target, rows)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[green]✓[/] {escape(str(file))} is written. Read it: it says what each step does.")
    console.print(f"  Check it:  kintsugi run {escape(str(file))} --dry-run")
    console.print(f"  Make it:   kintsugi run {escape(str(file))}")


def doctor(store: StoreRoot = STORE, json: AsJson = False, quick: Quick = False) -> None:
    """Check compiler, memory, cores, versions, sandbox and GPU: what will work here and what will not.

    Exit code 0 where `kintsugi run` will work, 3 where it will not.
    """
    from kintsugi.doctor import FAIL, as_json, examine

    console = Console(highlight=False)
    with Console(stderr=True).status("looking at this machine"):
        findings = examine(store.resolve(), imports=not quick)
    if json:
        print(as_json(findings))
    else:
        console.print(_table(findings))
    failed = [finding.check for finding in findings if finding.verdict == FAIL]
    if failed:
        hint = "What to do stands in the last column." if not json else "The advice is in the JSON."
        raise UserError("environment", f"`kintsugi run` will not work here: {', '.join(failed)}.", "", hint)
    if not json:
        console.print("\n`kintsugi run` will work here.")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "check", "found", "advice"):
        table.add_column(heading, no_wrap=heading in ("", "check"))
    signs = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[bold red]✗[/]"}
    for finding in findings:
        sign, found, advice = signs[finding.verdict], escape(finding.found), escape(finding.advice)
        table.add_row(sign, finding.check, found, f"[dim]{advice}[/]")
    return table
