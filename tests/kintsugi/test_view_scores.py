"""`kintsugi view` of scores: each with the answer that it is of, whichever sample, or with the row that it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from eval.likelihood import scored
from kintsugi.references import find_dataset
from kintsugi.view import lines_of, with_answers
from pipeline.contract import DATA, Source, Work
from pipeline.records import (
    CorruptionRecord,
    GenerationRecord,
    PreferenceRecord,
    QARecord,
    ScoredRecord,
    ScoreRecord,
)
from pipeline.shards import write_shards
from pipeline.spans import Edit

BROKEN = CorruptionRecord("r", "Why?", "So.", "No.", (Edit(0, 1, "S", "N", "off-by-one-errors"),), "s")
ROWS = [QARecord("r", "Why?", "So.", "s"), PreferenceRecord("r", "Why?", "So.", "No."), BROKEN]


class Nothing(BaseModel):
    pass


def committed(store: Path, product: str, records: list[Any], sources: list[Source], split: str = "") -> Source:
    directory = store / product / "0123"
    write_shards(directory / split / DATA, records, type(records[0]).SCHEMA, 10)
    Work("e", "n", "k", 1, product, "0123", Nothing(), directory, sources).commit()
    return Source("input", "n", product, "0123", split, directory)


def shown(store: Path) -> list[str]:
    dataset = find_dataset(str(store / "scores" / "0123"), store, store, False)
    return [str(line) for row in with_answers(dataset) for line in lines_of(row, None, plain=True)]


def test_each_score_stands_with_its_sample(tmp_path: Path) -> None:
    answers = [GenerationRecord("r", "Why?", f"answer {n}", "stop", 1, 1, "", "s", sample=n) for n in (0, 1)]
    given = committed(tmp_path, "generations", answers, [])
    scores = [ScoredRecord("r", (ScoreRecord("r", "passed", float(n), f"verdict {n}"),), n) for n in (1, 0)]
    committed(tmp_path, "scores", scores, [given])
    text = "\n".join(shown(tmp_path))
    places = [text.index(said) for said in ("sample 1", "answer 1", "verdict 1", "answer 0", "verdict 0")]
    assert places == sorted(places)


@pytest.mark.parametrize("row", ROWS, ids=["question", "pair", "broken"])
def test_log_probabilities_stand_with_their_row(row: Any, tmp_path: Path) -> None:
    rows = committed(tmp_path, "rows", [row], [], "test")
    found = Source("rows", "n", "rows", "0123", "test", rows.root)
    logps = {"response": [-1.5]} if isinstance(row, QARecord) else {"chosen": [-1.5], "rejected": [-3.0]}
    committed(tmp_path, "scores", [scored("r", logps)], [found])
    text = "\n".join(shown(tmp_path))
    assert "So." in text or "{+S+}o." in text
    assert "-1.5  logp/" in text
    assert ("prefers_chosen" in text) == (not isinstance(row, QARecord))
