"""Starts one Ray Train worker group for a chain of models, and shows how far it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cluster
from pipeline.contract import Work
from pipeline.failures import UserError
from pipeline.store import draft, read_manifest
from training.configs import ModelConfig
from training.metrics_log import METRICS

if TYPE_CHECKING:
    from training.evaluation import Evaluation

WORKER_RESTARTS = 2
POLL_SECONDS = 0.5


def train(works: Sequence[Work], evaluation: Evaluation | None = None, callbacks: Sequence[Any] = ()) -> None:
    """Train models one after another in one worker group; each commits its own manifest.

    With an `evaluation`, models are measured on held-out answers while they train, and Ray Train's `callbacks` hear of
    it. Where one model fails, those before it stay. Raises the user's error of a worker as it is.
    """
    cluster.connect()
    store = works[0].directory.parents[1]
    # Ray resumes silently from notes that it finds, and resuming is the worker's business here.
    with draft(store, f"group-{works[0].key}") as notes:
        trainer = _trainer(works, evaluation, callbacks, notes)
        with _progress(works):
            trainer.fit()
        _raise_failure(notes)


def _trainer(works: Sequence[Work], evaluation: Evaluation | None, callbacks: Sequence[Any], notes: Path) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from training.worker import train_group

    config: ModelConfig = works[0].config
    on_gpu = config.resources.gpus > 0

    class Trainer(TorchTrainer):
        """Leaves Ctrl-C to this program. Ray would end it with exit code 0, and keep its handler after the training."""

        def _register_sigint_handler(self, controller: Any) -> None:
            pass

    return Trainer(
        train_group,
        train_loop_config={
            "works": [_for_worker(work) for work in works],
            "evaluation": evaluation,
            "threads": config.resources.cpus,
            "on_gpu": on_gpu,
            "directory": str(notes),
        },
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(config.min_workers, config.workers) if config.min_workers else config.workers,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": config.resources.cpus, **({"GPU": config.resources.gpus} if on_gpu else {})},
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(notes.resolve()),
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            callbacks=list(callbacks),
        ),
    )


def _for_worker(work: Work) -> Work:
    """A work that can be pickled and that finds its files: workers run in directories of their own."""
    config: ModelConfig = work.config
    if not work.all_sources("init") and Path(config.init).is_dir():
        config = config.model_copy(update={"init": str(Path(config.init).resolve())})
    return work.unwatched(config)


def _raise_failure(directory: Path) -> None:
    from training.worker import FAILURE

    path = directory / FAILURE
    if path.exists():
        raise UserError(*json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def _progress(works: Sequence[Work]) -> Iterator[None]:
    """Report each model's steps while it trains, from the metrics file that its first worker writes."""
    stop = threading.Event()

    def follow() -> None:
        left = list(works)
        while left:
            last = stop.wait(POLL_SECONDS)
            while left and _report(left[0]):
                left.pop(0)
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _report(work: Work) -> bool:
    """Pass on how far a model is; whether it is made."""
    made = read_manifest(work.directory) is not None
    with suppress(OSError, ValueError, IndexError):
        last = json.loads((work.directory / METRICS).read_text(encoding="utf-8").splitlines()[-1])
        work.progress(last["step"], last["total"], "steps")
    if made:
        work.finished()
    return made
