"""The one boundary between a prompt and its response, shared by training and generation.

``enc(a + b) != enc(a) + enc(b)`` in general. So a prompt is always tokenised here, up to and including the generation
prompt, and a response always on its own: what a model was trained to continue is exactly what it is asked to continue.
"""

from __future__ import annotations

from typing import Any, Protocol

from pipeline.failures import UserError


class Tokenizer(Protocol):
    """What this project uses of a Hugging Face tokenizer."""

    chat_template: Any
    is_fast: Any
    bos_token_id: Any
    eos_token_id: Any
    unk_token_id: Any
    name_or_path: Any

    def __call__(self, text: str, **options: Any) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...

    def decode(self, ids: Any, **options: Any) -> Any: ...

    def convert_ids_to_tokens(self, ids: Any) -> Any: ...

    def get_added_vocab(self) -> dict[str, int]: ...


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids that stand before the first token of a response: never empty.

    With a chat template: one user turn and the generation prompt. Without: the prompt as it stands, with the special
    tokens (such as BOS) that the tokenizer puts before a text.
    """
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    else:
        ids = tokenizer(prompt)["input_ids"]
    return list(ids) or [_first_id(tokenizer)]


def _first_id(tokenizer: Tokenizer) -> int:
    """What an unconditioned response follows: BOS, or EOS where, as in GPT-2, the end of one text starts the next."""
    for token_id in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    raise UserError(
        "config",
        "an empty prompt gives no tokens, and the tokenizer has neither a BOS nor an EOS token to start from.",
        f"tokenizer {tokenizer.name_or_path}",
        "Set one of them in its tokenizer_config.json, or leave out empty prompts.",
    )
