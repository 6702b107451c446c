"""Answers of models to prompts: one vLLM engine in a Ray Data actor, reloaded from model to model.

LoRA adapters are served over their base, unmerged, by engines of their own: so a model's answers do not depend on which
others are asked in the same run.

Prompts are sorted by id and cut into batches of fixed size, one engine call each, so that the answers do not depend on
how the work was divided.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cluster
from pipeline.adapters import locate
from pipeline.chat import prompt_ids
from pipeline.contract import DATA, REJECTS, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, GenerationRecord, QARecord, Reject, table_of
from pipeline.shards import count_rows, read_records, shard_name
from pipeline.store import canonical, file_hash, write_table

if TYPE_CHECKING:
    from eval.nodes import GenerateConfig

BATCH_ROWS = 150


@dataclass(frozen=True)
class GenerationTask:
    """One batch of one model: rows `start` to `start + BATCH_ROWS` of the sorted prompts, to `output`.

    Prompts that leave no room for an answer go to `rejects`, which is written first.
    """

    model: Path
    prompts: Path
    config: GenerateConfig
    start: int
    output: Path
    rejects: Path


def generate(works: Sequence[Work]) -> None:
    """Answer every work's prompts with its model and commit each as soon as it is whole."""
    tasks = {work.name: _tasks(work) for work in works}
    left = list(works)
    for alike in _by_architecture(works):
        missing = [task for work in alike for task in tasks[work.name] if not task.output.exists()]
        for _ in _answered(missing):
            left = _commit_whole(left, tasks)
    left = _commit_whole(left, tasks)
    assert not left, f"shards of {left[0].name} are missing"


def _by_architecture(works: Sequence[Work]) -> list[list[Work]]:
    """Works whose models one engine can hold in turn: the same shape, tokenizer, ends of an answer and served rank."""
    groups: dict[str, list[Work]] = {}
    for work in works:
        groups.setdefault(_architecture(work.source("models").root), []).append(work)
    return list(groups.values())


def _architecture(model: Path) -> str:
    """All that an engine keeps when it takes other weights; models from outside may differ in any of it."""
    from pipeline.llm.vllm import served_rank

    files = locate(model)
    shape: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        if (files.weights / name).exists():
            shape[name] = json.loads((files.weights / name).read_text(encoding="utf-8"))
            for label in ("_name_or_path", "transformers_version"):
                shape[name].pop(label, None)
    vocabulary = [files.weights / name for name in ("tokenizer.json", "tokenizer.model")]
    rank = served_rank(files.rank) if files.adapter else None
    return canonical([shape, [file_hash(path) for path in vocabulary if path.exists()], rank])


def _tasks(work: Work) -> list[GenerationTask]:
    config: GenerateConfig = work.config
    prompts, model = work.source("prompts").data, work.source("models").root
    rows = min(count_rows(prompts), config.limit or 2**62)
    if not rows:
        raise UserError("data", "there are no prompts.", f"node {work.name}, {prompts}", "Look at the node before.")
    return [
        GenerationTask(
            model,
            prompts,
            config,
            start,
            work.directory / DATA / shard_name(index),
            work.directory / REJECTS / shard_name(index),
        )
        for index, start in enumerate(range(0, rows, BATCH_ROWS))
    ]


def _commit_whole(works: Sequence[Work], tasks: dict[str, list[GenerationTask]]) -> list[Work]:
    """Commit the works whose shards are all there and give the others, whose time begins now."""
    left = []
    for work in works:
        total, done = len(tasks[work.name]), sum(task.output.exists() for task in tasks[work.name])
        if done:
            work.progress(done, total, "batches")
        if done == total:
            rows, rejected = count_rows(work.directory / DATA), count_rows(work.directory / REJECTS)
            work.commit(rows={"in": rows + rejected, "out": rows, "rejected": rejected})
        else:
            left.append(work)
    if len(left) < len(works):
        for work in left:
            work.started = time.time()
    return left


def _answered(tasks: Sequence[GenerationTask]) -> Iterator[Any]:
    """Run the tasks, whose engine settings are the same, on one actor; gives a row for each that is done."""
    if not tasks:
        return
    resources = tasks[0].config.resources
    cluster.connect()
    import ray
    from ray.data import ActorPoolStrategy

    cluster.data_context()
    # Items, unlike a range, are not read by tasks that may overtake each other: models come in their order.
    numbers = [{"id": number} for number in range(len(tasks))]
    dataset = ray.data.from_items(numbers, override_num_blocks=len(tasks)).map_batches(
        Answerer,
        fn_constructor_args=(list(tasks),),
        batch_size=1,
        num_cpus=resources.cpus,
        num_gpus=resources.gpus or None,
        compute=ActorPoolStrategy(size=resources.concurrency or 1),
    )
    yield from dataset.iter_rows()


class Answerer:
    """The actor: an engine, and the tokenizer of the model it holds."""

    def __init__(self, tasks: list[GenerationTask]) -> None:
        from pipeline.llm.vllm import Engine

        self.tasks = tasks
        config = tasks[0].config
        self.engine = Engine(
            tasks[0].model,
            max_length=config.max_length,
            dtype={"fp32": "float32", "bf16": "bfloat16"}[config.dtype],
            threads=cluster.cores() if config.resources.gpus == 0 else 1,
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        numbers = [int(number) for number in batch["id"]]
        for number in numbers:
            self._answer(self.tasks[number])
        return {"id": numbers}

    def _answer(self, task: GenerationTask) -> None:
        from transformers import AutoTokenizer

        from pipeline.llm.vllm import Sampling

        tokenizer = AutoTokenizer.from_pretrained(task.model, trust_remote_code=False)
        config = task.config
        rows: list[QARecord] = sorted(read_records(task.prompts, QARecord, config.limit), key=lambda row: row.id)
        asked = [(row, prompt_ids(tokenizer, row.prompt)) for row in rows[task.start : task.start + BATCH_ROWS]]
        fitting = [(row, ids) for row, ids in asked if len(ids) < config.max_length]
        too_long = [_too_long(row, len(ids), config.max_length) for row, ids in asked if len(ids) >= config.max_length]
        self.engine.load(task.model)
        sampling = Sampling(config.max_tokens, config.temperature, config.top_p, config.seed)
        completions = self.engine.generate([ids for _, ids in fitting], sampling)
        records = [_record(row, completion) for (row, _), completion in zip(fitting, completions, strict=True)]
        write_table(task.rejects, table_of(too_long, REJECTED))
        write_table(task.output, table_of(records, GenerationRecord.SCHEMA))


def _too_long(row: QARecord, tokens: int, max_length: int) -> Reject:
    return Reject(row.id, "too-long", f"the prompt has {tokens} tokens, max_length is {max_length}")


def _record(row: QARecord, completion: Any) -> GenerationRecord:
    return GenerationRecord(
        id=row.id,
        prompt=row.prompt,
        response=completion.text,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        reference=row.response,
        source=row.source,
        tests=row.tests,
    )
