"""Which preference losses there are, what each reads and what it needs: data, for configs, sweeps and training alike.

The losses themselves are in `training.losses`; docs/losses.md has them in one table. Nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Loss = Literal["dpo", "cdpo", "rdpo", "ipo", "simpo", "tdpo1", "tdpo2"]


class Objective(NamedTuple):
    """What a preference loss reads and needs.

    Attributes:
        defaults: the parameters it reads, each with its default.
        reference: whether it compares with what the reference model says.
        kl: whether it reads KL(reference || policy) of both sides.
        cancels: whether positions that both sides share with equal weights drop out of its value and its gradient, so
            that they need not be computed.
    """

    defaults: dict[str, float]
    reference: bool = True
    kl: bool = False
    cancels: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every parameter that it reads. An SFT term may be added to any loss."""
        return (*self.defaults, "sft_weight")


OBJECTIVES: dict[Loss, Objective] = {
    "dpo": Objective({"beta": 0.1}),
    "cdpo": Objective({"beta": 0.1, "label_smoothing": 0.1}),
    "rdpo": Objective({"beta": 0.1, "label_smoothing": 0.1}),
    "ipo": Objective({"beta": 0.1}),
    "simpo": Objective({"beta": 2.0, "gamma": 1.0}, reference=False, cancels=False),
    "tdpo1": Objective({"beta": 0.1}, kl=True),
    "tdpo2": Objective({"beta": 0.1, "alpha": 0.5}, kl=True, cancels=False),
}
"""Every loss. SimPO's defaults are where its authors say to start (beta 2, gamma / beta 0.5).

Shared positions stay in SimPO, whose sides are divided by lengths of their own. In TDPO2 they cancel in value but not
in gradient, which stops at the chosen side's KL alone.
"""


def needs(loss: Loss, sft_weight: float = 0.0) -> Objective:
    """What a loss needs. With an SFT term nothing cancels: it looks at every weighted token of the chosen answer."""
    objective = OBJECTIVES[loss]
    return objective._replace(cancels=False) if sft_weight else objective


def parameters(loss: str) -> tuple[str, ...]:
    """The parameters that a loss reads; none where there is no such loss."""
    return next((objective.parameters for known, objective in OBJECTIVES.items() if known == loss), ())


def readers(parameter: str) -> list[str]:
    """The losses that read a parameter."""
    return [loss for loss, objective in OBJECTIVES.items() if parameter in objective.parameters]
