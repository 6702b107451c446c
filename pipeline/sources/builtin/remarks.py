"""Plain English made by program: short texts whose sentences are kind, unkind or neither.

They exist so that a tiny model can learn what a sentiment token means. What is said comes after the subject, so a
sentence's first words give nothing away. Classifiers, not this module, say what a sentence is like.
"""

from __future__ import annotations

from random import Random

from pipeline.records import QARecord
from pipeline.sources.builtin.words import Words

SOURCE = "builtin/remarks"
DETERMINERS: Words = ("The", "This", "That", "Our", "My", "Their")
THINGS: Words = (
    "soup", "room", "film", "guide", "train", "garden", "teacher", "market", "song", "phone", "hotel", "bridge",
    "lamp", "coat", "museum", "driver", "story", "kitchen", "ticket", "school", "bakery", "cousin", "lesson", "boat",
)  # fmt: skip
PLACES: Words = (
    "in the village", "by the river", "near the station", "at the corner", "on the hill", "behind the church",
    "across the road", "from the old town",
)  # fmt: skip
KIND: Words = (
    "was wonderful and we loved it", "is great", "is really excellent", "made everyone happy", "was a lovely surprise",
    "is the best of all", "was friendly and helpful", "looked beautiful", "was brilliant", "gave us much joy",
)  # fmt: skip
UNKIND: Words = (
    "was terrible and we hated it", "is awful", "is really horrible", "made everyone sad", "was an ugly mess",
    "is the worst of all", "was rude and annoying", "looked dreadful", "was disgusting", "gave us much pain",
)  # fmt: skip
NEITHER: Words = (
    "was painted in March", "is made of wood", "opened at nine", "has two doors", "was there on Tuesday",
    "is forty years old",
)  # fmt: skip
MOODS = (KIND, UNKIND, NEITHER)
SHARES = (2, 2, 1)
"""How often something of each mood is said."""
SENTENCES = (2, 4)


def build(rows: int, seed: int) -> list[QARecord]:
    """The first `rows` texts of this seed, of two to four sentences. Row i depends on the seed and on i alone."""
    return [_text(Random(f"remarks:{seed}:{index}"), f"remarks-{seed}-{index:06d}") for index in range(rows)]


def _text(random: Random, id: str) -> QARecord:
    said = " ".join(_sentence(random) for _ in range(random.randint(*SENTENCES)))
    return QARecord(id, "", said, SOURCE)


def _sentence(random: Random) -> str:
    (mood,) = random.choices(MOODS, SHARES)
    subject = (random.choice(DETERMINERS), random.choice(THINGS), random.choice(PLACES))
    return f"{' '.join(subject)} {random.choice(mood)}."
