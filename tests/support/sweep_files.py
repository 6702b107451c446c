"""A small experiment and a sweep of it, as files say them; nothing here runs anything."""

EXPERIMENT = """\
name: recovery
seed: 3
nodes:
  qa: {kind: source, from: builtin, rows: 60, splits: {validation: 8, test: 12}}
  broken: {kind: embed, input: qa.train}
  pairs: {kind: annotate, input: broken}
  reference: {kind: sft, init: tiny, data: qa.train, learning_rate: 1e-3}
  sft_good: {kind: sft, init: reference, data: pairs, target: chosen, learning_rate: 1e-4}
  mended:
    kind: preference
    init: reference
    data: pairs
    learning_rate: 1e-4
    matrix: {loss: [dpo, tdpo2], mask: [response, granular], seed: [0, 1]}
  answers: {kind: generate, models: [reference, mended], prompts: qa.test}
"""

SWEEP = """\
name: tuned
seed: 0
experiment: recovery.yaml
arms:
  node: mended
space:
  learning_rate: {log_uniform: [1e-5, 1e-3]}
  beta: [0.1, 0.3]
  alpha: {uniform: [0.1, 1.0]}
trials: 3
seeds: [5, 6]
evaluation:
  data: qa.validation
"""
