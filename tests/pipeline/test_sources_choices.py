"""Multiple choice rows: HellaSwag's own, and those with choices and an answer."""

import json

import pytest

from pipeline.records import ChoiceRecord, Reject, table_of
from pipeline.shards import read_shard
from pipeline.sources.files import read
from pipeline.store import write_table

SWAG = {
    "ind": 4,
    "activity_label": "Removing ice from car",
    "ctx_a": "Then, the man writes over the snow.",
    "ctx_b": "then",
    "ctx": "Then, the man writes over the snow. then",
    "endings": [", the man adds wax [title] to it. [step] He smiles.", " he stops.", "c", "d"],
    "source_id": "activitynet~v_-1IBHYS3L-Y",
    "label": "1",
}


def only(folder, row, format="auto"):
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (found,) = read(path, format)
    return found


def test_hellaswag_is_known_by_its_fields_and_mended_as_the_harness_does(tmp_path):
    found = only(tmp_path, SWAG)
    assert isinstance(found, ChoiceRecord)
    assert found.prompt == "Removing ice from car: Then, the man writes over the snow. Then"
    assert found.choices[:2] == (", the man adds wax. to it. He smiles.", "he stops.")
    assert (found.answer, found.source) == (1, SWAG["source_id"])
    assert only(tmp_path, {**SWAG, "label": 1}) == found


@pytest.mark.parametrize("answer", [2, "seven"])
@pytest.mark.parametrize("field", ["prompt", "question"])
def test_an_answer_is_a_place_or_one_of_the_texts(field, answer, tmp_path):
    row = {"id": "q", field: "3 + 4?", "choices": ["five", "six", "seven"], "answer": answer}
    assert only(tmp_path, row, "choices") == ChoiceRecord("q", "3 + 4?", ("five", "six", "seven"), 2, "rows.jsonl")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": ""}, "no-label"),
        ({"label": "4"}, "no-label"),
        ({"label": -1}, "no-label"),
        ({"label": 1.0}, "wrong-type"),
        ({"endings": ["one"]}, "empty"),
        ({"endings": ["one", " "]}, "empty"),
        ({"endings": ["one", 2]}, "wrong-type"),
        ({"endings": "abcd"}, "wrong-type"),
        ({"ctx": ""}, "empty"),
    ],
)
def test_rows_without_a_choice_are_rejected(change, reason, tmp_path):
    found = only(tmp_path, {**SWAG, **change}, "hellaswag")
    assert isinstance(found, Reject)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"answer": "eight"}, "no-label"), ({"answer": 3}, "no-label"), ({"choices": None}, "wrong-type")],
)
def test_choices_without_their_answer_are_rejected(change, reason, tmp_path):
    row = {"prompt": "3 + 4?", "choices": ["five", "six", "seven"], "answer": 2, **change}
    assert only(tmp_path, row, "choices").reason == reason


def test_choices_survive_a_shard(tmp_path):
    record = only(tmp_path, SWAG)
    write_table(tmp_path / "part-00000.parquet", table_of([record], ChoiceRecord.SCHEMA))
    assert read_shard(tmp_path / "part-00000.parquet", ChoiceRecord) == [record]
