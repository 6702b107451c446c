"""The node kinds that judge: generate, likelihood, score, compare. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eval.scorers.judge_config import Comparer, Judge, Rubric
from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError, nearest
from pipeline.llm.nodes import refuse_unknown_types, writer_inputs, writer_outside

JUDGE = "judge"
"""The scorer that is a model."""
RUBRIC = "rubric"
"""The scorer that is a model with grades."""
JUDGE_MODEL, RUBRIC_MODEL = "judge.by.model", "rubric.by.model"
"""The role of the node whose model judges."""


class EngineConfig(NodeConfig):
    """What all nodes say that let models of a fan-out work in vLLM engines."""

    models: list[str] | str = Field(description="The models; a name of several nodes means all of them.")
    limit: int | None = Field(default=None, gt=0, description="Rows taken; all by default.")
    max_length: int = Field(default=512, gt=1, description="Tokens of prompt and answer together at most.")
    chat: bool = Field(
        default=True,
        exclude_if=lambda value: value,
        description="Put prompts into the model's chat template, where it has one; `false` takes them as they are.",
    )
    dtype: Literal["fp32", "bf16"] = Field(default="fp32", description="Precision of the engine.")
    resources: Resources = Field(
        default=Resources(),
        description="For each engine: more than one of `gpus` is tensor-parallel, a part of one shares it. "
        "`concurrency` is how many engines there are.",
    )

    @property
    def bans_repeats(self) -> bool:
        """Whether the engine must be one that can ban repeated n-grams."""
        return False

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.resources.gpus > 1 and not self.resources.gpus.is_integer():
            raise ValueError("an engine takes a part of one GPU, or whole GPUs")
        return self


class GenerateConfig(EngineConfig):
    """Lets each model answer the prompts, once or several times; one node for each model."""

    kind: Literal["generate"]
    prompts: str = Field(description="The rows whose prompts are answered, such as `qa.test`.")
    condition: list[str] | None = Field(
        default=None,
        min_length=1,
        exclude_if=lambda value: value is None,
        description="Labels whose control tokens stand before each prompt, as in training: `[clean, explained]`.",
    )
    opening: int = Field(
        default=0,
        ge=0,
        exclude_if=lambda value: value == 0,
        description="How many of the first words of a row's answer are given; they count as prompt, not as answer.",
    )
    max_tokens: int = Field(default=256, gt=0, description="Tokens of an answer at most.")
    samples: int = Field(
        default=1,
        gt=0,
        exclude_if=lambda value: value == 1,
        description="Answers to each prompt, told apart by `sample`. More than one want a temperature.",
    )
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling.")
    top_k: int = Field(
        default=0, ge=0, exclude_if=lambda value: value == 0, description="Draw from the likeliest tokens; 0 from all."
    )
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        exclude_if=lambda value: value == 0,
        description="Draw from tokens of at least this share of the likeliest one's probability.",
    )
    repetition_penalty: float = Field(
        default=1.0,
        gt=0,
        exclude_if=lambda value: value == 1,
        description="Above 1, tokens of prompt and answer come up again less often.",
    )
    presence_penalty: float = Field(
        default=0.0,
        ge=-2,
        le=2,
        exclude_if=lambda value: value == 0,
        description="Taken from the logit of every token that the answer has.",
    )
    frequency_penalty: float = Field(
        default=0.0,
        ge=-2,
        le=2,
        exclude_if=lambda value: value == 0,
        description="Taken from a token's logit for each time that the answer has it.",
    )
    no_repeat_ngram: int = Field(
        default=0,
        ge=0,
        exclude_if=lambda value: value == 0,
        description="No n-gram of so many tokens comes up twice in prompt and answer together; 0 bans none.",
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[],
        exclude_if=lambda value: not value,
        description="An answer ends before the first of these strings.",
    )

    @property
    def bans_repeats(self) -> bool:
        return self.no_repeat_ngram > 0

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("greedy samples of a prompt are all the same: set a temperature with `samples`")
        return self


class Generate(NodeKind):
    """Answers from vLLM engines that serve every model of one architecture in turn."""

    name = "generate"
    product = "generations"
    version = 3
    Config = GenerateConfig
    fan_out = "models"

    def inputs(self, config: GenerateConfig) -> list[Reference]:
        return [*_models(config), Reference("prompts", config.prompts, ("rows",))]

    def group(self, config: GenerateConfig) -> Hashable:
        engine = config.max_length, config.dtype, config.resources.model_dump_json()
        return ("generate", *engine, config.bans_repeats)

    def make(self, works: Sequence[Work]) -> None:
        from eval.generate import generate

        generate(works)


class LikelihoodConfig(EngineConfig):
    """How likely each model finds the answers of rows, good ones and bad ones; one node for each model."""

    kind: Literal["likelihood"]
    rows: str = Field(
        description="Rows with a good answer, such as `qa.test`, or a broken one too; pairs; answers to choose from."
    )
    space: bool = Field(
        default=True,
        exclude_if=lambda value: value,
        description="After a plain prompt an answer to choose from begins with a space, as in lm-evaluation-harness; "
        "`false` takes it as it stands, as training does.",
    )


class Likelihood(NodeKind):
    """Log-probability and perplexity of given answers, from vLLM engines."""

    name = "likelihood"
    product = "scores"
    version = 2
    Config = LikelihoodConfig
    fan_out = "models"

    def inputs(self, config: LikelihoodConfig) -> list[Reference]:
        return [*_models(config), Reference("rows", config.rows, ("rows",))]

    def group(self, config: LikelihoodConfig) -> Hashable:
        return ("likelihood", config.max_length, config.dtype, config.resources.model_dump_json())

    def make(self, works: Sequence[Work]) -> None:
        from eval.likelihood import likelihood

        likelihood(works)


def _models(config: EngineConfig) -> list[Reference]:
    return references("models", config.models, "models")


def references(role: str, names: list[str] | str, product: str) -> list[Reference]:
    """The references of a field that takes a name or several."""
    return [Reference(role, name, (product,)) for name in ([names] if isinstance(names, str) else names)]


class ScoreConfig(NodeConfig):
    """Judges every answer by every scorer; one node for each set of answers."""

    kind: Literal["score"]
    input: str = Field(description="The generations to score; a name of several nodes means all of them.")
    scorers: list[str] = Field(
        min_length=1,
        description="`execution` runs the tests, `errors` recognises error types, `distance` measures how far an "
        "answer is from the good one, `judge` asks a language model, `rubric` asks one for a grade from 1 to 5.",
    )
    judge: Judge | None = Field(
        default=None, description="The model behind the scorer `judge`.", exclude_if=lambda value: value is None
    )
    rubric: Rubric | None = Field(
        default=None, description="The model behind the scorer `rubric`.", exclude_if=lambda value: value is None
    )
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _judge_and_its_model(self) -> Self:
        for name, section in ((JUDGE, self.judge), (RUBRIC, self.rubric)):
            if (name in self.scorers) != (section is not None):
                raise ValueError(f"the scorer '{name}' goes with a section {name}: {{by: {{backend: ...}}}}")
        if self.judge and self.rubric:
            raise ValueError("judge and rubric ask two models: give each a score node of its own")
        return self


class Score(NodeKind):
    """Scores with an explanation each; unscored is not zero."""

    name = "score"
    product = "scores"
    version = 5
    Config = ScoreConfig
    fan_out = "input"

    def inputs(self, config: ScoreConfig) -> list[Reference]:
        asked = [*judge_inputs(config.judge), *judge_inputs(config.rubric, RUBRIC_MODEL)]
        return [Reference("input", config.input, ("generations",)), *asked]

    def outside(self, config: ScoreConfig, inside: frozenset[str]) -> dict[str, str]:
        from eval.scorers import SCORERS

        known = [*SCORERS, JUDGE, RUBRIC]
        for name in config.scorers:
            if name not in known:
                raise UserError("config", f"there is no scorer '{name}'.", "scorers", nearest(name, known))
        return writer_outside(config.rubric.by, RUBRIC) if config.rubric else _judge_outside(config.judge)

    def make(self, works: Sequence[Work]) -> None:
        from eval.scorers.stage import ScoreStage
        from pipeline.records import GenerationRecord, ScoredRecord
        from pipeline.runner import map_shards

        for work in works:
            config: ScoreConfig = work.config
            if config.judge or config.rubric:
                from eval.judging import score_with_judge

                score_with_judge(work)
                continue
            counts = map_shards(
                work,
                work.source("input").data,
                ScoreStage(tuple(config.scorers)),
                GenerationRecord,
                ScoredRecord.SCHEMA,
                resources=config.resources,
            )
            work.commit(rows=counts.as_rows(), facts=counts.as_facts())


def judge_inputs(judge: Comparer | None, role: str = JUDGE_MODEL) -> list[Reference]:
    return writer_inputs(judge.by, role) if judge else []


def _judge_outside(judge: Judge | None) -> dict[str, str]:
    if judge is None:
        return {}
    refuse_unknown_types(judge.error_types, "judge")
    return writer_outside(judge.by, "judge")


class InjectionsConfig(NodeConfig):
    """Measures how easily a judge is talked round: verdicts on answers with planted injections against those without.

    The flip rate stands in the manifest, in injections.json, and at the end of the run.
    """

    kind: Literal["injections"]
    input: list[str] | str = Field(description="The answers from which some are drawn.")
    judge: Judge = Field(description="The judge that is put to the test, as a score node has it.")
    asks: Literal["answers", "pairs"] = Field(
        default="answers",
        exclude_if=lambda value: value == "answers",
        description="`answers`: whether an answer is right. `pairs`: which of two models' answers is better, in both "
        "orders, the injection in one of them.",
    )
    answers: int = Field(
        default=20,
        gt=0,
        description="Answers, or pairs of them, drawn: each is judged without and with every injection.",
    )
    resources: Resources = Resources()


class Injections(NodeKind):
    """Flip rates in injections.json and in the manifest; every trial as a row."""

    name = "injections"
    product = "injections"
    version = 2
    Config = InjectionsConfig
    named_inputs = True

    def inputs(self, config: InjectionsConfig) -> list[Reference]:
        return [*references("input", config.input, "generations"), *judge_inputs(config.judge)]

    def outside(self, config: InjectionsConfig, inside: frozenset[str]) -> dict[str, str]:
        return _judge_outside(config.judge)

    def make(self, works: Sequence[Work]) -> None:
        from eval.injected import measure_flips

        for work in works:
            measure_flips(work)


class CompareConfig(NodeConfig):
    """Says which arm mended best: a table with intervals as JSON and Markdown, and a page with plots and answers."""

    kind: Literal["compare"]
    input: list[str] | str = Field(description="The scores to compare; several of the same answers go together.")
    floor: str | None = Field(default=None, description="The corrupted model: where the gap begins.")
    ceiling: str | None = Field(default=None, description="The reference model: where the gap ends.")
    resamples: int = Field(default=10_000, gt=0, description="Bootstrap resamples of the paired differences.")
    prompts: int = Field(default=500, ge=0, description="Prompts that index.html shows with all answers, at most.")
    verdicts: list[str] | str = Field(
        default=[],
        description="Verdicts of a judge or a pair ranker on the same answers: who wins against whom.",
        exclude_if=lambda value: not value,
    )
    forgetting: list[str] | str = Field(
        default=[],
        description="Scores of the same models on texts or task families that corruption left out: what was forgotten.",
        exclude_if=lambda value: not value,
    )


class Compare(NodeKind):
    """results.json, results.csv, report.md and index.html."""

    name = "compare"
    product = "tables"
    version = 8
    Config = CompareConfig
    named_inputs = True

    def inputs(self, config: CompareConfig) -> list[Reference]:
        ends = {"floor": config.floor, "ceiling": config.ceiling}
        return [
            *references("input", config.input, "scores"),
            *references("verdicts", config.verdicts, "verdicts"),
            *references("forgetting", config.forgetting, "scores"),
            *(Reference(role, model, ("models",)) for role, model in ends.items() if model is not None),
        ]

    def make(self, works: Sequence[Work]) -> None:
        from eval.report.build import write_report

        for work in works:
            write_report(work)
