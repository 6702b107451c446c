"""Writes the report of a noise study: results.json, results.csv, report.md, index.html."""

from __future__ import annotations

from eval.report.build import unsafe_scores
from eval.report.files import write_all
from eval.worth.cells import study_of
from eval.worth.nodes import WorthConfig
from eval.worth.page import to_html
from eval.worth.results import results_of
from eval.worth.text import to_csv, to_markdown
from pipeline.contract import Work


def write_worth(work: Work) -> None:
    """Write the figures of a work's scores into its directory and commit it."""
    config: WorthConfig = work.config
    sources = work.all_sources("input")
    study = study_of(sources, config.baseline, config.metric)
    results = results_of(
        study, experiment=work.experiment, metric=config.metric, seed=config.seed, resamples=config.resamples
    )
    results["notes"] += unsafe_scores(sources)
    write_all(work.directory, results, to_csv(results), to_markdown(results), to_html(results))
    count = len(study.cells) + len(study.models)
    work.commit(rows={"in": count, "out": count, "rejected": 0})
