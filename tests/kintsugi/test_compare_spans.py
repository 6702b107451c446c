"""`kintsugi compare-spans` as a user meets it."""

import json

import pytest

PAIR = {"prompt": "Loop.", "chosen": "for i in range(n):", "rejected": "for i in range(n + 1):"}
PRECISE = {**PAIR, "id": "a", "rejected_spans": [{"start": 16, "end": 20, "error_type": "off"}]}
WIDE = {**PAIR, "id": "a", "rejected_spans": [{"start": 15, "end": 20, "error_type": "off"}]}
OTHER = {**PAIR, "id": "b", "prompt": "Again.", "rejected_spans": [{"start": 4, "end": 5}]}


@pytest.fixture
def files(tmp_path):
    for name, found in {"gold": [PRECISE], "wide": [WIDE], "more": [WIDE, OTHER], "other": [OTHER]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    (tmp_path / "qa.json").write_text(json.dumps([{"prompt": "x", "response": "y"}]), encoding="utf-8")
    return tmp_path


def test_the_table_by_hand(files, kintsugi):
    """Four characters of four found, one more marked."""
    stdout, stderr = kintsugi(files, "compare-spans", "gold.json", "wide.json")
    lines = {line.split("  ")[0].strip(): line.split()[-8:] for line in stdout.splitlines() if line.strip()}
    figures = ["80.0%", "100.0%", "88.9%", "88.9%"]
    assert lines["both sides"][-7:] == [*figures, "4", "1", "0"]
    assert lines["chosen"][-7:] == ["–", "–", "–", "–", "0", "0", "0"]
    assert lines["off"] == [*figures, "100.0%", "4", "1", "0"]
    assert "1 pairs" not in stdout and "1 pair" in stdout
    assert stderr == ""


def test_json_for_programs(files, kintsugi):
    found = json.loads(kintsugi(files, "compare-spans", "gold.json", "wide.json", "--json")[0])
    assert found["pairs"] == {"reference": 1, "measured": 1, "compared": 1}
    assert found["characters"]["sides"]["rejected"]["micro"] == {"precision": 0.8, "recall": 1.0, "f1": 8 / 9}
    assert found["characters"]["error_types"]["off"]["found"] == 1.0


def test_tokens_of_a_model(files, kintsugi):
    from training.tiny import build_tokenizer

    build_tokenizer([PAIR["chosen"]] * 9).save_pretrained(files / "model")
    stdout, _ = kintsugi(files, "compare-spans", "gold.json", "wide.json", "--tokenizer", "model", "--json")
    assert set(json.loads(stdout)) == {"pairs", "characters", "tokens"}
    assert "tokens" in kintsugi(files, "compare-spans", "gold.json", "wide.json", "--tokenizer", "model")[0]


def test_pairs_that_do_not_match(files, kintsugi, refusal):
    stderr = refusal(files, "compare-spans", "gold.json", "more.json", code=4)
    assert "gold.json and more.json: of 1 and 2 pairs 1 match; the first that does not is 'b'." in stderr
    assert "--common" in stderr
    stdout, _ = kintsugi(files, "compare-spans", "gold.json", "more.json", "--common")
    assert "1 pair, 1 left out that only one annotation has" in stdout
    assert "0 match" in refusal(files, "compare-spans", "gold.json", "other.json", "--common", code=4)


def test_what_cannot_be_measured(files, refusal):
    assert "these rows are no pairs" in refusal(files, "compare-spans", "qa.json", "gold.json", code=4)
    assert "there is no such data set" in refusal(files, "compare-spans", "none:pairs", "gold.json", code=2)
    stderr = refusal(files, "compare-spans", "gold.json", "wide.json", "--tokenizer", "qa.json", code=2)
    assert "--tokenizer qa.json: there is no tokenizer that can be read" in stderr
