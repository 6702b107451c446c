"""Runs trials under Ray Tune: a Tune function for each trial, which launches a Ray Train run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from kintsugi.execute import work_of
from kintsugi.graph import Graph
from kintsugi.sweep.ledger import Ledger, Trial
from kintsugi.sweep.plan import Plan, Planned, data_node
from pipeline import cluster
from pipeline.contract import Source, Work
from pipeline.store import Store, read_manifest, remove_abandoned
from training.configs import ModelConfig
from training.evaluation import Evaluation

ENVIRONMENT = {
    # Our own ledger, page and event files take the place of Tune's loggers.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C ends the command like any other, not Tune alone.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def tune_trials(
    plan: Plan, ledger: Ledger, left: Sequence[Planned], store: Store, run: Path, ended: Callable[[Trial], None]
) -> None:
    """Run the trials that are left; each ends in the ledger. The dashboard is on: without Ray's State API the CPUs of
    stopped trials are never given back."""
    os.environ.update(ENVIRONMENT)
    cluster.connect(dashboard=True)
    from ray import tune

    from kintsugi.sweep.steering import AshaPerArm, PlannedSearch, Record
    from kintsugi.sweep.studies import Studies
    from kintsugi.sweep.trial import Workshop, train_trial

    config = plan.sweep.config
    studies = Studies(plan, ledger.ended()) if config.search == "optuna" else None
    scheduler = AshaPerArm(plan.arms, config, ledger.ended()) if config.scheduler == "asha" else None
    workshop = Workshop(_templates(plan, store), evaluation_of(plan, store), store)

    def tell(trial: Trial) -> None:
        if studies is not None:
            studies.tell(trial)
        ended(trial)

    notes = run / ".tune"
    shutil.rmtree(notes, ignore_errors=True)
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(train_trial, workshop=workshop), {"CPU": 0.01}),
            tune_config=tune.TuneConfig(
                search_alg=PlannedSearch(plan, ledger, left, studies),
                scheduler=scheduler,
                num_samples=len(left),
                max_concurrent_trials=config.max_concurrent or concurrency(plan),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(notes),
                verbose=0,
                callbacks=[Record(ledger, lambda key: made(store, key), tell)],
            ),
        ).fit()
    finally:
        shutil.rmtree(notes, ignore_errors=True)
        remove_abandoned(store.root)


def made(store: Store, key: str) -> Path | None:
    """The directory of a model, where it is whole."""
    directory = store.directory("models", key)
    return directory if read_manifest(directory) is not None else None


def evaluation_of(plan: Plan, store: Store) -> Evaluation:
    """The validation rows, as training reads them."""
    config = plan.sweep.config.evaluation
    node = plan.graph.nodes[data_node(plan.sweep)]
    split = config.data.rpartition(".")[2]
    root = store.directory(node.kind.product, node.key)
    source = Source("evaluation", node.name, node.kind.product, node.key, split, root)
    return Evaluation(source, config.times, config.limit)


def concurrency(plan: Plan) -> int:
    """Trials that fit at a time: on the cores of this machine, or on the GPUs of the cluster."""
    import ray

    config: ModelConfig = next(iter(plan.arms.values())).template.config
    if config.resources.gpus:
        return max(1, int(ray.cluster_resources().get("GPU", 0) // (config.workers * config.resources.gpus)))
    return max(1, int(cluster.cores() // (config.workers * config.resources.cpus)))


def _templates(plan: Plan, store: Store) -> dict[str, Work]:
    graph = Graph(plan.shared, {**plan.graph.nodes, **{arm.template.name: arm.template for arm in plan.arms.values()}})
    works = {name: work_of(graph, arm.template, store) for name, arm in plan.arms.items()}
    return {name: work.unwatched(work.config) for name, work in works.items()}
