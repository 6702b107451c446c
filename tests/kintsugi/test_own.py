"""Commands for models and rows of one's own: what they refuse, and in which words, before anything heavy starts."""

import json
import re
import subprocess
import sys

import pytest
import yaml

QA = {"prompt": "Add.", "response": "a + b"}
PAIR = {"prompt": "Add.", "chosen": "a + b", "rejected": "a - b"}
SPAN = {"start": 2, "end": 3, "error_type": "typo"}


def rows(folder, *found, name="rows.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return name


def model(folder, name="model", without=()):
    """A directory that looks like a model from outside."""
    for file in {"config.json", "model.safetensors", "tokenizer.json"} - set(without):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / file).write_text("{}", encoding="utf-8")
    return name


def made(folder):
    return (folder / "store").exists() or (folder / "runs").exists()


# train


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loss", "tdpo3"], ["--loss: there is no loss 'tdpo3'.", "Did you mean 'tdpo"]),
        (["--loss", "sft", "--mask", "granular-one-sided"], ["--mask", "Input should be 'response'"]),
        (["--too-long", "cutt"], ["--too-long: Input should be 'reject' or 'cut'"]),
        (["--loss", "sft", "--beta", "0.2"], ["--beta: it means nothing with --loss sft."]),
        (["--loss", "sft", "--sft-weight", "0.2"], ["--sft-weight: it means nothing with --loss sft."]),
        (["--alpha", "0.2"], ["--alpha: dpo does not read alpha: it is for tdpo2."]),
        (["--loss", "ipo", "--gamma", "1"], ["--gamma: ipo does not read gamma: it is for simpo."]),
        (["--loss", "rdpo", "--label-smoothing", "0.5"], ["--label-smoothing: Input should be less than 0.5"]),
        (["--target", "chosen"], ["--target: it means nothing with --loss dpo.", "--loss sft"]),
        (["--mask", "granulr"], ["--mask: Input should be 'response', 'granular'", "it is 'granulr'"]),
        (["--beta", "-1"], ["--beta: Input should be greater than 0", "it is -1.0"]),
        (["--zero", "4"], ["--zero: Input should be 0, 1, 2 or 3"]),
        (["--dtype", "fp16"], ["--dtype: Input should be 'fp32' or 'bf16'"]),
        (["--gpus", "-1"], ["greater than or equal to 0"]),
        (["--batch-size", "5"], ["kintsugi train", "batch_size 5 must be a multiple of workers x accumulation = 2"]),
    ],
    ids=lambda value: "-".join(value) if value[0].startswith("--") and len(value[0]) < 13 else "",
)
def test_an_option_that_makes_no_sense_is_named(tmp_path, refusal, options, said):
    name = rows(tmp_path, {**PAIR, "rejected_spans": [SPAN]})
    stderr = refusal(tmp_path, "train", model(tmp_path), "--pairs", name, *options, code=2)
    for part in said:
        assert part in stderr
    assert not made(tmp_path)


def test_a_mask_that_needs_spans_says_how_to_get_them(tmp_path, refusal):
    name = rows(tmp_path, PAIR)
    stderr = refusal(tmp_path, "train", model(tmp_path), "--pairs", name, "--mask", "granular", code=4)
    assert "rows.jsonl: no row has spans" in stderr
    assert "kintsugi annotate -i rows.jsonl" in stderr
    assert not made(tmp_path)


def test_a_model_directory_without_tokenizer_is_told(tmp_path, refusal):
    bare = model(tmp_path, without={"tokenizer.json"})
    for arguments in (
        ["train", bare, "--pairs", rows(tmp_path, PAIR)],
        ["eval", bare, "--prompts", rows(tmp_path, QA)],
    ):
        stderr = refusal(tmp_path, *arguments, code=2)
        assert "lacks a tokenizer (tokenizer.json or tokenizer.model)" in stderr
    assert not made(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "MODEL: 'nowhere' is no node, no model directory and no Hugging Face name."),
        ("nothing:model", "nothing:model: there is no run 'nothing'."),
        ("./no/where", "MODEL: './no/where' is no node, no model directory and no Hugging Face name."),
    ],
)
def test_a_model_that_is_not_there(tmp_path, refusal, name, said):
    assert said in refusal(tmp_path, "train", name, "--pairs", rows(tmp_path, PAIR), code=2)


def test_a_missing_file_and_one_without_rows(tmp_path, refusal):
    (tmp_path / "empty.jsonl").write_text("")
    for command in (
        ["train", model(tmp_path), "--loss", "sft", "--pairs"],
        ["eval", model(tmp_path), "--prompts"],
        ["corrupt", "-i"],
        ["annotate", "-i"],
        ["view"],
    ):
        if command != ["view"]:
            assert "pears.jsonl: there is no such file." in refusal(tmp_path, *command, "pears.jsonl", code=4)
        assert "empty.jsonl: the file has no rows." in refusal(tmp_path, *command, "empty.jsonl", code=4)
    assert not made(tmp_path)


def test_a_bad_line_and_a_span_outside_its_response_stop_training_before_it_starts(tmp_path, refusal):
    (tmp_path / "bad.jsonl").write_text(json.dumps(PAIR) + '\n{"prompt": "x", }\n')
    stderr = refusal(tmp_path, "train", model(tmp_path), "--pairs", "bad.jsonl", code=4)
    assert "bad.jsonl:2: bad JSON at column 17" in stderr
    wrong = rows(tmp_path, {**PAIR, "id": "p-1", "rejected_spans": [{**SPAN, "end": 9}]})
    stderr = refusal(tmp_path, "train", model(tmp_path), "--pairs", wrong, code=4)
    assert "span [2, 9) lies outside its response of 5 characters" in stderr
    assert "p-1" in stderr


def test_what_stands_at_the_output_is_not_replaced(tmp_path, refusal):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    command = ["train", model(tmp_path), "--pairs", rows(tmp_path, PAIR), "-o", "out"]
    for force in ([], ["--force"]):
        assert "out: this directory holds something else." in refusal(tmp_path, *command, *force, code=2)
    (tmp_path / "out" / "manifest.json").write_text("{}")
    assert "out: this exists already." in refusal(tmp_path, *command, code=2)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"
    assert not made(tmp_path)


# generate and eval


def test_nothing_to_judge_by(tmp_path, refusal):
    name = rows(tmp_path, {"prompt": "Add."})
    stderr = refusal(tmp_path, "eval", model(tmp_path), "--prompts", name, code=4)
    assert "rows.jsonl: there is nothing to judge by: no row has tests or a good answer." in stderr
    assert "kintsugi generate only answers." in stderr


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "by: {backend: endpoint, modell: m}",
            "judge.yaml:1: by.modell: unknown key 'modell'.\n  Did you mean 'model'?",
        ),
        ("by: {backend: endpoint}", "judge.yaml:1: by: backend endpoint needs 'model'."),
        ("by: {backend: scripted, script: no.jsonl}", "no.jsonl: there is no such script."),
        ("error_types: [of-by-one]\nby: {backend: erring}", "there is no error type 'of-by-one'"),
        ("backend: erring", "judge.yaml:1: backend: unknown key 'backend'.\n  Known here: by, "),
        ("- by", "judge.yaml: the file is no mapping of keys to values."),
    ],
)
def test_a_judge_that_cannot_be_used_is_told_by_its_line(tmp_path, refusal, said, told):
    (tmp_path / "judge.yaml").write_text(said)
    command = ["eval", model(tmp_path), "--prompts", rows(tmp_path, QA), "--judge", "judge.yaml"]
    assert told in refusal(tmp_path, *command, code=2)
    assert not made(tmp_path)


def test_judges_that_are_not_there_or_have_nothing_to_do(tmp_path, refusal, monkeypatch):
    command = ["eval", model(tmp_path), "--prompts", rows(tmp_path, QA)]
    stderr = refusal(tmp_path, *command, "--judge", "nobody.yaml", code=2)
    assert "--judge nobody.yaml: there is no such file." in stderr
    assert "by: {backend: endpoint" in stderr
    alone = refusal(tmp_path, *command, "--pairrm", "model", code=2)
    assert "--pairrm: a pair ranker compares models, and there is one." in alone
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "judge.yaml").write_text("by: {backend: endpoint, model: m}")
    stderr = refusal(tmp_path, *command, "--judge", "judge.yaml", code=3)
    assert "OPENAI_API_KEY is not set" in stderr
    assert not (tmp_path / "store" / "generations").exists()


def test_a_model_named_twice_and_an_output_that_is_no_row_file(tmp_path, refusal):
    name = rows(tmp_path, QA)
    twice = [model(tmp_path), "./model"]
    assert "this model is named twice" in refusal(tmp_path, "eval", *twice, "--prompts", name, code=2)
    command = ["generate", model(tmp_path), "--prompts", name, "-o"]
    assert "answers.csv: the suffix '.csv' is not known." in refusal(tmp_path, *command, "answers.csv", code=2)
    (tmp_path / "answers.jsonl").write_text("mine\n")
    assert "answers.jsonl: this exists already." in refusal(tmp_path, *command, "answers.jsonl", code=2)
    assert (tmp_path / "answers.jsonl").read_text() == "mine\n"


def test_a_model_that_cannot_be_fetched(tmp_path, refusal, monkeypatch):
    """Without a network, and without a word from the library but the first line of its reason."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = rows(tmp_path, QA)
    stderr = refusal(tmp_path, "generate", "nobody/nothing", "--prompts", name, "-o", "out.json", code=3)
    assert "nobody/nothing: the model cannot be fetched: " in stderr
    assert "name a local directory" in stderr


# corrupt and annotate


def test_each_step_names_the_other_where_the_rows_are_for_it(tmp_path, refusal):
    pairs, questions = rows(tmp_path, PAIR, name="pairs.jsonl"), rows(tmp_path, QA, name="qa.jsonl")
    assert "kintsugi annotate -i pairs.jsonl" in refusal(tmp_path, "corrupt", "-i", pairs, code=4)
    assert "kintsugi corrupt -i qa.jsonl" in refusal(tmp_path, "annotate", "-i", questions, code=4)


def test_unknown_error_types_and_formats_are_told_with_the_nearest(tmp_path, refusal):
    name = rows(tmp_path, QA)
    stderr = refusal(tmp_path, "corrupt", "-i", name, "--error-types", "off-by-one-error", code=2)
    assert stderr == (
        "error: --error-types: there is no error type 'off-by-one-error'.\n  Did you mean 'off-by-one-errors'?\n"
    )
    stderr = refusal(tmp_path, "annotate", "-i", rows(tmp_path, PAIR), "--format", "granulr", code=2)
    assert "--format: there is no format with spans 'granulr'." in stderr


# view and export


def test_view_marks_spans_with_brackets_where_there_are_no_colours(tmp_path, kintsugi):
    spans = {"chosen_spans": [{"start": 5, "end": 5}], "rejected_spans": [SPAN]}
    stdout, stderr = kintsugi(tmp_path, "view", rows(tmp_path, {**PAIR, "id": "x-1", **spans}))
    assert stderr == ""
    head, *lines = stdout.splitlines()
    assert head.startswith("x-1  typo, unknown ")
    assert lines == ["prompt", "Add.", "chosen", "a + b{+∅+}", "rejected", "a [---] b", ""]


def test_view_takes_rows_by_side_number_and_error_type(tmp_path, kintsugi, refusal):
    found = [{**PAIR, "id": f"r{i}", "rejected_spans": [{**SPAN, "error_type": f"t{i % 2}"}]} for i in range(6)]
    name = rows(tmp_path, *found)
    stdout, _ = kintsugi(tmp_path, "view", name, "--error-type", "t1", "-n", "2", "--skip", "1", "--side", "rejected")
    assert [line.split()[0] for line in stdout.splitlines() if "──" in line] == ["r3", "r5"]
    assert "chosen" not in stdout
    assert "there are no rows with the error type 't7'." in refusal(
        tmp_path, "view", name, "--error-type", "t7", code=4
    )
    assert "there are no rows left." in refusal(tmp_path, "view", name, "--skip", "9", code=4)
    assert "--side: there is no side 'choosen'." in refusal(tmp_path, "view", name, "--side", "choosen", code=2)


def test_nothing_in_a_row_reaches_the_terminal_as_a_command(tmp_path, kintsugi):
    hostile = "\x1b]0;owned\x07\x1b[2Jx\rhidden\x9b31m\u202eevil\u200b [bold]b[/bold] \u2028"
    row = {**PAIR, "id": hostile, "prompt": hostile, "rejected": hostile, "rejected_spans": [{"start": 0, "end": 3}]}
    stdout, _ = kintsugi(tmp_path, "view", rows(tmp_path, row))
    assert not set(stdout) & set("\x1b\x07\r\x9b\u202e\u200b\u2028")
    assert r"\x1b]0;owned\x07\x1b[2Jx\rhidden\x9b31m\u202eevil\u200b [bold]b[/bold] \u2028" in stdout
    assert r"[-\x1b]0-];owned" in stdout


def test_a_reader_that_leaves_is_no_failure(tmp_path):
    name = rows(tmp_path, *({**QA, "prompt": f"{i} " + "p" * 500} for i in range(1000)))
    command = f"set -o pipefail; {sys.executable} -m kintsugi view {name} -n 1000 | head -n 1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"[0-9a-f]{16}  rows\.jsonl", done.stdout)


def test_view_and_export_find_nodes_of_runs_and_their_splits(tmp_path, kintsugi, refusal):
    experiment = "name: files\nnodes:\n  qa: {kind: source, from: rows.jsonl, splits: {held-out: 1}}\n"
    (tmp_path / "experiment.yaml").write_text(experiment, encoding="utf-8")
    rows(tmp_path, *({**QA, "prompt": f"Add {i}."} for i in range(4)))
    kintsugi(tmp_path, "run", "experiment.yaml")
    stdout, _ = kintsugi(tmp_path, "view", "files:qa.train")
    assert stdout.count("a + b") == 3
    [directory] = (tmp_path / "store" / "rows").iterdir()
    assert kintsugi(tmp_path, "view", directory / "train")[0] == stdout
    kintsugi(tmp_path, "export", "files:qa.held-out", "--format", "own", "-o", "one.json")
    assert len(json.loads((tmp_path / "one.json").read_text())) == 1
    assert "there are 2 splits: train, held-out." in refusal(
        tmp_path, "export", "files:qa", "--format", "own", "-o", "two.json", code=2
    )
    assert "there is no run 'file'.\n  Did you mean 'files'?" in refusal(tmp_path, "view", "file:qa", code=2)
    assert "the run has no node 'qaa'.\n  Did you mean 'qa'?" in refusal(tmp_path, "view", "files:qaa", code=2)
    assert "there is no split 'tost'." in refusal(tmp_path, "view", "files:qa.tost", code=2)
    assert "there is no such data set." in refusal(tmp_path, "view", "nothing", code=2)
    assert "not a model" in refusal(tmp_path, "train", "files:qa", "--pairs", "rows.jsonl", code=2)


def test_export_writes_a_hub_data_set_that_arrow_reads(tmp_path, kintsugi, refusal):
    import pyarrow.parquet as pq

    from pipeline.records import PreferenceRecord

    spans = {"rejected_spans": [{**SPAN, "error_type": "<b>|x"}], "provenance": "by hand"}
    name = rows(tmp_path, {**PAIR, "id": "1", **spans}, {**PAIR, "id": "2", "rejected_spans": []})
    kintsugi(tmp_path, "export", name, "-o", "hub", "--license", "mit")
    table = pq.read_table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    assert [PreferenceRecord.from_row(row).id for row in table.to_pylist()] == ["1", "2"]
    _, front, body = (tmp_path / "hub" / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == "mit"
    assert card["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*"}]
    assert card["dataset_info"]["splits"][0]["num_examples"] == 2
    assert [feature["name"] for feature in card["dataset_info"]["features"]] == table.schema.names
    assert r"| &lt;b&gt;\|x | 1 |" in body
    assert "| train | 1 | 0 | 1 |" in body
    before = (tmp_path / "hub" / "README.md").stat().st_mtime_ns
    kintsugi(tmp_path, "export", name, "-o", "hub", "--license", "mit")
    assert (tmp_path / "hub" / "README.md").stat().st_mtime_ns == before
    assert "hub: this exists already." in refusal(tmp_path, "export", name, "-o", "hub", code=2)
    kintsugi(tmp_path, "export", name, "-o", "hub", "--force")
    assert "license: unknown" in (tmp_path / "hub" / "README.md").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    assert "something else" in refusal(tmp_path, "export", name, "-o", "mine", "--force", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "mine", "rows.jsonl"]


def test_export_refuses_what_has_no_place_in_a_format(tmp_path, refusal):
    name = rows(tmp_path, QA)
    stderr = refusal(tmp_path, "export", name, "--format", "granular", "-o", "x.json", code=4)
    assert "--format granular is made from PreferenceRecord rows, and these are QARecord." in stderr
    assert "there is no format 'parquet'" in refusal(tmp_path, "export", name, "--format", "parquet", "-o", "x", code=2)


def test_the_same_rows_written_again_replace_nothing(tmp_path, kintsugi, refusal):
    command = ["export", rows(tmp_path, PAIR), "--format", "trl", "-o", "out.json"]
    kintsugi(tmp_path, *command)
    first = (tmp_path / "out.json").stat().st_mtime_ns
    kintsugi(tmp_path, *command)
    assert (tmp_path / "out.json").stat().st_mtime_ns == first
    assert json.loads((tmp_path / "out.json").read_text()) == [PAIR]
    rows(tmp_path, {**PAIR, "prompt": "Other."})
    assert "out.json: this exists already." in refusal(tmp_path, *command, code=2)
    kintsugi(tmp_path, *command, "--force")
    assert "Other." in (tmp_path / "out.json").read_text()
