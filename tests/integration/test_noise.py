"""HellaSwag through the whole noise path for real: items to pairs, two levels of noise, training, accuracy, table."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
from small_run import CACHE, ROOT, Finished, run_experiment

from pipeline.noise.stage import is_noisy
from pipeline.records import ChoiceRecord, PreferenceRecord, ScoredRecord
from pipeline.shards import read_records
from pipeline.store import write_text

HELLASWAG = Path(__file__).parents[3] / "shared/data/hellaswag_val_2000.jsonl.gz"
LEVELS = {"noisy/0.25": 0.25, "noisy/0.5": 0.5}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HELLASWAG.exists(), reason="../shared/data/hellaswag_val_2000.jsonl.gz is not here"),
]


@pytest.fixture(scope="module")
def run() -> Finished:
    text = (ROOT / "tests/assets/noise.yaml").read_text(encoding="utf-8").replace("hellaswag.jsonl", str(HELLASWAG))
    write_text(CACHE / "noise.yaml", text)
    return run_experiment(CACHE / "noise.yaml")


def pairs(run: Finished, node: str) -> dict[str, PreferenceRecord]:
    return {row.id: row for row in read_records(run.directory(node) / "data", PreferenceRecord)}


@pytest.fixture(scope="module")
def results(run: Finished) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.runs / "report" / "results.json").read_text(encoding="utf-8"))
    return found


def test_items_become_few_shot_pairs_about_numbers(run: Finished) -> None:
    made = pairs(run, "pairs")
    assert len(made) == 64
    for pair in made.values():
        assert pair.prompt.count("Best Continuation:\n") == 2 and pair.prompt.endswith("Best Continuation:\n")
        assert pair.chosen != pair.rejected and {pair.chosen, pair.rejected} < set("1234")
    assert len({pair.chosen for pair in made.values()}) == 4


def test_held_out_items_are_others_with_examples_of_the_training_rows(run: Finished) -> None:
    made = list(read_records(run.directory("held_out") / "data", ChoiceRecord))
    learnt = {pair.prompt.split("\n\n")[-1] for pair in pairs(run, "pairs").values()}
    assert len(made) == 24
    for item in made:
        assert item.choices == ("1", "2", "3", "4")
        assert item.prompt.split("\n\n")[-1] not in learnt


def test_levels_differ_in_noise_alone(run: Finished) -> None:
    clean = pairs(run, "pairs")
    flipped = {}
    for node, rate in LEVELS.items():
        made = pairs(run, node)
        assert list(made) == list(clean)
        flipped[rate] = {id for id, pair in made.items() if is_noisy(pair.provenance)}
        for id, pair in made.items():
            sides = {"chosen": clean[id].rejected, "rejected": clean[id].chosen} if id in flipped[rate] else {}
            assert replace(pair, provenance=clean[id].provenance) == replace(clean[id], **sides)
        assert run.manifest(node).facts["noisy"] == len(flipped[rate])
    assert flipped[0.25] < flipped[0.5]


def test_every_arm_starts_at_the_baseline_and_learns(run: Finished) -> None:
    for rows in (16, 48):
        for data in ("pairs", *LEVELS):
            lines = (run.directory(f"arm/{data}-{rows}") / "metrics.jsonl").read_text().splitlines()
            steps = [json.loads(line) for line in lines]
            assert len(steps) == rows // 8
            assert steps[0]["loss"] == pytest.approx(log(2), abs=1e-5)
            assert steps[0]["grad_norm"] > 0
    assert run.manifest("arm/noisy/0.5-48").rows["rejected"] == 0


def test_the_table_has_the_baseline_every_cell_and_its_accuracy(run: Finished, results: dict[str, Any]) -> None:
    assert results["n_prompts"] == 24 and results["baseline"] == "untrained"
    assert [model["name"] for model in results["models"]] == ["untrained"]
    found = {(cell["how"], cell["rate"], cell["rows"]): cell for cell in results["cells"]}
    assert set(found) == {
        (how, rate, rows) for how, rate in (("none", "0"), ("flip", "0.25"), ("flip", "0.5")) for rows in (16, 48)
    }
    marks = [is_noisy(pair.provenance) for pair in pairs(run, "noisy/0.5").values()]
    for rows in (16, 48):
        cell = found["flip", "0.5", rows]
        assert (cell["clean"], cell["noisy"]) == (rows - sum(marks[:rows]), sum(marks[:rows]))
        scored = list(read_records(run.directory(f"scores/arm/noisy/0.5-{rows}") / "data", ScoredRecord))
        right = [score.value for row in scored for score in row.scores if score.metric == "choice/correct"]
        assert len(right) == 24 and cell["accuracy"] == pytest.approx(sum(v or 0 for v in right) / 24)
    assert {fit["how"] for fit in results["fits"]} == {"flip"}


def test_the_run_ends_with_the_table(run: Finished) -> None:
    assert "flip" in run.output and "untrained" in run.output
    assert sorted(path.name for path in (run.runs / "report").iterdir()) == [
        "index.html",
        "report.md",
        "results.csv",
        "results.json",
    ]
