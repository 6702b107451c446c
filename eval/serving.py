"""Rows through vLLM engines in Ray Data actors, each reloaded from model to model.

LoRA adapters are served over their base, unmerged, by engines of their own: so what a model says does not depend on
which others are asked in the same run.

Rows are sorted by id and cut into batches of fixed size, one engine call and one shard each. A rerun makes the shards
that are missing, and neither that nor the number of actors changes what a batch gives.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import cluster
from pipeline.adapters import locate
from pipeline.contract import DATA, REJECTS, Work
from pipeline.failures import UserError
from pipeline.records import REJECTED, Reject, table_of
from pipeline.shards import count_rows, shard_name
from pipeline.store import SCRATCH, canonical, file_hash, write_json, write_table

if TYPE_CHECKING:
    from eval.nodes import EngineConfig
    from pipeline.chat import Tokenizer
    from pipeline.llm.vllm import Engine

BATCH = 2048
"""Requests of one engine call, and what a kill can cost. The last of a call leave the engine half empty: with 1,024 to
a call, 2,048 prompts took an eighth longer (tiny model, two cores)."""

DIVIDED = {
    "num_attention_heads": "attention heads",
    "intermediate_size": "units of each feed-forward layer",
    "vocab_size": "vocabulary entries",
}
"""What tensor parallelism divides, by its name in config.json."""
VOCABULARY_STEP = 64
"""vLLM fills the vocabulary up to a multiple of it."""

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Usage:
    """What an engine call took. Tokens of a prompt count once, however many answers it gets."""

    prompt_tokens: int
    completion_tokens: int
    engine_seconds: float


@dataclass(frozen=True)
class Served:
    """What became of a batch of rows."""

    records: list[Any]
    rejects: list[Reject]
    usage: Usage


@dataclass(frozen=True)
class Service:
    """What an engine does for a node: functions of a module, so that actors can be told of them.

    Attributes:
        role: the input whose rows are served.
        schema: of the records that come of them.
        read: rows from a directory of shards, at most so many.
        serve: the model's engine and tokenizer on a batch of rows.
        requests: how many each row makes.
    """

    role: str
    schema: pa.Schema
    read: Callable[[Path, int | None], Iterable[Any]]
    serve: Callable[[Engine, Tokenizer, Any, Sequence[Any]], Served]
    requests: Callable[[Any], int]


@dataclass(frozen=True)
class Batch:
    """Some rows for one model: `size` rows of the sorted ones from `start`, to `output`.

    Rows that cannot be served go to `rejects`, and what it took to `note`; both are written first.
    """

    model: Path
    rows: Path
    config: EngineConfig
    start: int
    size: int
    output: Path
    rejects: Path
    note: Path


def serve(works: Sequence[Work], service: Service) -> None:
    """Serve every work's rows with its model and commit each as soon as it is whole."""
    for work in works:
        _refuse_uneven(work)
    batches = {work.name: batches_of(work, service) for work in works}
    left = list(works)
    for alike in _by_architecture(works):
        missing = [batch for work in alike for batch in batches[work.name] if not batch.output.exists()]
        for _ in _served(missing, service):
            left = _commit_whole(left, batches)
    left = _commit_whole(left, batches)
    assert not left, f"shards of {left[0].name} are missing"


def _refuse_uneven(work: Work) -> None:
    """Raise a config error where a model cannot be dealt out evenly to the GPUs of an engine."""
    gpus, file = work.config.resources.gpus, locate(work.source("models").root).weights / "config.json"
    if gpus <= 1 or not file.exists():
        return
    shape = json.loads(file.read_text(encoding="utf-8"))
    parts = {words: shape[name] for name, words in DIVIDED.items() if shape.get(name)}
    if "vocabulary entries" in parts:
        parts["vocabulary entries"] = -(-parts["vocabulary entries"] // VOCABULARY_STEP) * VOCABULARY_STEP
    uneven = [f"{number} {words}" for words, number in parts.items() if number % gpus]
    if uneven:
        what = f"the model's {' and '.join(uneven)} cannot be divided evenly among {gpus:g} GPUs."
        fitting = [str(count) for count in range(1, 17) if not any(number % count for number in parts.values())]
        raise UserError("config", what, f"node {work.name}, resources.gpus", f"Take one of {', '.join(fitting)}.")


def batches_of(work: Work, service: Service) -> list[Batch]:
    """The batches of a work, of which each makes a shard."""
    config: EngineConfig = work.config
    rows, model = work.source(service.role).data, work.source("models").root
    count = min(count_rows(rows), config.limit or 2**62)
    if not count:
        raise UserError("data", "there are no rows.", f"node {work.name}, {rows}", "Look at the node before.")
    size = max(1, BATCH // service.requests(config))
    names = [shard_name(index) for index in range(-(-count // size))]
    return [
        Batch(
            model,
            rows,
            config,
            index * size,
            size,
            work.directory / DATA / name,
            work.directory / REJECTS / name,
            work.directory / SCRATCH / "usage" / f"{Path(name).stem}.json",
        )
        for index, name in enumerate(names)
    ]


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


def _commit_whole(works: Sequence[Work], batches: dict[str, list[Batch]]) -> list[Work]:
    """Commit the works whose shards are all there and give the others, whose time begins now."""
    left = []
    for work in works:
        made = batches[work.name]
        done = sum(batch.output.exists() for batch in made)
        if done:
            work.progress(done, len(made), "batches")
        if done == len(made):
            _commit(work, made)
        else:
            left.append(work)
    if len(left) < len(works):
        for work in left:
            work.started = time.time()
    return left


def _commit(work: Work, batches: Sequence[Batch]) -> None:
    """Commit a work whose shards are there. Rows are those of the input, whatever each makes of records."""
    taken = min(count_rows(batches[0].rows), work.config.limit or 2**62)
    rejected = count_rows(work.directory / REJECTS)
    rows = {"in": taken, "out": taken - rejected, "rejected": rejected}
    work.commit(rows=rows, facts={"usage": usage_of([batch.note for batch in batches])})


def usage_of(notes: Sequence[Path]) -> dict[str, float]:
    """What all batches took together, and the tokens that an engine made (or, making none, read) in a second.

    A batch whose note is gone, as where a whole artifact lost its manifest, is not counted.
    """
    found = [Usage(**json.loads(note.read_text(encoding="utf-8"))) for note in notes if note.exists()]
    prompt, completion = sum(one.prompt_tokens for one in found), sum(one.completion_tokens for one in found)
    seconds = sum(one.engine_seconds for one in found)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "engine_seconds": round(seconds, 3),
        "tokens_per_second": round((completion or prompt) / seconds, 1) if seconds else 0.0,
    }


def _served(batches: Sequence[Batch], service: Service) -> Iterator[Any]:
    """Serve the batches, whose engine settings are the same, in actors; gives a row for each that is done."""
    if not batches:
        return
    resources = batches[0].config.resources
    replicas = min(resources.concurrency or 1, len(batches))
    cluster.connect()
    import ray
    from ray.data import ActorPoolStrategy

    cluster.data_context()
    # Items, unlike a range, are not read by tasks that may overtake each other: models come in their order, but that an
    # actor may begin the later of two batches that wait for it. Another order costs a reload, and changes no answer.
    numbers = [{"id": number} for number in range(len(batches))]
    dataset = ray.data.from_items(numbers, override_num_blocks=len(batches)).map_batches(
        Server,
        fn_constructor_args=(list(batches), service, replicas if cluster.is_local() else 1),
        batch_size=1,
        num_cpus=resources.cpus,
        num_gpus=resources.gpus or None,
        # Alone, an actor has its next batch at once. One of several takes none that another could begin.
        compute=ActorPoolStrategy(size=replicas, max_tasks_in_flight_per_actor=2 if replicas == 1 else 1),
    )
    yield from dataset.iter_rows()


class Server:
    """The actor: an engine, and the tokenizer of the model it holds. On CPU, `sharing` engines divide the cores."""

    def __init__(self, batches: list[Batch], service: Service, sharing: int) -> None:
        self.batches = batches
        self.service = service
        # Ray Data makes an actor in one thread and calls it in another. OpenMP gives each a team of its own, and where
        # both together have more threads than there are cores, idle ones sleep rather than wait: a quarter slower.
        self.thread = ThreadPoolExecutor(1)
        self.engine = self.thread.submit(engine_for, batches[0].model, batches[0].config, sharing).result()
        self.rows = lru_cache(maxsize=1)(self._sorted_rows)
        self.tokenizer = lru_cache(maxsize=1)(_tokenizer)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        numbers = [int(number) for number in batch["id"]]
        for number in numbers:
            self.thread.submit(self._serve, self.batches[number]).result()
        return {"id": numbers}

    def _serve(self, batch: Batch) -> None:
        rows = self.rows(batch.rows, batch.config.limit)[batch.start : batch.start + batch.size]
        self.engine.load(batch.model)
        served = self.service.serve(self.engine, self.tokenizer(batch.model), batch.config, rows)
        write_json(batch.note, asdict(served.usage))
        write_table(batch.rejects, table_of(served.rejects, REJECTED))
        write_table(batch.output, table_of(served.records, self.service.schema))

    def _sorted_rows(self, path: Path, limit: int | None) -> list[Any]:
        return sorted(self.service.read(path, limit), key=lambda row: row.id)


def engine_for(model: Path, config: EngineConfig, sharing: int = 1) -> Engine:
    """The engine that a node's config asks for, holding this model."""
    from pipeline.llm.vllm import Engine

    gpus = config.resources.gpus
    threads = max(1, cluster.cores() // sharing) if gpus == 0 else 1
    return Engine(
        model,
        max_length=config.max_length,
        dtype=DTYPES[config.dtype],
        threads=threads,
        gpus=gpus,
        no_repeat=config.bans_repeats,
    )


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, trust_remote_code=False)


def too_long(record_id: str, what: str, tokens: int, max_length: int) -> Reject:
    """What is said of a row that leaves no room for a token more."""
    return Reject(record_id, "too-long", f"the {what} has {tokens} tokens, max_length is {max_length}")
