"""A comparison by hand that has every section: several kinds of scores, verdicts, forgetting, any number of arms."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.nodes import CompareConfig
from eval.report.build import write_report
from pipeline.contract import DATA, Source, Work
from pipeline.records import GenerationRecord, ScoredRecord, ScoreRecord, VerdictRecord, table_of
from pipeline.shards import shard_name
from pipeline.store import Input, Manifest, commit, write_table

TYPES = ("infinite-loops", "missing-guards", "off-by-one-errors", "unused-imports")
LOSSES = ("dpo", "tdpo1", "tdpo2", "ipo", "simpo")
MASKS = ("response", "granular", "random")


def make_rich_report(
    root: Path,
    mended: int = 4,
    prompts: int = 24,
    samples: int = 1,
    taint: str = "",
    first: int = 0,
    answered: bool = True,
    tested: bool = True,
    **config: Any,
) -> Path:
    """A corrupted model, a reference and `mended` more (-1: no reference); gives the report's directory.

    Without `tested`, there is a judge alone, who leaves the first prompt open. With another `first`, a second
    comparison in the same store: of the same reference and corrupted model, and others.
    """
    draw = np.random.default_rng(7)
    nodes = ["corrupted", "reference", *(f"mended/{number}" for number in range(first, first + mended))]
    nodes = nodes[: mended + 2]
    store = root / "store"
    sources: list[Source] = []
    for place, node in enumerate(nodes):
        skill = {0: 0.3, 1: 0.95}.get(place, 0.45 + 0.5 * place / (mended + 2))
        _model(store, node, place + first if place > 1 else place, taint)
        passed = (draw.random((prompts, samples)) < skill).astype(float)
        answers = _answers(store, node, passed, taint)
        scores = [
            _scored(number, sample, passed[number, sample], draw, taint, tested)
            for number, sample in np.ndindex(passed.shape)
        ]
        sources.append(_scores(store, "input", "scores", node, answers, scores))
        sources.append(_texts(store, "input", "likely", node, draw, skill, prompts, "qa"))
        sources.append(_texts(store, "forgetting", "kept", node, draw, skill, 12, "prose"))
        kept = [ScoredRecord(f"k{n}", (ScoreRecord(f"k{n}", "passed", float(draw.random() < 0.8)),)) for n in range(12)]
        elsewhere = _put(store, "generations", f"k-{_key(node)}", "generate", {}, _asked(node, f"families{taint}"))
        sources.append(_scores(store, "forgetting", "families", node, elsewhere, kept))
    sources = [source for source in sources if answered or not source.name.startswith("scores/")]
    sources.append(_verdicts(store, f"v{first}", nodes, prompts, samples, draw))
    directory = store / "tables" / f"t{first}"
    directory.mkdir(parents=True, exist_ok=True)
    ends = {"floor": nodes[0], "ceiling": nodes[1] if len(nodes) > 1 else None, "resamples": 200, **config}
    made = CompareConfig.model_validate({"kind": "compare", "input": "scores", **ends})
    write_report(Work(f"rich{taint}", "report", "compare", 6, "tables", directory.name, made, directory, sources))
    return directory


def _key(node: str) -> str:
    return node.replace("/", "-")


def _put(store: Path, product: str, key: str, kind: str, config: Any, inputs: Sequence[Input], **more: Any) -> Path:
    directory = store / product / key
    directory.mkdir(parents=True, exist_ok=True)
    commit(directory, Manifest(kind, 1, product, key, config, list(inputs), **more))
    return directory


def _asked(node: str, rows: str) -> list[Input]:
    return [Input("models", node, "models", _key(node)), Input("prompts", rows, "rows", "r0", "test")]


def _model(store: Path, node: str, place: int, taint: str) -> None:
    config: dict[str, Any] = {"seed": 0, "learning_rate": 1e-4, "data": node if place < 2 else "pairs"}
    kind, above = "sft", []
    if place > 1:
        loss, mask = LOSSES[place % 5], MASKS[place % 3]
        config |= {"loss": loss + taint, "mask": mask, "beta": 0.1 * place}
        kind, above = "preference", [Input("init", "corrupted", "models", "corrupted")]
    facts = {"train_seconds": 20.0 + 7 * place, "train_tokens": 20_000 + 9_000 * ((place * 7) % 11)}
    made = _put(store, "models", _key(node), kind, config, above, facts=facts)
    steps = []
    for step in range(1, 41):
        far = step / 40 * (1 + place / 3)
        steps.append({"step": step, "total": 40, "loss": math.exp(-far), "rewards/margins": math.log1p(3 * far)})
        if kind == "preference" and step % 10 == 0:
            steps[-1] |= {"eval/kl/chosen": far**2, "eval/kl/rejected": 2 * far**2, "eval/rewards/margins": far}
            steps[-1] |= {"kl/chosen": far, "kl/rejected": 2 * far} if place % 2 else {}
    (made / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))


def _answers(store: Path, node: str, passed: Any, taint: str) -> Path:
    rows = [
        GenerationRecord(
            f"q{n}", f"Question {n}?{taint}",
            f"```python\ndef f{n}():\n    return {passed[n, s]}  # {node}{s}\n```{taint}",
            "stop", 9, 9, f"Good {n}", f"hand/{n % 2}", (), int(s),
        )
        for n, s in np.ndindex(passed.shape)
    ]  # fmt: skip
    config = {"temperature": 0.0 if passed.shape[1] == 1 else 1.0, "samples": passed.shape[1]}
    directory = _put(store, "generations", _key(node), "generate", config, _asked(node, f"qa{taint}"))
    write_table(directory / DATA / shard_name(0), table_of(rows, GenerationRecord.SCHEMA))
    return directory


def _scored(number: int, sample: int, passed: float, draw: Any, taint: str, tested: bool) -> ScoredRecord:
    key, wrong = f"q{number}", 1 - passed
    values: dict[str, float | None] = {
        "compiles": 1.0,
        "passed": passed,
        "judge/accuracy": float(passed if draw.random() < 0.85 else wrong),
        "judge/clarity": float(draw.random() < 0.7),
        "judge/correct": float(passed if draw.random() < 0.8 else wrong),
        **{f"judge/errors/{name}{taint}": float(wrong and draw.random() < 0.3 * n) for n, name in enumerate(TYPES)},
        "rubric/score": float(draw.integers(1, 6)),
        "distance": float(draw.random()),
        **{f"errors/{name}{taint}": float(wrong and draw.random() < 0.2 * n) for n, name in enumerate(TYPES)},
    }
    if not tested:
        said = {name: value for name, value in values.items() if name.startswith("judge/")}
        values = said if number else dict.fromkeys(said)
    scores = tuple(ScoreRecord(key, name, value, f"why{taint}") for name, value in values.items())
    return ScoredRecord(key, scores, sample)


def _scores(store: Path, role: str, name: str, node: str, answers: Path, rows: Sequence[ScoredRecord]) -> Source:
    key = f"{name}-{_key(node)}"
    above = [Input("input", f"answers/{node}", "generations", answers.name)]
    directory = _put(store, "scores", key, "score", {}, above)
    write_table(directory / DATA / shard_name(0), table_of(rows, ScoredRecord.SCHEMA))
    return Source(role, f"{name}/{node}", "scores", key, "", directory)


def _texts(store: Path, role: str, name: str, node: str, draw: Any, skill: float, count: int, rows: str) -> Source:
    key = f"{name}-{_key(node)}"
    above = [Input("models", node, "models", _key(node)), Input("rows", rows, "rows", "r1", "test")]
    directory = _put(store, "scores", key, "likelihood", {}, above)
    made = []
    for number in range(count):
        tokens = float(20 + number)
        logp = -tokens * (1.5 - skill + 0.1 * draw.random())
        values = {"logp/response": logp, "tokens/response": tokens, "perplexity/response": math.exp(-logp / tokens)}
        scores = tuple(ScoreRecord(f"q{number}", metric, value) for metric, value in values.items())
        made.append(ScoredRecord(f"q{number}", scores))
    write_table(directory / DATA / shard_name(0), table_of(made, ScoredRecord.SCHEMA))
    return Source(role, f"{name}/{node}", "scores", key, "", directory)


def _verdicts(store: Path, key: str, nodes: Sequence[str], prompts: int, samples: int, draw: Any) -> Source:
    pairs = [(a, b) for place, a in enumerate(nodes) for b in nodes[place + 1 :]]
    rows = [
        VerdictRecord(f"q{n}", s, a, b, [1.0, 0.5, 0.0, None][min(int(draw.random() * 3.2), 3)], "why")
        for a, b in pairs
        for n in range(prompts)
        for s in range(samples)
    ]
    directory = _put(store, "verdicts", key, "versus", {"by": "judge"}, [])
    write_table(directory / DATA / shard_name(0), table_of(rows, VerdictRecord.SCHEMA))
    return Source("verdicts", "duels", "verdicts", key, "", directory)
