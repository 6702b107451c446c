"""`kintsugi inspect`: what a corrupted data set holds, and how far its errors can be told apart."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from kintsugi.commands.options import RUNS, STORE, Force, Runs, StoreRoot
from kintsugi.commands.rows import Pager, Reference
from kintsugi.outputs import refuse_to_replace
from kintsugi.references import Dataset, find_artifact, find_dataset, rejects_of
from pipeline.failures import UserError

if TYPE_CHECKING:
    from kintsugi.inspection import Sheet

SUFFIXES = (".json", ".md")

Sample = Annotated[
    int, typer.Option("--sample", min=1, help="Rows that the recognisers look at, drawn by a hash of their ids.")
]
Files = Annotated[
    list[Path] | None, typer.Option("--output", "-o", help="Also write it: a .json or .md file. May be repeated.")
]


def inspect(
    dataset: Reference,
    sample: Sample = 300,
    output: Files = None,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Look at broken answers or pairs: types, levels, lengths; what recognisers find in them, and false alarms.

    The recognisers also look at good answers, as they are and rewritten so that they mean the same. Of a trained model:
    what became of its rows and their spans, which tokens carried weight, and how it does on held-out rows. Of verdicts
    how they came about, and of injections how often they swayed the judge.
    """
    from kintsugi.inspection import drawn, written
    from pipeline.store import write_text

    files = output or []
    for path in files:
        _check(path, force)
    report, sheets = _looked_at(dataset, sample, store, runs)
    console = Pager(highlight=False, soft_wrap=not sys.stdout.isatty())
    for part in drawn(sheets):
        console.print(part)
    for path in files:
        as_json = path.suffix == ".json"
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n" if as_json else written(dataset, sheets)
        write_text(path, text)
        Console(highlight=False, soft_wrap=True).print(f"\nWritten: {escape(str(path))}")


def _looked_at(reference: str, sample: int, store: Path, runs: Path) -> tuple[Any, list[Sheet]]:
    """What is found, as plain values and as tables."""
    from kintsugi.audited import audit_sheets
    from kintsugi.inspection import sheets
    from kintsugi.measured import measured_sheets
    from kintsugi.swayed import injection_sheets, verdict_sheets

    artifact = None if Path(reference).is_file() else find_artifact(reference, store, runs)
    if artifact is not None and artifact.manifest.product == "models":
        facts, found = artifact.manifest.facts, audit_sheets(artifact.manifest, reference)
        told = {name: facts[name] for name in ("audit", "evaluation") if name in facts}
        return told, [*found, *measured_sheets(artifact.manifest)]
    if artifact is not None and artifact.manifest.product in ("injections", "verdicts"):
        product = artifact.manifest.product
        drawn_up = injection_sheets if product == "injections" else verdict_sheets
        return {product: artifact.manifest.facts[product]}, drawn_up(artifact.manifest)
    report = _report(find_dataset(reference, store, runs), sample)
    return report, sheets(report)


def _check(path: Path, force: bool) -> None:
    if path.suffix not in SUFFIXES:
        raise UserError("config", f"the suffix '{path.suffix}' is not known.", str(path), "Name a .json or .md file.")
    refuse_to_replace(path, force)


def _report(found: Dataset, sample: int) -> Any:
    from pipeline.dataset_report import report_on
    from pipeline.records import CorruptionRecord, PreferenceRecord

    if found.record not in (CorruptionRecord, PreferenceRecord):
        what = f"these are {found.record.__name__} rows, without corrupted answers."
        raise UserError("data", what, found.name, "Name broken answers or pairs, such as recovery:broken.")
    artifact = found.artifact
    rejects = Counter(reject.reason for reject in rejects_of(artifact.directory)) if artifact else Counter()
    quotas = artifact.manifest.facts.get("types", {}) if artifact else {}
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("recognising", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        counts = dict(rejects.most_common())
        return report_on(found.name, found.rows(), rejects=counts, quotas=quotas, sample=sample, progress=tell)
