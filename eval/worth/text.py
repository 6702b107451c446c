"""report.md and results.csv of a noise study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.report.cells import MISSING, Align, interval, p_text, percent, plain, points, table
from eval.report.sheet import Line, as_csv
from eval.worth.cells import CLEAN
from eval.worth.results import Change, Figure, Fit, Results, at_an_end, levels_of

FIT = (
    "The fit: accuracy = a + b s(n), n = clean + w noisy pairs, s a signed logarithm, the baseline at n = 0; "
    "N = 1 / w noisy pairs are worth a clean one. Intervals: percentile bootstrap over prompts and training seeds. "
    "w below 0: noisy pairs undo clean ones. R2: share of the variance between cells that the model explains."
)


def to_markdown(results: Results) -> str:
    """The report as GitHub-flavoured Markdown."""
    sections = [
        f"# {plain(results['experiment'])}: what noise costs",
        f"Right by `{plain(results['metric'])}` on the same {results['n_prompts']} prompts. Baseline, before any pair: "
        f"{plain(results['baseline'])}.",
        "## Models without pairs",
        table(
            [("model", "left"), ("accuracy", "right"), ("95% interval", "right")],
            [[plain(one["name"]), percent(one["accuracy"]), interval(one["ci"])] for one in results["models"]],
        ),
        "## What a clean pair is worth",
        _fits(results["fits"]),
        FIT,
        "## Accuracy by noise and pairs",
        *_maps(results),
        "## All cells",
        _cells(results["cells"]),
        "## What noise changes",
        _changes(results["cells"]),
        "Gain: over the baseline. Cost: against as many clean pairs, seed by seed. Both in percentage points, with 95% "
        "intervals over seeds and prompts (with one seed over prompts); p adjusted for all gains, or all costs (Holm).",
    ]
    if results["notes"]:
        sections += ["## Notes", "\n".join(f"- {plain(note)}" for note in results["notes"])]
    return "\n\n".join(sections) + "\n"


def _fits(fits: Sequence[Fit]) -> str:
    if not fits:
        return "No pairs were noisy."
    columns: list[tuple[str, Align]] = [("loss / mask", "left"), ("noise", "left"), ("cells", "right")]
    columns += [("noisy pairs for a clean one", "right"), ("95% interval", "right"), ("w", "right")]
    columns += [("95% interval", "right"), ("R2", "right")]
    return table(columns, [[plain(fit["way"]), plain(fit["how"]), *fit_cells(fit)] for fit in fits])


def fit_cells(fit: Fit) -> list[str]:
    """Cells, N with its interval, w with its interval, and R2."""
    if fit["weight"] is None or fit["weight_ci"] is None:
        return [str(fit["cells"]), fit["reason"], MISSING, MISSING, MISSING, MISSING]
    shown = "no number" if fit["worth"] is None else f"{fit['worth']:.2f}"
    ends = f"{fit['weight_ci'][0]:.2f} to {fit['weight_ci'][1]:.2f}" + (" or beyond" if at_an_end(fit) else "")
    explained = MISSING if fit["r_squared"] is None else f"{fit['r_squared']:.2f}"
    return [str(fit["cells"]), shown, worth_interval(fit), f"{fit['weight']:.2f}", ends, explained]


def worth_interval(fit: Fit) -> str:
    """From the fewest noisy pairs for a clean one to the most; w below 0 is worth no number of them."""
    if fit["worth_ci"] is None:
        return MISSING
    low, high = fit["worth_ci"]
    if low is None:
        return "no number"
    return f"{low:.2f} to {high:.2f}" if high is not None else f"{low:.2f} to no number"


def _maps(results: Results) -> Iterator[str]:
    """A table of rates by numbers of pairs for each way and kind of noise."""
    for way, how, cells in maps(results["cells"]):
        rows = sorted({cell["rows"] for cell in cells})
        known = {(cell["rate"], cell["rows"]): cell for cell in cells}
        yield f"### {plain(way)}, {plain(how)}"
        lines = [[rate, *(_map_cell(known.get((rate, count))) for count in rows)] for rate in levels_of(cells)]
        yield table([("noise", "right"), *((f"{count} pairs", "right") for count in rows)], lines)


def maps(cells: Sequence[Figure]) -> list[tuple[str, str, list[Figure]]]:
    """The cells of each heat map: of one way of training and one kind of noise, below those of clean pairs."""
    noisy = dict.fromkeys((cell["way"], cell["how"]) for cell in cells if cell["how"] != CLEAN)
    lone = {cell["way"]: CLEAN for cell in cells if cell["way"] not in {way for way, _ in noisy}}
    return [(way, how, _map_of(cells, way, how)) for way, how in (*noisy, *lone.items())]


def _map_of(cells: Sequence[Figure], way: str, how: str) -> list[Figure]:
    """Clean cells count where this kind of noise has none of its own at rate 0, over as many pairs."""
    own = [cell for cell in cells if (cell["way"], cell["how"]) == (way, how)]
    if how == CLEAN:
        return own
    known = {cell["rows"] for cell in own if cell["rate"] == "0"}
    clean = [cell for cell in cells if (cell["way"], cell["how"]) == (way, CLEAN) and cell["rows"] not in known]
    return [*clean, *own]


def _map_cell(cell: Figure | None) -> str:
    return MISSING if cell is None else f"{percent(cell['accuracy'])} ({interval(cell['ci'])})"


WHICH: list[tuple[str, Align]] = [
    ("loss / mask", "left"),
    ("noise", "left"),
    ("rate", "right"),
    ("clean", "right"),
    ("noisy", "right"),
]
"""Which cell a row is about."""


def _which(cell: Figure) -> list[str]:
    return [plain(cell["way"]), plain(cell["how"]), cell["rate"], str(cell["clean"]), str(cell["noisy"])]


def _cells(cells: Sequence[Figure]) -> str:
    columns: list[tuple[str, Align]] = [
        (name, "right") for name in ("seeds", "accuracy", "95% interval", "lowest to highest")
    ]
    return table([*WHICH, *columns], [[*_which(cell), *_accuracy(cell)] for cell in cells])


def _accuracy(cell: Figure) -> list[str]:
    lowest, highest = min(cell["accuracies"]), max(cell["accuracies"])
    span = f"{percent(lowest)} to {percent(highest)}"
    return [str(len(cell["seeds"])), f"**{percent(cell['accuracy'])}**", interval(cell["ci"]), span]


def _changes(cells: Sequence[Figure]) -> str:
    names = ("gain", "95% interval", "p (Holm)", "cost", "95% interval", "p (Holm)")
    columns: list[tuple[str, Align]] = [(name, "right") for name in names]
    rows = [[*_which(cell), *change_cells(cell["gain"]), *change_cells(cell["cost"])] for cell in cells]
    return table([*WHICH, *columns], rows)


def change_cells(change: Change | None) -> list[str]:
    """A difference in points, its interval and its p-value."""
    if change is None:
        return [MISSING] * 3
    low, high = change["ci"]
    return [points(change["difference"]), f"{points(low)} to {points(high)}", p_text(change["p_holm"])]


def to_csv(results: Results) -> str:
    """Every figure on a line of its own, as `compare` writes them."""
    return as_csv(_lines(results))


def _lines(results: Results) -> Iterator[Line]:
    count = results["n_prompts"]
    for model in results["models"]:
        yield Line("models", model["name"], "", "accuracy", count, model["accuracy"], *model["ci"])
    for cell in results["cells"]:
        pairs = f"{cell['how']} {cell['rate']}, {cell['clean']} clean and {cell['noisy']} noisy pairs"
        who = ("cells", cell["way"], pairs)
        yield Line(*who, "accuracy", count, cell["accuracy"], *cell["ci"])
        for name in ("gain", "cost"):
            change = cell["gain"] if name == "gain" else cell["cost"]
            if change:
                low, high = change["ci"]
                yield Line(*who, name, count, change["difference"], low, high, change["p_value"], change["p_holm"])
    for fit in results["fits"]:
        who = ("fits", fit["way"], fit["how"])
        yield Line(*who, "w", fit["cells"], fit["weight"], *(fit["weight_ci"] or ()))
        yield Line(*who, "noisy pairs for a clean one", fit["cells"], fit["worth"], *(fit["worth_ci"] or ()))
        yield Line(*who, "R2", fit["cells"], fit["r_squared"])


def sentence(fit: Fit) -> str:
    """What the fit says, in words."""
    head = f"{fit['way']}, {fit['how']}"
    if fit["weight"] is None or fit["weight_ci"] is None:
        return f"{head}: {fit['reason']}."
    if fit["worth"] is None:
        low, high = fit["weight_ci"]
        counts = f"one counts as {fit['weight']:.2f}, 95% interval {low:.2f} to {high:.2f}"
        return f"{head}: no number of noisy pairs is worth a clean one ({counts})."
    return f"{head}: a clean pair is worth {fit['worth']:.2f} noisy ones (95% interval {worth_interval(fit)})."
