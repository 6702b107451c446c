"""The node kinds that make data: source, embed, annotate."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.contract import DATA, REJECTS, NodeConfig, NodeKind, Reference, Resources, Work
from pipeline.failures import UserError, nearest
from pipeline.llm.config import Writer
from pipeline.llm.nodes import make_written, writer_inputs, writer_outside

TRAIN = "train"
RESERVED = (TRAIN, DATA, REJECTS, "in", "out")
"""What a split cannot be called: `train` is the rest of the rows, the others are words of artifacts and manifests."""

SHARD_ROWS = (64, 4096)
SHARDS = 32
"""A source is cut into some 32 shards of at least 64 and at most 4,096 rows: enough to share out, few to list."""


class SourceConfig(NodeConfig):
    """Q&A rows from the built-in corpus or from a file, optionally split by prompt."""

    kind: Literal["source"]
    origin: str = Field(alias="from", description="`builtin`, or the path of a .json, .jsonl or .jsonl.gz file.")
    rows: int | None = Field(default=None, gt=0, description="How many rows; all of a file where it is left out.")
    splits: dict[str, int] = Field(
        default_factory=dict, description="Rows held out under each name; the rest is `train`."
    )
    format: str = Field(default="auto", description="The file's format; recognised by its fields by default.")
    max_rejected: float = Field(default=0.0, ge=0, le=1, description="Share of unusable rows that is put up with.")

    @field_validator("splits")
    @classmethod
    def _no_train(cls, value: dict[str, int]) -> dict[str, int]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or name in RESERVED:
                raise ValueError(f"'{name}' cannot name a split; use letters and digits, none of {', '.join(RESERVED)}")
        if any(rows <= 0 for rows in value.values()):
            raise ValueError("a split needs at least one row")
        return value


class Source(NodeKind):
    """Reads or makes the rows that everything starts from."""

    name = "source"
    product = "rows"
    version = 2
    Config = SourceConfig

    def inputs(self, config: SourceConfig) -> list[Reference]:
        return []

    def splits(self, config: SourceConfig) -> tuple[str, ...]:
        return (TRAIN, *config.splits) if config.splits else ()

    def outside(self, config: SourceConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.origin == "builtin":
            return {}
        from pipeline.sources.files import fingerprint

        return {"file": fingerprint(Path(config.origin))}

    def make(self, works: Sequence[Work]) -> None:
        for work in works:
            _make_source(work)


def _make_source(work: Work) -> None:
    from pipeline.records import REJECTED, table_of
    from pipeline.shards import shard_name, write_shards
    from pipeline.store import write_table

    config: SourceConfig = work.config
    records, rejects = _read_source(config)
    _refuse_unusable(work, len(records), rejects)
    parts = split_by_prompt(records, config.splits, config.seed, work.name) if config.splits else {"": records}
    write_table(work.directory / REJECTS / shard_name(0), table_of(rejects, REJECTED))
    shard_rows = min(max(len(records) // SHARDS, SHARD_ROWS[0]), SHARD_ROWS[1])
    for split, members in parts.items():
        directory = work.directory / split / DATA if split else work.directory / DATA
        write_shards(directory, members, type(records[0]).SCHEMA, shard_rows)
        work.progress(len(members), len(members), "rows")
    counts = {split or "out": len(members) for split, members in parts.items()}
    work.commit(rows={"in": len(records) + len(rejects), **counts, "rejected": len(rejects)})


def _read_source(config: SourceConfig) -> tuple[list[Any], list[Any]]:
    if config.origin == "builtin":
        from pipeline.sources.builtin import build

        return build(config.rows or 2700, config.seed), []
    from itertools import islice

    from pipeline.records import Reject
    from pipeline.sources.files import read

    found = list(islice(read(Path(config.origin), config.format), config.rows))
    good = [row for row in found if not isinstance(row, Reject)]
    return good, [row for row in found if isinstance(row, Reject)]


def _refuse_unusable(work: Work, good: int, rejects: Sequence[Any]) -> None:
    config: SourceConfig = work.config
    if good and len(rejects) <= config.max_rejected * (good + len(rejects)):
        return
    if not rejects:
        raise UserError("data", "there are no rows.", f"node {work.name}: {config.origin}", "Give a file with rows.")
    raise UserError(
        "data",
        f"{len(rejects)} of {good + len(rejects)} rows cannot be used. The first: {rejects[0].detail}",
        f"node {work.name}",
        "Mend the file, or allow a share of such rows with max_rejected: they are then kept under rejected/.",
    )


def split_by_prompt(records: Sequence[Any], splits: dict[str, int], seed: int, name: str) -> dict[str, list[Any]]:
    """Split so that no prompt is on two sides, in an order given by a hash of (seed, prompt).

    Rows that share a prompt move together, so a split may hold a few rows more than asked for.
    """
    groups: dict[str, list[Any]] = {}
    for record in records:
        groups.setdefault(record.prompt, []).append(record)
    order = sorted(groups, key=lambda prompt: hashlib.sha256(f"{seed}:{prompt}".encode()).hexdigest())
    parts: dict[str, list[Any]] = {}
    for split, wanted in splits.items():
        parts[split] = []
        while order and len(parts[split]) < wanted:
            parts[split] += groups[order.pop(0)]
    rest = [record for prompt in order for record in groups[prompt]]
    if not rest:
        what = f"the splits take all {len(records)} rows and leave none for train."
        raise UserError("config", what, f"node {name}", "Ask for more rows or smaller splits.")
    return {TRAIN: rest, **parts}


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
            work.commit(rows=counts.as_rows())


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
            work.commit(rows=counts.as_rows())


def _annotate_by_model(work: Work) -> None:
    from pipeline.errors import ERROR_TYPES
    from pipeline.records import CorruptionRecord, PreferenceRecord
    from pipeline.stages.annotate_by_model import AnnotateByModel

    stage = AnnotateByModel(tuple(ERROR_TYPES))
    make_written(work, stage, (CorruptionRecord, PreferenceRecord), PreferenceRecord.SCHEMA)
