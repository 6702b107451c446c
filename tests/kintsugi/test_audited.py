"""What was trained on is shown: by `inspect`, and by a line of the run where rows were left out or cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kintsugi.audited import audit_sheets
from kintsugi.cli import app
from kintsugi.console import Screen
from kintsugi.execute import Place, execute
from kintsugi.experiment import load
from kintsugi.graph import build
from kintsugi.measured import measured_sheets
from pipeline.contract import NOTES, Work
from pipeline.failures import UserError
from pipeline.sources.nodes import Source
from pipeline.store import Manifest, Store, commit

AUDIT: dict[str, Any] = {
    "rows": {"read": 1200, "trained_on": 1199, "left_out": {"too-long": 1}},
    "truncation": {"rows": 3, "prompts": 2, "answers": 1, "spans_cut_in_part": 4},
    "spans": {"read": 2400, "with_tokens": 2380, "cut_off": 18, "in_rows_left_out": 2},
    "sides": {
        "chosen": {
            "answers": 1199,
            "without_weight": 7,
            "spans": 1190,
            "tokens": 12345678,
            "weighted_tokens": 2345,
            "partial_tokens": 6,
            "weight": 4690.5,
            "mean_share": 0.0123,
        }
    },
}


def manifest(facts: dict[str, Any]) -> Manifest:
    return Manifest("preference", 3, "models", "k", {}, [], facts=facts)


def test_the_tables_of_an_audit() -> None:
    fates, sides = audit_sheets(manifest({"audit": AUDIT}), "run:mended")
    assert ("rows left out: too-long", "1", "0%") in fates.rows
    assert ("spans cut off", "18", "1%") in fates.rows
    assert sides.rows == (("chosen", "1,199", "7", "1,190", "12,345,678", "2,345", "6", "4,690.5", "1.2%"),)
    assert all(len(row) == len(sheet.heads) for sheet in (fates, sides) for row in sheet.rows)


def test_a_model_from_elsewhere_has_no_audit() -> None:
    with pytest.raises(UserError, match="no audit") as caught:
        audit_sheets(manifest({}), "run:start")
    assert caught.value.where == "run:start"


def test_inspect_shows_and_writes_what_a_model_was_trained_on(tmp_path: Path) -> None:
    directory = tmp_path / "store" / "models" / "k"
    commit(directory, manifest({"audit": AUDIT}))
    written = tmp_path / "a.md"
    done = CliRunner().invoke(app, ["inspect", str(directory), "-o", str(written)])
    assert done.exit_code == 0, done.output
    assert "rows left out: too-long" in done.output
    assert "| spans cut off | 18 | 1% |" in written.read_text(encoding="utf-8")


FIGURES = {
    "eval/nll": 1.25,
    "eval/loss": 0.5,
    "eval/rewards/accuracies": 0.75,
    "eval/kl/rejected/inside": 2.0,
    "eval/kl/rejected/inside/loops[b]": 2.0,
    "eval/rewards/accuracies/loops[b]": 1.0,
    "eval/kl_per_token/rejected/inside/loops[b]": 0.125,
}
EVALUATION = {"rows": 12, "left_out": 0, "by_type": {"loops[b]": 7}, "figures": FIGURES}


def test_inspect_shows_the_last_figures_on_held_out_rows(tmp_path: Path) -> None:
    """Names of error types are strangers' text: they are shown as they are."""
    directory = tmp_path / "store" / "models" / "k"
    commit(directory, manifest({"audit": AUDIT, "evaluation": EVALUATION}))
    written = tmp_path / "a.json"
    done = CliRunner().invoke(app, ["inspect", str(directory), "-o", str(written)])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["loss", "0.5"] in lines
    assert ["kl/rejected/inside", "2"] in lines
    assert ["loops[b]", "7", "1", "0.125"] in lines
    assert json.loads(written.read_text(encoding="utf-8"))["evaluation"] == EVALUATION


def test_a_model_that_was_not_measured_has_no_such_tables() -> None:
    assert measured_sheets(manifest({"audit": AUDIT})) == []
    supervised = {"rows": 3, "left_out": 0, "figures": {"eval/nll": 1.0, "eval/exact": 0.5}}
    (sheet,) = measured_sheets(manifest({"evaluation": supervised}))
    assert sheet.rows == (("nll", "1"), ("exact", "0.5"))


def test_a_run_tells_notes_once_for_all_nodes_that_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The making itself is not what is looked at here: a source that commits notes of its own stands for a model."""

    def make(self: Source, works: list[Work]) -> None:
        for work in works:
            work.commit(facts={NOTES: ["3 of 40 rows [cut]"]})

    monkeypatch.setattr(Source, "make", make)
    experiment = tmp_path / "x.yaml"
    experiment.write_text("name: x\nnodes:\n  qa: {kind: source, from: builtin, rows: 4}\n", encoding="utf-8")
    execute(build(load(experiment)), Place(Store(tmp_path / "store"), tmp_path / "runs"), Screen())
    assert "  qa: 3 of 40 rows [cut]\n" in capfd.readouterr().out
    screen = Screen()
    screen.note(["mended/a", "mended/b", "mended/c"], "cut")
    assert "  mended/a and 2 more: cut\n" in capfd.readouterr().out
