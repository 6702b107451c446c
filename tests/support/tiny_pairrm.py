"""A random checkpoint of PairRM's architecture, laid out like the published one, small enough to run in a test."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import DebertaV2Config, PreTrainedTokenizerFast

from eval.scorers.pairrm import PairRanker

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
ADDED = ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"]


def save_tiny_pairrm(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write config, safetensors weights and tokenizer to `folder`, and give it back."""
    tokenizer = build_tokenizer(texts)
    tokenizer.save_pretrained(folder)
    _name_class(folder / "tokenizer_config.json")
    torch.manual_seed(seed)
    network = PairRanker(config_of(tokenizer))
    # Random weights as they are made are so small that all scores look alike.
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.mul_(10)
    network.save_pretrained(folder)
    return folder


def _name_class(file: Path) -> None:
    """Name the tokenizer's class as the published files do."""
    config = {**json.loads(file.read_text()), "tokenizer_class": "DebertaV2Tokenizer", "vocab_type": "spm"}
    file.write_text(json.dumps({**config, "do_lower_case": False, "split_by_punct": False}))


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Unigram with `[CLS] text [SEP]`, and the markers as added tokens that are not special, as published."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False, right=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names)
    fast.add_tokens([AddedToken(name, normalized=True) for name in ADDED])
    return fast


def config_of(tokenizer: PreTrainedTokenizerFast) -> DebertaV2Config:
    """What makes a DeBERTa v3 of a DebertaV2Model, at its smallest, and what PairRM adds."""
    source, first, second, candidate = tokenizer.convert_tokens_to_ids(ADDED)
    return DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        n_tasks=1,
        drop_out=0.05,
        sep_token_id=tokenizer.sep_token_id,
        source_prefix_id=source,
        cand_prefix_id=candidate,
        cand1_prefix_id=first,
        cand2_prefix_id=second,
    )
