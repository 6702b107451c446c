"""PairRM: a DeBERTa-v3 that reads a prompt with two answers to it and says which is better.

Jiang, Ren and Lin, "LLM-Blender: Ensembling Large Language Models with Pairwise Ranking and Generative Fusion",
ACL 2023, section 3. The layout is that of the published checkpoint `llm-blender/PairRM-hf`: an encoder
`pretrained_model`, a head over the hidden states at the prompt's and a candidate's marker, and the markers' ids in the
config. Transformers alone loads it.

Shapes: B pairs, T tokens, H hidden size, N tasks of the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, PreTrainedTokenizerFast
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Model, DebertaV2PreTrainedModel

from pipeline.failures import UserError

SOURCE, FIRST, SECOND = "<|source|>", "<|candidate1|>", "<|candidate2|>"
MARKERS = {"source_prefix_id": SOURCE, "cand1_prefix_id": FIRST, "cand2_prefix_id": SECOND}
"""The field of the config that holds the id of each marker."""

SOURCE_TOKENS, CANDIDATE_TOKENS = 1224, 412
"""Limits of the published model (its card: source 1224, candidate 412, together 2048). What a short prompt leaves over
goes to the candidates, half each."""
TOTAL_TOKENS = SOURCE_TOKENS + 2 * CANDIDATE_TOKENS


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and the two answers to it."""

    prompt: str
    a: str
    b: str


class PairRanker(DebertaV2PreTrainedModel):
    """The network. Positive where the first candidate is better."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = nn.Sequential(
            nn.Dropout(config.drop_out),
            nn.Linear(2 * size, size),
            nn.Tanh(),
            nn.Dropout(config.drop_out),
            nn.Linear(size, config.n_tasks),
        )
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits [B] in float32 for ids and mask [B, T]: the head at (source, first) less (source, second), the mean
        over its N tasks. Each marker occurs once in each row."""
        hidden = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        source, first, second = (
            hidden[input_ids == getattr(self.config, field)].view(len(input_ids), -1) for field in MARKERS
        )
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        return (left - right).float().mean(dim=-1)


class Encoder:
    """Pairs as token ids. What a text says of markers or other added tokens is left out of it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.added = set(tokenizer.get_added_vocab().values()) - {tokenizer.unk_token_id}

    def ids(self, pair: Pair) -> list[int]:
        """The ids of prompt, first and second candidate, each as `[CLS] marker text [SEP]`, TOTAL_TOKENS at most."""
        source = self._part(SOURCE, pair.prompt, SOURCE_TOKENS)
        most = (TOTAL_TOKENS - len(source)) // 2
        return source + self._part(FIRST, pair.a, most) + self._part(SECOND, pair.b, most)

    def _part(self, marker: str, text: str, most: int) -> list[int]:
        ids: list[int] = self.tokenizer.encode(marker + text, max_length=most, truncation=True)
        return [*ids[:2], *(one for one in ids[2:-1] if one not in self.added), ids[-1]]

    def batch(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, T], padded on the right; T is the longest."""
        rows = [self.ids(pair) for pair in pairs]
        longest = max(map(len, rows))
        padding = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask


class LoadedRanker:
    """A ranker that is loaded."""

    def __init__(self, model: PairRanker, tokenizer: PreTrainedTokenizerFast, device: str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.encoder = Encoder(tokenizer)
        self.device = device

    @classmethod
    def load(cls, model: str | Path, device: str = "cpu") -> LoadedRanker:
        """Load a directory or a Hugging Face name (`OWNER/NAME@REVISION`). Only safetensors, no code of the model's.

        Raises the errors of `opened`, and a config error where the weights are not all there.
        """
        config, tokenizer = opened(model)
        place, revision = _place(model)
        with _explained(model):
            network, told = PairRanker.from_pretrained(
                place,
                revision=revision,
                config=config,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        lacking = sorted({*told["missing_keys"], *map(str, told["mismatched_keys"])})
        if lacking:
            what = f"this is no pair ranker: its weights lack {lacking[0]} and {len(lacking) - 1} more."
            raise UserError("config", what, str(model), HINT)
        return cls(network, tokenizer, device)

    @torch.inference_mode()
    def logits(self, pairs: Sequence[Pair]) -> list[float]:
        """How much better the first answer of each pair is, in the order given."""
        if not pairs:
            return []
        ids, mask = (tensor.to(self.device) for tensor in self.encoder.batch(pairs))
        found: list[float] = self.model(ids, mask).tolist()
        return found

    def both_orders(self, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
        """For each pair how much better `a` is by the order (a, b), and by the order (b, a)."""
        swapped = [Pair(pair.prompt, pair.b, pair.a) for pair in pairs]
        return [(one, -other) for one, other in zip(self.logits(pairs), self.logits(swapped), strict=True)]

    def scores(self, pairs: Sequence[Pair]) -> list[float]:
        """The mean over both orders: that of (a, b) is minus that of (b, a)."""
        return [(one + other) / 2 for one, other in self.both_orders(pairs)]


HINT = "Name a checkpoint laid out like llm-blender/PairRM-hf, with model.safetensors and tokenizer.json."


def opened(model: str | Path) -> tuple[DebertaV2Config, PreTrainedTokenizerFast]:
    """The config and the tokenizer of a ranker; no weights are read.

    Raises a config error where it is another kind of model, an environment error where it cannot be fetched.
    """
    with _explained(model):
        name, revision = _place(model)
        config = DebertaV2Config.from_pretrained(name, revision=revision)
        # As tokenizer.json has it: the class that the checkpoint names builds a normalizer of its own.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(name, revision=revision, trust_remote_code=False)
    missing = [field for field in ("n_tasks", "drop_out", *MARKERS) if not hasattr(config, field)]
    if missing:
        raise UserError("config", f"this is no pair ranker: its config has no '{missing[0]}'.", str(model), HINT)
    for field, marker in MARKERS.items():
        if tokenizer.encode(marker) != [tokenizer.cls_token_id, getattr(config, field), tokenizer.sep_token_id]:
            what = f"the tokenizer does not read {marker} as one token with the id that the config names."
            raise UserError("config", what, str(model), HINT)
    return config, tokenizer


def _place(model: str | Path) -> tuple[str, str]:
    """A directory, or a Hugging Face name and a revision of it."""
    if Path(model).is_dir():
        return str(model), "main"
    name, _, revision = str(model).partition("@")
    return name, revision or "main"


@contextmanager
def _explained(model: str | Path) -> Iterator[None]:
    """Turn what transformers raises about files into a user's error."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        what = f"no pair ranker can be loaded: {reason}"
        raise UserError("config" if Path(model).is_dir() else "environment", what, str(model), HINT) from error
