"""What the training benchmark compares, and the ratios it is held to: data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.training_workload import Case

SMALL, MIDDLE, LARGE = 1_024, 32_768, 131_072
TRL_STEPS = 2
GROWTH_KEY = "memory_growth_512_to_4096_tokens"


@dataclass(frozen=True)
class Comparison:
    """Two sides that do the same work.

    Attributes:
        ours: Kintsugi as it trains when nothing is set: `reference: auto` caches what the reference says.
        theirs: what it is compared with.
        speed: the key of their seconds a step over ours; without one the comparison is only in the list.
        memory: the key of our memory over theirs.
        also: measured in the same turns, for the list.
    """

    ours: Case
    theirs: Case
    speed: str = ""
    memory: str = ""
    also: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A way of running TRL, and whether it does what we do: all pairs of a step at once, in fp32."""

    name: str
    case: Case
    comparable: bool = True


@dataclass(frozen=True)
class Target:
    key: str
    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def told(self, value: float | None) -> str:
        sign = ">=" if self.at_least else "<="
        words = "   ---" if value is None else "   met" if self.met(value) else "MISSED"
        figure = "not measured" if value is None else f"{value:.3f}"
        return f"{words}: {self.key:<34} {figure:>12}  {sign} {self.limit:.3f}"


TARGETS = (
    Target("granular_tdpo2_vs_naive_speed", 8, at_least=True),
    Target("granular_tdpo2_vs_naive_memory", 1 / 6, at_least=False),
    Target("response_tdpo2_vs_naive_speed", 2.5, at_least=True),
    Target("response_tdpo2_vs_naive_memory", 1 / 3, at_least=False),
    Target("dpo_vs_trl_speed", 2.2, at_least=True),
    Target("dpo_vs_trl_memory", 0.4, at_least=False),
    Target("dpo_vs_trl_speed_shared", 6, at_least=True),
    Target(GROWTH_KEY, 1.3, at_least=False),
)
"""From the design. Speeds are seconds a step of the other side over ours, memory is ours over the other's."""


def _trl(name: str, comparable: bool = True, reference: Any = "cached", **settings: Any) -> Setting:
    return Setting(name, Case("trl", "dpo", reference=reference, steps=TRL_STEPS, settings=settings), comparable)


TRL_SETTINGS = (
    _trl("log-probabilities of the reference computed before"),
    _trl("reference in every step", reference="live"),
    _trl("gradient checkpointing (its default)", gradient_checkpointing=True),
    _trl("padding_free (it says that it falls back)", padding_free=True),
    _trl("use_liger_kernel (wants Triton, so a GPU)", use_liger_kernel=True),
    _trl("torch_compile", torch_compile=True),
    _trl("two pairs at once, twice", False, per_device_train_batch_size=2, gradient_accumulation_steps=2),
    _trl("one pair at once, four times", False, per_device_train_batch_size=1, gradient_accumulation_steps=4),
    _trl("bf16 (its default)", False, bf16=True),
)
"""TRL on the workload of the target. The first is where the search starts."""


def tdpo2(vocabulary: int, weights: Any, shared: float, speed: str = "", memory: str = "") -> Comparison:
    """Against the plain way; ours also with the reference in every step, as the plain way has it."""
    work: dict[str, Any] = {"weights": weights, "shared": shared, "vocabulary": vocabulary}
    ours, live = (Case("kintsugi", "tdpo2", reference=how, steps=5, **work) for how in ("cached", "live"))
    return Comparison(ours, Case("naive", "tdpo2", **work), speed, memory, also=(live,))


def dpo(vocabulary: int, shared: float, trl: Setting, speed: str = "", memory: str = "") -> Comparison:
    """Against TRL as it is fastest."""
    ours = Case("kintsugi", "dpo", reference="cached", shared=shared, vocabulary=vocabulary, steps=5)
    return Comparison(ours, replace(trl.case, shared=shared, vocabulary=vocabulary, steps=3), speed, memory)


def comparisons(trl: Setting) -> tuple[Comparison, ...]:
    """All of them, those with targets first."""
    return (
        tdpo2(MIDDLE, "granular", 0.0, "granular_tdpo2_vs_naive_speed", "granular_tdpo2_vs_naive_memory"),
        tdpo2(MIDDLE, "response", 0.75, "response_tdpo2_vs_naive_speed", "response_tdpo2_vs_naive_memory"),
        dpo(MIDDLE, 0.0, trl, "dpo_vs_trl_speed", "dpo_vs_trl_memory"),
        dpo(MIDDLE, 0.75, trl, "dpo_vs_trl_speed_shared", "dpo_vs_trl_memory_shared"),
        tdpo2(MIDDLE, "scattered", 0.0, "scattered_tdpo2_vs_naive_speed", "scattered_tdpo2_vs_naive_memory"),
        tdpo2(MIDDLE, "granular", 0.75),
        tdpo2(MIDDLE, "response", 0.0),
        *(tdpo2(size, weights, shared) for size in (SMALL, LARGE) for weights, shared in _CORNERS),
        *(dpo(size, shared, trl) for size in (SMALL, LARGE) for shared in (0.0, 0.75)),
    )


_CORNERS = (("granular", 0.0), ("response", 0.75))

GROWTH = (
    Case("kintsugi", "tdpo2", reference="cached", pairs=8, prompt=128, response=384),
    Case("kintsugi", "tdpo2", reference="cached", pairs=1, prompt=128, response=3_968),
)
"""Answers of 512 and of 4,096 tokens with their prompts, 8,192 tokens in a step of either."""


def quick() -> tuple[tuple[Comparison, ...], tuple[Case, Case]]:
    """The comparisons with targets and the cases of growth, in tiny."""
    chosen = comparisons(TRL_SETTINGS[0])[:4]
    tiny = [replace(one, ours=_tiny(one.ours), theirs=_tiny(one.theirs), also=()) for one in chosen]
    return tuple(tiny), (_tiny(GROWTH[0]), _tiny(replace(GROWTH[1], response=304)))


def _tiny(case: Case) -> Case:
    response = 24 if case.response == 384 else case.response
    tiny = replace(case, vocabulary=512, prompt=16, response=response, hidden=32, layers=2, heads=2, steps=2)
    return replace(tiny, pairs=2) if case.pairs == 4 else tiny
