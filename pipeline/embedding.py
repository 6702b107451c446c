"""How the rows of an embed node are made: by one map, or, where types have quotas, by a survey, rounds, and a map.

A round lets the rows that were drawn try their types. What comes of it lies in scratch, shard by shard, so that a run
that was killed goes on within the round; who is drawn next follows from that alone. The last map puts every shard
together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contract import DATA, REJECTS, Work
from pipeline.errors.answers import code_of
from pipeline.failures import UserError
from pipeline.records import REJECTED, CorruptionRecord, QARecord, Reject, kept_and_rejected, table_of
from pipeline.runner import (
    Counts,
    ShardTask,
    counted,
    make_shards,
    map_shards,
    plan_tasks,
    sandbox_note,
    sandbox_noted,
    survey_shards,
)
from pipeline.shards import read_shard
from pipeline.stages.embed import NO_CODE, EmbedStage
from pipeline.stages.quotas import Drawing, Goal, Survey, goal_of
from pipeline.store import SCRATCH, write_table

NOT_DRAWN = "not-drawn"
OUTCOME = pa.schema(
    [("row", pa.int64()), ("types", pa.list_(pa.string())), ("reason", pa.string()), ("detail", pa.string())]
)
"""Of each row of a round, by its number within the shard: the types of its errors, or why it has none."""


@dataclass(frozen=True)
class Quota:
    """What is asked for: rows of each type, or (None) rows in proportion; types that fit fewer rows are left out."""

    per_type: int | None
    minimum: int | None


def embed_rows(
    work: Work, stage: EmbedStage, quota: Quota | None, limit: int | None, max_rejected: float
) -> tuple[Counts, dict[str, Any]]:
    """Make the rows. Gives their counts, and under a quota what became of each type."""
    source, resources = work.source("input").data, work.config.resources
    if quota is None:
        counts = map_shards(
            work,
            source,
            stage,
            QARecord,
            CorruptionRecord.SCHEMA,
            resources=resources,
            limit=limit,
            max_rejected=max_rejected,
        )
        return counts, {}
    look = Survey(stage.error_types, stage.seed, stage.errors)
    survey = survey_shards(work, source, look, QARecord, resources=resources, limit=limit)
    goal = goal_of(survey, stage.error_types, quota.per_type, quota.minimum)
    _refuse_no_types(work, goal)
    drawing = Drawing.of(survey, goal, stage.error_types, stage.errors.least)
    tasks = plan_tasks(work.directory, source, limit)
    rounds, kept = _rounds(work, stage, drawing, tasks)
    make_shards(work, _assemblies(tasks, survey, rounds, kept), _assemble, resources)
    counts = counted(work, tasks, max_rejected, spared=(NOT_DRAWN,))
    return counts, {"types": drawing.facts(), "rounds": len(rounds)}


def _refuse_no_types(work: Work, goal: Goal) -> None:
    if not goal.wanted:
        most = max(goal.applicable.values(), default=0)
        what = f"every error type is left out: none has a place in enough rows (at most {most})."
        raise UserError("data", what, f"node {work.name}", "Lower minimum_applicable, or give more rows.")


@dataclass(frozen=True)
class Trial:
    """The rows of one shard that are drawn in a round, by their number within it, each with its types."""

    source: Path
    rows: int
    drawn: Mapping[int, tuple[str, ...]]
    data: Path
    outcomes: Path
    sandbox: Path


@dataclass(frozen=True)
class _Try:
    """Lets rows try their types. The outcomes are written first: where the data exist, both do."""

    stage: EmbedStage

    def __call__(self, trial: Trial) -> dict[str, Any]:
        records = read_shard(trial.source, QARecord)
        with sandbox_noted(trial.sandbox):
            results = {row: self.stage.embed(records[row], types) for row, types in sorted(trial.drawn.items())}
        write_table(trial.outcomes, pa.Table.from_pylist([_outcome(*item) for item in results.items()], OUTCOME))
        kept, _ = kept_and_rejected(results.values())
        write_table(trial.data, table_of(kept, CorruptionRecord.SCHEMA))
        return {"rows": trial.rows}


def _outcome(row: int, result: CorruptionRecord | Reject) -> dict[str, Any]:
    if isinstance(result, Reject):
        return {"row": row, "types": [], "reason": result.reason, "detail": result.detail}
    return {"row": row, "types": sorted({edit.error_type for edit in result.edits}), "reason": "", "detail": ""}


def _rounds(
    work: Work, stage: EmbedStage, drawing: Drawing, tasks: Sequence[ShardTask]
) -> tuple[list[dict[int, Trial]], set[int]]:
    """Rounds until no type needs more rows or none is left: their trials by shard, and the rows that are kept."""
    starts = [sum(task.rows for task in tasks[:number]) for number in range(len(tasks))]
    place = {drawn: position for position, drawn in enumerate(drawing.order)}
    rounds: list[dict[int, Trial]] = []
    kept: set[int] = set()
    while drawn := drawing.round():
        trials = _trials(work.directory, f"round-{len(rounds):03d}", tasks, starts, drawn)
        make_shards(work, list(trials.values()), _Try(stage), work.config.resources)
        told = {
            starts[shard] + outcome["row"]: outcome
            for shard, trial in trials.items()
            for outcome in pq.read_table(trial.outcomes, columns=["row", "types", "reason"]).to_pylist()
        }
        for row in sorted(told, key=place.__getitem__):
            if drawing.tell(row, drawn[row], told[row]["types"], told[row]["reason"]):
                kept.add(row)
        rounds.append(trials)
    return rounds, kept


def _trials(
    directory: Path, label: str, tasks: Sequence[ShardTask], starts: Sequence[int], drawn: Mapping[int, tuple[str, ...]]
) -> dict[int, Trial]:
    found, place = {}, directory / SCRATCH / label
    for number, (task, start) in enumerate(zip(tasks, starts, strict=True)):
        mine = {row - start: drawn[row] for row in range(start, start + task.rows) if row in drawn}
        if mine:
            name = task.data.name
            note = sandbox_note(directory, f"{label}-{task.data.stem}")
            found[number] = Trial(task.source, len(mine), mine, place / DATA / name, place / REJECTS / name, note)
    return found


@dataclass(frozen=True)
class Assembly:
    """One shard to be put together: its trials, and as bits for each row the types that have a place in it."""

    source: Path
    rows: int
    data: Path
    rejects: Path
    trials: tuple[Trial, ...]
    kept: frozenset[int]
    types: tuple[int, ...]


def _assemblies(
    tasks: Sequence[ShardTask], survey: Sequence[pa.Table], rounds: Sequence[Mapping[int, Trial]], kept: set[int]
) -> list[Assembly]:
    found, start = [], 0
    for number, (task, table) in enumerate(zip(tasks, survey, strict=True)):
        mine = frozenset(row - start for row in range(start, start + task.rows) if row in kept)
        trials = tuple(trials[number] for trials in rounds if number in trials)
        types = tuple(table["types"].to_pylist())
        found.append(Assembly(task.source, task.rows, task.data, task.rejects, trials, mine, types))
        start += task.rows
    return found


def _assemble(assembly: Assembly) -> dict[str, Any]:
    made: dict[int, CorruptionRecord | Reject] = {}
    records = read_shard(assembly.source, QARecord)[: assembly.rows]
    for trial in assembly.trials:
        confirmed = iter(read_shard(trial.data, CorruptionRecord))
        for outcome in pq.read_table(trial.outcomes).to_pylist():
            row, refused = outcome["row"], Reject(records[outcome["row"]].id, outcome["reason"], outcome["detail"])
            made[row] = next(confirmed) if outcome["types"] else refused
    kept, rejected = kept_and_rejected(
        _result(assembly, row, record, made.get(row)) for row, record in enumerate(records)
    )
    write_table(assembly.rejects, table_of(rejected, REJECTED))
    write_table(assembly.data, table_of(kept, CorruptionRecord.SCHEMA))
    return {"rows": assembly.rows}


def _result(
    assembly: Assembly, row: int, record: QARecord, made: CorruptionRecord | Reject | None
) -> CorruptionRecord | Reject:
    if row in assembly.kept or isinstance(made, Reject):
        assert made is not None, "a row was kept that nobody tried"
        return made
    if assembly.types[row] or made:
        return Reject(record.id, NOT_DRAWN, "its types had rows enough")
    if code_of(record.response) is None:
        return Reject(record.id, "no-code", NO_CODE)
    return Reject(record.id, "no-site", "no type has a place")
