"""The node kinds whose work a model always does, rectify and tag, and what all kinds with a `by` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pipeline.contract import NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError
from pipeline.llm.config import Writer
from pipeline.store import content_key, file_hash

BY_MODEL = "by.model"
"""The role of the node whose model writes."""


def writer_inputs(by: Writer | str | None, role: str = BY_MODEL) -> list[Reference]:
    """The node that a vLLM writer names as its model."""
    return [Reference(role, by.model, ("models",))] if isinstance(by, Writer) and by.backend == "vllm" else []


def writer_outside(by: Writer | str | None, prompt: str) -> dict[str, str]:
    """Hashes of the files that decide what is asked and said: prompts of one's own, a script."""
    if not isinstance(by, Writer):
        return {}
    from pipeline.llm.erring import JUDGING
    from pipeline.llm.prompts import source, template

    if by.backend == "erring" and prompt not in JUDGING:
        hint = f"It is for {' and '.join(JUDGING)}, where the rows' tests say what is right."
        raise UserError("config", "backend erring cannot do this node's work.", "by", hint)
    found = {}
    if by.prompts:
        found["prompt"] = content_key(source(prompt, by.prompts))
        template(prompt, by.prompts)
    if by.script:
        if not Path(by.script).is_file():
            raise UserError(
                "config", "there is no such script.", by.script, "Name a .jsonl file with `when` and `reply`."
            )
        found["script"] = file_hash(Path(by.script))
    return found


def _all_by_default(value: list[str]) -> list[str]:
    from pipeline.errors import ERROR_TYPES

    return value or list(ERROR_TYPES)


ErrorTypes = Annotated[list[str], AfterValidator(_all_by_default)]
"""All of them by default. Written out, they are part of the key: a type that is added later changes no rows that were
made before."""


def refuse_unknown_types(names: Sequence[str], where: str = "error_types") -> None:
    """Raise a config error, about the field `where`, for the first name that is no error type."""
    from pipeline.errors import error_type

    for name in names:
        error_type(name, where)


class RectifyConfig(NodeConfig):
    """Lets a model review good answers and mend those that are wrong."""

    kind: Literal["rectify"]
    input: str = Field(description="The rows to review, such as `qa.train`.")
    by: Writer
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    max_rejected: float = Field(default=0.1, ge=0, le=1, description="Share of rejected rows that is put up with.")
    resources: Resources = Resources()


class Rectify(NodeKind):
    """Answers as they are or mended. Where a row has tests, a mended answer must pass them."""

    name = "rectify"
    product = "rows"
    version = 1
    Config = RectifyConfig

    def inputs(self, config: RectifyConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",)), *writer_inputs(config.by)]

    def outside(self, config: RectifyConfig, inside: frozenset[str]) -> dict[str, str]:
        return writer_outside(config.by, self.name)

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.records import QARecord
        from pipeline.stages.rectify import RectifyStage

        for work in works:
            make_written(work, RectifyStage(), (QARecord,), QARecord.SCHEMA)


class TagConfig(NodeConfig):
    """Lets a model say which errors could be embedded in an answer, with a plan for each."""

    kind: Literal["tag"]
    input: str = Field(description="The rows to tag, such as `qa.train`.")
    by: Writer
    limit: int | None = Field(default=None, gt=0, description="Rows taken from the input; all by default.")
    error_types: ErrorTypes = Field(
        default_factory=list, validate_default=True, description="The error types to choose from; all by default."
    )
    max_rejected: float = Field(default=0.1, ge=0, le=1, description="Share of rejected rows that is put up with.")
    resources: Resources = Resources()


class TagKind(NodeKind):
    """Rows with the errors that fit them, for an `embed` node with a `by`."""

    name = "tag"
    product = "rows"
    version = 1
    Config = TagConfig

    def inputs(self, config: TagConfig) -> list[Reference]:
        return [Reference("input", config.input, ("rows",)), *writer_inputs(config.by)]

    def outside(self, config: TagConfig, inside: frozenset[str]) -> dict[str, str]:
        refuse_unknown_types(config.error_types)
        return writer_outside(config.by, self.name)

    def make(self, works: Sequence[Work]) -> None:
        from pipeline.records import QARecord, TaggedRecord
        from pipeline.stages.tag import TagStage

        for work in works:
            make_written(work, TagStage(tuple(work.config.error_types)), (QARecord,), TaggedRecord.SCHEMA)


def make_written(work: Work, stage: Any, records: Sequence[Any], schema: Any) -> None:
    """Make a node whose work the model of its `by` does, of rows of one of these record types."""
    from pipeline.llm.asking import Task, make_by_model
    from pipeline.shards import record_type

    config, source = work.config, work.source("input")
    record = record_type(source.data, records, source.name)
    make_by_model(
        Task(work, stage, record, config.by, config.resources), source.data, schema, config.limit, config.max_rejected
    )
