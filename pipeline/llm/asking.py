"""Lets a model do a stage's work: the driver asks about every row, then the rows follow from the replies in Ray tasks.

Asking waits for others, so one event loop asks about many rows at a time. Every reply goes to the cache as it comes,
and every shard of rows to `replies/` when it is whole: a rerun asks only what nobody was asked before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.contract import Resources, Work
from pipeline.failures import UserError
from pipeline.llm.asked import AskedRecord, Conclude, Knowing, ModelStage
from pipeline.llm.base import Generator, Tally
from pipeline.llm.config import Writer
from pipeline.llm.conversation import Answer, converse
from pipeline.llm.limits import Budget
from pipeline.llm.nodes import BY_MODEL
from pipeline.llm.prompts import messages
from pipeline.llm.replies import BUDGET, Remembering, ReplyCache
from pipeline.records import Reject, table_of
from pipeline.runner import ShardTask, map_shards, plan_tasks
from pipeline.shards import read_shard, shard_paths
from pipeline.store import write_table

REPLIES = "replies"
FIGURES = ("attempts", "prompt_tokens", "completion_tokens")
SHARDS_AT_A_TIME = 2
"""So that the last questions of one shard do not leave the endpoint idle."""


@dataclass(frozen=True)
class Task:
    """A stage that a model does, in one node: what is asked of whom about which records.

    `role` is that of the node whose model answers, where it is one of the graph.
    """

    work: Work
    stage: ModelStage
    record: Any
    writer: Writer
    resources: Resources
    role: str = BY_MODEL


def make_by_model(task: Task, source: Path, schema: pa.Schema, limit: int | None, max_rejected: float) -> None:
    """Ask about the rows of `source`, map the replies to rows of `schema`, and commit the artifact."""
    work, tally = task.work, Tally()
    ask_shards(task, plan_tasks(work.directory, source, limit), tally)
    counts = map_shards(
        work,
        work.directory / REPLIES,
        Conclude(task.stage, task.record),
        AskedRecord,
        schema,
        resources=task.resources.model_copy(update={"gpus": 0.0}),
        max_rejected=max_rejected,
    )
    facts = facts_of(work.directory / REPLIES, task.writer, tally)
    work.commit(rows=counts.as_rows(), facts={"model": facts, **counts.as_facts()})


def ask_shards(task: Task, shards: Sequence[ShardTask], tally: Tally) -> None:
    """Write the shards of `replies/` that are missing.

    Raises a run error where the budget ends before the rows, and where an endpoint refuses every question.
    """
    wanted = [replace(shard, data=task.work.directory / REPLIES / shard.data.name) for shard in shards]
    missing = [shard for shard in wanted if not shard.data.exists()]
    if not sum(shard.rows for shard in wanted):
        raise UserError("data", "there are no rows to ask about.", f"node {task.work.name}", "Look at the node before.")
    if missing:
        total = sum(shard.rows for shard in wanted)
        asked = total - sum(shard.rows for shard in missing)
        try:
            asyncio.run(_ask_missing(task, missing, tally, asked, total))
        except BaseExceptionGroup as group:
            raise _first(group) from None
    _refuse_refusals(task.work, wanted)


def _refuse_refusals(work: Work, shards: Sequence[ShardTask]) -> None:
    """Raise a run error, and forget the refusals, where an endpoint refused every question: that is no answer."""
    columns = ["reason", "detail", "attempts"]
    table = pa.concat_tables([pq.read_table(shard.data, columns=columns) for shard in shards])
    asked = table.filter(pc.greater(table["attempts"], 0))
    if not asked.num_rows or not all(reason.isdecimal() for reason in asked["reason"].unique().to_pylist()):
        return
    for shard in shards:
        shard.data.unlink()
    what = f"the endpoint refused all {asked.num_rows} questions, the first with: {asked['detail'][0].as_py()}"
    raise UserError("run", what, f"node {work.name}", "Change `by`, or the server; then the same command asks again.")


async def _ask_missing(task: Task, missing: Sequence[ShardTask], tally: Tally, asked: int, total: int) -> None:
    inner = generator_of(task, tally)
    owner = f"{task.work.product}/{task.work.key}"
    cache = ReplyCache(task.work.directory.parents[1] / REPLIES, inner.identity, owner)
    budget = Budget(task.writer)
    generator = Remembering(inner, cache, budget, tally)
    questions = Questions(task, generator, asked, total)
    gate = asyncio.Semaphore(SHARDS_AT_A_TIME)
    try:
        async with asyncio.TaskGroup() as group:
            for shard in missing:
                group.create_task(_ask_shard(shard, questions, cache, gate))
    finally:
        await generator.close()
    if budget.stopped:
        what = f"the budget is used up: {budget.stopped}; {questions.asked} of {total} rows are answered."
        hint = "Raise it, and run the same command: what was answered is kept and not paid for again."
        raise UserError("run", what, f"node {task.work.name}", hint)


@dataclass
class Questions:
    """Asks about rows and counts them."""

    task: Task
    generator: Generator
    asked: int
    total: int

    async def ask(self, record: Any) -> AskedRecord:
        """Ask about one row until the reply has the right form."""
        said = await self._ask(record)
        if said.reason != BUDGET:
            self.asked += 1
            self.task.work.progress(self.asked, self.total, "questions")
        return said

    async def _ask(self, record: Any) -> AskedRecord:
        stage, writer = self.task.stage, self.task.writer
        row = json.dumps(record.to_row(), ensure_ascii=False)
        facts = stage.facts(record)
        if isinstance(facts, Reject):
            return AskedRecord(record.id, row, "", facts.reason, facts.detail)
        opening = messages(stage.prompt, facts, writer.prompts)
        hidden = ""
        if writer.backend == "erring" and isinstance(stage, Knowing):
            # In a thread: to know what is right may take running the answer's code.
            hidden = (await asyncio.to_thread(stage.hidden, record)).as_text()
        said = await converse(
            self.generator,
            opening,
            stage.reply_type(),
            lambda reply: stage.problems(record, reply),
            writer.attempts,
            hidden,
        )
        spent = (said.attempts, said.prompt_tokens, said.completion_tokens)
        if isinstance(said, Answer):
            return AskedRecord(record.id, row, said.said.model_dump_json(), "", "", *spent)
        return AskedRecord(record.id, row, "", said.failure.reason, said.failure.detail, *spent)


async def _ask_shard(shard: ShardTask, questions: Questions, cache: ReplyCache, gate: asyncio.Semaphore) -> None:
    """Ask about every row of a shard at once; the generator holds back what is too much. It is written whole."""
    async with gate:
        records = read_shard(shard.source, questions.task.record)[: shard.rows]
        async with asyncio.TaskGroup() as group:
            rows = [group.create_task(questions.ask(record)) for record in records]
        asked = [row.result() for row in rows]
        if all(row.reason != BUDGET for row in asked):
            cache.sync()
            write_table(shard.data, table_of(asked, AskedRecord.SCHEMA))


def generator_of(task: Task, tally: Tally) -> Generator:
    """The back end that a node's `by` names."""
    writer = task.writer
    if writer.backend == "endpoint":
        from pipeline.llm.endpoint import Endpoint

        return Endpoint(writer, tally)
    if writer.backend == "vllm":
        from pipeline.llm.served import Served

        return Served(writer, task.work.source(task.role), task.resources, tally)
    if writer.backend == "erring":
        from pipeline.llm.erring import Erring

        return Erring(writer.error_rate, task.work.config.seed, tally)
    from pipeline.llm.scripted import Scripted

    return Scripted.from_file(Path(writer.script), tally)


def facts_of(replies: Path, writer: Writer, tally: Tally) -> dict[str, Any]:
    """For the manifest: what all replies took, whenever they were given, and what this run sent to get them."""
    tables = [pq.read_table(path, columns=list(FIGURES)) for path in shard_paths(replies)]
    table = pa.concat_tables(tables)
    totals = {name: pc.sum(table[name]).as_py() or 0 for name in FIGURES}
    cost = writer.cost(totals["prompt_tokens"], totals["completion_tokens"])
    return {**totals, "rows": table.num_rows, "cost": round(cost, 6), "this_run": tally.as_facts()}


def _first(group: BaseExceptionGroup) -> BaseException:
    """The one that made the others stop; a user's error before others."""
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in leaves if isinstance(error, UserError)), leaves[0])
