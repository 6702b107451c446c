"""Judges and rankers in an experiment file: what they refer to, what counts for a key, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from graphs import graph, keys, refusal
from judged import script

HEAD = """\
name: judged
nodes:
  qa: {kind: source, from: builtin, rows: 40, splits: {test: 8}}
  one: {kind: sft, init: tiny, data: qa.train, learning_rate: 1e-3}
  two: {kind: sft, init: tiny, data: qa.train, learning_rate: 2e-3}
  answers: {kind: generate, models: [one, two], prompts: qa.test}
"""
WRITER = "{backend: scripted, script: SCRIPT}"


def text(folder: Path, *lines: str) -> str:
    path = folder / "script.jsonl"
    if not path.exists():
        script(path, ("", "x"))
    return HEAD + "".join(f"  {line}\n" for line in lines).replace("WRITER", WRITER).replace("SCRIPT", str(path))


SCORES = "scores: {kind: score, input: answers, scorers: [judge], judge: {by: WRITER}}"
VERSUS = "duels: {kind: versus, input: answers, by: judge, judge: {by: WRITER}}"
RANKED = "ranked: {kind: versus, input: answers, by: pairrm, pairrm: {model: MODEL}}"
INJECTED = "injected: {kind: injections, input: answers, judge: {by: WRITER}}"


def edges(made: Any, node: str) -> list[tuple[str, str]]:
    return [(edge.role, edge.node) for edge in made.nodes[node].inputs]


def test_versus_takes_all_models_and_scores_fan_out(tmp_path: Path) -> None:
    made = graph(tmp_path, text(tmp_path, SCORES, VERSUS, INJECTED))
    both = [("input", "answers/one"), ("input", "answers/two")]
    assert edges(made, "duels") == edges(made, "injected") == both
    assert edges(made, "scores/two") == [("input", "answers/two")]
    assert made.nodes["duels"].kind.product == "verdicts"


@pytest.mark.parametrize(("line", "node"), [(SCORES, "scores/two"), (VERSUS, "duels"), (INJECTED, "injected")])
def test_a_model_of_the_graph_can_judge(line: str, node: str, tmp_path: Path) -> None:
    own = line.replace("WRITER", "{backend: vllm, model: one}")
    assert ("judge.by.model", "one") in edges(graph(tmp_path, text(tmp_path, own)), node)
    other = own.replace("model: one", "model: two")
    assert keys(tmp_path, text(tmp_path, own))[node] != keys(tmp_path, text(tmp_path, other))[node]


def test_the_script_and_own_prompts_count_and_the_pace_does_not(tmp_path: Path) -> None:
    before = keys(tmp_path, text(tmp_path, SCORES, VERSUS))
    faster = text(tmp_path, SCORES, VERSUS).replace("scripted,", "scripted, concurrency: 3,")
    assert keys(tmp_path, faster) == before
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "versus.md").write_text("{% block system %}{% endblock %}{% block user %}{% endblock %}")
    own = text(tmp_path, SCORES, VERSUS).replace("scripted,", f"scripted, prompts: {tmp_path}/prompts,")
    found = keys(tmp_path, own)
    assert found["duels"] != before["duels"]
    script(tmp_path / "script.jsonl", ("", "y"))
    after = keys(tmp_path, text(tmp_path, SCORES, VERSUS))
    assert {name for name in after if after[name] != before[name]} == {"scores/one", "scores/two", "duels"}


def model_in(folder: Path, width: int = 8) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"hidden_size": width}))
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_ranker_is_a_directory_a_name_or_a_node(tmp_path: Path) -> None:
    here = model_in(tmp_path / "here")
    shutil.copytree(here, tmp_path / "there")

    def key(model: str, *more: str) -> str:
        return keys(tmp_path, text(tmp_path, RANKED.replace("MODEL", model), *more))["ranked"]

    first = key(str(here))
    assert first == key(str(tmp_path / "there")), "what it is counts, not where it lies"
    assert first == key(f"{here}, batch_size: 4")
    (here / "config.json").write_text("{}")
    assert first != key(str(here))
    published = key("llm-blender/PairRM-hf")
    assert published == keys(tmp_path, text(tmp_path, RANKED.replace(", pairrm: {model: MODEL}", "")))["ranked"]
    assert published != key("llm-blender/PairRM-hf@abc")
    node = f"ranker: {{kind: model, from: {tmp_path / 'there'}}}"
    made = graph(tmp_path, text(tmp_path, node, RANKED.replace("MODEL", "ranker")))
    assert ("pairrm.model", "ranker") in edges(made, "ranked")


@pytest.mark.parametrize(("line", "what", "where"), [
    (RANKED.replace("MODEL", "rankr"), "'rankr' is no node, no model directory and no Hugging Face name.", "FILE:7"),
    (SCORES.replace("[judge]", "[juge, judge]"), "there is no scorer 'juge'.", "FILE:7"),
    (SCORES.replace("WRITER", "{backend: scripted, script: nowhere.jsonl}"),
     "there is no such script.", "nowhere.jsonl"),
    (INJECTED.replace("judge: {", "judge: {error_types: [off-by-two], "), "there is no error type 'off-by-two'.",
     "FILE:7"),
])  # fmt: skip
def test_mistakes_are_told_before_anything_runs(line: str, what: str, where: str, tmp_path: Path) -> None:
    told, place, _ = refusal(tmp_path, text(tmp_path, line))
    assert what in told and where in place


def test_a_score_node_without_a_judge_has_the_key_it_had(tmp_path: Path) -> None:
    config = graph(tmp_path, text(tmp_path, "scores: {kind: score, input: answers, scorers: [execution]}"))
    assert "judge" not in config.nodes["scores/one"].config.model_dump(mode="json")
