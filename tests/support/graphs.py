"""A small experiment, the graph that it gives, and how it is refused."""

import pytest

from kintsugi.experiment import load
from kintsugi.graph import build
from pipeline.failures import UserError

SMALL = """\
name: small
seed: 0
nodes:
  qa: {kind: source, from: builtin, rows: 40, splits: {validation: 4, test: 8}}
  other: {kind: source, from: builtin, rows: 30}
  reference: {kind: sft, init: tiny, data: qa.train, learning_rate: 1e-3}
  mended:
    kind: preference
    init: reference
    data: other
    learning_rate: 1e-4
    matrix: {loss: [dpo, tdpo2], mask: [response, random]}
  answers: {kind: generate, models: [reference, mended], prompts: qa.test}
  scores: {kind: score, input: answers, scorers: [execution]}
  report: {kind: compare, input: scores, floor: reference}
"""
ARMS = ["dpo-response", "dpo-random", "tdpo2-response", "tdpo2-random"]


def graph(folder, text=SMALL, *overrides):
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return build(load(path, overrides))


def refusal(folder, text, *overrides):
    """(what, where within the file, hint) of the config error that a file gives."""
    with pytest.raises(UserError) as caught:
        graph(folder, text, *overrides)
    assert caught.value.kind == "config"
    return caught.value.what, caught.value.where.replace(f"{folder / 'experiment.yaml'}", "FILE"), caught.value.hint


def keys(folder, text=SMALL, *overrides):
    return {name: node.key for name, node in graph(folder, text, *overrides).nodes.items()}
