"""What a sweep file gives, and what each bad one says."""

import math
from itertools import pairwise

import pytest
import yaml
from sweep_files import EXPERIMENT, SWEEP

from kintsugi.experiment import load
from kintsugi.graph import build
from kintsugi.sweep.config import load_sweep
from kintsugi.sweep.judge import SCORES, judgement
from kintsugi.sweep.ledger import Trial
from kintsugi.sweep.plan import make_plan
from pipeline.failures import UserError

ARMS = ["dpo-response", "dpo-granular", "tdpo2-response", "tdpo2-granular"]


@pytest.fixture
def refusal(plan_of, tmp_path):
    """(what, where, hint) of the config error that a changed sweep gives."""

    def refused(*changes, **options):
        with pytest.raises(UserError) as caught:
            plan_of(*changes, **options)
        error = caught.value
        assert error.kind == "config"
        return error.what, error.where.replace(f"{tmp_path}/", ""), error.hint

    return refused


# Plans


def test_arms_are_the_nodes_own_without_seed_and_what_is_tuned(plan_of):
    plan = plan_of()
    assert list(plan.arms) == ARMS
    assert [list(arm.space) for arm in plan.arms.values()] == [["learning_rate", "beta"]] * 2 + [
        ["learning_rate", "beta", "alpha"]
    ] * 2


SPACE = (
    "  alpha: {uniform: [0.1, 1.0]}\n",
    "  label_smoothing: [0.1, 0.2]\n  gamma: [0.5, 1.0]\n  sft_weight: [0.0, 0.1]\n",
)


def test_an_arm_s_space_is_what_its_loss_reads(plan_of):
    plan = plan_of(("node: mended", "node: mended\n  matrix: {loss: [dpo, cdpo, rdpo, ipo, simpo, tdpo1]}"), SPACE)
    shared = {"learning_rate", "beta", "sft_weight"}
    assert {name: set(arm.space) - shared for name, arm in plan.arms.items()} == {
        "dpo": set(),
        "cdpo": {"label_smoothing"},
        "rdpo": {"label_smoothing"},
        "ipo": set(),
        "simpo": {"gamma"},
        "tdpo1": set(),
    }
    assert all(shared <= set(arm.space) for arm in plan.arms.values())
    for trial in plan.trials:
        config = plan.node_of(trial.arm, trial.setting).config
        assert {name: getattr(config, name) for name in trial.setting} == trial.setting


def test_a_space_without_the_later_parameters_is_known_by_what_it_was_known_by(plan_of):
    """So that a sweep that began before there were any goes on from its trials."""
    assert list(plan_of().sweep.config.space.model_dump(mode="json")) == ["learning_rate", "beta", "alpha"]


def test_every_arm_gets_its_trials_in_turn(plan_of):
    plan = plan_of()
    assert [trial.name for trial in plan.trials] == [f"{arm}/{number}" for number in (1, 2, 3) for arm in ARMS]
    assert all(set(trial.setting) == set(plan.arms[trial.arm].space) for trial in plan.trials)


def test_only_what_trials_need_is_made_first(plan_of):
    assert list(plan_of().graph.nodes) == ["qa", "broken", "pairs", "reference"]


def test_random_settings_depend_on_seed_arm_and_number_alone(plan_of):
    first = {trial.name: trial.setting for trial in plan_of().trials}
    longer = {trial.name: trial.setting for trial in plan_of(("trials: 3", "trials: 5")).trials}
    assert first.items() <= longer.items()
    assert {trial.name: trial.setting for trial in plan_of(("seed: 0", "seed: 1")).trials} != first
    assert len({str(setting) for setting in first.values()}) == 12


def test_drawn_values_stay_in_their_ranges_and_are_short(plan_of):
    for trial in plan_of(("trials: 3", "trials: 40")).trials:
        assert 0.99e-5 < trial.setting["learning_rate"] < 1.01e-3
        assert trial.setting["beta"] in (0.1, 0.3)
        assert float(f"{trial.setting['learning_rate']:.3g}") == trial.setting["learning_rate"]


def test_few_settings_cover_the_range(plan_of):
    """Of three, no two lie within a seventh of the range, and each value of beta comes up."""
    trials = plan_of().trials
    for arm in ARMS:
        settings = [trial.setting for trial in trials if trial.arm == arm]
        places = sorted(math.log10(setting["learning_rate"] / 1e-5) / 2 for setting in settings)
        assert min(later - earlier for earlier, later in pairwise(places)) > 1 / 7
        assert {setting["beta"] for setting in settings} == {0.1, 0.3}


GRID = (
    ("{log_uniform: [1e-5, 1e-3]}", "[1e-5, 1e-4, 1e-3]"),
    ("  alpha: {uniform: [0.1, 1.0]}\n", ""),
    ("trials: 3", "search: grid\ntrials: 6"),
)


def test_a_whole_grid_has_every_combination_once(plan_of):
    plan = plan_of(*GRID)
    expected = {(rate, beta) for rate in (1e-5, 1e-4, 1e-3) for beta in (0.1, 0.3)}
    for arm in ARMS:
        assert {tuple(trial.setting.values()) for trial in plan.trials if trial.arm == arm} == expected


def test_optuna_leaves_settings_open(plan_of):
    assert {trial.setting for trial in plan_of(("trials: 3", "search: optuna\ntrials: 3")).trials} == {None}


def test_a_trial_is_the_node_that_an_experiment_with_its_setting_has(plan_of, tmp_path):
    plan = plan_of()
    trial = plan.trials[2]
    raw = yaml.safe_load((tmp_path / "recovery.yaml").read_text())
    del raw["nodes"]["mended"]["matrix"]
    raw["nodes"]["mended"] |= {"loss": "tdpo2", "mask": "response", "seed": 5, **trial.setting}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(raw))
    assert plan.node_of(trial.arm, trial.setting).key == build(load(tmp_path / "one.yaml")).nodes["mended"].key


def test_set_reaches_the_sweep_and_the_experiment(plan_of):
    plan = plan_of(overrides=["trials=2", "nodes.qa.rows=70", "space.beta=[0.2]"])
    assert len(plan.trials) == 8
    assert plan.graph.nodes["qa"].config.rows == 70
    assert {trial.setting["beta"] for trial in plan.trials} == {0.2}


def test_nodes_may_stand_in_the_sweep_file(tmp_path):
    nodes = EXPERIMENT[EXPERIMENT.index("nodes:") :]
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("experiment: recovery.yaml\n", nodes))
    assert list(make_plan(load_sweep(tmp_path / "sweep.yaml")).arms) == ARMS


def test_what_follows_from_the_tuned_node_is_left_out(plan_of):
    named = EXPERIMENT.replace("[reference, mended]", "[mended/dpo-response-0]")
    assert len(plan_of(experiment=named).trials) == 12


def test_an_sft_node_has_one_arm_and_no_beta(plan_of):
    plan = plan_of(
        ("node: mended", "node: sft_good"), ("  beta: [0.1, 0.3]\n", ""), ("  alpha: {uniform: [0.1, 1.0]}\n", "")
    )
    assert list(plan.arms) == ["only"]


def test_the_fingerprint_changes_with_what_makes_trials_comparable_and_with_nothing_else(plan_of):
    known = plan_of().fingerprint()
    assert plan_of(("trials: 3", "trials: 4\nmax_concurrent: 1")).fingerprint() == known
    assert plan_of(("seeds: [5, 6]", "seeds: [5]")).fingerprint() == known
    assert plan_of(("seeds: [5, 6]", "seeds: [6]")).fingerprint() != known
    assert plan_of(("data: qa.validation", "data: qa.validation\n  limit: 4")).fingerprint() != known
    assert plan_of(overrides=["nodes.qa.rows=70"]).fingerprint() != known


# Nothing of the test split


def test_no_test_row_comes_before_a_trial_or_its_judgement(plan_of):
    plan = plan_of()
    trials = [Trial(trial.arm, trial.number, trial.setting, trial.name) for trial in plan.trials]
    graph = build(judgement(plan, trials))
    scores = [node.name for node in graph.nodes.values() if node.origin == SCORES]
    assert len(scores) == 13
    for name in scores:
        splits = {edge.split for above in (name, *graph.upstream(name)) for edge in graph.nodes[above].inputs}
        assert splits == {"", "train", "validation"}
    for node in graph.nodes.values():
        if node.kind.product == "models":
            upstream = (node.name, *graph.upstream(node.name))
            assert {edge.split for above in upstream for edge in graph.nodes[above].inputs} <= {"", "train"}


@pytest.mark.parametrize("data", ["qa.test", "qa.train", "qa"])
def test_only_validation_rows_judge(data, refusal):
    what, where, hint = refusal(("qa.validation", data))
    assert what == f"trials are judged on a split called validation, not on '{data}'."
    assert where == "sweep.yaml:13: evaluation.data"
    assert "qa.validation" in hint


@pytest.mark.parametrize("split", ["validation", "test"])
def test_trials_that_would_learn_from_held_out_rows_are_refused(split, refusal):
    leaking = EXPERIMENT.replace("embed, input: qa.train", f"embed, input: qa.{split}")
    what, where, _ = refusal(experiment=leaking)
    assert (what, where) == (f"trials would learn from qa.{split}.", "recovery.yaml:5: nodes.broken.input")


# What each bad file says


@pytest.mark.parametrize(("change", "what", "where", "hint"), [
    (("trials: 3", "trails: 3"), "unknown key 'trails'.", "sweep.yaml:10: trails", "Did you mean 'trials'?"),
    (("beta:", "betta:"), "unknown key 'betta'.", "sweep.yaml:8: space.betta", "Did you mean 'beta'?"),
    (("[1e-5, 1e-3]", "[1e-3, 1e-5]"), "a range is [low, high], above zero for log_uniform.",
     "sweep.yaml:7: space.learning_rate", "learning_rate: Peak learning rate."),
    (("node: mended", "node: mendd"), "there is no node 'mendd'.", "sweep.yaml:5: arms.node", "Did you mean 'mended'?"),
    (("node: mended", "node: qa"), "'qa' is of kind source.", "sweep.yaml:5: arms.node",
     "Tune a preference or sft node."),
    (("qa.validation", "qu.validation"), "there is no node 'qu'.", "sweep.yaml:13: evaluation.data",
     "Did you mean 'qa'?"),
    (("node: mended", "node: mended\n  matrix: {loss: [dpo]}"), "no arm reads 'alpha'.", "sweep.yaml:10: space.alpha",
     "Remove it from the space."),
    (SPACE, "no arm reads 'label_smoothing'.", "sweep.yaml:9: space.label_smoothing", "Remove it from the space."),
    (("trials: 3", "search: grid\ntrials: 3"), "a grid needs lists of values.", "sweep.yaml:7: space.learning_rate",
     "For example [1e-5, 1e-4]."),
])  # fmt: skip
def test_errors_name_line_and_remedy(change, what, where, hint, refusal):
    assert refusal(change) == (what, where, hint)


def test_a_budget_above_the_grid_is_refused_so_that_budgets_stay_equal(refusal):
    what, where, hint = refusal(*GRID[:2], ("trials: 3", "search: grid\ntrials: 7"))
    assert (what, where) == ("the grid of dpo-response has 6 settings only.", "sweep.yaml:10: trials")
    assert "6 at most" in hint


def test_asha_needs_an_evaluation_before_the_end(refusal):
    what, _, _ = refusal(("data: qa.validation", "data: qa.validation\n  times: 2"))
    assert what == "asha stops nobody: grace must be smaller than evaluation.times."


def test_one_source_of_nodes(refusal):
    assert "give either experiment" in refusal(("experiment: recovery.yaml\n", ""))[0]


def test_a_missing_experiment_is_named(sweep_file):
    file = sweep_file(("recovery.yaml", "none.yaml"))
    with pytest.raises(UserError, match=r"none\.yaml: cannot read"):
        load_sweep(file)


def test_the_shipped_sweep_plans_twelve_trials():
    from pathlib import Path

    plan = make_plan(load_sweep(Path(__file__).parents[3] / "configs" / "sweep.yaml"))
    assert len(plan.trials) == 12
    assert {arm.template.config.workers for arm in plan.arms.values()} == {1}
