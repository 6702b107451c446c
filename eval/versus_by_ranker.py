"""Pairs of answers before PairRM, in Ray Data actors. The mean over both orders decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.versus import ALIKE, DISAGREE, Decided, Duel
from pipeline import cluster
from pipeline.contract import Resources, Work
from pipeline.shards import read_shard, shard_paths, write_shards
from pipeline.store import SCRATCH, write_table

if TYPE_CHECKING:
    from eval.versus_nodes import VersusConfig

SHARD_PAIRS = 128
LOGITS = pa.schema([("a_first", pa.float64()), ("b_first", pa.float64())])
"""Of each pair how much better `a` is, by either order."""


@dataclass(frozen=True)
class RankTask:
    """A shard of pairs to be ranked, and where their logits go."""

    source: Path
    pairs: int
    data: Path


def verdicts(work: Work, duels: Sequence[Duel]) -> tuple[Iterator[tuple[str, list[Decided]]], dict[str, Any]]:
    """The verdicts in shards, by their names, and facts: the model."""
    from eval.scorers.pairrm import opened

    config: VersusConfig = work.config
    assert config.pairrm is not None, "the config was checked"
    given = work.all_sources("pairrm.model")
    model = str(given[0].root) if given else config.pairrm.model
    opened(model)  # so that a wrong one is told of before actors are started
    tasks = _tasks(work, duels)
    _rank(work, tasks, model)
    facts = {"pairrm": {"model": config.pairrm.model}}
    return ((task.data.name, _decided(task)) for task in tasks), facts


def _tasks(work: Work, duels: Sequence[Duel]) -> list[RankTask]:
    scratch = work.directory / SCRATCH
    write_shards(scratch / "duels", duels, Duel.SCHEMA, SHARD_PAIRS)
    return [
        RankTask(path, pq.read_metadata(path).num_rows, scratch / "logits" / path.name)
        for path in shard_paths(scratch / "duels")
    ]


def _rank(work: Work, tasks: Sequence[RankTask], model: str) -> None:
    """Rank what is missing, and tell the work how many pairs are done."""
    missing = [task for task in tasks if not task.data.exists()]
    total = sum(task.pairs for task in tasks)
    done = total - sum(task.pairs for task in missing)
    work.progress(done, total, "pairs")
    for row in _ranked(missing, model, work.config.pairrm.batch_size, work.config.resources):
        done += row["pairs"]
        work.progress(done, total, "pairs")


def _ranked(tasks: Sequence[RankTask], model: str, batch_size: int, resources: Resources) -> Iterator[Any]:
    """Run the tasks on actors that hold the model each; gives a row for each task that is done."""
    if not tasks:
        return
    cluster.connect()
    import ray
    from ray.data import ActorPoolStrategy

    cluster.data_context()
    numbers = [{"id": number} for number in range(len(tasks))]
    dataset = ray.data.from_items(numbers, override_num_blocks=len(tasks)).map_batches(
        Ranker,
        fn_constructor_args=(list(tasks), model, batch_size, resources),
        batch_size=1,
        num_cpus=resources.cpus,
        num_gpus=resources.gpus or None,
        compute=ActorPoolStrategy(size=min(resources.concurrency or 1, len(tasks))),
    )
    yield from dataset.iter_rows()


class Ranker:
    """The actor: the model, and the tasks by number."""

    def __init__(self, tasks: list[RankTask], model: str, batch_size: int, resources: Resources) -> None:
        import torch

        from eval.scorers.pairrm import LoadedRanker

        torch.set_num_threads(max(int(resources.cpus), 1))
        self.tasks = tasks
        self.batch_size = batch_size
        self.ranker = LoadedRanker.load(model, "cuda" if resources.gpus else "cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        tasks = [self.tasks[int(number)] for number in batch["id"]]
        for task in tasks:
            write_table(task.data, pa.Table.from_pylist(self._logits(read_shard(task.source, Duel)), LOGITS))
        return {"pairs": [task.pairs for task in tasks]}

    def _logits(self, duels: Sequence[Duel]) -> list[dict[str, float]]:
        """Batches of pairs of like length, so that little is padding; the logits in the order of the pairs."""
        from eval.scorers.pairrm import Pair

        order = sorted(range(len(duels)), key=lambda number: len(duels[number].answer_a + duels[number].answer_b))
        found: dict[int, tuple[float, float]] = {}
        for start in range(0, len(order), self.batch_size):
            numbers = order[start : start + self.batch_size]
            pairs = [Pair(duels[n].prompt, duels[n].answer_a, duels[n].answer_b) for n in numbers]
            found.update(zip(numbers, self.ranker.both_orders(pairs), strict=True))
        return [dict(zip(LOGITS.names, found[number], strict=True)) for number in range(len(duels))]


def _decided(task: RankTask) -> list[Decided]:
    duels, rows = read_shard(task.source, Duel), pq.read_table(task.data).to_pylist()
    return [decide(duel, row["a_first"], row["b_first"]) for duel, row in zip(duels, rows, strict=True)]


def decide(duel: Duel, a_first: float, b_first: float) -> Decided:
    """The verdict by how much better `a` is in either order: the sign of the mean."""
    if duel.identical:
        return Decided(duel.verdict(0.5, "tie: both answers are the same text"), ALIKE)
    mean = (a_first + b_first) / 2
    value, said = (1.0, f"{duel.a} wins") if mean > 0 else (0.0, f"{duel.b} wins") if mean < 0 else (0.5, "tie")
    why = f"{said}; mean logit {mean:+.4f}: {a_first:+.4f} with a first, {b_first:+.4f} with b first"
    return Decided(duel.verdict(value, why), DISAGREE if a_first * b_first < 0 else "")
