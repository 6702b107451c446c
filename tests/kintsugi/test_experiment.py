"""Reading experiment files: what a good one gives, and what each bad one says."""

import pytest
from graphs import refusal, written

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.failures import UserError

GOOD = """\
name: small
seed: 7
nodes:
  qa:
    kind: source
    from: builtin
    rows: 20
    splits: {test: 4}
  reference:
    kind: sft
    init: tiny
    data: qa.train
    learning_rate: 2e-3
    resources:
      cpus: 1
"""


def test_a_file_gives_its_name_seed_and_nodes_with_the_line_of_every_key(tmp_path):
    path = written(tmp_path, GOOD)
    experiment = load(path)
    assert (experiment.name, experiment.seed, list(experiment.nodes)) == ("small", 7, ["qa", "reference"])
    assert experiment.nodes["qa"] == {"kind": "source", "from": "builtin", "rows": 20, "splits": {"test": 4}}
    assert experiment.where("nodes", "qa", "rows") == f"{path}:7: nodes.qa.rows"
    assert experiment.where("nodes", "reference", "resources", "cpus") == f"{path}:15: nodes.reference.resources.cpus"


def test_a_key_that_was_not_written_stands_on_the_line_of_the_one_around_it(tmp_path):
    path = written(tmp_path, GOOD)
    assert load(path).where("nodes", "qa", "limit") == f"{path}:4: nodes.qa.limit"


def test_the_seed_may_be_left_out(tmp_path):
    assert load(written(tmp_path, GOOD.replace("seed: 7\n", ""))).seed == 0


def test_exponents_without_a_point_are_numbers(tmp_path):
    """YAML 1.1 reads 2e-3 as text, which nobody means."""
    config = build(load(written(tmp_path, GOOD))).nodes["reference"].config
    assert config.learning_rate == 0.002


# What each bad file says


def test_an_unknown_key_at_the_top(tmp_path):
    found = refusal(tmp_path, GOOD.replace("seed: 7", "sede: 7"))
    assert found == ("unknown key 'sede'.", "FILE:2: sede", "Did you mean 'seed'?")


def test_an_unknown_key_in_a_node(tmp_path):
    found = refusal(tmp_path, GOOD.replace("rows: 20", "row: 20"))
    assert found == ("unknown key 'row'.", "FILE:7: nodes.qa.row", "Did you mean 'rows'?")


def test_a_misspelt_key_that_is_needed_is_called_misspelt_and_not_missing(tmp_path):
    found = refusal(tmp_path, GOOD.replace("learning_rate", "learning_rte"))
    assert found == (
        "unknown key 'learning_rte'.",
        "FILE:13: nodes.reference.learning_rte",
        "Did you mean 'learning_rate'?",
    )


def test_the_nearest_key_is_the_one_that_files_use(tmp_path):
    """The field is called `origin` in the code and `from` in files; `matrix` is no field at all."""
    what, _, hint = refusal(tmp_path, GOOD.replace("from: builtin", "frm: builtin"))
    assert (what, hint) == ("unknown key 'frm'.", "Did you mean 'from'?")
    what, _, hint = refusal(tmp_path, GOOD.replace("learning_rate: 2e-3", "matrx: {learning_rate: [1e-3]}"))
    assert (what, hint) == ("unknown key 'matrx'.", "Did you mean 'matrix'?")


def test_an_unknown_key_deeper_down(tmp_path):
    what, where, hint = refusal(tmp_path, GOOD.replace("cpus: 1", "cpu: 1"))
    assert (what, where) == ("unknown key 'cpu'.", "FILE:15: nodes.reference.resources.cpu")
    assert hint == "Did you mean 'cpus'?"


def test_a_key_that_is_like_none_lists_them_all(tmp_path):
    _, _, hint = refusal(tmp_path, GOOD.replace("rows: 20", "zzzzzz: 20"))
    assert hint.startswith("Known here: ")
    assert "from" in hint
    assert "matrix" in hint


def test_a_missing_key_at_the_top(tmp_path):
    what, where, hint = refusal(tmp_path, GOOD.replace("name: small\n", ""))
    assert (what, where) == ("the key 'name' is missing.", "FILE: name")
    assert hint.startswith("Add it.")


def test_a_missing_key_in_a_node_stands_on_the_nodes_line(tmp_path):
    what, where, hint = refusal(tmp_path, GOOD.replace("    data: qa.train\n", ""))
    assert (what, where) == ("the key 'data' is missing.", "FILE:9: nodes.reference.data")
    assert hint == "Add it. data: The rows to train on."


@pytest.mark.parametrize(
    ("old", "new", "where", "seen"),
    [
        ("rows: 20", "rows: many", "FILE:7: nodes.qa.rows", "'many'"),
        ("rows: 20", "rows: 0", "FILE:7: nodes.qa.rows", "0"),
        ("rows: 20", "rows: [20]", "FILE:7: nodes.qa.rows", "[20]"),
        ("seed: 7", "seed: soon", "FILE:2: seed", "'soon'"),
        ("cpus: 1", "cpus: -1", "FILE:15: nodes.reference.resources.cpus", "-1"),
        ("name: small", "name: ../small", "FILE:1: name", "'../small'"),
    ],
)
def test_a_wrong_value_is_shown_with_its_place(tmp_path, old, new, where, seen):
    what, found, _ = refusal(tmp_path, GOOD.replace(old, new))
    assert found == where
    assert what.endswith(f"(it is {seen}).")


def test_what_a_kind_forbids_is_said_in_its_own_words_without_the_whole_node(tmp_path):
    what, where, _ = refusal(tmp_path, GOOD.replace("splits: {test: 4}", "splits: {train: 4}"))
    assert what == "'train' cannot name a split; use letters and digits, none of train, data, rejected, in, out."
    assert where == "FILE:8: nodes.qa.splits"
    what, where, _ = refusal(tmp_path, GOOD.replace("splits: {test: 4}", "splits: {test: x}"))
    assert what == "'x' is no size of a split; give a number of rows, or a share such as 5%."
    assert where == "FILE:8: nodes.qa.splits"
    path = written(tmp_path, GOOD.replace("    data:", "    batch_size: 7\n    data:"))
    with pytest.raises(UserError, match="batch_size 7 must be a multiple of workers x accumulation = 2") as caught:
        build(load(path))
    assert caught.value.where == f"{path}:9: nodes.reference"
    assert "qa.train" not in str(caught.value), "the whole node is printed"


def test_a_key_given_twice(tmp_path):
    found = refusal(tmp_path, GOOD.replace("    rows: 20\n", "    rows: 20\n    rows: 30\n"))
    assert found == ("the key 'rows' is given twice.", "FILE:8", "Remove one.")


def test_a_node_given_twice(tmp_path):
    what, where, _ = refusal(tmp_path, GOOD + "  qa: {kind: source, from: builtin}\n")
    assert (what, where) == ("the key 'qa' is given twice.", "FILE:16")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name: a\nnodes: {qa: {kind: source\n", "FILE:3"),
        ("name: a\nnodes:\n\tqa: 1\n", "FILE:3"),
        ("name: a\n? [b]\n: c\n", "FILE:2"),
        ("name: !!python/object/apply:os.system ['true']\n", "FILE:1"),
        ("name: 2026-13-45\n", "FILE"),
        ("name: \0\n", "FILE"),
        ("a: 1\n---\nb: 2\n", "FILE:2"),
    ],
)
def test_what_is_not_yaml_names_the_line(tmp_path, text, where):
    what, found, _ = refusal(tmp_path, text)
    assert what.startswith("this is not YAML: ")
    assert found == where
    assert "\n" not in what


def test_an_alias_of_what_it_stands_in(tmp_path):
    what, where, _ = refusal(tmp_path, "name: a\nnodes: &all\n  qa: *all\n")
    assert (what, where) == ("an alias stands inside of what it refers to.", "FILE")


def test_anchors_and_merges_work(tmp_path):
    text = GOOD + "  again:\n    <<: {kind: sft, init: reference, data: qa.train}\n    learning_rate: 1\n"
    assert build(load(written(tmp_path, text))).nodes["again"].config.init == "reference"


def test_bytes_that_are_not_utf_8(tmp_path):
    what, where, _ = refusal(tmp_path, b"name: caf\xe9\n")
    assert (what, where) == ("the experiment file is not UTF-8.", "FILE")


@pytest.mark.parametrize("text", ["", "just text\n", "- a\n- b\n"])
def test_a_file_that_is_no_mapping(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match="the file is no mapping of keys to values") as caught:
        load(path)
    assert caught.value.where == str(path)


def test_a_missing_file_says_where_experiments_are(tmp_path):
    with pytest.raises(UserError) as caught:
        load(tmp_path / "none.yaml")
    error = caught.value
    assert (error.kind, error.where) == ("config", str(tmp_path / "none.yaml"))
    assert error.what == "cannot read the experiment file (No such file or directory)."
    assert "configs/" in error.hint


def test_a_node_name_that_could_not_be_a_reference(tmp_path):
    what, where, hint = refusal(tmp_path, GOOD.replace("  qa:\n", "  q.a:\n"))
    assert (what, where) == ("'q.a' is no node name.", "FILE:4: nodes.q.a")
    assert "letters" in hint


def test_an_experiment_without_nodes(tmp_path):
    what, where, _ = refusal(tmp_path, "name: a\nnodes: {}\n")
    assert (what, where) == ("there are no nodes.", "FILE:2: nodes")


# --set


def test_set_replaces_and_adds_values_with_their_types(tmp_path):
    overrides = [
        "seed=3",
        "nodes.qa.rows=500",
        "nodes.reference.learning_rate=1e-4",
        "nodes.reference.epochs=0.5",
        "nodes.reference.schedule=linear",
        "nodes.qa.splits.validation=2",
        "nodes.reference.resources.concurrency=4",
    ]
    graph = build(load(written(tmp_path, GOOD), overrides))
    qa, reference = graph.nodes["qa"].config, graph.nodes["reference"].config
    assert graph.experiment.seed == qa.seed == reference.seed == 3
    assert qa.rows == 500
    assert qa.splits == {"test": 4, "validation": 2}
    assert (reference.learning_rate, reference.epochs, reference.schedule) == (0.0001, 0.5, "linear")
    assert reference.resources.concurrency == 4


def test_set_takes_lists_and_mappings(tmp_path):
    overrides = ["nodes.reference.matrix={seed: [1, 2]}", "nodes.qa.splits={test: 5}"]
    nodes = build(load(written(tmp_path, GOOD), overrides)).nodes
    assert list(nodes) == ["qa", "reference/1", "reference/2"]
    assert nodes["qa"].config.splits == {"test": 5}


def test_a_value_may_hold_an_equals_sign(tmp_path):
    experiment = load(written(tmp_path, GOOD), ["nodes.qa.from=data/a=b.jsonl"])
    assert experiment.nodes["qa"]["from"] == "data/a=b.jsonl"


def test_set_on_an_unknown_node_names_the_nearest(tmp_path):
    found = refusal(tmp_path, GOOD, "nodes.referense.epochs=2")
    assert found == ("there is no 'referense'.", "--set nodes.referense.epochs=2", "Did you mean 'reference'?")


def test_set_outside_the_nodes_names_the_nearest(tmp_path):
    found = refusal(tmp_path, GOOD, "node.qa.rows=2")
    assert found == ("there is no 'node'.", "--set node.qa.rows=2", "Did you mean 'nodes'?")


def test_set_of_an_unknown_key_names_the_nearest(tmp_path):
    what, _, hint = refusal(tmp_path, GOOD, "nodes.qa.row=500")
    assert (what, hint) == ("unknown key 'row'.", "Did you mean 'rows'?")


def test_set_without_an_equals_sign_shows_how_to_write_it(tmp_path):
    found = refusal(tmp_path, GOOD, "nodes.qa.rows")
    assert found == ("'nodes.qa.rows' sets nothing.", "--set", "Write --set nodes.qa.rows=500.")


def test_set_below_a_value(tmp_path):
    path = written(tmp_path, GOOD)
    with pytest.raises(UserError, match="'rows' is a value, not a mapping") as caught:
        load(path, ["nodes.qa.rows.x=1"])
    assert caught.value.where == "--set nodes.qa.rows.x=1"


def test_set_to_what_is_not_yaml(tmp_path):
    what, where, hint = refusal(tmp_path, GOOD, "nodes.qa.splits={test: 4")
    assert what.startswith("the value is not YAML: ")
    assert where == "--set nodes.qa.splits={test: 4"
    assert "Quote" in hint
