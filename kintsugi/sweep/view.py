"""What the page of a sweep shows, as plain values: every trial, and the best of each arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kintsugi.sweep.config import Dimension
from kintsugi.sweep.judge import best_of
from kintsugi.sweep.ledger import Ledger, Trial
from kintsugi.sweep.plan import Plan


@dataclass(frozen=True)
class View:
    """A sweep at one moment. `starts` holds the pass rates of the models that trials start from."""

    name: str
    metric: str
    mode: str
    data: str
    judge: str
    search: str
    spaces: dict[str, dict[str, Dimension]]
    trials: list[Trial]
    best: dict[str, Trial]
    starts: dict[str, float] = field(default_factory=dict)
    over: bool = False

    @property
    def ended(self) -> int:
        return sum(trial.state in ("stopped", "finished", "failed") for trial in self.trials)

    @property
    def dimensions(self) -> list[str]:
        """The searched hyperparameters, in the order of the file."""
        return list(dict.fromkeys(name for space in self.spaces.values() for name in space))


def view_of(plan: Plan, ledger: Ledger, starts: Mapping[str, float], *, over: bool) -> View:
    """The sweep as it stands; planned trials without a record wait."""
    config = plan.sweep.config
    waiting = {trial.name: Trial(trial.arm, trial.number, trial.setting or {}, "") for trial in plan.trials}
    trials = [ledger.trials.get(name, trial) for name, trial in waiting.items()]
    arms = list(plan.arms)
    return View(
        name=config.name,
        metric=config.metric,
        mode=config.mode,
        data=config.evaluation.data,
        judge=config.judge,
        search=config.search,
        spaces={arm.name: arm.space for arm in plan.arms.values()},
        trials=sorted(trials, key=lambda trial: (arms.index(trial.arm), trial.number)),
        best=best_by_arm(plan, trials) if over else {},
        starts=dict(starts),
        over=over,
    )


def best_by_arm(plan: Plan, trials: list[Trial]) -> dict[str, Trial]:
    """The best finished trial of every arm that has one."""
    config = plan.sweep.config
    found = {
        arm: best_of([trial for trial in trials if trial.arm == arm], config.metric, config.mode) for arm in plan.arms
    }
    return {arm: trial for arm, trial in found.items() if trial is not None}
