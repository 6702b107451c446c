"""The `by` of a node: what is refused, what counts for the key, and that a key given by mistake is never repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kintsugi.experiment import load
from kintsugi.graph import Graph, build
from pipeline.failures import UserError
from pipeline.llm.config import Writer
from pipeline.nodes import EmbedConfig

SECRET = "sk-live-5e8f1b2a"
ENDPOINT = {"backend": "endpoint", "model": "m"}

FILE = """
name: written
nodes:
  qa: {{kind: source, from: builtin, rows: 20}}
  mine: {{kind: sft, init: tiny, data: qa, learning_rate: 1e-3}}
  good: {{kind: rectify, input: qa, by: &writer {{{by}}}}}
  tags: {{kind: tag, input: good, by: *writer}}
  broken: {{kind: embed, input: tags, by: *writer}}
  pairs: {{kind: annotate, input: broken, by: *writer}}
"""


def graph(folder: Path, by: str) -> Graph:
    (folder / "e.yaml").write_text(FILE.format(by=by))
    return build(load(folder / "e.yaml"))


def keys(folder: Path, by: str) -> dict[str, str]:
    return {name: node.key for name, node in graph(folder, by).nodes.items()}


def test_one_writer_serves_every_stage(tmp_path: Path) -> None:
    found = graph(tmp_path, "backend: endpoint, model: m").nodes
    assert all(found[name].config.by == Writer(**ENDPOINT) for name in ("good", "tags", "broken", "pairs"))


@pytest.mark.parametrize(
    "change",
    [
        "api_key_env: OTHER",
        "concurrency: 99",
        "requests_per_minute: 5",
        "budget_tokens: 1000",
        "timeout: 5, patience: 6",
        "prompt_price: 1, completion_price: 2, budget_cost: 3",
    ],
)
def test_speed_and_money_change_no_key(tmp_path: Path, change: str) -> None:
    plain = "backend: endpoint, model: m"
    assert keys(tmp_path, f"{plain}, {change}") == keys(tmp_path, plain)


@pytest.mark.parametrize(
    "change",
    ["temperature: 1", "max_tokens: 9", "base_url: 'http://127.0.0.1:1/v1'", "structured: json", "attempts: 1"],
)
def test_what_decides_a_reply_changes_every_key_that_follows(tmp_path: Path, change: str) -> None:
    plain = "backend: endpoint, model: m"
    before, after = keys(tmp_path, plain), keys(tmp_path, f"{plain}, {change}")
    assert {name for name in before if before[name] != after[name]} == {"good", "tags", "broken", "pairs"}


def test_the_text_of_a_prompt_of_ones_own_counts_for_its_stage(tmp_path: Path) -> None:
    text = "{% block system %}one{% endblock %}{% block user %}{% endblock %}"
    (tmp_path / "annotate.md").write_text(text)
    by = f"backend: endpoint, model: m, prompts: '{tmp_path}'"
    before = keys(tmp_path, by)
    (tmp_path / "annotate.md").write_text(text.replace("one", "two"))
    after = keys(tmp_path, by)
    assert {name for name in before if before[name] != after[name]} == {"pairs"}


def test_a_vllm_writer_is_a_node_of_the_graph(tmp_path: Path) -> None:
    found = graph(tmp_path, "backend: vllm, model: mine")
    assert [(edge.role, edge.node) for edge in found.nodes["good"].inputs] == [("input", "qa"), ("by.model", "mine")]
    assert "mine" in found.upstream("broken")
    with pytest.raises(UserError, match=r"e\.yaml:6: nodes\.good\.by\.model: 'min' refers to no node.*'mine'"):
        graph(tmp_path, "backend: vllm, model: min")
    with pytest.raises(UserError, match=r"'qa' gives rows, but by\.model takes models"):
        graph(tmp_path, "backend: vllm, model: qa")


@pytest.mark.parametrize(
    ("by", "wrong"),
    [
        ("backend: endpoint", "backend endpoint needs 'model'"),
        ("backend: scripted", "backend scripted needs 'script'"),
        ("backend: vllm, model: mine, base_url: 'http://h/v1'", "'base_url' belongs to backend endpoint, not vllm"),
        ("backend: endpoint, model: m, budget_cost: 3", "budget_cost needs prompt_price"),
        ("backend: endpoint, model: m, base_url: 'h:80/v1'", "base_url is an address"),
        ("backend: endpoint, model: m, budget: 3", "unknown key 'budget'"),
        ("backend: scripted, script: none.jsonl", "there is no such script"),
        ("backend: endpoint, model: m, timeout: soon", r"nodes\.good\.by\.timeout: Input should be a valid number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(tmp_path: Path, by: str, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong) as caught:
        graph(tmp_path, by)
    assert caught.value.kind == "config"


@pytest.mark.parametrize(
    ("by", "wrong"),
    [
        ("dif", r"nodes\.pairs\.by: Input should be 'auto', 'given' or 'diff' \(it is 'dif'\)"),
        ("{backend: endpoint}", r"nodes\.pairs\.by: backend endpoint needs 'model'"),
        ("{backend: endpoint, model: m, max_token: 3}", r"unknown key 'max_token'\. Did you mean 'max_tokens'"),
        ("{model: m}", r"nodes\.pairs\.by\.backend: the key 'backend' is missing"),
    ],
)
def test_annotate_takes_a_rule_or_a_model_and_says_what_is_wrong_with_either(
    tmp_path: Path, by: str, wrong: str
) -> None:
    text = FILE.format(by="backend: endpoint, model: m").replace(
        "input: broken, by: *writer", f"input: broken, by: {by}"
    )
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(UserError, match=wrong):
        build(load(tmp_path / "e.yaml"))


@pytest.mark.parametrize(
    "by",
    [
        f"backend: endpoint, model: m, api_key_env: {SECRET}",
        f"backend: endpoint, model: m, api_key: {SECRET}",
        f"backend: endpoint, model: m, base_url: 'https://me:{SECRET}@h/v1'",
        f"backend: endpoint, model: m, base_url: 'https://h/v1?key={SECRET}'",
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, by: str) -> None:
    with pytest.raises(UserError) as caught:
        graph(tmp_path, by)
    assert SECRET not in str(caught.value) and "nodes.good.by" in str(caught.value)


def test_a_quota_is_for_programs() -> None:
    with pytest.raises(ValueError, match="leave out 'quota' or 'by'"):
        EmbedConfig(kind="embed", input="qa", by=Writer(**ENDPOINT), quota={"per_type": 3})
    EmbedConfig(kind="embed", input="qa", by=Writer(**ENDPOINT), errors={"min": 1, "max": 3}, verify="static")


def test_only_what_belongs_to_the_back_end_is_written_down() -> None:
    written: dict[str, Any] = Writer(backend="vllm", model="mine").model_dump(mode="json")
    assert "base_url" not in written and written["max_length"] == 8192
    assert "max_length" not in Writer(**ENDPOINT).model_dump(mode="json")


def test_openais_key_goes_to_openai_alone() -> None:
    assert Writer(**ENDPOINT).key_name == "OPENAI_API_KEY"
    assert Writer(**ENDPOINT, base_url="http://127.0.0.1:8000/v1").key_name == ""
    assert Writer(**ENDPOINT, base_url="http://h/v1", api_key_env="MINE").key_name == "MINE"
