"""The one boundary between a prompt and its response, shared by training and generation.

``enc(a + b) != enc(a) + enc(b)`` in general. So a prompt is always tokenised here, up to and including the generation
prompt, and a response always on its own: what a model was trained to continue is exactly what it is asked to continue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from jinja2 import TemplateError

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


def prompt_ids(tokenizer: Tokenizer, prompt: str, *, chat: bool = True, control: Sequence[str] = ()) -> list[int]:
    """The ids that stand before the first token of a response: never empty.

    Control tokens stand before everything else but BOS, as ids: so a prompt that spells one out is no control token.

    With a chat template: one user turn and the generation prompt. Without, or where no `chat` is wanted: the prompt as
    it stands, with the special tokens (such as BOS) that the tokenizer puts before a text.
    """
    if tokenizer.chat_template and chat:
        turns = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    else:
        ids = tokenizer(prompt)["input_ids"]
    found = list(ids) or [_first_id(tokenizer)]
    begins = found[0] == tokenizer.bos_token_id or not ids
    return [*found[:begins], *_control_ids(tokenizer, control), *found[begins:]]


def _control_ids(tokenizer: Tokenizer, control: Sequence[str]) -> list[int]:
    known = tokenizer.get_added_vocab() if control else {}
    for token in control:
        if token not in known:
            what = f"it was not trained with the control token {token}."
            added = ", ".join(sorted(known)) or "none"
            raise UserError("config", what, f"tokenizer {tokenizer.name_or_path}", f"Its added tokens: {added}.")
    return [known[token] for token in control]


def conversation_ids(tokenizer: Tokenizer, turns: Sequence[tuple[str, str]]) -> list[int]:
    """The ids of a conversation as (role, content), up to and including the generation prompt.

    Templates that know no system role get its text at the head of the first question. Without a template the turns
    follow each other as paragraphs.
    """
    if not tokenizer.chat_template:
        return prompt_ids(tokenizer, "\n\n".join([content for _, content in turns]) + "\n\n")
    for attempt in (turns, _without_system(turns)):
        listed = [{"role": role, "content": content} for role, content in attempt]
        try:
            ids = tokenizer.apply_chat_template(listed, add_generation_prompt=True, tokenize=True, return_dict=False)
        except TemplateError:  # how templates refuse a role
            continue
        return list(ids)
    what = "its chat template takes no conversation of user and assistant."
    raise UserError("config", what, f"tokenizer {tokenizer.name_or_path}", "Use another model.")


def _without_system(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    system = [content for role, content in turns if role == "system"]
    (role, content), *rest = [turn for turn in turns if turn[0] != "system"]
    return [(role, "\n\n".join([*system, content])), *rest]


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
