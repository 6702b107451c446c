"""The table at the end of a run: every arm with its pass rate and interval, within 100 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from eval.report.cells import MISSING, percent
from eval.report.judged import RIGHT, of_arms, shown
from eval.report.measures import Measure
from eval.report.pooled import PooledArm
from eval.report.results import Arm, Kind, Results
from eval.report.wins import Wins

COLOURS: dict[Kind, str] = {
    "reference": "cyan",
    "corrupted": "red",
    "mended": "green",
    "control": "yellow",
    "model": "blue",
}
FIGURES = {"compiles": "compiles", "errors": "error_rate", "gap": "gap_closed", "time": "train_seconds"}
"""The last columns, and the fields of an arm behind them."""

BEST = 3
"""Arms that are named with their win rates."""

CELLS = 16
"""Width of a pass-rate bar; one cell is some six points."""


def table(results: Results) -> Table:
    """The arms in the order given; the bar shows the pass rate, its shaded part the 95% interval.

    Other figures have columns only where an arm has them. Where a judge stands in for tests, the bar is the judge's.
    """
    right = of_arms(results["measures"], RIGHT)
    has = shown(results)
    by_judge = bool(right) and not has["pass_rate"]
    names = [
        *(["judged right"] if right and not by_judge else []),
        *(name for name, of in FIGURES.items() if has[of]),
    ]
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    made.title = Text(f"{results['experiment']}  ·  {results['n_prompts']} prompts", style="bold")
    made.title_justify = made.caption_justify = "left"
    scale = " Gap: 0% floor, 100% ceiling." if "gap" in names else ""
    made.caption = Text("\n".join([f"Shaded: 95% interval.{scale}", *map(_standings, results["wins"])]), style="dim")
    made.add_column("arm", max_width=31, overflow="fold")
    made.add_column("judged right" if by_judge else "passed", justify="right", no_wrap=True)
    made.add_column("", width=CELLS, no_wrap=True)
    for name in names:
        made.add_column(name, justify="right", no_wrap=True)
    pooled = {arm["name"]: arm for arm in results["pooled"]["arms"]}
    done: set[str] = set()
    for arm in results["arms"]:
        if arm["family"] not in pooled:
            made.add_row(*_row(arm, right.get(arm["name"]), by_judge, names))
        elif arm["family"] not in done:
            done.add(arm["family"])
            made.add_row(*_pooled_row(pooled[arm["family"]], COLOURS[arm["kind"]], names))
    return made


def _row(arm: Arm, right: Measure | None, by_judge: bool, names: list[str]) -> list[Text]:
    colour = COLOURS[arm["kind"]]
    judged, judged_ci = (right["value"], right["ci"]) if right else (None, None)
    rate, ends = (judged, judged_ci) if by_judge else (arm["pass_rate"], arm["pass_rate_ci"])
    figures = {
        "judged right": Text(percent(judged)),
        "compiles": Text(percent(None if arm["compiles"] is None else arm["compiles"] / arm["answers"])),
        "errors": Text(percent(arm["error_rate"])),
        "gap": Text(percent(arm["gap_closed"])),
        "time": Text(_duration(arm["train_seconds"]), style="dim"),
    }
    return [
        Text(" ".join(arm["name"].split()), style=colour),
        Text(percent(rate), style=f"bold {colour}"),
        _bar(rate, ends, colour),
        *(figures[name] for name in names),
    ]


def _pooled_row(arm: PooledArm, colour: str, names: list[str]) -> list[Text]:
    """The mean over seeds; what belongs to one model alone stays empty."""
    return [
        Text(f"{' '.join(arm['name'].split())}, {len(arm['seeds'])} seeds", style=colour),
        Text(percent(arm["pass_rate"]), style=f"bold {colour}"),
        _bar(arm["pass_rate"], arm["pass_rate_ci"], colour),
        *(Text(percent(arm["gap_closed"])) if name == "gap" else Text(MISSING, style="dim") for name in names),
    ]


def _bar(rate: float | None, ends: list[float] | None, colour: str) -> Text:
    """Solid up to the interval, shaded within it, with the rate itself as a block."""
    if rate is None or ends is None:
        return Text("not judged".ljust(CELLS), style="dim")
    low, here, high = (min(int(share * CELLS), CELLS - 1) for share in (ends[0], rate, ends[1]))
    bar = Text()
    bar.append("━" * low, style=colour)
    bar.append("░" * (here - low), style=colour)
    bar.append("█", style=f"bold {colour}")
    bar.append("░" * (high - here), style=colour)
    bar.append("─" * (CELLS - 1 - high), style="bright_black")
    return bar


def _standings(judge: Wins) -> str:
    """Who wins most often before a judge, in a line."""
    best = [f"{' '.join(one['arm'].split())} {percent(one['rate'])}" for one in judge["standings"][:BEST]]
    more = len(judge["standings"]) - BEST
    return f"Wins by {judge['by']}: {', '.join(best)}{f' and {more} more' if more > 0 else ''}."


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
