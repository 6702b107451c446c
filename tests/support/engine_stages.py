"""Trains under one ZeRO stage after another with real DeepSpeed; run by torch.distributed.run, writes JSON.

`start` trains with as many ranks as it is given, and leaves a checkpoint in the middle; `go_on` resumes that with
another number of ranks.
"""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pipeline.failures import UserError
from training import checkpoint, engine, lora
from training.batches import collate, on, sample_order
from training.configs import ModelConfig
from training.micro_batches import in_budget, row_length
from training.tokens import Example

STEPS, HALF = 12, 6
SETTINGS = {"init": "base", "data": "rows", "kind": "sft", "learning_rate": 1e-3, "micro_tokens": 60, "warmup_steps": 2}
BATCH = 6


def examples() -> list[Example]:
    """Rows of many lengths, with weights on all but their first two tokens."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 40, (20,), generator=draw).tolist()
    rows = [torch.randint(5, 60, (length,), generator=draw).tolist() for length in lengths]
    return [Example(f"row-{n}", tuple(row), (0.0, 0.0, *[1.0] * (len(row) - 2)), 2) for n, row in enumerate(rows)]


def split(config: ModelConfig, rows: list[Example]) -> list[tuple[list[Example], bool]]:
    """This rank's micro-batches of a step."""
    assert config.micro_tokens is not None
    parts = in_budget([row_length(row) for row in rows], distributed.get_world_size(), config.micro_tokens)
    return [([rows[place] for place in part.rows], part.counts) for part in parts[distributed.get_rank()]]


def backward(made: Any, config: ModelConfig, rows: list[Example], scale: float = 1.0) -> float:
    """The gradient of the token mean over a step's rows, and that mean."""
    weight, total = sum(sum(row.weights) for row in rows), torch.zeros(1, dtype=torch.float64)
    parts = split(config, rows)
    for number, (part, counts) in enumerate(parts):
        batch = on(collate(part, 0), made.device)
        loss = -(made(batch).logps * batch.weights).sum() / weight
        total += float(loss) * counts
        factor = distributed.get_world_size() * counts * scale
        engine.backward(made, loss * factor, last=number == len(parts) - 1)
    distributed.all_reduce(total)
    return total.item()


def train(made: Any, config: ModelConfig, steps: range) -> list[float]:
    rows, losses = examples(), []
    order = sample_order(len(rows), BATCH, STEPS * BATCH / len(rows), seed=0)
    for step in steps:
        losses.append(backward(made, config, [rows[place] for place in order[step]]))
        engine.step(made, config)
    return losses


@contextmanager
def started(base: Path, config: ModelConfig) -> Iterator[Any]:
    model, keeper = engine.load_model(str(base), config, sharded=True)
    if config.lora is not None:
        model = lora.wrap(model, config.lora, base="../base", seed=0)
    made = engine.initialize(model, config)
    made.train()
    yield made
    del made, model, keeper
    gc.collect()


def bad_gradient(base: Path, config: ModelConfig) -> dict[str, Any]:
    """The norm that a step tells of a gradient that is no number, and whether the weights stayed as they were."""
    with started(base, config) as made:
        before = {name: value.clone() for name, value in made.module.state_dict().items()}
        backward(made, config, examples()[:BATCH], scale=math.inf)
        norm = engine.step(made, config)
        after = made.module.state_dict()
        return {"norm": str(norm), "kept": all(torch.equal(value, after[name]) for name, value in before.items())}


def buffers(base: Path, config: ModelConfig) -> list[str]:
    """The buffers that differ from those of the model as it is loaded elsewhere."""
    plain, _ = engine.load_model(str(base), config, sharded=False)
    expected = dict(plain.named_buffers())
    assert expected
    with started(base, config) as made:
        model = made.module.model
        found = dict((model.get_base_model() if lora.is_adapted(model) else model).named_buffers())
        return [name for name, value in expected.items() if not torch.equal(value, found[name])]


def refused(base: Path, zero: int) -> list[Any]:
    """The error of a misspelled key of DeepSpeed's configuration."""
    config = ModelConfig(**SETTINGS, zero=zero, ds_config={"zero_optimization": {"overlap_com": True}})
    try:
        with started(base, config):
            return []
    except UserError as error:
        return list(error.args)


def start(base: Path, scratch: Path, config: ModelConfig) -> dict[str, Any]:
    with started(base, config) as made:
        losses = train(made, config, range(HALF))
        checkpoint.save(made, scratch, HALF)
        losses += train(made, config, range(HALF, STEPS))
    return {"losses": losses, "bad": bad_gradient(base, config), "other_buffers": buffers(base, config)}


def go_on(base: Path, scratch: Path, config: ModelConfig) -> dict[str, Any]:
    with started(base, config) as made:
        step = checkpoint.load(made, scratch)
        losses = train(made, config, range(step, STEPS))
        checkpoint.save(made, scratch, STEPS)
    with started(base, config) as made:
        assert checkpoint.load(made, scratch) == STEPS
    return {"step": step, "losses": losses, "left": sorted(path.name for path in scratch.iterdir())}


def main(what: str, base: Path, scratch: Path, cases: dict[str, dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    engine.prepare_process(on_gpu=False)
    do = {"start": start, "go_on": go_on}[what]
    found = {name: do(base, scratch / name, ModelConfig(**SETTINGS, **fields)) for name, fields in cases.items()}
    if what == "start":
        found["refused"] = {str(zero): refused(base, zero) for zero in (1, 3)}
    if distributed.get_rank() == 0:
        (scratch / f"{what}.json").write_text(json.dumps(found))
    distributed.barrier()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
