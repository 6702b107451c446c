"""Sweeps of nodes that an experiment measures itself: those rows are not learnt from, and figures are not mixed."""

import json

import pytest
from sweep_files import EXPERIMENT

from kintsugi.execute import Place
from kintsugi.sweep.ledger import Evaluated, Ledger
from kintsugi.sweep.run import _adopt
from kintsugi.sweep.tuning import evaluation_of
from pipeline.store import Manifest, Store, commit

MEASURED = EXPERIMENT.replace(
    "data: pairs\n    learning", "data: pairs\n    evaluate: {data: qa.validation}\n    learning"
)


def test_a_node_that_is_measured_on_validation_rows_can_be_tuned_and_its_trials_have_the_keys_of_one_that_is_not(
    plan_of,
):
    assert MEASURED != EXPERIMENT
    plain, measured = plan_of(), plan_of(experiment=MEASURED)
    assert plain.fingerprint() == measured.fingerprint()
    trial = plain.trials[0]
    keys = {plan.node_of(trial.arm, trial.setting).key for plan in (plain, measured)}
    assert len(keys) == 1


@pytest.mark.parametrize("measured", ["as in the sweep", "as in an experiment", "not at all"])
def test_figures_of_a_model_that_is_there_count_if_they_are_of_the_same_measure(plan_of, tmp_path, measured):
    plan, store = plan_of(), Store(tmp_path / "store")
    trial = plan.trials[0]
    key = plan.node_of(trial.arm, trial.setting).key
    directory = store.directory("models", key)
    directory.mkdir(parents=True)
    asked = evaluation_of(plan, store).asked()
    facts = {
        "as in the sweep": {"evaluation": {"asked": asked}},
        "as in an experiment": {"evaluation": {"asked": {**asked, "limit": 3}}},
        "not at all": {},
    }
    (directory / "metrics.jsonl").write_text(json.dumps({"step": 4, "total": 4, "loss": 1.0, "eval/nll": 0.5}) + "\n")
    commit(directory, Manifest("preference", 1, "models", key, {}, [], facts=facts[measured]))
    ledger = Ledger.open(tmp_path / "trials.json", plan.fingerprint(), {trial.name})
    _adopt(plan, ledger, Place(store, tmp_path / "runs"))
    expected = (Evaluated(4, 4, 1, {"eval/nll": 0.5}),) if measured == "as in the sweep" else ()
    assert ledger.trials[trial.name].state == "finished"
    assert ledger.trials[trial.name].evaluations == expected
