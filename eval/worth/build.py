"""Writes the report of a noise study: results.json, results.csv, report.md, index.html."""

from __future__ import annotations

import json

from eval.report.build import FILES, unsafe_scores
from eval.worth.cells import study_of
from eval.worth.nodes import WorthConfig
from eval.worth.page import to_html
from eval.worth.results import results_of
from eval.worth.text import to_csv, to_markdown
from pipeline.contract import Work
from pipeline.store import write_text


def write_worth(work: Work) -> None:
    """Write the figures of a work's scores into its directory and commit it."""
    config: WorthConfig = work.config
    sources = work.all_sources("input")
    study = study_of(sources, config.baseline, config.metric)
    results = results_of(
        study, experiment=work.experiment, metric=config.metric, seed=config.seed, resamples=config.resamples
    )
    results["notes"] += unsafe_scores(sources)
    data = json.dumps(results, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    for name, text in zip(FILES, (data, to_csv(results), to_markdown(results), to_html(results)), strict=True):
        write_text(work.directory / name, text)
    count = len(study.cells) + len(study.models)
    work.commit(rows={"in": count, "out": count, "rejected": 0})
