"""Score nodes with a judge: the judge is asked about every answer, then every scorer scores in Ray tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eval.nodes import JUDGE_MODEL, RUBRIC_MODEL, ScoreConfig
from eval.scorers.judge import JudgedStage, JudgeStage, Judging
from eval.scorers.judge_config import Comparer, Judge
from eval.scorers.rubric import RubricStage
from pipeline.contract import NOTES, Work
from pipeline.llm.asked import AskedRecord, ModelStage
from pipeline.llm.asking import REPLIES, Task, ask_shards, facts_of
from pipeline.llm.base import Tally
from pipeline.records import GenerationRecord, ScoredRecord
from pipeline.runner import map_shards, plan_tasks
from pipeline.shards import shard_paths


def score_with_judge(work: Work) -> None:
    """Score the answers of a work by all its scorers, the judge among them, and commit."""
    config: ScoreConfig = work.config
    stage, judge, role = asked_of(config)
    facts = ask(work, judge, stage, GenerationRecord, work.source("input").data, role)
    counts = map_shards(
        work,
        work.directory / REPLIES,
        JudgedStage(tuple(config.scorers), stage),
        AskedRecord,
        ScoredRecord.SCHEMA,
        resources=config.resources.model_copy(update={"gpus": 0.0}),
    )
    unscored = {reason: number for reason, number in asked_reasons(work).items() if reason}
    told = {"model": facts, "judge": {"asked": counts.taken, "unscored": unscored}, **counts.as_facts()}
    if unscored:
        told[NOTES] = [f"The judge left {_counted(unscored, counts.taken)} answers unscored."]
    work.commit(rows=counts.as_rows(), facts=told)


def judge_of(judge: Judge, seed: int) -> JudgeStage:
    return JudgeStage(seed, tuple(judge.error_types), judge.with_reference)


def asked_of(config: ScoreConfig) -> tuple[Judging, Comparer, str]:
    """What is asked of whom in a score node, and the role of the node whose model is asked, where it is one."""
    if config.rubric:
        rubric = config.rubric
        return RubricStage(config.seed, rubric.criteria, rubric.with_reference), rubric, RUBRIC_MODEL
    assert config.judge is not None, "the config was checked"
    return judge_of(config.judge, config.seed), config.judge, JUDGE_MODEL


def ask(
    work: Work, judge: Comparer, stage: ModelStage, record: Any, source: Path, role: str = JUDGE_MODEL
) -> dict[str, Any]:
    """Ask the judge about the records of `source`, where a run before did not. Gives facts of what that took."""
    tally = Tally()
    task = Task(work, stage, record, judge.by, work.config.resources, role)
    ask_shards(task, plan_tasks(work.directory, source, None), tally)
    return facts_of(work.directory / REPLIES, judge.by, tally)


def _counted(reasons: Mapping[str, int], total: int) -> str:
    """`3 of 40 (bad-form 2, 400 1)`."""
    each = ", ".join(f"{reason} {number}" for reason, number in reasons.items())
    return f"{sum(reasons.values())} of {total} ({each})"


def asked_reasons(work: Work) -> dict[str, int]:
    """Why rows have no verdict, with their number; those that have one under the empty reason."""
    reasons: Counter[str] = Counter()
    for path in shard_paths(work.directory / REPLIES):
        reasons.update(pq.read_table(path, columns=["reason"])["reason"].to_pylist())
    return dict(sorted(reasons.items()))
