"""The node kinds that make data: source (of a module of its own), select, embed, annotate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.llm.config import Writer
from pipeline.llm.nodes import ErrorTypes, make_written, refuse_unknown_types, writer_inputs, writer_outside
from pipeline.sources.nodes import Source, SourceConfig

__all__ = [
    "Annotate", "AnnotateConfig", "Embed", "EmbedConfig", "Select", "SelectConfig", "Source", "SourceConfig",
]  # fmt: skip


MOST_ERRORS = 9
PROPORTIONAL = "proportional"


class SelectConfig(NodeConfig):
    """Rows of some sources alone, such as task families of the built-in corpus."""

    kind: Literal["select"]
    input: str = Field(description="The rows to choose from, such as `qa.train`.")
    only: list[str] = Field(
        default_factory=list,
        description="Rows of these sources are kept; of all by default. A source is what rows carry as `source`: "
        "`builtin/windows`; `*` stands for anything.",
    )
    without: list[str] = Field(default_factory=list, description="Rows of these sources are left out.")
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if not self.only and not self.without:
            raise ValueError("name the sources to keep (`only`) or to leave out (`without`)")
        return self


class Select(NodeKind):
    """Some rows as they are. What is left out stands under rejected/, so that nothing is lost."""

    name = "select"
    product = "rows"
    version = 1
    Config = SelectConfig

    def inputs(self, config: SelectConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",))]

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.selecting import select_rows

        for work in works:
            select_rows(work)


class ErrorCount(BaseModel):
    """Between `min` and `max` errors in an answer, drawn by the seed and the row's id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int = Field(default=1, ge=1, description="Rows with fewer confirmed errors are rejected.")
    max: int = Field(ge=1, le=MOST_ERRORS, description="No row gets more errors.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class TypeQuota(BaseModel):
    """Rows for every error type: as many of each, or in proportion to the rows in which each has a place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_type: int | None = Field(
        default=None, gt=0, description="Rows with each error type; in proportion if left out."
    )


class EmbedConfig(NodeConfig):
    """Breaks good answers: verified errors in each, one by default."""

    kind: Literal["embed"]
    input: str = Field(description="The rows to break, such as `qa.train`.")
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    error_types: ErrorTypes = Field(
        default_factory=list, validate_default=True, description="The error types to embed; all there are by default."
    )
    errors: ErrorCount = Field(
        default=ErrorCount(min=1, max=1),
        description="Errors in each answer, one by default: a number, or `{min: 1, max: 3}`.",
    )
    quota: TypeQuota | None = Field(
        default=None,
        description="Rows for each error type: `{per_type: 200}`, or `proportional` to the rows in which a type has a "
        "place. Without a quota every row gets an error that is drawn among those that fit it.",
    )
    minimum_applicable: int | None = Field(
        default=None,
        ge=0,
        description="With a quota: a type that has a place in fewer rows is left out, and the manifest says so. By "
        "default a fifteenth of the rows, at most 1,000.",
    )
    verify: Literal["executed", "static"] = Field(
        default="executed",
        description="`executed` runs both answers in the sandbox, on made inputs where a row has no tests; `static` "
        "runs nothing.",
    )
    by: Writer | None = Field(
        default=None,
        description="A model that proposes the edits; by default programs do. Either way they are verified.",
    )
    max_rejected: float = Field(default=0.5, ge=0, le=1, description="Share of rejected rows that is put up with.")
    resources: Resources = Resources()

    @field_validator("errors", mode="before")
    @classmethod
    def _number_of_errors(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "max": value}
        return value

    @field_validator("quota", mode="before")
    @classmethod
    def _named_quota(cls, value: Any) -> Any:
        if isinstance(value, str) and value != PROPORTIONAL:
            raise ValueError(f"a quota is {{per_type: 200}} or {PROPORTIONAL}, and not {value!r}")
        return {} if value == PROPORTIONAL else value

    @model_validator(mode="after")
    def _minimum_of_a_quota(self) -> Self:
        if self.minimum_applicable is not None and self.quota is None:
            raise ValueError("minimum_applicable goes with a quota: {per_type: 200} or proportional")
        return self

    @model_validator(mode="after")
    def _quotas_are_for_programs(self) -> Self:
        if self.by and self.quota:
            raise ValueError("a quota needs programs that can try other rows: leave out 'quota' or 'by'")
        return self


class Embed(NodeKind):
    """Good answers to corrupted ones, each error verified by running both sides or by what can be read."""

    name = "embed"
    product = "rows"
    version = 4
    Config = EmbedConfig

    def inputs(self, config: EmbedConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",)), *writer_inputs(config.by)]

    def outside(self, config: EmbedConfig, inside: frozenset[str]) -> dict[str, str]:
        refuse_unknown_types(config.error_types)
        return writer_outside(config.by, self.name)

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.embedding import Quota, embed_rows
        from pipeline.stages.embed import EmbedStage, Number

        for work in works:
            config: EmbedConfig = work.config
            if config.by:
                _embed_by_model(work)
                continue
            errors = Number(config.errors.min, config.errors.max)
            stage = EmbedStage(tuple(config.error_types), config.seed, errors, config.verify)
            quota = Quota(config.quota.per_type, config.minimum_applicable) if config.quota else None
            counts, facts = embed_rows(work, stage, quota, config.limit, config.max_rejected)
            work.commit(rows=counts.as_rows(), facts={**counts.as_facts(), **facts})


def _embed_by_model(work: Work) -> None:
    from pipeline.records import CorruptionRecord, QARecord, TaggedRecord
    from pipeline.sandbox.run import execute
    from pipeline.stages.embed import Number
    from pipeline.stages.embed_by_model import EmbedByModel

    config: EmbedConfig = work.config
    errors = Number(config.errors.min, config.errors.max)
    run = execute if config.verify == "executed" else None
    stage = EmbedByModel(tuple(config.error_types), config.seed, errors, run)
    make_written(work, stage, (QARecord, TaggedRecord), CorruptionRecord.SCHEMA)


class AnnotateConfig(NodeConfig):
    """Turns corrupted answers, or pairs without spans, into preference pairs with spans on both sides."""

    kind: Literal["annotate"]
    input: str = Field(description="The corrupted rows, or preference pairs.")
    by: Writer | Literal["auto", "given", "diff"] = Field(
        default="auto",
        description="`given`: the rows' own edits or spans, and rows without any are rejected. `diff`: where the "
        "answers differ, whatever spans the rows have. `auto`: their own, else where they differ. Or a model.",
    )
    max_rejected: float = Field(default=0.0, ge=0, le=1, description="Share of rejected rows that is put up with.")
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    resources: Resources = Resources()


class Annotate(NodeKind):
    """Corrupted answers to preference pairs. The spans follow from the edits; pairs without any are compared."""

    name = "annotate"
    product = "rows"
    version = 4
    Config = AnnotateConfig

    def inputs(self, config: AnnotateConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",)), *writer_inputs(config.by)]

    def outside(self, config: AnnotateConfig, inside: frozenset[str]) -> dict[str, str]:
        return writer_outside(config.by, self.name)

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.records import CorruptionRecord, PreferenceRecord
        from pipeline.runner import map_shards
        from pipeline.shards import record_type
        from pipeline.stages.annotate import AnnotateStage

        for work in works:
            config: AnnotateConfig = work.config
            if isinstance(config.by, Writer):
                _annotate_by_model(work)
                continue
            source = work.source("input")
            counts = map_shards(
                work,
                source.data,
                AnnotateStage(config.by),
                record_type(source.data, (CorruptionRecord, PreferenceRecord), source.name),
                PreferenceRecord.SCHEMA,
                resources=config.resources,
                limit=config.limit,
                max_rejected=config.max_rejected,
            )
            work.commit(rows=counts.as_rows(), facts=counts.as_facts())


def _annotate_by_model(work: Work) -> None:
    from pipeline.errors import ERROR_TYPES
    from pipeline.records import CorruptionRecord, PreferenceRecord
    from pipeline.stages.annotate_by_model import AnnotateByModel

    stage = AnnotateByModel(tuple(ERROR_TYPES))
    make_written(work, stage, (CorruptionRecord, PreferenceRecord), PreferenceRecord.SCHEMA)
