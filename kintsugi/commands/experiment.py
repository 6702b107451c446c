"""Commands on an experiment file: run, plan, validate, status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from kintsugi.commands.options import RUNS, STORE, Config, DryRun, Runs, Set, StoreRoot
from kintsugi.endings import going_on
from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.store import Store


def run(config: Config, set_: Set = None, store: StoreRoot = STORE, runs: Runs = RUNS, dry_run: DryRun = False) -> None:
    """Make everything an experiment lacks, then show its results.

    What is in the store already is not made again. After Ctrl-C or a crash, the same command goes on where it stopped.
    """
    with going_on(Console()):
        graph = build(load(config, set_ or ()))
        if dry_run:
            show_plan(graph, store)
        else:
            make(graph, store, runs)


def make(graph: Graph, store: Path, runs: Path) -> None:
    """Make what a graph lacks, with progress on the terminal, then show its results."""
    from kintsugi.console import Screen
    from kintsugi.execute import Place, execute

    place = Place(Store(store.resolve()), runs.resolve())
    screen = Screen()
    execute(graph, place, screen)
    _show_results(place.run_directory(graph), screen.console)


def plan(config: Config, set_: Set = None, store: StoreRoot = STORE) -> None:
    """Show every node, its key, and whether it has to be made. Nothing runs."""
    show_plan(build(load(config, set_ or ())), store)


def show_plan(graph: Graph, store: Path) -> None:
    """Every node, its key, where it comes from, and whether it has to be made; what `--dry-run` shows.

    The graph was built, so keys, types and references are right, and the files that it names exist.
    """
    made = _manifests(graph, store)
    title = f"{graph.experiment.name}: plan"
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left", expand=True)
    for heading in ("", "node", "kind", "key"):
        table.add_column(heading, no_wrap=True)
    table.add_column("from", no_wrap=True, ratio=1)
    for node in graph.nodes.values():
        sources = ", ".join(f"{edge.node}.{edge.split}" if edge.split else edge.node for edge in node.inputs)
        state = "[green]✓[/]" if node.name in made else "[bold]·[/]"
        table.add_row(state, node.name, node.kind.name, f"[dim]{node.key[:8]}[/]", f"[dim]{escape(sources)}[/]")
    console = Console()
    console.print(table)
    missing = len(graph.nodes) - len(made)
    console.print(f"\n[green]✓[/] in the store   [bold]·[/] {missing} of {len(graph.nodes)} nodes to make.")


def validate(config: Config, set_: Set = None) -> None:
    """Check an experiment file: keys, types, references, cycles. Nothing runs."""
    graph = build(load(config, set_ or ()))
    Console().print(f"[green]✓[/] {config}: {len(graph.nodes)} nodes, no errors.", highlight=False)


def status(config: Config, set_: Set = None, store: StoreRoot = STORE) -> None:
    """Show what of an experiment is made: rows, seconds, and when."""
    graph = build(load(config, set_ or ()))
    made = _manifests(graph, store)
    table = Table(box=None, padding=(0, 2, 0, 0), title=f"{graph.experiment.name}: status", title_justify="left")
    for heading in ("", "node", "rows", "seconds", "made"):
        table.add_column(heading, justify="right" if heading in ("rows", "seconds") else "left", no_wrap=True)
    for node in graph.nodes.values():
        manifest = made.get(node.name)
        if manifest is None:
            table.add_row("·", node.name, "", "", "[bold]not yet[/]")
        else:
            rows = sum(count for name, count in manifest.rows.items() if name not in ("in", "rejected"))
            table.add_row("[green]✓[/]", node.name, f"{rows:,}", f"{manifest.wall_seconds:.1f}", manifest.created)
    Console().print(table)


def _manifests(graph: Graph, store: Path) -> dict[str, Any]:
    from kintsugi.execute import manifests

    return manifests(graph, Store(store.resolve()))


def _show_results(directory: Path, console: Console) -> None:
    """A comparison as its table, any other report as it is written."""
    from eval.report.terminal import table

    for path in sorted(directory.glob("*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        console.print()
        if "arms" in results:
            console.print(table(results))
            for note in results["notes"]:
                console.print(f"[dim]{escape(note)}[/]")
        else:
            console.print(Markdown(path.with_name("report.md").read_text(encoding="utf-8")))
        console.print(f"\nReport: {path.with_name('index.html')}", highlight=False)
