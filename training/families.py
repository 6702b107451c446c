"""What can be done with a family of models: found out by trying, at the start of every run.

Two things are taken for granted that a family may do differently: that logits are the last layer's product with the
trunk's hidden states, and that two answers can share a row, by our attention or by a 4-D mask. Both are tried on a tiny
batch and compared with the model's own logits on plain rows. What does not hold is not used.

How much two ways of computing the same may differ depends on the precision, the depth and the weights. So the measure
for shared prefixes is what a wrong layout does, in which tails see each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.failures import UserError
from training.attention import layout
from training.batches import Batch, collate, collate_pairs, on
from training.scoring import Scorer, Scores
from training.tokens import Example, PairExample

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.bfloat16: 0.1}
"""How far log-probabilities may differ from those of the model's own logits."""
OF_WRONG = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far they may in shared rows, as a share of what a wrong layout makes of them (means over tokens)."""
LEAK_OF_WRONG = 1e-3
"""How far rejected answers' may where chosen tails change, as such a share: masked attention gives exactly 0."""


class Family(NamedTuple):
    """What a model allows, and of what does not hold, why.

    Attributes:
        chunked: whether its last layer can be applied apart from it.
        shared: whether the answers of a pair can share a row.
        packed: whether all answers can.
        notes: reasons against either.
    """

    chunked: bool
    shared: bool
    packed: bool = False
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """For the manifest of a run."""
        layout = {
            "head": "chunked" if self.chunked else "full",
            "prefixes": "shared" if self.shared else "repeated",
            "padding": "none" if self.packed else "to the longest",
        }
        return layout | ({"layout_notes": list(self.notes)} if self.notes else {})


def probe(scorer: Scorer, tokens: int = 1, run: Callable[[Batch], Scores] | None = None) -> Family:
    """Try a model, and set `scorer.plain` and `scorer.masks` to what is right for it. All ranks call this.

    Args:
        scorer: the model, in any mode.
        tokens: those of the longest example of the run.
        run: what runs the scorer, such as an engine that wraps it; by default the scorer itself.

    Raises:
        UserError: the model cannot take as many tokens.
    """
    score = run or scorer
    trains = scorer.training
    scorer.eval()
    try:
        with torch.no_grad():
            _check_length(score, scorer, tokens)
            return _tried(score, scorer, tokens)
    finally:
        scorer.train(trains)


def longest(examples: Sequence[Example] | Sequence[PairExample]) -> int:
    """Tokens of the longest answer with its prompt."""
    sides = [(row.chosen, row.rejected) if isinstance(row, PairExample) else (row,) for row in examples]
    return max(len(side.input_ids) for row in sides for side in row)


def _tried(score: Callable[[Batch], Scores], scorer: Scorer, tokens: int) -> Family:
    device, dtype, config = scorer.head.weight.device, scorer.head.weight.dtype, scorer.model.config.get_text_config()
    plain = on(collate_pairs(_pairs(config.vocab_size), 0, share=False), device)
    scorer.plain = True
    expected = _entries(score, plain)
    scorer.plain = False
    found = _attempt(score, plain)
    if isinstance(found, str) or (found - expected).abs().max() > TOLERANCE[dtype]:
        scorer.plain = True
        why = found if isinstance(found, str) else "its logits are no product of its last hidden states"
        return Family(False, False, notes=(f"full logits: {why}",))
    why_not = ""
    for masks in sorted({scorer.masks, True}):
        scorer.masks = masks
        why_not = _why_not_shared(score, scorer, _window(config, tokens), OF_WRONG[dtype])
        if not why_not:
            return Family(True, True, packed=not masks)
    return Family(True, False, notes=(f"no shared prefixes: {why_not}",))


def _why_not_shared(score: Callable[[Batch], Scores], scorer: Scorer, window: int, share: float) -> str:
    """What is wrong with answers that share rows, some with more tokens than a window has; empty where nothing is."""
    device, vocabulary, pack = (
        scorer.head.weight.device,
        scorer.model.config.get_text_config().vocab_size,
        not scorer.masks,
    )
    pairs, others = _pairs(vocabulary, window), _pairs(vocabulary, window, other_chosen=True)
    batch, changed = (on(collate_pairs(both, 0, pack=pack), device) for both in (pairs, others))
    expected = _entries(score, on(collate_pairs(pairs, 0, share=False), device))
    found = _attempt(score, batch)
    if isinstance(found, str):
        return found
    wrong = (_entries(score, on(_seeing_each_other(pairs), device)) - expected).abs().mean()
    rounding = 2 * torch.finfo(torch.float32).eps * expected.abs().max()
    if (found - expected).abs().mean() > share * wrong + rounding:
        return "its attention follows neither ours nor a mask"
    if (found - _entries(score, changed))[batch.answer >= len(pairs)].abs().mean() > LEAK_OF_WRONG * wrong:
        return "one answer leaks into the other"
    return ""


def _seeing_each_other(pairs: Sequence[PairExample]) -> Batch:
    """These pairs in a wrong layout, which is right but for this: tails see those before them."""
    batch = collate_pairs(pairs, 0)
    assert batch.layout is not None and batch.layout.branches is not None
    one_branch = batch.layout.branches.clamp(max=0)
    rows, longest = one_branch.shape
    lengths = batch.attention_mask.sum(1).tolist()
    wrong = layout([[0] * length for length in lengths], range(0, rows * longest, longest), rows * longest)
    return batch._replace(layout=wrong._replace(branches=one_branch))


def _entries(score: Callable[[Batch], Scores], batch: Batch) -> Tensor:
    return score(batch).logps[batch.scored]


def _attempt(score: Callable[[Batch], Scores], batch: Batch) -> Tensor | str:
    """What comes of a batch, or the error that does; models fail on what they do not know in any way they like."""
    try:
        return _entries(score, batch)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _check_length(score: Callable[[Batch], Scores], scorer: Scorer, tokens: int) -> None:
    """Refuse rows for which a model has no positions, which it would say in the middle of the run, and in riddles."""
    config = scorer.model.config.get_text_config()
    known = getattr(config, "max_position_embeddings", None)
    if known is None or tokens - 1 <= known:  # The last token is predicted, not run.
        return
    ids = (1,) * tokens
    row = on(collate([Example("longest", ids, (*[0.0] * (tokens - 1), 1.0), 1)], 0), scorer.head.weight.device)
    try:
        score(row)
    except (IndexError, RuntimeError):
        what = f"rows have up to {tokens} tokens, and the model has positions for {known}."
        raise UserError("config", what, "max_length", f"Set max_length to {known} or less.") from None


def _window(config: Any, tokens: int) -> int:
    """How far layers look back that do not look back to the start, where rows of a run go beyond; else 0.

    Two answers of so many `tokens` make a row of at most twice as many, and some families count places in it.
    """
    sizes = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "window_size")]
    window = min((size for size in sizes if isinstance(size, int)), default=2 * tokens)
    return window if window < 2 * tokens else 0


def _pairs(vocabulary: int, window: int = 0, other_chosen: bool = False) -> list[PairExample]:
    """Three pairs of other lengths, so that rows are padded: random tokens, which leave nothing to guess.

    One prompt is long enough for the last layer to leave it out (`training.last_layer`).

    Args:
        vocabulary: how many tokens there are.
        window: tokens more in the prompt of the last pair.
        other_chosen: whether to have other tokens where the chosen answers have parted from the rejected ones.
    """
    draw = random.Random(0)

    def words(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(1, vocabulary) for _ in range(count))

    def answer(ids: tuple[int, ...], prompt: int) -> Example:
        return Example("probe", ids, (*[0.0] * prompt, *[1.0] * (len(ids) - prompt)), prompt)

    pairs = []
    for prompt, common, size, other in ((12, 0, 6, 2), (2, 3, 3, 5), (2 + window, 5, 1, 4)):
        start, firsts = words(prompt + common), draw.sample(range(1, vocabulary), 3)
        tails = [(first, *words(length)) for first, length in zip(firsts, (size, other, size), strict=True)]
        chosen = tails[2] if other_chosen else tails[0]
        pairs.append(PairExample("probe", answer(start + chosen, prompt), answer(start + tails[1], prompt)))
    return pairs
