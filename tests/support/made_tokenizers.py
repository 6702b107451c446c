"""Tokenizers of the kinds that models come with, trained on given texts in a second or two."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BYTES = [f"<0x{value:02X}>" for value in range(256)]
SPACE = "▁"


def byte_level(texts: Sequence[str], entries: int, prefix: bool = False, trim: bool = False) -> Any:
    """As GPT-2's; with `prefix` and `trim` as RoBERTa's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=entries, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def sentencepiece_bpe(texts: Sequence[str], entries: int, prefix: bool = True) -> Any:
    """As Llama 2's, with byte fallback; without `prefix` as Gemma's."""
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    spaces = normalizers.Replace(" ", SPACE)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefix else spaces
    backend.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=entries, special_tokens=["<unk>", *BYTES], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def unigram(texts: Sequence[str], entries: int, prefix: bool = True, fallback: bool = True) -> Any:
    """As T5's and ALBERT's, but with nothing normalised; without `fallback` unknown characters become `<unk>`."""
    learner = Tokenizer(models.Unigram())
    scheme = "always" if prefix else "never"
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(
        vocab_size=entries, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    learned = sorted(learner.get_vocab(), key=lambda token: learner.token_to_id(token))
    scores = [(token, -float(rank)) for rank, token in enumerate(learned) if token not in BYTES]
    scores += [(token, -1e4) for token in BYTES if fallback]
    backend = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=fallback))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Sequence(
        [decoders.Metaspace(prepend_scheme=scheme), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def wordpiece(texts: Sequence[str], entries: int) -> Any:
    """As BERT's: lower case, white space gone."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=entries, special_tokens=["[UNK]"], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def normalising(tokenizer: Any, *steps: Any) -> Any:
    """A copy of a tokenizer that normalises its text first."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    before = [*steps, *([backend.normalizer] if backend.normalizer else [])]
    backend.normalizer = normalizers.Sequence(before)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=tokenizer.unk_token)
