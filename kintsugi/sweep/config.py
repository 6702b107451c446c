"""The sweep file: which experiment, which arms, which settings, how many trials, and what judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kintsugi.experiment import Experiment, checked, experiment_of, load, read
from pipeline.failures import UserError

VALIDATION = "validation"
MODES: dict[str, Literal["min", "max"]] = {"eval/nll": "min", "eval/exact": "max"}
"""The figures that trials report while they train, and which way is better."""


def _is_none(value: Any) -> bool:
    """Parameters that came later: without them a sweep is what it was before, and goes on from its trials."""
    return value is None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dimension(_Part):
    """The values of one hyperparameter: a list to choose from, or a range."""

    choice: list[float] | None = Field(default=None, min_length=1, description="Values; a bare list means the same.")
    uniform: tuple[float, float] | None = Field(default=None, description="A range: [low, high].")
    log_uniform: tuple[float, float] | None = Field(default=None, description="A range, even in the logarithm.")

    @model_validator(mode="before")
    @classmethod
    def _list_is_choice(cls, value: Any) -> Any:
        return {"choice": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_way(self) -> Dimension:
        if sum(part is not None for part in (self.choice, self.uniform, self.log_uniform)) != 1:
            raise ValueError("give a list of values, {uniform: [low, high]} or {log_uniform: [low, high]}")
        low, high = self.uniform or self.log_uniform or (0.0, 1.0)
        if not low < high or (self.log_uniform and low <= 0):
            raise ValueError("a range is [low, high], above zero for log_uniform")
        return self


class Space(_Part):
    """The hyperparameters that are searched. Those that an arm's loss does not read are left out for that arm."""

    learning_rate: Dimension | None = Field(default=None, description="Peak learning rate.")
    beta: Dimension | None = Field(default=None, description="How closely the policy is held to the reference.")
    alpha: Dimension | None = Field(default=None, description="Weight of TDPO2's difference of KLs; tdpo2 alone.")
    label_smoothing: Dimension | None = Field(
        default=None, exclude_if=_is_none, description="Share of pairs taken to be the wrong way round; cdpo and rdpo."
    )
    gamma: Dimension | None = Field(default=None, exclude_if=_is_none, description="SimPO's margin; simpo alone.")
    sft_weight: Dimension | None = Field(
        default=None, exclude_if=_is_none, description="Weight of an SFT term; any preference loss."
    )

    def dimensions(self) -> dict[str, Dimension]:
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


class Arms(_Part):
    """Which node is tuned, and in which variants, each on its own."""

    node: str = Field(description="The `preference` or `sft` node of the experiment.")
    matrix: dict[str, list[Any]] | None = Field(
        default=None, description="Its variants, such as {loss: [dpo], mask: [granular]}; the node's own by default."
    )
    set: dict[str, Any] = Field(default_factory=dict, description="Fields of the node that all trials share.")


class EvaluationConfig(_Part):
    """What judges trials: validation rows, never test rows."""

    data: str = Field(description="Q&A rows of a split called `validation`, such as `qa.validation`.")
    limit: int | None = Field(default=None, gt=0, description="Rows taken; all by default.")
    times: int = Field(default=4, gt=0, description="Evaluations in the course of a trial, the last at its end.")
    max_tokens: int = Field(default=256, gt=0, description="Tokens of a generated answer at most.")


class SweepConfig(_Part):
    """A sweep file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Names the folder under runs/.")
    seed: int = Field(default=0, description="Seed of the search, and of the experiment where `nodes` are given here.")
    experiment: str | None = Field(default=None, description="The experiment file, from the folder of this file.")
    nodes: dict[str, dict[str, Any]] | None = Field(default=None, description="The experiment's nodes, in its place.")
    arms: Arms
    space: Space
    search: Literal["random", "grid", "optuna"] = Field(default="random", description="How settings are chosen.")
    trials: int = Field(gt=0, description="Trials for each arm: the budget, the same for all.")
    scheduler: Literal["asha", "none"] = Field(default="asha", description="Whether weak trials are stopped early.")
    grace: int = Field(default=2, gt=0, description="Evaluations that every trial gets before it may be stopped.")
    metric: Literal["eval/nll", "eval/exact"] = Field(
        default="eval/nll", description="The figure that decides on stopping, and between equal judgements."
    )
    judge: Literal["pass_rate", "metric"] = Field(
        default="pass_rate", description="What picks the best: validation prompts answered and tested, or the metric."
    )
    max_concurrent: int | None = Field(default=None, gt=0, description="Trials at a time; by default what fits.")
    seeds: list[int] = Field(default=[0], min_length=1, description="Seeds of best.yaml; trials train with the first.")
    evaluation: EvaluationConfig

    @property
    def mode(self) -> Literal["min", "max"]:
        return MODES[self.metric]

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        if (self.experiment is None) == (self.nodes is None):
            raise ValueError("give either experiment, the path of a file, or nodes")
        if not self.space.dimensions():
            raise ValueError("the space is empty: give learning_rate, beta or another parameter of the losses")
        if self.scheduler == "asha" and self.grace >= self.evaluation.times:
            raise ValueError("asha stops nobody: grace must be smaller than evaluation.times")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice")
        return self


@dataclass(frozen=True)
class Sweep:
    """A sweep as written, and the experiment it tunes. `draft` knows the lines of the sweep file."""

    config: SweepConfig
    experiment: Experiment
    draft: Experiment

    def refuse(self, what: str, hint: str, *path: str) -> UserError:
        """A config error on a key of the sweep file."""
        return UserError("config", what, self.draft.where(*path), hint)


def load_sweep(file: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep file. Overrides of `nodes...` go to the experiment, wherever it stands."""
    raw, _ = read(file)
    elsewhere = [item for item in overrides if item.startswith("nodes.") and "nodes" not in raw]
    value, draft = read(file, [item for item in overrides if item not in elsewhere])
    config = checked(SweepConfig, value, draft, ())
    if config.experiment is not None:
        return Sweep(config, load(file.parent / config.experiment, elsewhere), draft)
    head = {"name": config.name, "seed": config.seed, "nodes": config.nodes}
    return Sweep(config, experiment_of(head, draft), draft)
