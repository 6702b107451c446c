"""The report on a data set: its matrix by hand, with recognisers that see what they are told to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kintsugi.cli import app
from kintsugi.inspection import markdown, sheets
from pipeline.dataset_report import Report, broken, report_on
from pipeline.errors import ERROR_TYPES
from pipeline.errors.base import Finding, Unscored
from pipeline.records import CorruptionRecord, FunctionTest
from pipeline.sources.builtin import build
from pipeline.sources.exports import to_corruption
from pipeline.spans import Edit, apply
from pipeline.stages.annotate import annotate
from pipeline.stages.embed import EmbedStage, Number

GOOD = "```python\ndef f(x):\n    return 'x'\n```\n"
RUN = CliRunner()


class Sees:
    """Finds its error where a word stands in the answer; cannot judge answers with a question mark."""

    level = "static"

    def __init__(self, name: str, word: str) -> None:
        self.name, self.word = name, word

    def recognise(
        self,
        response: str,
        *,
        reference: str | None = None,
        tests: Sequence[FunctionTest] | None = None,
        prompt: str | None = None,
    ) -> Finding | Unscored:
        return Unscored("a question") if "?" in response else Finding(self.word in response, "")


TYPES = {"a": Sees("a", "A"), "b": Sees("b", "B"), "quotes": Sees("quotes", '"')}


def row(number: int, *errors: tuple[str, str]) -> CorruptionRecord:
    """An answer whose errors (type, text) are written behind it."""
    end = len(GOOD)
    edits = tuple(Edit(end, end, "", text, name, place, "static", "seen") for place, (name, text) in enumerate(errors))
    return CorruptionRecord(f"r{number}", "p", GOOD, apply(edits, GOOD), edits, "s")


ROWS = [
    row(1, ("a", "A")),
    row(2, ("a", "AB")),
    row(3, ("a", "nothing")),
    row(4, ("b", "B?")),
    row(5, ("a", "A"), ("b", "B")),
    row(6, ("other", "o")),
]


def report(sample: int = 100, rows: Sequence[CorruptionRecord] = ROWS) -> Report:
    return report_on("six", rows, rejects={"no-site": 4}, quotas={}, sample=sample, error_types=TYPES)  # type: ignore[arg-type]


def test_the_matrix_says_what_was_found_of_what() -> None:
    made = report()
    assert made["matrix"] == {"a": {"a": 3, "b": 1}, "b": {"b": 1}, "other": {}}, "row 5's B is b's own, not a's"
    assert made["unscored"] == {"a": 1, "b": 1, "quotes": 1}
    assert made["types"]["a"] == {"rows": 4, "levels": {"static": 4}, "sampled": 4, "recognised": 3, "unscored": 0}
    assert made["types"]["b"] == {"rows": 2, "levels": {"static": 2}, "sampled": 2, "recognised": 1, "unscored": 1}
    assert made["types"]["other"]["recognised"] == 0
    assert (made["rows"], made["errors"], made["rejects"]) == (6, {"1": 5, "2": 1}, {"no-site": 4})


def test_a_finding_in_a_good_answer_or_its_rewrite_is_a_false_alarm() -> None:
    """Only reformatting writes double quotes."""
    made = report()["false_alarms"]
    assert made["unchanged"] == {"answers": 6, "alarms": {}, "unscored": {}}
    assert made["reformatted"] == {"answers": 6, "alarms": {"quotes": 6}, "unscored": {}}
    assert made["renamed"]["answers"] == made["reordered"]["answers"] == 0


def test_lengths_are_of_every_row_and_by_hand() -> None:
    """Marked characters: 1, 2, 7, 2, 2 and 1."""
    found = report()["lengths"]
    assert found["span"] == {"mean": 2.5, "median": 2.0, "p90": 4.5, "max": 7}
    assert found["response"] == {"mean": float(len(GOOD)), "median": len(GOOD), "p90": len(GOOD), "max": len(GOOD)}


def test_the_sample_is_drawn_by_ids_whatever_their_order() -> None:
    forward, backward = report(3), report(3, ROWS[::-1])
    assert forward == backward
    assert (forward["rows"], forward["sampled"]) == (6, 3)
    assert sum(counts["rows"] for counts in forward["types"].values()) == 7, "every row is counted"


def test_pairs_are_reported_like_the_answers_that_they_come_from() -> None:
    made = EmbedStage((), 0, Number(1, 2), "static")(build(10, 0))[0]
    for record in made:
        answer, pair = broken(record), broken(annotate(record))
        assert (pair.good, pair.bad, sorted(pair.types), pair.marked) == (
            answer.good, answer.bad, sorted(answer.types), answer.marked
        )  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = EmbedStage((), 0, Number(1, 2), "static")(build(25, 0))[0]
    path = tmp_path_factory.mktemp("rows") / "broken.jsonl"
    path.write_text("".join(json.dumps(to_corruption(record)) + "\n" for record in made), encoding="utf-8")
    return path


def test_every_known_error_is_recognised_and_good_answers_raise_no_alarm(file: Path, tmp_path: Path) -> None:
    result = tmp_path / "report.json"
    done = RUN.invoke(app, ["inspect", str(file), "--sample", "20", "-o", str(result), "-o", str(tmp_path / "r.md")])
    assert done.exit_code == 0, done.output
    made: Report = json.loads(result.read_text(encoding="utf-8"))
    assert (made["rows"], made["sampled"]) == (25, 20)
    first = [name for name in made["types"] if ERROR_TYPES[name].level == "executed" or "imports" in name]
    assert len(first) >= 3
    for name in first:
        counts = made["types"][name]
        assert counts["recognised"] == counts["sampled"] - counts["unscored"], name
        assert not made["false_alarms"]["unchanged"]["alarms"].get(name), name
    assert (tmp_path / "r.md").read_text(encoding="utf-8") == markdown(made), "one result, three shapes"
    for sheet in sheets(made):
        assert sheet.title in done.output
        assert len({len(sheet.heads), *(len(line) for line in sheet.rows)}) == 1


def test_what_cannot_be_inspected_is_told(file: Path, tmp_path: Path) -> None:
    questions = tmp_path / "qa.jsonl"
    questions.write_text(json.dumps({"prompt": "p", "response": "r"}) + "\n", encoding="utf-8")
    found = RUN.invoke(app, ["inspect", str(questions)])
    assert found.exception is not None and "without corrupted answers" in str(found.exception)
    found = RUN.invoke(app, ["inspect", str(file), "-o", str(tmp_path / "r.txt")])
    assert found.exception is not None and "suffix '.txt'" in str(found.exception)


def test_names_of_strangers_stay_text_in_markdown() -> None:
    made = report(rows=[row(1, ("a|b<script>", "A"))])
    text = markdown(made)
    assert "<script>" not in text
    [line] = [
        line for line in text.splitlines() if line.count("script") and "embedded" not in line and "static" in line
    ]
    assert line.replace("\\|", "").count("|") == 6
