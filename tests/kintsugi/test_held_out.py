"""Rows that models are measured on while they train: the graph makes them first, counts them in no key, and keeps them
apart from what is learnt and from test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eval.report.build import _family
from kintsugi.execute import Place, execute
from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.contract import Source, identity
from pipeline.failures import UserError
from pipeline.store import Input, Manifest, Store
from training.evaluation import evaluation_of

EXPERIMENT = """\
name: small
nodes:
  qa: {kind: source, from: builtin, rows: 40, splits: {validation: 4, test: 8}}
  other: {kind: source, from: builtin, rows: 30}
  broken: {kind: embed, input: qa.train}
  pairs: {kind: annotate, input: broken}
  broken_validation: {kind: embed, input: qa.validation}
  pairs_validation: {kind: annotate, input: broken_validation}
  reference: {kind: sft, init: tiny, data: qa.train, learning_rate: 1e-3}
  answers: {kind: generate, models: [reference], prompts: qa.validation}
  mended:
    kind: preference
    init: reference
    data: pairs
    learning_rate: 1e-4
"""
EVALUATE = "    evaluate: {data: pairs_validation, every: 8, samples: 2}\n"


def graph(folder: Any, text: str) -> Graph:
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return build(load(path))


def refusal(folder: Any, text: str) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        graph(folder, text)
    assert caught.value.kind == "config"
    return caught.value.what, caught.value.where.rpartition("/")[2]


def test_no_key_counts_what_a_model_is_measured_on(tmp_path):
    without, measured = graph(tmp_path, EXPERIMENT), graph(tmp_path, EXPERIMENT + EVALUATE)
    assert {name: node.key for name, node in without.nodes.items()} == {
        name: node.key for name, node in measured.nodes.items()
    }


def test_rows_to_measure_on_are_made_first_and_nothing_follows_from_them(tmp_path):
    found = graph(tmp_path, EXPERIMENT + EVALUATE)
    assert {"pairs_validation", "broken_validation"} <= found.upstream("mended")
    assert found.upstream("mended", keyed=True) == {"reference", "pairs", "broken", "qa"}
    learnt = ("mended", *found.upstream("mended", keyed=True))
    splits = {edge.split for name in learnt for edge in found.nodes[name].inputs if edge.keyed}
    assert splits == {"", "train"}
    text = EXPERIMENT.replace("  qa: {", "  first: {kind: sft, init: tiny, data: other, learning_rate: 1e-3,"
                                         " evaluate: {data: pairs_validation}}\n  qa: {")  # fmt: skip
    names = list(graph(tmp_path, text).nodes)
    assert names.index("pairs_validation") < names.index("first")


@pytest.mark.parametrize(("old", "new", "what"), [
    ("input: qa.validation", "input: qa.test", "rows of qa.test, which is kept for the report."),
    ("input: qa.validation", "input: qa.train", "rows of qa.train, from which it learns."),
    ("data: pairs_validation", "data: qa.test", "rows of qa.test, which is kept for the report."),
    ("data: pairs_validation", "data: pairs", "rows of qa.train, from which it learns."),
    # What the model starts from was trained on them.
    ("data: qa.train", "data: qa.validation", "rows of qa.validation, from which it learns."),
])  # fmt: skip
def test_rows_that_are_not_held_out_are_refused(tmp_path, old, new, what):
    text = EXPERIMENT + EVALUATE
    assert old in text
    found, where = refusal(tmp_path, text.replace(old, new))
    assert found == f"the model would be measured on {what}"
    assert where == "experiment.yaml:16: nodes.mended.evaluate.data"


def test_sources_without_splits_are_told_apart_by_what_they_are(tmp_path):
    twin = EXPERIMENT.replace("data: pairs\n", "data: other\n").replace(
        "  broken:", "  twin: {kind: source, from: builtin, rows: 30}\n  broken:", 1
    )
    assert "rows of twin, from which" in refusal(tmp_path, twin + EVALUATE.replace("pairs_validation", "twin"))[0]
    apart = EXPERIMENT.replace("data: pairs\n", "data: other\n") + EVALUATE.replace("pairs_validation", "other")
    assert "rows of other, from which it learns" in refusal(tmp_path, apart)[0]
    graph(tmp_path, EXPERIMENT + EVALUATE.replace("pairs_validation", "other"))


@pytest.mark.parametrize(("given", "what"), [
    ("{data: answers}", "'answers' gives generations, but evaluate.data takes rows."),
    ("{data: qa}", "'qa' has splits."),
    ("{data: nothing}", "'nothing' refers to no node."),
    ("{}", "'data' is missing."),
    ("{data: other, every: 0}", "'evaluate.every'"),
])  # fmt: skip
def test_what_else_can_be_wrong_names_the_line(tmp_path, given, what):
    found, where = refusal(tmp_path, EXPERIMENT + f"    evaluate: {given}\n")
    assert where.startswith("experiment.yaml:16: nodes.mended.evaluate")
    assert what in found or what.strip("'") in where


def test_test_rows_may_be_reported_on(tmp_path):
    graph(tmp_path, EXPERIMENT.replace("prompts: qa.validation", "prompts: qa.test") + EVALUATE)


# What was made without


class Lines:
    """A screen that keeps what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def reused(self, name: str, unmet: str = "") -> None:
        self.told[name] = unmet


def manifest(config: Any, rows: str | None) -> Manifest:
    facts = {} if rows is None else {"evaluation": {"asked": config.evaluate.asked(rows)}}
    return Manifest("preference", 1, "models", "k", config.model_dump(mode="json"), [], {}, facts)


def test_a_model_that_was_made_without_being_measured_stays_and_is_told_of(tmp_path, monkeypatch):
    """All nodes are in the store: nothing is made, and the one that lacks figures is named."""
    found = graph(tmp_path, EXPERIMENT + EVALUATE)
    config, key = found.nodes["mended"].config, found.nodes["pairs_validation"].key
    changed = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"every": 9})})
    for there, complete in (
        (manifest(config, key), True),
        (manifest(config, None), False),
        (manifest(config, "others"), False),
        (manifest(changed, key), False),
    ):
        made = dict.fromkeys(found.nodes, there)
        monkeypatch.setattr("kintsugi.execute.manifests", lambda graph, store, made=made: made)
        screen = Lines()
        execute(found, Place(Store(tmp_path / "store"), tmp_path / "runs"), screen)  # type: ignore[arg-type]
        assert set(screen.told) == set(found.nodes)
        told = {name: text for name, text in screen.told.items() if text}
        assert set(told) == (set() if complete else {"mended"})
        assert complete or "changes no weight" in told["mended"]


def test_what_is_asked_is_the_same_word_for_word_in_plan_and_worker(tmp_path):
    found = graph(tmp_path, EXPERIMENT + EVALUATE).nodes["mended"]

    class Work:
        config = found.config

        def source(self, role: str) -> Source:
            return Source(role, "qa", "rows", "key", "validation", tmp_path)

    asked = evaluation_of(Work())  # type: ignore[arg-type]
    assert asked is not None
    assert asked.asked() == found.config.evaluate.asked(identity("key", "validation"))


# Families of arms


def test_arms_that_differ_in_what_never_changes_a_result_are_one_family():
    inputs = [Input("init", "reference", "models", "a"), Input("data", "pairs", "rows", "b")]
    config = {"kind": "preference", "seed": 0, "beta": 0.1, "resources": {"cpus": 1}}
    plain = Manifest("preference", 1, "models", "k", config, inputs)
    more = {**config, "seed": 3, "resources": {"cpus": 4}, "evaluate": {"data": "held"}}
    measured = replace(plain, config=more, inputs=[*inputs, Input("evaluate.data", "held", "rows", "c")])
    assert _family(plain) == _family(measured)
    assert _family(plain) != _family(replace(plain, config={**config, "beta": 0.2}))
    assert _family(plain) != _family(replace(plain, inputs=inputs[:1]))
