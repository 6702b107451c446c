"""What is known of every trial, in one file that survives the driver. Only the driver writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kintsugi.sweep.space import Setting
from pipeline.store import write_json

State = Literal["waiting", "running", "stopped", "finished", "failed"]
ENDED = ("stopped", "finished")
"""States that a rerun leaves alone. What failed is tried again."""


@dataclass(frozen=True)
class Evaluated:
    """The figures of one evaluation in the course of a trial."""

    step: int
    total: int
    number: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One trial: its setting, the model's key, how it ended, and what was measured on validation rows."""

    arm: str
    number: int
    setting: Setting
    key: str
    state: State = "waiting"
    evaluations: tuple[Evaluated, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    passed: int | None = None
    judged: int | None = None

    @property
    def name(self) -> str:
        return f"{self.arm}/{self.number}"

    @property
    def pass_rate(self) -> float | None:
        return self.passed / self.judged if self.judged and self.passed is not None else None

    def figure(self, metric: str) -> float | None:
        """The metric at the last evaluation: where a trial ended, not where it was best."""
        return self.evaluations[-1].figures.get(metric) if self.evaluations else None

    def with_evaluation(self, found: Evaluated) -> Trial:
        """With one more evaluation; one at the same step is replaced, for a trial that went on does it again."""
        kept = [evaluated for evaluated in self.evaluations if evaluated.step < found.step]
        return replace(self, evaluations=(*kept, found))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Trial:
        return cls(**{**value, "evaluations": tuple(Evaluated(**item) for item in value["evaluations"])})


@dataclass
class Ledger:
    """The trials of a sweep by name. Every change is written at once, then told to `on_change`."""

    path: Path
    fingerprint: str
    trials: dict[str, Trial] = field(default_factory=dict)
    on_change: Callable[[Trial], None] = lambda trial: None

    @classmethod
    def open(cls, path: Path, fingerprint: str, planned: Collection[str]) -> Ledger:
        """The ledger of an earlier run, or an empty one where there is none that can be compared with.

        What ran when the driver died waits again, with its setting and its curve so far. Trials that are not
        `planned` any more, since fewer were asked for, are left out.
        """
        ledger = cls(path, fingerprint)
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            trials = [Trial.from_json(item) for item in saved["trials"]]
        except (OSError, ValueError, TypeError, KeyError):
            return ledger
        if saved["fingerprint"] == fingerprint:
            for trial in (trial for trial in trials if trial.name in planned):
                state: State = "waiting" if trial.state == "running" else trial.state
                ledger.trials[trial.name] = replace(trial, state=state)
        return ledger

    def put(self, trial: Trial) -> None:
        self.trials[trial.name] = trial
        value = {"fingerprint": self.fingerprint, "trials": [asdict(item) for item in self.trials.values()]}
        write_json(self.path, value)
        self.on_change(trial)

    def change(self, name: str, **changes: Any) -> Trial:
        self.put(changed := replace(self.trials[name], **changes))
        return changed

    def interrupt(self) -> None:
        """What runs is cut off, and waits for the next run."""
        for trial in list(self.trials.values()):
            if trial.state == "running":
                self.change(trial.name, state="waiting")

    def ended(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.state in ENDED]

    def finished(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.state == "finished"]


def evaluations_in(metrics: Path) -> Iterator[Evaluated]:
    """The evaluations in a model's own metrics file; none where it was trained without."""
    number = 0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        figures = json.loads(line)
        found = {name: value for name, value in figures.items() if name.startswith("eval/")}
        if found:
            number += 1
            yield Evaluated(figures["step"], figures["total"], number, found)
