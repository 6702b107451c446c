"""What Ray Tune asks while a sweep runs: which setting next, which trial to stop, and whom to tell."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from kintsugi.sweep.config import SweepConfig
from kintsugi.sweep.ledger import Evaluated, Ledger, Trial
from kintsugi.sweep.plan import Plan, Planned
from kintsugi.sweep.studies import Studies

REDUCTION = 2
"""At each rung the better half goes on. Three and more, usual for hundreds of trials, leave nothing of three."""


class OfThisProcess:
    """Tune pickles whatever it is given for a restore of its own. A rerun of ours starts from the ledger, so what
    holds the ledger is pickled without it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PlannedSearch(OfThisProcess, Searcher):
    """Hands out the planned trials in their order. Where the plan leaves a setting open, Optuna is asked."""

    def __init__(self, plan: Plan, ledger: Ledger, left: Sequence[Planned], studies: Studies | None) -> None:
        super().__init__()
        self.plan, self.ledger, self.studies = plan, ledger, studies
        self.left = deque(left)

    def suggest(self, trial_id: str) -> Any:
        if not self.left:
            return Searcher.FINISHED
        planned = self.left.popleft()
        earlier = self.ledger.trials.get(planned.name)
        setting = planned.setting
        if setting is None:
            assert self.studies is not None, "only Optuna leaves settings open"
            setting = self.studies.ask(planned.arm, planned.number, earlier.setting if earlier else None)
        key = self.plan.node_of(planned.arm, setting).key
        trial = Trial(planned.arm, planned.number, setting, key)
        if earlier is not None and earlier.key == key:
            trial = replace(trial, evaluations=earlier.evaluations)
        self.ledger.put(trial)
        return {"name": trial.name, "arm": trial.arm, "key": key, "setting": setting}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Studies hear of it from `Record`, which knows how it ended."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a rerun starts from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a rerun starts from the ledger")


class AshaPerArm(OfThisProcess, FIFOScheduler):
    """ASHA (Li et al. 2020, arXiv:1810.05934) for each arm alone: no arm is cut short because another does better.

    The last evaluation stops nobody: who has come that far is worth finishing.
    """

    def __init__(self, arms: Iterable[str], config: SweepConfig, earlier: Iterable[Trial]) -> None:
        super().__init__()
        self.halving = {
            arm: ASHAScheduler(
                time_attr="evaluation",
                metric=config.metric,
                mode=config.mode,
                grace_period=config.grace,
                max_t=config.evaluation.times - 1,
                reduction_factor=REDUCTION,
                stop_last_trials=False,
            )
            for arm in arms
        }
        for trial in earlier:
            self._replay(trial)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        self.halving[trial.config["arm"]].on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        return str(self.halving[trial.config["arm"]].on_trial_result(tune_controller, trial, result))

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        self.halving[trial.config["arm"]].on_trial_remove(tune_controller, trial)

    def _replay(self, trial: Trial) -> None:
        """Let a trial of an earlier run take its places on the rungs."""
        stand_in = TuneTrial("earlier", stub=True, trial_id=trial.name, config={"arm": trial.arm})
        self.on_trial_add(None, stand_in)
        for evaluated in trial.evaluations:
            self.on_trial_result(None, stand_in, {"evaluation": evaluated.number, **evaluated.figures})


class Record(OfThisProcess, Callback):
    """Writes what happens to the ledger. `made` says whether the store has a model, `ended` hears of each end."""

    def __init__(self, ledger: Ledger, made: Callable[[str], Path | None], ended: Callable[[Trial], None]) -> None:
        self.ledger, self.made, self.ended = ledger, made, ended
        self.started: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: TuneTrial, **info: Any) -> None:
        name = trial.config["name"]
        self.started[name] = time.monotonic()
        self.ledger.change(name, state="running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        if "evaluation" not in result:
            return
        figures = {name: result[name] for name in result if name.startswith("eval/")}
        found = Evaluated(result["step"], result["total"], result["evaluation"], figures)
        self.ledger.put(self.ledger.trials[trial.config["name"]].with_evaluation(found))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: TuneTrial, **info: Any) -> None:
        whole = self.made(trial.config["key"]) is not None
        self._end(trial, state="finished" if whole else "stopped")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: TuneTrial, **info: Any) -> None:
        self._end(trial, state="failed", reason=reason_of(trial.get_pickled_error()))

    def _end(self, trial: TuneTrial, **changes: Any) -> None:
        name = trial.config["name"]
        seconds = time.monotonic() - self.started.get(name, time.monotonic())
        self.ended(self.ledger.change(name, seconds=round(seconds, 1), **changes))


def reason_of(error: BaseException | None) -> str:
    """What went wrong, in a line: our own words where there are some under what Ray wrapped around them."""
    from kintsugi.execute import told_by_us

    told = told_by_us(error)
    if told is not None:
        return str(told)
    return f"{type(error).__name__}: {error}".strip().splitlines()[-1] if error else "the trial's process died"
