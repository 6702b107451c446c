"""`kintsugi eval --judge` and `--pairrm`: what a judge and a pair ranker add to the experiment of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eval.scorers.judge_config import PAIRRM, Judge
from kintsugi.commands.options import resources
from kintsugi.experiment import checked, read
from kintsugi.references import find_model
from pipeline.failures import UserError

Nodes = dict[str, dict[str, Any]]

JudgeFile = Annotated[
    Path | None,
    typer.Option(
        "--judge",
        metavar="FILE",
        help="A YAML file that says which language model judges, the section `judge` of an experiment file. "
        "It judges every answer, and every two models' answers in both orders.",
    ),
]
Ranker = Annotated[
    str | None,
    typer.Option("--pairrm", metavar="MODEL", help=f"A pair ranker that compares every two models' answers: {PAIRRM}."),
]
HOW = "Write for example: by: {backend: endpoint, model: m, base_url: http://127.0.0.1:8000/v1} (docs/judging.md)."


def judging(
    judge: Path | None, ranker: str | None, several: bool, gpus: float | None, store: Path, runs: Path
) -> tuple[Nodes, dict[tuple[str, str], str]]:
    """The nodes that judge `answers`, and the options behind their keys. One model alone has nobody to meet."""
    if ranker and not several:
        raise UserError("config", "a pair ranker compares models, and there is one.", "--pairrm", "Name another MODEL.")
    nodes: Nodes = {}
    if judge:
        said = _said(judge)
        served = said["by"]["backend"] == "vllm"
        if served:
            nodes["judge-model"] = {"kind": "model", "from": find_model(said["by"]["model"], store, runs)}
            said["by"]["model"] = "judge-model"
        asking = {"judge": said, "resources": resources(gpus) if served else None}
        nodes["judged"] = {"kind": "score", "input": "answers", "scorers": ["judge"], **asking}
        if several:
            comparer = {name: value for name, value in said.items() if name != "error_types"}
            nodes["duels"] = {"kind": "versus", "input": "answers", "by": "judge", **asking, "judge": comparer}
    if ranker:
        asking = {"pairrm": {"model": find_model(ranker, store, runs)}, "resources": resources(gpus)}
        nodes["ranked"] = {"kind": "versus", "input": "answers", "by": "pairrm", **asking}
    asked = {(name, "judge"): f"--judge {judge}" for name in ("judged", "duels")}
    return nodes, {**asked, ("ranked", "pairrm"): f"--pairrm {ranker}"}


def _said(file: Path) -> dict[str, Any]:
    """The judge as the file has it."""
    if not file.is_file():
        raise UserError("config", "there is no such file.", f"--judge {file}", HOW)
    said, draft = read(file)
    checked(Judge, said, draft, ())
    return said
