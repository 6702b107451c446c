"""What decides the content key of a node, and what does not."""

import json
import re

import pytest
from graphs import ARMS, SMALL, graph, keys, refusal


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_the_same_nodes_in_another_experiment_have_the_same_keys(tmp_path):
    other = """\
name: elsewhere
nodes:
  judged: {kind: score, input: said, scorers: [execution]}
  said: {kind: generate, prompts: questions.test, models: start}
  start: {learning_rate: 0.001, data: questions.train, init: tiny, kind: sft, epochs: 1}
  questions: {splits: {validation: 4, test: 8}, rows: 40, from: builtin, kind: source}
"""
    ours, theirs = keys(tmp_path), keys(tmp_path, other)
    assert theirs == {
        "questions": ours["qa"],
        "start": ours["reference"],
        "said/start": ours["answers/reference"],
        "judged/start": ours["scores/reference"],
    }


def test_different_nodes_have_different_keys(tmp_path):
    found = keys(tmp_path)
    assert len(found) == 2 + 1 + 4 + 5 + 5 + 1
    assert len(set(found.values())) == len(found)
    assert all(len(key) == 20 for key in found.values())


EVERY_MEMBER = {
    f"{group}/{label}" for group in ("answers", "scores") for label in ("reference", *(f"mended/{arm}" for arm in ARMS))
}
MENDED = {f"mended/{arm}" for arm in ARMS}
OF_MENDED = {name for name in EVERY_MEMBER if "mended" in name}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("nodes.report.resamples=50", {"report"}),
        ("nodes.scores.scorers=[errors]", {name for name in EVERY_MEMBER if "scores" in name} | {"report"}),
        ("nodes.answers.temperature=1", EVERY_MEMBER | {"report"}),
        ("nodes.answers.prompts=qa.validation", EVERY_MEMBER | {"report"}),
        ("nodes.mended.beta=0.2", MENDED | OF_MENDED | {"report"}),
        ("nodes.mended.seed=1", MENDED | OF_MENDED | {"report"}),
        ("nodes.other.rows=31", {"other"} | MENDED | OF_MENDED | {"report"}),
        ("nodes.other.seed=1", {"other"} | MENDED | OF_MENDED | {"report"}),
        ("nodes.reference.data=qa.validation", {"reference"} | MENDED | EVERY_MEMBER | {"report"}),
        ("nodes.qa.splits.test=9", {"qa", "reference"} | MENDED | EVERY_MEMBER | {"report"}),
    ],
)
def test_a_change_reaches_everything_downstream_and_nothing_else(tmp_path, override, expected):
    assert changed(keys(tmp_path), keys(tmp_path, SMALL, override)) == expected


@pytest.mark.parametrize(
    "override",
    [
        "nodes.reference.resources.cpus=3",
        "nodes.reference.resources.concurrency=2",
        "nodes.reference.checkpoint_every=7",
    ],
)
def test_what_cannot_change_a_result_changes_no_key(tmp_path, override):
    assert changed(keys(tmp_path), keys(tmp_path, SMALL, override)) == set()


@pytest.mark.parametrize("override", ["workers=4", "zero=3", "dtype=bf16"])
def test_what_changes_the_arithmetic_of_training_counts(tmp_path, override):
    found = changed(keys(tmp_path), keys(tmp_path, SMALL, f"nodes.reference.{override}"))
    assert found == {"reference"} | MENDED | EVERY_MEMBER | {"report"}


def test_a_default_written_out_changes_no_key(tmp_path):
    assert changed(keys(tmp_path), keys(tmp_path, SMALL, "nodes.mended.beta=0.1", "nodes.reference.zero=1")) == set()


def test_a_report_prints_names_so_names_count_for_it_alone(tmp_path):
    renamed = SMALL.replace("name: small", "name: large")
    assert changed(keys(tmp_path), keys(tmp_path, renamed)) == {"report"}
    found = keys(tmp_path, SMALL.replace("other", "further"))
    assert found["mended/dpo-random"] == keys(tmp_path)["mended/dpo-random"]
    assert found["report"] == keys(tmp_path)["report"], "the report does not print the names of rows"
    found = keys(tmp_path, re.sub(r"\breference\b", "original", SMALL))
    assert found["scores/original"] == keys(tmp_path)["scores/reference"]
    assert found["report"] != keys(tmp_path)["report"]


def test_the_version_of_a_kind_is_part_of_its_keys(tmp_path, monkeypatch):
    before = keys(tmp_path)
    kind = graph(tmp_path).nodes["other"].kind
    monkeypatch.setattr(type(kind), "version", kind.version + 1)
    assert {"qa", "other", "report"} <= changed(before, keys(tmp_path))


def test_a_data_file_counts_by_its_content(tmp_path):
    data = tmp_path / "data.jsonl"
    text = f"name: file\nnodes:\n  qa: {{kind: source, from: {data}}}\n"
    data.write_text('{"prompt": "1 + 1?", "response": "2"}\n', encoding="utf-8")
    first = keys(tmp_path, text)
    data.write_text('{"prompt": "1 + 1?", "response": "3"}\n', encoding="utf-8")
    assert changed(first, keys(tmp_path, text)) == {"qa"}


# init


def model_directory(folder, **files):
    directory = folder / "model"
    directory.mkdir()
    default = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "{}"}
    for name, text in {**default, **files}.items():
        if text is not None:
            (directory / name).write_text(text, encoding="utf-8")
    return directory


def with_init(init):
    return SMALL.replace("init: tiny", f"init: {json.dumps(str(init))}")


def test_a_model_directory_counts_by_its_content(tmp_path):
    directory = model_directory(tmp_path)
    first = keys(tmp_path, with_init(directory))
    assert keys(tmp_path, with_init(directory)) == first
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (directory / name).write_text("changed", encoding="utf-8")
        second = keys(tmp_path, with_init(directory))
        assert changed(first, second) == {"reference"} | MENDED | EVERY_MEMBER | {"report"}
        first = second


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        ({"tokenizer.json": None}, "a tokenizer (tokenizer.json or tokenizer.model)"),
        ({"model.safetensors": None, "pytorch_model.bin": "pickled"}, "weights (*.safetensors)"),
        (
            {"config.json": None, "tokenizer.json": None},
            "config.json and a tokenizer (tokenizer.json or tokenizer.model)",
        ),
    ],
)
def test_a_model_directory_that_lacks_something_is_refused_when_planning(tmp_path, files, lacking):
    directory = model_directory(tmp_path, **files)
    what, where, hint = refusal(tmp_path, with_init(directory))
    assert what == f"the model directory lacks {lacking}."
    assert where == str(directory)
    assert "save_pretrained" in hint


def test_a_hugging_face_name_is_taken_as_it_is(tmp_path):
    first = keys(tmp_path, with_init("meta-llama/Llama-3.1-8B-Instruct"))
    assert "reference" in changed(first, keys(tmp_path, with_init("meta-llama/Llama-3.2-1B-Instruct")))


@pytest.mark.parametrize("init", ["referense", "./nowhere/model", "a/b/c"])
def test_an_init_that_is_nothing_is_refused_with_advice(tmp_path, init):
    what, where, hint = refusal(tmp_path, with_init(init))
    assert what == f"'{init}' is no node, no model directory and no Hugging Face name."
    assert where == "FILE:6: nodes.reference.init"
    assert "`tiny`" in hint
