"""A finished comparison made by hand: a small store whose models, answers and scores are written, not computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.nodes import CompareConfig
from eval.report.build import write_report
from pipeline.contract import DATA, Source, Work
from pipeline.records import CallResult, FunctionTest, GenerationRecord, ScoredRecord, ScoreRecord, table_of
from pipeline.shards import shard_name
from pipeline.store import Input, Manifest, commit, write_table

HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=2'></script><svg/onload=window.pwned=3>"
    '"><a href="javascript:window.pwned=4">x</a>\u2028<!-- {{7*7}} \\ &amp; 🎻'
)
LOOPS, GUARDS = "infinite-loops", "missing-guards"


@dataclass(frozen=True)
class Model:
    """One arm: its node, the kind and config of its model, and its verdict on each prompt (None: not judged)."""

    node: str
    kind: str
    verdicts: Sequence[float | None]
    errors: dict[int, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


MODELS = (
    Model("reference", "sft", [1, 1, 1, 1, 1, 0], config={"learning_rate": 3e-3}),
    Model("corrupted", "sft", [0, 0, 0, 1, 0, None], {0: LOOPS, 1: LOOPS, 2: GUARDS}, {"learning_rate": 1e-3}),
    Model("mended/dpo", "preference", [1, 0, 1, 1, 0, 0], {1: GUARDS}, {"loss": "dpo", "mask": "granular"}),
    Model("mended/tdpo2", "preference", [1, 1, 0, 1, 0, 0], {2: GUARDS}, {"loss": "tdpo2", "mask": "response"}),
)
SOURCES = ("hand/even", "hand/odd")


def make_report(root: Path, models: Sequence[Model] = MODELS, *, taint: str = "", **config: Any) -> Path:
    """Write the store and the report of `models`, every text of it tainted; gives the report's directory."""
    sources = [_scores(root / "store", model, taint) for model in models]
    directory = root / "store" / "tables" / "t0"
    directory.mkdir(parents=True, exist_ok=True)
    ends = {"floor": "corrupted", "ceiling": "reference"}
    made = CompareConfig.model_validate({"kind": "compare", "input": "scores", "resamples": 100, **ends, **config})
    write_report(Work(f"by-hand{taint}", "report", "compare", 2, "tables", "t0", made, directory, sources))
    return directory


def answer_of(model: Model, number: int, taint: str = "") -> str:
    """The answer of a model: equal answers where the verdicts are equal and no error is planted."""
    bad = " BAD" if number in model.errors else ""
    verdict = model.verdicts[number]
    return f"It is {verdict}{taint}:\n\n```python\ndef f{number}(x):{bad}\n    return '{verdict}{taint}'\n```\n\nDone."


def prompt_of(number: int, taint: str = "") -> str:
    return f"Question {number}: write `f{number}(x)`.{taint}"


def _generation(model: Model, number: int, taint: str) -> GenerationRecord:
    tests = (
        FunctionTest(f"f{number}", "[1]", f'"{taint}"'),
        FunctionTest(f"f{number}", f'["{taint}"]', raises="KeyError"),
    )
    good = f"```python\ndef f{number}(x):\n    return x{taint}\n```"
    source = SOURCES[number % 2] + taint
    return GenerationRecord(
        f"q{number}{taint}",
        prompt_of(number, taint),
        answer_of(model, number, taint),
        "stop",
        9,
        9,
        good,
        source,
        tests,
    )


def _scored(model: Model, number: int, taint: str) -> ScoredRecord:
    key, verdict, found = f"q{number}{taint}", model.verdicts[number], model.errors.get(number)
    results = (CallResult(bool(verdict), f'"{taint}"'), CallResult(bool(verdict), None, "KeyError", f"no{taint}"))
    scores = [
        ScoreRecord(key, "compiles", 1.0, "the code compiles"),
        ScoreRecord(key, "passed", verdict, f"f{number} returned {taint}", results=() if verdict is None else results),
    ]
    place = answer_of(model, number, taint).find("BAD")
    for name in (LOOPS, GUARDS):
        where = {LOOPS: (place, place + 3), GUARDS: (place, place)}[name] if found == name else (None, None)
        scores.append(
            ScoreRecord(key, f"errors/{name}{taint}", float(found == name), f"present: `x` is bad{taint}", *where)
        )
    return ScoredRecord(key, tuple(scores))


def _scores(store: Path, model: Model, taint: str) -> Source:
    """Write a model, its answers and their scores; the scores as an input of the report."""
    name = model.node + taint if model.kind == "preference" else model.node
    key = model.node.replace("/", "-")
    log = [
        {"step": step, "total": 4, "loss": 1 / step, "rewards/margins": step / 4, "tokens": 9} for step in range(1, 5)
    ]
    config = {"seed": 0, "learning_rate": 1e-4, **model.config}
    config |= {what: config[what] + taint for what in ("loss", "mask") if what in config}
    made = _put(store, "models", key, model.kind, config, [], facts={"train_seconds": 75.0, "train_tokens": 99})
    (made / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    numbers = range(len(model.verdicts))
    above = [Input("models", name, "models", key), Input("prompts", f"qa{taint}", "rows", "r0", "test")]
    answers = _put(store, "generations", key, "generate", {"temperature": 0.0}, above)
    write_table(
        answers / DATA / shard_name(0),
        table_of([_generation(model, n, taint) for n in numbers], GenerationRecord.SCHEMA),
    )
    scores = _put(store, "scores", key, "score", {}, [Input("input", f"answers/{name}", "generations", key)])
    write_table(
        scores / DATA / shard_name(0), table_of([_scored(model, n, taint) for n in numbers], ScoredRecord.SCHEMA)
    )
    return Source("input", f"scores/{name}", "scores", key, "", scores)


def _put(
    store: Path, product: str, key: str, kind: str, config: dict[str, Any], inputs: list[Input], **more: Any
) -> Path:
    directory = store / product / key
    directory.mkdir(parents=True, exist_ok=True)
    commit(directory, Manifest(kind, 1, product, key, config, inputs, **more))
    return directory
