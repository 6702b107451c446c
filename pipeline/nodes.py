"""The node kinds that make data: source (of a module of its own), embed, annotate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError, nearest
from pipeline.llm.config import Writer
from pipeline.llm.nodes import make_written, writer_inputs, writer_outside
from pipeline.sources.nodes import Source, SourceConfig

__all__ = ["Annotate", "AnnotateConfig", "Embed", "EmbedConfig", "Source", "SourceConfig"]


class EmbedConfig(NodeConfig):
    """Breaks good answers: one verified error in each."""

    kind: Literal["embed"]
    input: str = Field(description="The rows to break, such as `qa.train`.")
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    error_types: list[str] = Field(
        default_factory=list, validate_default=True, description="The error types to embed; all there are by default."
    )
    by: Writer | None = Field(
        default=None,
        description="A model that proposes the edits; by default programs do. Either way they are verified.",
    )
    max_rejected: float = Field(default=0.5, ge=0, le=1, description="Share of rejected rows that is put up with.")
    resources: Resources = Resources()

    @field_validator("error_types")
    @classmethod
    def _all_by_default(cls, value: list[str]) -> list[str]:
        """Written out, they are part of the key: a type that is added later changes no rows that were made before."""
        from pipeline.errors import ERROR_TYPES

        return value or list(ERROR_TYPES)


class Embed(NodeKind):
    """Good answers to corrupted ones, each error verified by running both sides."""

    name = "embed"
    product = "rows"
    version = 3
    Config = EmbedConfig

    def inputs(self, config: EmbedConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",)), *writer_inputs(config.by)]

    def outside(self, config: EmbedConfig, inside: frozenset[str]) -> dict[str, str]:
        from pipeline.errors import ERROR_TYPES

        for name in config.error_types:
            if name not in ERROR_TYPES:
                hint = nearest(name, list(ERROR_TYPES))
                raise UserError("config", f"there is no error type '{name}'.", "error_types", hint)
        return writer_outside(config.by, self.name)

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.records import CorruptionRecord, QARecord
        from pipeline.runner import map_shards
        from pipeline.stages.embed import EmbedStage

        for work in works:
            config: EmbedConfig = work.config
            if config.by:
                _embed_by_model(work)
                continue
            counts = map_shards(
                work,
                work.source("input").data,
                EmbedStage(tuple(config.error_types), config.seed),
                QARecord,
                CorruptionRecord.SCHEMA,
                resources=config.resources,
                limit=config.limit,
                max_rejected=config.max_rejected,
            )
            work.commit(rows=counts.as_rows(), facts=counts.as_facts())


def _embed_by_model(work: Work) -> None:
    from pipeline.records import CorruptionRecord, QARecord, TaggedRecord
    from pipeline.stages.embed_by_model import EmbedByModel

    config: EmbedConfig = work.config
    stage = EmbedByModel(tuple(config.error_types), config.seed)
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
    version = 3
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
