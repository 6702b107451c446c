"""Optuna for each arm: settings that follow from the results so far."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kintsugi.sweep.config import Dimension
from kintsugi.sweep.ledger import Trial
from kintsugi.sweep.plan import Arm, Plan
from kintsugi.sweep.space import Setting, rounded

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study


class Studies:
    """One study for each arm, rebuilt from the trials of earlier runs, so that nothing but the ledger is kept.

    It minimises or maximises the sweep's metric; trials that were stopped count as pruned, at their last evaluation.
    """

    def __init__(self, plan: Plan, earlier: Iterable[Trial]) -> None:
        self.config = plan.sweep.config
        self.arms = plan.arms
        self.studies = {name: self._new_study(name) for name in plan.arms}
        self.asked: dict[str, Any] = {}
        for trial in earlier:
            self._remember(trial)

    def ask(self, arm: str, number: int, fixed: Setting | None = None) -> Setting:
        """The setting of the next trial of an arm; a `fixed` one is that of a trial that was interrupted."""
        study, distributions = self.studies[arm], _distributions(self.arms[arm])
        if fixed is not None:
            study.enqueue_trial(_inside(fixed, distributions))
        asked = study.ask(distributions)
        self.asked[f"{arm}/{number}"] = asked
        return fixed or {name: rounded(value) for name, value in asked.params.items()}

    def tell(self, trial: Trial) -> None:
        """How a trial ended."""
        from optuna.trial import TrialState

        asked = self.asked.pop(trial.name, None)
        if asked is None:
            return
        study = self.studies[trial.arm]
        for evaluated in trial.evaluations:
            asked.report(evaluated.figures[self.config.metric], evaluated.number)
        figure = trial.figure(self.config.metric)
        if trial.state == "finished" and figure is not None:
            study.tell(asked, figure)
        elif trial.state == "stopped":
            study.tell(asked, state=TrialState.PRUNED)
        else:
            study.tell(asked, state=TrialState.FAIL)

    def _new_study(self, arm: str) -> Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # A third of a small budget is drawn at random first; Optuna's own ten would leave nothing to learn from.
        startup = min(10, max(2, self.config.trials // 3))
        seed = zlib.crc32(f"{self.config.seed}:{arm}".encode())
        sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed, constant_liar=True)
        lower_is_better = self.config.mode == "min"
        return optuna.create_study(direction="minimize" if lower_is_better else "maximize", sampler=sampler)

    def _remember(self, trial: Trial) -> None:
        import optuna

        distributions = _distributions(self.arms[trial.arm])
        values = {evaluated.number: evaluated.figures[self.config.metric] for evaluated in trial.evaluations}
        if not values:
            return
        complete = trial.state == "finished"
        self.studies[trial.arm].add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
                params=_inside(trial.setting, distributions),
                distributions=distributions,
                value=trial.figure(self.config.metric) if complete else None,
                intermediate_values=values,
            )
        )


def _distributions(arm: Arm) -> dict[str, BaseDistribution]:
    return {name: _distribution(dimension) for name, dimension in arm.space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    low, high = dimension.log_uniform or dimension.uniform or (0.0, 0.0)
    return FloatDistribution(low, high, log=dimension.log_uniform is not None)


def _inside(setting: Setting, distributions: dict[str, BaseDistribution]) -> Setting:
    """A setting in its ranges, which rounding may have left by a hair."""
    limits = {name: (getattr(found, "low", value), getattr(found, "high", value))
              for (name, value), found in zip(setting.items(), distributions.values(), strict=True)}  # fmt: skip
    return {name: min(max(value, limits[name][0]), limits[name][1]) for name, value in setting.items()}
