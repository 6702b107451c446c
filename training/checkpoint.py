"""Checkpoints of a run in progress: DeepSpeed's shards, and our own pointer to the last whole one.

DeepSpeed names a checkpoint `latest` before every rank has written its part. Our pointer is written after a barrier, so
that what it names is whole. Checkpoints hold pickles: they are read from a node's own scratch alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from pipeline.store import write_json

POINTER = "checkpoint.json"


def save(engine: Any, directory: Path, step: int) -> None:
    """Save engine and random state after `step` steps, then point to it and remove the one before."""
    tag = f"step-{step}"
    engine.save_checkpoint(str(directory), tag=tag, save_latest=False, client_state={"rng": torch.get_rng_state()})
    distributed.barrier()
    if distributed.get_rank() == 0:
        write_json(directory / POINTER, {"step": step})
        for old in directory.glob("step-*"):
            if old.name != tag:
                shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()


def load(engine: Any, directory: Path) -> int:
    """Load the checkpoint that the pointer names and give its step; 0 where there is none."""
    step = last_step(directory)
    if not step:
        return 0
    path, state = engine.load_checkpoint(str(directory), tag=f"step-{step}")
    assert path is not None, f"the pointer names step {step}, which is not in {directory}"
    torch.set_rng_state(state["rng"])
    return step


def last_step(directory: Path) -> int:
    """The step of the last whole checkpoint; 0 where there is none."""
    pointer = directory / POINTER
    if not pointer.exists():
        return 0
    return int(json.loads(pointer.read_text(encoding="utf-8"))["step"])
