"""What survives the driver, who is best, and what best.yaml says of it."""

import json
from dataclasses import replace

import pytest
import yaml

from kintsugi.experiment import load
from kintsugi.graph import build
from kintsugi.sweep.best import best_experiment
from kintsugi.sweep.judge import best_of
from kintsugi.sweep.ledger import Evaluated, Ledger, Trial, evaluations_in
from kintsugi.sweep.run import left_over

NAMES = {f"dpo-response/{number}" for number in (1, 2, 3)}


def trial(number=1, state="finished", figure=None, arm="dpo-response", **more):
    steps = () if figure is None else (Evaluated(10, 10, 1, {"eval/nll": figure}),)
    return Trial(arm, number, {"learning_rate": 1e-4 * number, "beta": 0.1}, f"key{number}", state, steps, **more)


# The ledger


def test_a_ledger_is_read_back_as_it_was_and_what_ran_waits_again(tmp_path):
    ledger = Ledger.open(tmp_path / "trials.json", "print", NAMES)
    told = []
    ledger.on_change = told.append
    ledger.put(trial(1, "finished", 0.5, passed=3, judged=4))
    ledger.put(trial(2, "running", 0.7))
    ledger.put(trial(3, "failed", reason="the loss is nan"))
    assert [item.name for item in told] == ["dpo-response/1", "dpo-response/2", "dpo-response/3"]
    again = Ledger.open(tmp_path / "trials.json", "print", NAMES)
    assert again.trials == {**ledger.trials, "dpo-response/2": trial(2, "waiting", 0.7)}


def test_trials_that_are_no_longer_asked_for_take_no_part(tmp_path):
    Ledger(tmp_path / "trials.json", "print").put(trial(3, figure=0.1))
    assert Ledger.open(tmp_path / "trials.json", "print", NAMES - {"dpo-response/3"}).trials == {}


def test_an_interruption_leaves_nothing_running(tmp_path):
    trials = {item.name: item for item in (trial(1, "running", 0.7), trial(2))}
    ledger = Ledger(tmp_path / "trials.json", "print", trials)
    ledger.interrupt()
    assert [item.state for item in ledger.trials.values()] == ["waiting", "finished"]


def test_a_ledger_of_another_sweep_or_half_a_file_is_no_ledger(tmp_path):
    Ledger(tmp_path / "trials.json", "print").put(trial())
    assert Ledger.open(tmp_path / "trials.json", "other", NAMES).trials == {}
    (tmp_path / "trials.json").write_text("{")
    assert Ledger.open(tmp_path / "trials.json", "print", NAMES).trials == {}


def test_what_ended_is_left_alone_and_what_failed_is_tried_again(plan_of, tmp_path):
    plan = plan_of()
    ledger = Ledger.open(tmp_path / "trials.json", plan.fingerprint(), NAMES)
    for number, state in ((1, "finished"), (2, "stopped"), (3, "failed")):
        ledger.put(trial(number, state))
    names = {planned.name for planned in left_over(plan, ledger)}
    assert "dpo-response/3" in names
    assert len(names) == 10


def test_an_evaluation_that_is_made_again_replaces_what_came_from_there_on():
    first = trial(figure=0.5)
    early, again = Evaluated(5, 10, 1, {"eval/nll": 0.9}), Evaluated(10, 10, 2, {"eval/nll": 0.4})
    assert replace(first, evaluations=(early,)).with_evaluation(again).evaluations == (early, again)
    assert first.with_evaluation(again).evaluations == (again,)
    assert first.with_evaluation(early).evaluations == (early,)


def test_evaluations_are_read_from_a_models_own_metrics(tmp_path):
    lines = [
        {"step": n, "total": 4, "loss": 1.0, **({"eval/nll": 0.1 * n} if n in (2, 4) else {})} for n in range(1, 5)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = list(evaluations_in(tmp_path / "metrics.jsonl"))
    assert found == [Evaluated(2, 4, 1, {"eval/nll": 0.2}), Evaluated(4, 4, 2, {"eval/nll": 0.4})]


# The best


@pytest.mark.parametrize(("trials", "number"), [
    ([trial(1, figure=0.1, passed=3, judged=10), trial(2, figure=0.9, passed=4, judged=10)], 2),
    ([trial(1, figure=0.5, passed=4, judged=10), trial(2, figure=0.4, passed=4, judged=10)], 2),
    ([trial(1, figure=0.5), trial(2, figure=0.4)], 2),
    ([trial(1, passed=4, judged=10), trial(2, figure=0.4, passed=4, judged=10)], 2),
    ([trial(1, figure=0.5), trial(2, figure=0.5)], 1),
    ([trial(1, "stopped", 0.1), trial(2, figure=0.5)], 2),
])  # fmt: skip
def test_the_pass_rate_decides_then_the_metric_then_the_number(trials, number):
    assert best_of(trials, "eval/nll", "min").number == number


def test_more_may_be_better():
    trials = [trial(1, figure=0.5), trial(2, figure=0.4)]
    assert best_of(trials, "eval/nll", "max").number == 1
    assert best_of([trial(1, "stopped"), trial(2, "failed")], "eval/nll", "min") is None


# best.yaml


def best_file(plan, best, tmp_path):
    path = tmp_path / "best.yaml"
    path.write_text(best_experiment(plan, best))
    return path


def test_best_is_an_experiment_with_each_arm_at_its_setting_and_every_seed(plan_of, tmp_path):
    plan = plan_of()
    settings = {item.arm: item for item in reversed(plan.trials)}
    best = {arm: Trial(arm, 1, item.setting, "", "finished", passed=88, judged=120) for arm, item in settings.items()}
    path = best_file(plan, best, tmp_path)
    graph = build(load(path))
    assert graph.experiment.name == "tuned-best"
    mended = [node for node in graph.nodes.values() if node.origin == "mended"]
    assert len(mended) == 8
    assert [node.config.seed for node in mended] == [5, 6] * 4
    assert mended[0].config.learning_rate == settings["dpo-response"].setting["learning_rate"]
    # What the sweep trained is what the experiment trains: nothing is made twice.
    assert mended[0].key == plan.node_of("dpo-response", settings["dpo-response"].setting).key
    assert mended[6].key == plan.node_of("tdpo2-granular", settings["tdpo2-granular"].setting).key
    assert graph.nodes["answers/reference"].inputs[1].split == "test"


def test_comments_say_where_a_setting_comes_from_and_which_arm_has_none(plan_of, tmp_path):
    text = best_file(plan_of(), {"dpo-response": trial(2, figure=0.25, passed=88, judged=120)}, tmp_path).read_text()
    comment = "# dpo-response: trial 2 of 3; 88 of 120 validation answers passed (73.3 %), eval/nll 0.25"
    assert comment in text
    assert "# tdpo2-granular: no trial finished" in text
    arms = yaml.safe_load(text)["nodes"]["mended"]["arms"]
    assert arms == [
        {"loss": "dpo", "mask": "response", "learning_rate": 2e-4, "beta": 0.1, "seed": seed} for seed in (5, 6)
    ]
