"""The page of a sweep and its files for TensorBoard, from made-up trials."""

import re
from html.parser import HTMLParser

import pytest

from kintsugi.sweep import charts
from kintsugi.sweep.board import Board
from kintsugi.sweep.config import Dimension
from kintsugi.sweep.ledger import Evaluated, Ledger, Trial
from kintsugi.sweep.page import page, write_page
from kintsugi.sweep.view import View, view_of

RATES = Dimension(log_uniform=(1e-5, 1e-3))
BETAS = Dimension(choice=[0.3, 0.1])


def trial(number, state, figures=(), arm="dpo-response", rate=1e-4, beta=0.1, **more):
    steps = tuple(Evaluated(10 * (i + 1), 40, i + 1, {"eval/nll": figure}) for i, figure in enumerate(figures))
    return Trial(arm, number, {"learning_rate": rate, "beta": beta}, f"key{number}", state, steps, **more)


TRIALS = [
    trial(1, "finished", (0.9, 0.5, 0.4, 0.3), rate=1.2e-5, passed=30, judged=40),
    trial(2, "stopped", (1.2,), rate=9e-4),
    trial(3, "running", (0.8, 0.6), beta=0.3),
    trial(1, "failed", arm="tdpo2-<b>", reason="the loss is nan & gone"),
    trial(2, "waiting", arm="tdpo2-<b>"),
]


def view(trials=TRIALS, over=False, best=None):
    spaces = {arm: {"learning_rate": RATES, "beta": BETAS} for arm in ("dpo-response", "tdpo2-<b>")}
    return View("tuned", "eval/nll", "min", "qa.validation", "pass_rate", "random", spaces, list(trials), best or {},
                {"corrupted": 0.19}, over)  # fmt: skip


class Checker(HTMLParser):
    """Every element is closed in its turn; what could load something is noted."""

    VOID = ("meta", "input", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.texts, self.trials = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.trials += [value for name, value in attributes if name == "data-trial"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def checked(html):
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


@pytest.mark.parametrize("over", [False, True])
def test_the_page_is_whole_and_loads_nothing(over):
    html = page(view(over=over, best={"dpo-response": TRIALS[0]} if over else None))
    checker = checked(html)
    assert checker.loads == []
    assert not re.search(r"https?://|@import|url\(", html)
    # Every trial is in the table, and those with a setting in charts too.
    assert {item.name for item in TRIALS} == set(checker.trials)


def test_it_reloads_itself_until_the_sweep_is_over():
    assert '<meta http-equiv="refresh" content="5">' in page(view())
    assert "http-equiv" not in page(view(over=True))


def test_states_say_where_a_trial_stands():
    text = " ".join(" ".join(checked(page(view())).texts).split())
    for words in ("stopped early at step 10 of 40", "running at step 20 of 40", "finished", "failed", "waiting"):
        assert words in text
    assert "the loss is nan & gone" in text
    assert "75.0 % [60, 86]" in text
    assert "3 of 5 trials ended" in text


def test_the_best_is_marked_in_table_map_and_curve():
    html = page(view(over=True, best={"dpo-response": TRIALS[0]}))
    assert '<tr data-trial="dpo-response/1" class="best">' in html
    assert 'class="cell best" data-trial="dpo-response/1"' in html
    assert 'stroke="var(--gold)"' in html
    assert "corrupted passes 19.0 %" in html


def test_names_cannot_become_markup():
    assert "<b>" not in page(view())


def test_a_sweep_without_a_result_has_a_page(plan_of, tmp_path):
    plan = plan_of()
    found = view_of(plan, Ledger(tmp_path / "trials.json", ""), {}, over=False)
    assert [item.state for item in found.trials] == ["waiting"] * 12
    write_page(tmp_path / "index.html", found)
    checked((tmp_path / "index.html").read_text())


# Geometry


def test_heat_maps_have_rates_across_and_the_largest_beta_on_top():
    heat = charts.heat_maps(view(), by_pass_rate=False)[0]
    assert [row.label for row in heat.rows] == ["0.3", "0.1"]
    assert len(heat.columns) == charts.HEAT_BINS
    filled = {(cell.column, cell.row): cell for cell in heat.cells if cell.trial}
    assert {place: cell.trial.number for place, cell in filled.items()} == {(0, 1): 1, (4, 1): 2, (2, 0): 3}
    # The smallest loss is darkest, the largest lightest.
    assert (filled[0, 1].text, filled[0, 1].fill) == ("0.3", "#084594")
    assert (filled[4, 1].text, filled[4, 1].fill) == ("1.2", "#deebf7")


def test_by_pass_rate_a_stopped_trial_has_a_place_and_no_figure():
    heat = charts.heat_maps(view(), by_pass_rate=True)[0]
    cells = {cell.trial.number: cell for cell in heat.cells if cell.trial}
    assert (cells[1].text, cells[2].text, cells[2].fill) == ("75 %", "", "")


def test_every_setting_of_a_range_has_one_cell():
    parts = charts.bins(RATES, "learning_rate")
    for value in (0.999e-5, 1e-5, 3.3e-5, 1e-4, 1e-3, 1.001e-3):
        assert sum(part.holds(value) for part in parts) == 1


def test_curves_run_from_the_first_evaluation_to_the_last():
    chart = charts.curves(view(), 560, 300)
    [first, second, third] = chart.lines
    assert len(first.points.split()) == 4
    assert first.end == (546.0, 270.0)
    assert second.end[1] == 10.0
    assert third.end[0] == pytest.approx(52 + 20 / 40 * (546 - 52))


def test_parallel_coordinates_break_off_where_a_trial_has_no_figure():
    chart = charts.parallel(view(), 760, 300)
    assert [axis.label for axis in chart.axes] == ["learning_rate", "beta", "eval/nll", "pass rate"]
    lengths = {line.trial.name: len(line.points.split()) for line in chart.lines}
    assert lengths == {
        "dpo-response/1": 4, "dpo-response/2": 3, "dpo-response/3": 3, "tdpo2-<b>/1": 2, "tdpo2-<b>/2": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5e-5, "2.5e-5"),
        (2.754e-4, "2.75e-4"),
        (1e-4, "1e-4"),
        (0.1, "0.1"),
        (0, "0"),
        (123456.0, "1.23e5"),
        (100, "100"),
    ],
)
def test_numbers_are_short(value, text):
    assert charts.short(value) == text


# TensorBoard


def events(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return accumulator


def test_the_board_has_curves_and_figures_and_nothing_twice(tmp_path):
    board = Board(tmp_path / "board", ["learning_rate", "beta"], ["dpo-response"], "eval/nll")
    running = trial(1, "running", (0.9, 0.5))
    for shown in (trial(1, "waiting"), running, running, TRIALS[0]):
        board.show(shown)
    found = events(tmp_path / "board" / "dpo-response" / "1")
    assert [(item.step, round(item.value, 3)) for item in found.Scalars("eval/nll")] == [
        (10, 0.9), (20, 0.5), (30, 0.4), (40, 0.3),
    ]  # fmt: skip
    assert [item.value for item in found.Scalars("pass_rate")] == [0.75]
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(found.summary_metadata)


def test_a_board_starts_empty(tmp_path):
    for _ in range(2):
        Board(tmp_path / "board", ["beta"], ["dpo"], "eval/nll").show(TRIALS[0])
    assert len(events(tmp_path / "board" / "dpo-response" / "1").Scalars("eval/nll")) == 4
