"""Words of programming that mean the same, so that an explanation had better stay with one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors.prose import Prose

TERMS = (
    ("list", "array"),
    ("function", "routine"),
    ("dictionary", "hash map"),
    ("string", "character sequence"),
    ("element", "member"),
    ("loop", "cycle"),
    ("tuple", "record"),
    ("number", "figure"),
    ("character", "symbol"),
    ("parameter", "formal argument"),
    ("index", "subscript"),
    ("substring", "string fragment"),
)
"""A term and what else it may be called. Each second form is rare in answers that keep to one."""

PLURALS = {"index": "indices", "dictionary": "dictionaries", "list": "lists"}

COMPOUND = re.compile(
    r"[ -](?:comprehension|slic|format|interpolat|literal|notation|call|method|concatenat|key|theory|of dict)|s? of ",
)
"""What makes of a term before it a name for something else: a list comprehension, a list of lists."""

BEFORE = re.compile(
    r"(?:linked|phone|numpy|for|while|key|random|prime|large|great|total|lambda|built-in|event) $", re.I
)
"""And of a term after it: a linked list, a for loop, a large number of them."""


@dataclass(frozen=True, slots=True)
class Mention:
    """One mention of a term in prose, ``answer[start:end]``: which pair, in which of its two forms, in the plural?"""

    start: int
    end: int
    pair: int
    form: int
    plural: bool


def plural(term: str) -> str:
    return PLURALS.get(term, f"{term}s")


_FORMS = {
    text: (pair, form, text != term)
    for pair, forms in enumerate(TERMS)
    for form, term in enumerate(forms)
    for text in (term, plural(term), *(["indexes"] if term == "index" else []))
}
_PHRASES = sorted((text for text in _FORMS if " " in text), key=len, reverse=True)
_PHRASE = re.compile(rf"\b(?:{'|'.join(_PHRASES)})\b", re.IGNORECASE)
_ENGLISH = re.compile("[A-Za-z]+")


def mentions(prose: Prose) -> list[Mention]:
    """Every mention of a term in the prose, in order of position; code and fixed compounds are none."""
    plain = prose.plain
    found = [(*match.span(), match[0].lower()) for match in _PHRASE.finditer(plain)]
    inside = {start for first, last, _ in found for start in range(first, last)}
    words = ((*match.span(), match[0].lower()) for match in _ENGLISH.finditer(plain))
    found += [word for word in words if word[2] in _FORMS and word[0] not in inside]
    return sorted(
        (Mention(start, end, *_FORMS[text]) for start, end, text in found if _is_free(plain, start, end)),
        key=lambda mention: mention.start,
    )


def _is_free(plain: str, start: int, end: int) -> bool:
    if plain[end : end + 1] in ("-", "_") or plain[start - 1 : start] in ("-", "_", "."):
        return False
    return COMPOUND.match(plain, end) is None and BEFORE.search(plain[max(0, start - 10) : start]) is None


def one_form(text: str) -> str:
    """The text with every term in its first form, for comparing what texts say."""
    return _ANY.sub(lambda found: _first_form(found[0]), text)


_ANY = re.compile(rf"\b(?:an? )?(?:{'|'.join(sorted(_FORMS, key=len, reverse=True))})\b", re.IGNORECASE)


def _first_form(found: str) -> str:
    article, _, bare = found.rpartition(" ") if found.lower().startswith(("a ", "an ")) else ("", "", found)
    if found.lower().startswith(("a ", "an ")):
        article, _, bare = found.partition(" ")
    pair, _, is_plural = _FORMS[bare.lower()]
    term = plural(TERMS[pair][0]) if is_plural else TERMS[pair][0]
    return f"a {term}" if article else term
