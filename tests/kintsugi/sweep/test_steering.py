"""What Tune is told: settings in order, ASHA for each arm alone, Optuna from what is known. Ray is not started."""

import pickle

import pytest

from kintsugi.sweep.ledger import Evaluated, Ledger, Trial
from kintsugi.sweep.studies import Studies


def trial(number, state, *figures, arm="dpo-response", rate=1e-4, name="eval/nll"):
    steps = tuple(Evaluated(10 * (i + 1), 40, i + 1, {name: figure}) for i, figure in enumerate(figures))
    return Trial(arm, number, {"learning_rate": rate, "beta": 0.1}, f"key{number}", state, steps)


# The order of trials


def search(plan, tmp_path, left=None, studies=None):
    from kintsugi.sweep.steering import PlannedSearch

    ledger = Ledger(tmp_path / "trials.json", "")
    return PlannedSearch(plan, ledger, plan.trials if left is None else left, studies), ledger


def test_settings_are_handed_out_as_planned_and_noted_before_they_run(plan_of, tmp_path):
    plan = plan_of()
    searcher, ledger = search(plan, tmp_path)
    handed = [searcher.suggest(str(number)) for number in range(12)]
    assert [item["name"] for item in handed] == [planned.name for planned in plan.trials]
    assert handed[5]["setting"] == plan.trials[5].setting
    assert handed[5]["key"] == plan.node_of(plan.trials[5].arm, plan.trials[5].setting).key
    assert list(ledger.trials) == [planned.name for planned in plan.trials]
    assert searcher.suggest("more") == searcher.FINISHED


def test_an_interrupted_trial_keeps_its_curve_only_if_it_is_the_same_trial(plan_of, tmp_path):
    plan = plan_of()
    first, second = plan.trials[:2]
    searcher, ledger = search(plan, tmp_path, [first, second])
    curve = (Evaluated(10, 40, 1, {"eval/nll": 0.5}),)
    key = plan.node_of(first.arm, first.setting).key
    ledger.put(Trial(first.arm, 1, first.setting, key, "waiting", curve))
    ledger.put(Trial(second.arm, 1, {"learning_rate": 9.0}, "another", "waiting", curve))
    searcher.suggest("a")
    searcher.suggest("b")
    assert ledger.trials[first.name].evaluations == curve
    assert ledger.trials[second.name].evaluations == ()


def test_tune_may_pickle_what_it_likes(plan_of, tmp_path):
    searcher, ledger = search(plan_of(), tmp_path)
    ledger.on_change = open
    assert pickle.loads(pickle.dumps(searcher)).__dict__ == {}


# ASHA


@pytest.fixture
def asha(plan_of):
    """Feed a trial's figures to ASHA and get its decisions; earlier trials were replayed."""
    from ray.tune.experiment import Trial as TuneTrial

    from kintsugi.sweep.steering import AshaPerArm

    plan = plan_of()

    def decisions(*earlier):
        scheduler = AshaPerArm(plan.arms, plan.sweep.config, earlier)

        def run(name, arm, *figures):
            stand_in = TuneTrial("trial", stub=True, trial_id=name, config={"arm": arm})
            scheduler.on_trial_add(None, stand_in)
            return [
                scheduler.on_trial_result(None, stand_in, {"evaluation": number, "eval/nll": figure})
                for number, figure in enumerate(figures, start=1)
            ]

        return run

    return decisions


def test_the_worse_half_of_an_arm_stops_after_its_grace_and_arms_do_not_meet(asha):
    run = asha()
    assert run("a", "dpo-response", 0.9, 0.5) == ["CONTINUE", "CONTINUE"]
    assert run("b", "dpo-response", 0.1, 0.6) == ["CONTINUE", "STOP"]
    assert run("c", "dpo-response", 0.9, 0.4) == ["CONTINUE", "CONTINUE"]
    assert run("d", "dpo-granular", 9.0, 9.0) == ["CONTINUE", "CONTINUE"]


def test_nobody_is_stopped_at_the_last_evaluation(asha):
    run = asha()
    assert run("a", "dpo-response", 0.5, 0.4, 0.3, 0.1) == ["CONTINUE"] * 4
    # Better than the first when it counts, worse at the end: it is done anyway.
    assert run("b", "dpo-response", 0.4, 0.3, 0.9, 0.9) == ["CONTINUE"] * 4


def test_trials_of_an_earlier_run_keep_their_places(asha):
    run = asha(trial(1, "finished", 0.2, 0.2, 0.2, 0.2), trial(2, "stopped", 0.9, 0.9))
    assert run("new", "dpo-response", 0.1, 0.8) == ["CONTINUE", "STOP"]
    assert run("newer", "dpo-response", 0.9, 0.1) == ["CONTINUE", "CONTINUE"]


# Optuna

OPTUNA = ("trials: 3", "search: optuna\ntrials: 12")


def test_optuna_learns_from_what_it_is_told(plan_of):
    """A figure that grows with the distance from 1e-4: settings come closer to it than chance, whose mean is 0.5."""
    from math import log10

    studies = Studies(plan_of(OPTUNA), [])
    rates = []
    for number in range(1, 37):
        setting = studies.ask("dpo-response", number)
        rates.append(setting["learning_rate"])
        studies.tell(trial(number, "finished", abs(log10(setting["learning_rate"]) + 4), rate=rates[-1]))
    distances = [abs(log10(rate) + 4) for rate in rates]
    assert sum(distances[-12:]) / 12 < 0.3


def test_arms_have_studies_of_their_own(plan_of):
    studies = Studies(plan_of(OPTUNA), [])
    assert set(studies.ask("dpo-response", 1)) == {"learning_rate", "beta"}
    assert set(studies.ask("tdpo2-response", 1)) == {"learning_rate", "beta", "alpha"}


def test_a_study_is_rebuilt_from_the_ledger(plan_of):
    earlier = [trial(1, "finished", 0.5, 0.4), trial(2, "stopped", 0.9), trial(3, "failed"), trial(4, "finished")]
    study = Studies(plan_of(OPTUNA), earlier).studies["dpo-response"]
    assert [(found.state.name, found.value) for found in study.trials] == [("COMPLETE", 0.4), ("PRUNED", None)]
    assert study.trials[1].intermediate_values == {1: 0.9}


def test_an_interrupted_trial_has_its_setting_again(plan_of):
    studies = Studies(plan_of(OPTUNA), [])
    setting = {"learning_rate": 9.99e-6, "beta": 0.3}  # rounded to just below its range
    assert studies.ask("dpo-response", 1, setting) == setting
    studies.tell(trial(1, "finished", 0.1))
    assert studies.studies["dpo-response"].trials[0].params == {"learning_rate": 1e-5, "beta": 0.3}


def test_a_failed_trial_teaches_nothing(plan_of):
    studies = Studies(plan_of(OPTUNA), [])
    studies.ask("dpo-response", 1)
    studies.tell(trial(1, "failed"))
    assert [found.state.name for found in studies.studies["dpo-response"].trials] == ["FAIL"]


# Reasons


def test_a_reason_is_in_our_words_where_there_are_some():
    from kintsugi.sweep.steering import reason_of
    from pipeline.failures import UserError

    wrapped = RuntimeError("Ray says\na lot")
    wrapped.__cause__ = UserError("run", "the loss is nan.", "node a", "Lower it.")
    assert reason_of(wrapped) == "node a: the loss is nan. Lower it."
    assert reason_of(RuntimeError("out of memory")) == "RuntimeError: out of memory"
    assert reason_of(None) == "the trial's process died"
