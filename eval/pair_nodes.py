"""The node kinds that collect preferences: pair, collected. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from eval.nodes import references
from pipeline.contract import NodeConfig, NodeKind, Reference, Work


class PairConfig(NodeConfig):
    """Turns judged samples of one model into preference pairs: the better answer to a prompt over the worse one."""

    kind: Literal["pair"]
    input: str = Field(
        description="Scores of a model's samples, or verdicts on every two of them (`versus` with `among: samples`)."
    )
    metric: str | None = Field(
        default=None,
        description="With scores: which one decides, the more the better, such as `passed` or `rubric/score`. With "
        "verdicts it is the share of meetings that a sample wins.",
    )
    choose: Literal["best-worst", "top-k", "all"] = Field(
        default="best-worst",
        description="`best-worst`: one pair of a prompt. `top-k`: the best over the worst, the second best over the "
        "second worst and so on. `all`: every two answers.",
    )
    k: int | None = Field(default=None, gt=0, description="top-k: pairs of a prompt at most.")
    margin: float = Field(
        default=0.0, ge=0, description="The least difference of a pair; ties are never pairs, whatever the margin."
    )
    chosen_at_least: float | None = Field(default=None, description="What the chosen answer must have.")
    rejected_at_most: float | None = Field(
        default=None,
        description="What the rejected answer may have, so that the worst of good answers is not taught to be bad.",
    )
    spans: Literal["none", "diff"] = Field(default="none", description="`diff`: mark where the two answers differ.")

    @model_validator(mode="after")
    def _k_of_top_k(self) -> Self:
        if (self.k is not None) != (self.choose == "top-k"):
            raise ValueError("k goes with choose: top-k, and that with it")
        return self


class Pair(NodeKind):
    """Preference pairs that know which model's samples they are; ties and what is not judged go to rejected/."""

    name = "pair"
    product = "rows"
    version = 1
    Config = PairConfig

    def inputs(self, config: PairConfig) -> list[Reference]:
        return [Reference("input", config.input, ("scores", "verdicts"))]

    def make(self, works: Sequence[Work]) -> None:
        from eval.collecting import make_pairs

        for work in works:
            make_pairs(work)


class CollectedConfig(NodeConfig):
    """Says what collected preferences were worth: pass rates by round, agreement of collectors, bias to length."""

    kind: Literal["collected"]
    pairs: list[str] | str = Field(description="The nodes of kind `pair`: one for each collector and round.")
    scores: list[str] | str = Field(
        description="Scores of the answers of the base and of all policies to prompts that no pair is about."
    )
    base: str = Field(description="The model with which the rounds began.")
    metric: str = Field(default="passed", description="The score by which models are compared.")
    verdicts: list[str] | str = Field(
        default=[],
        exclude_if=lambda value: not value,
        description="Verdicts on the same answers, for win rates and for whether the longer one wins.",
    )
    resamples: int = Field(default=10_000, gt=0, description="Bootstrap resamples of the differences and of kappa.")


class Collected(NodeKind):
    """results.json, results.csv, report.md and index.html."""

    name = "collected"
    product = "tables"
    version = 3
    Config = CollectedConfig
    named_inputs = True

    def inputs(self, config: CollectedConfig) -> list[Reference]:
        return [
            *references("pairs", config.pairs, "rows"),
            *references("scores", config.scores, "scores"),
            Reference("base", config.base, ("models",)),
            *references("verdicts", config.verdicts, "verdicts"),
        ]

    def make(self, works: Sequence[Work]) -> None:
        from eval.collected import write_collected

        for work in works:
            write_collected(work)
