"""Trains an adapter under one ZeRO stage after another with real DeepSpeed; run by torch.distributed.run, prints JSON.

Each stage: six steps with dropout, a checkpoint after the third, then a new engine that goes on from there; and an
engine that goes on training the saved adapter.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import distributed

from training import checkpoint, engine, lora
from training.batches import Batch, collate
from training.configs import ModelConfig
from training.tokens import Example

STEPS, HALF = 6, 3
SETTINGS = {"init": "base", "data": "rows", "kind": "sft", "learning_rate": 1e-2, "batch_size": 4, "workers": 2}


def tokens(step: int, rank: int) -> torch.Tensor:
    """Rows of another length on each rank, so that their dropout draws differently many numbers. int64 [2, T]."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    return torch.randint(5, 60, (2, 7 + 3 * rank + step), generator=generator)


def learnt(ids: torch.Tensor) -> Batch:
    """These rows, every token but the first to be learnt."""
    rows = [tuple(row) for row in ids.tolist()]
    return collate([Example("row", row, (0.0, *[1.0] * (len(row) - 1)), 1) for row in rows], pad_id=0)


def start(base: Path, config: ModelConfig, adapter: Path | None = None) -> tuple[Any, Any]:
    assert config.lora is not None
    torch.manual_seed(config.seed)
    model, keeper = engine.load_model(str(base), config, sharded=True)
    if adapter is None:
        adapted = lora.wrap(model, config.lora, base="../base", seed=config.seed)
    else:
        adapted = lora.go_on(model, config.lora, adapter)
    made = engine.initialize(adapted, config)
    made.train()
    return made, keeper


def train(made: Any, config: ModelConfig, steps: range) -> list[float]:
    losses = []
    for step in steps:
        ids = tokens(step, distributed.get_rank())
        with torch.no_grad(), lora.as_reference(made.module.model):
            made.module.model(input_ids=ids)
        loss = -made(learnt(ids)).logps.mean()
        engine.backward(made, loss, last=True)
        engine.step(made, config)
        losses.append(float(loss))
    return losses


def logits_off(made: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), lora.as_reference(made.module.model):
        logits: torch.Tensor = made.module.model(input_ids=ids).logits
    return logits


def logits_on(made: Any, ids: torch.Tensor) -> torch.Tensor:
    made.eval()
    with torch.no_grad():
        logits: torch.Tensor = made.module.model(input_ids=ids).logits
    made.train()
    return logits


def gone_on(base: Path, config: ModelConfig, adapter: Path, expected: torch.Tensor, ids: torch.Tensor) -> bool:
    """Whether a run that goes on starts as the adapter was left, moves away, and keeps its start as reference."""
    made, keeper = start(base, config, adapter)
    at_first = torch.equal(logits_on(made, ids), expected) and torch.equal(logits_off(made, ids), expected)
    train(made, config, range(1))
    moved = not torch.equal(logits_on(made, ids), expected)
    held = torch.equal(logits_off(made, ids), expected)
    del made, keeper
    gc.collect()
    return at_first and moved and held


def saved(made: Any, directory: Path) -> dict[str, torch.Tensor]:
    directory.mkdir(parents=True, exist_ok=True)
    engine.save_model(made, directory, distributed.get_rank())
    distributed.barrier()
    return load_file(directory / "adapter_model.safetensors")


def stage(base: Path, scratch: Path, zero: int, dtype: str) -> dict[str, Any]:
    config = ModelConfig(**SETTINGS, zero=zero, dtype=dtype, lora={"rank": 4, "dropout": 0.3})
    ids = tokens(50, 0)
    plain, _ = engine.load_model(str(base), config, sharded=False)
    with torch.no_grad():
        expected = plain.eval()(input_ids=ids).logits
    made, keeper = start(base, config)
    first = saved(made, scratch / "first")
    facts = lora.parameters(made.module.model)
    off = logits_off(made, ids)
    losses = train(made, config, range(HALF))
    checkpoint.save(made, scratch, HALF)
    losses += train(made, config, range(HALF, STEPS))
    whole = saved(made, scratch / "whole")
    after, left_with = logits_off(made, ids), logits_on(made, ids)
    del made, keeper
    gc.collect()
    made, keeper = start(base, config)
    resumed_at = checkpoint.load(made, scratch)
    again = train(made, config, range(HALF, STEPS))
    resumed = saved(made, scratch / "resumed")
    del made, keeper
    gc.collect()
    shards = sum(path.stat().st_size for path in (scratch / f"step-{HALF}").iterdir())
    return {
        "losses": losses,
        "again": again,
        "resumed_at": resumed_at,
        "bit_identical": whole.keys() == resumed.keys() and all(torch.equal(whole[k], resumed[k]) for k in whole),
        "moved": any(not torch.equal(first[name], whole[name]) for name in whole),
        "first": {name: float(tensor.double().abs().sum()) for name, tensor in first.items()},
        "whole": {name: float(tensor.double().abs().sum()) for name, tensor in whole.items()},
        "gone_on": gone_on(base, config, scratch / "whole", left_with, ids),
        "off_stays": torch.equal(off, after),
        "off_is_base": torch.equal(after, expected),
        "checkpoint_bytes": shards,
        **facts,
    }


def main(base: Path, scratch: Path, cases: list[list[Any]]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    engine.prepare_process(on_gpu=False)
    found = {f"{zero}-{dtype}": stage(base, scratch / f"{zero}-{dtype}", zero, dtype) for zero, dtype in cases}
    everyone: list[Any] = [None, None]
    distributed.all_gather_object(everyone, found)
    if distributed.get_rank() == 0:
        (scratch / "found.json").write_text(json.dumps(everyone))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
