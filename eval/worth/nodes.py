"""The node kind that says what noise costs: worth. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.contract import NodeConfig, NodeKind, Reference, Work


class WorthConfig(NodeConfig):
    """Says what noise in pairs costs: accuracy by noise, rows and loss, and what a clean pair is worth."""

    kind: Literal["worth"]
    input: list[str] | str = Field(
        description="Scores of models that were trained on `noise` nodes or on clean pairs, and of the baseline."
    )
    baseline: str = Field(description="The model that all of them start from, before any pair.")
    metric: str = Field(
        default="passed",
        description="What is counted as right: `passed` of execution, or `choice/correct` of likelihood.",
    )
    resamples: int = Field(
        default=2_000, gt=0, description="Bootstrap resamples of prompts and training seeds, for the fit."
    )


class Worth(NodeKind):
    """results.json, results.csv, report.md and index.html."""

    name = "worth"
    product = "tables"
    version = 3
    Config = WorthConfig
    named_inputs = True

    def inputs(self, config: WorthConfig) -> list[Reference]:
        names = [config.input] if isinstance(config.input, str) else config.input
        scores = [Reference("input", name, ("scores",)) for name in names]
        return [*scores, Reference("baseline", config.baseline, ("models",))]

    def make(self, works: Sequence[Work]) -> None:
        from eval.worth.build import write_worth

        for work in works:
            write_worth(work)
