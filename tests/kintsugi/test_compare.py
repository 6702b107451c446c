"""`kintsugi compare` as a user meets it: finished runs side by side, and what is said where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from graphs import SMALL, graph
from report_run import MODELS, make_report
from rich_report import make_rich_report

from eval.nodes import CompareConfig
from eval.report.files import FILES


def finish(folder: Path, run: str, table: str, **others: str) -> None:
    """What a run leaves of its names."""
    directory = folder / "runs" / run
    directory.mkdir(parents=True)
    (directory / "nodes.json").write_text(json.dumps({"report": f"tables/{table}", **others}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that share a store, a reference and a corrupted model."""
    made = tmp_path_factory.mktemp("runs")
    make_rich_report(made, 2, prompts=8, resamples=50)
    make_rich_report(made, 3, prompts=8, first=5, resamples=50)
    finish(made, "early", "t0", scores="scores/scores-corrupted")
    finish(made, "late", "t5")
    finish(made, "both", "t5", again="tables/t0")
    (made / "runs" / "none").mkdir()
    (made / "runs" / "none" / "nodes.json").write_text('{"qa": "rows/r0"}')
    return made


def results_of(directory: Path) -> Any:
    return json.loads((directory / "results.json").read_text(encoding="utf-8"))


def test_the_arms_of_both_runs_stand_side_by_side(folder, kintsugi):
    stdout, stderr = kintsugi(folder, "compare", "early", "late", "-o", "both", "--resamples", "50")
    assert stderr == ""
    results = results_of(folder / "both")
    shared = ["early + late: corrupted", "early + late: reference"]
    names = [arm["name"] for arm in results["arms"]]
    assert names[:2] == shared
    assert [name.partition(":")[0] for name in names[2:]] == ["early"] * 2 + ["late"] * 3
    assert [arm["kind"] for arm in results["arms"]] == ["corrupted", "reference", *["mended"] * 5]
    assert all(name in " ".join(stdout.split()) for name in shared)
    assert sorted(path.name for path in (folder / "both").iterdir()) == sorted(FILES)
    across = [d for d in results["differences"] if d["a"].startswith("early: ") and d["b"].startswith("late: ")]
    assert len(across) == 2 * 3
    assert len(results["differences"]) == 10 + 2 * 5


def test_figures_are_those_of_each_run_alone(folder, kintsugi):
    kintsugi(folder, "compare", "early", "late", "-o", "alone", "--resamples", "50")
    found = {arm["name"]: arm for arm in results_of(folder / "alone")["arms"]}
    for run, table in (("early", "t0"), ("late", "t5")):
        for arm in results_of(folder / "store" / "tables" / table)["arms"]:
            owner = run if arm["kind"] == "mended" else "early + late"
            again = found[f"{owner}: {arm['name']}"]
            assert {**again, "name": "", "family": ""} == {**arm, "name": "", "family": ""}


def test_verdicts_and_forgetting_come_along_under_the_runs_names(folder, kintsugi):
    kintsugi(folder, "compare", "early", "late", "-o", "along", "--resamples", "50")
    results = results_of(folder / "along")
    names = {arm["name"] for arm in results["arms"]}
    assert [judge["by"] for judge in results["wins"]] == ["early: duels", "late: duels"]
    assert {win["a"] for judge in results["wins"] for win in judge["pairs"]} <= names
    assert {(one["arm"], one["rows"]) for one in results["forgetting"]} == {
        (name, rows) for name in names for rows in ("families.test", "prose.test")
    }
    assert {one["before"] for one in results["forgetting"]} == {None, "early + late: corrupted"}
    assert not any("left out" in note for note in results["notes"])


def test_a_second_time_nothing_changes_and_another_result_is_not_replaced(folder, kintsugi, refusal):
    kintsugi(folder, "compare", "early", "late", "-o", "again")
    before = {path.name: path.read_bytes() for path in (folder / "again").iterdir()}
    kintsugi(folder, "compare", "early", "late", "-o", "again")
    assert {path.name: path.read_bytes() for path in (folder / "again").iterdir()} == before
    assert "exists already" in refusal(folder, "compare", "early", "late", "-o", "again", "--seed", "1", code=2)
    kintsugi(folder, "compare", "early", "late", "-o", "again", "--seed", "1", "--force")
    assert results_of(folder / "again")["bootstrap"]["seed"] == 1
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("precious")
    assert "something else" in refusal(folder, "compare", "early", "late", "-o", "mine", "--force", code=2)
    assert (folder / "mine" / "notes.txt").read_text() == "precious"


def test_runs_are_named_in_several_ways(folder, kintsugi):
    kintsugi(folder, "compare", "runs/early", "both:again", "-o", "ways", "--resamples", "50")
    assert {arm["name"].partition(":")[0] for arm in results_of(folder / "ways")["arms"]} == {"early + both"}
    kintsugi(folder, "compare", "both:report", "both:again", "-o", "nodes", "--resamples", "50")
    assert results_of(folder / "nodes")["experiment"] == "both:report and both:again"


@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        (("early",), 2, "not two different runs"),
        (("early", "early"), 2, "not two different runs"),
        (("early", "lat"), 2, "Did you mean 'late'?"),
        (("early", "none"), 2, "the run has no comparison"),
        (("early", "early:scores"), 2, "this is one of the scores"),
        (("early", "late:nothing"), 2, "the run has no node 'nothing'"),
    ],
)
def test_what_cannot_be_compared_is_said(folder, refusal, named, code, said):
    assert said in " ".join(refusal(folder, "compare", *named, "-o", "no", code=code).split())
    assert not (folder / "no").exists()


def test_other_prompts_are_an_error_that_names_one(folder, refusal, tmp_path):
    made = make_report(tmp_path, MODELS)
    stderr = " ".join(refusal(folder, "compare", "early", str(made), "-o", "no", code=4).split())
    assert "the runs answered different prompts: 2 are in one only, such as 'q6'" in stderr
    assert "the same source, splits, limits and seed" in stderr


def test_prompts_of_the_same_ids_that_ask_for_other_things_are_an_error(folder, refusal, tmp_path):
    made = make_rich_report(tmp_path, 1, prompts=8, taint="!", resamples=50)
    stderr = " ".join(refusal(folder, "compare", "early", str(made), "-o", "no", code=4).split())
    assert "asked different things: 8 prompts of one id differ, such as 'q0'" in stderr


def test_help_teaches(kintsugi, tmp_path):
    stdout = " ".join(kintsugi(tmp_path, "compare", "--help")[0].split())
    for words in ("kintsugi compare recovery slow -o recovery-and-slow", "Nothing is run again", "Holm's correction"):
        assert words in stdout


WHOLE = SMALL.replace(
    "  report: {kind: compare, input: scores, floor: reference}",
    """\
  likely: {kind: likelihood, models: [reference, mended], rows: qa.test}
  duels: {kind: versus, input: answers, by: pairrm, pairrm: {model: models/ranker}}
  report: {kind: compare, input: [scores, likely], verdicts: duels, forgetting: likely, floor: reference}
""",
)


def test_an_experiment_names_verdicts_and_what_was_left_out(tmp_path):
    """Every member of a group is meant, in each role."""
    report = graph(tmp_path, WHOLE).nodes["report"]
    roles = [(edge.role, edge.node.partition("/")[0]) for edge in report.inputs]
    assert roles.count(("input", "scores")) == roles.count(("input", "likely")) == 5
    assert roles.count(("verdicts", "duels")) == 1
    assert roles.count(("forgetting", "likely")) == 5
    assert ("floor", "reference") in roles


def test_fields_that_are_absent_are_no_part_of_the_key():
    assert not {"verdicts", "forgetting"} & set(CompareConfig(kind="compare", input="scores").model_dump())
    assert CompareConfig(kind="compare", input="scores", verdicts="v").model_dump()["verdicts"] == "v"
