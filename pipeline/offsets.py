"""Which characters each token of a response stands for, and which tokens a span so selects. Pure: no torch.

The response is tokenised alone. Offsets and spans are half-open and count Unicode code points of the response.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from pipeline.chat import Tokenizer
from pipeline.failures import UserError
from pipeline.spans import Span

Offset = tuple[int, int]
METASPACE = "▁"
"""What a sentencepiece token has for a space."""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""A sentencepiece token for one byte of a character that has no token of its own."""


def encode_response(tokenizer: Tokenizer, response: str) -> tuple[list[int], list[Offset]]:
    """The ids of a response on its own, without special tokens, and the characters that each id stands for.

    Several tokens inside one multi-byte character share its offset. Text that looks like a special token stays text.
    A token that is nothing but the space which a tokenizer puts before every text stands for no character. Where
    offsets are trimmed, empty or too wide they are rebuilt from the bytes that the tokens spell.

    Raises:
        UserError: config, if the tokenizer leaves characters out of its offsets or rewrites plain text; data, if it
            does so for this text alone, such as one that is not in Unicode's NFC form.
    """
    if not tokenizer.is_fast:
        raise _refusal(tokenizer, "is not a fast tokenizer and gives no character offsets")
    ids, given = _encoded(tokenizer, response)
    offsets = _byte_fallback_offsets(tokenizer, ids, response) or given
    if not _covers(offsets, response):
        rebuilt = _byte_level_offsets(tokenizer, ids, response)
        if rebuilt is None:
            raise _uncovered(tokenizer, offsets, response)
        offsets = rebuilt
    if not _comes_back(tokenizer, ids, response):
        _refuse_what_is_lost(tokenizer, ids, response)
    return ids, _without_prefix(tokenizer, ids, offsets, response)


def _encoded(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[Offset]]:
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True, verbose=False
    )
    return list(encoded["input_ids"]), [(start, end) for start, end in encoded["offset_mapping"]]


def span_weights(offsets: Sequence[Offset], spans: Sequence[Span], length: int) -> list[float]:
    """The weight of every token of a response and, last, of its EOS: ``len(offsets) + 1`` weights.

    A token whose characters overlap a span takes the span's weight: in full if it is covered in part, the largest if
    spans overlap. An empty span takes the token that holds its position (all of them, where several share one
    character), or EOS at the end of the text. Tokens outside all spans weigh nothing.

    Args:
        offsets: one ``(start, end)`` per token, as from `encode_response`.
        spans: spans of this response; weights are not negative.
        length: characters in the response.
    """
    weights = [0.0] * (len(offsets) + 1)
    for span in spans:
        assert 0 <= span.start <= span.end <= length and span.weight >= 0, f"not a span of this response: {span}"
        for position in touched(offsets, span, length):
            weights[position] = max(weights[position], span.weight)
    return weights


def touched(offsets: Sequence[Offset], span: Span, length: int) -> list[int]:
    """The positions that a span selects; EOS has position ``len(offsets)``."""
    if span.start < span.end:
        return [i for i, (start, end) in enumerate(offsets) if start < span.end and span.start < end]
    if span.start == length:
        return [len(offsets)]
    return [i for i, (start, end) in enumerate(offsets) if start <= span.start < end]


def _covers(offsets: Sequence[Offset], text: str) -> bool:
    """Whether every character of `text` belongs to a token and no token to characters outside it."""
    reached = 0
    for start, end in sorted(offsets):
        if start > reached:
            return False
        reached = max(reached, end)
    return reached == len(text)


def _byte_level_offsets(tokenizer: Tokenizer, ids: list[int], text: str) -> list[Offset] | None:
    """Offsets from the bytes that byte-level tokens spell, or None where they do not spell `text`.

    Needed for tokenizers with ``trim_offsets`` (GPT-NeoX and Pythia: `` the`` covers ``the`` alone).
    """
    from tokenizers.pre_tokenizers import ByteLevel

    byte_level = ByteLevel(add_prefix_space=False, use_regex=False)

    def spelled(plain: str) -> str:
        return "".join(piece for piece, _ in byte_level.pre_tokenize_str(plain))

    added = tokenizer.get_added_vocab()
    tokens = [spelled(token) if token in added else token for token in tokenizer.convert_ids_to_tokens(ids)]
    return _spelled_offsets(tokens, spelled, text)


def _byte_fallback_offsets(tokenizer: Tokenizer, ids: list[int], text: str) -> list[Offset] | None:
    """Offsets from the bytes that sentencepiece tokens spell, if bytes such as ``<0xF0>`` are among them.

    A unigram model's bytes all have the offset of the whole run of characters that it has no token for.
    """
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if not any(BYTE.fullmatch(token) for token in tokens):
        return None

    def spelled(plain: str) -> str:
        return plain.encode().decode("latin-1")

    plain = [
        chr(int(token[3:-1], 16)) if BYTE.fullmatch(token) else spelled(token.replace(METASPACE, " "))
        for token in tokens
    ]
    return _spelled_offsets(plain, spelled, text)


def _spelled_offsets(tokens: Sequence[str], spelled: Callable[[str], str], text: str) -> list[Offset] | None:
    """The offsets of tokens given by one letter for each byte; a space put before the text stands for no character."""
    before = len("".join(tokens)) - len(spelled(text))
    if before not in (0, 1) or "".join(tokens) != spelled(" " * before + text):
        return None
    bytes_of = [len(letter.encode()) for letter in text]
    starts = [*[0] * before, *(i for i, count in enumerate(bytes_of) for _ in range(count))]
    ends = [*[0] * before, *(i + 1 for i, count in enumerate(bytes_of) for _ in range(count))]
    edges = list(accumulate(map(len, tokens), initial=0))
    return [(starts[first], ends[last - 1]) for first, last in pairwise(edges)]


def _without_prefix(tokenizer: Tokenizer, ids: list[int], offsets: list[Offset], text: str) -> list[Offset]:
    """The offsets, with none for a first token that is only the space put before the text."""
    if len(ids) > 1 and not text.startswith(" ") and tokenizer.convert_ids_to_tokens(ids[:1]) in ([METASPACE], ["Ġ"]):
        return [(0, 0), *offsets[1:]]
    return offsets


def _comes_back(tokenizer: Tokenizer, ids: list[int], text: str) -> bool:
    """Whether the tokens spell the text. Spaces before it are left to offsets, for decoders take them for a prefix."""
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False).lstrip(" ") == text.lstrip(" ")


def _refuse_what_is_lost(tokenizer: Tokenizer, ids: list[int], text: str) -> None:
    """Raise for a text that does not come back, unless the tokenizer only has no token for some character.

    What it makes of the plain part of the text, printable ASCII and white space, says whose fault it is.
    """
    plain = "".join(letter for letter in text if letter.isascii() and (letter.isprintable() or letter in "\n\t"))
    plain_ids, _ = _encoded(tokenizer, plain)
    if not _comes_back(tokenizer, plain_ids, plain):
        raise _refusal(tokenizer, _what_is_lost(plain, tokenizer.decode(plain_ids, clean_up_tokenization_spaces=False)))
    if tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids:
        raise _rewritten(tokenizer, "changes characters of the response")


def _what_is_lost(plain: str, back: str) -> str:
    kind = "white space" if "".join(plain.split()) == "".join(back.split()) else "characters"
    at = next((i for i, (x, y) in enumerate(zip(plain, back, strict=False)) if x != y), min(len(plain), len(back)))
    near = slice(max(0, at - 10), at + 10)
    return f"loses {kind} ({plain[near]!r} comes back as {back[near]!r})"


def _uncovered(tokenizer: Tokenizer, offsets: Sequence[Offset], text: str) -> UserError:
    """Whether the text or the tokenizer is to blame for characters without a token."""
    if unicodedata.normalize("NFC", text) != text:
        return _rewritten(tokenizer, "composes characters of the response")
    lost = [text[i] for i in range(len(text)) if not any(start <= i < end for start, end in offsets)]
    kind = "white space" if "".join(lost).isspace() else "characters"
    return _refusal(tokenizer, f"leaves {kind} of a response without a token")


def _rewritten(tokenizer: Tokenizer, what: str) -> UserError:
    return UserError(
        "data",
        f"the tokenizer {what}, which is not in the Unicode form that the tokenizer keeps.",
        f"tokenizer {tokenizer.name_or_path}",
        "Normalise the text with unicodedata.normalize ('NFC', or 'NFKC' for sentencepiece) before spans are made.",
    )


def _refusal(tokenizer: Tokenizer, fault: str) -> UserError:
    return UserError(
        "config",
        f"the tokenizer {fault}, so spans cannot be turned into token weights.",
        f"tokenizer {tokenizer.name_or_path}",
        "Use a model with a fast byte-level or sentencepiece tokenizer (a tokenizer.json file) that keeps white space.",
    )
