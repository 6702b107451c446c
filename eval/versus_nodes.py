"""The node kind that sets answers against each other: versus. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from eval.nodes import judge_inputs, references
from eval.scorers.judge_config import Comparer, PairRM, ranker_fingerprint
from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.llm.nodes import writer_outside

RANKER = "pairrm.model"
"""The role of the node that gives the pair ranker."""


class VersusConfig(NodeConfig):
    """Sets every two models' answers to the same prompts against each other, or one model's samples, in both orders."""

    kind: Literal["versus"]
    input: list[str] | str = Field(description="The answers of two models or more; a name of several nodes means all.")
    among: Literal["models", "samples"] = Field(
        default="models",
        exclude_if=lambda value: value == "models",
        description="`samples`: every two answers of one model to a prompt, from which a node of kind `pair` makes "
        "preferences.",
    )
    by: Literal["judge", "pairrm"] = Field(
        description="`judge`: a language model; where its two orders disagree, it is a tie. `pairrm`: a DeBERTa-v3 "
        "pair ranker; the mean of its two orders decides."
    )
    judge: Comparer | None = Field(
        default=None, description="by judge: the model.", exclude_if=lambda value: value is None
    )
    pairrm: PairRM | None = Field(
        default=None,
        description="by pairrm: the model, the published one by default.",
        exclude_if=lambda value: value is None,
    )
    limit: int | None = Field(default=None, gt=0, description="Prompts taken, the first by id; all by default.")
    resources: Resources = Field(default=Resources(), description="For each ranker's actor, or the judge's engine.")

    @model_validator(mode="before")
    @classmethod
    def _published_by_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("by") == "pairrm":
            return {"pairrm": {}, **values}
        return values

    @model_validator(mode="after")
    def _one_section(self) -> Self:
        if self.by == "judge" and self.judge is None:
            raise ValueError("by judge needs a section judge: {by: {backend: ...}}")
        if (self.judge if self.by == "pairrm" else self.pairrm) is not None:
            raise ValueError(f"a section {'judge' if self.by == 'pairrm' else 'pairrm'} does not go with by: {self.by}")
        return self


class Versus(NodeKind):
    """A verdict for every two models' answers to a prompt; not judged is no tie."""

    name = "versus"
    product = "verdicts"
    version = 1
    Config = VersusConfig
    named_inputs = True

    def inputs(self, config: VersusConfig) -> list[Reference]:
        ranker = [Reference(RANKER, config.pairrm.model, ("models",), open=True)] if config.pairrm else []
        return [
            *references("input", config.input, "generations"),
            *judge_inputs(config.judge),
            *ranker,
        ]

    def outside(self, config: VersusConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.judge:
            return writer_outside(config.judge.by, self.name)
        if config.pairrm and RANKER not in inside:
            return {RANKER: ranker_fingerprint(config.pairrm.model, "pairrm")}
        return {}

    def make(self, works: Sequence[Work]) -> None:
        from eval.versus import compare_answers

        for work in works:
            compare_answers(work)
