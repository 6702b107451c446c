"""The node kinds that judge: generate, score, compare. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

from pydantic import Field

from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError, nearest


class GenerateConfig(NodeConfig):
    """Lets each model answer the prompts; one node for each model."""

    kind: Literal["generate"]
    models: list[str] | str = Field(description="The models that answer; a name of several nodes means all of them.")
    prompts: str = Field(description="The rows whose prompts are answered, such as `qa.test`.")
    limit: int | None = Field(default=None, gt=0, description="Prompts taken; all by default.")
    max_tokens: int = Field(default=256, gt=0, description="Tokens of an answer at most.")
    max_length: int = Field(default=512, gt=1, description="Tokens of prompt and answer together at most.")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling.")
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Precision of the engine.")
    resources: Resources = Field(default=Resources(), description="For the engine's actor; concurrency is its number.")


class Generate(NodeKind):
    """Answers from a vLLM engine that serves every model of one architecture in turn."""

    name = "generate"
    product = "generations"
    version = 2
    Config = GenerateConfig
    fan_out = "models"

    def inputs(self, config: GenerateConfig) -> list[Reference]:
        models = config.models if isinstance(config.models, list) else [config.models]
        return [
            *(Reference("models", model, ("models",)) for model in models),
            Reference("prompts", config.prompts, ("rows",)),
        ]

    def group(self, config: GenerateConfig) -> Hashable:
        return ("generate", config.max_length, config.dtype, config.resources.model_dump_json())

    def make(self, works: Sequence[Work]) -> None:
        from eval.generate import generate

        generate(works)


class ScoreConfig(NodeConfig):
    """Judges every answer by every scorer; one node for each set of answers."""

    kind: Literal["score"]
    input: str = Field(description="The generations to score; a name of several nodes means all of them.")
    scorers: list[str] = Field(
        min_length=1,
        description="`execution` runs the tests, `errors` recognises error types, `distance` measures how far an "
        "answer is from the good one.",
    )
    resources: Resources = Resources()


class Score(NodeKind):
    """Scores with an explanation each; unscored is not zero."""

    name = "score"
    product = "scores"
    version = 5
    Config = ScoreConfig
    fan_out = "input"

    def inputs(self, config: ScoreConfig) -> list[Reference]:
        return [Reference("input", config.input, ("generations",))]

    def outside(self, config: ScoreConfig, inside: frozenset[str]) -> dict[str, str]:
        from eval.scorers import SCORERS

        for name in config.scorers:
            if name not in SCORERS:
                raise UserError("config", f"there is no scorer '{name}'.", "scorers", nearest(name, list(SCORERS)))
        return {}

    def make(self, works: Sequence[Work]) -> None:
        from eval.scorers.stage import ScoreStage
        from pipeline.records import GenerationRecord, ScoredRecord
        from pipeline.runner import map_shards

        for work in works:
            config: ScoreConfig = work.config
            counts = map_shards(
                work,
                work.source("input").data,
                ScoreStage(tuple(config.scorers)),
                GenerationRecord,
                ScoredRecord.SCHEMA,
                resources=config.resources,
            )
            work.commit(rows=counts.as_rows(), facts=counts.as_facts())


class CompareConfig(NodeConfig):
    """Says which arm mended best: a table with intervals as JSON and Markdown, and a page with plots and answers."""

    kind: Literal["compare"]
    input: list[str] | str = Field(description="The scores to compare.")
    floor: str | None = Field(default=None, description="The corrupted model: where the gap begins.")
    ceiling: str | None = Field(default=None, description="The reference model: where the gap ends.")
    resamples: int = Field(default=10_000, gt=0, description="Bootstrap resamples of the paired differences.")
    prompts: int = Field(default=500, ge=0, description="Prompts that index.html shows with all answers, at most.")


class Compare(NodeKind):
    """results.json, report.md and index.html."""

    name = "compare"
    product = "tables"
    version = 5
    Config = CompareConfig
    named_inputs = True

    def inputs(self, config: CompareConfig) -> list[Reference]:
        scores = config.input if isinstance(config.input, list) else [config.input]
        ends = {"floor": config.floor, "ceiling": config.ceiling}
        return [
            *(Reference("input", score, ("scores",)) for score in scores),
            *(Reference(role, model, ("models",)) for role, model in ends.items() if model is not None),
        ]

    def make(self, works: Sequence[Work]) -> None:
        from eval.report.build import write_report

        for work in works:
            write_report(work)
