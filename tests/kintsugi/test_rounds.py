"""`repeat`: what a group of nodes becomes, and how it is refused."""

import re

import pytest
from graphs import graph, keys, refusal

from kintsugi.execute import work_of
from pipeline.store import Store

ROUNDS = """\
name: rounds
nodes:
  qa: {kind: source, from: builtin, rows: 60, splits: {part1: 8, part2: 8, part3: 8, test: 8}}
  base: {kind: sft, init: tiny, data: qa.train, learning_rate: 1e-3}
  loop:
    repeat: 2
    first: {policy: base}
    nodes:
      samples: {kind: generate, models: previous.policy, prompts: "qa.part{round}", samples: 2, temperature: 1}
      scored: {kind: score, input: samples, scorers: [execution]}
      pairs: {kind: pair, input: scored, metric: passed}
      policy: {kind: preference, init: previous.policy, data: pairs, learning_rate: 1e-4}
  answers: {kind: generate, models: [base, policy], prompts: qa.test}
  last: {kind: generate, models: policy/2, prompts: qa.test}
"""


def edges(made, node):
    return [(edge.role, edge.node, edge.split) for edge in made.nodes[node].inputs]


def test_each_round_starts_from_what_the_one_before_made(tmp_path):
    made = graph(tmp_path, ROUNDS)
    assert edges(made, "samples/1/base") == [("models", "base", ""), ("prompts", "qa", "part1")]
    assert edges(made, "samples/2/policy/1") == [("models", "policy/1", ""), ("prompts", "qa", "part2")]
    assert edges(made, "pairs/2") == [("input", "scored/2/policy/1", "")]
    assert edges(made, "policy/1") == [("init", "base", ""), ("data", "pairs/1", "")]
    assert edges(made, "policy/2") == [("init", "policy/1", ""), ("data", "pairs/2", "")]


def test_a_name_means_all_rounds_outside_and_a_number_one_of_them(tmp_path):
    made = graph(tmp_path, ROUNDS).nodes
    assert {"answers/base", "answers/policy/1", "answers/policy/2"} == {n for n in made if n.startswith("answers")}
    assert [name for name in made if name.startswith("last")] == ["last/policy/2"]


def test_rounds_are_ordinary_nodes_with_the_keys_of_nodes_written_out(tmp_path):
    body = ROUNDS[: ROUNDS.index("  loop:")]
    written = body + "".join(
        f"""\
  samples{n}: {{kind: generate, models: {before}, prompts: qa.part{n}, samples: 2, temperature: 1}}
  scored{n}: {{kind: score, input: samples{n}, scorers: [execution]}}
  pairs{n}: {{kind: pair, input: scored{n}, metric: passed}}
  policy{n}: {{kind: preference, init: {before}, data: pairs{n}, learning_rate: 1e-4}}
"""
        for n, before in ((1, "base"), (2, "policy1"))
    )
    rounds, by_hand = keys(tmp_path, ROUNDS), keys(tmp_path, written)
    for number in (1, 2):
        assert rounds[f"policy/{number}"] == by_hand[f"policy{number}"]
        assert rounds[f"pairs/{number}"] == by_hand[f"pairs{number}"]


def test_a_longer_repeat_keeps_the_rounds_that_are_made(tmp_path):
    two, three = keys(tmp_path, ROUNDS), keys(tmp_path, ROUNDS, "nodes.loop.repeat=3")
    assert {name: key for name, key in three.items() if name in two} == two
    assert "policy/3" in three.keys() - two.keys()


def test_what_is_set_on_the_command_line_reaches_every_round(tmp_path):
    made = graph(tmp_path, ROUNDS, "nodes.loop.nodes.policy.beta=0.3", "nodes.loop.repeat=3").nodes
    assert [made[f"policy/{number}"].config.beta for number in (1, 2, 3)] == [0.3] * 3


def test_works_of_a_round_know_their_sources(tmp_path):
    made = graph(tmp_path, ROUNDS)
    work = work_of(made, made.nodes["policy/2"], Store(tmp_path / "store"))
    assert [(source.role, source.name) for source in work.sources] == [("init", "policy/1"), ("data", "pairs/2")]


FIRST = "first: {policy: base}"


@pytest.mark.parametrize(("old", "new", "what", "where"), [
    (FIRST, "first: {}", "there is no 'previous.policy' in the first round.", "9: nodes.samples/1.models"),
    (FIRST, "first: {polcy: base}", "no node of the group is called 'polcy'.", "7: nodes.loop.first.polcy"),
    ("init: previous.p", "init: previous.t", "'previous.tolicy' is no node of the group.", "12: nodes.policy/1.init"),
    ("repeat: 2", "repeat: 0", "Input should be greater than or equal to 1 (it is 0).", "6: nodes.loop.repeat"),
    ("      scored:", "      qa:", "there is another node 'qa'.", "10: nodes.loop.nodes.qa"),
    ("      scored:", "      a/b:", "'a/b' is no node name.", "10: nodes.loop.nodes.a/b"),
    ("metric: passed", "metrc: passed", "unknown key 'metrc'.", "11: nodes.pairs/1.metrc"),
    ("models: policy/2", "models: policy/3", "'policy/3' refers to no node.", "14: nodes.last.models"),
])  # fmt: skip
def test_mistakes_in_rounds_are_told_with_their_line(tmp_path, old, new, what, where):
    assert refusal(tmp_path, ROUNDS.replace(old, new))[:2] == (what, f"FILE:{where}")


def test_two_groups_share_what_is_the_same_and_have_names_of_their_own(tmp_path):
    group = ROUNDS[ROUNDS.index("  loop:") : ROUNDS.index("  answers:")]
    other = group.replace("loop:", "again:")
    assert refusal(tmp_path, ROUNDS + other)[0] == "there is another node 'samples'."
    for name in ("scored", "pairs", "policy"):
        other = re.sub(rf"\b{name}\b", f"{name}_b", other)
    other = other.replace("samples: {", "samples_b: {").replace("input: samples", "input: samples_b")
    found = keys(tmp_path, ROUNDS + other)
    assert found["policy_b/2"] == found["policy/2"]


NODE = "  stale: {kind: preference, init: policy/1, data: pairs/1, learning_rate: 1e-4}\n"
STALE = ROUNDS.replace("  answers:", f"{NODE}  answers:")
TOLD = "its pairs are samples of 'base', but it starts from 'policy/1'."


def test_pairs_of_another_model_are_refused_before_anything_runs(tmp_path):
    assert refusal(tmp_path, STALE)[:2] == (TOLD, "FILE:13: nodes.stale.data")
    allowed = STALE.replace("data: pairs/1,", "data: pairs/1, stale: allow,")
    assert graph(tmp_path, allowed).nodes["stale"].config.stale == "allow"


def test_pairs_that_were_changed_on_the_way_are_stale_as_well(tmp_path):
    text = STALE.replace(NODE, "  marked: {kind: annotate, input: pairs/1}\n" + NODE.replace("pairs/1", "marked"))
    assert refusal(tmp_path, text)[0] == TOLD


def test_an_allowance_counts_in_the_key_and_its_absence_does_not(tmp_path):
    plain = keys(tmp_path, ROUNDS)["policy/1"]
    policy = "policy: {kind: preference,"
    assert keys(tmp_path, ROUNDS.replace(policy, f"{policy} stale: refuse,"))["policy/1"] == plain
    assert keys(tmp_path, ROUNDS.replace(policy, f"{policy} stale: allow,"))["policy/1"] != plain
