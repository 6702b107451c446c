"""The node kind that everything starts from: rows of the built-in corpus, of files, or of a data set of the Hub."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.contract import DATA, REJECTS, NodeConfig, NodeKind, Reference, Work
from pipeline.failures import UserError, nearest

BUILTIN = "builtin"
REMARKS = "builtin-remarks"
MADE = (BUILTIN, REMARKS)
"""Origins whose rows are made by program."""
TRAIN = "train"
RESERVED = (TRAIN, DATA, REJECTS, "in", "out")
"""What a split cannot be called: `train` is the rest of the rows, the others are words of artifacts and manifests."""

SHARD_ROWS = (64, 512)
SHARDS = 32
"""A source is cut into some 32 shards of at least 64 and at most 1,024 rows: enough to share out, few to list,
and what a task holds in memory does not grow with the data."""
SHARD_CHARACTERS = 2**25
"""Rows of great length come in smaller shards."""
PROMPTS = "benchmarks with their tests"
"""How rows are read as prompts: part of the keys of those sources alone, so that all others keep theirs."""
GLAIVE = "hf:glaiveai/glaive-code-assistant"
GLAIVE_ROWS = 15_000
"""How many of Glaive's rows are drawn where `rows` says nothing: as many as the seed used."""
FROM_OUTSIDE = (
    "fields", "hub_config", "hub_split", "hub_revision", "python_only", "deduplicate", "decontaminate"
)  # fmt: skip
"""Keys that mean nothing with the built-in corpus."""
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class SourceConfig(NodeConfig):
    """Q&A rows or pairs from the built-in corpus, files or a data set of the Hub, optionally split by prompt."""

    kind: Literal["source"]
    origin: str = Field(
        alias="from",
        description="`builtin`; `builtin-remarks` (plain English, made by program); a file, "
        "folder or pattern (`data/*.jsonl`); an address (`s3://bucket/folder`); or a data set "
        "of the Hugging Face Hub (`hf:owner/name`).",
    )
    rows: int | None = Field(
        default=None,
        gt=0,
        description="How many rows, drawn by a hash of their ids; all where it is left out, of Glaive's 15,000.",
    )
    splits: dict[str, int | str] = Field(
        default_factory=dict,
        description="Rows held out under each name, the rest is `train`: a number of rows, or a share such as `5%`, "
        "with which a row stays where it is when data grows.",
    )
    format: str = Field(default="auto", description="The rows' format; recognised by their fields by default.")
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="Our fields to the rows' columns, where no format fits: `{prompt: title, response: body.text}`.",
    )
    hub_config: str | None = Field(default=None, description="With `hf:`: the configuration (subset) of the data set.")
    hub_split: str | None = Field(default=None, description="With `hf:`: the split that is read; `train` by default.")
    hub_revision: str | None = Field(default=None, description="With `hf:`: a commit, tag or branch of the data set.")
    python_only: bool = Field(default=False, description="Leave out rows whose answer holds no Python that parses.")
    deduplicate: Literal["exact", "minhash"] | None = Field(
        default=None,
        description="Leave out rows with the same prompt and answers as another; `minhash`: nearly the same ones too.",
    )
    similarity: float = Field(
        default=0.8, gt=0, lt=1, description="With `minhash`: the Jaccard similarity of word 5-grams of a near copy."
    )
    decontaminate: list[str] = Field(
        default_factory=list,
        description="Evaluation files: rows that share an n-gram of words with their texts are left out.",
    )
    ngram: int = Field(default=13, gt=1, description="With `decontaminate`: how many words in a row are an overlap.")
    max_chars: int = Field(default=100_000, gt=0, description="The longest prompt or answer, in characters.")
    max_rejected: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of unusable rows that is put up with. Rows that an option leaves out do not count.",
    )

    @field_validator("splits")
    @classmethod
    def _sensible(cls, value: dict[str, int | str]) -> dict[str, int | str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or name in RESERVED:
                raise ValueError(f"'{name}' cannot name a split; use letters and digits, none of {', '.join(RESERVED)}")
        sizes = sizes_of(value)
        if any(size <= 0 for size in sizes.values()):
            raise ValueError("a split needs at least one row")
        if len(set(map(type, sizes.values()))) > 1:
            raise ValueError("splits are all numbers of rows, or all shares such as 5%")
        if any(isinstance(size, float) for size in sizes.values()) and sum(sizes.values()) >= 1:
            raise ValueError("the shares leave nothing for train; they must add up to less than 100%")
        return value

    @model_validator(mode="after")
    def _used(self) -> Self:
        """A key that would be read by nobody is refused."""
        given = [name for name in FROM_OUTSIDE if getattr(self, name)]
        if self.origin in MADE and given:
            raise ValueError(f"'{given[0]}' is for rows from outside, and means nothing with from: {self.origin}")
        hub = [name for name in given if name.startswith("hub_")]
        if hub and not self.origin.startswith("hf:"):
            raise ValueError(f"'{hub[0]}' is for data sets of the Hub (from: hf:owner/name)")
        return self

    def drawn(self) -> int | None:
        """How many rows are drawn; None for all."""
        return self.rows or (GLAIVE_ROWS if self.origin.startswith(GLAIVE) else None)

    def hub(self) -> dict[str, str | None]:
        return {"config": self.hub_config, "split": self.hub_split, "revision": self.hub_revision}


def sizes_of(splits: Mapping[str, int | str]) -> dict[str, int | float]:
    """The splits' sizes as numbers of rows, or as shares below 1. Raises ValueError for what is neither."""
    sizes: dict[str, int | float] = {}
    for name, size in splits.items():
        share = _SHARE.fullmatch(size.strip()) if isinstance(size, str) else None
        if isinstance(size, str) and not share:
            raise ValueError(f"'{size}' is no size of a split; give a number of rows, or a share such as 5%")
        sizes[name] = float(share[1]) / 100 if share else int(size)
    return sizes


class Source(NodeKind):
    """Reads or makes the rows that everything starts from."""

    name = "source"
    product = "rows"
    version = 4
    Config = SourceConfig

    def inputs(self, config: SourceConfig) -> list[Reference]:
        return []

    def splits(self, config: SourceConfig) -> tuple[str, ...]:
        return (TRAIN, *config.splits) if config.splits else ()

    def outside(self, config: SourceConfig, inside: frozenset[str]) -> dict[str, str]:
        if config.origin in MADE:
            return {}
        from pipeline.sources.files import fingerprint
        from pipeline.sources.formats import FIELDS
        from pipeline.sources.origins import find

        for name in config.fields:
            if name not in FIELDS:
                raise UserError("config", f"no format has a field '{name}'.", "fields", nearest(name, list(FIELDS)))
        evaluation = {f"decontaminate {name}": fingerprint(name) for name in config.decontaminate}
        read_as = {"prompts": PROMPTS} if config.format == "prompts" else {}
        return {"file": find(config.origin, **config.hub()).fingerprint(), **evaluation, **read_as}

    def make(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.config.origin in MADE:
                _make_builtin(work)
            else:
                _make_from_outside(work)


def _make_builtin(work: Work) -> None:
    from pipeline.records import REJECTED, table_of
    from pipeline.shards import shard_name, write_shards
    from pipeline.sources.builtin import build, remarks
    from pipeline.store import write_table

    config: SourceConfig = work.config
    make = build if config.origin == BUILTIN else remarks.build
    records = make(config.rows or 2700, config.seed)
    parts = split_by_prompt(records, config.splits, config.seed, work.name) if config.splits else {"": records}
    write_table(work.directory / REJECTS / shard_name(0), table_of([], REJECTED))
    for split, members in parts.items():
        write_shards(_data(work, split), members, type(records[0]).SCHEMA, _shard_rows(len(records), 0))
        work.progress(len(members), len(members), "rows")
    counts = {split or "out": len(members) for split, members in parts.items()}
    work.commit(rows={"in": len(records), **counts, "rejected": 0})


def _data(work: Work, split: str) -> Any:
    return work.directory / split / DATA if split else work.directory / DATA


def _shard_rows(rows: int, characters: int) -> int:
    by_length = max(1, SHARD_CHARACTERS * rows // characters) if characters else SHARD_ROWS[1]
    return min(max(rows // SHARDS, SHARD_ROWS[0]), SHARD_ROWS[1], by_length)


def _make_from_outside(work: Work) -> None:
    from pipeline.records import REJECTED
    from pipeline.sandbox import launch
    from pipeline.sources import making, survey
    from pipeline.sources.checks import judge_of
    from pipeline.sources.files import records
    from pipeline.sources.origins import find
    from pipeline.store import SCRATCH

    config: SourceConfig = work.config
    origin = find(config.origin, **config.hub())
    judge = judge_of(config.python_only, config.decontaminate, config.ngram)
    launch.used()
    found = records(origin, config.format, config.fields)
    scratch = making.read_in(found, work.directory / SCRATCH, config.seed, config.max_chars, work.progress)
    rows = scratch.survey_rows()
    _refuse_unusable(work, len(rows), scratch)
    similarity = config.similarity if config.deduplicate == "minhash" else None
    making.judge_all(scratch, making.JudgeShard(scratch.record, judge, similarity), len(rows))
    decisions = making.decided(scratch, rows)
    _survey(config, scratch, rows, decisions)
    _refuse_unusable(work, len(rows), scratch, int((decisions.side >= 0).sum()))
    names = [TRAIN, *config.splits] if config.splits else [""]
    kept = decisions.side >= 0
    shard_rows = _shard_rows(int(kept.sum()), int(rows.size[kept].sum()))
    targets = [making.ShardWriter(_data(work, name), scratch.record.SCHEMA, shard_rows) for name in names]
    rejects = making.ShardWriter(work.directory / REJECTS, REJECTED, SHARD_ROWS[1])
    making.write_out(scratch, decisions, targets, rejects, work.progress)
    counts = {name or "out": target.close() for name, target in zip(names, targets, strict=True)}
    rejected = rejects.close()
    _refuse_empty_train(work, counts)
    work.progress(sum(counts.values()), sum(counts.values()), "rows")
    not_drawn = int((decisions.side == survey.NOT_DRAWN).sum())
    assert sum(counts.values()) + not_drawn + rejected == len(rows) + scratch.refused, "a source lost rows"
    ran = {"sandbox": used} if (used := launch.used()) else {}
    facts = {"files": origin.files, "passed_over": list(origin.passed_over), "not_drawn": not_drawn, **ran}
    taken = sum(counts.values()) + rejected
    work.commit(rows={"in": taken, **counts, "rejected": rejected}, facts={**facts, "reasons": dict(scratch.reasons)})


def _survey(config: SourceConfig, scratch: Any, rows: Any, decisions: Any) -> None:
    """What is decided over all rows: first what is out, then what is drawn of the rest, then the splits of that."""
    from pipeline.sources import making, survey

    survey.repeated_ids(rows, decisions)
    if config.deduplicate:
        survey.exact_copies(rows, decisions)
    if config.deduplicate == "minhash":
        making.near_copies(scratch, rows, decisions, config.similarity)
    for reason, count in Counter(decisions.reason[decisions.because >= 0].tolist()).items():
        scratch.count(survey.REPEATED[reason], "another row stands for it.", count)
    if drawn := config.drawn():
        survey.draw(rows, decisions, drawn)
    if config.splits:
        survey.split(rows, decisions, sizes_of(config.splits))


def _refuse_unusable(work: Work, good: int, scratch: Any, left: int | None = None) -> None:
    """Raise where too many rows are of no use, or none is left."""
    from pipeline.sources.checks import ASKED_FOR

    config: SourceConfig = work.config
    bad = {reason: count for reason, count in scratch.reasons.items() if reason not in ASKED_FOR}
    everything = good + scratch.refused
    if good and left != 0 and sum(bad.values()) <= config.max_rejected * everything:
        return
    if (good and left == 0) or not bad:
        listed = ", ".join(f"{reason} {count}" for reason, count in scratch.reasons.most_common())
        what = f"none of {everything} rows is left ({listed})."
        raise UserError("data", what, f"node {work.name}: {config.origin}", "Ask for less, or look at the rows.")
    raise UserError(
        "data",
        f"{sum(bad.values())} of {everything} rows cannot be used. The first: {scratch.first[next(iter(bad))]}",
        f"node {work.name}",
        "Mend the file, or allow a share of such rows with max_rejected: they are then kept under rejected/.",
    )


def _refuse_empty_train(work: Work, counts: Mapping[str, int]) -> None:
    if counts.get(TRAIN) == 0:
        what = f"the splits take all {sum(counts.values())} rows and leave none for train."
        raise UserError("config", what, f"node {work.name}", "Ask for more rows or smaller splits.")


def split_by_prompt(
    records: Sequence[Any], splits: Mapping[str, int | str], seed: int, name: str
) -> dict[str, list[Any]]:
    """Split so that no prompt is on two sides, in an order given by a hash of (seed, prompt).

    Rows that share a prompt move together, so a split of so many rows may hold a few more. A split that is a share
    takes the prompts whose hash lies in its part of all hashes.
    """
    sizes = sizes_of(splits)
    from pipeline.sources.checks import question_of

    groups: dict[str, list[Any]] = {}
    for record in records:
        groups.setdefault(question_of(record), []).append(record)
    hashes = {prompt: hashlib.sha256(f"{seed}:{prompt}".encode()).hexdigest() for prompt in groups}
    order = sorted(groups, key=hashes.__getitem__)
    parts: dict[str, list[Any]] = {}
    bound = 0.0
    for split, wanted in sizes.items():
        parts[split] = []
        bound += wanted
        while order and (
            int(hashes[order[0]][:16], 16) < bound * 2.0**64
            if isinstance(wanted, float)
            else len(parts[split]) < wanted
        ):
            parts[split] += groups[order.pop(0)]
    rest = [record for prompt in order for record in groups[prompt]]
    if not rest:
        what = f"the splits take all {len(records)} rows and leave none for train."
        raise UserError("config", what, f"node {name}", "Ask for more rows or smaller splits.")
    return {TRAIN: rest, **parts}
