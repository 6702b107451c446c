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


def written(folder, text):
    path = folder / "experiment.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def graph(folder, text=SMALL, *overrides):
    return build(load(written(folder, text), overrides))


def refusal(folder, text, *overrides):
    """(what, where within the file, hint) of the config error that a file, loaded and built, gives."""
    with pytest.raises(UserError) as caught:
        graph(folder, text, *overrides)
    error = caught.value
    assert error.kind == "config"
    assert error.hint, f"no advice: {error}"
    return error.what, error.where.replace(str(folder / "experiment.yaml"), "FILE"), error.hint


def keys(folder, text=SMALL, *overrides):
    return {name: node.key for name, node in graph(folder, text, *overrides).nodes.items()}
