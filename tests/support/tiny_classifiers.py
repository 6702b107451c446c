"""Random sequence classifiers, small enough to run in a test: one of the architecture of Detoxify's checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

DETOXIFY = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""The outputs of unitary/toxic-bert, in the order of its config."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_tiny_classifier(
    folder: Path, texts: Sequence[str], names: Sequence[str] = DETOXIFY, *, sigmoid: bool = True, seed: int = 0
) -> Path:
    """Write a BERT classifier with these classes, its weights as safetensors and its tokenizer, and give the folder."""
    tokenizer = _tokenizer(texts)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(names)),
        label2id={name: place for place, name in enumerate(names)},
        problem_type="multi_label_classification" if sigmoid else "single_label_classification",
    )
    torch.manual_seed(seed)
    network = BertForSequenceClassification(config)
    # Random weights as they are made are so small that all texts look alike.
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.mul_(10)
    network.save_pretrained(folder)
    return folder


def _tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    ids = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
