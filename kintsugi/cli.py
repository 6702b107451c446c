"""The command line: run, plan, validate, status."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.failures import UserError
from pipeline.store import Store

INTERRUPTED = 130

app = typer.Typer(
    help="Break a language model on purpose, mark where its answers crack, and mend it.\n\n"
    "An experiment is a YAML file of named nodes. Start with: kintsugi run configs/recovery.yaml",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[Path, typer.Argument(help="The experiment file, such as configs/recovery.yaml.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set nodes.qa.rows=500. May be repeated."),
]
StoreRoot = Annotated[Path, typer.Option("--store", help="Where artifacts are kept.", envvar="KINTSUGI_STORE")]
Runs = Annotated[Path, typer.Option("--runs", help="Where names, logs and reports are kept.", envvar="KINTSUGI_RUNS")]


@app.command()
def run(config: Config, set_: Set = None, store: StoreRoot = Path("store"), runs: Runs = Path("runs")) -> None:
    """Make everything an experiment lacks, then show its results.

    What is in the store already is not made again. After Ctrl-C or a crash, the same command goes on where it stopped.
    """
    from kintsugi.console import Screen
    from kintsugi.execute import Place, execute

    graph = build(load(config, set_ or ()))
    place = Place(Store(store.resolve()), runs.resolve())
    screen = Screen()
    try:
        execute(graph, place, screen)
    except KeyboardInterrupt:
        screen.console.print("\n[yellow]Stopped.[/] What was made is kept: the same command goes on from here.")
        raise
    _show_results(graph, place.run_directory(graph), screen.console)


@app.command()
def plan(config: Config, set_: Set = None, store: StoreRoot = Path("store")) -> None:
    """Show every node, its key, and whether it has to be made. Nothing runs."""
    graph = build(load(config, set_ or ()))
    made = _manifests(graph, store)
    table = Table(box=None, padding=(0, 2, 0, 0), title=f"{graph.experiment.name}: plan", title_justify="left")
    for heading in ("node", "kind", "key", "from", ""):
        table.add_column(heading, no_wrap=heading != "from")
    for node in graph.nodes.values():
        sources = ", ".join(f"{edge.node}.{edge.split}" if edge.split else edge.node for edge in node.inputs)
        state = "[dim]in the store[/]" if node.name in made else "[bold]to make[/]"
        table.add_row(node.name, node.kind.name, f"[dim]{node.key[:10]}[/]", f"[dim]{escape(sources)}[/]", state)
    console = Console()
    console.print(table)
    console.print(f"\n{len(graph.nodes) - len(made)} of {len(graph.nodes)} nodes to make.")


@app.command()
def validate(config: Config, set_: Set = None) -> None:
    """Check an experiment file: keys, types, references, cycles. Nothing runs."""
    graph = build(load(config, set_ or ()))
    Console().print(f"[green]✓[/] {config}: {len(graph.nodes)} nodes, no errors.", highlight=False)


@app.command()
def status(config: Config, set_: Set = None, store: StoreRoot = Path("store")) -> None:
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


def _show_results(graph: Graph, directory: Path, console: Console) -> None:
    import json

    for path in sorted(directory.glob("*/results.json")):
        from eval.report.terminal import table

        results = json.loads(path.read_text(encoding="utf-8"))
        console.print()
        console.print(table(results))
        for note in results["notes"]:
            console.print(f"[dim]{escape(note)}[/]")
        console.print(f"\nReport: {path.with_name('report.md')}", highlight=False)


def main() -> None:
    """Run the command line. Errors for users are a line or two; the exit code says their kind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except UserError as error:
        console.print(f"[bold red]error:[/] {escape(f'{error.where}: ' if error.where else '')}{escape(error.what)}")
        if error.hint:
            console.print(f"  [dim]{escape(error.hint)}[/]")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
