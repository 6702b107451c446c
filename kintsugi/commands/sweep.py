"""Commands on sweeps: sweep, dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from kintsugi.commands.options import RUNS, STORE, Runs, Set, StoreRoot

if TYPE_CHECKING:
    from kintsugi.sweep.config import Sweep
    from kintsugi.sweep.ledger import Trial

SweepFile = Annotated[Path, typer.Argument(help="The sweep file, such as configs/sweep.yaml.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan: nodes, arms, settings. Nothing runs.")]


def sweep(
    config: SweepFile, set_: Set = None, store: StoreRoot = STORE, runs: Runs = RUNS, dry_run: DryRun = False
) -> None:
    """Search the best learning rate and loss parameters of every arm, judged on validation rows.

    Trials that ended are not run again: after Ctrl-C or a crash, the same command goes on where it stopped.
    """
    from kintsugi.sweep.config import load_sweep

    loaded = load_sweep(config, set_ or ())
    if dry_run:
        _show_plan(loaded, store)
        return
    from kintsugi.console import Screen
    from kintsugi.execute import Place
    from kintsugi.sweep.run import BEST, PAGE, run_sweep
    from pipeline.store import Store

    place = Place(Store(store.resolve()), runs.resolve())
    screen = Screen()
    run = place.runs / loaded.config.name
    screen.console.print(f"[dim]Page: {run / PAGE}   TensorBoard: kintsugi dashboard {run}[/]", soft_wrap=True)
    try:
        best = run_sweep(loaded, place, screen)
    except KeyboardInterrupt:
        screen.console.print("\n[yellow]Stopped.[/] Trials that ended are kept: the same command goes on from here.")
        raise
    screen.console.print(_best_table(loaded, best))
    screen.console.print(
        f"\nPage: {run / PAGE}\nBest settings: {run / BEST}   (kintsugi run {run / BEST})", soft_wrap=True
    )


def _show_plan(loaded: Sweep, store: Path) -> None:
    from kintsugi.execute import manifests
    from kintsugi.sweep.ledger import Trial
    from kintsugi.sweep.plan import make_plan
    from kintsugi.sweep.run import describe
    from pipeline.store import Store

    plan = make_plan(loaded)
    config = loaded.config
    place = Store(store.resolve())
    made = manifests(plan.graph, place)
    console = Console(highlight=False)
    for node in plan.graph.nodes.values():
        state = "[dim]in the store[/]" if node.name in made else "[bold]to make[/]"
        console.print(f"{node.name:<24} {node.kind.name:<10} {state}")
    table = Table(
        box=None, padding=(0, 2, 0, 0), title=f"\n{config.name}: {len(plan.trials)} trials", title_justify="left"
    )
    for heading in ("trial", "setting", ""):
        table.add_column(heading, no_wrap=True)
    for trial in plan.trials:
        setting = describe(Trial(trial.arm, trial.number, trial.setting, "")) if trial.setting else "chosen by Optuna"
        known = trial.setting and place.manifest("models", plan.node_of(trial.arm, trial.setting).key)
        table.add_row(trial.name, setting, "[dim]in the store[/]" if known else "")
    console.print(table)
    console.print(
        f"\n{len(plan.arms)} arms, {config.trials} trials each, {config.search} search; scheduler {config.scheduler} "
        f"on {config.metric}; best by {config.judge} on {config.evaluation.data}."
    )


def _best_table(loaded: Sweep, best: dict[str, Trial]) -> Table:
    from kintsugi.sweep.run import describe

    metric = loaded.config.metric
    table = Table(
        box=None, padding=(0, 2, 0, 0), title=f"\n{loaded.config.name}: best of each arm", title_justify="left"
    )
    for heading in ("arm", "setting", "passed", metric, "trial"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("arm", "setting") else "right")
    for arm, trial in best.items():
        figure = trial.figure(metric)
        passed = "" if trial.pass_rate is None else f"{100 * trial.pass_rate:.1f}%"
        table.add_row(arm, describe(trial), passed, "" if figure is None else f"{figure:.4f}", str(trial.number))
    return table


def dashboard(
    path: Annotated[Path, typer.Argument(help="A run or sweep, or a folder of them.")] = RUNS,
    store: StoreRoot = STORE,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1; 0 takes a free one.")] = 6006,
) -> None:
    """Open TensorBoard on a run, a sweep, or all of them; sweeps with their HParams. Ctrl-C ends it."""
    from kintsugi.sweep.dashboard import serve

    with serve(path.resolve(), store.resolve(), port) as address:
        Console(highlight=False).print(
            f"TensorBoard: {address}   (Ctrl-C ends it; hyperparameters under HPARAMS)", soft_wrap=True
        )
        _wait()


def _wait() -> None:
    import signal

    try:
        signal.pause()
    except KeyboardInterrupt:
        return
