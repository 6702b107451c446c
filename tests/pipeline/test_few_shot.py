"""Multiple choice as few-shot pairs: what a prompt says, and that every draw follows from seed and row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract import Source, Work
from pipeline.failures import UserError
from pipeline.noise.few_shot import FewShotStage
from pipeline.noise.nodes import FewShot, FewShotConfig
from pipeline.noise.ring import Ring
from pipeline.records import ChoiceRecord, PreferenceRecord
from pipeline.shards import read_records, write_shards

FIRST = ChoiceRecord("a", "A man", ("sits.", "flies.", "melts."), 0, "s")
SECOND = ChoiceRecord("b", "A dog", ("reads.", "barks."), 1, "s")
ROWS = [ChoiceRecord(f"r{n}", f"Context {n}", ("one", "two", "three", "four"), n % 4, "s") for n in range(40)]


def stage(rows: list[ChoiceRecord], shots: int, seed: int = 0, **more: Any) -> FewShotStage:
    return FewShotStage(Ring(((row.id, row) for row in rows), seed), shots, seed, **more)


def made(rows: list[ChoiceRecord], shots: int = 1, seed: int = 0) -> list[PreferenceRecord]:
    kept, rejected = stage(rows, shots, seed)(rows)
    assert not rejected
    return [one for one in kept if isinstance(one, PreferenceRecord)]


def test_a_pair_is_an_example_the_question_and_two_numbers() -> None:
    (pair,) = stage([FIRST, SECOND], 1)([SECOND])[0]
    assert pair == PreferenceRecord(
        "b",
        "A man\n1. sits.\n2. flies.\n3. melts.\nBest Continuation:\n1\n\n"
        "A dog\n1. reads.\n2. barks.\nBest Continuation:\n",
        "2",
        "1",
        provenance='{"examples": ["a"], "source": "s"}',
    )


def test_choices_have_the_prompt_of_the_pair_and_all_numbers() -> None:
    (pair,) = stage([FIRST, SECOND], 1)([FIRST])[0]
    (choice,) = stage([FIRST, SECOND], 1, give="choices")([FIRST])[0]
    assert choice == ChoiceRecord("a", pair.prompt, ("1", "2", "3"), 0, "s")


def test_rows_without_enough_others_are_rejected() -> None:
    copy = replace(FIRST, id="copy")
    kept, rejected = stage([FIRST, copy], 1)([FIRST])
    assert not kept and rejected[0].reason == "too-few-examples"


def test_a_row_never_has_itself_or_a_copy_for_an_example() -> None:
    for pair in made(ROWS, shots=3):
        examples = json.loads(pair.provenance)["examples"]
        assert len(set(examples)) == 3 and pair.id not in examples
        assert pair.prompt.count(f"Context {pair.id[1:]}\n") == 1


def test_draws_follow_from_seed_and_row_alone() -> None:
    pairs = {pair.id: pair for pair in made(ROWS, shots=2)}
    again = {pair.id: pair for pair in made(ROWS[::-1], shots=2)}
    assert pairs == again
    alone = stage(ROWS, 2)(ROWS[7:8])[0]
    assert alone == [pairs["r7"]]
    other = {pair.id: pair for pair in made(ROWS, shots=2, seed=1)}
    assert sum(pairs[id].prompt != other[id].prompt for id in pairs) > 30
    assert any(pairs[id].rejected != other[id].rejected for id in pairs)


def test_every_wrong_number_is_drawn_and_the_right_one_never() -> None:
    rows = [replace(ROWS[0], id=f"x{n}", answer=2) for n in range(300)]
    others = [ROWS[1], *rows]
    pairs = [pair for pair in stage(others, 0)(rows)[0] if isinstance(pair, PreferenceRecord)]
    counts = Counter(pair.rejected for pair in pairs)
    assert set(counts) == {"1", "2", "4"} and min(counts.values()) > 70
    assert {pair.chosen for pair in pairs} == {"3"}


def node(folder: Path, **config: Any) -> Path:
    write_shards(folder / "train" / "data", ROWS[:30], ChoiceRecord.SCHEMA, 8)
    write_shards(folder / "test" / "data", ROWS[30:], ChoiceRecord.SCHEMA, 8)
    known = FewShotConfig.model_validate({"kind": "few-shot", "input": "test", **config})
    sources = [Source("input", "test", "rows", "k", "", folder / "test")]
    if "examples" in config:
        sources.append(Source("examples", "train", "rows", "k", "", folder / "train"))
    directory = folder / "made"
    directory.mkdir()
    FewShot().make([Work("e", "n", "few-shot", FewShot.version, "rows", "0123", known, directory, sources)])
    return directory / "data"


def test_held_out_rows_get_examples_of_the_training_rows(tmp_path: Path) -> None:
    rows = list(read_records(node(tmp_path, examples="train", give="choices", shots=2), ChoiceRecord))
    assert [row.id for row in rows] == [row.id for row in ROWS[30:]]
    for row in rows:
        contexts = [int(line.split()[1]) for line in row.prompt.splitlines() if line.startswith("Context")]
        assert len(contexts) == 3 and all(number < 30 for number in contexts[:2]) and contexts[2] >= 30


def test_other_rows_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "test" / "data", [], PreferenceRecord.SCHEMA, 8)
    known = FewShotConfig(kind="few-shot", input="test")
    source = Source("input", "test", "rows", "k", "", tmp_path / "test")
    (tmp_path / "made").mkdir()
    with pytest.raises(UserError, match="cannot be used here"):
        FewShot().make([Work("e", "n", "few-shot", 1, "rows", "0", known, tmp_path / "made", [source])])
