"""The command line as a user meets it: its exit code and its two streams."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECOVERY = ROOT / "configs" / "recovery.yaml"
HEAVY = ("ray", "torch", "vllm", "transformers", "deepspeed")

SOURCE = "name: files\nnodes:\n  qa: {kind: source, from: data.jsonl, splits: {test: 1}}\n"
ROWS = [{"id": f"row-{number}", "prompt": f"{number} + 1?", "response": str(number + 1)} for number in range(4)]

PROGRAM = f"""
import sys
from kintsugi.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
"""


def process(folder, *arguments, program=("-m", "kintsugi")):
    """The same in a process of its own."""
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def experiment(folder, *lines, text=SOURCE):
    (folder / "experiment.yaml").write_text(text, encoding="utf-8")
    (folder / "data.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return "experiment.yaml"


def good_lines():
    return [json.dumps(row) for row in ROWS]


def files(folder):
    """Modification time of every file below a folder."""
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


# Planning


def test_plan_lists_every_node_and_makes_nothing(tmp_path, kintsugi):
    stdout, stderr = kintsugi(tmp_path, "plan", RECOVERY)
    assert stderr == ""
    for name in ("qa", "broken", "pairs", "mended/tdpo2-granular-0", "scores/mended/dpo-random-0", "report"):
        assert any(line.split()[:2] == ["·", name] for line in stdout.splitlines())
    assert stdout.rstrip().endswith("31 of 31 nodes to make.")
    assert files(tmp_path) == {}


def test_validate_counts_the_nodes(tmp_path, kintsugi):
    stdout, _ = kintsugi(tmp_path, "validate", RECOVERY)
    assert stdout.replace("\n", "") == f"✓ {RECOVERY}: 31 nodes, no errors."


def test_status_of_nothing(tmp_path, kintsugi):
    stdout, _ = kintsugi(tmp_path, "status", RECOVERY)
    assert stdout.count("not yet") == 31
    assert files(tmp_path) == {}


def test_help_names_every_command(tmp_path, kintsugi):
    stdout, _ = kintsugi(tmp_path, "--help")
    for command in (
        "run",
        "plan",
        "validate",
        "status",
        "train",
        "generate",
        "eval",
        "corrupt",
        "annotate",
        "view",
        "export",
        "compare",
        "compare-spans",
    ):
        assert f" {command} " in stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["plan", RECOVERY]], ids=lambda a: Path(a[-1]).name
)
def test_planning_and_help_import_nothing_heavy(tmp_path, arguments):
    done = process(tmp_path, *arguments, program=("-c", PROGRAM))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_the_module_runs_as_a_program(tmp_path):
    done = process(tmp_path, "validate", "none.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: none.yaml: cannot read the experiment file")


# Errors


def test_a_config_error_is_exit_code_2(tmp_path, refusal):
    (tmp_path / "bad.yaml").write_text(SOURCE.replace("from:", "frm:"), encoding="utf-8")
    assert refusal(tmp_path, "plan", "bad.yaml", code=2) == (
        "error: bad.yaml:3: nodes.qa.frm: unknown key 'frm'.\n  Did you mean 'from'?\n"
    )


def test_square_brackets_in_an_error_are_printed_as_they_are(tmp_path, refusal):
    """Rich would take [bold] for markup and swallow it."""
    (tmp_path / "bad.yaml").write_text(SOURCE.replace("kind: source", "kind: '[bold]'"), encoding="utf-8")
    assert "there is no kind '[bold]'." in refusal(tmp_path, "validate", "bad.yaml", code=2)


def test_a_missing_experiment_file_is_exit_code_2(tmp_path, refusal):
    assert "none.yaml: cannot read the experiment file" in refusal(tmp_path, "run", "none.yaml", code=2)


def test_a_bad_override_is_exit_code_2(tmp_path, refusal):
    stderr = refusal(tmp_path, "plan", RECOVERY, "--set", "nodes.qaa.rows=5", code=2)
    assert stderr == "error: --set nodes.qaa.rows=5: there is no 'qaa'.\n  Did you mean 'qa'?\n"


def test_a_missing_data_file_is_exit_code_4_before_anything_runs(tmp_path, refusal):
    name = experiment(tmp_path)
    (tmp_path / "data.jsonl").unlink()
    assert "data.jsonl: there is no such file." in refusal(tmp_path, "run", name, code=4)
    assert not (tmp_path / "store").exists()


def test_a_bad_json_line_is_exit_code_4_and_named(tmp_path, refusal):
    name = experiment(tmp_path, *good_lines()[:2], '{"prompt": "2 + 2?", "response": }')
    stderr = refusal(tmp_path, "run", name, code=4)
    assert "data.jsonl:3: bad JSON at column 34" in stderr
    assert "node qa" in stderr
    assert "max_rejected" in stderr


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_an_empty_data_set_is_exit_code_4(tmp_path, refusal, lines):
    assert "data.jsonl: the file has no rows." in refusal(tmp_path, "run", experiment(tmp_path, *lines), code=4)


def test_a_span_outside_its_response_is_exit_code_4_and_names_the_record(tmp_path, refusal):
    row = {
        "id": "pair-7",
        "prompt": "Add.",
        "chosen": "a + b",
        "rejected": "a - b",
        "rejected_spans": [{"start": 2, "end": 9, "error_type": "typo"}],
    }
    stderr = refusal(tmp_path, "run", experiment(tmp_path, json.dumps(row)), code=4)
    assert "data.jsonl:1" in stderr
    assert "pair-7" in stderr
    assert "[2, 9)" in stderr
    assert "5 characters" in stderr


def test_what_failed_does_not_exist_afterwards(tmp_path, kintsugi, refusal):
    name = experiment(tmp_path, "no json")
    refusal(tmp_path, "run", name, code=4)
    stdout, _ = kintsugi(tmp_path, "status", name)
    assert stdout.count("not yet") == 1


# Running


def test_a_run_over_a_file_writes_it_once_and_a_second_run_reuses_it(tmp_path, kintsugi):
    name = experiment(tmp_path, *good_lines())
    stdout, stderr = kintsugi(tmp_path, "run", name)
    assert stderr == ""
    assert "✓ qa" in stdout
    first = files(tmp_path / "store")
    key = json.loads((tmp_path / "runs" / "files" / "nodes.json").read_text())["qa"]
    shards = {f"{key}/test/data/part-00000.parquet", f"{key}/train/data/part-00000.parquet", f"{key}/manifest.json"}
    assert shards <= {path.as_posix() for path in first}

    stdout, _ = kintsugi(tmp_path, "run", name)
    assert "• qa" in stdout
    assert "in the store" in stdout
    assert files(tmp_path / "store") == first

    stdout, _ = kintsugi(tmp_path, "plan", name)
    assert stdout.rstrip().endswith("0 of 1 nodes to make.")
    stdout, _ = kintsugi(tmp_path, "status", name)
    [line] = [line for line in stdout.splitlines() if "qa" in line]
    assert line.split()[:3] == ["✓", "qa", "4"]


def test_another_name_for_the_same_rows_makes_nothing(tmp_path, kintsugi):
    kintsugi(tmp_path, "run", experiment(tmp_path, *good_lines()))
    first = files(tmp_path / "store")
    kintsugi(
        tmp_path,
        "run",
        experiment(tmp_path, *good_lines(), text=SOURCE.replace("qa", "questions").replace("files", "b")),
    )
    assert files(tmp_path / "store") == first
    nodes = [json.loads((tmp_path / "runs" / run / "nodes.json").read_text()) for run in ("files", "b")]
    assert nodes[0]["qa"] == nodes[1]["questions"]


def test_a_damaged_artifact_is_made_again(tmp_path, kintsugi):
    name = experiment(tmp_path, *good_lines())
    kintsugi(tmp_path, "run", name)
    [shard] = (tmp_path / "store").glob("rows/*/train/data/*.parquet")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    stdout, _ = kintsugi(tmp_path, "run", name)
    assert "in the store" not in stdout
    assert shard.read_bytes() == whole


def test_a_run_over_a_file_does_not_start_ray(tmp_path):
    done = process(tmp_path, "run", experiment(tmp_path, *good_lines()), program=("-c", PROGRAM))
    assert done.returncode == 0, done.stderr
    assert "✓ qa" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_rows_that_are_put_up_with_are_kept_with_their_reason(tmp_path, kintsugi):
    import pyarrow.parquet as pq

    text = SOURCE.replace("splits: {test: 1}", "max_rejected: 0.5")
    kintsugi(tmp_path, "run", experiment(tmp_path, *good_lines(), "no json", text=text))
    [rejects] = (tmp_path / "store").glob("rows/*/rejected/*.parquet")
    [row] = pq.read_table(rejects).to_pylist()
    assert (row["id"], row["reason"]) == ("data.jsonl:5", "bad-json")
    [manifest] = (tmp_path / "store").glob("rows/*/manifest.json")
    assert json.loads(manifest.read_text())["rows"] == {"in": 5, "out": 4, "rejected": 1}
