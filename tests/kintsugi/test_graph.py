"""From an experiment file to nodes, edges and content keys."""

from pathlib import Path

import pytest
from graphs import ARMS, SMALL, graph, keys, refusal

from kintsugi.experiment import load
from kintsugi.graph import Edge, build
from kintsugi.sweep.config import load_sweep
from kintsugi.sweep.plan import make_plan
from pipeline.failures import UserError

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SWEEPS = [path for path in SHIPPED if path.stem.startswith("sweep")]
CONFIGS = [path for path in SHIPPED if path not in SWEEPS]


# Expansion


def test_a_matrix_gives_one_node_for_each_combination_named_by_its_values(tmp_path):
    nodes = graph(tmp_path).nodes
    mended = [node for node in nodes.values() if node.origin == "mended"]
    assert [node.name for node in mended] == [f"mended/{arm}" for arm in ARMS]
    assert [(node.config.loss, node.config.mask) for node in mended] == [
        ("dpo", "response"),
        ("dpo", "random"),
        ("tdpo2", "response"),
        ("tdpo2", "random"),
    ]
    assert {node.config.learning_rate for node in mended} == {1e-4}


def test_arms_list_the_combinations_by_hand(tmp_path):
    text = SMALL.replace(
        "matrix: {loss: [dpo, tdpo2], mask: [response, random]}", "arms: [{loss: tdpo1, beta: 0.5}, {mask: random}]"
    )
    mended = [node for node in graph(tmp_path, text).nodes.values() if node.origin == "mended"]
    assert [node.name for node in mended] == ["mended/tdpo1-0.5", "mended/random"]
    assert [(node.config.loss, node.config.beta, node.config.mask) for node in mended] == [
        ("tdpo1", 0.5, "response"),
        ("dpo", 0.1, "random"),
    ]


def test_every_arm_comes_in_every_combination_of_the_matrix(tmp_path):
    text = SMALL.replace(
        "matrix: {loss: [dpo, tdpo2], mask: [response, random]}",
        "arms: [{loss: dpo, learning_rate: 2}, {loss: tdpo2}]\n    matrix: {seed: [4, 7]}",
    )
    mended = [node for node in graph(tmp_path, text).nodes.values() if node.origin == "mended"]
    assert [node.name for node in mended] == [f"mended/{arm}" for arm in ("dpo-2-4", "dpo-2-7", "tdpo2-4", "tdpo2-7")]
    assert [(node.config.learning_rate, node.config.seed) for node in mended] == [(2, 4), (2, 7), (1e-4, 4), (1e-4, 7)]


def test_an_arm_may_override_what_the_node_says(tmp_path):
    text = SMALL.replace(
        "matrix: {loss: [dpo, tdpo2], mask: [response, random]}", "arms: [{loss: dpo}, {learning_rate: 2}]"
    )
    rates = [node.config.learning_rate for node in graph(tmp_path, text).nodes.values() if node.origin == "mended"]
    assert rates == [1e-4, 2.0]


def test_policies_in_a_matrix_give_readable_names(tmp_path):
    policies = "{chosen: {tokens: spans, eos: false}, rejected: {tokens: spans, scale: 0.5, eos: true}}"
    masks = f"[granular, {{chosen: none, rejected: spans}}, {policies}]"
    text = SMALL.replace("mask: [response, random]", f"mask: {masks}").replace("loss: [dpo, tdpo2]", "loss: [dpo]")
    assert [name for name in graph(tmp_path, text).nodes if name.startswith("mended/")] == [
        "mended/dpo-granular",
        "mended/dpo-mask-chosen-none-rejected-spans",
        "mended/dpo-mask-chosen-tokens-spans-no-eos-rejected-tokens-spans-scale0.5-eos",
    ]


def test_masks_that_mean_one_thing_have_one_key(tmp_path):
    text = SMALL.replace("mask: [response, random]", "mask: [granular, {chosen: spans, rejected: {tokens: spans}}]")
    keys = [node.key for node in graph(tmp_path, text).nodes.values() if node.origin == "mended"]
    assert len(keys) == 4
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("said", "key", "what"),
    [
        ("mask: granulr", "mask", "'granular-one-sided'"),
        ("mask: {chosen: spams, rejected: none}", "mask.chosen.tokens", "'spans'"),
        ("mask: {chosen: {tokns: spans}, rejected: none}", "mask.chosen.tokns", "unknown key 'tokns'"),
        ("mask: {chosen: spans}", "mask.rejected", "the key 'rejected' is missing"),
        ("mask: {chosen: none, rejected: none}", "mask", "nothing to train on"),
        ("mask: {chosen: {tokens: none, scale: 2}, rejected: spans}", "mask.chosen", "mean nothing"),
        ("mask: {chosen: {tokens: spans, scale: -1}, rejected: spans}", "mask.chosen.scale", "greater than 0"),
        ("too_long: cutt", "too_long", "'cut'"),
        ("too_long: {keep: middle}", "too_long.keep", "'start'"),
        ("too_long: {min: 3}", "too_long.min", "unknown key"),
        ("too_long: {min_prompt: 512}", "too_long", "leaves no room"),
        ("max_lost_spans: 2", "max_lost_spans", "less than or equal to 1"),
    ],
)
def test_masks_and_truncation_that_are_none_are_told_with_their_key(tmp_path, said, key, what):
    text = SMALL.replace("matrix: {loss: [dpo, tdpo2], mask: [response, random]}", said)
    with pytest.raises(UserError) as caught:
        graph(tmp_path, text)
    assert caught.value.where.endswith(f"nodes.mended.{key}")
    assert what in caught.value.what


def test_generate_and_score_are_multiplied_and_keep_the_models_name(tmp_path):
    nodes = graph(tmp_path).nodes
    labels = ["reference", *(f"mended/{arm}" for arm in ARMS)]
    assert [name for name in nodes if name.startswith("answers")] == [f"answers/{label}" for label in labels]
    for label in labels:
        assert nodes[f"answers/{label}"].inputs == (Edge("models", label), Edge("prompts", "qa", "test"))
        assert nodes[f"scores/{label}"].inputs == (Edge("input", f"answers/{label}"),)
    scores = tuple(Edge("input", f"scores/{label}") for label in labels)
    assert nodes["report"].inputs == (*scores, Edge("floor", "reference"))


def test_one_member_of_a_group_can_be_named(tmp_path):
    nodes = graph(tmp_path, SMALL, "nodes.answers.models=mended/dpo-random").nodes
    assert [name for name in nodes if name.startswith(("answers", "scores"))] == [
        "answers/mended/dpo-random",
        "scores/mended/dpo-random",
    ]


def test_a_matrix_over_a_multiplied_node_keeps_both_labels(tmp_path):
    text = SMALL.replace("prompts: qa.test}", "prompts: qa.test, matrix: {temperature: [0, 1]}}")
    nodes = graph(tmp_path, text, "nodes.answers.models=reference").nodes
    assert [name for name in nodes if name.startswith(("answers", "scores"))] == [
        "answers/0/reference",
        "answers/1/reference",
        "scores/0/reference",
        "scores/1/reference",
    ]
    assert nodes["scores/1/reference"].inputs == (Edge("input", "answers/1/reference"),)
    assert nodes["answers/1/reference"].config.temperature == 1


def test_nodes_come_after_their_inputs_whatever_the_order_in_the_file(tmp_path):
    head, _, nodes = SMALL.partition("nodes:\n")
    blocks = []
    for line in nodes.splitlines(keepends=True):
        if line.startswith("   "):
            blocks[-1] += line
        else:
            blocks.append(line)
    backwards = head + "nodes:\n" + "".join(reversed(blocks))
    assert backwards.index("report") < backwards.index("scores:") < backwards.index("answers:") < backwards.index("qa:")
    found = graph(tmp_path, backwards).nodes
    names = list(found)
    for node in found.values():
        assert all(names.index(edge.node) < names.index(node.name) for edge in node.inputs)
    assert {name: node.key for name, node in found.items()} == keys(tmp_path)


def test_upstream_is_everything_that_a_node_depends_on(tmp_path):
    found = graph(tmp_path)
    assert found.upstream("qa") == set()
    assert found.upstream("answers/mended/dpo-random") == {"mended/dpo-random", "reference", "qa", "other"}


def test_the_experiments_seed_is_that_of_nodes_that_give_none(tmp_path):
    nodes = graph(tmp_path, SMALL.replace("rows: 30}", "rows: 30, seed: 5}"), "seed=3").nodes
    assert (nodes["qa"].config.seed, nodes["other"].config.seed) == (3, 5)


# References that are wrong


def test_an_unknown_node_names_the_nearest(tmp_path):
    found = refusal(tmp_path, SMALL.replace("prompts: qa.test", "prompts: qaa.test"))
    assert found == ("'qaa.test' refers to no node.", "FILE:13: nodes.answers.prompts", "Did you mean 'qa'?")
    what, where, hint = refusal(tmp_path, SMALL.replace("input: answers", "input: answer"))
    assert (what, where) == ("'answer' refers to no node.", "FILE:14: nodes.scores.input")
    assert hint == "Did you mean 'answers'?"


def test_an_unknown_split_names_the_nearest(tmp_path):
    found = refusal(tmp_path, SMALL.replace("qa.test", "qa.tset"))
    assert found == ("'qa' has no split 'tset'.", "FILE:13: nodes.answers.prompts", "Did you mean 'test'?")


def test_a_split_of_rows_without_splits(tmp_path):
    what, where, hint = refusal(tmp_path, SMALL.replace("data: other", "data: other.train"))
    assert (what, where) == ("'other' has no split 'train'.", "FILE:10: nodes.mended.data")
    assert hint == "It has no splits: leave that off."


def test_rows_with_splits_need_one(tmp_path):
    found = refusal(tmp_path, SMALL.replace("data: qa.train", "data: qa"))
    assert found == ("'qa' has splits.", "FILE:6: nodes.reference.data", "Name one, such as qa.train.")


@pytest.mark.parametrize(
    ("old", "new", "what", "where"),
    [
        (
            "data: other",
            "data: reference",
            "'reference' gives models, but data takes rows.",
            "FILE:10: nodes.mended.data",
        ),
        ("init: reference", "init: other", "'other' gives rows, but init takes models.", "FILE:9: nodes.mended.init"),
        (
            "models: [reference, mended]",
            "models: [qa.train]",
            "'qa.train' gives rows, but models takes models.",
            "FILE:13: nodes.answers.models",
        ),
        (
            "input: scores,",
            "input: answers,",
            "'answers' gives generations, but input takes scores.",
            "FILE:15: nodes.report.input",
        ),
    ],
)
def test_an_input_of_the_wrong_kind_is_refused(tmp_path, old, new, what, where):
    assert old in SMALL
    found = refusal(tmp_path, SMALL.replace(old, new))
    assert found[:2] == (what, where)
    assert found[2].startswith("Name a node that gives ")


def test_a_group_where_one_node_is_needed_lists_its_members(tmp_path):
    text = SMALL + "  again: {kind: sft, init: mended, data: other, learning_rate: 1e-3}\n"
    what, where, hint = refusal(tmp_path, text)
    assert (what, where) == ("'mended' is 4 nodes.", "FILE:16: nodes.again.init")
    assert hint == f"Name one of: {', '.join(f'mended/{arm}' for arm in ARMS)}."


def test_a_cycle_is_shown_in_the_order_of_its_references(tmp_path):
    text = """\
name: circle
nodes:
  a: {kind: annotate, input: b}
  b: {kind: annotate, input: c}
  c: {kind: annotate, input: a}
"""
    what, where, _ = refusal(tmp_path, text)
    assert what in {
        f"the graph has a cycle: {circle}." for circle in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")
    }
    assert where in {"FILE:3: nodes.a", "FILE:4: nodes.b", "FILE:5: nodes.c"}


def test_a_node_that_needs_itself_is_a_cycle(tmp_path):
    what, _, _ = refusal(tmp_path, "name: circle\nnodes:\n  a: {kind: annotate, input: a}\n")
    assert what == "the graph has a cycle: a -> a."


@pytest.mark.parametrize(
    ("old", "new", "what", "where"),
    [
        ("kind: compare", "kind: compere", "there is no kind 'compere'.", "FILE:15: nodes.report.kind"),
        ("kind: compare", "kind: [compare]", "there is no kind '['compare']'.", "FILE:15: nodes.report.kind"),
        ("kind: compare, ", "", "the node has no kind.", "FILE:15: nodes.report"),
        (
            "models: [reference, mended]",
            "models: [reference, reference]",
            "'answers/reference' comes up twice.",
            "FILE:13: nodes.answers",
        ),
        ("loss: [dpo, tdpo2]", "loss: [dpo, dpo]", "'mended/dpo-response' comes up twice.", "FILE:7: nodes.mended"),
        ("loss: [dpo, tdpo2]", "loss: dpo", "a matrix maps fields to lists of values.", "FILE:12: nodes.mended.matrix"),
        ("loss: [dpo, tdpo2]", "loss: []", "a matrix maps fields to lists of values.", "FILE:12: nodes.mended.matrix"),
        (
            "    matrix:",
            "    arms: [{loss: dpo}]\n    matrix:",
            "'loss' is given in the matrix and in the node or its arms.",
            "FILE:13: nodes.mended.matrix.loss",
        ),
        (
            "    matrix: {loss: [dpo, tdpo2], ",
            "    arms: {",
            "arms is a list of mappings.",
            "FILE:12: nodes.mended.arms",
        ),
        ("loss: [dpo, tdpo2]", "lss: [dpo, tdpo2]", "unknown key 'lss'.", "FILE:7: nodes.mended.lss"),
        (
            "    matrix:",
            "    loss: tdpo1\n    matrix:",
            "'loss' is given in the matrix and in the node or its arms.",
            "FILE:13: nodes.mended.matrix.loss",
        ),
        (
            "scorers: [execution]",
            "scorers: [excution]",
            "there is no scorer 'excution'.",
            "FILE:14: nodes.scores.scorers",
        ),
    ],
)
def test_what_else_a_node_can_get_wrong(tmp_path, old, new, what, where):
    assert old in SMALL
    found = refusal(tmp_path, SMALL.replace(old, new))
    assert found[:2] == (what, where)
    assert found[2], "no advice"


def test_an_unknown_error_type_names_line_and_nearest(tmp_path):
    text = SMALL + "  broken: {kind: embed, input: other, error_types: [off-by-one-error]}\n"
    what, where, hint = refusal(tmp_path, text)
    assert (what, where) == ("there is no error type 'off-by-one-error'.", "FILE:16: nodes.broken.error_types")
    assert hint == "Did you mean 'off-by-one-errors'?"


# Shipped files


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_experiment_is_valid(path, tmp_path):
    rows = tmp_path / "rows.jsonl"  # in place of a data set of the Hub, which needs a network
    rows.write_text('{"question": "?", "answer": "!"}\n')
    fetched = [name for name, node in load(path).nodes.items() if str(node.get("from", "")).startswith("hf:")]
    found = build(load(path, [f"nodes.{name}.from={rows}" for name in fetched]))
    assert found.nodes
    assert found.experiment.name == path.stem


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_every_shipped_sweep_is_valid_and_is_no_experiment(path):
    assert make_plan(load_sweep(path)).trials
    with pytest.raises(UserError, match="this is a sweep"):
        load(path)


def test_there_are_shipped_experiments_and_sweeps():
    assert CONFIGS and SWEEPS
