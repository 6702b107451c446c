"""Answers to judge, replies of scripted judges, and works that need no graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.scorers.judge import ASPECTS
from kintsugi.kinds import KINDS
from pipeline.contract import DATA, Source, Work
from pipeline.records import GenerationRecord
from pipeline.shards import write_shards

Said = Mapping[str, Any]


def answer(record_id: str, response: str, sample: int = 0, prompt: str = "") -> GenerationRecord:
    asked = prompt or f"Question {record_id}?"
    return GenerationRecord(record_id, asked, response, "stop", 3, 5, "The good answer.", "test", sample=sample)


def judgement(errors: Sequence[str] = (), **verdicts: str) -> dict[str, Any]:
    """A reply of a judge: yes to all that is not named."""
    aspects = {name: {"explanation": f"why {name}", "verdict": verdicts.get(name, "yes")} for name in ASPECTS}
    return {**aspects, "errors": [{"error_type": name, "explanation": "told"} for name in errors]}


RIGHT, WRONG = judgement(), judgement(accuracy="no")


def preference(winner: str) -> dict[str, str]:
    return {"explanation": f"{winner}, because", "winner": winner}


def script(path: Path, *lines: tuple[str, Any]) -> str:
    """A script: to questions that hold the first text of a line the second is said, once for each attempt."""
    path.write_text("".join(json.dumps({"when": when, "reply": reply}) + "\n" for when, reply in lines))
    return str(path)


def work_of(folder: Path, kind: str, rows_of: Mapping[str, Sequence[GenerationRecord]], /, **config: Any) -> Work:
    """A work of one of the kinds that judge, over these answers of models by their names."""
    node = KINDS[kind]
    sources = []
    for model, rows in rows_of.items():
        root = folder / "store" / "generations" / model
        write_shards(root / DATA, rows, GenerationRecord.SCHEMA, 3)
        sources.append(Source("input", f"answers/{model}", "generations", model, "", root))
    directory = folder / "store" / node.product / "0123"
    directory.mkdir(parents=True, exist_ok=True)
    made = node.Config.model_validate({"kind": kind, "input": [*rows_of], "seed": 7, **config})
    return Work("e", kind, kind, node.version, node.product, "0123", made, directory, sources)
