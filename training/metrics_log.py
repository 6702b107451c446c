"""Metrics of a run: a line of JSON for each step, and the same for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.store import write_text

METRICS = "metrics.jsonl"
BOARD = "tensorboard"


class MetricsLog:
    """Writes the figures of every step; only the first rank is enabled.

    After a resume, the lines of steps that will be made again are dropped, and TensorBoard is told to forget them.
    """

    def __init__(self, directory: Path, done: int, *, enabled: bool) -> None:
        self.path = directory / METRICS
        self.enabled = enabled
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        self._forget_after(done)
        self.board = SummaryWriter(str(directory / BOARD), purge_step=done + 1)
        self.file = self.path.open("a", encoding="utf-8")

    def _forget_after(self, done: int) -> None:
        """Drop the lines of steps that will be made again."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        kept = "".join(lines[:done])
        write_text(self.path, kept)

    def write(self, figures: dict[str, Any]) -> None:
        if not self.enabled:
            return
        self.file.write(json.dumps(figures) + "\n")
        self.file.flush()
        for name, value in figures.items():
            if name not in ("step", "total") and not isinstance(value, str):
                self.board.add_scalar(name, value, figures["step"])

    def close(self) -> None:
        if self.enabled:
            self.file.close()
            self.board.close()

    def totals(self) -> dict[str, Any]:
        """Tokens and seconds of the whole run, the parts before an interruption included."""
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        return {
            "train_tokens": sum(line["tokens"] for line in lines),
            "train_seconds": round(sum(line["seconds"] for line in lines), 3),
            "final_loss": lines[-1]["loss"],
        }
