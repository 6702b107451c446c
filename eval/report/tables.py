"""The sections of report.md that appear where there is something to show."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.agreement import Agreed
from eval.report.cells import MISSING, Align, filled, interval, number, p_text, percent, plain, points, table
from eval.report.forgetting import PASS_RATE, Forgotten
from eval.report.judged import GRADE, RIGHT, NamedErrors, of_arms
from eval.report.measures import Measure
from eval.report.results import Arm
from eval.report.rewards import Reward
from eval.report.wins import Win, Wins


def passing(arms: Sequence[Arm]) -> list[str]:
    """pass@k of every arm, where prompts have several samples."""
    ks = sorted({at["k"] for arm in arms for at in arm["pass_at"]})
    if not ks:
        return []
    rows = []
    for arm in arms:
        known = {at["k"]: f"{percent(at['rate'])} ({interval(at['ci'])})" for at in arm["pass_at"]}
        rows.append([plain(arm["name"]), *(known.get(k, MISSING) for k in ks)])
    told = (
        "The chance that at least one of k answers passes (Chen et al. 2021), with its bootstrap interval over prompts."
    )
    return ["## pass@k", table(_columns("arm", *(f"pass@{k}" for k in ks)), rows), told]


def efficiency(arms: Sequence[Arm]) -> list[str]:
    """What training bought, for the arms of which it is known."""
    rows = [
        [
            plain(arm["name"]),
            points(bought["gain"]),
            MISSING if arm["train_tokens"] is None else f"{arm['train_tokens']:,}",
            signed(bought["per_million_tokens"]),
            MISSING if arm["train_seconds"] is None else f"{arm['train_seconds']:.0f} s",
            signed(bought["per_minute"]),
        ]
        for arm in arms
        if (bought := arm["efficiency"])
    ]
    columns = _columns("arm", "gain", "tokens", "gain per million tokens", "seconds", "gain per minute")
    told = "Gain: pass rate less the corrupted model's, in percentage points, against what the arm's own training took."
    return ["## Efficiency", table(columns, rows), told] if rows else []


def signed(share: float | None) -> str:
    """A difference of shares in points, or a dash."""
    return MISSING if share is None else points(share)


def judged(arms: Sequence[Arm], measures: Sequence[Measure]) -> list[str]:
    """What the judge says of each arm's answers, and their grades."""
    right, grades = (of_arms(measures, metric) for metric in (RIGHT, GRADE))
    rows = []
    for name in (arm["name"] for arm in arms):
        said, grade = right.get(name), grades.get(name)
        verdicts = [percent(said["value"]), interval(said["ci"])] if said else [MISSING, MISSING]
        marks = [number(grade["value"]), numbers(grade["ci"])] if grade else [MISSING, MISSING]
        rows.append([plain(name), *verdicts, *marks])
    columns = _columns("arm", "judged right", "95% interval", "grade", "95% interval")
    told = ["Judged right: share of answers that the judge calls right in all aspects."] if right else []
    told += ["Grade: the mean from 1 to 5."] if grades else []
    return ["## As judges see them", table(*filled(columns, rows)), " ".join(told)] if told else []


def errors_named(found: NamedErrors) -> list[str]:
    """The share of answers in which the judge names each type of error."""
    if not found["arms"]:
        return []
    rows = [
        [plain(arm), *(MISSING if one is None else percent(one["value"]) for one in shares)]
        for arm, shares in found["arms"].items()
    ]
    told = "Share of answers in which the judge names each type; intervals are in `results.csv`."
    none = f"It names nowhere: {', '.join(found['nowhere'])}." if found["nowhere"] else ""
    made = [table(_columns("arm", *map(plain, found["types"])), rows)] if found["types"] else []
    return ["## Errors that the judge names", *made, " ".join(filter(None, (told, none)))]


def measured(measures: Sequence[Measure]) -> list[str]:
    """One table of every other metric."""
    rows = [
        [
            plain(one["metric"]),
            plain(one["arm"]),
            str(one["n"]),
            number(one["value"]),
            numbers(one["ci"]),
            number(one["difference"]),
            numbers(one["difference_ci"]),
            *_tests(one["p_value"], one["p_holm"]),
        ]
        for one in measures
    ]
    columns = _columns(
        "metric", "arm", "prompts", "mean", "95% interval", "less floor", "95% interval", "p", "p (Holm)"
    )
    columns[1] = ("arm", "left")
    return ["## Other measures", table(*filled(columns, rows))] if rows else []


def numbers(ends: Sequence[float] | None) -> str:
    """An interval of any size."""
    return MISSING if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def win_rates(wins: Sequence[Wins]) -> list[str]:
    """For each judge the standings, and every pair."""
    sections = []
    for judge in wins:
        standings = [
            [plain(one["arm"]), percent(one["rate"]), interval(one["ci"]), str(one["n"])] for one in judge["standings"]
        ]
        sections += [
            f"## Win rates by {plain(judge['by'])}",
            table(_columns("arm", "against all others", "95% interval", "prompts"), standings),
            table(
                [
                    ("a", "left"),
                    ("b", "left"),
                    *_columns("", "a wins", "95% interval", "won / tied / lost", "not judged")[1:],
                ],
                [[plain(win["a"]), plain(win["b"]), *win_cells(win)] for win in judge["pairs"]],
            ),
            "Ties count half; intervals resample prompts.",
        ]
    return sections


def win_cells(win: Win) -> list[str]:
    """The figures of one pair."""
    counts = f"{win['won']} / {win['tied']} / {win['lost']}"
    return [percent(win["rate"]), interval(win["ci"]), counts, str(win["unjudged"])]


def kl_rewards(rewards: Sequence[Reward]) -> list[str]:
    """Where each arm's way away from its reference ends."""
    rows = [
        [plain(one["arm"]), one["on"], str(one["step"]), number(one["kl"]), number(one["margin"])] for one in rewards
    ]
    told = (
        "KL from the reference in nats an answer, mean of chosen and rejected, and the reward margin, where training "
        "ends. "
        "On held-out rows all arms are measured alike; in training each loss counts the tokens that its mask weighs."
    )
    columns = _columns("arm", "on", "step", "KL", "reward margin")
    return ["## KL and reward", table([columns[0], ("on", "left"), *columns[2:]], rows), told] if rows else []


def forgotten(kept: Sequence[Forgotten]) -> list[str]:
    """Rows by rows: every arm before and after."""
    sections = []
    for rows in dict.fromkeys(one["rows"] for one in kept):
        lines = [
            [one["metric"], plain(one["arm"]), str(one["n"]), *kept_cells(one)] for one in kept if one["rows"] == rows
        ]
        columns = _columns("metric", "arm", "rows", "before", "after", "95% interval", "change", "95% interval")
        columns = [columns[0], ("arm", "left"), *columns[2:], ("p", "right"), ("p (Holm)", "right")]
        sections += [f"## Forgetting: {plain(rows)}", table(columns, lines)]
    told = (
        "Rows that corruption left out. Before: the model that the arm's training began with. The change of a pass "
        "rate is in percentage points, that of a perplexity in nats per token, the mean over texts."
    )
    return [*sections, told] if sections else []


def kept_cells(one: Forgotten) -> list[str]:
    """Before, after and the change of one figure."""
    share = one["metric"] == PASS_RATE
    shown, ends = (percent, interval) if share else (number, numbers)
    change, apart = (signed(one["change"]), MISSING) if share else (number(one["change"]), numbers(one["change_ci"]))
    if share and one["change_ci"]:
        apart = f"{points(one['change_ci'][0])} to {points(one['change_ci'][1])}"
    before = shown(one["before_value"])
    return [before, shown(one["value"]), ends(one["ci"]), change, apart, *_tests(one["p_value"], one["p_holm"])]


def agreed(agreement: Sequence[Agreed]) -> list[str]:
    """Kappa of each rater against execution."""
    rows = [[plain(one["rater"]), *rater_cells(one)] for one in agreement]
    told = (
        "Each rater against execution over the answers of all arms: 1 of a judge should go with passing, an error "
        "found with failing. kappa: agreement beyond chance (Cohen 1960), 0 is chance; its interval resamples prompts."
    )
    columns = _columns("rater", "answers", "agree", "kappa", "95% interval")
    return ["## Agreement with execution", table(columns, rows), told] if rows else []


def rater_cells(one: Agreed) -> list[str]:
    """The figures of one rater."""
    kappa, ends = one["kappa"], one["ci"]
    shown = MISSING if kappa is None else f"{kappa:.3f}"
    return [f"{one['n']:,}", percent(one["agree"]), shown, f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else MISSING]


def _tests(p_value: float | None, p_holm: float | None) -> list[str]:
    return [MISSING if p is None else p_text(p) for p in (p_value, p_holm)]


def _columns(first: str, *others: str) -> list[tuple[str, Align]]:
    return [(first, "left"), *((name, "right") for name in others)]
