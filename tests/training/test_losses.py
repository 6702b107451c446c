"""Losses against the golden file, hand-derived numbers, 40-digit arithmetic, and what is known of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, localcontext
from math import exp, log, log1p
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training import logps, losses
from training.losses import Side
from training.objectives import OBJECTIVES, Loss, needs, parameters, readers

GOLDEN = json.loads((Path(__file__).parents[1] / "assets" / "masked_losses.json").read_text())["cases"]
GOLDEN_NAMES: list[Loss] = ["dpo", "tdpo1", "tdpo2"]
NAMES = list(get_args(Loss))
golden = pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"seed{case['seed']}")
every = pytest.mark.parametrize("name", NAMES)


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sides(policy: Tensor, reference: Tensor, input_ids: Tensor, weights: Tensor) -> tuple[Side, Side]:
    """From logits [2B, T, V], ids and weights [2B, T] to the sums of both sides, as a training step does it."""
    positions = logps.shift(input_ids, weights)
    policy_logits, reference_logits = logps.select(policy, positions), logps.select(reference, positions)
    token = logps.token_logps(policy_logits, positions.targets)
    of_reference = logps.token_logps(reference_logits, positions.targets)
    kl = logps.position_kl(policy_logits, reference_logits)
    return losses.sides(positions, len(input_ids) // 2, token, of_reference, kl)


def inputs(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    labels = torch.tensor(case["labels"])
    weights = ((labels != -100) & (torch.tensor(case["loss_mask"]) == 1)).double()
    return (
        double(case["policy_logits"]).requires_grad_(),
        double(case["reference_logits"]),
        labels.clamp(min=0),
        weights,
    )


def same(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found.detach(), double(expected), rtol=0, atol=1e-9)


@golden
def test_sums_agree_with_the_golden_file(case: dict[str, Any]) -> None:
    chosen, rejected = sides(*inputs(case))
    same(torch.cat([chosen.logps, rejected.logps]), case["policy_logps"])
    assert chosen.logratios is not None and rejected.logratios is not None
    same(torch.cat([chosen.logratios, rejected.logratios]), case["logps_margin"])
    assert chosen.kl is not None and rejected.kl is not None
    same(torch.cat([chosen.kl, rejected.kl]), case["sequential_kl"])


@golden
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_preference_losses_and_gradients_agree_with_the_golden_file(case: dict[str, Any], name: Loss) -> None:
    logits, *rest = inputs(case)
    expected = case["expected"][name]
    result = losses.preference_loss(name, *sides(logits, *rest), beta=case["beta"], alpha=case["alpha"])
    same(result.losses, expected["losses"])
    same(result.chosen_rewards, expected["chosen_rewards"])
    same(result.rejected_rewards, expected["rejected_rewards"])
    (gradient,) = torch.autograd.grad(result.losses.mean(), logits)
    same(gradient.norm(), expected["grad_norm_of_mean_loss_wrt_policy_logits"])
    same(gradient.abs().sum((1, 2)), expected["grad_abs_sum_per_sequence"])


@golden
def test_sft_and_its_gradient_agree_with_the_golden_file(case: dict[str, Any]) -> None:
    logits, *rest = inputs(case)
    chosen, rejected = sides(logits, *rest)
    found = losses.sft(torch.cat([chosen.logps, rejected.logps]))
    same(found, case["expected"]["sft"]["losses"])
    (gradient,) = torch.autograd.grad(found.mean(), logits)
    same(gradient.norm(), case["expected"]["sft"]["grad_norm_of_mean_loss_wrt_policy_logits"])


# Hand-derived: m_w = 1, m_l = -1, K_w = 0.2, K_l = 0.6, log pi(y_w) = -6 on 3 tokens, log pi(y_l) = -8 on 2;
# beta = 0.5, alpha = 0.25, label_smoothing = 0.2, gamma = 0.4. With f(z) = -log sigmoid(z) = ln(1 + e^-z),
# f'(z) = -sigmoid(-z), and f(-z) = f(z) + z:
HAND = {"beta": 0.5, "alpha": 0.25, "label_smoothing": 0.2, "gamma": 0.4}
FIELDS = ("logps", "logratios", "kl", "tokens")


class Expected(NamedTuple):
    """The loss, the rewards of both sides, and the gradients by chosen and rejected field; others have none."""

    loss: float
    rewards: tuple[float, float]
    gradients: dict[str, tuple[float | None, float | None]]


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


BY_HAND = {
    # z = 0.5 * 2 = 1; f(1) = 0.31326168751822286
    "dpo": Expected(0.31326168751822286, (0.5, -0.5), {"logratios": (-0.5 * sigmoid(-1), 0.5 * sigmoid(-1))}),
    # 0.8 f(1) + 0.2 f(-1) = f(1) + 0.2; slope in z: -0.8 sigmoid(-1) + 0.2 sigmoid(1) = 0.2 - sigmoid(-1)
    "cdpo": Expected(
        0.51326168751822286, (0.5, -0.5), {"logratios": (0.5 * (0.2 - sigmoid(-1)), -0.5 * (0.2 - sigmoid(-1)))}
    ),
    # (0.8 f(1) - 0.2 f(-1)) / 0.6 = f(1) - 0.2 / 0.6; slope: (-0.8 sigmoid(-1) - 0.2 sigmoid(1)) / 0.6
    "rdpo": Expected(
        0.31326168751822286 - 1 / 3,
        (0.5, -0.5),
        {"logratios": (-0.5 * (sigmoid(-1) + 1 / 3), 0.5 * (sigmoid(-1) + 1 / 3))},
    ),
    # (2 - 1 / (2 * 0.5))^2 = 1; slope 2 (2 - 1) = 2
    "ipo": Expected(1.0, (0.5, -0.5), {"logratios": (2.0, -2.0)}),
    # z = 0.5 (-6/3 + 8/2) - 0.4 = 0.6; f(0.6) = 0.43748795...
    "simpo": Expected(
        log1p(exp(-0.6)),
        (-1.0, -2.0),
        # d z / d logps = beta / tokens; d z / d tokens = -beta logps / tokens^2
        {
            "logps": (-0.5 / 3 * sigmoid(-0.6), 0.5 / 2 * sigmoid(-0.6)),
            "tokens": (-0.5 * 6 / 9 * sigmoid(-0.6), 0.5 * 8 / 4 * sigmoid(-0.6)),
        },
    ),
    # z = 0.5 (2 - 0.4) = 0.8
    "tdpo1": Expected(
        log1p(exp(-0.8)),
        (0.6, -0.2),
        {
            "logratios": (-0.5 * sigmoid(-0.8), 0.5 * sigmoid(-0.8)),
            "kl": (-0.5 * sigmoid(-0.8), 0.5 * sigmoid(-0.8)),
        },
    ),
    # z = 0.5 (2 - 0.25 * 0.4) = 0.95; no gradient through K_w
    "tdpo2": Expected(
        log1p(exp(-0.95)),
        (0.6, -0.2),
        {
            "logratios": (-0.5 * sigmoid(-0.95), 0.5 * sigmoid(-0.95)),
            "kl": (None, 0.125 * sigmoid(-0.95)),
        },
    ),
}


def hand_sides() -> tuple[Side, Side]:
    def side(*values: float) -> Side:
        return Side(*(double([value]).requires_grad_() for value in values))

    return side(-6.0, 1.0, 0.2, 3.0), side(-8.0, -1.0, 0.6, 2.0)


@every
def test_hand_derived_losses_rewards_and_gradients(name: Loss) -> None:
    chosen, rejected = hand_sides()
    result = losses.preference_loss(name, chosen, rejected, **HAND)
    expected = BY_HAND[name]
    same(result.losses, [expected.loss])
    same(result.chosen_rewards, [expected.rewards[0]])
    same(result.rejected_rewards, [expected.rewards[1]])
    assert not result.chosen_rewards.requires_grad and not result.rejected_rewards.requires_grad
    result.losses.sum().backward()
    for field in FIELDS:
        for side, slope in zip((chosen, rejected), expected.gradients.get(field, (None, None)), strict=True):
            gradient = getattr(side, field).grad
            if slope is None:
                assert gradient is None, field
            else:
                same(gradient, [slope])


def test_an_sft_term_and_a_row_weight_by_hand() -> None:
    """0.3132617 + 0.25 * 6 / 3 = 0.8132617, times the row's weight of 4. The term reaches the chosen side alone."""
    chosen, rejected = hand_sides()
    result = losses.preference_loss("dpo", chosen, rejected, beta=0.5, sft_weight=0.25, row_weights=double([4.0]))
    same(result.losses, [4 * 0.81326168751822286])
    assert result.chosen_nll is not None
    same(result.chosen_nll, [2.0])
    result.losses.sum().backward()
    assert chosen.logps.grad is not None and rejected.logps.grad is None
    same(chosen.logps.grad, [-4 * 0.25 / 3])


def test_sft_is_the_negative_sum_times_the_row_s_weight() -> None:
    same(losses.sft(double([-1.5, 0.0])), [1.5, 0.0])
    same(losses.sft(double([-1.5, -2.0]), double([2.0, 0.5])), [3.0, 1.0])


# An implementation of its own: one pair, token by token, in decimal arithmetic of 40 digits.


class Token(NamedTuple):
    weight: float
    logp: float
    reference: float
    kl: float


def plain(name: Loss, chosen: Sequence[Token], rejected: Sequence[Token], **p: float) -> float:
    """The loss of one pair as its paper writes it."""
    with localcontext() as context:
        context.prec = 40
        d = {key: Decimal(value) for key, value in p.items()}
        beta, one = d["beta"], Decimal(1)
        sums = []
        for side in (chosen, rejected):
            w = [Decimal(token.weight) for token in side]
            log_pi = sum((a * Decimal(t.logp) for a, t in zip(w, side, strict=True)), Decimal(0))
            log_ref = sum((a * Decimal(t.reference) for a, t in zip(w, side, strict=True)), Decimal(0))
            kl = sum((a * Decimal(t.kl) for a, t in zip(w, side, strict=True)), Decimal(0))
            sums.append((log_pi, log_ref, kl, sum(w)))
        (pi_w, ref_w, k_w, n_w), (pi_l, ref_l, k_l, n_l) = sums

        def minus_log(probability: Decimal) -> Decimal:
            return -probability.ln()

        def preferred(z: Decimal) -> Decimal:
            """Bradley-Terry: the probability that an answer wins whose reward is larger by z."""
            return one / (one + (-z).exp())

        z = beta * ((pi_w - ref_w) - (pi_l - ref_l))
        if name in ("cdpo", "rdpo"):
            e = d["label_smoothing"]
            kept, flipped = minus_log(preferred(z)), minus_log(preferred(-z))
            if name == "cdpo":
                return float((one - e) * kept + e * flipped)
            return float(((one - e) * kept - e * flipped) / (one - 2 * e))
        if name == "ipo":
            return float((z / beta - one / (2 * beta)) ** 2)
        if name == "simpo":
            z = beta * (pi_w / n_w if n_w else one * 0) - beta * (pi_l / n_l if n_l else one * 0) - d["gamma"]
        if name == "tdpo1":
            z = beta * (pi_w - ref_w - pi_l + ref_l) - (beta * k_l - beta * k_w)
        if name == "tdpo2":
            z = beta * (pi_w - ref_w - pi_l + ref_l) - d["alpha"] * (beta * k_l - beta * k_w)
        return float(minus_log(preferred(z)))


LOGP = st.floats(-8, 0)
TOKENS = st.lists(
    st.builds(Token, weight=st.sampled_from([0.25, 0.5, 1.0, 2.0]), logp=LOGP, reference=LOGP, kl=st.floats(0, 3)),
    min_size=1,
    max_size=6,
)
PARAMETERS = st.fixed_dictionaries(
    {
        "beta": st.floats(0.01, 3),
        "alpha": st.floats(0, 2),
        "label_smoothing": st.floats(0, 0.45),
        "gamma": st.floats(0, 2),
    }
)


class Entries(NamedTuple):
    """`losses.Scored`: answer 0 is the chosen one, answer 1 the rejected one."""

    scored: Tensor
    answer: Tensor
    weights: Tensor


def sides_of(chosen: Sequence[Token], rejected: Sequence[Token]) -> tuple[Side, Side]:
    tokens = [*chosen, *rejected]
    answer = torch.tensor([0] * len(chosen) + [1] * len(rejected))
    batch = Entries(torch.arange(len(tokens)), answer, double([token.weight for token in tokens]))
    values = [double([token[index] for token in tokens]) for index in (1, 2, 3)]
    return losses.sides(batch, 1, *values)


@every
@given(chosen=TOKENS, rejected=TOKENS, p=PARAMETERS)
def test_losses_agree_with_decimal_arithmetic(
    name: Loss, chosen: list[Token], rejected: list[Token], p: dict[str, float]
) -> None:
    found = losses.preference_loss(name, *sides_of(chosen, rejected), **p).losses
    expected = plain(name, chosen, rejected, **p)
    torch.testing.assert_close(found, double([expected]), rtol=1e-9, atol=1e-9)


# What is known of each loss


M = st.floats(-50, 50)
EPSILON = st.floats(0.001, 0.45)
BETA = st.floats(0.01, 3)


def of_margins(name: Loss, m_w: float, m_l: float, **p: float) -> float:
    """A loss that reads log-ratios alone, of one pair."""
    side = [Side(double([0.0]), double([m])) for m in (m_w, m_l)]
    return float(losses.preference_loss(name, *side, **p).losses)


@given(M, M, BETA)
def test_turning_a_pair_round_turns_the_margin_round(m_w: float, m_l: float, beta: float) -> None:
    """DPO: f(z) - f(-z) = -z."""
    z = beta * (m_w - m_l)
    difference = of_margins("dpo", m_w, m_l, beta=beta) - of_margins("dpo", m_l, m_w, beta=beta)
    assert difference == pytest.approx(-z, rel=1e-9, abs=1e-9)


@every
@given(chosen=TOKENS, rejected=TOKENS, p=PARAMETERS)
def test_rewards_turn_round_with_the_pair(
    name: Loss, chosen: list[Token], rejected: list[Token], p: dict[str, float]
) -> None:
    there = losses.preference_loss(name, *sides_of(chosen, rejected), **p)
    back = losses.preference_loss(name, *sides_of(rejected, chosen), **p)
    torch.testing.assert_close(there.chosen_rewards, back.rejected_rewards, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(there.rejected_rewards, back.chosen_rewards, rtol=1e-12, atol=1e-12)


@given(chosen=TOKENS, rejected=TOKENS, p=PARAMETERS)
def test_the_margin_of_rewards_is_what_the_sigmoid_sees(
    chosen: list[Token], rejected: list[Token], p: dict[str, float]
) -> None:
    """-log sigmoid(reward margin) is the loss of DPO and TDPO1, and, less gamma, SimPO's."""
    pair = sides_of(chosen, rejected)
    margins: dict[Loss, float] = {"dpo": 0.0, "tdpo1": 0.0, "simpo": p["gamma"]}
    for name, gamma in margins.items():
        result = losses.preference_loss(name, *pair, **p)
        margin = result.chosen_rewards - result.rejected_rewards - gamma
        torch.testing.assert_close(result.losses, torch.log1p(torch.exp(-margin)), rtol=1e-9, atol=1e-9)


@given(good=TOKENS, bad=TOKENS, p=PARAMETERS)
def test_at_its_limits_each_loss_is_dpo(good: list[Token], bad: list[Token], p: dict[str, float]) -> None:
    chosen, rejected = sides_of(good, bad)
    dpo = losses.preference_loss("dpo", chosen, rejected, beta=p["beta"]).losses
    limits: dict[Loss, str] = {"cdpo": "label_smoothing", "rdpo": "label_smoothing", "tdpo2": "alpha"}
    for name, parameter in limits.items():
        assert torch.equal(losses.preference_loss(name, chosen, rejected, **{**p, parameter: 0.0}).losses, dpo)
    still = [side._replace(kl=torch.zeros(1, dtype=torch.float64)) for side in (chosen, rejected)]
    assert torch.equal(losses.preference_loss("tdpo1", *still, **p).losses, dpo)
    # SimPO on log-ratios of equally many tokens, with no margin
    alike = [side._replace(logps=side.logratios, tokens=double([2.0])) for side in (chosen, rejected)]
    simpo = losses.preference_loss("simpo", *alike, beta=2 * p["beta"], gamma=0.0).losses
    torch.testing.assert_close(simpo, dpo, rtol=1e-12, atol=1e-12)


@given(M, M, BETA, EPSILON)
def test_robust_dpo_is_unbiased_under_flips(m_w: float, m_l: float, beta: float, e: float) -> None:
    """Lemma of arXiv:2403.00409: the mean over labels of which a share e is flipped is DPO's loss on the right one."""
    right, wrong = (of_margins("rdpo", *m, beta=beta, label_smoothing=e) for m in ((m_w, m_l), (m_l, m_w)))
    clean = of_margins("dpo", m_w, m_l, beta=beta)
    assert (1 - e) * right + e * wrong == pytest.approx(clean, rel=1e-9, abs=1e-8 / (1 - 2 * e))


@given(M, M, BETA, EPSILON)
def test_conservative_dpo_is_dpo_plus_a_slope(m_w: float, m_l: float, beta: float, e: float) -> None:
    """f(-z) = f(z) + z, so cDPO is DPO + e z, and rDPO is DPO - e z / (1 - 2e)."""
    dpo, z = of_margins("dpo", m_w, m_l, beta=beta), beta * (m_w - m_l)
    options = {"beta": beta, "label_smoothing": e}
    assert of_margins("cdpo", m_w, m_l, **options) == pytest.approx(dpo + e * z, rel=1e-9, abs=1e-9)
    assert of_margins("rdpo", m_w, m_l, **options) == pytest.approx(dpo - e * z / (1 - 2 * e), rel=1e-9, abs=1e-8)


@given(EPSILON, BETA)
def test_conservative_dpo_is_least_where_the_model_is_as_sure_as_the_labels(e: float, beta: float) -> None:
    best = log((1 - e) / e) / beta  # sigmoid(beta m) = 1 - e
    m = double([best]).requires_grad_()
    losses.cdpo(m, double([0.0]), beta, e).sum().backward()
    assert m.grad is not None and abs(float(m.grad)) < 1e-12
    for other in (best - 0.5, best + 0.5):
        assert of_margins("cdpo", other, 0, beta=beta, label_smoothing=e) > of_margins(
            "cdpo", best, 0, beta=beta, label_smoothing=e
        )


@given(M, M, BETA)
def test_ipo_is_a_square_around_its_margin(m_w: float, m_l: float, beta: float) -> None:
    off = m_w - m_l - 1 / (2 * beta)
    mirrored = of_margins("ipo", m_w - 2 * off, m_l, beta=beta)
    assert of_margins("ipo", m_w, m_l, beta=beta) == pytest.approx(mirrored, rel=1e-6, abs=1e-6)
    assert of_margins("ipo", m_l + 1 / (2 * beta), m_l, beta=beta) == pytest.approx(0, abs=1e-20 + 1e-12 * m_l**2)


@given(M, M, BETA, st.integers(1, 50))
def test_ipo_of_token_means_is_ipo_with_a_smaller_beta(m_w: float, m_l: float, beta: float, tokens: int) -> None:
    """What the docstring says of TRL's: sides of T tokens, each divided by T, are sums at beta / T, over T^2."""
    means = of_margins("ipo", m_w / tokens, m_l / tokens, beta=beta)
    assert means == pytest.approx(of_margins("ipo", m_w, m_l, beta=beta / tokens) / tokens**2, rel=1e-9, abs=1e-9)


@given(chosen=TOKENS, rejected=TOKENS, p=PARAMETERS, times=st.sampled_from([0.5, 2.0, 4.0]))
def test_simpo_and_the_sft_term_do_not_see_how_large_weights_are(
    chosen: list[Token], rejected: list[Token], p: dict[str, float], times: float
) -> None:
    scaled = [[token._replace(weight=times * token.weight) for token in side] for side in (chosen, rejected)]
    for weight in (0.0, 0.7):
        one = losses.preference_loss("simpo", *sides_of(chosen, rejected), **p, sft_weight=weight)
        other = losses.preference_loss("simpo", *sides_of(*scaled), **p, sft_weight=weight)
        torch.testing.assert_close(one.losses, other.losses, rtol=1e-12, atol=1e-12)


STEP_0 = {name: log(2) for name in NAMES} | {"ipo": (1 / (2 * 0.1)) ** 2, "simpo": None}


@every
def test_at_step_0_policy_and_reference_agree(name: Loss) -> None:
    """ln 2 whatever the parameters; IPO is away from its margin by all of it; SimPO has no reference to agree with."""
    zero = torch.zeros(3, dtype=torch.float64)
    side = Side(double([-1.0, -20.0, -300.0]), zero, zero, double([1.0, 10.0, 100.0]))
    other = side._replace(logps=side.logps * 2)
    result = losses.preference_loss(name, side, other)
    expected = STEP_0[name]
    if expected is None:
        same(result.losses, [log1p(exp(1 - 2 * 1)), log1p(exp(1 - 2 * 2)), log1p(exp(1 - 2 * 3))])
        return
    same(result.losses, [expected] * 3)
    assert not result.chosen_rewards.any() and not result.rejected_rewards.any()


@every
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_gradcheck_through_the_whole_chain(name: Loss, sft_weight: float) -> None:
    generator = torch.Generator().manual_seed(3)
    policy = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    ids = torch.randint(3, (4, 5), generator=generator)
    weights = double([[0, 0, 1, 0.5, 1], [0, 1, 0, 0, 2], [0, 0, 0, 1, 0], [0, 1, 1, 1, 1]])

    def loss(logits: Tensor) -> Tensor:
        chosen, rejected = sides(logits, reference, ids, weights)
        # The stopped gradient of TDPO2 is no derivative: there the chosen KL is held fixed.
        fixed = chosen._replace(kl=torch.ones_like(chosen.logps)) if name == "tdpo2" else chosen
        rows = double([0.5, 3.0])
        return losses.preference_loss(name, fixed, rejected, sft_weight=sft_weight, row_weights=rows).losses

    assert torch.autograd.gradcheck(loss, (policy,))


def test_the_kl_of_tdpo2_s_chosen_side_stops_the_gradient() -> None:
    chosen, rejected = hand_sides()
    losses.preference_loss("tdpo2", chosen, rejected).losses.sum().backward()
    assert chosen.kl is not None and chosen.kl.grad is None


# The table of what each loss needs


def shared_prefix(name: Loss, cancel: bool, sft_weight: float) -> tuple[Tensor, Tensor]:
    """Loss and gradient of a pair whose first two tokens are the same on both sides, with or without these.

    Positions 0 and 1 count for both answers, 2 and 3 for the chosen one, 4 for the rejected one. The gradient is by
    log-probs and KL, [2, 5].
    """
    generator = torch.Generator().manual_seed(7)
    values = -torch.rand(3, 5, generator=generator, dtype=torch.float64)
    policy, kl = values[0].requires_grad_(), (-values[2]).requires_grad_()
    entries = [(0, 0, 0.5), (1, 0, 1.0), (2, 0, 1.0), (3, 0, 1.0), (0, 1, 0.5), (1, 1, 1.0), (4, 1, 2.0)]
    used = [entry for entry in entries if not cancel or entry[0] > 1]
    scored, answer, weights = zip(*used, strict=True)
    batch = Entries(torch.tensor(scored), torch.tensor(answer), double(weights))
    chosen, rejected = losses.sides(batch, 1, policy, values[1], kl)
    loss = losses.preference_loss(name, chosen, rejected, sft_weight=sft_weight).losses
    gradients = torch.autograd.grad(loss.sum(), (policy, kl), allow_unused=True, materialize_grads=True)
    return loss.detach(), torch.stack(gradients)


@every
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_shared_positions_cancel_exactly_where_the_table_says_so(name: Loss, sft_weight: float) -> None:
    whole, tails = shared_prefix(name, False, sft_weight), shared_prefix(name, True, sft_weight)
    alike = [torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(whole, tails, strict=True)]
    assert all(alike) == needs(name, sft_weight).cancels
    if name == "tdpo2" and not sft_weight:
        assert alike == [True, False]  # in value, and not in gradient


@every
def test_a_loss_reads_what_the_table_says_and_nothing_else(name: Loss) -> None:
    pair, objective = hand_sides(), OBJECTIVES[name]
    read = {"kl": objective.kl, "logratios": objective.reference, "tokens": name == "simpo"}
    for field, is_read in read.items():
        without = [side._replace(**{field: None}) for side in pair]
        if is_read:
            with pytest.raises(AssertionError, match=f"{name} needs the {field} of both sides"):
                losses.preference_loss(name, *without)
        else:
            assert torch.equal(
                losses.preference_loss(name, *without).losses, losses.preference_loss(name, *pair).losses
            )


@every
def test_a_loss_reads_the_parameters_that_the_table_names_and_no_others(name: Loss) -> None:
    pair = hand_sides()
    before = losses.preference_loss(name, *pair).losses
    for parameter in (*HAND, "sft_weight"):
        changed = losses.preference_loss(name, *pair, **{parameter: 0.37}).losses
        assert torch.equal(changed, before) == (parameter not in parameters(name))
        assert (name in readers(parameter)) == (parameter in parameters(name))
    assert torch.equal(losses.preference_loss(name, *pair, **OBJECTIVES[name].defaults).losses, before)


def test_the_table_has_every_loss_once() -> None:
    assert list(OBJECTIVES) == NAMES
    assert parameters("sft") == ()


# Rows and sides that weigh nothing


@every
def test_a_row_s_weight_multiplies_its_loss_and_nothing_else(name: Loss) -> None:
    chosen, rejected = (Side(*(torch.cat([part] * 3) for part in side)) for side in hand_sides())
    plain_result = losses.preference_loss(name, chosen, rejected, sft_weight=0.3)
    weighted = losses.preference_loss(name, chosen, rejected, sft_weight=0.3, row_weights=double([0.0, 1.0, 2.5]))
    same(weighted.losses, (plain_result.losses * double([0.0, 1.0, 2.5])).tolist())
    assert torch.equal(weighted.chosen_rewards, plain_result.chosen_rewards)
    assert torch.equal(weighted.rejected_rewards, plain_result.rejected_rewards)


@every
def test_a_side_without_weight_has_sums_of_zero_and_no_nan(name: Loss) -> None:
    """One-sided masks: the chosen answer carries no weight, and its mean over no tokens is 0."""
    policy = double([-0.5, -1.5]).requires_grad_()
    batch = Entries(torch.tensor([0, 1]), torch.tensor([1, 1]), double([1.0, 1.0]))
    kl = double([0.1, 0.2])
    chosen, rejected = losses.sides(batch, 1, policy, double([-1.0, -1.0]), kl)
    assert [part.tolist() for part in chosen if part is not None] == [[0.0]] * 4
    result = losses.preference_loss(name, chosen, rejected, sft_weight=0.5)
    result.losses.sum().backward()
    assert policy.grad is not None and policy.grad.isfinite().all() and result.losses.isfinite().all()
    assert float(result.chosen_rewards) == 0.0


def test_sides_leave_out_what_is_not_there() -> None:
    batch = Entries(torch.tensor([0, 1]), torch.tensor([0, 1]), double([2.0, 0.5]))
    chosen, rejected = losses.sides(batch, 1, double([-1.0, -4.0]))
    assert chosen.logratios is None and chosen.kl is None
    assert chosen.tokens is not None and rejected.tokens is not None
    same(torch.cat([chosen.logps, rejected.logps]), [-2.0, -2.0])
    same(torch.cat([chosen.tokens, rejected.tokens]), [2.0, 0.5])


def test_weights_of_one_are_plain_dpo() -> None:
    """An implementation of DPO's equation 7 with loops: prompt of 2 tokens, answers to the end."""
    generator = torch.Generator().manual_seed(5)
    policy, reference = torch.randn(2, 6, 7, 9, generator=generator, dtype=torch.float64)
    ids = torch.randint(9, (6, 7), generator=generator)

    def log_ratio(row: int) -> Tensor:
        total = double(0.0)
        for t in range(2, 7):
            token = ids[row, t]
            total += (
                torch.log_softmax(policy[row, t - 1], 0)[token] - torch.log_softmax(reference[row, t - 1], 0)[token]
            )
        return total

    plain = [-torch.log(torch.sigmoid(0.1 * (log_ratio(pair) - log_ratio(pair + 3)))) for pair in range(3)]
    weights = double([[0, 0, 1, 1, 1, 1, 1]] * 6)
    result = losses.preference_loss("dpo", *sides(policy, reference, ids, weights), beta=0.1)
    torch.testing.assert_close(result.losses, torch.stack(plain), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("rdpo", "cdpo", "ipo")])
def test_extreme_margins_stay_finite(name: Loss) -> None:
    m = torch.tensor([1e5, -1e5], requires_grad=True)
    side, other = (Side(value, value, torch.zeros(2), torch.ones(2)) for value in (m, -m))
    result = losses.preference_loss(name, side, other, beta=1.0, gamma=0.0)
    result.losses.sum().backward()
    assert result.losses.tolist() == [0.0, 2e5]
    assert m.grad is not None and m.grad.tolist() == [0.0, -2.0]


def test_extreme_margins_of_the_losses_with_flipped_labels_are_straight_lines() -> None:
    """cDPO: e z and (1 - e) |z|; rDPO: -e z / (1 - 2e) and (1 - e) |z| / (1 - 2e), with z = +-2e5 and e = 0.25."""
    m = double([1e5, -1e5])
    side, other = Side(m, m), Side(-m, -m)
    options = {"beta": 1.0, "label_smoothing": 0.25}
    same(losses.preference_loss("cdpo", side, other, **options).losses, [0.5e5, 1.5e5])
    same(losses.preference_loss("rdpo", side, other, **options).losses, [-1e5, 3e5])


def test_metrics_have_the_names_of_the_field() -> None:
    chosen = Side(double([-2.0, -4.0]), double([1.0, 1.0]), double([0.5, 0.1]))
    rejected = Side(double([-1.0, -3.0]), double([0.0, 1.0]), double([0.2, 0.4]))
    found = losses.metrics(losses.preference_loss("dpo", chosen, rejected, beta=2.0), chosen, rejected)
    assert found == pytest.approx(
        {
            "loss": (log1p(exp(-2)) + log1p(1)) / 2,
            "rewards/chosen": 2.0,
            "rewards/rejected": 1.0,
            "rewards/margins": 1.0,
            "rewards/accuracies": 0.5,  # a tie is no win
            "logps/chosen": -3.0,
            "logps/rejected": -2.0,
            "kl/chosen": 0.3,
            "kl/rejected": 0.3,
        }
    )


def test_metrics_leave_out_a_kl_that_was_not_computed() -> None:
    side = Side(torch.zeros(2), torch.zeros(2))
    found = losses.metrics(losses.preference_loss("dpo", side, side), side, side)
    assert not any(name.startswith("kl/") for name in found)


def test_metrics_show_the_sft_term_and_the_weighted_loss() -> None:
    chosen, rejected = hand_sides()
    result = losses.preference_loss("dpo", chosen, rejected, beta=0.5, sft_weight=0.25, row_weights=double([4.0]))
    found = losses.metrics(result, chosen, rejected)
    assert found["nll/chosen"] == 2.0
    assert found["loss"] == pytest.approx(4 * 0.81326168751822286)
    assert found["rewards/margins"] == 1.0


def test_a_loss_without_reference_has_metrics_too() -> None:
    chosen, rejected = (Side(logps=double([value]), tokens=double([2.0])) for value in (-2.0, -8.0))
    found = losses.metrics(losses.preference_loss("simpo", chosen, rejected), chosen, rejected)
    assert found["rewards/margins"] == pytest.approx(2 * (-1 + 4))
