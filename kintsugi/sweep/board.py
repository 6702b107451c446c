"""A sweep for TensorBoard: every trial with its hyperparameters, its curve and its figures, for the HParams tab."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.sweep.ledger import Trial

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

BOARD = "tensorboard"
PASS_RATE = "pass_rate"


class Board:
    """Writes event files under `directory`, one folder for each trial, from nothing but the trials it is shown.

    It starts empty, so that a sweep that goes on shows no trial twice.
    """

    def __init__(self, directory: Path, hyperparameters: list[str], arms: list[str], metric: str) -> None:
        self.directory, self.metric = directory, metric
        self.shown: dict[str, Trial] = {}
        shutil.rmtree(directory, ignore_errors=True)
        self._write(directory, [(0, _experiment(hyperparameters, arms, metric))])

    def show(self, trial: Trial) -> None:
        """Write what is new of a trial since it was shown last."""
        before = self.shown.get(trial.name)
        self.shown[trial.name] = trial
        events: list[tuple[int, Any]] = []
        if before is None or before.setting != trial.setting:
            events.append((0, _session_start(trial)))
        seen = {evaluated.step for evaluated in before.evaluations} if before else set()
        events += [(e.step, _scalars(e.figures)) for e in trial.evaluations if e.step not in seen]
        if trial.pass_rate is not None and (before is None or before.pass_rate != trial.pass_rate):
            step = trial.evaluations[-1].step if trial.evaluations else 0
            events.append((step, _scalars({PASS_RATE: trial.pass_rate})))
        if trial.state in _STATUS and (before is None or before.state != trial.state):
            events.append((0, _session_end(trial)))
        if events:
            self._write(self.directory / trial.name, events)

    def _write(self, directory: Path, events: list[tuple[int, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer: EventFileWriter = EventFileWriter(str(directory), filename_suffix=f".{time.monotonic_ns():020}")
        for step, summary in events:
            writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.close()


_STATUS = {"finished": "STATUS_SUCCESS", "stopped": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}


def _scalars(figures: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in figures.items()])


def _experiment(hyperparameters: list[str], arms: list[str], metric: str) -> Any:
    from tensorboard.plugins.hparams import summary_v2 as hparams

    return hparams.hparams_config_pb(
        hparams=[
            hparams.HParam("arm", hparams.Discrete(arms)),
            *(hparams.HParam(name, hparams.RealInterval(0.0, 1e9)) for name in hyperparameters),
        ],
        metrics=[hparams.Metric(PASS_RATE, display_name="pass rate"), hparams.Metric(metric)],
    )


def _session_start(trial: Trial) -> Any:
    from tensorboard.plugins.hparams import summary_v2 as hparams

    return hparams.hparams_pb({"arm": trial.arm, **trial.setting}, trial_id=trial.name)


def _session_end(trial: Trial) -> Any:
    """As `hparams.summary.session_end_pb` has it, which needs tensorflow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    info = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value(_STATUS[trial.state]), end_time_secs=time.time())
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
    tag = metadata.SESSION_END_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])
