"""Two collectors on one model's samples: a graph whose models, answers and scores are written by hand.

Pairs and the report are made by their kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphs import graph

from kintsugi.execute import work_of
from kintsugi.graph import Graph
from pipeline.contract import DATA
from pipeline.records import GenerationRecord, ScoredRecord, ScoreRecord, VerdictRecord
from pipeline.shards import write_shards
from pipeline.store import Store

TEXT = """\
name: collected
nodes:
  qa: {kind: source, from: builtin, rows: 40, splits: {test: 8}}
  base: {kind: sft, init: tiny, data: qa.train, learning_rate: 1e-3}
  samples: {kind: generate, models: base, prompts: qa.train, samples: 3, temperature: 1}
  ran: {kind: score, input: samples, scorers: [execution]}
  graded: {kind: score, input: samples, scorers: [rubric], rubric: {by: {backend: erring, error_rate: 0.2}}}
  met: {kind: versus, input: samples, among: samples, by: judge, judge: {by: {backend: erring, error_rate: 0.2}}}
  execution: {kind: pair, input: ran, metric: passed}
  judge: {kind: pair, input: graded, metric: rubric/score, spans: diff}
  duels: {kind: pair, input: met, choose: all}
  executed: {kind: preference, init: base, data: execution, limit: 1, learning_rate: 1e-4}
  judged: {kind: preference, init: base, data: judge, learning_rate: 1e-4}
  answers: {kind: generate, models: [base, executed, judged], prompts: qa.test}
  scores: {kind: score, input: answers, scorers: [execution]}
  versus: {kind: versus, input: answers, by: judge, judge: {by: {backend: erring, error_rate: 0.2}}}
  report:
    {kind: collected, pairs: [execution, judge, duels], scores: scores, base: base, verdicts: versus, resamples: 200}
"""

SAMPLED = {"p1": ("good", "bad", "worse"), "p2": ("fine", "fine", "no"), "p3": ("a", "b", "c")}
RAN = {"p1": (1, 0, 0), "p2": (1, 1, 0), "p3": (0, 0, 0)}
GRADED = {"p1": (5, 1, 1), "p2": (1, 1, 5), "p3": (1, None, 3)}
MET = {
    "p1": {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 0.5},
    "p2": {(0, 1): 0.5, (0, 2): 1.0, (1, 2): 1.0},
    "p3": {(0, 1): None, (0, 2): 0.0, (1, 2): None},
}
HELD_OUT = {"base": (0, 0, 0, 1), "executed": (1, 1, 0, 1), "judged": (1, 0, 0, 1)}


class HandMade:
    """The graph in a folder, with everything that a test does not make itself."""

    def __init__(self, folder: Path, text: str = TEXT, taint: str = "") -> None:
        self.graph: Graph = graph(folder, text)
        self.store = Store(folder / "store")
        self.taint = taint
        self.put("qa", [], GenerationRecord)
        for model in ("base", "executed", "judged"):
            if model == "executed":
                self.put("samples/base", _answers(SAMPLED, taint), GenerationRecord)
                self.put("ran/base", _scores("passed", RAN), ScoredRecord)
                self.put("graded/base", _scores("rubric/score", GRADED), ScoredRecord)
                self.put("met", _verdicts(MET), VerdictRecord)
            self.put(model, [], GenerationRecord)

    def put(self, node: str, rows: Sequence[Any], record: Any) -> None:
        """Write what a node would have made."""
        work = work_of(self.graph, self.graph.nodes[node], self.store)
        write_shards(work.directory / DATA, rows, record.SCHEMA, 2 if record is ScoredRecord else 100)
        work.commit(rows={"in": len(rows), "out": len(rows), "rejected": 0})

    def make(self, node: str) -> Path:
        """Let the node's kind make it; gives its directory."""
        made = self.graph.nodes[node]
        work = work_of(self.graph, made, self.store)
        made.kind.make([work])
        return work.directory

    def report(self) -> Path:
        """The report, with all that it stands on."""
        for node in ("execution", "judge", "duels"):
            self.make(node)
        for model, passed in HELD_OUT.items():
            rows = {
                f"t{number}": (f"{model} says {'much ' * value}{self.taint}",) for number, value in enumerate(passed)
            }
            self.put(f"answers/{model}", _answers(rows, self.taint), GenerationRecord)
            values = {f"t{number}": (value,) for number, value in enumerate(passed)}
            self.put(f"scores/{model}", _scores("passed", values), ScoredRecord)
        verdicts = [
            VerdictRecord("t0", 0, "base", "executed", 0.0, "b wins"),
            VerdictRecord("t1", 0, "base", "executed", 0.0, "b wins"),
            VerdictRecord("t3", 0, "base", "executed", 0.5, "tie"),
            VerdictRecord("t2", 0, "executed", "judged", None, "not judged"),
        ]
        self.put("versus", verdicts, VerdictRecord)
        return self.make("report")


def _answers(texts: Mapping[str, Sequence[str]], taint: str) -> list[GenerationRecord]:
    return [
        GenerationRecord(prompt, f"Question {prompt}{taint}?", text, "stop", 3, 3, "good", "test", sample=sample)
        for prompt, samples in texts.items()
        for sample, text in enumerate(samples)
    ]


def _scores(metric: str, values: Mapping[str, Sequence[float | None]]) -> list[ScoredRecord]:
    return [
        ScoredRecord(prompt, (ScoreRecord(prompt, metric, value, "why"),), sample)
        for prompt, samples in values.items()
        for sample, value in enumerate(samples)
    ]


def _verdicts(meetings: Mapping[str, Mapping[tuple[int, int], float | None]]) -> list[VerdictRecord]:
    return [
        VerdictRecord(prompt, 0, str(a), str(b), value, "said")
        for prompt, met in meetings.items()
        for (a, b), value in met.items()
    ]
