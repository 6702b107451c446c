"""`kintsugi compare`: finished runs in one table and one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from eval.nodes import CompareConfig
from kintsugi.commands.options import RUNS, STORE, Force, Runs, Seed, StoreRoot, setting
from kintsugi.outputs import refuse_to_replace, write_directory
from kintsugi.references import Artifact, find_artifact
from pipeline.contract import Source
from pipeline.failures import UserError, nearest

if TYPE_CHECKING:
    from eval.report.build import Comparison

RESULTS = "results.json"
COMPARE = "compare"
NODES = "nodes.json"
REPORT = "report"
"""The comparison that is meant where a run has several and only the run is named."""

Named = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN RUN...",
        help="Finished runs: names under runs/, their folders, or RUN:NODE where a run has several comparisons.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Directory for the report of all runs.")]
Resamples = Annotated[int, setting(CompareConfig, "resamples", "--resamples")]
Prompts = Annotated[int, setting(CompareConfig, "prompts", "--prompts")]


def compare(
    named: Named,
    output: Output = Path("comparison"),
    resamples: Resamples = 10_000,
    prompts: Prompts = 500,
    seed: Seed = 0,
    force: Force = False,
    store: StoreRoot = STORE,
    runs: Runs = RUNS,
) -> None:
    """Compare finished runs in one table and one page. Nothing is run again.

    The runs must have answered the same prompts, as does one experiment
    under two names:

        kintsugi run configs/recovery.yaml

        kintsugi run configs/recovery.yaml --set name=slow
        --set nodes.mended.learning_rate=3e-5

        kintsugi compare recovery slow -o recovery-and-slow

    Every arm gets its run's name in front, and its gap lies between its own
    run's floor and ceiling. What runs share, such as a reference that was
    made once, is one arm. Tests are paired by prompt, and Holm's correction
    counts every comparison made: a difference that held in one run alone
    may not hold here.

    The directory gets index.html, report.md, results.csv and results.json,
    which say the same.
    """
    from eval.report.across import Run, joined
    from eval.report.build import write_files
    from eval.report.terminal import table

    labels = labels_of(named)
    made = joined([Run(label, _comparison(name, store, runs)) for label, name in labels.items()])
    if not output.exists() or output.is_file():
        refuse_to_replace(output, force, RESULTS)
    config = CompareConfig(kind="compare", input=list(named), seed=seed, resamples=resamples, prompts=prompts)
    title = " and ".join(labels)
    write_directory(output, lambda draft: write_files(draft, title, made, config), force, RESULTS)
    console = Console(highlight=False, soft_wrap=True)
    results = json.loads((output / RESULTS).read_text(encoding="utf-8"))
    console.print(table(results))
    for note in results["notes"]:
        console.print(f"[dim]{escape(note)}[/]")
    console.print(f"\nReport: {escape(str(output / 'index.html'))}")


def labels_of(named: list[str]) -> dict[str, str]:
    """What each run is called in the report -> what was named: as short as tells them apart."""
    if len(set(named)) < 2 or len(set(named)) < len(named):
        hint = "Name at least two, each once: kintsugi compare RUN RUN."
        raise UserError("config", "there are not two different runs to compare.", " ".join(named), hint)
    short = {name: Path(name.partition(":")[0]).name or name for name in named}
    taken = list(short.values())
    return {short[name] if taken.count(short[name]) == 1 else name: name for name in named}


def _comparison(name: str, store: Path, runs: Path) -> Comparison:
    """The comparison that a name means, read anew from its scores."""
    from eval.report.build import compared

    artifact = _artifact(name, store, runs)
    inputs = artifact.manifest.inputs
    found = [
        Source(one.role, one.name, one.product, one.key, one.split, artifact.store.directory(one.product, one.key))
        for one in inputs
    ]
    for source in found:
        artifact.store.require(source.product, source.key)
    roles = {role: [source for source in found if source.role == role] for role in ("input", "verdicts", "forgetting")}
    config = artifact.manifest.config
    return compared(
        roles["input"],
        config.get("floor"),
        config.get("ceiling"),
        verdicts=roles["verdicts"],
        forgetting=roles["forgetting"],
    )


def _artifact(name: str, store: Path, runs: Path) -> Artifact:
    """The compare node of a run, or the one that is named."""
    folder = Path(name) if (Path(name) / NODES).is_file() else runs / name
    if (folder / NODES).is_file():
        name = f"{folder.name}:{_table_of(name, folder / NODES)}"
        runs = folder.parent
    elif ":" not in name and not Path(name).is_dir():
        known = sorted(path.parent.name for path in runs.glob(f"*/{NODES}"))
        hint = nearest(name, known) if known else "There are no runs yet: see kintsugi run."
        raise UserError("config", f"there is no run '{name}'.", str(runs), hint)
    artifact = find_artifact(name, store, runs)
    if artifact is None or artifact.manifest.kind != COMPARE:
        made = "" if artifact is None else artifact.manifest.product
        what = "this is no comparison." if made in ("", "tables") else f"this is one of the {made}."
        raise UserError("config", what, name, "Name a run, or a node of the kind compare: RUN:NODE.")
    return artifact


def _table_of(run: str, path: Path) -> str:
    """The one comparison of a run; the one called `report` where there are several."""
    nodes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    tables = [node for node, place in nodes.items() if place.startswith("tables/")]
    if len(tables) == 1:
        return tables[0]
    if REPORT in tables:
        return REPORT
    if not tables:
        hint = "Add a node of the kind compare to the experiment, and run it again: only that node is made."
        raise UserError("config", "the run has no comparison.", run, hint)
    raise UserError(
        "config", f"the run has {len(tables)} comparisons.", run, f"Name one of {run}:{f', {run}:'.join(tables)}."
    )
