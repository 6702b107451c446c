"""A sweep from its file to best.yaml: what trials share, the trials, their judgement, and the page all along."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.markup import escape

from kintsugi.console import NAME_WIDTH, Screen, captured
from kintsugi.execute import Place, disconnect, execute
from kintsugi.sweep.best import best_experiment
from kintsugi.sweep.board import BOARD, Board
from kintsugi.sweep.charts import short
from kintsugi.sweep.config import Sweep
from kintsugi.sweep.judge import judged, start_keys
from kintsugi.sweep.ledger import ENDED, Ledger, Trial, evaluations_in
from kintsugi.sweep.page import state_of, write_page
from kintsugi.sweep.plan import Plan, Planned, make_plan
from kintsugi.sweep.view import best_by_arm, view_of
from pipeline.failures import UserError
from pipeline.store import Manifest, lease, read_manifest, write_text
from training.metrics_log import METRICS

PAGE, BEST, LEDGER = "index.html", "best.yaml", "trials.json"


class QuietScreen(Screen):
    """Judging makes two nodes for each model: bars while it goes on, but no line for each."""

    def reused(self, name: str, unmet: str = "") -> None:
        """Nothing."""

    def finish(self, name: str) -> None:
        """Take the bar away."""
        if name not in self._finished:
            self._finished.add(name)
            self._progress.remove_task(self._task(name))


@dataclass
class Publisher:
    """Keeps page and TensorBoard files up with the ledger."""

    plan: Plan
    ledger: Ledger
    run: Path
    board: Board
    starts: dict[str, float] = field(default_factory=dict)

    def changed(self, trial: Trial) -> None:
        self.board.show(trial)
        self.page()

    def page(self, *, over: bool = False) -> None:
        write_page(self.run / PAGE, view_of(self.plan, self.ledger, self.starts, over=over))


def run_sweep(sweep: Sweep, place: Place, screen: Screen) -> dict[str, Trial]:
    """Make what trials share, run those that are left, judge them, and write best.yaml. Gives the best by arm."""
    plan = make_plan(sweep)
    run = place.runs / sweep.config.name
    with lease(run / ".sweep.lock", lambda: screen.waiting(sweep.config.name)):
        execute(plan.graph, place, screen)
        ledger = Ledger.open(run / LEDGER, plan.fingerprint(), {trial.name for trial in plan.trials})
        publisher = _publisher(plan, ledger, run)
        _adopt(plan, ledger, place)
        publisher.page()
        _run_trials(plan, ledger, place, screen, run)
        _judge(plan, ledger, publisher, place, screen)
        best = best_by_arm(plan, list(ledger.trials.values()))
        publisher.page(over=True)
        if not best:
            raise UserError("run", "no trial finished.", str(run / LEDGER), "Its reasons are there and in logs/.")
        write_text(run / BEST, best_experiment(plan, best))
        return best


def left_over(plan: Plan, ledger: Ledger) -> list[Planned]:
    """The planned trials that did not end yet."""
    return [trial for trial in plan.trials if not _ended(ledger, trial)]


def _ended(ledger: Ledger, planned: Planned) -> bool:
    trial = ledger.trials.get(planned.name)
    return trial is not None and trial.state in ENDED


def _publisher(plan: Plan, ledger: Ledger, run: Path) -> Publisher:
    dimensions = list(plan.sweep.config.space.dimensions())
    board = Board(run / BOARD, dimensions, list(plan.arms), plan.sweep.config.metric)
    publisher = Publisher(plan, ledger, run, board)
    for trial in ledger.trials.values():
        board.show(trial)
    ledger.on_change = publisher.changed
    return publisher


def _adopt(plan: Plan, ledger: Ledger, place: Place) -> None:
    """Take trials as finished whose models are in the store already; those whose models are gone must run again."""
    for trial in ledger.finished():
        if place.store.manifest("models", trial.key) is None:
            ledger.change(trial.name, state="waiting")
    for planned in plan.trials:
        earlier = ledger.trials.get(planned.name)
        setting = planned.setting or (earlier.setting if earlier else None)
        if setting is None or _ended(ledger, planned):
            continue
        key = plan.node_of(planned.arm, setting).key
        directory = place.store.directory("models", key)
        if manifest := read_manifest(directory):
            evaluations = tuple(evaluations_in(directory / METRICS)) if _as_asked(plan, place, manifest) else ()
            seconds = manifest.facts.get("train_seconds", 0.0)
            ledger.put(Trial(planned.arm, planned.number, setting, key, "finished", evaluations, seconds=seconds))


def _as_asked(plan: Plan, place: Place, manifest: Manifest) -> bool:
    """Whether a model was measured as in this sweep: an experiment may have trained it, and looked at other rows."""
    from kintsugi.sweep.tuning import evaluation_of

    asked: bool = manifest.facts.get("evaluation", {}).get("asked") == evaluation_of(plan, place.store).asked()
    return asked


def _run_trials(plan: Plan, ledger: Ledger, place: Place, screen: Screen, run: Path) -> None:
    left = left_over(plan, ledger)
    for trial in ledger.ended():
        screen.reused(trial.name)
    if not left:
        return
    from kintsugi.sweep.tuning import tune_trials

    log = run / "logs" / "trials.log"
    total = len(left)
    done = 0

    def ended(trial: Trial) -> None:
        nonlocal done
        done += 1
        show(trial, plan.sweep.config.metric, screen)
        screen.progress_of("trials")(done, total, "trials")

    try:
        with screen.making(["trials"], log):
            screen.progress_of("trials")(0, total, "trials")
            tune_trials(plan, ledger, left, place.store, run, ended)
    finally:
        ledger.interrupt()
        with captured(log):
            disconnect()
    _refuse_unended(plan, ledger, log)


def _refuse_unended(plan: Plan, ledger: Ledger, log: Path) -> None:
    open_ = [trial.name for trial in plan.trials if ledger.trials[trial.name].state not in (*ENDED, "failed")]
    if open_:
        raise UserError(
            "run", f"{len(open_)} trials did not end, {open_[0]} among them.", str(log), "The log says why."
        )


def _judge(plan: Plan, ledger: Ledger, publisher: Publisher, place: Place, screen: Screen) -> None:
    """Pass rates of the finished trials and of what they start from."""
    finished = ledger.finished()
    if plan.sweep.config.judge != "pass_rate" or not finished:
        return
    started = time.monotonic()
    counts = judged(plan, finished, place, QuietScreen())
    publisher.starts |= {name: counts[key][0] / counts[key][1] for name, key in start_keys(plan).items()}
    for trial in finished:
        passed, answers = counts[trial.key]
        ledger.put(replace(trial, passed=passed, judged=answers))
    amount, seconds = f"{len(counts)} models", time.monotonic() - started
    screen.console.print(f"[green]✓[/] {'validation answers':<{NAME_WIDTH}} [dim]{amount:>16} {seconds:8.1f} s[/]")


def describe(trial: Trial) -> str:
    """A setting in one line."""
    return "  ".join(f"{name.replace('learning_rate', 'lr')} {short(value)}" for name, value in trial.setting.items())


def show(trial: Trial, metric: str, screen: Screen) -> None:
    """One line for a trial that ended."""
    sign = {"finished": "[green]✓[/]", "stopped": "[yellow]■[/]"}.get(trial.state, "[red]✗[/]")
    figure = trial.figure(metric)
    told = f"{metric} {figure:.4f}" if figure is not None else ""
    screen.console.print(
        f"{sign} {trial.name:<{NAME_WIDTH}} [dim]{describe(trial)}[/]  {told}  "
        f"[dim]{state_of(trial)}, {trial.seconds:.0f} s[/]" + (f" {escape(trial.reason)}" if trial.reason else ""),
        soft_wrap=True,
    )
