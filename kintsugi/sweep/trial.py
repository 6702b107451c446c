"""One trial of Ray Tune: a function that starts a Ray Train run and passes its evaluations on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kintsugi.sweep.plan import with_setting
from pipeline.contract import Work
from pipeline.store import Store, lease, read_manifest
from training.evaluation import Evaluation


@dataclass(frozen=True)
class Workshop:
    """What all trials share: the work of each arm but for its setting, the held-out rows, and the store."""

    templates: dict[str, Work]
    evaluation: Evaluation
    store: Store


def train_trial(config: dict[str, Any], workshop: Workshop) -> None:
    """Train one trial's model into the store; a model that is there already, by whomever, is not trained again."""
    from ray.tune.integration.ray_train import TuneReportCallback

    from training.launch import train

    work = trial_work(workshop, config)
    with lease(workshop.store.lock(work.product, work.key)):
        if read_manifest(work.directory) is None:
            work.directory.mkdir(parents=True, exist_ok=True)
            train([work], workshop.evaluation, callbacks=[TuneReportCallback()])


def trial_work(workshop: Workshop, trial: dict[str, Any]) -> Work:
    """The work of one trial, given as Tune passes it on: name, arm, key and setting."""
    template = workshop.templates[trial["arm"]]
    return replace(
        template,
        name=trial["name"],
        config=with_setting(template.config, trial["setting"]),
        key=trial["key"],
        directory=workshop.store.directory(template.product, trial["key"]),
    )
