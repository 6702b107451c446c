"""Metrics of a run: a line of JSON for each step, the same for TensorBoard, and samples.

A line with step n says what was seen in the n-th step, or after it where rows are held out (`EVALUATED`). Step 0 has a
line only where rows are held out, and nothing else in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.store import write_text

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
"""Answers to held-out prompts: step, id, prompt, response and finish_reason in each line."""
BOARD = "tensorboard"
EVALUATED = "eval/"
"""How the names of figures on held-out rows begin."""
NOT_DRAWN = ("step", "total")


class MetricsLog:
    """Writes the figures of every step; only the first rank is enabled.

    After a resume, the lines of steps that will be made again are dropped, and TensorBoard is told to forget them.
    """

    def __init__(self, directory: Path, done: int, *, enabled: bool) -> None:
        self.path = directory / METRICS
        self.samples = directory / SAMPLES
        self.enabled = enabled
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        for path in (self.path, self.samples):
            _forget_after(done, path)
        # A run from the start also says again what is known of step 0.
        self.board = SummaryWriter(str(directory / BOARD), purge_step=done + 1 if done else 0)

    def write(self, figures: Mapping[str, Any], samples: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add a step's line, if there are figures, and the samples that were taken then."""
        if not self.enabled or not figures:
            return
        _append(self.samples, samples)
        _append(self.path, [figures])
        for name, value in figures.items():
            if name not in NOT_DRAWN and not isinstance(value, str):
                self.board.add_scalar(name, value, figures["step"])

    def close(self) -> None:
        if self.enabled:
            self.board.close()

    def totals(self) -> dict[str, Any]:
        """Tokens and seconds of the whole run, the parts before an interruption included."""
        lines = _lines(self.path)
        steps = [line for line in lines if "loss" in line]
        return {
            "train_tokens": sum(line["tokens"] for line in steps),
            "train_seconds": round(sum(line["seconds"] for line in steps), 3),
            "final_loss": steps[-1]["loss"],
        }

    def evaluation(self) -> dict[str, Any]:
        """The last figures on held-out rows, and the seconds that all of them took."""
        measured = [line for line in _lines(self.path) if any(name.startswith(EVALUATED) for name in line)]
        if not measured:
            return {}
        seconds = sum(line.get("evaluation_seconds", 0) for line in measured)
        last = {name: value for name, value in measured[-1].items() if name.startswith(EVALUATED)}
        return {"seconds": round(seconds, 3), "figures": last}


def _forget_after(done: int, path: Path) -> None:
    """Drop the lines of steps that will be made again, and what was cut off in the middle of a line."""
    if path.exists():
        whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        write_text(path, "".join(line for line in whole if done and json.loads(line)["step"] <= done))


def _append(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    if lines:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
