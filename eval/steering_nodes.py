"""The node kind that says whether control tokens steer. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.attributes.nodes import LABELLED
from pipeline.contract import NodeConfig, NodeKind, Reference, Work


class SteeringConfig(NodeConfig):
    """Says whether control tokens steer: misalignment with and without them, its test, and what it costs."""

    kind: Literal["steering"]
    input: list[str] | str = Field(
        description="Labelled answers of the models: those without tokens, and those with (`condition` of generate)."
    )
    neutral: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Labels of an attribute that contradict no other: `{sentiment: [neu]}`. The published score counts "
        "them as misaligned; a second one beside it does not.",
    )
    perplexity: list[str] | str = Field(
        default=[],
        description="Likelihoods of the models on held-out texts, with and without their tokens: what training on "
        "tokens costs.",
    )
    resamples: int = Field(default=10_000, gt=0, description="Bootstrap resamples of each interval.")


class Steering(NodeKind):
    """results.json, results.csv, report.md and index.html."""

    name = "steering"
    product = "tables"
    version = 3
    Config = SteeringConfig
    named_inputs = True

    def inputs(self, config: SteeringConfig) -> list[Reference]:
        return [
            *(Reference("input", name, (LABELLED,)) for name in _listed(config.input)),
            *(Reference("perplexity", name, ("scores",)) for name in _listed(config.perplexity)),
        ]

    def make(self, works: Sequence[Work]) -> None:
        from eval.report.steering_page import write_steering

        for work in works:
            write_steering(work)


def _listed(names: list[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else names
