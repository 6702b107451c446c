"""The geometry of a sweep's charts: pure functions from trials to points, lines and cells in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kintsugi.sweep.config import Dimension
from kintsugi.sweep.ledger import Trial
from kintsugi.sweep.view import View

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000", "#6a51a3")
"""Okabe and Ito's colours, told apart by readers who see few colours, and two more; arms beyond eight share them."""

LIGHT, DARK = (222, 235, 247), (8, 69, 148)
"""The ends of the heat maps' one-coloured scale (ColorBrewer's Blues): worse is lighter."""

HEAT_BINS = 5

SMALL = 1e-3
"""Below this, numbers are written with an exponent."""


@dataclass(frozen=True)
class Bin:
    """A value of a hyperparameter, or a part of its range."""

    label: str
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map: its place, and the best trial in it, if any."""

    column: int
    row: int
    trial: Trial | None = None
    trials: int = 0
    text: str = ""
    fill: str = ""
    ink: str = ""


@dataclass(frozen=True)
class HeatMap:
    """An arm's figures over learning rate (columns) and beta (rows, the largest on top)."""

    arm: str
    columns: list[Bin]
    rows: list[Bin]
    cells: list[Cell]


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels."""

    label: str
    low: float
    high: float
    log: bool
    start: float
    end: float

    def at(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = 0.5 if high == low else (value - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 4) -> list[tuple[float, str]]:
        """(pixel, text) at even distances."""
        if self.low == self.high:
            return [(self.at(self.low), short(self.low))]
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        values = [ends[0] + (ends[1] - ends[0]) * index / (count - 1) for index in range(count)]
        return [(self.at(v), short(v)) for v in ([math.exp(v) for v in values] if self.log else values)]


@dataclass(frozen=True)
class Line:
    """A trial as a line: `points` for an SVG polyline, and its last point, where its state is marked."""

    trial: Trial
    color: str
    points: str
    end: tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """Lines in a frame of axes."""

    axes: list[Axis]
    lines: list[Line]


def short(value: float) -> str:
    """A number as a reader wants it: three digits at most, no zeros at either end of them."""
    text = f"{value:.3g}" if value == 0 or abs(value) >= SMALL else f"{value:.2e}"
    mantissa, _, exponent = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def colors(view: View) -> dict[str, str]:
    return {arm: PALETTE[index % len(PALETTE)] for index, arm in enumerate(view.spaces)}


def bins(dimension: Dimension | None, name: str) -> list[Bin]:
    """The values of a list; a range in equal parts; one bin that holds everything for what is not searched."""
    if dimension is None:
        return [Bin(f"{name} as in the file", -math.inf, math.inf)]
    if dimension.choice is not None:
        return [Bin(short(value), value, value) for value in sorted(set(dimension.choice))]
    low, high = dimension.log_uniform or dimension.uniform or (0.0, 1.0)
    axis = Axis("", low, high, dimension.log_uniform is not None, 0, 1)
    edges = [_between(axis, index / HEAT_BINS) for index in range(HEAT_BINS + 1)]
    # Rounded settings may lie a hair outside of the range.
    edges[0], edges[-1] = -math.inf, math.inf
    middles = [_between(axis, (index + 0.5) / HEAT_BINS) for index in range(HEAT_BINS)]
    return [Bin(short(float(f"{middle:.2g}")), *edges[i : i + 2]) for i, middle in enumerate(middles)]


def _between(axis: Axis, share: float) -> float:
    if axis.log:
        return math.exp(math.log(axis.low) + share * (math.log(axis.high) - math.log(axis.low)))
    return axis.low + share * (axis.high - axis.low)


def heat_maps(view: View, *, by_pass_rate: bool) -> list[HeatMap]:
    """One map for each arm, all on one scale, of the pass rate or of the metric at each trial's end."""
    values = {trial.name: _heat(view, trial, by_pass_rate) for trial in view.trials}
    known = [value for value in values.values() if value is not None]
    scale = (min(known), max(known)) if known else (0.0, 1.0)
    return [_heat_map(view, arm, values, scale, by_pass_rate) for arm in view.spaces]


def _heat(view: View, trial: Trial, by_pass_rate: bool) -> float | None:
    """How hot a trial is: more is better."""
    value = trial.pass_rate if by_pass_rate else trial.figure(view.metric)
    return -value if value is not None and not by_pass_rate and view.mode == "min" else value


def _heat_map(
    view: View, arm: str, values: dict[str, float | None], scale: tuple[float, float], by_pass_rate: bool
) -> HeatMap:
    space = view.spaces[arm]
    columns, rows = bins(space.get("learning_rate"), "learning_rate"), bins(space.get("beta"), "beta")[::-1]
    trials = [trial for trial in view.trials if trial.arm == arm and trial.setting]
    cells = []
    for row, height in enumerate(rows):
        for column, width in enumerate(columns):
            inside = [
                trial
                for trial in trials
                if width.holds(trial.setting.get("learning_rate", 0.0)) and height.holds(trial.setting.get("beta", 0.0))
            ]
            hot = [(value, trial) for trial in inside if (value := values[trial.name]) is not None]
            best = max(hot, key=lambda pair: pair[0], default=None)
            if best is None:
                cells.append(Cell(column, row, inside[0] if inside else None, len(inside)))
                continue
            value, trial = best
            text = f"{100 * value:.0f} %" if by_pass_rate else short(abs(value))
            fill, ink = heat_color(value, *scale)
            cells.append(Cell(column, row, trial, len(inside), text, fill, ink))
    return HeatMap(arm, columns, rows, cells)


def heat_color(value: float, low: float, high: float) -> tuple[str, str]:
    """The colour of a value on the scale, and of text on it."""
    share = 1.0 if high == low else (value - low) / (high - low)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(LIGHT, DARK, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}", "#ffffff" if share > 0.5 else "#1a1a1a"


def curves(view: View, width: float, height: float, left: float = 52, below: float = 30, above: float = 10) -> Chart:
    """The metric over the steps of every trial. The scale is logarithmic where values differ by more than ten."""
    shown = [trial for trial in view.trials if trial.evaluations]
    values = [evaluated.figures[view.metric] for trial in shown for evaluated in trial.evaluations]
    steps = max((evaluated.total for trial in shown for evaluated in trial.evaluations), default=1)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    across = Axis("step", 0, steps, False, left, width - 14)
    up = Axis(view.metric, low, high, low > 0 and high > 10 * low, height - below, above)
    lines = []
    for trial in shown:
        points = [(across.at(e.step), up.at(e.figures[view.metric])) for e in trial.evaluations]
        lines.append(_line(view, trial, points))
    return Chart([across, up], lines)


def parallel(view: View, width: float, height: float, side: float = 60, above: float = 34, below: float = 14) -> Chart:
    """Every trial as a line through its hyperparameters and its figures. Axes are upright and evenly spaced; better
    figures are further up."""
    names = [*view.dimensions, view.metric, *(["pass rate"] if any(t.judged for t in view.trials) else [])]
    columns = {name: [_coordinate(view, trial, name) for trial in view.trials] for name in names}
    axes = [_upright(view, name, columns[name], height - below, above) for name in names]
    distance = (width - 2 * side) / max(1, len(names) - 1)
    lines = []
    for index, trial in enumerate(view.trials):
        points = [
            (round(side + place * distance, 1), axis.at(value))
            for place, (axis, name) in enumerate(zip(axes, names, strict=True))
            if (value := columns[name][index]) is not None
        ]
        if len(points) > 1:
            lines.append(_line(view, trial, points))
    return Chart(axes, lines)


def _coordinate(view: View, trial: Trial, name: str) -> float | None:
    if name == "pass rate":
        return trial.pass_rate
    return trial.figure(view.metric) if name == view.metric else trial.setting.get(name)


def _upright(view: View, name: str, values: Sequence[float | None], start: float, end: float) -> Axis:
    known = [value for value in values if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    if name == view.metric and view.mode == "min":
        start, end = end, start
    return Axis(name, low, high, low > 0 and high > 10 * low, start, end)


def _line(view: View, trial: Trial, points: Sequence[tuple[float, float]]) -> Line:
    return Line(trial, colors(view)[trial.arm], " ".join(f"{x},{y}" for x, y in points), points[-1])
