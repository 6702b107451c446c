"""The page of a sweep: one HTML file with everything in it, written anew whenever something happens."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kintsugi.sweep import charts
from kintsugi.sweep.ledger import Trial
from kintsugi.sweep.view import View
from pipeline.store import write_text

if TYPE_CHECKING:
    from jinja2 import Template

REFRESH_SECONDS = 5
CURVES, PARALLEL = (560, 300), (760, 300)
STATES = {
    "waiting": "waiting",
    "running": "running",
    "stopped": "stopped early",
    "finished": "finished",
    "failed": "failed",
}


def write_page(path: Path, view: View) -> None:
    """Replace the page whole, so that a browser never reads half of it."""
    write_text(path, page(view))


def page(view: View) -> str:
    """The page as HTML: no scripts from elsewhere, no fonts, no images. It reloads itself until the sweep is over."""
    return _template().render(
        view=view,
        refresh=None if view.over else REFRESH_SECONDS,
        colors=charts.colors(view),
        maps={
            "pass": charts.heat_maps(view, by_pass_rate=True) if any(trial.judged for trial in view.trials) else [],
            "metric": charts.heat_maps(view, by_pass_rate=False),
        },
        curves=charts.curves(view, *CURVES),
        parallel=charts.parallel(view, *PARALLEL),
        curves_size=CURVES,
        parallel_size=PARALLEL,
    )


def state_of(trial: Trial) -> str:
    """A trial's state in words, with the step where it was stopped."""
    words = STATES[trial.state]
    if trial.state in ("running", "stopped") and trial.evaluations:
        last = trial.evaluations[-1]
        return f"{words} at step {last.step} of {last.total}"
    return words


def interval_of(trial: Trial) -> str:
    """The pass rate with its 95 % Wilson interval."""
    from eval.statistics import wilson

    if trial.pass_rate is None or trial.passed is None or trial.judged is None:
        return ""
    low, high = wilson(trial.passed, trial.judged)
    return f"{100 * trial.pass_rate:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def tip(trial: Trial, metric: str) -> str:
    """All there is to say of a trial, for a tooltip."""
    setting = ", ".join(f"{name} {charts.short(value)}" for name, value in trial.setting.items())
    figure = trial.figure(metric)
    told = [trial.name, setting, state_of(trial), f"{metric} {figure:.4g}" if figure is not None else ""]
    return "\n".join(part for part in [*told, f"passed {interval_of(trial)}" if trial.judged else ""] if part)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": charts.short, "state": state_of, "interval": interval_of}
    environment.globals["tip"] = tip
    return environment.get_template("page.html.j2")
